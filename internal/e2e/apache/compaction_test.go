package apache

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// TestCompaction drops the later of two records with one key on a compacted
// topic: after the cleaner ran the earlier one is still there, because the marker
// has a key of its own.
func TestCompaction(t *testing.T) {
	t.Parallel()
	g := theGateway(t)
	name := topic(t, "drop.compacted", 1, "cleanup.policy", "compact", "segment.ms", "300", "min.cleanable.dirty.ratio", "0.001",
		"min.compaction.lag.ms", "0", "delete.retention.ms", "100")
	keyed := func(key string, r clients.Record) clients.Record {
		r.Key = []byte(key)
		return r
	}
	f := &clients.Franz{}
	produce := func(records ...clients.Record) {
		t.Helper()
		results, err := f.Produce(t.Context(), clients.Produce{Bootstrap: g.Bootstrap, Topic: name, Mode: clients.Idempotent, Groups: []clients.Group{{Records: records}}})
		if err != nil {
			t.Fatal(err)
		}
		if refused := results[0].Refused(); len(refused) > 0 {
			t.Fatalf("refused: %v", refused)
		}
	}
	produce(keyed("kept", scene.Valid("first")), keyed("replaced", scene.Valid("old")))
	produce(keyed("kept", scene.Invalid("dropped")), keyed("replaced", scene.Valid("new")))

	// A record after the segment's time rolls it, and the cleaner may work.
	deadline := time.Now().Add(40 * time.Second)
	var stored []clients.Stored
	for i := 0; ; i++ {
		time.Sleep(400 * time.Millisecond)
		produce(keyed("filler", scene.Valid(fmt.Sprintf("filler%d", i))))
		stored = readAll(t, name, false)
		if !slices.ContainsFunc(stored, func(s clients.Stored) bool { return has(s, "old") }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cleaner has not run; the topic holds\n%s", clients.List(stored))
		}
	}
	for _, id := range []string{"first", "new"} {
		if !slices.ContainsFunc(stored, func(s clients.Stored) bool { return has(s, id) }) {
			t.Errorf("record %q is gone after compaction; the topic holds\n%s", id, clients.List(stored))
		}
	}
	seen, err := f.Consume(t.Context(), clients.Consume{Bootstrap: g.Bootstrap, Topic: name, Want: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range seen {
		if _, marker := s.Header("sluice.dropped"); marker || has(s, "dropped") || s.Value == nil {
			t.Errorf("seen through the gateway: %v", s)
		}
	}
}

func has(s clients.Stored, id string) bool { return string(s.Value) == string(scene.Valid(id).Value) }
