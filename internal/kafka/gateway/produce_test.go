package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/batch"
	"github.com/sluicegate/sluice/internal/kafka/emit"
	"github.com/sluicegate/sluice/internal/kafka/marker"
)

func onProduce(p Pipeline, topics ...string) Route {
	return Route{Name: "p", Topics: topics, On: host.Produce, Pipeline: p}
}

func onFetch(p Pipeline, topics ...string) Route {
	return Route{Name: "f", Topics: topics, On: host.Fetch, Pipeline: p}
}

// producers are the settings under which verdicts have to hold.
var producers = map[string][]kgo.Opt{
	"plain":         {kgo.DisableIdempotentWrite()},
	"idempotent":    {},
	"transactional": {kgo.TransactionalID("t")},
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// produceAll writes values as one batch, in a transaction if the client is transactional.
func produceAll(t *testing.T, c *kgo.Client, transactional bool, values ...string) error {
	t.Helper()
	if transactional {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: "in", Partition: 0, Key: []byte("key"), Value: []byte(v), Timestamp: time.UnixMilli(1700000000000), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h"}}})
	}
	err := c.ProduceSync(t.Context(), rs...).FirstErr()
	if transactional {
		if e := c.EndTransaction(t.Context(), kgo.TransactionEndTry(err == nil)); e != nil {
			t.Fatal(e)
		}
	}
	return err
}

// TestProduceVerdicts has every verdict under every producer and codec; what is stored and what consumers see is compared, twice, because the second batch shows
// whether sequences are still right.
func TestProduceVerdicts(t *testing.T) {
	for kind, opts := range producers {
		for name, codec := range codecs {
			t.Run(kind+"/"+name, func(t *testing.T) {
				k := kafka(t, 1, kfake.SeedTopics(1, "in", "dead"))
				r := start(t, k.ListenAddrs()).awaitReady()
				r.setRoutes(onProduce(&fake{drops: true, judge: byValue}, "in"))
				c := r.client(append(opts, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))...)
				transactional := kind == "transactional"
				for round := range 2 {
					if err := produceAll(t, c, transactional, fmt.Sprint("a", round), "drop me", "replace me", "dead one", "z"); err != nil {
						t.Fatal(err)
					}
				}
				got := r.consume("in", 6)
				if want := []string{"a0", "replaced me", "z", "a1", "replaced me", "z"}; !slices.Equal(values(got), want) {
					t.Errorf("consumers see %q, want %q", values(got), want)
				}
				for _, g := range got {
					if string(g.Key) != "key" || g.Timestamp.UnixMilli() != 1700000000000 || len(g.Headers) < 2 || string(g.Headers[0].Value) != "1" || g.Headers[1].Value != nil {
						t.Errorf("record %q lost something: %+v", g.Value, g)
					}
				}
				stored := direct(t, k, "in", 10)
				m, _ := marker.New(secret)
				for i, s := range stored {
					isMarker := len(s.Headers) == 1 && m.Is("in", &abi.Record{Key: s.Key, Value: s.Value, Headers: []abi.Header{{Name: s.Headers[0].Key, Value: s.Headers[0].Value}}})
					if want := i%5 == 1 || i%5 == 3; isMarker != want || isMarker && s.Value != nil {
						t.Errorf("stored record %d: marker %v, want %v: %+v", i, isMarker, want, s)
					}
				}
				dead := direct(t, k, "dead", 2)
				for _, d := range dead {
					if string(d.Value) != "dead one" || string(d.Key) != "key" || len(d.Headers) != 5 || string(d.Headers[3].Value) != "bad dead one" || string(d.Headers[4].Value) != "p/s" {
						t.Errorf("dead letter %+v", d)
					}
				}
			})
		}
	}
}

// TestReject checks what the client hears, and that it can go on.
func TestReject(t *testing.T) {
	for kind, opts := range producers {
		t.Run(kind, func(t *testing.T) {
			k := kafka(t, 1, kfake.SeedTopics(1, "in", "dead"))
			r := start(t, k.ListenAddrs()).awaitReady()
			r.setRoutes(onProduce(&fake{drops: true, judge: byValue}, "in"))
			c := r.client(append(opts, kgo.ProducerLinger(20*time.Millisecond))...)
			transactional := kind == "transactional"
			if err := produceAll(t, c, transactional, "fine"); err != nil {
				t.Fatal(err)
			}
			err := produceAll(t, c, transactional, "a", "dead one", "reject 1", "reject 2")
			if !errors.Is(err, kerr.InvalidRecord) {
				t.Errorf("got %v, want INVALID_RECORD", err)
			}
			if err := produceAll(t, c, transactional, "fine again"); err != nil {
				t.Errorf("after a rejection: %v", err)
			}
			if got := values(r.consume("in", 2)); !slices.Equal(got, []string{"fine", "fine again"}) {
				t.Errorf("stored %q", got)
			}
		})
	}
}

// encoded returns a record set of one batch.
func encoded(t testing.TB, producerID int64, values ...string) []byte {
	t.Helper()
	var recs []abi.Record
	for i, v := range values {
		recs = append(recs, abi.Record{Value: []byte(v), Offset: int64(i), Timestamp: 1700000000000})
	}
	return encode(t, batch.Batch{ProducerID: producerID}, recs)
}

func encode(t testing.TB, b batch.Batch, recs []abi.Record) []byte {
	t.Helper()
	if b.ProducerID < 0 {
		b.ProducerEpoch, b.BaseSequence = -1, -1
	}
	b.BaseTimestamp, b.MaxTimestamp = recs[0].Timestamp, recs[0].Timestamp
	b.NumRecords, b.LastOffsetDelta, b.PartitionLeaderEpoch = int32(len(recs)), int32(len(recs)-1), -1
	var e batch.Encoder
	out, err := e.AppendProduced(nil, &b, recs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// produceTo is a request with record sets by topic and partition.
func produceTo(version, acks int16, sets ...set) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 1000
	for _, s := range sets {
		n := len(req.Topics)
		if n == 0 || req.Topics[n-1].Topic != s.topic || req.Topics[n-1].TopicID != s.id {
			t := kmsg.NewProduceRequestTopic()
			t.Topic, t.TopicID = s.topic, s.id
			req.Topics = append(req.Topics, t)
			n++
		}
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = s.partition, s.records
		req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, p)
	}
	return req
}

type set struct {
	topic     string
	id        topicID
	partition int32
	records   []byte
}

func (r *raw) produce(req *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	r.t.Helper()
	r.send(req, 1)
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = req.Version
	r.receive(resp, 1)
	return resp
}

// outline is a produce response in a line: topic/partition=code@offset, with the batch indexes of record errors.
func outline(resp *kmsg.ProduceResponse) string {
	var s []string
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			name := t.Topic
			if resp.Version >= 13 {
				name = fmt.Sprintf("%x", t.TopicID[:2])
			}
			line := fmt.Sprintf("%s/%d=%d@%d", name, p.Partition, p.ErrorCode, p.BaseOffset)
			for _, e := range p.ErrorRecords {
				line += fmt.Sprintf("!%d", e.RelativeOffset)
			}
			s = append(s, line)
		}
	}
	return strings.Join(s, " ")
}

// TestMergedAnswers sends requests with several topics and partitions, some of which are refused: the answer has exactly what was requested, in order, and the
// rest is stored.
func TestMergedAnswers(t *testing.T) {
	ok, bad := encoded(t, -1, "good"), encoded(t, -1, "good", "reject x", "fine", "reject y")
	for v := int16(3); v <= 12; v++ {
		k := kafka(t, 1, kfake.SeedTopics(3, "in", "other"))
		r := start(t, k.ListenAddrs()).awaitReady()
		r.setRoutes(onProduce(&fake{judge: byValue}, "in"))
		c := r.raw()
		errs := "!1!3"
		if v < 8 {
			errs = ""
		}
		tests := []struct {
			name string
			sets []set
			want string
		}{
			// the fake cluster's own answers are in no order
			{"all good", []set{{"in", topicID{}, 0, ok}}, "in/0=0@0"},
			{"not matched", []set{{"other", topicID{}, 0, bad}}, "other/0=0@0"},
			{"middle refused", []set{{"in", topicID{}, 0, ok}, {"in", topicID{}, 1, bad}, {"in", topicID{}, 2, ok}, {"other", topicID{}, 1, ok}}, "in/0=0@1 in/1=87@-1" + errs + " in/2=0@0 other/1=0@0"},
			{"topic refused", []set{{"other", topicID{}, 2, ok}, {"in", topicID{}, 1, bad}, {"other", topicID{}, 1, ok}}, "other/2=0@0 in/1=87@-1" + errs + " other/1=0@1"},
			{"nothing left", []set{{"in", topicID{}, 2, bad}, {"in", topicID{}, 1, bad}}, "in/2=87@-1" + errs + " in/1=87@-1" + errs},
			{"one partition", []set{{"in", topicID{}, 0, bad}}, "in/0=87@-1" + errs},
			{"unknown partition beside", []set{{"in", topicID{}, 9, ok}, {"in", topicID{}, 0, bad}}, "in/9=3@-1 in/0=87@-1" + errs},
		}
		for _, tt := range tests {
			resp := c.produce(produceTo(v, -1, tt.sets...))
			got := strings.ReplaceAll(outline(resp), "in/9=3@0", "in/9=3@-1")
			if got != tt.want {
				t.Errorf("v%d %s: got %s, want %s", v, tt.name, got, tt.want)
			}
			for _, topic := range resp.Topics {
				for _, p := range topic.Partitions {
					if p.ErrorCode != 87 {
						continue
					}
					if p.LogAppendTime != -1 || v >= 5 && p.LogStartOffset != -1 || v >= 8 && (p.ErrorMessage == nil || !strings.HasPrefix(*p.ErrorMessage, "rejected by p/s: no reject x (and 1 more") || *p.ErrorRecords[0].ErrorMessage != "no reject x") {
						t.Errorf("v%d %s: %+v", v, tt.name, p)
					}
				}
			}
		}
	}
}

// TestBadBatches sends what is no batch, or one that must not be.
func TestBadBatches(t *testing.T) {
	good := encoded(t, -1, "one", "two")
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	reserved := encode(t, batch.Batch{ProducerID: -1}, []abi.Record{{Value: []byte("v")}, {Value: []byte("v"), Headers: []abi.Header{{Name: "sluice.dropped", Value: []byte("x")}}}})
	bomb := encode(t, batch.Batch{ProducerID: -1, Attributes: int16(batch.Zstd)}, []abi.Record{{Value: make([]byte, 4<<20)}})
	tests := []struct {
		name    string
		version int16
		records []byte
		want    string
	}{
		{"good", 9, good, "in/0=0@0"},
		{"truncated", 9, good[:len(good)-3], "in/0=2@-1"},
		{"header only", 9, good[:61], "in/0=2@-1"},
		{"a few bytes", 9, good[:9], "in/0=2@-1"},
		{"wrong CRC", 9, change(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "in/0=2@-1"},
		{"legacy", 9, change(func(b []byte) []byte { b[16] = 1; return b }), "in/0=87@-1"},
		{"legacy in v2", 2, change(func(b []byte) []byte { b[16] = 1; return b }), "in/0=43@-1"},
		{"two batches", 9, append(slices.Clone(good), good...), "in/0=87@-1"},
		{"reserved header", 9, reserved, "in/0=87@-1!1"},
		{"bomb", 9, bomb, "in/0=10@-1"},
		{"good still", 9, good, "in/0=0@2"},
	}
	k := kafka(t, 1, kfake.SeedTopics(1, "in"))
	r := start(t, k.ListenAddrs(), func(c *Config) { c.Limits.BatchBytes = 1 << 20 }).awaitReady()
	r.setRoutes(onProduce(&fake{judge: byValue}, "in"))
	c := r.raw()
	for _, tt := range tests {
		if got := outline(c.produce(produceTo(tt.version, 1, set{topic: "in", records: tt.records}))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestFailuresOfOurs checks the answers when the gateway cannot do its part: nothing is stored, and clients ask again.
func TestFailuresOfOurs(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(2, "in", "dead"))
	letters := &recorder{}
	r := start(t, k.ListenAddrs(), func(c *Config) { c.Clusters[0].Emitter = letters }).awaitReady()
	failing := &fake{drops: true, judge: byValue, fail: func(b *host.Batch) error {
		if string(b.Records[0].Value) == "trap" {
			return &host.StageError{Pipeline: "p", Stage: "s", Cause: host.CauseTrap, Err: errors.New("unreachable")}
		}
		return nil
	}}
	r.setRoutes(onProduce(failing, "in"))
	c := r.raw()
	got := outline(c.produce(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, "trap")}, set{topic: "in", partition: 1, records: encoded(t, -1, "good")})))
	if got != "in/0=19@-1 in/1=0@0" {
		t.Errorf("stage failed: %s", got)
	}
	letters.failWith(errors.New("no broker"))
	got = outline(c.produce(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, "dead one")})))
	if got != "in/0=19@-1" {
		t.Errorf("emit failed: %s", got)
	}
	letters.failWith(nil)
	got = outline(c.produce(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, "dead one")})))
	if got != "in/0=0@0" || letters.len() != 1 {
		t.Errorf("afterwards: %s, %d letters", got, letters.len())
	}
	got = outline(c.produce(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, "dead one", "reject all")})))
	if got != "in/0=87@-1!1" || letters.len() != 1 {
		t.Errorf("rejected with a dead letter: %s, %d letters", got, letters.len())
	}
}

func TestZeroAcksRejected(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(2, "in"))
	r := start(t, k.ListenAddrs()).awaitReady()
	r.setRoutes(onProduce(&fake{judge: byValue}, "in"))
	c := r.raw()
	c.send(produceTo(9, 0, set{topic: "in", records: encoded(t, -1, "one")}), 1)
	c.send(produceTo(9, 0, set{topic: "in", records: encoded(t, -1, "reject")}, set{topic: "in", partition: 1, records: encoded(t, -1, "two")}), 2)
	c.send(produceTo(9, 0, set{topic: "in", records: encoded(t, -1, "three")}), 3)
	c.ended()
	got := values(direct(t, k, "in", 2))
	slices.Sort(got)
	if !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("stored %q", got)
	}
}

// TestTopicIDs has Produce v13: ids that nobody has asked about are looked up on the client's connection; unknown ones are refused.
func TestTopicIDs(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in", "other"))
	r := start(t, k.ListenAddrs()).awaitReady()
	r.setRoutes(onProduce(&fake{judge: byValue}, "in"))
	in, other := k.TopicInfo("in").TopicID, k.TopicInfo("other").TopicID
	c := r.raw()
	none := topicID{1, 2, 3}
	req := produceTo(13, -1, set{id: other, records: encoded(t, -1, "reject nothing")}, set{id: none, records: encoded(t, -1, "x")}, set{id: in, records: encoded(t, -1, "reject this")})
	want := fmt.Sprintf("%x/0=0@0 %x/0=100@-1 %x/0=87@-1!0", other[:2], none[:2], in[:2])
	if got := outline(c.produce(req)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want = fmt.Sprintf("%x/0=100@-1", none[:2])
	if got := outline(c.produce(produceTo(13, -1, set{id: none, records: encoded(t, -1, "x")}))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestReload swaps routes while clients produce: each batch is judged by exactly one set of routes, and the old one is idle afterwards.
func TestReload(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in"))
	r := start(t, k.ListenAddrs()).awaitReady()
	tag := func(i int) *fake {
		return &fake{judge: func(b *host.Batch, j int) host.Outcome {
			rec := b.Records[j]
			rec.Value = fmt.Append(nil, i)
			return host.Outcome{Op: abi.OpReplace, Record: rec}
		}}
	}
	r.setRoutes(onProduce(tag(0), "in"))
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan int)
	go func() {
		c := r.raw()
		n := 0
		for ctx.Err() == nil {
			if got := c.produce(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, "v", "v")})); got.Topics[0].Partitions[0].ErrorCode != 0 {
				t.Errorf("got %s", outline(got))
			}
			n++
		}
		stopped <- n
	}()
	for i := range 20 {
		time.Sleep(5 * time.Millisecond)
		r.setRoutes(onProduce(tag(i+1), "in"))
	}
	cancel()
	n := <-stopped
	stored := values(direct(t, k, "in", 2*n))
	last := 0
	for i := 0; i < len(stored); i += 2 {
		var v int
		fmt.Sscan(stored[i], &v)
		if stored[i] != stored[i+1] || v < last {
			t.Fatalf("batch %d was judged by %s and %s, after %d", i/2, stored[i], stored[i+1], last)
		}
		last = v
	}
}

// TestBudget has more opened bytes than the budget allows: everyone is served in turn.
func TestBudget(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in"))
	r := start(t, k.ListenAddrs(), func(c *Config) { c.Limits.OpenedBytes, c.Limits.BatchBytes = 1<<16, 1<<20 }).awaitReady()
	r.setRoutes(onProduce(&fake{judge: byValue}, "in"), onFetch(&fake{judge: byValue}, "in"))
	big := strings.Repeat("x", 100<<10)
	done := make(chan string)
	const clients = 8
	for range clients {
		go func() {
			c := r.raw()
			done <- outline(c.produce(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, big)})))
		}()
	}
	for range clients {
		if got := <-done; !strings.HasPrefix(got, "in/0=0@") {
			t.Error(got)
		}
	}
	if n := len(r.consume("in", clients)); n != clients {
		t.Errorf("%d records", n)
	}
}

// TestPipelined sends many produce requests without waiting, with others between them.
func TestPipelined(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in", "other"))
	r := start(t, k.ListenAddrs()).awaitReady()
	r.setRoutes(onProduce(&fake{judge: byValue}, "in"))
	c := r.raw()
	const n = 200
	go func() {
		for i := range int32(n) {
			switch i % 4 {
			case 0:
				c.send(produceTo(9, 1, set{topic: "in", records: encoded(t, -1, "reject")}), i)
			case 1:
				c.send(produceTo(9, 1, set{topic: "other", records: encoded(t, -1, "reject")}), i)
			case 2:
				c.send(produceTo(9, 1, set{topic: "in", records: encoded(t, -1, "replace it")}), i)
			case 3:
				c.send(apiVersions(3), i)
			}
		}
	}()
	for i := range int32(n) {
		if i%4 == 3 {
			resp := kmsg.NewPtrApiVersionsResponse()
			resp.Version = 3
			c.receive(resp, i)
			continue
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 9
		c.receive(resp, i)
		want := []string{"in/0=87@-1!0", fmt.Sprintf("other/0=0@%d", i/4), fmt.Sprintf("in/0=0@%d", i/4)}[i%4]
		if got := outline(resp); got != want {
			t.Fatalf("answer %d: %s, want %s", i, got, want)
		}
	}
}

// TestSequenceGaps refuses a batch of a producer that the broker does not know, with others in flight behind it. The broker would accept them,
// and never again the one before.
func TestSequenceGaps(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in"))
	r := start(t, k.ListenAddrs()).awaitReady()
	var fails atomic.Bool
	r.setRoutes(onProduce(&fake{judge: byValue, fail: func(*host.Batch) error {
		if fails.Load() {
			return errors.New("not now")
		}
		return nil
	}}, "in"))
	batchOf := func(pid int64, epoch int16, sequence int32, value string) []byte {
		return encode(t, batch.Batch{ProducerID: pid, ProducerEpoch: epoch, BaseSequence: sequence}, []abi.Record{{Value: []byte(value), Timestamp: 1700000000000}})
	}
	pid := func(c *raw) int64 {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version = 2
		c.send(req, 9)
		resp := kmsg.NewPtrInitProducerIDResponse()
		resp.Version = 2
		c.receive(resp, 9)
		return resp.ProducerID
	}
	for _, version := range []int16{9, 13} {
		c := r.raw()
		id := pid(c)
		s := set{topic: "in"}
		if version == 13 {
			s = set{id: k.TopicInfo("in").TopicID}
		}
		for i, step := range []struct {
			fails    bool
			epoch    int16
			sequence int32
			value    string
			want     int16
		}{
			{true, 0, 0, "good", kerr.NotEnoughReplicas.Code},
			{false, 0, 1, "good", kerr.OutOfOrderSequenceNumber.Code},
			{false, 0, 2, "reject", kerr.OutOfOrderSequenceNumber.Code},
			{false, 0, 0, "good", 0},
			{false, 0, 1, "reject", kerr.InvalidRecord.Code},
			{false, 0, 2, "good", kerr.OutOfOrderSequenceNumber.Code},
			{false, 0, 0, "good", 0}, // a duplicate
			{false, 0, 1, "other", 0},
			{false, 0, 2, "reject", kerr.InvalidRecord.Code},
			{false, 1, 0, "good", 0}, // another epoch
			{false, 1, 1, "good", 0},
		} {
			fails.Store(step.fails)
			s.records = batchOf(id, step.epoch, step.sequence, step.value)
			if got := c.produce(produceTo(version, -1, s)).Topics[0].Partitions[0].ErrorCode; got != step.want {
				t.Errorf("v%d: step %d: error %d, want %d", version, i, got, step.want)
			}
		}
	}
}

func TestSequenceDistance(t *testing.T) {
	const last = math.MaxInt32
	for _, c := range []struct{ a, b, want int32 }{
		{0, 0, 0}, {0, 5, 5}, {5, 0, -5}, {last, 0, 1}, {0, last, -1}, {last - 2, 3, 6}, {3, last - 2, -6}, {0, 1 << 30, 1 << 30},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%d, %d) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// slowEmitter never succeeds.
type slowEmitter struct{}

func (slowEmitter) Emit(ctx context.Context, _ []emit.Record) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestEmitTimeout has dead letters in many partitions of a request: their time is that of one.
func TestEmitTimeout(t *testing.T) {
	const partitions = 10
	k := kafka(t, 1, kfake.SeedTopics(partitions, "in"))
	r := start(t, k.ListenAddrs(), func(c *Config) {
		c.Clusters[0].Emitter = slowEmitter{}
		c.Limits.EmitTimeout = 500 * time.Millisecond
	}).awaitReady()
	r.setRoutes(onProduce(&fake{drops: true, judge: byValue}, "in"))
	var sets []set
	for i := range int32(partitions) {
		sets = append(sets, set{topic: "in", partition: i, records: encoded(t, -1, "dead one")})
	}
	began := time.Now()
	resp := r.raw().produce(produceTo(9, -1, sets...))
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the answer took %v", took)
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != kerr.NotEnoughReplicas.Code {
			t.Errorf("partition %d: error %d", p.Partition, p.ErrorCode)
		}
	}
}
