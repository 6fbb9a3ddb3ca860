package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSlotsAreServedInOrder(t *testing.T) {
	s := newSlots(1)
	ctx := context.Background()
	if err := s.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	served := make(chan int, 100)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := s.acquire(ctx); err != nil {
				t.Error(err)
			}
			served <- i
			s.release()
		})
		waitFor(t, func() bool { return s.waiting.Load() == int32(i+1) })
	}
	// Passing lets all ten go first.
	if err := s.pass(ctx); err != nil {
		t.Error(err)
	}
	for want := range 10 {
		if got := <-served; got != want {
			t.Errorf("waiter %d was served, want %d", got, want)
		}
	}
	wg.Wait()
	if err := s.pass(ctx); err != nil || s.free != 0 {
		t.Errorf("pass with nobody waiting: %v, %d free", err, s.free)
	}
	s.release()
	if s.free != 1 || s.head != nil || s.waiting.Load() != 0 {
		t.Errorf("%d free, %d waiting", s.free, s.waiting.Load())
	}
}

func TestSlotsCanceled(t *testing.T) {
	s := newSlots(1)
	ctx, cancel := context.WithCancel(context.Background())
	_ = s.acquire(ctx)
	failed := make(chan error)
	go func() { failed <- s.acquire(ctx) }()
	waitFor(t, func() bool { return s.waiting.Load() == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.release()
	if err := s.acquire(context.Background()); err != nil {
		t.Fatal(err)
	}
	// The slot's holder passes, and its context has ended while another works.
	entered, leave := make(chan bool), make(chan bool)
	go func() {
		_ = s.acquire(context.Background())
		close(entered)
		<-leave
		s.release()
		close(failed)
	}()
	waitFor(t, func() bool { return s.waiting.Load() == 1 })
	if err := s.pass(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-entered
	s.release() // the holder's, one more than there are
	close(leave)
	<-failed
	if s.mu.Lock(); s.free != 1 {
		t.Errorf("%d free, want 1", s.free)
	}
	s.mu.Unlock()
}

// TestSlotsHammer counts how many are inside at a time.
func TestSlotsHammer(t *testing.T) {
	const n = 3
	s := newSlots(n)
	var inside, passed atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 200 {
				ctx, cancel := context.WithCancel(context.Background())
				if (i+j)%7 == 0 {
					cancel()
				}
				if s.acquire(ctx) == nil {
					if got := inside.Add(1); got > n {
						t.Errorf("%d inside", got)
					}
					inside.Add(-1)
					if s.pass(context.Background()) == nil {
						passed.Add(1)
					}
					s.release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if s.free != n || s.waiting.Load() != 0 || passed.Load() == 0 {
		t.Errorf("%d free, %d waiting, %d passed", s.free, s.waiting.Load(), passed.Load())
	}
}

func TestInstancesPerSlot(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Slots: 2, Observer: &obs})
	p := pipeline(t, h, "script", StageConfig{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			var r Result
			for range 50 {
				kind := "d"
				if i%4 == 0 {
					kind = "t"
				}
				b := batch("k", kind, "k")
				b.Records[1].Timestamp = time.Now().UnixNano() // no two are the same
				if err := p.Process(context.Background(), b, &r); err != nil {
					t.Error(err)
				}
				if got := spell(&r); got != "keep drop keep" && got != "keep reject keep" {
					t.Error(got)
				}
			}
		})
	}
	wg.Wait()
	if obs.instances < 1 || obs.instances > 2 || obs.made < 200 {
		t.Errorf("%d instances of %d made, want at most 2", obs.instances, obs.made)
	}
}

func TestIdleInstancesAreClosed(t *testing.T) {
	var obs recorder
	var now atomic.Int64
	h := newHost(t, Config{Observer: &obs, IdleAfter: time.Hour, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	p := pipeline(t, h, "script", StageConfig{})
	process := func() {
		if err := p.Process(context.Background(), batch("k"), new(Result)); err != nil {
			t.Error(err)
		}
	}
	process()
	for _, tt := range []struct{ at, want int }{{3600, 1}, {3601, 0}} {
		h.sweep(time.Unix(int64(tt.at), 0))
		if obs.instances != tt.want {
			t.Errorf("at %d s: %d instances, want %d", tt.at, obs.instances, tt.want)
		}
	}
	process()
	if obs.instances != 1 || obs.made != 2 {
		t.Errorf("%d instances, %d made; want 1, 2", obs.instances, obs.made)
	}
}

// TestCloseWhileProcessing closes a pipeline while guests run in it.
func TestCloseWhileProcessing(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Slots: 2, Observer: &obs})
	s, err := newStage(t, h, "script", StageConfig{Limits: Limits{FuelBase: 1 << 40, Deadline: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPipeline("test", s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- p.Process(ctx, batch("L"), new(Result)) }()
	waitFor(t, func() bool { return slotsFree(h) == 1 })

	short, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	if err := p.Close(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close under way: %v", err)
	}
	if err := p.Process(context.Background(), batch("k"), new(Result)); !errors.Is(err, ErrClosed) {
		t.Errorf("process after close: %v", err)
	}
	if obs.instances != 1 {
		t.Errorf("%d instances while one is in a call", obs.instances)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := p.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if obs.instances != 0 || len(h.codes) != 0 {
		t.Errorf("%d instances and %d codes after close", obs.instances, len(h.codes))
	}
}

func TestCacheDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	for range 2 {
		h := newHost(t, Config{CacheDir: dir})
		pipeline(t, h, "script", StageConfig{})
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for mode, ok := range map[os.FileMode]bool{0o755: true, 0o775: false, 0o777: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		h, err := New(context.Background(), Config{CacheDir: dir})
		if (err == nil) != ok {
			t.Errorf("mode %o: %v", mode, err)
		}
		if h != nil {
			_ = h.Close(context.Background())
		}
		if info, _ := os.Stat(dir); ok && info.Mode().Perm() != 0o700 {
			t.Errorf("mode %o became %o", mode, info.Mode())
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(context.Background(), Config{CacheDir: file}); err == nil {
		t.Error("a file as cache directory: no error")
	}
}

func TestActionNames(t *testing.T) {
	for _, name := range []string{"reject", "dead-letter", "pass", "stop"} {
		var a Action
		if err := a.UnmarshalText([]byte(name)); err != nil || fmt.Sprint(a) != name {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	var m Mode
	if err := m.UnmarshalText([]byte("observe")); err != nil || m != ModeObserve {
		t.Errorf("observe: %v, %v", m, err)
	}
	if err := m.UnmarshalText([]byte("watch")); err == nil || err.Error() != `"watch": want one of ["enforce" "observe"]` {
		t.Errorf("watch: %v", err)
	}
	var f OnFailure
	if err := f.UnmarshalText(nil); err != nil || f != FailureRetry {
		t.Errorf("empty: %v, %v", f, err)
	}
}

// TestReloadHammer swaps pipelines under load, as a reload does.
func TestReloadHammer(t *testing.T) {
	var obs recorder
	h := newHost(t, Config{Slots: 2, Observer: &obs})
	var current atomic.Pointer[Pipeline]
	load := func() {
		s, err := newStage(t, h, "script", StageConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if old := current.Swap(NewPipeline("test", s)); old != nil {
			if err := old.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	load()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var r Result
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := current.Load().Process(context.Background(), batch("k", "d", "v"), &r)
				if errors.Is(err, ErrClosed) {
					continue // it was swapped in between: the next one takes the batch
				}
				if err != nil || spell(&r) != "keep drop replace=V,h:1" {
					t.Errorf("%q, %v", spell(&r), err)
				}
			}
		})
	}
	for range 30 {
		load()
	}
	close(stop)
	wg.Wait()
	if err := current.Load().Close(context.Background()); err != nil {
		t.Error(err)
	}
	if obs.instances != 0 || len(h.stages) != 0 || len(h.codes) != 0 {
		t.Errorf("%d instances, %d stages, %d codes are left", obs.instances, len(h.stages), len(h.codes))
	}
}
