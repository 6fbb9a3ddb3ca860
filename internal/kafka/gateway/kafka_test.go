package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/internal/kafka/marker"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
)

// TestApacheKafka has the verdicts on Apache Kafka, which is strict where the fake cluster is not: batch shapes, sequences, transactions, compaction.
func TestApacheKafka(t *testing.T) {
	testenv.NeedKafka(t)
	k, err := apachekafka.Start(t.Context(), apachekafka.Config{Brokers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	seeds := strings.Split(k.Bootstrap(), ",")
	r := start(t, seeds).awaitReady()
	r.setRoutes(onProduce(&fake{drops: true, judge: byValue}, "in.*"), onFetch(&fake{judge: byValue}, "out.*"))
	adm := kadm.NewClient(r.client())
	create := func(topic string, configs map[string]*string) {
		t.Helper()
		if _, err := adm.CreateTopic(t.Context(), 1, 1, configs, topic); err != nil {
			t.Fatal(err)
		}
	}
	create("dead", nil)
	compacted := map[string]*string{"cleanup.policy": ptr("compact")}
	stored := func(topic string, n int) []*kgo.Record {
		t.Helper()
		c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return poll(t, c, n)
	}
	produce := func(c *kgo.Client, transactional bool, topic string, values ...string) error {
		t.Helper()
		if transactional {
			if err := c.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
		}
		var rs []*kgo.Record
		for _, v := range values {
			rs = append(rs, &kgo.Record{Topic: topic, Key: []byte("key"), Value: []byte(v)})
		}
		err := c.ProduceSync(t.Context(), rs...).FirstErr()
		if transactional {
			if e := c.EndTransaction(t.Context(), kgo.TransactionEndTry(err == nil)); e != nil {
				t.Fatal(e)
			}
		}
		return err
	}
	for kind, opts := range producers {
		for name, codec := range codecs {
			t.Run(kind+"/"+name, func(t *testing.T) {
				topic := "in." + kind + "." + name
				create(topic, compacted)
				if kind == "transactional" {
					opts = []kgo.Opt{kgo.TransactionalID(topic)}
				}
				c := r.client(append(opts, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))...)
				for round := range 2 {
					if err := produce(c, kind == "transactional", topic, fmt.Sprint("a", round), "drop me", "replace me", "dead one", "z"); err != nil {
						t.Fatal(err)
					}
					if err := produce(c, kind == "transactional", topic, "a", "dead and rejected", "reject 1"); !errors.Is(err, kerr.InvalidRecord) {
						t.Fatalf("got %v, want INVALID_RECORD", err)
					}
				}
				if err := produce(c, kind == "transactional", topic, "end"); err != nil {
					t.Fatal(err)
				}
				want := []string{"a0", "replaced me", "z", "a1", "replaced me", "z", "end"}
				for _, isolation := range []kgo.IsolationLevel{kgo.ReadUncommitted(), kgo.ReadCommitted()} {
					if got := values(r.consume(topic, len(want), kgo.FetchIsolationLevel(isolation))); !slices.Equal(got, want) {
						t.Errorf("consumers see %q, want %q", got, want)
					}
				}
				m, _ := marker.New(secret)
				markers := 0
				for _, s := range stored(topic, 11) {
					if len(s.Headers) == 1 && m.Is(topic, &abi.Record{Key: s.Key, Value: s.Value, Headers: []abi.Header{{Name: s.Headers[0].Key, Value: s.Headers[0].Value}}}) {
						markers++
					}
				}
				if markers != 4 {
					t.Errorf("%d markers are stored, want 4", markers)
				}
				out := "out." + kind + "." + name
				create(out, nil)
				if err := produce(c, kind == "transactional", out, "a", "drop", "replace", "z"); err != nil {
					t.Fatal(err)
				}
				if err := produce(c, kind == "transactional", out, "drop", "drop"); err != nil {
					t.Fatal(err)
				}
				if err := produce(c, kind == "transactional", out, "end"); err != nil {
					t.Fatal(err)
				}
				if got, want := values(r.consume(out, 4)), []string{"a", "replaced", "z", "end"}; !slices.Equal(got, want) {
					t.Errorf("consumers see %q, want %q", got, want)
				}
			})
		}
	}
	checkAdmin(t, r.client())
	// At least once: a producer that repeats a batch, because its topic is new, has its dead letters written again.
	stored("dead", 2*len(producers)*len(codecs))
}

// checkAdmin asks for everything that may name a broker; the connection's spy looks at the answers.
func checkAdmin(t *testing.T, client *kgo.Client) {
	t.Helper()
	ctx, adm := t.Context(), kadm.NewClient(client)
	meta, err := adm.Metadata(ctx)
	if err != nil || len(meta.Brokers) != 2 {
		t.Errorf("metadata: %v, %v", meta.Brokers, err)
	}
	for _, node := range meta.Brokers.NodeIDs() {
		cfgs, err := adm.DescribeBrokerConfigs(ctx, node)
		if err != nil || len(cfgs) == 0 {
			t.Errorf("configs of broker %d: %v, %v", node, cfgs, err)
		}
	}
	for what, req := range map[string]kmsg.Request{
		"brokers":     ptr(kmsg.NewDescribeClusterRequest()),
		"controllers": &kmsg.DescribeClusterRequest{EndpointType: 2},
		"quorum": &kmsg.DescribeQuorumRequest{Topics: []kmsg.DescribeQuorumRequestTopic{
			{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}},
		}},
		"coordinators": &kmsg.FindCoordinatorRequest{CoordinatorKeys: []string{"a", "b", "c"}},
	} {
		resp, err := client.Request(ctx, req)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		t.Logf("%s: %+v", what, resp)
	}
}
