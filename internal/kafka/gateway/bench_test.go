package gateway

import (
	"fmt"
	"testing"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/batch"
	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// BenchmarkOpened is what opening a produce request of 100 records of 1 KB costs without any stage, network or broker: finding its parts, checking and decoding the
// batch, and putting it together again. MB/s is of one core.
func BenchmarkOpened(b *testing.B) {
	for name, codec := range map[string]batch.Codec{"none": batch.None, "zstd": batch.Zstd} {
		for _, change := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/changed=%v", name, change), func(b *testing.B) { benchOpened(b, codec, change) })
		}
	}
}

func benchOpened(b *testing.B, codec batch.Codec, change bool) {
	g, err := New(Config{Clusters: []ClusterConfig{{Name: "main", Bootstrap: []string{"none:1"}}}, Listeners: []ListenerConfig{{Name: "l", Cluster: "main", Bind: "127.0.0.1:0"}}})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	var recs []abi.Record
	for i := range 100 {
		recs = append(recs, abi.Record{Value: make([]byte, 1000), Key: fmt.Append(nil, i), Timestamp: 1})
	}
	other := make([]byte, 1000)
	routes, err := NewRoutes(Markers{}, []Route{onProduce(&fake{judge: func(b *host.Batch, i int) host.Outcome {
		if !change {
			return host.Outcome{}
		}
		r := b.Records[i]
		r.Value = other
		return host.Outcome{Op: abi.OpReplace, Record: r}
	}}, "in")})
	if err != nil {
		b.Fatal(err)
	}
	body := request(produceTo(9, 1, set{topic: "in", records: encode(b, batch.Batch{ProducerID: 1, Attributes: int16(codec)}, recs)}), 1)
	h, err := wire.ParseRequestHeader(body)
	if err != nil {
		b.Fatal(err)
	}
	c := &conn{g: g, cluster: g.clusters["main"], listener: g.listeners[0], ctx: b.Context()}
	b.SetBytes(100 * 1000)
	b.ReportAllocs()
	for b.Loop() {
		req, err := scanProduce(body, h)
		if err != nil {
			b.Fatal(err)
		}
		o := getOpener()
		p := producing{conn: c, header: h, routes: routes, opener: o, built: buffers.get()}
		if err := p.judge(req); err != nil || p.refused > 0 {
			b.Fatal(err, p.answer)
		}
		splice(nil, body, p.edits(req))
		buffers.put(p.built)
		o.put()
	}
}
