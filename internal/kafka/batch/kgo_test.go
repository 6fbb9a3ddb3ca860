package batch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluicegate/sluice/abi"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestClient reads what kgo produced with each codec, transactions included,
// rebuilds it, and lets kgo read that.
func TestClient(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(1, "topic-none", "topic-gzip", "topic-snappy", "topic-lz4", "topic-zstd"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
				kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond), kgo.TransactionalID("tx-"+name),
				kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			topic := "topic-" + name
			produce(ctx, t, cl, topic)
			fetched := fetch(ctx, t, cl, topic)
			checkRebuilt(t, fetched, topic)
		})
	}
}

// produce commits two transactions of 50 records.
func produce(ctx context.Context, t *testing.T, cl *kgo.Client, topic string) {
	t.Helper()
	for tx := range 2 {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			r := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "value %d of transaction %d", i, tx),
				Timestamp: time.UnixMilli(1700000000000 + int64(i%7))}
			if i%2 == 0 {
				r.Key = fmt.Appendf(nil, "key %d", i)
				r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}}
			}
			if i%10 == 9 {
				r.Value = nil
			}
			cl.Produce(ctx, r, nil)
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
}

// fetch returns the bytes of partition 0.
func fetch(ctx context.Context, t *testing.T, cl *kgo.Client, topic string) kmsg.FetchResponseTopicPartition {
	t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 100, 1, 1<<20
	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(topic)}}
	found, err := meta.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = topic, found.Topics[0].TopicID
	if err := kerr.ErrorForCode(found.Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.PartitionMaxBytes = 1 << 20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	p := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		t.Fatal(err)
	}
	return p
}

// checkRebuilt upper-cases keys, drops every fifth record and compares what
// kgo reads.
func checkRebuilt(t *testing.T, p kmsg.FetchResponseTopicPartition, topic string) {
	t.Helper()
	var d Decoder
	var e Encoder
	var out []byte
	var want []abi.Record
	control := 0
	for b, err := range All(p.RecordBatches) {
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		if b.IsControl() {
			control++
			out = append(out, b.Raw...)
			continue
		}
		if !b.IsTransactional() {
			t.Error("batch is not transactional")
		}
		recs, err := d.Records(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		var left []abi.Record
		for _, r := range recs {
			if r.Offset%5 == 0 {
				continue
			}
			if r.Key != nil {
				r.Key = append([]byte("replaced "), r.Key...)
			}
			left = append(left, r)
			want = append(want, clone(r))
		}
		if out, err = e.AppendFetched(out, b, left); err != nil {
			t.Fatal(err)
		}
	}
	if control != 2 || len(want) < 80 {
		t.Fatalf("%d control batches, %d records left", control, len(want))
	}
	p.RecordBatches = out
	read, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: topic}, &p, kgo.DefaultDecompressor(), nil)
	if read.Err != nil {
		t.Fatal(read.Err)
	}
	var got []abi.Record
	for _, r := range read.Records {
		g := abi.Record{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp.UnixMilli(), Offset: r.Offset}
		for _, h := range r.Headers {
			g.Headers = append(g.Headers, abi.Header{Name: h.Key, Value: h.Value})
		}
		got = append(got, g)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if next != p.HighWatermark {
		t.Errorf("kgo would fetch from %d next, want %d", next, p.HighWatermark)
	}
}

// clone copies what is a view.
func clone(r abi.Record) abi.Record {
	c := r
	c.Headers = nil
	if r.Key != nil {
		c.Key = append([]byte{}, r.Key...)
	}
	if r.Value != nil {
		c.Value = append([]byte{}, r.Value...)
	}
	for _, h := range r.Headers {
		v := h.Value
		if v != nil {
			v = append([]byte{}, v...)
		}
		c.Headers = append(c.Headers, abi.Header{Name: string([]byte(h.Name)), Value: v})
	}
	return c
}
