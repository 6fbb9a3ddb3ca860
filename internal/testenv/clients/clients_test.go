package clients

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
)

// The tests of this package prove the drivers on brokers, with nothing between.

var kafka *apachekafka.Cluster

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if testenv.WantKafka() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			c, err := apachekafka.Start(ctx, apachekafka.Config{})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer c.Close()
			kafka = c
		}
		return m.Run()
	}())
}

// all returns every client, each in a state to be used by t.
func all(t *testing.T) []Client {
	t.Helper()
	testenv.NeedKafka(t)
	return All(t, kafka.LibDir())
}

func createTopic(t *testing.T, name string, partitions int32, configs map[string]*string) {
	t.Helper()
	cl, err := (&Franz{}).client(kafka.Bootstrap())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, configs, name); err != nil {
		t.Fatal(err)
	}
}

// TestRoundTrip has every client produce in every mode it knows, and every
// client consume it.
func TestRoundTrip(t *testing.T) {
	cs := all(t)
	records := []Record{{ID: "a", Key: []byte("k"), Value: []byte("one")}, {ID: "b", Value: []byte("two")}, {ID: "c", Key: []byte("k"), Value: []byte("three")}}
	for i, producer := range cs {
		t.Run(producer.Name(), func(t *testing.T) {
			topic := fmt.Sprintf("round-trip-%d", i)
			createTopic(t, topic, 1, nil)
			var want []Stored
			for _, mode := range Modes {
				if why := producer.Cannot(mode); why != "" {
					t.Logf("%v: %s", mode, why)
					continue
				}
				codec := Codecs[int(mode)+1]
				results, err := producer.Produce(t.Context(), Produce{Bootstrap: kafka.Bootstrap(), Topic: topic, Mode: mode, Codec: codec,
					Groups: []Group{{Records: records}}})
				if err != nil {
					t.Fatalf("%v: %v", mode, err)
				}
				if r := results[0].Refused(); len(r) > 0 {
					t.Fatalf("%v: refused: %v", mode, r)
				}
				first := int64(len(want))
				if mode == Transactional {
					if results[0].Transaction != "committed" {
						t.Errorf("transaction: %q, want committed", results[0].Transaction)
					}
				}
				for j, r := range records {
					want = append(want, Stored{Offset: first + int64(j), Key: r.Key, Value: r.Value})
					if a, ok := results[0].ByID(r.ID); ok && a.Offset != first+int64(j) {
						t.Errorf("%v: record %s acknowledged at %d, want %d", mode, r.ID, a.Offset, first+int64(j))
					}
				}
			}
			stored, err := ReadAll(t.Context(), kafka.Bootstrap(), topic, true)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, plain(stored)); diff != "" {
				t.Fatalf("stored (-want +got):\n%s", diff)
			}
			for _, consumer := range cs {
				got, err := consumer.Consume(t.Context(), Consume{Bootstrap: kafka.Bootstrap(), Topic: topic, Committed: true, Want: len(want)})
				if err != nil {
					t.Errorf("consume: %v", err)
					continue
				}
				if diff := cmp.Diff(want, plain(got)); diff != "" {
					t.Errorf("%s consumed (-want +got):\n%s", consumer.Name(), diff)
				}
			}
		})
	}
}

// TestRefusal has a broker refuse records (null keys on a compacted topic), so
// that how each client tells of it is known before a gateway does the same.
//
// librdkafka does not take back the sequence numbers of a refused batch when
// its transaction is aborted: the next one fails too (OUT_OF_ORDER_SEQUENCE_NUMBER)
// and, aborted as well, heals it. Hence the third group.
func TestRefusal(t *testing.T) {
	compact := "compact"
	for i, producer := range all(t) {
		t.Run(producer.Name(), func(t *testing.T) {
			for _, mode := range Modes {
				if producer.Cannot(mode) != "" {
					continue
				}
				topic := fmt.Sprintf("refusal-%d-%v", i, mode)
				createTopic(t, topic, 1, map[string]*string{"cleanup.policy": &compact})
				good := []Record{{ID: "a", Key: []byte("k"), Value: []byte("1")}, {ID: "b", Value: []byte("2")}}
				results, err := producer.Produce(t.Context(), Produce{Bootstrap: kafka.Bootstrap(), Topic: topic, Mode: mode,
					Groups: []Group{{Records: good}, {Records: good[:1]}, {Records: good[:1]}}})
				if err != nil {
					t.Fatalf("%v: %v", mode, err)
				}
				if got := len(results[0].Refused()); got != 2 {
					t.Errorf("%v: %d records refused, want 2: %v", mode, got, results[0].Acks)
				}
				if mode == Transactional && results[0].Transaction == "committed" {
					t.Errorf("the transaction with refused records was committed")
				}
				if refused := results[2].Refused(); len(refused) > 0 {
					t.Errorf("%v: a record after was refused: %v", mode, refused)
				}
				if refused := results[1].Refused(); len(refused) > 0 && !(mode == Transactional && producer.Name() == "confluent-kafka") {
					t.Errorf("%v: the record after was refused: %v", mode, refused)
				}
				t.Logf("%v: %v %v", mode, results[0].Acks, results[0].Transaction)
			}
		})
	}
}

// plain leaves of records what a producer chose.
func plain(records []Stored) []Stored {
	var out []Stored
	offset := int64(0)
	for _, r := range records {
		// Control records take offsets; count what is visible.
		out = append(out, Stored{Partition: r.Partition, Offset: offset, Key: r.Key, Value: r.Value})
		offset++
	}
	return out
}
