package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// conn is one client connection and the upstream connection that belongs to it.
//
// The goroutine of serve reads requests (cr) and writes to the broker (uw). The goroutine of answers reads from the broker (ur) and
// writes to the client (cw). An answer of the gateway's own is written by the first (lw) where no other answer is
// outstanding, and by the second otherwise; clientMu says who writes to the client, and whoever gives it up has flushed.
type conn struct {
	g        *Gateway
	listener *listenerSet
	cluster  *cluster
	node     int32
	client   net.Conn
	upstream net.Conn // nil until connected

	// ctx ends when the connection is closed.
	ctx    context.Context
	cancel context.CancelFunc

	cr *wire.Reader
	uw *wire.Writer
	ur *wire.Reader
	cw *wire.Writer
	lw *wire.Writer // to the client, like cw, which a Forward of ur lends to the goroutine of answers for good

	clientMu sync.Mutex // held by who writes to the client, until it is flushed
	queue    *queue

	// advertised has the API keys that the broker offered on this connection, nil before an ApiVersions response.
	advertised atomic.Pointer[map[int16]bool]
	fetches    fetchSessions
	fetched    fetchRequest // the one that is looked at
	shares     shareSessions
	gaps       gaps   // of the request goroutine
	ownID      int32  // correlation id of the last request of the gateway's own; they count down from -1
	size       int32  // of the current request's body
	opening    bool   // it is opened, and has memory of the budget
	refusals   seldom // the log lines about partitions refused, and withheld: clients repeat what failed, four times a second and more
	withheld   seldom
	reported   struct{ copied, spliced uint64 }

	mu       sync.Mutex
	idle     bool // the request goroutine waits for the beginning of a frame
	draining bool // no further frame is begun
	closed   bool
}

// Ends of a connection that are nobody's failure.
var (
	errDraining = errors.New("the gateway is shutting down")
	errClosed   = errors.New("connection closed")
)

// lingering bounds how long a connection that takes no more requests waits for the answers to those that it took.
const lingering = 5 * time.Second

func newConn(g *Gateway, l *listenerSet, node int32, client net.Conn) *conn {
	c := &conn{g: g, listener: l, cluster: l.cluster, node: node, client: client, queue: newQueue(g.cfg.Limits.Pending)}
	c.ctx, c.cancel = context.WithCancel(g.ctx)
	c.cr = wire.NewReader(client, g.cfg.Limits.MaxRequestBytes)
	c.cw, c.lw = wire.NewWriter(client), wire.NewWriter(client)
	return c
}

// serve runs the connection until its end.
func (c *conn) serve() {
	defer c.close()
	// Who connects and does not speak, or speaks something else, costs the broker nothing, and not a connection for ever.
	_ = c.client.SetReadDeadline(time.Now().Add(c.g.patience.silence))
	size, err := c.next()
	if err != nil {
		c.end("read request", err)
		return
	}
	_ = c.client.SetReadDeadline(noDeadline)
	upstream, err := c.cluster.dial(c.ctx, c.node, c.g.cfg.Limits.DialTimeout)
	if err != nil {
		c.fail(CauseUpstream, "broker not reached", err)
		c.reset()
		return
	}
	c.mu.Lock()
	c.upstream = upstream
	closed := c.closed
	c.mu.Unlock()
	if closed {
		_ = upstream.Close()
		return
	}
	c.uw, c.ur = wire.NewWriter(upstream), wire.NewReader(upstream, c.g.cfg.Limits.MaxResponseBytes)

	answered := make(chan error, 1)
	go func() {
		err := c.answers()
		c.close() // wakes the request side, whatever it waits for
		answered <- err
	}()
	err = c.requests(size)
	c.finish(err)
	upErr := <-answered
	c.report()
	// The side that failed first has closed the connection under the other, whose error then says nothing.
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, errClosed) {
		c.end("read request", err)
	} else {
		c.end("read response", upErr)
	}
}

// reset makes the close that follows a reset, which every client takes for a broker that is away. An end in good order,
// before the first answer, is to some of them a broker that speaks another protocol, and not worth another try.
func (c *conn) reset() {
	if tcp, ok := c.client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// finish ends the request side: what was taken is still answered.
func (c *conn) finish(err error) {
	drain := errors.Is(err, errDraining)
	if !drain { // Drain has a limit of its own
		timer := time.AfterFunc(lingering, c.close)
		context.AfterFunc(c.ctx, func() { timer.Stop() })
	}
	_ = c.uw.Flush()
	c.queue.close()
	gone := errors.Is(err, io.EOF)
	switch {
	case gone || errors.Is(err, errZeroAcks):
		// Requests without answer may be under way: the broker shall see them before it sees the end.
		if w, ok := c.upstream.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		} else {
			c.close()
		}
	case c.queue.drained():
		c.close()
	}
}

// requests takes the client's requests, in order, until there are no more. The first frame was announced by serve.
func (c *conn) requests(size int32) error {
	for {
		h, err := c.cr.Header()
		if err != nil {
			return fmt.Errorf("request header: %w", err)
		}
		if err := c.request(h, size); err != nil {
			return err
		}
		if !c.cr.Ready() {
			if err := c.uw.Flush(); err != nil {
				return upstreamError{err}
			}
		}
		if size, err = c.next(); err != nil {
			return err
		}
	}
}

// next waits for the next request. It is where a connection is idle, and where draining ends it.
func (c *conn) next() (int32, error) {
	c.mu.Lock()
	if c.draining {
		c.mu.Unlock()
		return 0, errDraining
	}
	c.idle = true
	c.mu.Unlock()
	size, err := c.cr.Next()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
	if c.draining {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errDraining
		}
		_ = c.client.SetReadDeadline(time.Time{}) // this frame was in time
	}
	return size, err
}

// drain makes the connection end when the requests that it has taken are answered.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.idle {
		_ = c.client.SetReadDeadline(time.Unix(1, 0))
	}
}

// close breaks off both connections. It may be called at any time, from any goroutine, more than once.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.cancel()
	c.queue.close()
	_ = c.client.Close()
	if c.upstream != nil {
		_ = c.upstream.Close()
	}
}

// pass forwards the current request unread; respond rewrites its answer, or is nil.
func (c *conn) pass(h wire.RequestHeader, respond responder) error {
	return c.forward(entry{key: h.Key, version: h.Version, correlation: h.CorrelationID, respond: respond})
}

func (c *conn) forward(e entry) error {
	if err := c.expect(e); err != nil {
		return err
	}
	return c.relay()
}

// relay forwards the current request unread; no answer is expected.
func (c *conn) relay() error {
	err := c.cr.Forward(c.uw)
	if err == nil {
		return nil
	}
	if up := c.uw.Flush(); up != nil { // a Writer's error is final
		return upstreamError{up}
	}
	return fmt.Errorf("forward request: %w", err)
}

// expect registers the answer to a request, before the request is sent.
func (c *conn) expect(e entry) error {
	if c.queue.full() {
		if err := c.uw.Flush(); err != nil {
			return upstreamError{err}
		}
	}
	if !c.queue.push(e) {
		return errClosed
	}
	return nil
}

// send writes a request that was opened, and holds memory of the budget. A broker that does not take it, because it is stuck or because the
// client does not take its answers, does not keep that memory from others for ever.
func (c *conn) send(parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	_ = c.upstream.SetWriteDeadline(c.g.patience.until(size, c.g.patience.broker))
	defer c.upstream.SetWriteDeadline(noDeadline)
	if err := c.uw.WriteFrame(parts...); err != nil {
		return upstreamError{err}
	}
	return nil
}

// reply gives an answer of the gateway's own, when its turn comes.
func (c *conn) reply(h wire.RequestHeader, resp kmsg.Response) error {
	resp.SetVersion(h.Version)
	return c.replyWith(h, resp.AppendTo(wire.AppendResponseHeader(nil, h.Key, h.Version, h.CorrelationID)))
}

// replyWith is reply with a body that was encoded, header included.
func (c *conn) replyWith(h wire.RequestHeader, body []byte) error {
	if c.queue.full() {
		if err := c.uw.Flush(); err != nil {
			return upstreamError{err}
		}
	}
	pushed, ok := c.queue.pushUnlessEmpty(entry{key: h.Key, version: h.Version, correlation: h.CorrelationID, local: body})
	if !ok {
		return errClosed
	}
	if pushed {
		return nil
	}
	// Only this goroutine pushes: the queue stays empty, and the other has nothing to write.
	c.clientMu.Lock()
	defer c.clientMu.Unlock()
	if err := c.lw.WriteFrame(body); err != nil {
		return err
	}
	return c.lw.Flush()
}

// ask makes a request of the gateway's own on this connection, as the client's principal, and returns the body of the answer with its header.
// The client notices nothing.
func (c *conn) ask(req kmsg.Request) ([]byte, error) {
	answer := make(chan []byte, 1)
	c.ownID--
	h := wire.RequestHeader{Key: req.Key(), Version: req.GetVersion(), CorrelationID: c.ownID, ClientID: &ownClientID}
	if err := c.expect(entry{key: h.Key, version: h.Version, correlation: h.CorrelationID, own: answer}); err != nil {
		return nil, err
	}
	if err := c.send(req.AppendTo(wire.AppendRequestHeader(nil, h))); err != nil {
		return nil, err
	}
	if err := c.uw.Flush(); err != nil {
		return nil, upstreamError{err}
	}
	// Before it come answers that the client may not take.
	late, stop := c.late()
	defer stop()
	select {
	case body := <-answer:
		return body, nil
	case <-late:
		return nil, fmt.Errorf("no answer to %s: %w", kmsg.NameForKey(h.Key), os.ErrDeadlineExceeded)
	case <-c.ctx.Done():
		return nil, errClosed
	}
}

// smallRequest is the size, in bytes, up to which a request may wait for what may take long, such as a rebalance.
const smallRequest = 1 << 20

// late fires when a request of the gateway's own takes too long for the request that waits for it.
func (c *conn) late() (<-chan time.Time, func() bool) {
	limit := c.g.patience.lookup
	switch {
	case !c.opening: // nobody waits for what this connection has
		return nil, func() bool { return false }
	case c.size > smallRequest:
		limit = c.g.patience.least
	}
	t := time.NewTimer(limit)
	return t.C, t.Stop
}

var ownClientID = "sluice"

// answers takes the broker's responses, in order, and gives the client its answers.
func (c *conn) answers() error {
	writing := false
	defer func() {
		if writing {
			_ = c.cw.Flush()
			c.clientMu.Unlock()
		}
	}()
	for {
		if !c.ur.Ready() {
			if writing {
				if err := c.cw.Flush(); err != nil {
					return err
				}
				c.clientMu.Unlock()
				writing = false
			}
			c.report()
		}
		size, err := c.ur.Next()
		if err != nil {
			return upstreamError{err}
		}
		if !writing {
			c.clientMu.Lock()
			writing = true
		}
		e, ok := c.queue.head()
		if !ok {
			return fmt.Errorf("%w: the broker sent a response that nobody asked for", errMalformed)
		}
		c.g.observer.Response(c.cluster.cfg.Name, e.key, int(size)+4)
		if err := c.answer(&e, size); err != nil {
			return err
		}
		next, ok := c.queue.pop()
		for ok && !next.fromBroker() {
			if err := c.cw.WriteFrame(next.local); err != nil {
				return err
			}
			next, ok = c.queue.pop()
		}
		if !ok && c.queue.drained() {
			return c.cw.Flush()
		}
	}
}

// answer deals with one response, which is the one to e.
func (c *conn) answer(e *entry, size int32) error {
	head, err := c.ur.Peek(4)
	if err != nil {
		return upstreamError{err}
	}
	if id := (&cursor{b: head}).int32(); id != e.correlation || len(head) < 4 {
		return fmt.Errorf("%w: the broker answered request %d where %d is due", errMalformed, id, e.correlation)
	}
	switch {
	case e.own != nil:
		body, err := c.ur.Body(nil)
		if err != nil {
			return upstreamError{err}
		}
		e.own <- body
		return nil
	case e.respond == nil:
		return c.relayAnswer()
	}
	if err := e.respond(c, e, size); err != nil {
		return fmt.Errorf("response to %s v%d: %w", kmsg.NameForKey(e.key), e.version, err)
	}
	return nil
}

// relayAnswer forwards the current response unread.
func (c *conn) relayAnswer() error {
	err := c.ur.Forward(c.cw)
	if err == nil {
		return nil
	}
	if down := c.cw.Flush(); down != nil {
		return down
	}
	return upstreamError{err}
}

// report tells the observer how many bytes were moved since it last did.
func (c *conn) report() {
	copied := c.cw.Copied() + c.lw.Copied() + c.uw.Copied()
	spliced := c.cw.Spliced() + c.uw.Spliced()
	if n := copied - c.reported.copied; n > 0 {
		c.g.observer.Moved(c.cluster.cfg.Name, PathCopied, int(n))
	}
	if n := spliced - c.reported.spliced; n > 0 {
		c.g.observer.Moved(c.cluster.cfg.Name, PathSpliced, int(n))
	}
	c.reported.copied, c.reported.spliced = copied, spliced
}

// upstreamError is an error of the connection to the broker.
type upstreamError struct{ error }

func (e upstreamError) Unwrap() error { return e.error }

// end says in the log and to the observer why the connection ended, where that is of interest.
func (c *conn) end(doing string, err error) {
	var up upstreamError
	var plain tls.RecordHeaderError
	switch {
	case err == nil, errors.Is(err, errDraining), errors.Is(err, errClosed), errors.Is(err, errZeroAcks), c.g.ctx.Err() != nil:
	case errors.Is(err, wire.ErrTLS):
		c.fail(CauseTLS, "the client speaks TLS, this listener is plaintext: set security.protocol=PLAINTEXT (or SASL_PLAINTEXT) in the client", err)
	case errors.As(err, &plain):
		c.fail(CauseTLS, "the client does not speak TLS, this listener does: set security.protocol=SSL (or SASL_SSL) in the client", err)
	case errors.Is(err, wire.ErrHTTP):
		c.fail(CauseHTTP, "the client speaks HTTP on a Kafka port", err)
		answerHTTP(c.client)
	case errors.Is(err, wire.ErrFrameSize):
		c.fail(CauseFrameSize, doing, err)
	case errors.Is(err, errUnsupported):
		c.fail(CauseUnsupported, doing, err)
	case errors.Is(err, errMalformed), errors.Is(err, wire.ErrHeader):
		c.fail(CauseMalformed, doing, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.fail(CauseTimeout, doing, err)
	case errors.As(err, &up) && !errors.Is(err, net.ErrClosed) && c.queue.owes():
		c.fail(CauseUpstream, "the broker closed the connection with requests outstanding", err)
	default: // the client went away, in one of many ways
		if log := c.logger(); log.Enabled(c.ctx, slog.LevelDebug) {
			log.Debug(doing, "error", err)
		}
	}
}

func (c *conn) fail(cause Cause, what string, err error) {
	c.g.observer.Failure(c.cluster.cfg.Name, cause)
	if c.g.ctx.Err() != nil {
		return
	}
	level := slog.LevelWarn
	if cause == CauseUpstream && !c.cluster.mayWarn(time.Now()) {
		level = slog.LevelDebug // clients try again and again while a broker is away
	}
	c.logger().Log(c.ctx, level, what+"; client connection closed", "cause", string(cause), "error", err)
}

func (c *conn) logger() *slog.Logger {
	return c.listener.log.With("client", c.client.RemoteAddr().String(), "node", c.node)
}

// seldom lets something pass once in ten seconds. One goroutine uses it.
type seldom struct{ last time.Time }

func (s *seldom) allows(now time.Time) bool {
	if now.Sub(s.last) < 10*time.Second {
		return false
	}
	s.last = now
	return true
}
