// Package crash tests what survives when the gateway is killed: nothing that was
// acknowledged is lost, nothing is in a topic twice, and the order in a
// partition stays. See package e2e.
package crash

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// Fate is what a pipeline does with a record.
type Fate string

// The fates.
const (
	Kept      Fate = "kept"
	Annotated Fate = "annotated"
	Dropped   Fate = "dropped"
	Dead      Fate = "dead"
)

// Sent is a record as its producer handed it over.
type Sent struct {
	clients.Record
	Fate Fate
}

// Run is all that is known about a run when it is over.
type Run struct {
	Sent    []Sent        // in the order in which they were handed over
	Acks    []clients.Ack // in the order in which they came
	Stored  map[string][]clients.Stored
	Letters []clients.Stored // of all topics
}

// idOf reads the name of a record from its value.
func idOf(value []byte) string {
	var v struct{ ID string }
	json.Unmarshal(value, &v)
	return v.ID
}

// problems collects what is wrong, the first few of each kind in words.
type problems struct {
	kinds []string
	count map[string]int
	first map[string][]string
}

func (p *problems) add(kind, format string, args ...any) {
	if p.count == nil {
		p.count, p.first = map[string]int{}, map[string][]string{}
	}
	if p.count[kind]++; p.count[kind] == 1 {
		p.kinds = append(p.kinds, kind)
	}
	if len(p.first[kind]) < 5 {
		p.first[kind] = append(p.first[kind], fmt.Sprintf(format, args...))
	}
}

func (p *problems) list() (out []string) {
	for _, k := range p.kinds {
		out = append(out, fmt.Sprintf("%s: %d; such as\n      %s", k, p.count[k], strings.Join(p.first[k], "\n      ")))
	}
	return out
}

// place is where a record is.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// Check compares what was acknowledged, stored and dead-lettered, one by one.
// It returns what is wrong, nothing if all is well.
func Check(r *Run) []string {
	var p problems
	acks := r.checkAcks(&p)
	r.checkTopics(&p, acks)
	r.checkOrder(&p, acks)
	r.checkLetters(&p)
	return p.list()
}

// checkAcks demands one acknowledgement per record and returns them by id.
func (r *Run) checkAcks(p *problems) map[string]clients.Ack {
	acks := make(map[string]clients.Ack, len(r.Acks))
	for _, a := range r.Acks {
		if _, twice := acks[a.ID]; twice {
			p.add("answered twice", "record %s", a.ID)
		}
		acks[a.ID] = a
	}
	for _, s := range r.Sent {
		if a, ok := acks[s.ID]; !ok {
			p.add("never answered", "record %s", s.ID)
		} else if a.Error != "" {
			p.add("given up by the client", "record %s: %s", s.ID, a.Error)
		}
	}
	return acks
}

// checkTopics demands that each acknowledged record stands at its offset in the
// form of its fate, and that nothing else stands anywhere.
func (r *Run) checkTopics(p *problems, acks map[string]clients.Ack) {
	stored := map[place]clients.Stored{}
	ids := map[string]place{}
	for topic, records := range r.Stored {
		for _, s := range records {
			at := place{topic, s.Partition, s.Offset}
			stored[at] = s
			id := idOf(s.Value)
			if id == "" {
				continue // a marker
			}
			if other, twice := ids[id]; twice {
				p.add("twice in the topic", "record %s at %v and %v", id, other, at)
			}
			ids[id] = at
		}
	}
	claimed := map[place]string{}
	for _, s := range r.Sent {
		a, ok := acks[s.ID]
		if !ok || a.Error != "" {
			continue
		}
		at := place{s.Topic, a.Partition, a.Offset}
		if other, twice := claimed[at]; twice {
			p.add("two records acknowledged at one offset", "records %s and %s at %v", other, s.ID, at)
		}
		claimed[at] = s.ID
		found, ok := stored[at]
		if !ok {
			p.add("lost", "record %s (%s): nothing at %v, where it was acknowledged", s.ID, s.Fate, at)
			continue
		}
		if err := form(s, found); err != nil {
			p.add("stored in the wrong form", "record %s (%s) at %v: %v; stored: %v", s.ID, s.Fate, at, err, found)
		}
	}
	for at, s := range stored {
		if _, ok := claimed[at]; !ok {
			p.add("stored and not acknowledged", "%v: %v", at, s)
		}
	}
}

func form(s Sent, got clients.Stored) error {
	switch s.Fate {
	case Dropped, Dead:
		return scene.IsMarker(s.Topic, got)
	case Annotated:
		if _, ok := got.Header(scene.ErrorHeader); !ok || len(got.Headers) != 1 {
			return fmt.Errorf("want the one header %s", scene.ErrorHeader)
		}
	default:
		if len(got.Headers) != 0 {
			return fmt.Errorf("want no headers")
		}
	}
	if string(got.Key) != string(s.Key) || string(got.Value) != string(s.Value) {
		return fmt.Errorf("want key %q, value %q", s.Key, s.Value)
	}
	return nil
}

// checkOrder demands that offsets rise in the order in which records of a
// partition were handed over.
func (r *Run) checkOrder(p *problems, acks map[string]clients.Ack) {
	last := map[place]clients.Ack{}
	for _, s := range r.Sent {
		a, ok := acks[s.ID]
		if !ok || a.Error != "" {
			continue
		}
		partition := place{topic: s.Topic, partition: s.Partition}
		if a.Partition != s.Partition {
			p.add("in another partition", "record %s: %d, want %d", s.ID, a.Partition, s.Partition)
			continue
		}
		if before, ok := last[partition]; ok && a.Offset <= before.Offset {
			p.add("out of order", "record %s at offset %d follows record %s at %d in %s/%d", s.ID, a.Offset, before.ID, before.Offset, s.Topic, s.Partition)
		}
		last[partition] = a
	}
}

// checkLetters demands one dead letter per dead record once those with the same
// source are taken for one, in order per partition, and no others.
func (r *Run) checkLetters(p *problems) {
	topics := map[string]bool{}
	dead := map[string]Sent{}
	rank := map[string]int{}
	for i, s := range r.Sent {
		topics[s.Topic] = true
		rank[s.ID] = i
		if s.Fate == Dead {
			dead[s.ID] = s
		}
	}
	sources := map[scene.Source]bool{}
	seen := map[string]scene.Source{}
	last := map[int32]string{}
	letters := slices.Clone(r.Letters)
	slices.SortStableFunc(letters, func(a, b clients.Stored) int { return int(a.Offset - b.Offset) })
	for _, l := range letters {
		src, err := scene.SourceOf(l)
		if err != nil {
			p.add("dead letter without source", "%v", err)
			continue
		}
		if !topics[src.Topic] || sources[src] {
			continue
		}
		sources[src] = true
		id := idOf(l.Value)
		s, ok := dead[id]
		switch other, twice := seen[id]; {
		case !ok:
			p.add("dead letter of a record that is not dead", "%v", l)
			continue
		case twice:
			p.add("two dead letters of one record with different sources", "record %s: %+v and %+v", id, other, src)
			continue
		case src.Topic != s.Topic || src.Partition != s.Partition:
			p.add("dead letter with a wrong source", "record %s of %s/%d: %+v", id, s.Topic, s.Partition, src)
		case string(l.Key) != string(s.Key) || string(l.Value) != string(s.Value):
			p.add("dead letter with other bytes", "%v, want key %q value %q", l, s.Key, s.Value)
		}
		seen[id] = src
		if before := last[src.Partition]; before != "" && rank[before] > rank[id] {
			p.add("dead letters out of order", "record %s comes after record %s of partition %d", id, before, src.Partition)
		}
		last[src.Partition] = id
	}
	for id := range dead {
		if _, ok := seen[id]; !ok {
			p.add("dead letter lost", "record %s", id)
		}
	}
}
