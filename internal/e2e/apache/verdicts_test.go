package apache

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// TestDirect plays the scene without a gateway, where nothing is judged: it
// tests the tests.
func TestDirect(t *testing.T) {
	testenv.NeedKafka(t)
	play(t, kafka.Bootstrap(), scene.Pass, 0)
}

// TestUnmatched plays it through the gateway on topics that no pipeline matches.
func TestUnmatched(t *testing.T) { play(t, theGateway(t).Bootstrap, scene.Pass, 1) }

// TestVerdicts plays it for every verdict: all clients produce valid and
// invalid records in all modes; what is stored, dead-lettered and seen must be
// what each client was told.
func TestVerdicts(t *testing.T) {
	for i, v := range append(scene.Verdicts, scene.FetchDrop) {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			play(t, theGateway(t).Bootstrap, v, i+2)
		})
	}
}

// play has all clients produce, and all consume what one of them produced;
// round makes topics unique and chooses which one.
func play(t *testing.T, bootstrap string, v scene.Verdict, round int) {
	cs := allClients(t)
	for i, producer := range cs {
		for _, mode := range clients.Modes {
			t.Run(producer.Name()+"/"+mode.String(), func(t *testing.T) {
				if why := producer.Cannot(mode); why != "" {
					t.Logf("not possible: %s", why)
					return
				}
				name := fmt.Sprintf("%s.%d-%s-%v", v, round, producer.Name(), mode)
				e := produceScene(t, bootstrap, topic(t, name, 1), producer, mode)
				if (i+int(mode)+round)%len(cs) != 0 {
					return
				}
				for _, consumer := range cs {
					seen, err := consumer.Consume(t.Context(), clients.Consume{
						Bootstrap: bootstrap, Topic: name, Committed: true, Want: e.Visible(), Timeout: 40 * time.Second})
					if err != nil {
						t.Errorf("%s consumes %s: %v\n%s", consumer.Name(), name, err, clients.List(seen))
						continue
					}
					report(t, fmt.Sprintf("%s consumes %s", consumer.Name(), name), e.Seen(seen), seen)
				}
			})
		}
	}
}

// groups are a producer's life: an invalid record among valid ones in one
// batch, then two groups to show that it goes on, then an invalid record alone.
func groups(producer clients.Client, mode clients.Mode) []clients.Group {
	g := []clients.Group{
		{Records: []clients.Record{scene.Valid("v1"), scene.Invalid("i1"), scene.Valid("v2")}},
		{Records: []clients.Record{scene.Valid("v3")}},
		{Records: []clients.Record{scene.Valid("v4"), scene.Valid("v5")}},
		{Records: []clients.Record{scene.Invalid("i2")}},
	}
	if mode == clients.Transactional && producer.Name() != "kcat" {
		g = append(g,
			clients.Group{Records: []clients.Record{scene.Valid("recover")}},
			clients.Group{Abort: true, Records: []clients.Record{scene.Valid("v6"), scene.Invalid("i3")}},
			clients.Group{Records: []clients.Record{scene.Valid("recover2")}},
			clients.Group{Records: []clients.Record{scene.Valid("v7")}})
	}
	if producer.Name() == "console" {
		g = g[:2] // each is a JVM
	}
	return g
}

// produceScene produces the groups and judges the answers and what is stored.
func produceScene(t *testing.T, bootstrap, topic string, producer clients.Client, mode clients.Mode) *scene.Expect {
	t.Helper()
	gs := groups(producer, mode)
	results, err := producer.Produce(t.Context(), clients.Produce{Bootstrap: bootstrap, Topic: topic, Mode: mode, Groups: gs})
	if err != nil {
		t.Fatalf("%s produces: %v", producer.Name(), err)
	}
	e := &scene.Expect{Topic: topic}
	for i, g := range gs {
		if tripped(producer, mode, topic, gs, results, i) {
			t.Logf("group %d failed as librdkafka's second transaction after a refusal does: %v", i+1, results[i].Acks)
			continue
		}
		if err := e.Add(mode, g, results[i], producer.Name() != "console"); err != nil {
			t.Errorf("%s, group %d: %v", producer.Name(), i+1, err)
		}
	}
	if t.Failed() {
		t.Logf("answers: %+v", results)
	}
	stored := readAll(t, topic, true)
	report(t, "stored in "+topic, e.Stored(stored), stored)
	if scene.VerdictOf(topic) == scene.DeadLetter {
		letters := readAll(t, scene.DeadLetters, false)
		report(t, "dead letters of "+topic, e.DeadLetters(letters), letters)
	}
	return e
}

// tripped says whether a group failed for a reason that is librdkafka's own: it
// does not take back sequence numbers when a transaction with a refused batch is
// aborted, so that the next transaction fails too, and only aborting that one heals
// it (clients.TestRefusal shows the same on brokers).
func tripped(producer clients.Client, mode clients.Mode, topic string, gs []clients.Group, results []clients.GroupResult, i int) bool {
	return producer.Name() == "confluent-kafka" && mode == clients.Transactional && scene.VerdictOf(topic) == scene.Reject &&
		i > 0 && len(results[i-1].Refused()) > 0 && len(gs[i-1].Records) > 0 && results[i].Transaction != "committed"
}
