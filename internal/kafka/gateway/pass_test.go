package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestPassThrough produces and consumes over three brokers in every way that a client can, and checks that no broker's address reached a client.
func TestPassThrough(t *testing.T) {
	k := kafka(t, 3, kfake.SeedTopics(6, "plain", "txn", "group"))
	r := start(t, k.ListenAddrs()).awaitReady()
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	n := 0
	for name, codec := range codecs {
		for _, opts := range [][]kgo.Opt{
			{},
			{kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck())},
			{kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.NoAck())},
		} {
			c := r.client(append(opts, kgo.ProducerBatchCompression(codec))...)
			for i := range 20 {
				rec := &kgo.Record{Topic: "plain", Key: fmt.Append(nil, i), Value: fmt.Append(nil, name, i)}
				if err := c.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
					t.Fatal(err)
				}
				n++
			}
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := r.consume("plain", n); len(got) != n {
		t.Errorf("got %d records, want %d", len(got), n)
	}
}

func TestPassTransactionsAndGroups(t *testing.T) {
	k := kafka(t, 3, kfake.SeedTopics(4, "txn"))
	r := start(t, k.ListenAddrs()).awaitReady()
	p := r.client(kgo.TransactionalID("t1"), kgo.DefaultProduceTopic("txn"))
	for i := range 4 {
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		p.Produce(t.Context(), kgo.StringRecord(fmt.Sprint("value ", i)), nil)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.EndTransaction(t.Context(), kgo.TransactionEndTry(i%2 == 0)); err != nil {
			t.Fatal(err)
		}
	}
	c := r.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("txn"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := values(poll(t, c, 2))
	slices.Sort(got)
	if !slices.Equal(got, []string{"value 0", "value 2"}) {
		t.Errorf("got %q", got)
	}
	if err := c.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestAdmin checks the answers that name brokers.
func TestAdmin(t *testing.T) {
	k := kafka(t, 3, kfake.SeedTopics(3, "t"), kfake.BrokerConfigs(map[string]string{"advertised.listeners": "PLAINTEXT://secret:1"}))
	r := start(t, k.ListenAddrs()).awaitReady()
	adm := kadm.NewClient(r.client())
	served := r.addresses()
	brokers, err := adm.ListBrokers(t.Context())
	if err != nil || len(brokers) != 3 {
		t.Fatalf("%v, %v", brokers, err)
	}
	for _, b := range brokers {
		if a := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))); !slices.Contains(served, a) {
			t.Errorf("broker %d is said to be at %s, not one of %v", b.NodeID, a, served)
		}
	}
	cs := adm.FindGroupCoordinators(t.Context(), "g1", "g2")
	for _, c := range cs.Sorted() {
		if a := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))); c.Err != nil || !slices.Contains(served, a) {
			t.Errorf("coordinator is said to be at %s (%v), not one of %v", a, c.Err, served)
		}
	}
	cfgs, err := adm.DescribeBrokerConfigs(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cfgs {
		for _, e := range c.Configs {
			if slices.Contains(addressConfigs, e.Key) && e.Value != nil {
				t.Errorf("setting %s is %q", e.Key, *e.Value)
			}
		}
	}
}

// TestUpstreamLater starts the gateway before its cluster.
func TestUpstreamLater(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	r := start(t, []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	if r.Ready() == nil {
		t.Error("ready without a cluster")
	}
	r.raw().send(apiVersions(3), 1) // is closed; nothing else happens
	k := kafka(t, 1, kfake.Ports(port), kfake.SeedTopics(1, "t"))
	_ = k
	r.awaitReady()
	if err := r.client().ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Error(err)
	}
}

// TestUpstreamAway resets a connection whose broker is not reached: clients try again after that, and not all of them do after an end in good
// order, without an answer.
func TestUpstreamAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	c := start(t, []string{ln.Addr().String()}).raw()
	c.send(apiVersions(3), 1)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
}

// TestUpstreamDies kills the brokers under load: what was acknowledged is what was stored, and the clients' connections end.
func TestUpstreamDies(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "t"))
	r := start(t, k.ListenAddrs()).awaitReady()
	c := r.raw()
	c.send(apiVersions(3), 1)
	if _, err := readFrame(c); err != nil {
		t.Fatal(err)
	}
	k.Close()
	c.ended()
	eventually(t, "connection is forgotten", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.conns); n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
}

// TestDrain lets a long poll end and refuses new connections.
func TestDrain(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "t"))
	r := start(t, k.ListenAddrs()).awaitReady()
	c := r.raw()
	c.send(fetchOf(4, "t", 1000), 7)
	idle := r.raw()
	idle.send(apiVersions(3), 1)
	if _, err := readFrame(idle); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // the fetch is with the broker
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- r.Drain(ctx) }()
	resp := fetchResponse(4)
	c.receive(resp, 7)
	if d := time.Since(begun); d < 500*time.Millisecond {
		t.Errorf("the long poll was cut after %v", d)
	}
	c.ended()
	idle.ended()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", r.listeners[0].bound[anyNode].Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("a drained gateway accepts connections")
	}
}

func TestCloseTwice(t *testing.T) {
	k := kafka(t, 1)
	r := start(t, k.ListenAddrs()).awaitReady()
	c := r.raw()
	c.send(apiVersions(3), 1)
	if _, err := readFrame(c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	c.ended()
	if err := r.Start(t.Context()); err == nil {
		t.Error("a closed gateway starts")
	}
}

func TestRedactedSettings(t *testing.T) {
	for name, want := range map[string]bool{
		"advertised.listeners": true, "listeners": true, "controller.quorum.bootstrap.servers": true,
		"some.reporter.bootstrap.servers": true, "log.dirs": false, "listener.security.protocol.map": false,
	} {
		m := kmsg.NewPtrDescribeConfigsResponse()
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.Value = name, ptr("secret:1")
		c.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{{Name: name, Value: ptr("secret:1")}}
		m.Resources = []kmsg.DescribeConfigsResponseResource{{ResourceType: kmsg.ConfigResourceTypeBroker, Configs: []kmsg.DescribeConfigsResponseResourceConfig{c}}}
		redactConfigs(nil, m)
		got := m.Resources[0].Configs[0]
		if hidden := got.Value == nil && got.ConfigSynonyms[0].Value == nil; hidden != want {
			t.Errorf("%s: redacted %v, want %v", name, hidden, want)
		}
	}
}
