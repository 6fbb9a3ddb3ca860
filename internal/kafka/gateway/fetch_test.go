package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/batch"
	"github.com/sluicegate/sluice/internal/kafka/marker"
)

// TestFetchVerdicts stores every kind of batch and reads it through a fetch pipeline.
func TestFetchVerdicts(t *testing.T) {
	for kind, opts := range producers {
		for name, codec := range codecs {
			t.Run(kind+"/"+name, func(t *testing.T) {
				k := kafka(t, 1, kfake.SeedTopics(1, "in", "dead"))
				r := start(t, k.ListenAddrs()).awaitReady()
				c := r.client(append(opts, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))...)
				for i, values := range [][]string{{"a", "drop me", "replace me", "dead one", "z"}, {"drop all", "drop them"}, {"end"}} {
					if err := produceAll(t, c, kind == "transactional", values...); err != nil {
						t.Fatalf("batch %d: %v", i, err)
					}
				}
				r.setRoutes(onFetch(&fake{drops: true, judge: byValue}, "in"))
				for _, isolation := range []kgo.IsolationLevel{kgo.ReadUncommitted(), kgo.ReadCommitted()} {
					got := r.consume("in", 4, kgo.FetchIsolationLevel(isolation))
					if want := []string{"a", "replaced me", "z", "end"}; !slices.Equal(values(got), want) {
						t.Errorf("got %q, want %q", values(got), want)
					}
					if got[1].Offset != 2 || got[2].Offset != 4 || string(got[1].Headers[2].Key) != "seen" || got[1].Timestamp.UnixMilli() != 1700000000000 {
						t.Errorf("got %+v", got[1])
					}
				}
				dead := direct(t, k, "dead", 2) // once for each consumer
				if !strings.Contains(string(dead[0].Headers[2].Value), `"offset":3`) {
					t.Errorf("dead letter %+v", dead[0])
				}
			})
		}
	}
}

// TestAborted checks that aborted transactions stay aborted when they are opened.
func TestAborted(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in", "dead"))
	r := start(t, k.ListenAddrs()).awaitReady()
	r.setRoutes(onFetch(&fake{drops: true, judge: byValue}, "in"))
	c := r.client(kgo.TransactionalID("t"))
	for i, try := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		_ = c.BeginTransaction()
		for _, v := range []string{"drop", "replace"} {
			if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: fmt.Append(nil, v, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.EndTransaction(t.Context(), try); err != nil {
			t.Fatal(err)
		}
	}
	if got := values(r.consume("in", 2, kgo.FetchIsolationLevel(kgo.ReadCommitted()))); !slices.Equal(got, []string{"replaced0", "replaced2"}) {
		t.Errorf("got %q", got)
	}
}

// TestStopped has a stage that fails at one record: what precedes it is delivered, it is not, and consumers go on when it works again.
func TestStopped(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(2, "in"))
	r := start(t, k.ListenAddrs()).awaitReady()
	c := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, v := range []string{"one", "two", "poison", "four"} {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Partition: 1, Value: []byte("other")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	broken.Store(true)
	r.setRoutes(onFetch(&fake{fail: func(b *host.Batch) error {
		if broken.Load() && string(b.Records[0].Value) == "poison" {
			return &host.StoppedError{Pipeline: "f", Stage: "s", Topic: b.Topic, Partition: b.Partition, Offset: b.Records[0].Offset, Err: errors.New("poison")}
		}
		return nil
	}}, "in"))
	raw := r.raw()
	for v := int16(4); v <= 12; v++ {
		req := fetchOf(v, "in", 10)
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = 1, 1<<20
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
		raw.send(req, 1)
		resp := fetchResponse(v)
		raw.receive(resp, 1)
		if n := len(payload(t, resp, 0)); n != 2 || payload(t, resp, 1)[0] != "other" || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("v%d: %d records before the poison, %+v", v, n, resp.Topics[0].Partitions[0].ErrorCode)
		}
		req.Topics[0].Partitions[0].FetchOffset = 2
		if v%2 == 0 { // nothing but the partition that fails
			req.Topics[0].Partitions = req.Topics[0].Partitions[:1]
		}
		asked := time.Now()
		raw.send(req, 2)
		resp = fetchResponse(v)
		raw.receive(resp, 2)
		want := int16(56)
		if v < 6 {
			want = 6
		}
		for _, p := range resp.Topics[0].Partitions {
			if p.Partition == 0 && (p.ErrorCode != want || len(p.RecordBatches) > 0) || p.Partition == 1 && p.ErrorCode != 0 {
				t.Errorf("v%d: partition %d: code %d, %d bytes", v, p.Partition, p.ErrorCode, len(p.RecordBatches))
			}
		}
		if d := time.Since(asked); v%2 == 0 && d < failureDelay || resp.ThrottleMillis != 0 {
			t.Errorf("v%d: answered after %v, with a throttle of %d ms", v, d, resp.ThrottleMillis)
		}
	}
	go func() {
		time.Sleep(time.Second)
		broken.Store(false)
	}()
	got := values(r.consume("in", 5))
	slices.Sort(got)
	if !slices.Equal(got, []string{"four", "one", "other", "poison", "two"}) {
		t.Errorf("got %q", got)
	}
}

// payload returns the values in a partition of a fetch response.
func payload(t *testing.T, resp *kmsg.FetchResponse, partition int32) (values []string) {
	t.Helper()
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if p.Partition != partition {
				continue
			}
			var d batch.Decoder
			for b, err := range batch.All(p.RecordBatches) {
				if err == nil {
					err = b.CheckCRC()
				}
				if err != nil {
					t.Fatal(err)
				}
				recs, err := d.Records(b, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range recs {
					values = append(values, string(r.Value))
				}
			}
		}
	}
	return values
}

// fetched encodes record sets as a broker would: each batch at its offset.
func fetched(t *testing.T, codec batch.Codec, batches ...[]string) (set []byte) {
	t.Helper()
	offset := int64(0)
	for _, values := range batches {
		var recs []abi.Record
		for i, v := range values {
			recs = append(recs, abi.Record{Value: []byte(v), Offset: offset + int64(i), Timestamp: 5})
		}
		b := batch.Batch{
			BaseOffset: offset, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, Attributes: int16(codec), BaseTimestamp: 5, MaxTimestamp: 5,
			NumRecords: int32(len(recs)), LastOffsetDelta: int32(len(recs) - 1),
		}
		var e batch.Encoder
		var err error
		if set, err = e.AppendFetched(set, &b, recs); err != nil {
			t.Fatal(err)
		}
		offset += int64(len(values))
	}
	return set
}

// TestFetchBytes has responses whose every other byte must stay as the broker wrote it.
func TestFetchBytes(t *testing.T) {
	var mu atomic.Pointer[kmsg.FetchResponse]
	s := newStub(t, func(r stubRequest) []byte {
		if r.Key == 3 { // a lookup of the gateway's
			m := kmsg.NewPtrMetadataResponse()
			m.Version = r.Version
			req := kmsg.NewPtrMetadataRequest()
			req.Version = r.Version
			if err := req.ReadFrom(r.body); err != nil {
				t.Error(err)
			}
			for _, topic := range req.Topics {
				if n := topic.TopicID[0]; n <= 2 {
					m.Topics = append(m.Topics, kmsg.MetadataResponseTopic{Topic: ptr(fmt.Sprint("topic", n-1)), TopicID: topic.TopicID})
				}
			}
			return body(m)
		}
		return body(mu.Load())
	})
	r := start(t, s.addr()).awaitReady()
	r.setRoutes(onFetch(&fake{judge: byValue}, "topic1"))
	whole := fetched(t, batch.None, []string{"a", "b"}, []string{"c"})
	for v := int16(4); v <= 15; v++ {
		tests := []struct {
			name         string
			records      []byte
			want0, want1 []byte // of the topic that is not matched, and of the one that is
		}{
			{"kept", whole, whole, whole},
			{"null", nil, nil, nil},
			{"empty", []byte{}, []byte{}, []byte{}},
			{"cut batch is not passed on", whole[:len(whole)-5], whole[:len(whole)-5], fetched(t, batch.None, []string{"a", "b"})},
			{"replaced", fetched(t, batch.None, []string{"a"}, []string{"replace"}), fetched(t, batch.None, []string{"a"}, []string{"replace"}), nil},
		}
		for _, tt := range tests {
			resp := fetchResponseOf(v, tt.records)
			resp.SessionID = 0
			mu.Store(resp)
			want := fetchResponseOf(v, nil)
			want.SessionID = 0
			for i, topic := range want.Topics {
				for j := range topic.Partitions {
					if i == 0 && j == 0 {
						continue // has none
					}
					topic.Partitions[j].RecordBatches = [][]byte{tt.want0, tt.want1}[i]
				}
			}
			req := fetchOf(v, "topic0", 0)
			req.Topics[0].TopicID = topicID{1}
			req.Topics = append(req.Topics, kmsg.FetchRequestTopic{Topic: "topic1", TopicID: topicID{2}, Partitions: req.Topics[0].Partitions})
			c := r.raw()
			c.send(req, 1)
			got, err := readFrame(c)
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "replaced" {
				back := fetchResponse(v)
				if err := back.ReadFrom(got[len(body(back))-len(back.AppendTo(nil))+4:]); err != nil {
					t.Fatal(err)
				}
				if got := payload(t, &kmsg.FetchResponse{Topics: back.Topics[1:]}, 1); !slices.Equal(got, []string{"a", "replaced"}) {
					t.Errorf("v%d: %q", v, got)
				}
				if got := back.Topics[0].Partitions[1].RecordBatches; !bytes.Equal(got, tt.records) {
					t.Errorf("v%d: the other topic changed", v)
				}
				continue
			}
			if w := body(want); !bytes.Equal(got[4:], w) {
				t.Errorf("v%d %s: got\n%q, want\n%q", v, tt.name, got[4:], w)
			}
		}
	}
	t.Run("unknown id", func(t *testing.T) {
		resp := fetchResponseOf(13, whole)
		resp.Topics[1].TopicID = topicID{9}
		mu.Store(resp)
		req := fetchOf(13, "", 0)
		req.Topics[0].TopicID = topicID{9}
		c := r.raw()
		c.send(req, 1)
		got := fetchResponse(13)
		c.receive(got, 1)
		for _, p := range got.Topics[1].Partitions {
			if p.ErrorCode != 100 || len(p.RecordBatches) != 0 {
				t.Errorf("code %d, %d bytes", p.ErrorCode, len(p.RecordBatches))
			}
		}
		if !bytes.Equal(got.Topics[0].Partitions[1].RecordBatches, whole) {
			t.Error("the known topic changed")
		}
	})
}

// TestFetchSessions goes through incremental sessions, and through a reload in the middle of one.
func TestFetchSessions(t *testing.T) {
	set := fetched(t, batch.Gzip, []string{"replace it"})
	s := newStub(t, func(r stubRequest) []byte {
		req := kmsg.NewPtrFetchRequest()
		req.Version = r.Version
		if err := req.ReadFrom(r.body); err != nil {
			t.Error(err)
		}
		resp := fetchResponse(r.Version)
		resp.SessionID = req.SessionID
		if req.SessionEpoch == 0 {
			resp.SessionID = 77
		}
		for _, name := range []string{"in", "other"} {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic = name
			topic.Partitions = []kmsg.FetchResponseTopicPartition{{RecordBatches: set}}
			resp.Topics = append(resp.Topics, topic)
		}
		return body(resp)
	})
	r := start(t, s.addr()).awaitReady()
	c := r.raw()
	ask := func(session, epoch int32, topics ...string) (code int16, in string) {
		t.Helper()
		req := fetchOf(12, "", 0)
		req.SessionID, req.SessionEpoch = session, epoch
		partitions := req.Topics[0].Partitions
		req.Topics = nil
		for _, name := range topics {
			req.Topics = append(req.Topics, kmsg.FetchRequestTopic{Topic: name, Partitions: partitions})
		}
		c.send(req, 1)
		resp := fetchResponse(12)
		c.receive(resp, 1)
		if resp.ErrorCode != 0 {
			return resp.ErrorCode, ""
		}
		return 0, payload(t, &kmsg.FetchResponse{Topics: resp.Topics[:1]}, 0)[0]
	}
	check := func(what string, code int16, in string, wantCode int16, wantIn string) {
		t.Helper()
		if code != wantCode || in != wantIn {
			t.Errorf("%s: got code %d, %q; want %d, %q", what, code, in, wantCode, wantIn)
		}
	}
	code, in := ask(0, 0, "in", "other")
	check("no routes", code, in, 0, "replace it")
	r.setRoutes(onFetch(&fake{judge: byValue}, "in"))
	code, in = ask(77, 1)
	check("session from before the routes", code, in, 70, "")
	code, in = ask(0, 0, "in", "other")
	check("full", code, in, 0, "replaced it")
	code, in = ask(77, 1)
	check("incremental", code, in, 0, "replaced it")
	code, in = ask(78, 1)
	check("another's session", code, in, 70, "")
	r.setRoutes(onFetch(&fake{judge: byValue}, "none"))
	code, in = ask(77, 2)
	check("session of other routes", code, in, 70, "")
	code, in = ask(0, 0, "other")
	check("nothing matches", code, in, 0, "replace it")
	code, in = ask(77, 1, "in")
	check("a topic is added that does not match", code, in, 0, "replace it")
	r.setRoutes(onFetch(&fake{judge: byValue}, "in"))
	code, in = ask(0, 0, "other")
	check("a session that is not opened", code, in, 0, "replace it") // the stub sends what was not asked for
	code, in = ask(77, 1, "in")
	check("a topic is added that matches", code, in, 0, "replaced it")
	code, in = ask(77, 2)
	check("and stays", code, in, 0, "replaced it")
	code, in = ask(77, -1, "in")
	check("session ended", code, in, 0, "replaced it")
	code, in = ask(77, 3)
	check("after its end", code, in, 70, "")
}

// TestMaxBytesLowered checks what the broker is asked for.
func TestMaxBytesLowered(t *testing.T) {
	s := newStub(t, func(r stubRequest) []byte { return body(fetchResponseOf(r.Version, nil)) })
	r := start(t, s.addr()).awaitReady()
	r.setRoutes(onFetch(&fake{}, "in"))
	c := r.raw()
	for _, topic := range []string{"in", "other"} {
		c.send(fetchOf(11, topic, 0), 1)
		if _, err := readFrame(c); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [][2]int32{{8 << 20, 1 << 20}, {50 << 20, 50 << 20}} {
		req := kmsg.NewPtrFetchRequest()
		req.Version = 11
		if err := req.ReadFrom(s.requests()[i].body); err != nil {
			t.Fatal(err)
		}
		if got := [2]int32{req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes}; got != want {
			t.Errorf("request %d asks for %d, want %d", i, got, want)
		}
	}
}

// TestMarkersOfOthers checks that only markers with the right code are hidden, and that listed topics are looked at without any pipeline.
func TestMarkersOfOthers(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "old", "other"))
	r := start(t, k.ListenAddrs()).awaitReady()
	routes, err := NewRoutes(Markers{Key: secret, Topics: []string{"old"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetRoutes(t.Context(), routes); err != nil {
		t.Fatal(err)
	}
	right, _ := marker.New(secret)
	wrong, _ := marker.New([]byte("another key of 32 bytes or so..."))
	c := r.client(kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	produce := func(topic, value string, m *marker.Maker) {
		rec := &kgo.Record{Topic: topic, Value: []byte(value)}
		if m != nil {
			var a abi.Record
			m.Make("old", &a)
			rec.Key, rec.Value, rec.Headers = a.Key, a.Value, []kgo.RecordHeader{{Key: a.Headers[0].Name, Value: a.Headers[0].Value}}
		}
		if err := c.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"old", "other"} {
		produce(topic, "a", nil)
		produce(topic, "", right)
		produce(topic, "", wrong)
		produce(topic, "z", nil)
	}
	if got := r.consume("old", 3); len(got) != 3 || got[0].Offset != 0 || got[1].Offset != 2 || got[2].Offset != 3 {
		t.Errorf("got %q", values(got))
	}
	if got := r.consume("other", 4); len(got) != 4 {
		t.Errorf("got %q", values(got))
	}
}

// TestOnlyMarkers checks that a consumer gets past batches of which nothing is left.
func TestOnlyMarkers(t *testing.T) {
	k := kafka(t, 1, kfake.SeedTopics(1, "in"))
	r := start(t, k.ListenAddrs()).awaitReady()
	r.setRoutes(onProduce(&fake{drops: true, judge: byValue}, "in"))
	c := r.client()
	for range 50 {
		if err := produceAll(t, c, false, "drop", "drop"); err != nil {
			t.Fatal(err)
		}
	}
	if err := produceAll(t, c, false, "end"); err != nil {
		t.Fatal(err)
	}
	if got := r.consume("in", 1); got[0].Offset != 100 || string(got[0].Value) != "end" {
		t.Errorf("got %+v", got[0])
	}
}

// TestShareFetch checks that share groups cannot go around pipelines.
func TestShareFetch(t *testing.T) {
	s := newStub(t, func(r stubRequest) []byte {
		if r.Key == 3 {
			m := kmsg.NewPtrMetadataResponse()
			m.Version = r.Version
			m.Topics = []kmsg.MetadataResponseTopic{{Topic: ptr("in"), TopicID: topicID{1}}, {Topic: ptr("other"), TopicID: topicID{2}}}
			return body(m)
		}
		m := kmsg.NewPtrShareFetchResponse()
		m.Version = r.Version
		m.AcquisitionLockTimeoutMillis = 4711
		return body(m)
	})
	r := start(t, s.addr()).awaitReady()
	c := r.raw()
	ask := func(epoch int32, ids ...topicID) *kmsg.ShareFetchResponse {
		t.Helper()
		req := kmsg.NewPtrShareFetchRequest()
		req.Version, req.GroupID, req.MemberID, req.ShareSessionEpoch = 1, ptr("g"), ptr("m"), epoch
		for _, id := range ids {
			req.Topics = append(req.Topics, kmsg.ShareFetchRequestTopic{TopicID: id, Partitions: []kmsg.ShareFetchRequestTopicPartition{{Partition: 5}}})
		}
		c.send(req, 1)
		resp := kmsg.NewPtrShareFetchResponse()
		resp.Version = 1
		c.receive(resp, 1)
		return resp
	}
	if got := ask(0, topicID{1}); got.AcquisitionLockTimeoutMillis != 4711 {
		t.Error("without routes, share fetches pass")
	}
	r.setRoutes(onFetch(&fake{}, "in"))
	if got := ask(1); got.ErrorCode != 122 {
		t.Errorf("a session from before: %d, want SHARE_SESSION_NOT_FOUND", got.ErrorCode)
	}
	got := ask(0, topicID{1}, topicID{2}, topicID{3})
	if len(got.Topics) != 2 || got.Topics[0].Partitions[0].ErrorCode != 29 || got.Topics[0].Partitions[0].Partition != 5 || got.Topics[1].Partitions[0].ErrorCode != 100 {
		t.Errorf("matched and unknown: %+v", got.Topics)
	}
	if got := ask(0, topicID{2}); got.AcquisitionLockTimeoutMillis != 4711 {
		t.Error("topics that are not matched pass")
	}
	if got := ask(1); got.AcquisitionLockTimeoutMillis != 4711 {
		t.Error("and so does their session")
	}
	if got := ask(2, topicID{1}); got.Topics[0].Partitions[0].ErrorCode != 29 {
		t.Errorf("a matched topic added to a session: %+v", got)
	}
}

// TestShareFetchClaims sends a share fetch request that claims to hold a great many topics.
func TestShareFetchClaims(t *testing.T) {
	s := newStub(t, func(stubRequest) []byte { return nil })
	r := start(t, s.addr()).awaitReady()
	r.setRoutes(onFetch(&fake{}, "in"))
	c := r.raw()
	req := kmsg.NewPtrShareFetchRequest()
	req.Version = 1
	writeFrame(c, request(req, 1), make([]byte, maxShareFetch))
	c.ended()
}
