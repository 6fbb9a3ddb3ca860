package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/sluicetest"
)

func TestFixtures(t *testing.T) { sluicetest.Run(t, "testdata/*.txtar") }

func load(t testing.TB, name string) *sluicetest.Fixture {
	t.Helper()
	f, err := sluicetest.Load("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func valid(n int, headers ...abi.Header) []abi.Record {
	records := make([]abi.Record, n)
	for i := range records {
		records[i] = abi.Record{Value: fmt.Appendf(nil, `{"lumens": %d}`, i), Timestamp: 1, Headers: headers}
	}
	return records
}

// A batch of valid records costs one look at the schema and, to annotate,
// one at the number of headers: nothing else is read, nothing written.
func TestValidIsCheap(t *testing.T) {
	for fixture, want := range map[string]map[string]int{
		"annotate": {"find": 2, "info": 1, "check": 1, "read": 1},
		"reject":   {"find": 2, "info": 1, "check": 1},
	} {
		m := load(t, fixture).Start(t)
		m.Process(valid(3)...) // warms the buffers: the first calls of read and info are for their size
		m.Calls["info"], m.Calls["check"], m.Calls["read"] = 0, 0, 0
		if _, err := m.Process(valid(3)...); err != nil {
			t.Fatal(err)
		}
		for name, n := range m.Calls {
			if n == 0 {
				delete(m.Calls, name)
			}
		}
		if diff := cmp.Diff(want, m.Calls); diff != "" {
			t.Errorf("%s: calls of the host (-want +got):\n%s", fixture, diff)
		}
	}
}

func TestManyErrorsAreCut(t *testing.T) {
	m := load(t, "annotate").Start(t, sluicetest.WithSchemas(func([]byte) (sluicetest.Schema, error) { return verbose{}, nil }))
	got, err := m.Process(valid(1)...)
	if err != nil {
		t.Fatal(err)
	}
	var value struct{ Errors []string }
	b := got[0].Record.Headers[0].Value
	if err := json.Unmarshal(b, &value); err != nil {
		t.Fatal(err)
	}
	if len(b) > maxErrors+100 {
		t.Errorf("the header has %d bytes, want about %d at most", len(b), maxErrors)
	}
	if last := value.Errors[len(value.Errors)-1]; last != fmt.Sprintf("and %d more", 1001-len(value.Errors)) {
		t.Errorf("the last of %d errors is %q", len(value.Errors), last)
	}
}

// verbose finds a thousand errors in each value.
type verbose struct{}

func (verbose) Check([]byte) (abi.Status, []string) {
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = strings.Repeat(`"`, 50)
	}
	return abi.StatusInvalid, texts
}

// accept is a judge that costs nothing, to measure what the stage does.
type accept struct{}

func (accept) Check([]byte) (abi.Status, []string) { return abi.StatusValid, nil }

func BenchmarkValid(b *testing.B) {
	f := load(b, "annotate")
	cheap := sluicetest.WithSchemas(func([]byte) (sluicetest.Schema, error) { return accept{}, nil })
	b.Run("no headers", func(b *testing.B) { f.Start(b, cheap).Benchmark(b, valid(100)...) })
	b.Run("headers", func(b *testing.B) {
		f.Start(b, cheap).Benchmark(b, valid(100, abi.Header{Name: "trace-id", Value: []byte("0123456789abcdef")})...)
	})
}
