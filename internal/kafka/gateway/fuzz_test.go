package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// FuzzConnection gives a connection hostile bytes from both sides, with pipelines both ways. It must end when its peers do, and not panic. Frames are made of the
// fuzzer's bytes so that most of them get past the sizes.
func FuzzConnection(f *testing.F) {
	add := func(req kmsg.Request, resp kmsg.Response) {
		resp.SetVersion(req.GetVersion())
		answer := resp.AppendTo(wire.AppendResponseHeader(nil, req.Key(), req.GetVersion(), 0))
		f.Add(request(req, 0), answer, uint8(1))
	}
	for key := range int16(100) {
		req, resp := kmsg.RequestForKey(key), kmsg.ResponseForKey(key)
		if req == nil {
			continue
		}
		first := req.MaxVersion()
		if _, read := table[key]; read {
			first = 0
		}
		for v := first; v <= req.MaxVersion(); v++ {
			req.SetVersion(v)
			add(req, resp)
		}
	}
	for v := int16(0); v <= 13; v++ {
		p := produceOf(v, nil)
		p.Topics[0].Topic, p.Topics[0].Partitions[0].Records = "in", encoded(f, 1, "drop", "dead", "replace", "keep")
		add(p, kmsg.NewPtrProduceResponse())
		p.Topics[0].Partitions[1].Records = encoded(f, 1, "reject")
		p.Topics = p.Topics[:1]
		add(p, kmsg.NewPtrProduceResponse())
	}
	for v := int16(4); v <= 15; v++ {
		resp := fetchResponseOf(v, encoded(f, 1, "drop", "dead", "replace", "keep"))
		resp.Topics[0].Topic = "in"
		add(fetchOf(v, "in", 1), resp)
	}
	cfg := Config{Clusters: []ClusterConfig{{Name: "main", Bootstrap: []string{"nowhere:1"}, Emitter: new(recorder)}}}
	cfg.Limits.MaxRequestBytes, cfg.Limits.MaxResponseBytes, cfg.Limits.BatchBytes, cfg.Limits.OpenedBytes = 1<<20, 1<<20, 1<<20, 1<<21
	var upstream func() net.Conn
	cfg.Clusters[0].Dial = func(context.Context, string, string) (net.Conn, error) { return upstream(), nil }
	cfg.Listeners = []ListenerConfig{{Name: "l", Cluster: "main", Bind: "127.0.0.1:0"}}
	g, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = g.Close() })
	routes, err := NewRoutes(Markers{Key: secret}, []Route{onProduce(&fake{drops: true, judge: byValue}, "in"), onFetch(&fake{judge: byValue}, "in")})
	if err != nil {
		f.Fatal(err)
	}
	if err := g.SetRoutes(context.Background(), routes); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, asked, answered []byte, times uint8) {
		client, inner := net.Pipe()
		broker, outer := net.Pipe()
		upstream = func() net.Conn { return outer }
		c := newConn(g, g.listeners[0], anyNode, inner)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.serve()
		}()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		go func() {
			// The broker answers each request, in order, whatever it is.
			defer broker.Close()
			for {
				body, err := readFrame(broker)
				if err != nil || len(body) < 8 {
					return
				}
				reply := append([]byte(nil), answered...)
				if len(reply) >= 4 {
					binary.BigEndian.PutUint32(reply, binary.BigEndian.Uint32(body[4:]))
				}
				writeFrame(broker, reply)
			}
		}()
		for range times%4 + 1 {
			writeFrame(client, asked)
		}
		_, _ = client.Write(asked)
		_ = client.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection does not end")
		}
	})
}
