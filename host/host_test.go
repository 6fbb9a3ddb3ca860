package host

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/abi"
)

//go:generate sh -c "for f in testdata/*.wat; do wat2wasm --debug-names $f -o ${f%.wat}.wasm; done"

// guest returns the bytes of a guest in testdata.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newHost makes a host that is closed with the test.
func newHost(t testing.TB, cfg Config) *Host {
	t.Helper()
	h, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// newStage makes a stage of a guest in testdata.
func newStage(t testing.TB, h *Host, name string, cfg StageConfig) (*Stage, error) {
	t.Helper()
	ctx := context.Background()
	m, err := h.Compile(ctx, name, guest(t, name))
	if err != nil {
		return nil, err
	}
	defer m.Close(ctx)
	if cfg.Name == "" {
		cfg.Name = name
	}
	if cfg.Pipeline == "" {
		cfg.Pipeline = "test"
	}
	return h.NewStage(ctx, m, cfg)
}

// pipeline makes a pipeline of one stage that is closed with the test.
func pipeline(t testing.TB, h *Host, name string, cfg StageConfig) *Pipeline {
	t.Helper()
	s, err := newStage(t, h, name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return pipelineOf(t, s)
}

func pipelineOf(t testing.TB, stages ...*Stage) *Pipeline {
	p := NewPipeline("test", stages...)
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// batch makes a batch of records with these values; offsets count from 100.
func batch(values ...string) *Batch {
	b := &Batch{Topic: "t", Partition: 3, ProducerID: -1}
	for i, v := range values {
		b.Records = append(b.Records, abi.Record{Key: []byte("k"), Value: []byte(v), Timestamp: 1_700_000_000_000 + int64(i), Offset: 100 + int64(i)})
	}
	return b
}

// spell spells outcomes: one word a record.
func spell(r *Result) string {
	var words []string
	for _, o := range r.Outcomes {
		w := o.Op.String()
		if o.Op == abi.OpReplace {
			w += "=" + string(o.Record.Value)
			for _, h := range o.Record.Headers {
				w += "," + h.Name + ":" + string(h.Value)
			}
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// recorder is an observer that remembers.
type recorder struct {
	mu        sync.Mutex
	records   map[abi.Op]int
	failures  map[Cause]int
	poison    int
	instances int
	made      int
	dropped   int
	batches   int
	fuel      int64
}

func (r *recorder) Stage(_, _ string) StageObserver { return r }

func (r *recorder) Batch(_ time.Duration, fuel int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches++
	r.fuel += fuel
}

func (r *recorder) Records(op abi.Op, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.records == nil {
		r.records = map[abi.Op]int{}
	}
	r.records[op] += n
}

func (r *recorder) Poison(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.poison += n
}

func (r *recorder) Failure(c Cause) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures == nil {
		r.failures = map[Cause]int{}
	}
	r.failures[c]++
}

func (r *recorder) Instances(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instances += n
	r.made += max(n, 0)
}

func (r *recorder) LogDropped(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped += n
}

// logTo returns a logger that writes to b.
func logTo(b *lockedBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, nil))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestVerdicts(t *testing.T) {
	h := newHost(t, Config{})
	p := pipeline(t, h, "script", StageConfig{DeadLetterTopic: "dlq"})
	tests := []struct{ values, want string }{
		{"k", ""},
		{"k k k", ""},
		{"k d k", "keep drop keep"},
		{"r l v d", "reject dead-letter replace=V,h:1 drop"},
		{"v k v", "replace=V,h:1 keep replace=V,h:1"},
	}
	var r Result // one for all, as callers do
	for _, tt := range tests {
		b := batch(strings.Fields(tt.values)...)
		if err := p.Process(context.Background(), b, &r); err != nil {
			t.Errorf("%s: %v", tt.values, err)
			continue
		}
		if got := spell(&r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.values, got, tt.want)
		}
	}
	if err := p.Process(context.Background(), batch("k", "r", "l"), &r); err != nil {
		t.Fatal(err)
	}
	if o := r.Outcomes[1]; o.Reason != "no" || o.Stage != "script" {
		t.Errorf("reject: %+v", o)
	}
	if o := r.Outcomes[2]; o.Reason != "bad" || o.DeadLetterTopic != "dlq" || string(o.Record.Value) != "l" || o.Record.Offset != 102 {
		t.Errorf("dead-letter: %+v", o)
	}
	if err := p.Process(context.Background(), &Batch{}, &r); err != nil || len(r.Outcomes) != 0 {
		t.Errorf("empty batch: %v, %v", r.Outcomes, err)
	}
}

func TestStagesInOrder(t *testing.T) {
	h := newHost(t, Config{})
	var obs [2]recorder
	var stages []*Stage
	for i := range obs {
		h.cfg.Observer = &obs[i]
		s, err := newStage(t, h, "script", StageConfig{Name: fmt.Sprint("stage", i), DeadLetterTopic: "dlq"})
		if err != nil {
			t.Fatal(err)
		}
		stages = append(stages, s)
	}
	p := pipelineOf(t, stages...)
	var r Result
	// The second stage sees "V" for "v" and does not see "d" at all.
	if err := p.Process(context.Background(), batch("d", "v", "k", "d", "r", "k"), &r); err != nil {
		t.Fatal(err)
	}
	if got, want := spell(&r), "drop replace=V,h:1 keep drop reject keep"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := obs[1].records; got[abi.OpKeep] != 3 || len(got) != 1 {
		t.Errorf("second stage counted %v, want 3 kept", got)
	}
	if got := obs[0].records; got[abi.OpDrop] != 2 || got[abi.OpReject] != 1 || got[abi.OpReplace] != 1 || got[abi.OpKeep] != 2 {
		t.Errorf("first stage counted %v", got)
	}
}

// TestLaterStageSeesReplaced runs a guest whose verdicts are a record's value behind one that replaces it.
func TestLaterStageSeesReplaced(t *testing.T) {
	h := newHost(t, Config{})
	var stages []*Stage
	for _, name := range []string{"echo", "script"} {
		s, err := newStage(t, h, name, StageConfig{DeadLetterTopic: "dlq"})
		if err != nil {
			t.Fatal(err)
		}
		stages = append(stages, s)
	}
	p := pipelineOf(t, stages...)
	stream := abi.AppendDrop(nil, 0, 1)
	stream = abi.AppendReplace(stream, 1, &abi.Patch{Mask: abi.FieldValue, Value: []byte("d")})
	stream = abi.AppendReplace(stream, 2, &abi.Patch{Mask: abi.FieldValue | abi.FieldKey, Value: []byte("l")})
	stream = abi.AppendReplace(stream, 3, &abi.Patch{Mask: abi.FieldValue, Value: []byte("keep")})
	stream = abi.AppendReplace(stream, 4, &abi.Patch{Mask: abi.FieldValue, Value: []byte("v")})
	var r Result
	if err := p.Process(context.Background(), batch(string(stream), "a", "b", "c", "d", "d"), &r); err != nil {
		t.Fatal(err)
	}
	if got, want := spell(&r), "drop drop dead-letter replace=keep replace=V,h:1 drop"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if o := r.Outcomes[2]; o.Record.Key != nil || string(o.Record.Value) != "l" || o.Stage != "script" {
		t.Errorf("dead-letter: %+v, want the record as the second stage saw it", o)
	}
}

// TestUnknownVerdictsChangeNothing has a second stage write entries that are to be skipped on what the first stage replaced.
func TestUnknownVerdictsChangeNothing(t *testing.T) {
	for op := range abi.Op(10) {
		if op >= abi.OpDrop && op <= abi.OpDeadLetter {
			continue
		}
		h := newHost(t, Config{})
		var stages []*Stage
		for range 2 {
			s, err := newStage(t, h, "echo", StageConfig{OnPoison: ActionStop})
			if err != nil {
				t.Fatal(err)
			}
			stages = append(stages, s)
		}
		// The first stage writes its record 0, which gives the second one what to write.
		skipped := abi.AppendVerdict(nil, &abi.Verdict{Op: op, First: 0, Count: 2, Payload: []byte("?")})
		stream := abi.AppendReplace(nil, 0, &abi.Patch{Mask: abi.FieldValue, Value: skipped})
		stream = abi.AppendReplace(stream, 1, &abi.Patch{Mask: abi.FieldValue, Value: []byte("masked")})
		var r Result
		if err := pipelineOf(t, stages...).Process(context.Background(), batch(string(stream), "secret"), &r); err != nil {
			t.Fatalf("operation %d: %v", op, err)
		}
		if len(r.Outcomes) != 2 || r.Outcomes[1].Op != abi.OpReplace || string(r.Outcomes[1].Record.Value) != "masked" {
			t.Errorf("operation %d: got %q, want the first stage's replacement", op, spell(&r))
		}
	}
}

func TestModules(t *testing.T) {
	h := newHost(t, Config{})
	tests := []struct{ name, want string }{
		{"no_marker", `it does not export "sluice_abi_v1": it was not built for Sluice`},
		{"other_version", `it exports "sluice_abi_v2" and not "sluice_abi_v1": it was built for another version of the ABI`},
		{"marker_memory", `its export "sluice_abi_v1" is neither a function nor a global`},
		{"no_process", `it exports no function "sluice_process"; it exports "_start", so it was built as a command: build it as a library (Go: -buildmode=c-shared)`},
		{"no_memory", `it exports no memory named "memory"`},
		{"wrong_process", `it exports "sluice_process" as (i32) -> i32, and its type is (i32, i32) -> i32`},
		{"wrong_configure", `it exports "sluice_configure" as () -> (), and its type is () -> i32`},
		{"unknown_module", `it imports "env"."puts", and this host has no module "env"; it has sluice:batch/1, sluice:json/1,`},
		{"unknown_function", `it imports "sluice:batch/1"."seek", and module "sluice:batch/1" of this host has no such function; it has info, read, read_part, write`},
		{"wrong_import", `it imports "sluice:batch/1"."write" as (i64, i32) -> i32, and its type is (i32, i32) -> i32`},
		{"import_memory", `it imports the memory "env"."memory": only functions may be imported`},
		{"large_memory", `it starts with 65536 KiB of memory, and the stage's limit is 32768 KiB: raise limits.memory`},
	}
	for _, tt := range tests {
		_, err := newStage(t, h, tt.name, StageConfig{})
		checkModuleError(t, tt.name, err, tt.want)
	}
	whole := guest(t, "script")
	for name, wasm := range map[string][]byte{"empty": nil, "text": []byte("package main"), "component": []byte("\x00asm\x0d\x00\x01\x00"), "cut": whole[:len(whole)/2], "garbled": append(slices.Clone(whole[:300]), 0xff, 0xff, 0xff)} {
		_, err := h.Compile(context.Background(), name, wasm)
		checkModuleError(t, name, err, "module "+name+": ")
	}
}

func checkModuleError(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", name)
	} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ErrModule.Error()) {
		t.Errorf("%s: got %q, want %q in it", name, err, want)
	}
}

func TestDigestIsShared(t *testing.T) {
	h := newHost(t, Config{})
	ctx := context.Background()
	a, err := h.Compile(ctx, "a", guest(t, "nothing"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Compile(ctx, "b", guest(t, "nothing"))
	if err != nil {
		t.Fatal(err)
	}
	if a.code != b.code || a.Digest() != b.Digest() || a.Name() == b.Name() {
		t.Errorf("two modules of the same bytes: %v %v", a, b)
	}
	s, err := h.NewStage(ctx, a, StageConfig{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = a.Close(ctx), b.Close(ctx)
	if len(h.codes) != 1 {
		t.Errorf("%d codes while a stage is open, want 1", len(h.codes))
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if len(h.codes) != 0 || len(h.stages) != 0 {
		t.Errorf("%d codes and %d stages after all was closed, want none", len(h.codes), len(h.stages))
	}
}
