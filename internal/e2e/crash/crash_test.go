package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// records is how many each client produces.
const records = 100_000

const partitions = 3

// pipelines drop, annotate and dead-letter on topics of each client.
const pipelines = `documents:
  - name: demo
    file: demo.yaml
pipelines:
  - name: annotated
    topics: ["annotate.*"]
    on: produce
    stages:
      - {plugin: filter, config: {when: {json: "$.drop", eq: true}, then: drop, else: keep}}
      - {plugin: validate, config: {document: demo, on_invalid: annotate}}
  - name: dead
    topics: ["dead.*"]
    on: produce
    stages:
      - {plugin: filter, config: {when: {json: "$.drop", eq: true}, then: drop, else: keep}}
      - {plugin: validate, config: {document: demo, on_invalid: dead-letter}, dead_letter: dead-letters}
`

// kills are the ways in which the gateway dies in a run, one after the other: at
// the n-th pass through a failpoint, n in parts of all requests that are
// expected, or for "any" after a while, wherever it is.
var kills = []string{"after-emit", "before-forward", "after-broker-answer", "before-client-answer", "any"}

// TestKilledGateway has each client produce 100 000 records, idempotently, while
// the gateway is killed and restarted five times, and then compares what was
// acknowledged, stored and dead-lettered one by one.
func TestKilledGateway(t *testing.T) {
	testenv.NeedKafka(t)
	python := testenv.NeedPython(t)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	kafka, err := apachekafka.Start(ctx, apachekafka.Config{Dir: filepath.Join(dir, "kafka")})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	createTopic(t, kafka, scene.DeadLetters, 1)

	java, err := clients.NewJava(kafka.LibDir(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer java.Close()
	confluent, err := clients.NewPython(python, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer confluent.Close()
	for _, tt := range []struct {
		client clients.Flooder
		every  int // passes between kills: about an eighth of all requests
	}{
		{java, 60},
		{confluent, 150},
		{&clients.Franz{}, 60},
	} {
		t.Run(tt.client.Name(), func(t *testing.T) { killedGateway(t, ctx, kafka, tt.client, tt.every) })
	}
	t.Run("direct", func(t *testing.T) { direct(t, ctx, kafka, java) })
}

// killedGateway is one client's run.
func killedGateway(t *testing.T, ctx context.Context, kafka *apachekafka.Cluster, client clients.Flooder, every int) {
	dir := t.TempDir()
	topics := []string{"annotate." + client.Name(), "dead." + client.Name()}
	for _, topic := range topics {
		createTopic(t, kafka, topic, partitions)
	}
	sent := write(t, filepath.Join(dir, "records"), topics, records)
	g, err := gateway.New(gateway.Config{
		Binary: testenv.Binary(t), Dir: dir, Bootstrap: strings.Split(kafka.Bootstrap(), ","), MaxNode: 1,
		Pipelines: pipelines, Files: scene.Files,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		g.Kill()
		if t.Failed() {
			t.Log(g.Tail(40))
		}
	}()

	done := make(chan error, 1)
	start := time.Now()
	if err := g.Launch(failpoint(kills[0], every)); err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	follower := follow(t, g.Bootstrap, topics)
	go func() {
		result, err := client.Flood(ctx, clients.Flood{
			Bootstrap: g.Bootstrap, Mode: clients.Idempotent, RecordsFile: filepath.Join(dir, "records"), AcksFile: filepath.Join(dir, "acks"),
			Window: 5000, BatchBytes: 4096,
		})
		t.Logf("%s: %+v", client.Name(), result)
		done <- err
	}()
	over := false
	for i, kill := range kills {
		if kill == "any" {
			select {
			case <-time.After(700 * time.Millisecond):
				g.Process().Signal(syscall.SIGKILL)
			case err := <-done:
				t.Fatalf("the client was through (%v) before kill %d of %d: lower the passes between kills", err, i+1, len(kills))
			}
		}
		select {
		case <-g.Process().Done():
		case err := <-done:
			t.Fatalf("the client was through (%v) before kill %d of %d (%s:%d): lower the passes between kills", err, i+1, len(kills), kill, every)
		case <-time.After(90 * time.Second):
			t.Fatalf("the gateway was not killed at %s within 90 s", kill)
		}
		if s, ok := g.Process().WaitStatus(); !ok || s.Signal() != syscall.SIGKILL {
			t.Fatalf("the gateway ended by itself, not by %s: %v", kill, s)
		}
		t.Logf("%5.1f s: killed at %s", time.Since(start).Seconds(), kill)
		next := ""
		if i+1 < len(kills) {
			next = failpoint(kills[i+1], every)
		}
		if err := g.Launch(next); err != nil {
			t.Fatal(err)
		}
	}
	for !over {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			over = true
		case <-g.Process().Done():
			t.Fatal("the gateway ended by itself")
		}
	}
	t.Logf("%5.1f s: all records are answered", time.Since(start).Seconds())
	r := collect(t, ctx, kafka, sent, filepath.Join(dir, "acks"), topics)
	for _, problem := range Check(r) {
		t.Error(problem)
	}
	t.Logf("%5.1f s: compared %d records, %d acknowledgements, %d dead letters (%d of them again)", time.Since(start).Seconds(),
		len(r.Sent), len(r.Acks), len(r.Letters), again(r))
	follower.check(t, r)
	consume(t, ctx, g.Bootstrap, r, topics)
}

// follower is a consumer that reads through the gateway all the while.
type follower struct {
	cl   *kgo.Client
	mu   sync.Mutex
	seen []*kgo.Record
}

func follow(t *testing.T, bootstrap string, topics []string) *follower {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{cl: cl}
	polls := make(chan struct{})
	t.Cleanup(func() {
		cl.Close()
		<-polls
	})
	go func() {
		defer close(polls)
		for {
			fetches := cl.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			f.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) { f.seen = append(f.seen, r) })
			f.mu.Unlock()
		}
	}()
	return f
}

// check demands that the follower saw each record that is not hidden, once and
// in order.
func (f *follower) check(t *testing.T, r *Run) {
	t.Helper()
	want := map[string]bool{}
	for _, s := range r.Sent {
		if s.Fate == Kept || s.Fate == Annotated {
			want[s.ID] = true
		}
	}
	for range 300 {
		f.mu.Lock()
		n := len(f.seen)
		f.mu.Unlock()
		if n >= len(want) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last := map[place]int64{}
	var p problems
	for _, s := range f.seen {
		id := idOf(s.Value)
		if !want[id] {
			p.add("seen twice, or not to be seen", "%s/%d/%d: key %q value %q", s.Topic, s.Partition, s.Offset, s.Key, s.Value)
		}
		delete(want, id)
		at := place{topic: s.Topic, partition: s.Partition}
		if before, ok := last[at]; ok && before >= s.Offset {
			p.add("seen out of order", "%s/%d: offset %d after %d", s.Topic, s.Partition, s.Offset, before)
		}
		last[at] = s.Offset
	}
	if len(want) > 0 {
		p.add("not seen", "%d records", len(want))
	}
	for _, problem := range p.list() {
		t.Errorf("a consumer that reads all the while: %s", problem)
	}
}

func failpoint(kill string, every int) string {
	if kill == "any" {
		return "SLUICE_FAILPOINT="
	}
	return fmt.Sprintf("SLUICE_FAILPOINT=%s:%d", kill, every)
}

// write makes the records and writes them to a file for the client.
func write(t *testing.T, path string, topics []string, n int) []Sent {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	lines := json.NewEncoder(out)
	sent := make([]Sent, n)
	for n := range sent {
		topic := topics[n%2]
		// Of ten records on a partition one is dropped and two are invalid.
		fate, lumens, drop := Kept, "3", "false"
		switch n / (2 * partitions) % 10 {
		case 0:
			fate, drop = Dropped, "true"
		case 1, 2:
			fate, lumens = Annotated, "true"
			if scene.VerdictOf(topic) == scene.DeadLetter {
				fate = Dead
			}
		}
		id := fmt.Sprint(n)
		sent[n] = Sent{Fate: fate, Record: clients.Record{
			ID: id, Topic: topic, Partition: int32(n / 2 % partitions), Key: []byte("k" + id),
			Value: fmt.Appendf(nil, `{"id":%q,"lumens":%s,"drop":%s,"text":"0123456789012345678901234567890123456789"}`, id, lumens, drop),
		}}
		if err := lines.Encode(sent[n].Record); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return sent
}

// collect reads what the client was told and what the brokers have.
func collect(t *testing.T, ctx context.Context, kafka *apachekafka.Cluster, sent []Sent, acksFile string, topics []string) *Run {
	t.Helper()
	r := &Run{Sent: sent, Stored: map[string][]clients.Stored{}}
	file, err := os.Open(acksFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := json.NewDecoder(file); lines.More(); {
		var a clients.Ack
		if err := lines.Decode(&a); err != nil {
			t.Fatalf("read acknowledgements: %v", err)
		}
		r.Acks = append(r.Acks, a)
	}
	for _, topic := range topics {
		if r.Stored[topic], err = clients.ReadAll(ctx, kafka.Bootstrap(), topic, false); err != nil {
			t.Fatal(err)
		}
	}
	if r.Letters, err = clients.ReadAll(ctx, kafka.Bootstrap(), scene.DeadLetters, false); err != nil {
		t.Fatal(err)
	}
	return r
}

// again counts the dead letters that repeat a source.
func again(r *Run) (n int) {
	seen := map[scene.Source]bool{}
	for _, l := range r.Letters {
		if src, err := scene.SourceOf(l); err == nil {
			if seen[src] {
				n++
			}
			seen[src] = true
		}
	}
	return n
}

// consume reads the topics through the gateway: all but the markers.
func consume(t *testing.T, ctx context.Context, bootstrap string, r *Run, topics []string) {
	t.Helper()
	for _, topic := range topics {
		want := 0
		for _, s := range r.Sent {
			if s.Topic == topic && s.Fate != Dropped && s.Fate != Dead {
				want++
			}
		}
		seen, err := (&clients.Franz{}).Consume(ctx, clients.Consume{Bootstrap: bootstrap, Topic: topic, Want: want, Timeout: time.Minute})
		if err != nil || len(seen) != want {
			t.Errorf("consume %s: %d records, want %d: %v", topic, len(seen), want, err)
		}
		for _, s := range seen {
			if _, marker := s.Header("sluice.dropped"); marker {
				t.Errorf("consume %s: a marker is seen: %v", topic, s)
				break
			}
		}
	}
}

// direct runs a client without a gateway and has the checker look for what is
// then missing: every fate but kept. It tests the test.
func direct(t *testing.T, ctx context.Context, kafka *apachekafka.Cluster, client clients.Flooder) {
	dir := t.TempDir()
	topics := []string{"annotate.direct", "dead.direct"}
	for _, topic := range topics {
		createTopic(t, kafka, topic, partitions)
	}
	sent := write(t, filepath.Join(dir, "records"), topics, records)
	result, err := client.Flood(ctx, clients.Flood{
		Bootstrap: kafka.Bootstrap(), Mode: clients.Idempotent, RecordsFile: filepath.Join(dir, "records"), AcksFile: filepath.Join(dir, "acks"),
		Window: 5000, BatchBytes: 4096,
	})
	if err != nil || result.Sent != records || result.Failed != 0 {
		t.Fatalf("flood: %+v, %v", result, err)
	}
	r := collect(t, ctx, kafka, sent, filepath.Join(dir, "acks"), topics)
	if got := strings.Join(Check(r), "\n"); !strings.Contains(got, "stored in the wrong form: 30006;") || !strings.Contains(got, "dead letter lost: 10002;") {
		t.Errorf("the checker misses what no gateway did; it says:\n%s", got)
	}
	for i := range r.Sent {
		r.Sent[i].Fate = Kept
	}
	for _, problem := range Check(r) {
		t.Error(problem)
	}
}

// TestKilledBroker has clients produce while brokers of a cluster of three are
// killed and come back: leaders of the topics and of the dead letters move, and
// still nothing is lost, nothing is there twice.
func TestKilledBroker(t *testing.T) {
	testenv.NeedKafka(t)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	kafka, err := apachekafka.Start(ctx, apachekafka.Config{Dir: filepath.Join(dir, "kafka"), Brokers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	createTopic(t, kafka, scene.DeadLetters, 3)
	g, err := gateway.Start(ctx, gateway.Config{
		Binary: testenv.Binary(t), Dir: dir, Bootstrap: strings.Split(kafka.Bootstrap(), ","), MaxNode: 3,
		Pipelines: pipelines, Files: scene.Files,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		g.Kill()
		if t.Failed() {
			t.Log(g.Tail(40))
		}
	}()
	java, err := clients.NewJava(kafka.LibDir(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer java.Close()
	victim := 0
	for _, client := range []clients.Flooder{java, &clients.Franz{}} {
		t.Run(client.Name(), func(t *testing.T) {
			topics := []string{"annotate.broker-" + client.Name(), "dead.broker-" + client.Name()}
			for _, topic := range topics {
				createTopic(t, kafka, topic, partitions)
			}
			recordsFile, acksFile := filepath.Join(dir, "records-"+client.Name()), filepath.Join(dir, "acks-"+client.Name())
			sent := write(t, recordsFile, topics, records/2)
			done := make(chan error, 1)
			start := time.Now()
			go func() {
				result, err := client.Flood(ctx, clients.Flood{Bootstrap: g.Bootstrap, Mode: clients.Idempotent,
					RecordsFile: recordsFile, AcksFile: acksFile, Window: 2000, BatchBytes: 2048})
				t.Logf("%s: %+v", client.Name(), result)
				done <- err
			}()
			var flood error
			over := false
			for kills := 0; !over; {
				again := time.After(400 * time.Millisecond)
				if kills == 3 { // each broker once
					again = nil
				}
				select {
				case flood = <-done:
					over = true
					if kills == 0 {
						t.Fatal("the client was through before a broker was killed")
					}
				case <-again:
					victim = victim%3 + 1
					kafka.Kill(victim)
					kills++
					t.Logf("%5.1f s: broker %d killed", time.Since(start).Seconds(), victim)
					time.Sleep(time.Second)
					if err := kafka.Restart(ctx, victim); err != nil {
						t.Fatal(err)
					}
					waitInSync(t, ctx, kafka, append(topics, scene.DeadLetters))
				}
			}
			if flood != nil {
				t.Fatal(flood)
			}
			t.Logf("%5.1f s: all records are answered", time.Since(start).Seconds())
			for _, problem := range Check(collect(t, ctx, kafka, sent, acksFile, topics)) {
				t.Error(problem)
			}
		})
	}
}

// waitInSync waits until all replicas of the topics are in sync, so that the
// next kill leaves enough of them.
func waitInSync(t *testing.T, ctx context.Context, kafka *apachekafka.Cluster, topics []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(kafka.Bootstrap(), ",")...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for ctx.Err() == nil {
		details, err := kadm.NewClient(cl).ListTopics(ctx, topics...)
		behind := 0
		details.EachPartition(func(p kadm.PartitionDetail) { behind += len(p.Replicas) - len(p.ISR) })
		if err == nil && behind == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the replicas do not get in sync")
}

func createTopic(t *testing.T, kafka *apachekafka.Cluster, name string, partitions int32) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(kafka.Bootstrap(), ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, int16(kafka.Nodes()), nil, name); err != nil {
		t.Fatal(err)
	}
}
