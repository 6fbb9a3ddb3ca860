package embedded

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func start(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.Addrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestRestart finds what was acknowledged after the cluster has been started again.
func TestRestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg := Config{Dir: t.TempDir(), Topics: []Topic{{Name: "demo", Partitions: 2}}}

	first := start(t, cfg)
	rec := &kgo.Record{Topic: "demo", Value: []byte("kept")}
	if err := client(t, first).ProduceSync(ctx, rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	first.Close() // again is no harm

	second := start(t, cfg) // the topic is there already
	got := client(t, second, kgo.ConsumeTopics("demo")).PollFetches(ctx)
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	if recs := got.Records(); len(recs) != 1 || string(recs[0].Value) != "kept" {
		t.Errorf("after the restart there are %v, want the one that was produced", recs)
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	first := start(t, Config{Dir: dir})
	if _, err := Start(Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("second Start = %v, want ErrInUse", err)
	}
	first.Close()
	start(t, Config{Dir: dir})
}

func TestLoopbackOnly(t *testing.T) {
	for _, addr := range start(t, Config{Brokers: 3}).Addrs() {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("listens at %s, want loopback", addr)
		}
	}
}
