package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// outcome is what a producer knows about a transaction.
type outcome int

const (
	aborted outcome = iota
	committed
	unknown // the answer to the commit got lost
)

// transaction is one of a run.
type transaction struct {
	records []Sent
	acks    []clients.Ack
	outcome outcome
}

// TestKilledInTransactions has a producer commit and abort transactions while the
// gateway is killed: what is committed is there as a whole, what is aborted is not
// seen at all, and what nobody knows is one of the two.
func TestKilledInTransactions(t *testing.T) {
	testenv.NeedKafka(t)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	kafka, err := apachekafka.Start(ctx, apachekafka.Config{Dir: filepath.Join(dir, "kafka")})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	createTopic(t, kafka, scene.DeadLetters, 1)
	const topic = "dead.transactions"
	createTopic(t, kafka, topic, partitions)
	g, err := gateway.New(gateway.Config{Binary: testenv.Binary(t), Dir: dir, Bootstrap: strings.Split(kafka.Bootstrap(), ","), MaxNode: 1,
		Pipelines: pipelines, Files: scene.Files})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		g.Kill()
		if t.Failed() {
			t.Log(g.Tail(40))
		}
	}()
	const every = 25
	if err := g.Launch(failpoint(kills[0], every)); err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}

	killed := make(chan struct{}) // closed after the last kill
	var wg sync.WaitGroup
	var run []*transaction
	wg.Go(func() {
		p := &txnProducer{bootstrap: g.Bootstrap}
		defer p.close()
		left := 40 // transactions after the last kill
		for n := 0; left > 0 && ctx.Err() == nil; n++ {
			select {
			case <-killed:
				left--
			default:
			}
			run = append(run, p.transaction(ctx, topic, n))
		}
	})
	for i, kill := range kills {
		if kill == "any" {
			time.Sleep(700 * time.Millisecond)
			g.Process().Signal(syscall.SIGKILL)
		}
		if err := g.Process().Wait(ctx); ctx.Err() != nil {
			t.Fatalf("the gateway was not killed at %s: %v", kill, err)
		}
		if s, ok := g.Process().WaitStatus(); !ok || s.Signal() != syscall.SIGKILL {
			t.Fatalf("the gateway ended by itself, not by %s: %v", kill, s)
		}
		next := ""
		if i+1 < len(kills) {
			next = failpoint(kills[i+1], every)
		}
		if err := g.Launch(next); err != nil {
			t.Fatal(err)
		}
	}
	close(killed)
	wg.Wait()

	stored, err := clients.ReadAll(ctx, kafka.Bootstrap(), topic, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkTransactions(run, stored) {
		t.Error(problem)
	}
	count := map[outcome]int{}
	for _, x := range run {
		count[x.outcome]++
	}
	t.Logf("%d transactions: %d committed, %d aborted, %d unknown", len(run), count[committed], count[aborted], count[unknown])
	if count[committed] < 40 {
		t.Errorf("%d transactions were committed, want 40 or more", count[committed])
	}
	want := 0
	for _, s := range stored {
		if idOf(s.Value) != "" {
			want++
		}
	}
	seen, err := (&clients.Franz{}).Consume(ctx, clients.Consume{Bootstrap: g.Bootstrap, Topic: topic, Committed: true, Want: want})
	if err != nil || len(seen) != want {
		t.Errorf("through the gateway %d records are seen, want %d: %v", len(seen), want, err)
	}
}

// txnProducer is a transactional producer that begins anew, with the same
// transactional id, after what it cannot recover from.
type txnProducer struct {
	bootstrap string
	cl        *kgo.Client
}

func (p *txnProducer) close() {
	if p.cl != nil {
		p.cl.Close()
		p.cl = nil
	}
}

// transaction produces 30 records over all partitions, every tenth one to be
// dropped and two of ten dead, and aborts every fifth transaction.
func (p *txnProducer) transaction(ctx context.Context, topic string, n int) *transaction {
	x := &transaction{}
	for i := range 30 {
		id := fmt.Sprintf("%d-%d", n, i)
		fate, lumens, drop := Kept, "3", "false"
		switch i / partitions % 10 {
		case 0:
			fate, drop = Dropped, "true"
		case 1, 2:
			fate, lumens = Dead, "true"
		}
		x.records = append(x.records, Sent{Fate: fate, Record: clients.Record{ID: id, Topic: topic, Partition: int32(i % partitions),
			Key: []byte("k" + id), Value: fmt.Appendf(nil, `{"id":%q,"lumens":%s,"drop":%s}`, id, lumens, drop)}})
	}
	if p.cl == nil {
		cl, err := kgo.NewClient(kgo.SeedBrokers(p.bootstrap), kgo.TransactionalID("crash"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.MetadataMinAge(100*time.Millisecond), kgo.TransactionTimeout(20*time.Second))
		if err != nil {
			return x
		}
		p.cl = cl
	}
	if p.cl.BeginTransaction() != nil {
		p.close()
		return x
	}
	var mu sync.Mutex
	failed := false
	for _, s := range x.records {
		p.cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: s.Partition, Key: s.Key, Value: s.Value}, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = failed || err != nil
			if err == nil {
				x.acks = append(x.acks, clients.Ack{ID: s.ID, Partition: r.Partition, Offset: r.Offset})
			}
		})
	}
	flushed := p.cl.Flush(ctx)
	mu.Lock()
	commit := flushed == nil && !failed && n%5 != 4
	mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	switch err := p.cl.EndTransaction(limited, kgo.TransactionEndTry(commit)); {
	case err != nil && commit:
		x.outcome = unknown
		p.close()
	case err != nil:
		p.close() // beginning anew aborts it
	case commit:
		x.outcome = committed
	}
	return x
}

// checkTransactions compares what a producer knows with what consumers that read
// committed records get from the brokers.
func checkTransactions(run []*transaction, stored []clients.Stored) []string {
	var p problems
	at := map[place]clients.Stored{}
	ids := map[string]bool{}
	for _, s := range stored {
		at[place{partition: s.Partition, offset: s.Offset}] = s
		if id := idOf(s.Value); id != "" {
			if ids[id] {
				p.add("twice in the topic", "record %s", id)
			}
			ids[id] = true
		}
	}
	for n, x := range run {
		there, visible := 0, 0
		for _, s := range x.records {
			if s.Fate == Kept {
				visible++
				if ids[s.ID] {
					there++
				}
			}
		}
		switch {
		case x.outcome == aborted && there > 0:
			p.add("seen and aborted", "transaction %d: %d of %d records", n, there, visible)
		case x.outcome == committed && there < visible, x.outcome == unknown && there != 0 && there != visible:
			p.add("committed in part", "transaction %d: %d of %d records", n, there, visible)
		}
		if there == 0 {
			continue
		}
		for _, a := range x.acks {
			where := place{partition: a.Partition, offset: a.Offset}
			s, ok := at[where]
			sent := x.records[indexOf(x.records, a.ID)]
			if !ok {
				p.add("lost", "record %s (%s) of committed transaction %d: nothing at %d/%d", a.ID, sent.Fate, n, a.Partition, a.Offset)
			} else if err := form(sent, s); err != nil {
				p.add("stored in the wrong form", "record %s (%s): %v; stored: %v", a.ID, sent.Fate, err, s)
			}
			delete(at, where)
		}
	}
	for where, s := range at {
		p.add("stored and of no committed transaction", "%v: %v", where, s)
	}
	return p.list()
}

func indexOf(records []Sent, id string) int {
	for i, s := range records {
		if s.ID == id {
			return i
		}
	}
	return -1
}

// TestCheckTransactions breaks a good run.
func TestCheckTransactions(t *testing.T) {
	good := func() ([]*transaction, []clients.Stored) {
		var run []*transaction
		var stored []clients.Stored
		offset := int64(0)
		for n, o := range []outcome{committed, aborted, unknown, unknown} {
			x := &transaction{outcome: o}
			for i := range 2 {
				id := fmt.Sprintf("%d-%d", n, i)
				r := clients.Record{ID: id, Key: []byte(id), Value: fmt.Appendf(nil, `{"id":%q}`, id)}
				x.records = append(x.records, Sent{r, Kept})
				x.acks = append(x.acks, clients.Ack{ID: id, Offset: offset})
				if o == committed || n == 2 {
					stored = append(stored, clients.Stored{Offset: offset, Key: r.Key, Value: r.Value})
				}
				offset++
			}
			run = append(run, x)
		}
		return run, stored
	}
	for _, tt := range []struct {
		name string
		do   func(run []*transaction, stored []clients.Stored) []clients.Stored
		want string
	}{
		{"nothing", func(_ []*transaction, s []clients.Stored) []clients.Stored { return s }, ""},
		{"a committed record is gone", func(_ []*transaction, s []clients.Stored) []clients.Stored { return s[1:] }, "committed in part"},
		{"half of an unknown one", func(_ []*transaction, s []clients.Stored) []clients.Stored { return s[:3] }, "committed in part"},
		{"an aborted one is seen", func(run []*transaction, s []clients.Stored) []clients.Stored {
			run[0].outcome = aborted
			return s
		}, "seen and aborted"},
		{"twice", func(_ []*transaction, s []clients.Stored) []clients.Stored {
			again := s[0]
			again.Offset = 99
			return append(s, again)
		}, "twice in the topic"},
		{"a stray marker", func(_ []*transaction, s []clients.Stored) []clients.Stored {
			return append(s, clients.Stored{Offset: 99, Key: []byte("k")})
		}, "stored and of no committed transaction"},
	} {
		run, stored := good()
		got := checkTransactions(run, tt.do(run, stored))
		if tt.want == "" && len(got) > 0 || tt.want != "" && !strings.Contains(strings.Join(got, "\n"), tt.want) {
			t.Errorf("%s: the checker says %q, want %q", tt.name, got, tt.want)
		}
	}
}
