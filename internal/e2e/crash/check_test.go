package crash

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// perfect makes a run in which all went well: for each fate two records.
func perfect() *Run {
	const topic = "dead.t"
	r := &Run{Stored: map[string][]clients.Stored{}}
	for i, fate := range []Fate{Kept, Dropped, Dead, Annotated, Kept, Dropped, Dead, Annotated} {
		id := fmt.Sprint(i)
		record := clients.Record{ID: id, Topic: topic, Key: []byte("k" + id), Value: fmt.Appendf(nil, `{"id":%q}`, id)}
		r.Sent = append(r.Sent, Sent{record, fate})
		r.Acks = append(r.Acks, clients.Ack{ID: id, Offset: int64(i)})
		s := clients.Stored{Offset: int64(i), Key: record.Key, Value: record.Value}
		switch fate {
		case Dropped, Dead:
			s.Key, s.Value = []byte("unique"+id), nil
			s.Headers = []clients.Header{{Name: "sluice.dropped", Value: gateway.MarkerCode(topic, s.Key)}}
		case Annotated:
			s.Headers = []clients.Header{{Name: scene.ErrorHeader, Value: []byte("{}")}}
		}
		r.Stored[topic] = append(r.Stored[topic], s)
		if fate == Dead {
			r.Letters = append(r.Letters, clients.Stored{Offset: int64(len(r.Letters)), Key: record.Key, Value: record.Value, Headers: []clients.Header{
				{Name: "sluice.source", Value: fmt.Appendf(nil, `{"cluster":"main","topic":%q,"partition":0,"sequence":%d}`, topic, i)}}})
		}
	}
	return r
}

// TestCheck breaks a perfect run in one way after the other: a checker that
// never complains proves nothing.
func TestCheck(t *testing.T) {
	const topic = "dead.t"
	for _, tt := range []struct {
		name string
		do   func(r *Run)
		want string // a kind of problem, or "" for none
	}{
		{"nothing", func(r *Run) {}, ""},
		{"a dead letter is there twice with one source", func(r *Run) { r.Letters = append(r.Letters, r.Letters[0]) }, ""},
		{"letters of another topic", func(r *Run) {
			r.Letters = append(r.Letters, clients.Stored{Headers: []clients.Header{{Name: "sluice.source", Value: []byte(`{"topic":"other"}`)}}})
		}, ""},
		{"no answer", func(r *Run) { r.Acks = r.Acks[1:] }, "never answered"},
		{"two answers", func(r *Run) { r.Acks = append(r.Acks, r.Acks[0]) }, "answered twice"},
		{"an error", func(r *Run) { r.Acks[0].Error = "timed out" }, "given up by the client"},
		{"a record is gone", func(r *Run) { r.Stored[topic] = r.Stored[topic][:7] }, "lost"},
		{"a marker is gone", func(r *Run) { r.Stored[topic] = slices.Delete(r.Stored[topic], 1, 2) }, "lost"},
		{"a record is there twice", func(r *Run) {
			again := r.Stored[topic][0]
			again.Offset = 8
			r.Stored[topic] = append(r.Stored[topic], again)
		}, "twice in the topic"},
		{"a marker is there twice", func(r *Run) {
			again := r.Stored[topic][1]
			again.Offset = 8
			r.Stored[topic] = append(r.Stored[topic], again)
		}, "stored and not acknowledged"},
		{"one offset for two", func(r *Run) { r.Acks[1].Offset = 0 }, "two records acknowledged at one offset"},
		{"swapped", func(r *Run) {
			r.Acks[0].Offset, r.Acks[4].Offset = 4, 0
			s := r.Stored[topic]
			s[0].Value, s[4].Value = s[4].Value, s[0].Value
			s[0].Key, s[4].Key = s[4].Key, s[0].Key
		}, "out of order"},
		{"a marker with a wrong code", func(r *Run) { r.Stored[topic][1].Headers[0].Value = []byte("no") }, "stored in the wrong form"},
		{"a dropped record is stored", func(r *Run) {
			r.Stored[topic][1] = clients.Stored{Offset: 1, Key: r.Sent[1].Key, Value: r.Sent[1].Value}
		}, "stored in the wrong form"},
		{"not annotated", func(r *Run) { r.Stored[topic][3].Headers = nil }, "stored in the wrong form"},
		{"other bytes", func(r *Run) { r.Stored[topic][0].Value = []byte(`{"id":"0" }`) }, "stored in the wrong form"},
		{"another partition", func(r *Run) { r.Acks[0].Partition = 1 }, "in another partition"},
		{"a letter is gone", func(r *Run) { r.Letters = r.Letters[1:] }, "dead letter lost"},
		{"letters swapped", func(r *Run) { r.Letters[0].Offset = 9 }, "dead letters out of order"},
		{"a letter with two sources", func(r *Run) {
			again := r.Letters[1]
			again.Offset = 9
			again.Headers = []clients.Header{{Name: "sluice.source", Value: []byte(`{"topic":"dead.t","sequence":99}`)}}
			r.Letters = append(r.Letters, again)
		}, "two dead letters of one record"},
		{"a letter of a kept record", func(r *Run) { r.Letters[0].Value = []byte(`{"id":"0"}`) }, "dead letter of a record that is not dead"},
		{"a letter without source", func(r *Run) { r.Letters[0].Headers = nil }, "dead letter without source"},
	} {
		r := perfect()
		tt.do(r)
		got := Check(r)
		if tt.want == "" && len(got) > 0 || tt.want != "" && !strings.Contains(strings.Join(got, "\n"), tt.want) {
			t.Errorf("%s: the checker says %q, want %q", tt.name, got, tt.want)
		}
	}
}
