package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/emit"
	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// secret is the key of markers in tests.
var secret = []byte("0123456789abcdef0123456789abcdef")

// fake is a Pipeline made of one function over records. The zero value keeps everything.
type fake struct {
	drops bool
	judge func(b *host.Batch, i int) host.Outcome
	fail  func(b *host.Batch) error
}

func (f *fake) CanDrop() bool { return f.drops }

func (f *fake) Process(_ context.Context, b *host.Batch, r *host.Result) error {
	if f.fail != nil {
		if err := f.fail(b); err != nil {
			return err
		}
	}
	r.Outcomes = r.Outcomes[:0]
	if f.judge == nil {
		return nil
	}
	changed := false
	for i := range b.Records {
		out := f.judge(b, i)
		changed = changed || out.Op != abi.OpKeep
		r.Outcomes = append(r.Outcomes, out)
	}
	if !changed {
		r.Outcomes = r.Outcomes[:0]
	}
	return nil
}

// byValue decides by what a record's value begins with: drop, reject, dead, upper (replaced by its upper case), anything else is kept.
func byValue(b *host.Batch, i int) host.Outcome {
	r := b.Records[i]
	switch v := string(r.Value); {
	case len(v) >= 4 && v[:4] == "drop":
		return host.Outcome{Op: abi.OpDrop, Stage: "s"}
	case len(v) >= 6 && v[:6] == "reject":
		return host.Outcome{Op: abi.OpReject, Stage: "s", Reason: "no " + v}
	case len(v) >= 4 && v[:4] == "dead":
		return host.Outcome{Op: abi.OpDeadLetter, Stage: "s", Reason: "bad " + v, Record: r, DeadLetterTopic: "dead"}
	case len(v) >= 7 && v[:7] == "replace":
		r.Value = append([]byte("replaced"), v[7:]...)
		r.Headers = append(slices.Clone(r.Headers), abi.Header{Name: "seen", Value: []byte("yes")})
		return host.Outcome{Op: abi.OpReplace, Stage: "s", Record: r}
	}
	return host.Outcome{}
}

// rig is a gateway in front of something.
type rig struct {
	*Gateway
	t       *testing.T
	dialled *dialled
}

// dialled remembers the addresses that clients connect to, and what of the brokers' own addresses they were sent.
type dialled struct {
	mu        sync.Mutex
	addresses []string
	secrets   [][]byte // the brokers' addresses, as text and as fields of responses
	leaks     []string
}

func (d *dialled) hide(addresses []string) {
	for _, a := range addresses {
		host, p, _ := net.SplitHostPort(a)
		port, _ := strconv.Atoi(p)
		d.secrets = append(d.secrets, []byte(a), binary.BigEndian.AppendUint32([]byte(host), uint32(port)))
	}
}

// spied is a client's connection that looks for secrets in what arrives.
type spied struct {
	net.Conn
	d *dialled
}

func (s spied) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	for _, secret := range s.d.secrets {
		if at := bytes.Index(b[:n], secret); at >= 0 {
			s.d.mu.Lock()
			s.d.leaks = append(s.d.leaks, fmt.Sprintf("%q", b[max(0, at-20):at+len(secret)]))
			s.d.mu.Unlock()
		}
	}
	return n, err
}

func (d *dialled) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.addresses = append(d.addresses, address)
	d.mu.Unlock()
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return spied{c, d}, err
}

func testLog() *slog.Logger {
	if os.Getenv("SLUICE_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start runs a gateway in front of bootstrap addresses.
func start(t *testing.T, bootstrap []string, change ...func(*Config)) *rig {
	t.Helper()
	cfg := Config{
		Clusters:  []ClusterConfig{{Name: "main", Bootstrap: bootstrap}},
		Listeners: []ListenerConfig{{Name: "l", Cluster: "main", Bind: "127.0.0.1:0"}},
		Log:       testLog(),
	}
	for _, c := range change {
		c(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	if err := g.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	r := &rig{Gateway: g, t: t, dialled: new(dialled)}
	r.dialled.hide(bootstrap)
	return r
}

// awaitReady waits for the gateway's own Metadata.
func (r *rig) awaitReady() *rig {
	r.t.Helper()
	eventually(r.t, "gateway is ready", func() error { return r.Ready() })
	return r
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *rig) setRoutes(routes ...Route) {
	r.t.Helper()
	set, err := NewRoutes(Markers{Key: secret}, routes)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.SetRoutes(ctx, set); err != nil {
		r.t.Fatal(err)
	}
}

// addresses returns all addresses at which the gateway serves.
func (r *rig) addresses() []string {
	var all []string
	for _, l := range r.listeners {
		l.mu.Lock()
		for _, ln := range l.bound {
			all = append(all, ln.Addr().String())
		}
		l.mu.Unlock()
	}
	return all
}

// client returns a kgo client that goes through the gateway. When the test ends, it is an error if it has ever connected to anything else.
func (r *rig) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(r.Addr("l")), kgo.Dialer(r.dialled.dial), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.FetchMaxWait(200 * time.Millisecond), kgo.RetryTimeout(10 * time.Second),
	}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		c.Close()
		r.checkDialled()
	})
	return c
}

func (r *rig) checkDialled() {
	r.dialled.mu.Lock()
	defer r.dialled.mu.Unlock()
	for _, l := range r.dialled.leaks {
		r.t.Errorf("a client was sent a broker's address: %s", l)
	}
	served := r.addresses()
	for _, a := range r.dialled.addresses {
		if !slices.Contains(served, a) {
			r.t.Errorf("a client connected to %s, which is not the gateway %v", a, served)
		}
	}
}

// consume reads n records of a topic through the gateway.
func (r *rig) consume(topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	r.t.Helper()
	return poll(r.t, r.client(append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...), n)
}

func poll(t *testing.T, c *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("got %d of %d records", len(all), n)
		}
		f.EachError(func(topic string, p int32, err error) { t.Fatalf("fetch %s-%d: %v", topic, p, err) })
		all = append(all, f.Records()...)
	}
	return all
}

func values(rs []*kgo.Record) []string {
	var v []string
	for _, r := range rs {
		v = append(v, string(r.Value))
	}
	return v
}

// kafka starts a fake cluster.
func kafka(t *testing.T, brokers int, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(brokers)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// direct reads all that is stored in a topic, without the gateway.
func direct(t *testing.T, k *kfake.Cluster, topic string, n int) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return poll(t, c, n)
}

// recorder is an Emitter that keeps what it gets.
type recorder struct {
	mu   sync.Mutex
	got  []emit.Record
	fail error
}

func (r *recorder) Emit(_ context.Context, rs []emit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	for _, e := range rs {
		e.Record.Value = slices.Clone(e.Record.Value)
		r.got = append(r.got, e)
	}
	return nil
}

func (r *recorder) failWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// stub is an upstream that answers requests with bytes of the test's choice.
type stub struct {
	t    *testing.T
	ln   net.Listener
	mu   sync.Mutex
	seen []stubRequest
	// answer returns a response's body without its correlation id, nil for no response.
	answer func(r stubRequest) []byte
}

type stubRequest struct {
	wire.RequestHeader
	body []byte // without header
	conn net.Conn
}

func newStub(t *testing.T, answer func(r stubRequest) []byte) *stub {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{t: t, ln: ln, answer: answer}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *stub) addr() []string { return []string{s.ln.Addr().String()} }

func (s *stub) serve(c net.Conn) {
	defer c.Close()
	for {
		body, err := readFrame(c)
		if err != nil {
			return
		}
		h, err := wire.ParseRequestHeader(body)
		if err != nil {
			s.t.Errorf("stub: %v", err)
			return
		}
		r := stubRequest{h, body[h.Size:], c}
		if h.ClientID != nil && *h.ClientID == "sluice" && h.CorrelationID >= 0 {
			// The gateway's own client.
			writeFrame(c, s.own(r))
			continue
		}
		s.mu.Lock()
		s.seen = append(s.seen, r)
		s.mu.Unlock()
		out := s.answer(r)
		if out == nil {
			continue
		}
		writeFrame(c, binary.BigEndian.AppendUint32(nil, uint32(h.CorrelationID)), out)
	}
}

// own answers the gateway's own client: one broker, this one.
func (s *stub) own(r stubRequest) []byte {
	dst := wire.AppendResponseHeader(nil, r.Key, r.Version, r.CorrelationID)
	switch r.Key {
	case 18:
		m := kmsg.NewPtrApiVersionsResponse()
		m.Version = r.Version
		m.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 3, MaxVersion: 12}, {ApiKey: 18, MaxVersion: 3}}
		return m.AppendTo(dst)
	default:
		m := kmsg.NewPtrMetadataResponse()
		m.Version = r.Version
		m.Brokers = []kmsg.MetadataResponseBroker{s.broker(1)}
		return m.AppendTo(dst)
	}
}

func (s *stub) broker(node int32) kmsg.MetadataResponseBroker {
	a := s.ln.Addr().(*net.TCPAddr)
	return kmsg.MetadataResponseBroker{NodeID: node, Host: a.IP.String(), Port: int32(a.Port)}
}

func (s *stub) requests() []stubRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 256<<20 {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return body, err
}

func writeFrame(w io.Writer, parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(n))
	for _, p := range parts {
		frame = append(frame, p...)
	}
	_, _ = w.Write(frame)
}

// raw is a client connection on which a test writes its own bytes.
type raw struct {
	net.Conn
	t *testing.T
}

func (r *rig) raw() *raw {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr("l"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &raw{c, r.t}
}

// request encodes a request's body with its header.
func request(req kmsg.Request, correlation int32) []byte {
	id := "test"
	h := wire.RequestHeader{Key: req.Key(), Version: req.GetVersion(), CorrelationID: correlation, ClientID: &id}
	return req.AppendTo(wire.AppendRequestHeader(nil, h))
}

func (r *raw) send(req kmsg.Request, correlation int32) { writeFrame(r, request(req, correlation)) }

// receive reads the answer to a request of req's key and version into resp.
func (r *raw) receive(resp kmsg.Response, correlation int32) {
	r.t.Helper()
	body, err := readFrame(r)
	if err != nil {
		r.t.Fatalf("read response %d: %v", correlation, err)
	}
	id, head, err := wire.ParseResponseHeader(body, resp.Key(), resp.GetVersion())
	if err != nil || id != correlation {
		r.t.Fatalf("got response %d (%v), want %d", id, err, correlation)
	}
	if err := resp.ReadFrom(body[head:]); err != nil {
		r.t.Fatalf("decode %T v%d: %v", resp, resp.GetVersion(), err)
	}
}

// ended checks that the gateway closes the connection.
func (r *raw) ended() {
	r.t.Helper()
	if n, err := io.Copy(io.Discard, r); err != nil && !isReset(err) || n > 0 {
		r.t.Fatalf("got %d bytes and %v, want the end of the connection", n, err)
	}
}

func isReset(err error) bool {
	return err != nil && (slices.Contains([]string{"EOF"}, err.Error()) || isSyscallReset(err))
}

func (r *rig) cluster() *cluster { return r.clusters["main"] }
