package sluice

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
)

// start returns an instance of a middleware that was not registered.
func start(f Process, records ...abi.Record) *Native {
	h := &fake.Host{Records: records, Calls: map[string]int{}, Batch: abi.Info{Topic: "t", Partition: 3, ProducerID: -1}}
	n := &Native{host: h, process: f}
	n.batch.host = h
	return n
}

func numbered(n int) []abi.Record {
	records := make([]abi.Record, n)
	for i := range records {
		records[i] = abi.Record{Key: fmt.Appendf(nil, "k%d", i), Value: bytes.Repeat([]byte{'v'}, i), Timestamp: int64(i), Offset: int64(i)}
	}
	return records
}

// verdicts returns the stream as text, an entry a line.
func (n *Native) text() string {
	var b strings.Builder
	var v abi.Verdict
	for r := abi.NewVerdictReader(n.host.Verdicts, len(n.host.Records)); r.Next(&v); {
		fmt.Fprintf(&b, "%d+%d %s", v.First, v.Count, v.Op)
		if v.Reason != "" {
			fmt.Fprintf(&b, " %q", v.Reason)
		}
		p := &v.Patch
		if p.Mask&abi.FieldKey != 0 {
			fmt.Fprintf(&b, " key=%q", p.Key)
		}
		if p.Mask&abi.FieldValue != 0 {
			fmt.Fprintf(&b, " value=%q", p.Value)
		}
		if p.Mask&abi.FieldRemove != 0 {
			fmt.Fprintf(&b, " remove=%q", p.Remove)
		}
		for _, h := range p.Add {
			fmt.Fprintf(&b, " add=%s:%q", h.Name, h.Value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestVerdicts(t *testing.T) {
	scratch := make([]byte, 1)
	for _, c := range []struct {
		name string
		f    func(b *Batch)
		want string
		err  error
	}{
		{"nothing", func(b *Batch) {}, "", nil},
		{"runs of drops are one entry", func(b *Batch) {
			for _, i := range []int{0, 1, 2, 4, 5, 9} {
				b.Drop(i)
			}
		}, "0+3 drop\n4+2 drop\n9+1 drop\n", nil},
		{"changes add up", func(b *Batch) {
			b.SetKey(1, nil)
			b.SetValue(1, []byte("x"))
			b.SetValue(1, []byte{})
			b.AddHeader(1, "a", []byte("1"))
			b.RemoveHeader(1, "b")
			b.AddHeader(1, "a", nil)
		}, `1+1 replace key="" value="" remove=["b"] add=a:"1" add=a:""` + "\n", nil},
		{"the last verdict counts", func(b *Batch) {
			b.SetValue(1, []byte("x"))
			b.Drop(1)
			b.Drop(2)
			b.Reject(2, "no")
			b.DeadLetter(3, "x")
			b.AddHeader(3, "h", nil)
		}, "1+1 drop\n2+1 reject \"no\"\n3+1 replace add=h:\"\"\n", nil},
		{"any order", func(b *Batch) {
			b.Reject(7, "seven")
			b.Drop(3)
			b.Drop(4)
			b.DeadLetter(0, "zero")
		}, "0+1 dead-letter \"zero\"\n3+2 drop\n7+1 reject \"seven\"\n", nil},
		{"coming back", func(b *Batch) {
			b.AddHeader(3, "a", nil)
			b.Drop(4)
			b.AddHeader(3, "b", nil)
		}, "", errTwice},
		{"coming back after a run", func(b *Batch) {
			b.Drop(5)
			b.Drop(3)
			b.Drop(4)
			b.Drop(5)
		}, "", errTwice},
		{"memory of the caller may change at once", func(b *Batch) {
			for i := range 3 {
				scratch[0] = byte('a' + i)
				b.SetValue(i, scratch)
				b.AddHeader(i, "h", scratch)
				scratch[0] = '!'
			}
		}, "0+1 replace value=\"a\" add=h:\"a\"\n1+1 replace value=\"b\" add=h:\"b\"\n2+1 replace value=\"c\" add=h:\"c\"\n", nil},
		{"long and invalid texts are made fit", func(b *Batch) { b.Reject(0, "a\xff") }, "0+1 reject \"a\uFFFD\"\n", nil},
	} {
		n := start(func(b *Batch) error { c.f(b); return nil }, numbered(10)...)
		err := n.Process()
		if !errors.Is(err, c.err) {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.err)
			continue
		}
		if err == nil && n.text() != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, n.text(), c.want)
		}
		if wrote := n.host.Calls["write"] > 0; err == nil && wrote != (c.want != "") {
			t.Errorf("%s: write was called: %v", c.name, wrote)
		}
	}
}

// Whatever is said about records in whatever order makes a right stream, or
// is an error that says so.
func TestVerdictsAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		records := numbered(1 + r.IntN(8))
		want := make([]abi.Op, len(records))
		twice := false
		n := start(func(b *Batch) error {
			last := -1
			for range r.IntN(10) {
				i := r.IntN(len(records))
				if r.IntN(2) == 0 {
					i = min(last+1, len(records)-1)
				}
				twice = twice || i != last && want[i] != abi.OpKeep
				last = i
				switch op := abi.Op(1 + r.IntN(4)); op {
				case abi.OpDrop:
					b.Drop(i)
					want[i] = op
				case abi.OpReplace:
					b.SetKey(i, []byte("new"))
					want[i] = op
				case abi.OpReject:
					b.Reject(i, "no")
					want[i] = op
				case abi.OpDeadLetter:
					b.DeadLetter(i, "no")
					want[i] = op
				}
			}
			return nil
		}, records...)
		err := n.Process()
		if (err != nil) != twice || err != nil && !errors.Is(err, errTwice) {
			t.Fatalf("two verdicts on a record: %v, error %v", twice, err)
		}
		if err != nil {
			continue
		}
		got := make([]abi.Op, len(records))
		var v abi.Verdict
		for r := abi.NewVerdictReader(n.host.Verdicts, len(records)); r.Next(&v); {
			for i := v.First; i < v.First+v.Count; i++ {
				got[i] = v.Op
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// emptyHeaders makes no headers equal to an empty list of them.
var emptyHeaders = cmp.FilterValues(func(a, b []abi.Header) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())

func TestRecords(t *testing.T) {
	records := []abi.Record{
		{Key: []byte("k"), Value: nil, Timestamp: 5, Offset: 9, LogAppendTime: true, Headers: []abi.Header{{Name: "h", Value: []byte{}}, {Name: "h"}}},
		{Value: []byte{}, Timestamp: -1, Offset: 10},
	}
	for _, f := range []Fields{0, FieldKey, FieldValue, FieldHeaders, FieldMeta, FieldsAll} {
		var got []abi.Entry
		n := start(func(b *Batch) error {
			for r := range b.Records(f) {
				if r.Index != len(got) {
					t.Errorf("fields %d: record %d has index %d", f, len(got), r.Index)
				}
				e := r.Entry
				e.Headers = slices.Clone(e.Headers)
				got = append(got, e)
			}
			return nil
		}, records...)
		if err := n.Process(); err != nil {
			t.Fatal(err)
		}
		var want []abi.Entry
		for i := range records {
			var e abi.Entry
			if _, err := abi.NextEntry(abi.AppendEntry(nil, &records[i], f), f, &e); err != nil {
				t.Fatal(err)
			}
			e.Headers = slices.Clone(e.Headers)
			want = append(want, e)
		}
		if diff := cmp.Diff(want, got, emptyHeaders); diff != "" {
			t.Errorf("fields %d (-want +got):\n%s", f, diff)
		}
	}
}

// Fields that were read are not read again, and reading others first settles what
// was said, which may refer to the old buffer.
func TestReadingTwice(t *testing.T) {
	n := start(func(b *Batch) error {
		for r := range b.Records(FieldKey | FieldValue) {
			r.RemoveHeader(string(r.Key))
		}
		for range b.Records(FieldKey) {
		}
		if got := b.host.Calls["read"]; got != 2 {
			t.Errorf("read was called %d times, want 2: for the size, for the records", got)
		}
		if b.HasHeaders() {
			t.Error("records have headers, want none")
		}
		for range b.Records(FieldsAll) {
		}
		return nil
	}, numbered(3)...)
	if err := n.Process(); err != nil {
		t.Fatal(err)
	}
	if want := "0+1 replace remove=[\"k0\"]\n1+1 replace remove=[\"k1\"]\n2+1 replace remove=[\"k2\"]\n"; n.text() != want {
		t.Errorf("got\n%swant\n%s", n.text(), want)
	}
}

// A header's name is a view of the buffer that reading other fields uses again, also while the verdict on the last record may still change.
func TestNamesOutliveTheirBuffer(t *testing.T) {
	records := numbered(2)
	for i := range records {
		records[i].Key = bytes.Repeat([]byte("k"), 100)
		records[i].Headers = []abi.Header{{Name: fmt.Sprintf("header-%d", i)}}
	}
	n := start(func(b *Batch) error {
		for range b.Records(FieldsAll) { // makes the buffer large enough
		}
		b.read = false
		for r := range b.Records(FieldHeaders) {
			r.RemoveHeader(r.Headers[0].Name)
		}
		for range b.Records(FieldKey) {
		}
		return nil
	}, records...)
	if err := n.Process(); err != nil {
		t.Fatal(err)
	}
	if want := "0+1 replace remove=[\"header-0\"]\n1+1 replace remove=[\"header-1\"]\n"; n.text() != want {
		t.Errorf("got\n%swant\n%s", n.text(), want)
	}
}

// A loop inside another would leave the outer one with the inner one's record, and a verdict with the wrong index.
func TestLoopInLoop(t *testing.T) {
	paths := &Paths{values: make([]Value, 1)}
	register := func(b *Batch) { paths.list = b.host.Paths(abi.AppendPaths(nil, []string{"$.a"})) }
	loops := map[string]func(b *Batch, f Fields, each func()){
		"Batch.Records": func(b *Batch, f Fields, each func()) {
			for range b.Records(f) {
				each()
			}
		},
		"Paths.Records": func(b *Batch, f Fields, each func()) {
			for range paths.Records(b, f) {
				each()
			}
		},
	}
	for outer, in := range loops {
		for inner, loop := range loops {
			n := start(func(b *Batch) error {
				register(b)
				in(b, FieldKey, func() { loop(b, FieldKey, func() {}) })
				return nil
			}, numbered(2)...)
			func() {
				defer func() {
					if text, _ := recover().(string); !strings.Contains(text, "a loop over the records of a batch inside another") {
						t.Errorf("%s in %s: got %q, want a panic that says what to do", inner, outer, text)
					}
				}()
				_ = n.Process()
			}()
			n = start(func(b *Batch) error {
				register(b)
				in(b, FieldKey, func() {})
				loop(b, FieldValue, func() {})
				return nil
			}, numbered(2)...)
			if err := n.Process(); err != nil {
				t.Errorf("%s after %s: %v", inner, outer, err)
			}
		}
	}
}

func TestHasHeaders(t *testing.T) {
	records := numbered(3)
	for _, with := range []bool{false, true} {
		if with {
			records[2].Headers = []abi.Header{{}}
		}
		for _, before := range []bool{false, true} {
			n := start(func(b *Batch) error {
				if before {
					for range b.Records(FieldKey) {
					}
				}
				if got := b.HasHeaders(); got != with {
					t.Errorf("got %v, want %v (with keys read before: %v)", got, with, before)
				}
				return nil
			}, records...)
			if err := n.Process(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestInfo(t *testing.T) {
	n := start(func(b *Batch) error {
		client, ok := b.ClientID()
		_, known := b.Principal()
		got := fmt.Sprintln(b.Topic(), b.Partition(), client, ok, known, b.ProducerID(), b.Transactional(), b.Fetch(), b.Len(), b.Now().UnixMilli())
		if want := "t 3 c true false -1 true true 2 1000\n"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		return nil
	}, abi.Record{Timestamp: 1000}, abi.Record{})
	n.host.Batch = abi.Info{Topic: "t", Partition: 3, ProducerID: -1, Transactional: true, Fetch: true, ClientID: abi.NullString{String: "c", Valid: true}}
	if err := n.Process(); err != nil {
		t.Fatal(err)
	}
}

func TestReadPart(t *testing.T) {
	n := start(func(b *Batch) error {
		var got []byte
		part := make([]byte, 3)
		for {
			n := b.ReadPart(1, FieldValue, len(got), part)
			if n == 0 {
				break
			}
			got = append(got, part[:n]...)
		}
		if string(got) != "a long value" {
			t.Errorf("got %q", got)
		}
		return nil
	}, abi.Record{}, abi.Record{Value: []byte("a long value")})
	if err := n.Process(); err != nil {
		t.Fatal(err)
	}
}

// A batch costs no allocation once the buffers are warm, whatever is done
// with it.
func TestNoAllocations(t *testing.T) {
	value := []byte("new value")
	for name, f := range map[string]Process{
		"nothing":   func(b *Batch) error { return nil },
		"topic":     func(b *Batch) error { _ = b.Topic(); return nil },
		"read keys": func(b *Batch) error { return each(b, FieldKey, func(r *Record) {}) },
		"read all":  func(b *Batch) error { return each(b, FieldsAll, func(r *Record) {}) },
		"drop":      func(b *Batch) error { return each(b, FieldKey, (*Record).Drop) },
		"reject":    func(b *Batch) error { return each(b, FieldKey, func(r *Record) { r.Reject("no") }) },
		"replace": func(b *Batch) error {
			return each(b, FieldKey, func(r *Record) {
				r.SetValue(value)
				r.AddHeader("a", value)
				r.RemoveHeader("b")
			})
		},
	} {
		n := start(f, numbered(100)...)
		n.host.Calls = nil
		run := func() {
			if err := n.Process(); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if got := testing.AllocsPerRun(10, run); got > 1 { // the check of the stream has one of its own
			t.Errorf("%s: %v allocations for a batch of 100", name, got)
		}
	}
}

func each(b *Batch, f Fields, do func(*Record)) error {
	for r := range b.Records(f) {
		do(r)
	}
	return nil
}

func BenchmarkBatch(b *testing.B) {
	value := bytes.Repeat([]byte("v"), 1000)
	records := make([]abi.Record, 100)
	for i := range records {
		records[i] = abi.Record{Key: fmt.Appendf(nil, "key-%d", i), Value: value, Headers: []abi.Header{{Name: "trace-id", Value: value[:16]}}}
	}
	for _, c := range []struct {
		name string
		f    Process
	}{
		{"nothing", func(b *Batch) error { return nil }},
		{"read lengths", func(b *Batch) error { return each(b, 0, func(*Record) {}) }},
		{"read keys", func(b *Batch) error { return each(b, FieldKey, func(*Record) {}) }},
		{"read all", func(b *Batch) error { return each(b, FieldsAll, func(*Record) {}) }},
		{"drop all", func(b *Batch) error { return each(b, FieldKey, (*Record).Drop) }},
		{"replace all", func(b *Batch) error { return each(b, FieldKey, func(r *Record) { r.SetValue(value) }) }},
		{"add a header", func(b *Batch) error { return each(b, 0, func(r *Record) { r.AddHeader("h", value[:16]) }) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := start(c.f, records...)
			n.host.Calls = nil
			b.ReportAllocs()
			for b.Loop() {
				if err := n.Process(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(records)), "ns/record")
		})
	}
}
