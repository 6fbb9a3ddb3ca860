package host

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// spoil fills a stage's pool with instances that fail whatever they are asked.
func spoil(t *testing.T, s *Stage) {
	t.Helper()
	var all []*instance
	for range s.host.cfg.Slots {
		in, failure := s.get(context.Background(), true)
		if failure != nil {
			t.Fatal(failure)
		}
		if _, failure := in.judge(context.Background(), &guestCall{records: batch("p").Records, info: &abi.Info{}, bytes: 48}, nil); failure != nil {
			t.Fatal(failure)
		}
		all = append(all, in)
	}
	s.closeIdle(time.Now().Add(time.Hour))
	for _, in := range all {
		s.put(in)
	}
}

// TestNoRecordIsBlamedForAnInstance has all pooled instances fail because of what they were asked before: a record is poisonous only if it makes a
// fresh instance fail.
func TestNoRecordIsBlamedForAnInstance(t *testing.T) {
	h := newHost(t, Config{Slots: 16})
	s, err := newStage(t, h, "moods", StageConfig{})
	if err != nil {
		t.Fatal(err)
	}
	p := pipelineOf(t, s)
	for _, tt := range []struct {
		values []string
		want   string
	}{
		{[]string{"a"}, ""},
		{[]string{"b", "c", "d", "e"}, ""},
		{[]string{"f", "t", "g", "h"}, "keep reject keep keep"},
	} {
		spoil(t, s)
		var r Result
		if err := p.Process(context.Background(), batch(tt.values...), &r); err != nil || spell(&r) != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.values, spell(&r), err, tt.want)
		}
	}
}

// TestNoRecordIsBlamedForAStart has instances that may not start: a failure of the stage, whatever the cause.
func TestNoRecordIsBlamedForAStart(t *testing.T) {
	h := newHost(t, Config{})
	var s *Stage
	for err := errors.New("none yet"); err != nil; {
		if s, err = newStage(t, h, "unlucky", StageConfig{}); err != nil && !strings.Contains(err.Error(), "_initialize: wasm error: unreachable") {
			t.Fatal(err)
		}
	}
	p := pipelineOf(t, s)
	failed := 0
	for range 100 {
		s.closeIdle(time.Now().Add(time.Hour))
		var r Result
		err := p.Process(context.Background(), batch("k"), &r)
		var stage *StageError
		if err != nil && (!errors.As(err, &stage) || stage.Cause != CauseTrap) {
			t.Fatalf("got %v, want a failure of the stage", err)
		}
		if len(r.Outcomes) != 0 {
			t.Fatalf("got %q: a record was blamed", spell(&r))
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 || failed == 100 {
		t.Errorf("%d of 100 starts failed", failed)
	}
}

// peak is an observer that knows how many instances there were at a time.
type peak struct {
	recorder
	most int
}

func (p *peak) Stage(_, _ string) StageObserver { return p }

func (p *peak) Instances(n int) {
	p.recorder.Instances(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(p.most, p.instances)
}

// TestWaitingGuestsAreCounted has more batches than slots, whose guests give way in the middle of their work: those that wait have an instance too,
// and there are not more of them than slots.
func TestWaitingGuestsAreCounted(t *testing.T) {
	var obs peak
	h := newHost(t, Config{Slots: 2, Observer: &obs})
	p := pipeline(t, h, "script", StageConfig{Limits: Limits{FuelBase: 5_000_000}})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var r Result
			if err := p.Process(context.Background(), batch("L"), &r); err != nil || spell(&r) != "reject" {
				t.Errorf("%q, %v", spell(&r), err)
			}
		})
	}
	wg.Wait()
	if obs.most > 2 {
		t.Errorf("%d instances at a time, want at most 2", obs.most)
	}
}

// TestCanceledNeverPasses cancels calls of stages whose failures let records pass: nobody judged these.
func TestCanceledNeverPasses(t *testing.T) {
	endless := Limits{FuelBase: 1 << 40, Deadline: time.Hour}
	for name, cfg := range map[string]StageConfig{
		"on_failure: pass": {Limits: endless, OnFailure: FailurePass},
		"mode: observe":    {Limits: endless, Mode: ModeObserve},
	} {
		h := newHost(t, Config{})
		p := pipeline(t, h, "script", cfg)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- p.Process(ctx, batch("L"), new(Result)) }()
		waitFor(t, func() bool { return slotsFree(h) == h.cfg.Slots-1 })
		cancel()
		var stage *StageError
		if err := <-done; !errors.As(err, &stage) || stage.Cause != CauseCanceled {
			t.Errorf("%s: got %v, want a failure of the stage", name, err)
		}
	}
}

// TestHostFunctionsCostFuel compares what calls cost on a small and on a large value.
func TestHostFunctionsCostFuel(t *testing.T) {
	const size = 200_000
	for name, tt := range map[string]struct {
		call string
		cost int64 // at least, for each byte in a thousand bytes
	}{
		"read":      {args(callRead, 4, 1, 1, 4096, 0), 1000 / 8},
		"read_part": {args(callReadPart, 1, 4, 0, 4096, 60000), 1000 / 8 * 60000 / size},
		"get":       {args(callGet, 0, 1, 1, 4096, 0), 2000 + 1000/8},
		"check":     {args(callCheck, 0, 1, 1, 4096, 1), 8000},
		"errors":    {args(callErrors, 0, 1, 4096, 0), 8000},
		"random":    {args(callWorld, 0), 0},
	} {
		var spent [2]int64
		for i, n := range []int{0, size} {
			var obs recorder
			p := pipeline(t, newHost(t, Config{Schemas: odd, Observer: &obs}), "call", StageConfig{OnPoison: ActionStop})
			if err := p.Process(context.Background(), batch(tt.call, `{"a":"`+strings.Repeat("x", n)+`"}`), new(Result)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			spent[i] = obs.fuel
		}
		if got, want := spent[1]-spent[0], tt.cost*size/1000; got < want {
			t.Errorf("%s: %d bytes more cost %d units of fuel, want at least %d", name, size, got, want)
		}
	}
}
