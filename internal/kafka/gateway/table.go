package gateway

import (
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// row says what is done with the requests of one API key. A key without a row passes, in any version.
type row struct {
	key int16
	// min and max bound the versions of a key that the gateway has to read. Others are not offered to clients; who sends one all the same gets what unsupported
	// says, or his connection closed, which is what brokers do.
	min, max int16
	// refused says that the key is not offered, and that a request closes the connection.
	refused string
	// request deals with a request. nil: it is forwarded unread.
	request func(c *conn, h wire.RequestHeader) error
	// respond rewrites the answer where request is nil. nil: it passes unread.
	respond responder
	// unsupported answers a version out of bounds, where its shape is known. nil: the connection is closed.
	unsupported func(c *conn, h wire.RequestHeader) error
}

// responder reads the current response from c.ur and writes what the client gets to c.cw. It is called by the goroutine of answers.
type responder func(c *conn, e *entry, size int32) error

// table has the rows, by key. Each is in the file of its key, NN_name.go; those that are only refused are here.
var table map[int16]row

// The table is made in init because its rows refer to it.
func init() {
	table = byKey(
		produceRow(), fetchRow(), metadataRow(), findCoordinatorRow(), saslHandshakeRow(), apiVersionsRow(),
		describeConfigsRow(), describeQuorumRow(), describeClusterRow(), shareFetchRow(), shareAcknowledgeRow(),
		// Requests between brokers, and between controllers, whose answers may carry addresses. No client uses them.
		row{key: 4, refused: "LeaderAndIsr is a request between brokers"},
		row{key: 6, refused: "UpdateMetadata is a request between brokers"},
		row{key: 52, refused: "Vote is a request between controllers"},
		row{key: 53, refused: "BeginQuorumEpoch is a request between controllers"},
		row{key: 54, refused: "EndQuorumEpoch is a request between controllers"},
		row{key: 58, refused: "Envelope is a request between brokers and controllers"},
		row{key: 59, refused: "FetchSnapshot is a request between controllers"},
		row{key: 82, refused: "UpdateRaftVoter is a request between controllers"},
	)
}

func byKey(rows ...row) map[int16]row {
	t := make(map[int16]row, len(rows))
	for _, r := range rows {
		t[r.key] = r
	}
	return t
}

// errUnsupported is a request that the gateway does not let through.
var errUnsupported = errors.New("unsupported request")

// request deals with one request, by its row.
func (c *conn) request(h wire.RequestHeader, size int32) error {
	c.g.observer.Request(c.cluster.cfg.Name, h.Key, int(size)+4)
	c.size = size
	r, listed := table[h.Key]
	switch {
	case h.Version < 0:
		return fmt.Errorf("%w: %s v%d", errUnsupported, kmsg.NameForKey(h.Key), h.Version)
	case !listed && !h.Known && !c.offered(h.Key):
		return fmt.Errorf("%w: API key %d is unknown, and this broker did not offer it", errUnsupported, h.Key)
	case !listed:
		return c.pass(h, nil)
	case r.refused != "":
		return fmt.Errorf("%w: %s", errUnsupported, r.refused)
	case h.Version < r.min || h.Version > r.max:
		if r.unsupported != nil {
			return r.unsupported(c, h)
		}
		return fmt.Errorf("%w: %s v%d; this gateway offers v%d to v%d", errUnsupported, kmsg.NameForKey(h.Key), h.Version, r.min, r.max)
	case r.request != nil:
		return r.request(c, h)
	}
	return c.pass(h, r.respond)
}

// offered says whether the broker has offered a key on this connection.
func (c *conn) offered(key int16) bool {
	keys := c.advertised.Load()
	return keys != nil && (*keys)[key]
}

// message is a response of kmsg. kmsg keeps the tagged fields that it does not know.
type message interface {
	kmsg.Response
	UnsafeReadFrom([]byte) error
}

// rewriting returns a responder that decodes the response, lets rewrite change it, and encodes it again.
func rewriting[M message](fresh func() M, rewrite func(c *conn, m M)) responder {
	return func(c *conn, e *entry, _ int32) error {
		return c.opened(func(body []byte) error {
			head, err := responseHead(body, e)
			if err != nil {
				return err
			}
			m := fresh()
			m.SetVersion(e.version)
			if err := m.UnsafeReadFrom(body[head:]); err != nil {
				return fmt.Errorf("%w: %w", errMalformed, err)
			}
			rewrite(c, m)
			out := buffers.get()
			defer buffers.put(out)
			*out = m.AppendTo(append((*out)[:0], body[:head]...))
			return c.cw.WriteFrame(*out)
		})
	}
}

// responseHead returns the length of a response's header.
func responseHead(body []byte, e *entry) (int, error) {
	_, n, err := wire.ParseResponseHeader(body, e.key, e.version)
	return n, err
}

// opened reads the current response and calls use with it, header included. The bytes are use's until it returns.
func (c *conn) opened(use func(body []byte) error) error {
	buf := buffers.get()
	defer buffers.put(buf)
	body, err := c.ur.Body(*buf)
	if err != nil {
		return upstreamError{err}
	}
	*buf = body
	c.g.observer.Moved(c.cluster.cfg.Name, PathOpened, len(body))
	return use(body)
}

// buffers are the bytes of opened frames.
var buffers bufferPool

type bufferPool struct{ pool sync.Pool }

// maxPooled is the largest buffer that is kept for the next frame.
const maxPooled = 1 << 20

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (p *bufferPool) put(b *[]byte) {
	if cap(*b) <= maxPooled {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}
