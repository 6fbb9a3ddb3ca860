package apachekafka

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/testenv"
)

// TestBrokerDiesAndReturns is the whole life of a cluster of three: a broker is
// killed, its partition gets another leader, and it comes back.
func TestBrokerDiesAndReturns(t *testing.T) {
	testenv.NeedKafka(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := Start(ctx, Config{Brokers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer func() {
		if t.Failed() {
			t.Log(c.Tail(20))
		}
	}()

	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(c.Bootstrap(), ",")...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	produce := func() {
		t.Helper()
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce()
	leader := func() int {
		t.Helper()
		topics, err := adm.ListTopics(ctx, "t")
		if err != nil {
			t.Fatal(err)
		}
		return int(topics["t"].Partitions[0].Leader)
	}
	old := leader()
	c.Kill(old)
	produce()
	if now := leader(); now == old {
		t.Errorf("broker %d was killed and still leads", old)
	}
	if err := c.Restart(ctx, old); err != nil {
		t.Fatal(err)
	}
	produce()
}
