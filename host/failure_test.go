package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// small is a budget of fuel that a loop spends in a blink, and honest guests of these tests never.
var small = Limits{FuelBase: 200_000, FuelPerRecord: 10_000, FuelPerByte: 10}

// values returns n values "k" with others at some places.
func values(n int, other string, at ...int) []string {
	list := slices.Repeat([]string{"k"}, n)
	for _, i := range at {
		list[i] = other
	}
	return list
}

func TestPoison(t *testing.T) {
	kinds := map[string]string{ // what the guest does, and what the producer is told
		"t": "wasm error: unreachable",
		"L": "out of fuel",
		"e": "sluice_process: refused",
		"m": "out of memory: the limit is 2 MiB",
		"x": "the guest exited with status 3",
		"R": "call stack exhausted",
		"s": `header "sluice.x": names that begin with "sluice." belong to the gateway`,
		"l": "dead-letter, and the stage has no dead_letter topic",
	}
	places := map[int][]int{1: {617}, 10: {0, 13, 14, 250, 251, 252, 500, 777, 998, 999}}
	for kind, text := range kinds {
		for n, at := range places {
			var obs recorder
			h := newHost(t, Config{Observer: &obs})
			limits := small
			limits.Memory, limits.Deadline = 2<<20, time.Hour
			if kind == "R" {
				limits.FuelBase = 10_000_000 // enough for the stack to be spent first
			}
			p := pipeline(t, h, "script", StageConfig{Limits: limits})
			var r Result
			tries := 0
			for {
				tries++
				err := p.Process(context.Background(), batch(values(1000, kind, at...)...), &r)
				if err == nil {
					break
				}
				// One recovery has a budget of 64 calls; a client's next try goes on where this one ended.
				var stage *StageError
				if n == 1 || tries == 4 || !errors.As(err, &stage) || !strings.Contains(err.Error(), "within 64 calls") {
					t.Fatalf("%d records %q, try %d: %v", n, kind, tries, err)
				}
			}
			for i, o := range r.Outcomes {
				want := abi.OpKeep
				if slices.Contains(at, i) {
					want = abi.OpReject
				}
				if o.Op != want || want == abi.OpReject && !strings.Contains(o.Reason, text) {
					t.Errorf("%d records %q: record %d: %s %q, want %s %q", n, kind, i, o.Op, o.Reason, want, text)
				}
			}
			if obs.instances > h.cfg.Slots {
				t.Errorf("%d records %q: %d instances are left, at most %d", n, kind, obs.instances, h.cfg.Slots)
			}
			// What was found is remembered: no call fails any more.
			failed := len(obs.failures)
			for _, n := range obs.failures {
				failed += n
			}
			if err := p.Process(context.Background(), batch(values(1000, kind, at...)...), &r); err != nil {
				t.Error(err)
			}
			for _, n := range obs.failures {
				failed -= n
			}
			if failed != len(obs.failures) {
				t.Errorf("%d records %q: calls fail again", n, kind)
			}
		}
	}
}

func TestPoisonPolicies(t *testing.T) {
	h := newHost(t, Config{})
	var r Result
	for action, want := range map[Action]string{
		ActionDefault:    "keep reject drop",
		ActionReject:     "keep reject drop",
		ActionDeadLetter: "keep dead-letter drop",
		ActionPass:       "keep keep drop",
	} {
		p := pipeline(t, h, "script", StageConfig{OnPoison: action, DeadLetterTopic: "dlq"})
		if err := p.Process(context.Background(), batch("k", "t", "d"), &r); err != nil {
			t.Errorf("%v: %v", action, err)
		} else if got := spell(&r); got != want {
			t.Errorf("%v: got %q, want %q", action, got, want)
		}
		if o := r.Outcomes[1]; action == ActionDeadLetter && (o.DeadLetterTopic != "dlq" || string(o.Record.Value) != "t" || o.Reason == "") {
			t.Errorf("dead-letter: %+v", o)
		}
	}
	for name, cfg := range map[string]StageConfig{"produce": {OnPoison: ActionStop}, "fetch by default": {On: Fetch}} {
		p := pipeline(t, h, "script", cfg)
		b := batch("k", "d", "t")
		b.On = cfg.On
		for range 2 { // the second time from memory
			err := p.Process(context.Background(), b, &r)
			var stop *StoppedError
			if !errors.As(err, &stop) || stop.Offset != 102 || stop.Index != 2 || stop.Topic != "t" || stop.Partition != 3 || !strings.Contains(err.Error(), "unreachable") {
				t.Errorf("%s: %v", name, err)
			}
			if len(r.Outcomes) != 0 {
				t.Errorf("%s: outcomes with an error", name)
			}
		}
	}
}

// TestPoisonElsewhere has a record that is poisonous in one topic come again from somewhere else: the guest is asked again.
func TestPoisonElsewhere(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Observer: &obs})
	p := pipeline(t, h, "script", StageConfig{})
	var r Result
	client := "c"
	want := 0
	for _, b := range []Batch{
		{Topic: "t"}, {Topic: "u"}, {Topic: "t", Partition: 1}, {Topic: "t", ClientID: &client}, {Topic: "t", Principal: &client},
		{Topic: "t", ProducerID: 1}, {Topic: "t", Transactional: true},
	} {
		b.Records = batch("t").Records
		want += 2 // the call, and the one that proves it
		for range 2 {
			if err := p.Process(context.Background(), &b, &r); err != nil || spell(&r) != "reject" {
				t.Errorf("%+v: %q, %v", b, spell(&r), err)
			}
			if got := obs.failures[CauseTrap]; got != want {
				t.Errorf("%+v: %d failed calls, want %d", b, got, want)
			}
		}
	}
}

// TestPoisonIsForgotten moves the clock past the time that a proof holds.
func TestPoisonIsForgotten(t *testing.T) {
	var obs recorder
	now := time.Now()
	var shift atomic.Int64
	h := newHost(t, Config{Observer: &obs, Now: func() time.Time { return now.Add(time.Duration(shift.Load())) }})
	p := pipeline(t, h, "script", StageConfig{})
	var r Result
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 2}, {poisonTime, 2}, {poisonTime + 1, 4}} {
		shift.Store(int64(tt.after))
		if err := p.Process(context.Background(), batch("t"), &r); err != nil || spell(&r) != "reject" {
			t.Errorf("%v: %q, %v", tt.after, spell(&r), err)
		}
		if got := obs.failures[CauseTrap]; got != tt.want {
			t.Errorf("after %v: %d failed calls, want %d", tt.after, got, tt.want)
		}
	}
}

func TestBudgetSpent(t *testing.T) {
	h := newHost(t, Config{})
	var r Result
	bad := values(200, "t")
	for i := range bad {
		bad[i] = "t" + fmt.Sprint(i)
	}
	p := pipeline(t, h, "script", StageConfig{})
	err := p.Process(context.Background(), batch(bad...), &r)
	var stage *StageError
	var g *GuestError
	if !errors.As(err, &stage) || stage.Cause != CauseTrap || stage.Stage != "script" || !errors.As(err, &g) || !strings.Contains(fmt.Sprintf("%+v", g), "sluice_process") {
		t.Errorf("retry: %+v", err)
	}
	p = pipeline(t, h, "script", StageConfig{OnFailure: FailurePass})
	if err := p.Process(context.Background(), batch(bad...), &r); err != nil {
		t.Errorf("pass: %v", err)
	}
	// What was proven is refused, the rest goes on.
	kept := 0
	for _, o := range r.Outcomes {
		if o.Op == abi.OpKeep {
			kept++
		}
	}
	if kept == 0 || kept == len(bad) {
		t.Errorf("pass: %d of %d kept", kept, len(bad))
	}
}

func TestObserve(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Observer: &obs})
	p := pipeline(t, h, "script", StageConfig{Mode: ModeObserve})
	var r Result
	if err := p.Process(context.Background(), batch("d", "l", "k", "r"), &r); err != nil || len(r.Outcomes) != 0 {
		t.Errorf("outcomes %v, %v; want none", r.Outcomes, err)
	}
	if got := obs.records; got[abi.OpDrop] != 1 || got[abi.OpDeadLetter] != 1 || got[abi.OpReject] != 1 || got[abi.OpKeep] != 1 {
		t.Errorf("counted %v", got)
	}
	if err := p.Process(context.Background(), batch("d", "t"), &r); err != nil || len(r.Outcomes) != 0 || obs.failures[CauseTrap] != 1 || obs.poison != 0 {
		t.Errorf("a trap: outcomes %v, %v, failures %v", r.Outcomes, err, obs.failures)
	}
	p = pipeline(t, h, "script", StageConfig{Mode: ModeObserve, Limits: Limits{Memory: 1 << 20}})
	if err := p.Process(context.Background(), batch("k", strings.Repeat("d", 256<<10)), &r); err != nil || len(r.Outcomes) != 0 {
		t.Errorf("a record that is too large: outcomes %v, %v", spell(&r), err)
	}
	if p.CanDrop() {
		t.Error("a stage that observes can drop")
	}
}

func TestStartThatNeverEnds(t *testing.T) {
	for _, name := range []string{"start_loop", "initialize_loop", "configure_loop"} {
		var obs recorder
		h := newHost(t, Config{Observer: &obs})
		_, err := newStage(t, h, name, StageConfig{Limits: Limits{FuelStart: 1_000_000}})
		if err == nil || !strings.Contains(err.Error(), "out of fuel") {
			t.Errorf("%s: %v", name, err)
		}
		_, err = newStage(t, h, name, StageConfig{Limits: Limits{StartDeadline: time.Millisecond}})
		if err == nil || !strings.Contains(err.Error(), "ran longer than 1ms") {
			t.Errorf("%s: %v", name, err)
		}
		if obs.instances != 0 {
			t.Errorf("%s: %d instances are left", name, obs.instances)
		}
	}
	h := newHost(t, Config{})
	if _, err := newStage(t, h, "reads_everywhere", StageConfig{}); err == nil || !strings.Contains(err.Error(), "sluice:batch/1 read: only during sluice_process") {
		t.Errorf("read in _initialize: %v", err)
	}
}

func TestConfigure(t *testing.T) {
	h := newHost(t, Config{})
	tests := []struct {
		config, want string
		canDrop      bool
		deadLetter   string
	}{
		{config: ``, canDrop: true},
		{config: `{"output": "{\"verdicts\": [\"drop\"], \"more\": 1}"}`, canDrop: true},
		{config: `{"output": {"verdicts": ["replace", "reject"]}}`},
		{config: `{"output": {"verdicts": []}}`},
		{config: `{"output": {"verdicts": ["dead-letter"]}}`, canDrop: true, deadLetter: "dlq"},
		{config: `{"output": {}}`, canDrop: true},
		{config: `{"output": {"verdicts": ["dead-letter"]}}`, want: "name a dead_letter topic"},
		{config: `{"output": {"verdicts": ["drop", "replace", "reject", "dead-letter"]}}`, want: "name a dead_letter topic"},
		{config: `{"output": {"verdicts": ["keep"]}}`, want: `it declares the verdict "keep": want replace, drop, reject or dead-letter`},
		{config: `{"output": {"verdicts": ["route"]}}`, want: `it declares the verdict "route"`},
		{config: `{"output": "[]"}`, want: "its output is not a JSON object"},
		{config: `{"error": "lumens: no such\nfield \u0000"}`, want: "stage s: sluice_configure: lumens: no such field"},
		{config: `[]`, want: "config: want a JSON object"},
		{config: `null`, want: "config: want a JSON object, not null"},
	}
	for _, tt := range tests {
		s, err := newStage(t, h, "script", StageConfig{Name: "s", Config: []byte(tt.config), DeadLetterTopic: tt.deadLetter})
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", tt.config, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.config, err)
			continue
		}
		if got := pipelineOf(t, s).CanDrop(); got != tt.canDrop {
			t.Errorf("%s: CanDrop is %v", tt.config, got)
		}
	}
}

func TestStageConfigIsChecked(t *testing.T) {
	h := newHost(t, Config{})
	for want, cfg := range map[string]StageConfig{
		"on_poison: nothing can be rejected on fetch":             {On: Fetch, OnPoison: ActionReject},
		"on_oversize: dead-letter needs a dead_letter topic":      {OnOversize: ActionDeadLetter},
		"limits.memory: want between 64 KiB and 1024 MiB":         {Limits: Limits{Memory: 1}},
		"limits: a limit is negative":                             {Limits: Limits{Deadline: -1}},
		`grants: there is no capability "sluice:teleport/1"`:      {Grants: []string{"sluice:teleport/1"}},
		"it starts with 128 KiB of memory, and the stage's limit": {Limits: Limits{Memory: 65536}},
	} {
		if _, err := newStage(t, h, "script", cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestGrants(t *testing.T) {
	importModules = append(importModules, &importModule{name: "sluice:test/1", functions: []hostFunction{fn("f", "", "", func(*instance, []uint64) {})}})
	defer func() { importModules = importModules[:len(importModules)-1] }()
	if err := checkGrants([]string{"sluice:batch/1", "sluice:test/1"}, nil); err == nil || !strings.Contains(err.Error(), `add "sluice:test/1" to the stage's grants`) {
		t.Errorf("not granted: %v", err)
	}
	if err := checkGrants([]string{"sluice:batch/1", "sluice:test/1"}, []string{"sluice:test/1"}); err != nil {
		t.Errorf("granted: %v", err)
	}
}

func TestWrongVerdicts(t *testing.T) {
	drop := func(first, count uint32) []byte { return abi.AppendDrop(nil, first, count) }
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	unknown := func(op abi.Op, critical bool) []byte {
		return abi.AppendVerdict(nil, &abi.Verdict{Op: op, Critical: critical, First: 1, Count: 1, Payload: []byte("?")})
	}
	tests := map[string]struct {
		stream []byte
		want   string
	}{
		"out of order":  {join(drop(2, 1), drop(1, 1)), "not in ascending order"},
		"twice":         {join(drop(1, 1), drop(1, 1)), "not in ascending order"},
		"overlapping":   {join(drop(0, 2), drop(1, 1)), "not in ascending order"},
		"out of range":  {drop(3, 1), "of a batch of 3"},
		"range past":    {drop(2, 2), "of a batch of 3"},
		"huge range":    {drop(1, 1<<32-1), "of a batch of 3"},
		"no records":    {drop(1, 0), "no records"},
		"truncated":     {drop(1, 1)[:15], "15 bytes left"},
		"size":          {[]byte{1, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, "size 255"},
		"critical":      {unknown(9, true), "unknown operation 9 is marked critical"},
		"keep":          {unknown(0, true), "unknown operation 0"},
		"garbage":       {[]byte(strings.Repeat("garbage ", 9)), "wrong verdicts"},
		"good then bad": {join(drop(0, 1), drop(1, 1)[:3]), "wrong verdicts"},
		"reserved":      {abi.AppendReplace(nil, 1, &abi.Patch{Mask: abi.FieldAdd, Add: []abi.Header{{Name: "sluice.dropped"}}}), "belong to the gateway"},
		"reserved all":  {abi.AppendReplace(nil, 1, &abi.Patch{Mask: abi.FieldHeaders, Headers: []abi.Header{{Name: "sluice."}}}), "belong to the gateway"},
	}
	for name, tt := range tests {
		var obs recorder
		h := newHost(t, Config{Observer: &obs})
		s, err := newStage(t, h, "echo", StageConfig{Mode: ModeObserve})
		if err != nil {
			t.Fatal(err)
		}
		p := pipelineOf(t, s)
		var g *GuestError
		s.cfg.Mode = ModeEnforce
		s.cfg.OnPoison = ActionStop
		var r Result
		err = p.Process(context.Background(), batch(string(tt.stream), "k", "k"), &r)
		if !errors.As(err, &g) || g.Cause != CauseVerdict || obs.failures[CauseVerdict] == 0 {
			t.Errorf("%s: %v, failures %v; want a wrong verdict", name, err, obs.failures)
		}
		if obs.records[abi.OpDrop] != 0 || len(r.Outcomes) != 0 {
			t.Errorf("%s: something was applied: %v", name, obs.records)
		}
		if got := p.stages[0].check3(tt.stream); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	h := newHost(t, Config{})
	p := pipeline(t, h, "echo", StageConfig{})
	var r Result
	if err := p.Process(context.Background(), batch(string(unknown(9, false)), "k", "k"), &r); err != nil || len(r.Outcomes) != 0 {
		t.Errorf("unknown and ignorable: %v, %v", r.Outcomes, err)
	}
}

// check3 returns what is wrong with a stream on three records.
func (s *Stage) check3(stream []byte) string {
	p := pass{stage: s, batch: &Batch{}}
	if err := p.check(stream, 3); err != nil {
		return err.Text
	}
	return ""
}

func TestUndeclaredVerdict(t *testing.T) {
	h := newHost(t, Config{})
	p := pipeline(t, h, "script", StageConfig{Config: []byte(`{"output": {"verdicts": ["drop"]}}`), OnPoison: ActionDeadLetter, DeadLetterTopic: "dlq"})
	var r Result
	if err := p.Process(context.Background(), batch("d", "r", "k"), &r); err != nil || spell(&r) != "drop dead-letter keep" {
		t.Fatalf("%q, %v", spell(&r), err)
	}
	if got := r.Outcomes[1].Reason; !strings.Contains(got, "reject is not among the verdicts that the module declared") {
		t.Errorf("reason %q", got)
	}
	b := batch("r")
	b.On = Fetch
	p = pipeline(t, h, "script", StageConfig{On: Fetch})
	if err := p.Process(context.Background(), b, &r); err == nil || !strings.Contains(err.Error(), "reject is not possible on fetch") {
		t.Errorf("reject on fetch: %v", err)
	}
}

func TestVerdictsOverCap(t *testing.T) {
	h := newHost(t, Config{})
	// The guest writes this value in one piece; 16 MiB + 1 byte need a limit of 128 MiB to be given to it at all.
	p := pipeline(t, h, "echo", StageConfig{Limits: Limits{Memory: 128 << 20}, OnPoison: ActionStop})
	var r Result
	err := p.Process(context.Background(), batch(strings.Repeat("\x00", abi.MaxVerdictBytes+1)), &r)
	if err == nil || !strings.Contains(err.Error(), "more than 16 MiB of verdicts") {
		t.Errorf("one byte more: %v", err)
	}
	err = p.Process(context.Background(), batch(strings.Repeat("\x00", abi.MaxVerdictBytes)), &r)
	if err == nil || !strings.Contains(err.Error(), "wrong verdicts") {
		t.Errorf("at the cap: %v", err)
	}
}

// TestVerdictsOfABatchOverCap has each of 20 calls write 8 MiB for a record of 300 KB, as a batch that was compressed well can make a guest do.
func TestVerdictsOfABatchOverCap(t *testing.T) {
	h := newHost(t, Config{})
	p := pipeline(t, h, "writer", StageConfig{})
	value := strings.Repeat("k", 300<<10)
	var r Result
	err := p.Process(context.Background(), batch(slices.Repeat([]string{value}, 20)...), &r)
	var stage *StageError
	if !errors.As(err, &stage) || stage.Cause != CauseVerdict || !strings.Contains(err.Error(), "more than 64 MiB and 4 times the batch") {
		t.Errorf("20 calls: %v, want a failure that blames no record", err)
	}
	if got := r.pass.verdicts; cap(got) > keepVerdicts {
		t.Errorf("%d bytes are kept for the next batch", cap(got))
	}
	if err := p.Process(context.Background(), batch(slices.Repeat([]string{value}, 5)...), &r); err != nil || r.Outcomes[4].Op != abi.OpReplace || len(r.Outcomes[4].Record.Value) != 8<<20 {
		t.Errorf("5 calls: %v, want values of 8 MiB", err)
	}
}

func TestOversize(t *testing.T) {
	h := newHost(t, Config{})
	const limit = 256 << 10 // a quarter of the memory
	size := limit - 48      // of the value: 40 bytes of head, 1 of key, padding
	for action, want := range map[Action]string{
		ActionDefault: "keep reject drop", ActionDeadLetter: "keep dead-letter drop", ActionPass: "keep keep drop",
	} {
		p := pipeline(t, h, "script", StageConfig{OnOversize: action, DeadLetterTopic: "dlq", Limits: Limits{Memory: 4 * limit}})
		var r Result
		if err := p.Process(context.Background(), batch("k", strings.Repeat("d", size+8), "d"), &r); err != nil || spell(&r) != want {
			t.Errorf("%v: %q, %v, want %q", action, spell(&r), err, want)
		}
		if action != ActionPass && !strings.Contains(r.Outcomes[1].Reason, "262152 bytes, limit 262144 (limits.memory)") {
			t.Errorf("%v: reason %q", action, r.Outcomes[1].Reason)
		}
		if err := p.Process(context.Background(), batch("k", strings.Repeat("d", size), "d"), &r); err != nil || spell(&r) != "keep drop drop" {
			t.Errorf("%v: at the limit: %q, %v", action, spell(&r), err)
		}
	}
	p := pipeline(t, h, "script", StageConfig{On: Fetch, Limits: Limits{Memory: 4 * limit}})
	b := batch(strings.Repeat("d", limit))
	b.On = Fetch
	var stop *StoppedError
	if err := p.Process(context.Background(), b, new(Result)); !errors.As(err, &stop) {
		t.Errorf("on fetch: %v, want a stop", err)
	}
}

func TestLargeBatchesAreCut(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Observer: &obs})
	p := pipeline(t, h, "readall", StageConfig{}) // traps if bytes is not what read needs, or over its buffer
	b := batch()
	for i := range 3000 {
		v := make([]byte, (i*37)%4096)
		b.Records = append(b.Records, abi.Record{Value: v, Headers: []abi.Header{{Name: "h", Value: v[:len(v)/4]}}})
	}
	b.Records = append(b.Records, abi.Record{Value: make([]byte, 900_000)}) // alone over the limit of a call
	b.Records = append(b.Records, abi.Record{})
	var r Result
	if err := p.Process(context.Background(), b, &r); err != nil || len(r.Outcomes) != 0 || len(obs.failures) != 0 {
		t.Errorf("%v, %v, failures %v", err, spell(&r), obs.failures)
	}
}

func TestDeadline(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Observer: &obs})
	endless := Limits{FuelBase: 1 << 40, Deadline: 5 * time.Millisecond}
	p := pipeline(t, h, "script", StageConfig{Limits: endless})
	err := p.Process(context.Background(), batch("k", "L"), new(Result))
	var stage *StageError
	if !errors.As(err, &stage) || stage.Cause != CauseDeadline || !strings.Contains(err.Error(), "ran longer than 5ms (limits.deadline of the stage)") {
		t.Errorf("%v, want a deadline", err)
	}
	if obs.poison != 0 {
		t.Error("a deadline proved a record poisonous")
	}
	if obs.instances > 1 {
		t.Errorf("%d instances are left", obs.instances)
	}
}

func TestCanceled(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Observer: &obs})
	endless := Limits{FuelBase: 1 << 40, Deadline: time.Hour}
	p := pipeline(t, h, "script", StageConfig{Limits: endless})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Process(ctx, batch("L"), new(Result)) }()
	waitFor(t, func() bool { return h.slots.waiting.Load() == 0 && slotsFree(h) == h.cfg.Slots-1 })
	cancel()
	var stage *StageError
	if err := <-done; !errors.As(err, &stage) || !errors.Is(err, context.Canceled) || stage.Cause != CauseCanceled {
		t.Errorf("%v", err)
	}
	if slotsFree(h) != h.cfg.Slots || obs.instances != 0 {
		t.Errorf("%d slots free, %d instances left", slotsFree(h), obs.instances)
	}
	if err := p.Process(ctx, batch("k"), new(Result)); err != nil {
		t.Logf("with a context that has ended: %v", err) // allowed, not needed
	}
}

// TestLoopGivesWay runs a guest that never ends beside others that need the only slot, and the garbage collector.
func TestLoopGivesWay(t *testing.T) {
	h := newHost(t, Config{Slots: 1})
	endless := pipeline(t, h, "script", StageConfig{Limits: Limits{FuelBase: 1 << 40, Deadline: time.Hour}})
	other := pipeline(t, h, "script", StageConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- endless.Process(ctx, batch("L"), new(Result)) }()
	waitFor(t, func() bool { return slotsFree(h) == 0 })
	for range 20 {
		runtime.GC() // stops the world: with a guest that does not yield it would wait for its end
		var r Result
		if err := other.Process(context.Background(), batch("d", "k"), &r); err != nil || spell(&r) != "drop keep" {
			t.Errorf("%q, %v", spell(&r), err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for range 10_000 {
		if f() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not come to pass")
}

func slotsFree(h *Host) int {
	h.slots.mu.Lock()
	defer h.slots.mu.Unlock()
	return h.slots.free
}

// schemas is a Schemas of functions.
type schemas func(document, topic string) (Schema, error)

func (f schemas) Find(document, topic string) (Schema, error) { return f(document, topic) }

// check is a Schema of a function.
type check func(value []byte) (abi.Status, []string)

func (f check) Check(value []byte) (abi.Status, []string) { return f(value) }

// args makes a value for call.wat.
func args(function uint32, list ...uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, function)
	for _, a := range list {
		b = binary.LittleEndian.AppendUint32(b, a)
	}
	return string(append(b, make([]byte, 24-len(b))...))
}

// Functions of call.wat.
const (
	callInfo uint32 = iota
	callRead
	callReadPart
	callWrite
	callGet
	callPaths
	callCheck
	callErrors
	callFind
	callAlloc
	callLoad
	callWorld
)

func TestHostBug(t *testing.T) {
	var log lockedBuffer
	var obs recorder
	h := newHost(t, Config{Log: logTo(&log), Observer: &obs, Schemas: schemas(func(string, string) (Schema, error) {
		return check(func(v []byte) (abi.Status, []string) { panic("boom " + fmt.Sprint(len(v))) }), nil
	})})
	p := pipeline(t, h, "call", StageConfig{OnPoison: ActionPass})
	err := p.Process(context.Background(), batch(args(callCheck, 0, 0, 1, 0, 1)), new(Result))
	var stage *StageError
	if !errors.As(err, &stage) || stage.Cause != CauseHostBug || !strings.Contains(err.Error(), "bug of Sluice: boom 24") {
		t.Errorf("%v, want a bug of the host", err)
	}
	if obs.poison != 0 || obs.failures[CauseHostBug] != 1 {
		t.Errorf("poison %d, failures %v", obs.poison, obs.failures)
	}
	if !strings.Contains(log.String(), "host/schema_functions.go") {
		t.Errorf("no Go stack in the log:\n%s", log.String())
	}
}

func TestDocuments(t *testing.T) {
	h := newHost(t, Config{})
	if _, err := newStage(t, h, "call", StageConfig{}); err == nil || !strings.Contains(err.Error(), `there is no document named "doc": list it under documents`) {
		t.Errorf("no document: %v", err)
	}
	broken := errors.New("payload.yaml:3: no such type")
	h = newHost(t, Config{Schemas: schemas(func(doc, topic string) (Schema, error) {
		switch {
		case doc == "opi": // what stands at other addresses of the guest's memory
			return nil, ErrNoDocument
		case topic == "c":
			return nil, broken
		}
		return nil, nil
	})})
	p := pipeline(t, h, "call", StageConfig{OnPoison: ActionPass})
	// A configuration that is wrong never makes records poisonous.
	for _, a := range []string{args(callFind, 1028, 3, 1024, 3), args(callFind, 1024, 3, 1026, 1)} {
		var stage *StageError
		if err := p.Process(context.Background(), batch(a), new(Result)); !errors.As(err, &stage) || stage.Cause != CauseConfig {
			t.Errorf("%v, want an error in the configuration", err)
		}
	}
	if err := p.Process(context.Background(), batch(args(callFind, 1024, 3, 1026, 1)), new(Result)); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

// TestPassOnFailure lets what cannot be settled go on, and judges the rest.
func TestPassOnFailure(t *testing.T) {
	h := newHost(t, Config{})
	p := pipeline(t, h, "script", StageConfig{OnFailure: FailurePass, Limits: Limits{FuelBase: 1 << 40, Deadline: 20 * time.Millisecond}})
	var r Result
	if err := p.Process(context.Background(), batch("d", "L"), &r); err != nil {
		t.Error(err)
	}
	// The loop is over its deadline alone too, which proves nothing: it passes. On a slow machine more of the batch may.
	if len(r.Outcomes) > 0 && spell(&r) != "drop keep" {
		t.Errorf("got %q", spell(&r))
	}
}
