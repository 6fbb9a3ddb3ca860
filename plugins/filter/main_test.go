package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/sluicetest"
)

func TestFixtures(t *testing.T) { sluicetest.Run(t, "testdata/*.txtar") }

// Only what conditions look at is read.
func TestReadsLittle(t *testing.T) {
	record := abi.Record{Key: []byte("k"), Value: []byte(`{"a": 1}`)}
	for config, want := range map[string]map[string]int{
		`{"when": {"json": "$.a", "eq": 1}}`:                                               {"get": 1},
		`{"when": {"field": "key", "eq": "k"}}`:                                            {"read": 1},
		`{"when": {"any": [{"json": "$.b", "eq": 1}, {"field": "key", "eq": "k"}]}}`:       {"get": 1, "read": 1},
		`{"when": {"field": "key", "eq": "k"}, "then": "drop", "else": "keep"}`:            {"read": 1, "write": 1},
		`{"when": {"field": "key", "eq": "other"}, "then": "dead-letter", "else": "keep"}`: {"read": 1},
	} {
		m := sluicetest.Start(t, config)
		if _, err := m.Process(record, record); err != nil { // warms the buffers
			t.Fatal(err)
		}
		clear(m.Calls)
		if _, err := m.Process(record, record); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, m.Calls); diff != "" {
			t.Errorf("%s: calls of the host (-want +got):\n%s", config, diff)
		}
	}
}

func records(n int) []abi.Record {
	out := make([]abi.Record, n)
	for i := range out {
		out[i] = abi.Record{
			Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, `{"price": %d, "region": "eu"}`, i), Timestamp: 1767225600000,
			Headers: []abi.Header{{Name: "trace-id", Value: []byte("0123456789abcdef")}, {Name: "retries", Value: []byte("4")}},
		}
	}
	return out
}

func BenchmarkFilter(b *testing.B) {
	for _, c := range []struct{ name, config string }{
		{"key, all kept", `{"when": {"field": "key", "prefix": "key-"}}`},
		{"key, all dropped", `{"when": {"field": "key", "prefix": "other-"}}`},
		{"key, every tenth dropped", `{"when": {"field": "key", "suffix": "7"}, "then": "drop", "else": "keep"}`},
		{"key pattern", `{"when": {"field": "key", "matches": "^key-[0-9]+$"}}`},
		{"header number", `{"when": {"header": "retries", "gt": 3}}`},
		{"timestamp", `{"when": {"field": "timestamp", "gte": "2026-01-01T00:00:00Z"}}`},
		{"dead-letter", `{"when": {"field": "key", "prefix": "other-"}, "else": "dead-letter"}`},
	} {
		b.Run(c.name, func(b *testing.B) { sluicetest.Start(b, c.config).Benchmark(b, records(100)...) })
	}
}
