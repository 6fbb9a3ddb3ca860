package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTLS has clients that speak TLS with the gateway, through pipelines and past them, and one that does not.
func TestTLS(t *testing.T) {
	https := httptest.NewUnstartedServer(nil)
	https.StartTLS() // for its certificate
	defer https.Close()
	k := kafka(t, 2, kfake.SeedTopics(2, "in", "other"))
	r := start(t, k.ListenAddrs(), func(c *Config) {
		c.Listeners[0].TLS = &tls.Config{Certificates: https.TLS.Certificates}
	}).awaitReady()
	r.setRoutes(onProduce(&fake{drops: true, judge: byValue}, "in"))
	secure := kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := r.dialled.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), nil
	})
	c := r.client(secure)
	for _, topic := range []string{"in", "other"} {
		for i := range 20 {
			rec := &kgo.Record{Topic: topic, Value: append(fmt.Append(nil, "replace ", i, " "), make([]byte, 50_000)...)}
			if err := c.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for topic, want := range map[string]string{"in": "replaced", "other": "replace "} {
		for _, rec := range r.consume(topic, 20, secure) {
			if string(rec.Value[:8]) != want {
				t.Errorf("%s: got %q", topic, rec.Value[:20])
			}
		}
	}
	plain := r.raw()
	plain.send(apiVersions(3), 1)
	_, _ = readFrame(plain) // a TLS alert, which is no frame, or the end
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "other", Value: []byte("still")}).FirstErr(); err != nil {
		t.Error(err)
	}
}

// TestIdleConnections prints what a connection costs that has nothing to do.
func TestIdleConnections(t *testing.T) {
	s := newStub(t, func(stubRequest) []byte { return []byte("pong") })
	r := start(t, s.addr()).awaitReady()
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	const n = 300
	before := memory()
	conns := make([]*raw, n)
	for i := range conns {
		conns[i] = r.raw()
		conns[i].send(kmsg.NewPtrListGroupsRequest(), 1)
		if _, err := readFrame(conns[i]); err != nil {
			t.Fatal(err)
		}
	}
	per := (memory() - before) / n
	t.Logf("%d bytes for an idle connection, the test's two ends included", per)
	if per > 64<<10 {
		t.Errorf("an idle connection takes %d bytes", per)
	}
	runtime.KeepAlive(conns)
}
