package abi

import (
	"fmt"
	"testing"
)

// sampleRecords returns n records with a key, a value of that many bytes
// and two headers.
func sampleRecords(n, size int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			Key:       fmt.Appendf(nil, "key-%d", i),
			Value:     make([]byte, size),
			Headers:   []Header{{Name: "content-type", Value: []byte("application/json")}, {Name: "none"}},
			Timestamp: 1700000000000 + int64(i),
			Offset:    int64(i),
		}
	}
	return records
}

func sampleStream(n int) []byte {
	var b []byte
	for i := uint32(0); i < uint32(n); i += 4 {
		b = AppendDrop(b, i, 1)
		b = AppendReplace(b, i+1, &Patch{
			Mask:   FieldValue | FieldRemove | FieldAdd,
			Value:  []byte("new"),
			Remove: []string{"old"},
			Add:    []Header{{Name: "why", Value: []byte("because")}},
		})
		b = AppendReject(b, i+2, 1, "no")
		b = AppendDeadLetter(b, i+3, 1, "later")
	}
	return b
}

// The hot path of both sides allocates nothing once its buffers are warm.
func TestNoAllocations(t *testing.T) {
	records := sampleRecords(100, 100)
	stream := sampleStream(100)
	mem := AppendEntries(nil, records, FieldsAll)
	var entry Entry
	var verdict Verdict
	info := Info{Topic: "t", ClientID: NullString{"c", true}}
	infoBytes := AppendInfo(nil, &info)
	values := []JSONValue{{Kind: KindNumber, Number: 1, Text: []byte("1")}, {Kind: KindString, Text: []byte("x")}}
	json := AppendJSON(nil, JSONOK, values)
	for name, f := range map[string]func(){
		"encode entries": func() { AppendEntries(mem[:0], records, FieldsAll) },
		"decode entries": func() {
			for b := mem; len(b) > 0; {
				var err error
				if b, err = NextEntry(b, FieldsAll, &entry); err != nil {
					t.Fatal(err)
				}
			}
		},
		"check verdicts": func() {
			if err := CheckVerdicts(stream, 100); err != nil {
				t.Fatal(err)
			}
		},
		"read verdicts": func() {
			r := NewVerdictReader(stream, 100)
			for r.Next(&verdict) {
			}
		},
		"info": func() {
			AppendInfo(infoBytes[:0], &info)
			if err := DecodeInfo(infoBytes, &info); err != nil {
				t.Fatal(err)
			}
		},
		"json": func() {
			if _, _, err := NextJSON(json, values); err != nil {
				t.Fatal(err)
			}
			AppendJSON(json[:0], JSONOK, values)
		},
	} {
		if n := testing.AllocsPerRun(10, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkAppendEntries(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			records := sampleRecords(100, size)
			mem := make([]byte, EntriesSize(records, FieldsAll))
			b.SetBytes(int64(len(mem)))
			b.ReportAllocs()
			for b.Loop() {
				if EntriesSize(records, FieldsAll) <= len(mem) {
					AppendEntries(mem[:0], records, FieldsAll)
				}
			}
		})
	}
}

func BenchmarkNextEntry(b *testing.B) {
	mem := AppendEntries(nil, sampleRecords(100, 1000), FieldsAll)
	b.ReportAllocs()
	var e Entry
	for b.Loop() {
		for rest := mem; len(rest) > 0; {
			rest, _ = NextEntry(rest, FieldsAll, &e)
		}
	}
}

func BenchmarkVerdicts(b *testing.B) {
	stream := sampleStream(100)
	b.ReportAllocs()
	var v Verdict
	for b.Loop() {
		if err := CheckVerdicts(stream, 100); err != nil {
			b.Fatal(err)
		}
		for r := NewVerdictReader(stream, 100); r.Next(&v); {
		}
	}
}
