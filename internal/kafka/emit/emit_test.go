package emit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/abi"
)

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func read(t *testing.T, seeds []string, topic string, n int) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("got %d of %d records of %s", len(all), n, topic)
		}
		all = append(all, f.Records()...)
	}
	return all
}

// TestEmit checks that a record arrives as it was, with the three headers behind its own, null told from empty.
func TestEmit(t *testing.T) {
	k := cluster(t, kfake.SeedTopics(3, "dead"))
	c := client(t, Config{Cluster: "main", Bootstrap: k.ListenAddrs()})
	src := Source{Topic: "orders", Partition: 4, ProducerID: 7, Epoch: 1, Sequence: 12, Index: 2, Offset: -1}
	err := c.Emit(t.Context(), []Record{
		{Topic: "dead", Source: src, Stage: "p/s", Reason: "why", Record: abi.Record{
			Key: []byte("k"), Value: []byte{}, Timestamp: 1700000000123,
			Headers: []abi.Header{{Name: "a", Value: nil}, {Name: "a", Value: []byte("2")}},
		}},
		{Topic: "dead", Source: Source{Topic: "orders", Partition: 4, ProducerID: -1, Epoch: -1, Sequence: -1, Offset: 99}, Record: abi.Record{Timestamp: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, k.ListenAddrs(), "dead", 2)
	r := got[0]
	want := []kgo.RecordHeader{
		{Key: "a", Value: nil}, {Key: "a", Value: []byte("2")},
		{Key: HeaderSource, Value: []byte(`{"cluster":"main","topic":"orders","partition":4,"producer_id":7,"epoch":1,"sequence":12,"index":2}`)},
		{Key: HeaderReason, Value: []byte("why")},
		{Key: HeaderStage, Value: []byte("p/s")},
	}
	if diff := cmp.Diff(want, r.Headers); diff != "" {
		t.Error(diff)
	}
	if string(r.Key) != "k" || r.Value == nil || len(r.Value) != 0 || r.Timestamp.UnixMilli() != 1700000000123 || r.Partition != 1 {
		t.Errorf("got %+v, want the original key, empty value and timestamp in partition 4 modulo 3", r)
	}
	if got[1].Key != nil || got[1].Value != nil {
		t.Errorf("got key %v and value %v, want null", got[1].Key, got[1].Value)
	}
	if h := string(got[1].Headers[0].Value); h != `{"cluster":"main","topic":"orders","partition":4,"offset":99,"index":0}` {
		t.Errorf("source on fetch: %s", h)
	}
}

// TestOrder checks that records from one partition keep their order.
func TestOrder(t *testing.T) {
	k := cluster(t, kfake.SeedTopics(2, "dead"))
	c := client(t, Config{Bootstrap: k.ListenAddrs()})
	const n = 200
	for i := 0; i < n; i += 10 {
		var rs []Record
		for j := range 10 {
			rs = append(rs, Record{Topic: "dead", Source: Source{Partition: 1}, Record: abi.Record{Value: fmt.Append(nil, i+j), Timestamp: 1}})
		}
		if err := c.Emit(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range read(t, k.ListenAddrs(), "dead", n) {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d has value %s", i, r.Value)
		}
	}
}

func TestFailures(t *testing.T) {
	k := cluster(t)
	t.Run("no such topic", func(t *testing.T) {
		c := client(t, Config{Bootstrap: k.ListenAddrs(), Timeout: 3 * time.Second})
		err := c.Emit(t.Context(), []Record{{Topic: "none", Record: abi.Record{Timestamp: 1}}})
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "create it") {
			t.Errorf("got %v, want an unknown topic and what to do", err)
		}
	})
	t.Run("no broker", func(t *testing.T) {
		c := client(t, Config{Bootstrap: []string{"127.0.0.1:1"}, Timeout: 500 * time.Millisecond})
		start := time.Now()
		if err := c.Emit(t.Context(), []Record{{Topic: "none", Record: abi.Record{Timestamp: 1}}}); err == nil {
			t.Error("no error")
		}
		if _, err := c.Metadata(t.Context()); err == nil {
			t.Error("no error from Metadata")
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("took %v with a timeout of 500 ms", d)
		}
	})
	t.Run("mechanism", func(t *testing.T) {
		if _, err := New(Config{Bootstrap: []string{"x:1"}, SASL: &SASL{Mechanism: "GSSAPI"}}); err == nil || !strings.Contains(err.Error(), "want PLAIN") {
			t.Errorf("got %v", err)
		}
	})
}

func TestSASL(t *testing.T) {
	k := cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "sluice", "secret"))
	c := client(t, Config{Bootstrap: k.ListenAddrs(), SASL: &SASL{"SCRAM-SHA-256", "sluice", "secret"}})
	resp, err := c.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Brokers) != 2 || len(resp.Topics) != 0 {
		t.Errorf("got %d brokers and %d topics, want 2 and 0", len(resp.Brokers), len(resp.Topics))
	}
	c = client(t, Config{Bootstrap: k.ListenAddrs(), Timeout: time.Second, SASL: &SASL{"SCRAM-SHA-256", "sluice", "wrong"}})
	if _, err := c.Metadata(t.Context()); err == nil {
		t.Error("a wrong password was accepted")
	}
}

func TestPasswordIsHidden(t *testing.T) {
	s := SASL{Mechanism: "PLAIN", Username: "sluice", Password: "hunter2"}
	js, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", s, &s, struct{ S *SASL }{&s}.S, js); strings.Contains(text, "hunter2") {
		t.Errorf("shows the password: %s", text)
	}
}

// TestLarge writes records that are larger than batches usually are, between small ones and from several callers at once: in order, and each alone.
func TestLarge(t *testing.T) {
	k := cluster(t, kfake.SeedTopics(1, "dead"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "4000000"}))
	c := client(t, Config{Bootstrap: k.ListenAddrs()})
	value := make([]byte, 3<<20)
	if _, err := rand.Read(value); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const callers = 4
	for i := range callers {
		wg.Go(func() {
			var records []Record
			for j := range 5 {
				r := Record{Topic: "dead", Source: Source{Topic: "in", Index: int32(j)}, Record: abi.Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, j)}}
				if j%2 == 1 {
					r.Record.Value = value[:len(value)-j]
				}
				records = append(records, r)
			}
			if err := c.Emit(t.Context(), records); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	for _, r := range read(t, k.ListenAddrs(), "dead", 5*callers) {
		j := next[string(r.Key)]
		next[string(r.Key)]++
		if want := fmt.Sprint(j); j%2 == 0 && string(r.Value) != want || j%2 == 1 && len(r.Value) != len(value)-j {
			t.Errorf("caller %s: record %d has %d bytes", r.Key, j, len(r.Value))
		}
	}
}
