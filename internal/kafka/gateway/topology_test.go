package gateway

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/testenv"
)

// TestTopology adds a broker, moves leaders to it and away, and checks that clients follow, through the gateway only.
func TestTopology(t *testing.T) {
	k := kafka(t, 2, kfake.SeedTopics(4, "t"))
	r := start(t, k.ListenAddrs()).awaitReady()
	p := r.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	sent := 0
	produce := func() {
		t.Helper()
		for range 8 {
			if err := p.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: fmt.Append(nil, sent)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		// A consumer that lives through a move is told by the fake cluster that records were lost, without a gateway too.
		r.consume("t", sent)
	}
	produce()
	node, _, err := k.AddNode(-1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int32(4) {
		if err := k.MoveTopicPartition("t", i, node); err != nil {
			t.Fatal(err)
		}
	}
	produce()
	if _, _, ok := r.listeners[0].address(node); !ok {
		t.Errorf("broker %d has no listener", node)
	}
	for i := range int32(4) {
		if err := k.MoveTopicPartition("t", i, i%2); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.RemoveNode(node); err != nil {
		t.Fatal(err)
	}
	produce()
}

// TestAdvertise checks what clients are told, with and without a port.
func TestAdvertise(t *testing.T) {
	k := kafka(t, 1)
	for _, tt := range []struct{ bind, advertise, host string }{
		{"127.0.0.1:0", "", "127.0.0.1"}, {"0.0.0.0:0", "", "localhost"}, {":0", "", "localhost"}, {"127.0.0.1:0", "gw.example", "gw.example"}, {"127.0.0.1:0", "gw.example:19092", "gw.example"},
	} {
		r := start(t, k.ListenAddrs(), func(c *Config) { c.Listeners[0].Bind, c.Listeners[0].Advertise = tt.bind, tt.advertise }).awaitReady()
		host, port, ok := r.listeners[0].address(0)
		if !ok || host != tt.host || port == 0 {
			t.Errorf("bind %s, advertise %s: got %s:%d %v", tt.bind, tt.advertise, host, port, ok)
		}
	}
	t.Run("ports", func(t *testing.T) {
		base := testenv.Ports(5)
		l, err := newListenerSet(ListenerConfig{Bind: fmt.Sprintf("127.0.0.1:%d", base), Advertise: "gw.example:9000"}, nil, start(t, k.ListenAddrs()).log, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.start(); err != nil {
			t.Fatal(err)
		}
		defer l.close()
		l.open([]int32{0, 3, 65000})
		if _, port, ok := l.address(3); !ok || port != 9004 || l.bound[3].Addr().(*net.TCPAddr).Port != base+4 {
			t.Errorf("got port %d %v at %v", port, ok, l.bound[3].Addr())
		}
		if _, _, ok := l.address(65000); ok || l.ready() == nil {
			t.Error("broker 65000 has a listener")
		}
	})
	for _, bad := range []ListenerConfig{{Bind: "x"}, {Bind: "x:70000"}, {Bind: "x:1", Advertise: "y:99999"}} {
		if _, err := newListenerSet(bad, nil, start(t, k.ListenAddrs()).log, nil); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// TestConnectionLimit refuses connections beyond the limit and takes new ones when others end.
func TestConnectionLimit(t *testing.T) {
	k := kafka(t, 1)
	r := start(t, k.ListenAddrs(), func(c *Config) { c.Limits.Connections = 2 }).awaitReady()
	a, b := r.raw(), r.raw()
	for _, c := range []*raw{a, b} {
		c.send(apiVersions(3), 1)
		if _, err := readFrame(c); err != nil {
			t.Fatal(err)
		}
	}
	r.raw().ended()
	_ = a.Close()
	eventually(t, "a place is free", func() error {
		c := r.raw()
		c.send(apiVersions(3), 1)
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, err := readFrame(c)
		return err
	})
}
