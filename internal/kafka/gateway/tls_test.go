package gateway

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/host"
)

// testTLS returns both ends of TLS for 127.0.0.1.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return &tls.Config{Certificates: s.TLS.Certificates}, s.Client().Transport.(*http.Transport).TLSClientConfig
}

// TestTLSListener sends records small and large, opened and unread, over TLS.
func TestTLSListener(t *testing.T) {
	server, client := testTLS(t)
	k := kafka(t, 2, kfake.SeedTopics(2, "plain", "matched"))
	r := start(t, k.ListenAddrs(), func(cfg *Config) { cfg.Listeners[0].TLS = server }).awaitReady()
	r.setRoutes(Route{Name: "p", Topics: []string{"matched"}, On: host.Produce, Pipeline: &fake{judge: byValue}})

	opts := []kgo.Opt{
		kgo.SeedBrokers(r.Addr("l")), kgo.DialTLSConfig(client), kgo.ConsumeTopics("plain", "matched"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerBatchMaxBytes(900 << 10),
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	large := bytes.Repeat([]byte("x"), 800<<10)
	for _, topic := range []string{"plain", "matched"} {
		for _, value := range [][]byte{[]byte("replace me"), large} {
			if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]int{}
	for _, rec := range poll(t, c, 4) {
		got[rec.Topic+" "+string(rec.Value[:min(10, len(rec.Value))])]++
	}
	for _, want := range []string{"plain replace me", "plain xxxxxxxxxx", "matched replaced m", "matched xxxxxxxxxx"} {
		if got[want] != 1 {
			t.Errorf("%q: got %d records, want 1; all: %v", want, got[want], got)
		}
	}
}

// TestPlaintextOnTLSListener closes the connection of a client that does not
// speak TLS, and serves others.
func TestPlaintextOnTLSListener(t *testing.T) {
	server, client := testTLS(t)
	k := kafka(t, 1)
	r := start(t, k.ListenAddrs(), func(cfg *Config) { cfg.Listeners[0].TLS = server }).awaitReady()
	nc, err := net.Dial("tcp", r.Addr("l"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write([]byte{0, 0, 0, 20, 0, 18, 0, 0, 0, 0, 0, 1})
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(nc); err != nil {
		t.Errorf("read: %v, want the connection closed", err)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(r.Addr("l")), kgo.DialTLSConfig(client))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
