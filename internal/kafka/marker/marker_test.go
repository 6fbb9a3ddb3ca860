package marker

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluicegate/sluice/abi"
)

var secret = []byte("0123456789abcdef")

func newMaker(t testing.TB, key []byte) *Maker {
	t.Helper()
	m, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNew(t *testing.T) {
	if _, err := New(secret[:15]); !errors.Is(err, ErrKeySize) {
		t.Errorf("New with 15 bytes: %v, want %v", err, ErrKeySize)
	}
	key := bytes.Clone(secret)
	m := newMaker(t, key)
	clear(key)
	r := abi.Record{}
	m.Make("t", &r)
	if !newMaker(t, secret).Is("t", &r) {
		t.Error("New kept the caller's slice")
	}
}

func TestMake(t *testing.T) {
	m := newMaker(t, secret)
	r := abi.Record{Key: []byte("k"), Value: []byte("v"), Timestamp: 5, Offset: 6, LogAppendTime: true,
		Headers: []abi.Header{{Name: "a"}, {Name: "b"}}}
	m.Make("topic", &r)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("sluice.dropped\x00topic\x00"))
	mac.Write(r.Key)
	want := abi.Record{Key: r.Key, Timestamp: 5, Offset: 6, LogAppendTime: true,
		Headers: []abi.Header{{Name: "sluice.dropped", Value: mac.Sum(nil)[:16]}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	if len(r.Key) != 16 {
		t.Errorf("key of %d bytes, want 16", len(r.Key))
	}
	other := abi.Record{}
	m.Make("topic", &other)
	if bytes.Equal(r.Key, other.Key) {
		t.Error("two markers with the same key")
	}
}

func TestIs(t *testing.T) {
	m := newMaker(t, secret)
	tests := []struct {
		name  string
		topic string
		edit  func(*abi.Record)
		want  bool
	}{
		{"as made", "topic", func(*abi.Record) {}, true},
		{"other timestamp", "topic", func(r *abi.Record) { r.Timestamp++ }, true},
		{"other topic", "topic2", func(*abi.Record) {}, false},
		{"other key", "topic", func(r *abi.Record) { r.Key = append(bytes.Clone(r.Key), 'x') }, false},
		{"null key", "topic", func(r *abi.Record) { r.Key = nil }, false},
		{"empty value", "topic", func(r *abi.Record) { r.Value = []byte{} }, false},
		{"no header", "topic", func(r *abi.Record) { r.Headers = nil }, false},
		{"more headers", "topic", func(r *abi.Record) { r.Headers = append(r.Headers, abi.Header{Name: "x"}) }, false},
		{"other header", "topic", func(r *abi.Record) { r.Headers[0].Name = "sluice.droppee" }, false},
		{"other code", "topic", func(r *abi.Record) { r.Headers[0].Value[15] ^= 1 }, false},
		{"short code", "topic", func(r *abi.Record) { r.Headers[0].Value = r.Headers[0].Value[:15] }, false},
		{"null code", "topic", func(r *abi.Record) { r.Headers[0].Value = nil }, false},
		{"boundary moved", "top", func(r *abi.Record) { r.Key = append([]byte("ic\x00"), r.Key...) }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := abi.Record{Timestamp: 1}
			m.Make("topic", &r)
			test.edit(&r)
			if got := m.Is(test.topic, &r); got != test.want {
				t.Errorf("Is = %t, want %t", got, test.want)
			}
		})
	}
	r := abi.Record{}
	m.Make("topic", &r)
	if newMaker(t, []byte("fedcba9876543210")).Is("topic", &r) {
		t.Error("Is = true with another secret")
	}
}

func TestConcurrent(t *testing.T) {
	m := newMaker(t, secret)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				r := abi.Record{}
				m.Make("topic", &r)
				if !m.Is("topic", &r) {
					t.Error("a marker was not recognised")
					return
				}
			}
		})
	}
	wg.Wait()
}

// raceEnabled says that pools lose things at random.
func raceEnabled() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

func TestAllocations(t *testing.T) {
	if raceEnabled() {
		return // the detector allocates
	}
	m := newMaker(t, secret)
	marker := abi.Record{}
	m.Make("topic", &marker)
	record := abi.Record{Value: []byte("v"), Headers: marker.Headers}
	if n := testing.AllocsPerRun(100, func() { m.Is("topic", &record); m.Is("topic", &marker) }); n > 0 {
		t.Errorf("Is: %v allocations, want none", n)
	}
	if n := testing.AllocsPerRun(100, func() { m.Make("topic", &record) }); n > 1 {
		t.Errorf("Make: %v allocations, want 1", n)
	}
}

func BenchmarkMake(b *testing.B) {
	m, r := newMaker(b, secret), abi.Record{}
	b.ReportAllocs()
	for b.Loop() {
		m.Make("topic", &r)
	}
}

func BenchmarkIsMarker(b *testing.B) {
	m, r := newMaker(b, secret), abi.Record{}
	m.Make("topic", &r)
	b.ReportAllocs()
	for b.Loop() {
		m.Is("topic", &r)
	}
}

func BenchmarkIsRecord(b *testing.B) {
	m, r := newMaker(b, secret), abi.Record{Value: []byte("v"), Headers: []abi.Header{{Name: "h"}}}
	for b.Loop() {
		m.Is("topic", &r)
	}
}
