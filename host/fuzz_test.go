package host

import (
	"testing"

	"github.com/sluicegate/sluice/abi"
)

// FuzzVerdicts applies a stream to seven records in two stages: nothing panics, a stream with a mistake changes nothing, and what is counted is
// what is applied.
func FuzzVerdicts(f *testing.F) {
	f.Add(abi.AppendReject(abi.AppendDrop(nil, 0, 2), 3, 1, "no"))
	f.Add(abi.AppendDeadLetter(abi.AppendReplace(nil, 1, &abi.Patch{Mask: abi.FieldValue | abi.FieldRemove | abi.FieldAdd,
		Value: []byte("v"), Remove: []string{"h"}, Add: []abi.Header{{Name: "n"}}}), 6, 1, "why"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		s := &Stage{cfg: StageConfig{Name: "s", DeadLetterTopic: "dlq"}, declared: allOps, observer: noObserver{}}
		b := batch("a", "b", "c", "d", "e", "f", "g")
		b.Records[1].Headers = []abi.Header{{Name: "h"}, {Name: "i"}}
		var p pass
		p.begin(b)
		for range 2 {
			before := len(p.records)
			p.stage, p.counts, p.changed = s, [len(p.counts)]int{}, false
			if err := p.check(stream, len(p.records)); err != nil {
				if len(p.outcomes) != 0 && before == 7 {
					t.Fatalf("outcomes of a stream that %v", err)
				}
				return
			}
			p.apply(0, stream)
			gone := 0
			for _, op := range []abi.Op{abi.OpDrop, abi.OpReject, abi.OpDeadLetter} {
				gone += p.counts[op]
			}
			if p.changed {
				p.survivors()
			}
			if len(p.records) != before-gone {
				t.Fatalf("%d of %d records are left, %d are gone", len(p.records), before, gone)
			}
			for i := range p.records {
				if o := &p.outcomes; len(*o) > 0 && (*o)[p.origin(i)].Op != abi.OpKeep && (*o)[p.origin(i)].Op != abi.OpReplace {
					t.Fatalf("record %d survived a %s", p.origin(i), (*o)[p.origin(i)].Op)
				}
			}
		}
	})
}

// FuzzExports reads the exports of what may not be a module.
func FuzzExports(f *testing.F) {
	f.Add(guest(f, "nothing"))
	f.Add(guest(f, "call"))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		for _, e := range exports(wasm) {
			if len(e.name) > len(wasm) {
				t.Fatalf("export %q of %d bytes", e.name, len(wasm))
			}
		}
	})
}
