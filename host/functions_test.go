package host

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host/capability/json"
	"github.com/sluicegate/sluice/host/extism"
)

// odd judges values invalid that do not begin with {.
var odd = schemas(func(doc, topic string) (Schema, error) {
	if topic != "topic" {
		return nil, nil
	}
	return check(func(v []byte) (abi.Status, []string) {
		if v == nil {
			return abi.StatusNull, nil
		}
		if v[0] == 0 {
			return abi.StatusFramed, nil
		}
		if v[0] != '{' {
			return abi.StatusInvalid, []string{"not an object", `say "{"`}
		}
		return abi.StatusValid, nil
	}), nil
})

// page is the size of call.wat's memory.
const page = 65536

func TestHostFunctions(t *testing.T) {
	h := newHost(t, Config{Schemas: odd})
	p := pipeline(t, h, "call", StageConfig{OnPoison: ActionStop})
	const all, most = page, 1<<32 - 1
	tests := []struct {
		call string
		want any // what the function returns, or a part of the text of the failure
	}{
		// The batch: the call's 24 bytes, then `{"a":1}`, null, not JSON, framed.
		{args(callInfo, 0, 64), uint32(32 + 1)},
		{args(callInfo, 0, 0), uint32(33)},
		{args(callInfo, all-33, 33), uint32(33)},
		{args(callInfo, all, 0), uint32(33)},
		{args(callInfo, most, 0), uint32(33)}, // no bytes are always inside
		{args(callInfo, all-32, 33), "sluice:batch/1 info: 33 bytes at 65504: memory has 65536"},
		{args(callInfo, most, most), "info: 4294967295 bytes at 4294967295"},

		{args(callRead, 15, 0, 5, 4096, 4096), uint32(264)},
		{args(callRead, 0, 0, 5, 4096, 4096), uint32(80)},
		{args(callRead, 0, 5, 0, 4096, 0), uint32(0)},
		{args(callRead, 1, 1, 1, all-40, 40), uint32(40)},
		{args(callRead, 1, 1, 1, all-40, 39), uint32(40)},
		{args(callRead, 1, 1, 1, all-39, 40), "sluice:batch/1 read: 40 bytes at 65497: memory has 65536"},
		{args(callRead, 1, 1, 1, all, 1), "read: 1 bytes at 65536"},
		{args(callRead, 1, 5, 1, 0, 0), "read: records 5 to 5: the batch has 5"},
		{args(callRead, 1, 0, 6, 0, 0), "read: records 0 to 5: the batch has 5"},
		{args(callRead, 1, most, most, 0, 0), "read: records 4294967295 to 8589934589"},
		{args(callRead, 16, 0, 1, 0, 0), "read: unknown fields 0x10"},

		{args(callReadPart, 1, 4, 1, 4096, 4), uint32(4)},
		{args(callReadPart, 1, 4, 5, 4096, 4), uint32(2)},
		{args(callReadPart, 1, 4, 7, 4096, 4), uint32(0)},
		{args(callReadPart, 1, 4, most, 4096, 4), uint32(0)},
		{args(callReadPart, 2, 4, 0, 4096, 4), uint32(0)},
		{args(callReadPart, 1, 2, 0, 4096, 4), uint32(1)},
		{args(callReadPart, 1, 8, 2, 4096, 400), uint32(0)},
		{args(callReadPart, 1, 1, 0, 4096, 4), "read_part: field 1: want key (2), value (4) or headers (8)"},
		{args(callReadPart, 5, 4, 0, 4096, 4), "read_part: records 5 to 5"},
		{args(callReadPart, 1, 4, 0, all-3, 4), "read_part: 4 bytes at 65533"},

		{args(callWrite, 0, 0), uint32(0)},
		{args(callWrite, all-8, 9), "write: 9 bytes at 65528"},

		{args(callGet, 0, 1, 4, 4096, 4096), uint32(8 + 8 + 16 + 8 + 8 + 8)},
		{args(callGet, 0, 1, 1, 4096, 0), uint32(32)},
		{args(callGet, 1, 1, 1, 4096, 0), "get: list 1: there are 1"},
		{args(callGet, 0, 4, 2, 4096, 0), "get: records 4 to 5"},
		{args(callGet, 0, 1, 1, all, 1), "get: 1 bytes at 65536"},
		{args(callPaths, 1040, 11), "sluice:json/1 paths: only during sluice_configure"},

		{args(callCheck, 0, 1, 4, 4096, 4), uint32(1)},
		{args(callCheck, 0, 1, 4, 4096, 3), "check: 3 bytes for the judgements of 4 records"},
		{args(callCheck, 1, 1, 4, 4096, 4), "check: schema 1: there are 1"},
		{args(callCheck, most, 1, 4, 4096, 4), "check: schema -1"},
		{args(callCheck, 0, 1, 4, all-3, 4), "check: 4 bytes at 65533"},
		{args(callErrors, 0, 3, 4096, 100), uint32(len(`["not an object","say \"{\""]`))},
		{args(callErrors, 0, 3, 4096, 0), uint32(len(`["not an object","say \"{\""]`))},
		{args(callErrors, 0, 1, 4096, 100), uint32(2)},
		{args(callErrors, 0, 2, 4096, 100), uint32(2)},
		{args(callErrors, 0, 5, 4096, 100), "errors: records 5 to 5"},
		{args(callFind, 1024, 3, 1027, 5), uint32(0)},
		{args(callFind, 1024, 3, 1027, 4), uint32(most)},
		{args(callFind, 1024, most, 0, 0), "find: 4294967295 bytes at 1024"},

		{args(callAlloc, 4<<20), "extism:host/env alloc: 4194304 bytes: the store has 4 MiB in all"},
		{args(callLoad, 8), "extism:host/env load_u64: 8 bytes at 8 of 0: not a handle"},
		{args(callLoad, most), "load_u64: 8 bytes at 4294967295"},
		{args(callWorld, 1), uint32(908722176)}, // the first record's time, in nanoseconds, its low word
	}
	for _, tt := range tests {
		b := batch(tt.call, `{"a":1}`, "", "x", "\x00\x00\x00\x00\x01x")
		b.Records[2].Value = nil
		var r Result
		name := fmt.Sprintf("function %d %v", tt.call[0], []byte(tt.call[4:]))
		if text, failure := tt.want.(string); failure {
			if err := once(p.stages[0], b); err == nil || err.Cause != CauseABI || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got %v, want %q", name, err, text)
			}
			continue
		}
		if err := p.Process(context.Background(), b, &r); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, _ := strconv.ParseUint(r.Outcomes[0].Reason, 16, 32); uint32(got) != tt.want.(uint32) {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

// TestLargeJSONAnswer asks for a large value by many paths: a gigabyte, if it were made.
func TestLargeJSONAnswer(t *testing.T) {
	h := newHost(t, Config{Schemas: odd})
	p := pipeline(t, h, "call", StageConfig{Limits: Limits{FuelBase: 1 << 40}})
	list, err := json.Compile(slices.Repeat([]string{"$"}, json.MaxPaths))
	if err != nil {
		t.Fatal(err)
	}
	in := p.stages[0].idle[0]
	in.json.lists = append(in.json.lists, list)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b := batch(args(callGet, 1, 1, 1, 4096, 0), `"`+strings.Repeat("x", 1<<20)+`"`)
	failure := once(p.stages[0], b)
	runtime.ReadMemStats(&after)
	if failure == nil || !strings.Contains(failure.Error(), "an answer of more than 32768 KiB, the stage's limits.memory") {
		t.Errorf("got %v, want a refusal", failure)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
}

// TestBuffersAreGivenBack asks for a large answer, and the errors of many records: neither stays with an idle instance.
func TestBuffersAreGivenBack(t *testing.T) {
	h := newHost(t, Config{Schemas: odd})
	p := pipeline(t, h, "call", StageConfig{OnPoison: ActionStop})
	list, err := json.Compile(slices.Repeat([]string{"$.a"}, 20))
	if err != nil {
		t.Fatal(err)
	}
	in := p.stages[0].idle[0]
	in.json.lists = append(in.json.lists, list)
	for _, b := range []*Batch{
		batch(args(callGet, 1, 1, 1, 4096, 0), `{"a":"`+strings.Repeat("x", 2*keepAnswer/20)+`"}`),
		batch(append([]string{args(callCheck, 0, 1, 2000, 4096, 2000)}, slices.Repeat([]string{"x"}, 2000)...)...),
	} {
		if err := p.Process(context.Background(), b, new(Result)); err != nil {
			t.Fatal(err)
		}
	}
	if p.stages[0].idle[0] != in {
		t.Fatal("another instance ran")
	}
	if cap(in.json.answer) > keepAnswer || len(in.schemas.judged) != 0 {
		t.Errorf("%d bytes of an answer and %d judgements are kept", cap(in.json.answer), len(in.schemas.judged))
	}
}

// TestErrorsAreRememberedUpToALimit has more errors than are remembered: those left out are found out again.
func TestErrorsAreRememberedUpToALimit(t *testing.T) {
	s := schemaState{room: keepErrors}
	long := []string{strings.Repeat("e", 100<<10)}
	for i := range uint32(50) {
		s.remember(judgement{0, i}, long)
	}
	if n := len(s.judged); n < 5 || n > 10 {
		t.Errorf("%d judgements of 100 KiB are remembered in %d bytes", n, keepErrors)
	}
	s.forget()
	s.remember(judgement{0, 1}, long)
	if len(s.judged) != 1 {
		t.Error("nothing is remembered in the next call")
	}

	calls := 0
	h := newHost(t, Config{Schemas: schemas(func(string, string) (Schema, error) {
		return check(func(v []byte) (abi.Status, []string) {
			calls++
			return abi.StatusInvalid, []string{strings.Repeat("e", keepErrors)}
		}), nil
	})})
	p := pipeline(t, h, "call", StageConfig{})
	var r Result
	if err := p.Process(context.Background(), batch(args(callErrors, 0, 0, 4096, 0)), &r); err != nil || r.Outcomes[0].Reason != "00100004" || calls != 1 {
		t.Errorf("got %q, %v after %d checks, want the errors all the same", r.Outcomes[0].Reason, err, calls)
	}
}

// TestFullStore asks for what there is no room for: that is not the same as what is not there.
func TestFullStore(t *testing.T) {
	p := pipeline(t, newHost(t, Config{}), "script", StageConfig{Config: []byte(`{"member": "value"}`)})
	in := p.stages[0].idle[0]
	in.fuel.begin(1<<30, time.Hour)
	in.fuel.enter()
	in.extism.Reset([]byte("input"))
	key := in.extism.Put([]byte("member"))
	in.extism.Alloc(extism.MaxBytes - 16)
	for _, name := range []string{"config_get", "input_offset"} {
		func() {
			defer func() {
				if f, _ := recover().(*fault); f == nil || f.cause != CauseABI || !strings.Contains(f.text, "the store has 4 MiB in all") {
					t.Errorf("%s: got %v, want a fault", name, f)
				}
			}()
			findModule(abi.ModuleExtism).find(name).call(in, []uint64{key})
		}()
	}
}

// once asks a stage about a batch, without a recovery.
func once(s *Stage, b *Batch) *GuestError {
	var p pass
	p.begin(b)
	p.stage = s
	return p.attempt(context.Background(), span{0, len(b.Records), abi.EntriesSize(b.Records, abi.FieldsAll)}, false)
}

// world calls random_get (0) or clock_time_get (1 + clock) and returns the low word.
func world(t *testing.T, p *Pipeline, what uint32) string {
	t.Helper()
	var r Result
	if err := p.Process(context.Background(), batch(args(callWorld, what)), &r); err != nil {
		t.Fatal(err)
	}
	return r.Outcomes[0].Reason
}

func TestRandomAndClocks(t *testing.T) {
	seen := map[string]string{}
	for host := range 2 {
		h := newHost(t, Config{Schemas: odd})
		for stage := range 2 {
			p := pipeline(t, h, "call", StageConfig{})
			for call := range 3 {
				where := fmt.Sprint("host ", host, " stage ", stage, " call ", call)
				word := world(t, p, 0)
				if seen[word] != "" {
					t.Errorf("%s: the same number as %s", where, seen[word])
				}
				seen[word] = where
			}
		}
	}
	h := newHost(t, Config{Schemas: odd, Now: func() time.Time { return time.Unix(1, 500) }})
	p := pipeline(t, h, "call", StageConfig{})
	last := uint64(0)
	for range 5 {
		now, _ := strconv.ParseUint(world(t, p, 2), 16, 32)
		if now <= last {
			t.Errorf("monotonic clock: %d after %d", now, last)
		}
		last = now
	}
	// A record without a time has the host's.
	var r Result
	b := batch(args(callWorld, 1))
	b.Records[0].Timestamp = -1
	if err := p.Process(context.Background(), b, &r); err != nil || r.Outcomes[0].Reason != fmt.Sprintf("%08x", 1_000_000_500) {
		t.Errorf("real-time clock: %q, %v", r.Outcomes[0].Reason, err)
	}
}

func TestLogFlood(t *testing.T) {
	var log lockedBuffer
	var obs recorder
	now := time.Now()
	h := newHost(t, Config{Log: logTo(&log), Observer: &obs, Now: func() time.Time { return now }})
	pipeline(t, h, "script", StageConfig{Config: []byte(`{"log": "` + strings.Repeat("x", 3000) + `"}`)})
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != lineBurst || obs.dropped != 10_000-lineBurst {
		t.Errorf("%d lines, %d dropped; want %d of 10000", len(lines), obs.dropped, lineBurst)
	}
	if n := strings.Count(lines[0], "x"); n < maxLine || n > maxLine+100 {
		t.Errorf("a line of %d bytes, want %d", n, maxLine)
	}
	if !strings.Contains(lines[0], "pipeline=test stage=script from=guest") {
		t.Errorf("line %q", lines[0])
	}
}

func TestGuestLogRate(t *testing.T) {
	l := &guestLog{}
	now := time.Unix(0, 0)
	took := func(d time.Duration, tries int) (n, dropped int) {
		now = now.Add(d)
		for range tries {
			if before, ok := l.take(now); ok {
				n++
				dropped += before
			}
		}
		return n, dropped
	}
	for _, tt := range []struct {
		after         time.Duration
		tries         int
		want, dropped int
	}{{0, 150, lineBurst, 0}, {time.Second, 12, linesPerSecond, 50}, {-time.Hour, 1, 0, 0}, {time.Hour, 1, 1, 3}} {
		if n, dropped := took(tt.after, tt.tries); n != tt.want || dropped != tt.dropped {
			t.Errorf("after %v: %d lines of %d, %d dropped before; want %d, %d", tt.after, n, tt.tries, dropped, tt.want, tt.dropped)
		}
	}
}

func TestLineBuffer(t *testing.T) {
	var b lineBuffer
	var got []string
	take := func(line []byte) { got = append(got, fmt.Sprint(len(line), string(line[:1]))) }
	b.write([]byte("ab\n\nc"), take)
	b.write([]byte("d\n"), take)
	b.write([]byte(strings.Repeat("x", maxLine-1)), take)
	b.write([]byte(strings.Repeat("x", 5000)+"\ny"), take)
	b.flush(take)
	if want := fmt.Sprintf("[2a 2c %dx 1y]", maxLine); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
