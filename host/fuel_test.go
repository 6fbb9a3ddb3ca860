package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestFuelIsDeterministic gives the same call quanta of different sizes: it spends the same, and has enough of the same.
func TestFuelIsDeterministic(t *testing.T) {
	h := newHost(t, Config{})
	m, err := h.Compile(context.Background(), "script", guest(t, "script"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(context.Background())
	spend := func(quantum, budget int64) (int64, *GuestError) {
		s, err := h.NewStage(context.Background(), m, StageConfig{DeadLetterTopic: "dlq", Limits: Limits{FuelBase: budget, FuelPerRecord: 1, FuelPerByte: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(context.Background())
		s.idle[0].fuel.quantum = quantum
		b := batch(strings.Fields("k d v l r k k v")...)
		before := s.idle[0].fuel.spent
		failure := once(s, b)
		if failure != nil {
			return 0, failure
		}
		return s.idle[0].fuel.spent - before, nil
	}
	want, failure := spend(maxQuantum, 1<<40)
	if failure != nil || want <= 0 {
		t.Fatalf("%d, %v", want, failure)
	}
	// Fuel is not looked at behind the last loop or call, so that a little less than all of it is enough.
	enough := want
	for ; enough > want/2; enough-- {
		if _, err := spend(maxQuantum, enough-1); err != nil {
			break
		}
	}
	for _, quantum := range []int64{1, 7, 100, 1000, maxQuantum} {
		if got, err := spend(quantum, enough); err != nil || got != want {
			t.Errorf("quantum %d: spent %d, %v; want %d", quantum, got, err, want)
		}
		if got, err := spend(quantum, enough-1); err == nil || err.Cause != CauseFuel {
			t.Errorf("quantum %d, one unit less: spent %d, %v; want it to be too little", quantum, got, err)
		}
	}
}

func TestQuantumFollowsSpeed(t *testing.T) {
	for _, tt := range []struct {
		quantum, used int64
		took          time.Duration
		want          int64
	}{
		{100_000, 100_000, quantumTime, 100_000},
		{100_000, 100_000, 50 * quantumTime, 2_000},
		{100_000, 100_000, quantumTime / 50, 200_000},
		{100_000, 100_000, 0, 200_000},
		{100_000, 0, time.Second, 200_000},
		{100_000, 1 << 50, quantumTime, 200_000},
		{minQuantum, 1, time.Hour, minQuantum},
		{maxQuantum, maxQuantum, 0, maxQuantum},
	} {
		f := fuelState{quantum: tt.quantum}
		if f.adapt(tt.used, tt.took); f.quantum != tt.want {
			t.Errorf("quantum %d, %d used in %v: next is %d, want %d", tt.quantum, tt.used, tt.took, f.quantum, tt.want)
		}
	}
}

func TestGuestErrorFormats(t *testing.T) {
	h := newHost(t, Config{})
	s, err := newStage(t, h, "script", StageConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	failure := once(s, batch("t"))
	var g *GuestError
	if !errors.As(error(failure), &g) || strings.Contains(g.Error(), "\n") {
		t.Errorf("%v: want one line", failure)
	}
}
