package wasi

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	preview1 "github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// world is a World that remembers.
type world struct {
	now, mono int64
	out       [3]bytes.Buffer
	charged   int
}

func (w *world) Now() int64              { return w.now }
func (w *world) Monotonic() int64        { return w.mono }
func (w *world) Sleep(ns int64)          { w.mono += ns }
func (w *world) Output(fd int, p []byte) { w.out[fd].Write(p) }
func (w *world) Charge(n int)            { w.charged += n }
func (w *world) Exit(status uint32)      { panic(fmt.Sprint("exit ", status)) }
func (w *world) Random(p []byte) {
	for i := range p {
		p[i] = 7
	}
}

// onePage is a module with one page of memory.
var onePage = []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x01\x07\x0a\x01\x06memory\x02\x00")

func memory(t testing.TB) api.Memory {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { r.Close(ctx) })
	m, err := r.Instantiate(ctx, onePage)
	if err != nil {
		t.Fatal(err)
	}
	return m.Memory()
}

func call(w World, m api.Memory, name string, args ...uint64) Errno {
	i := slices.IndexFunc(Functions, func(f Function) bool { return f.Name == name })
	return Functions[i].Call(w, m, args)
}

// TestTypes compares names and types with the runtime's own WASI.
func TestTypes(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	compiled, err := preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := compiled.ExportedFunctions()
	for _, f := range Functions {
		def, ok := want[f.Name]
		if !ok {
			t.Errorf("%s: the runtime has no such function", f.Name)
			continue
		}
		var params strings.Builder
		for _, p := range def.ParamTypes() {
			params.WriteByte(map[api.ValueType]byte{api.ValueTypeI32: 'i', api.ValueTypeI64: 'I'}[p])
		}
		if params.String() != f.Params || (len(def.ResultTypes()) == 0) != f.NoResult {
			t.Errorf("%s: %q, the runtime has %q", f.Name, f.Params, params.String())
		}
		delete(want, f.Name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// TestNothingPanics calls every function with arguments at and over the end of memory.
func TestNothingPanics(t *testing.T) {
	m := memory(t)
	for _, f := range Functions {
		if f.Name == "proc_exit" {
			continue
		}
		for _, v := range []uint64{0, 1, 2, 3, 65535, 65536, 1<<31 - 1, 1<<32 - 1} {
			args := slices.Repeat([]uint64{v}, max(len(f.Params), 1))
			f.Call(&world{}, m, args)
			for i := range args {
				args[i] = 1
				f.Call(&world{}, m, args)
			}
		}
	}
}

func TestWrite(t *testing.T) {
	m, w := memory(t), &world{}
	m.WriteString(100, "hello\nworld")
	for i, v := range []uint32{100, 5, 105, 6, 0, 0} {
		m.WriteUint32Le(uint32(8+4*i), v)
	}
	if errno := call(w, m, "fd_write", 2, 8, 3, 40); errno != Success || w.out[2].String() != "hello\nworld" {
		t.Errorf("%d, %q", errno, w.out[2].String())
	}
	if n, _ := m.ReadUint32Le(40); n != 11 {
		t.Errorf("%d bytes written", n)
	}
	for name, got := range map[string]Errno{
		"closed":   call(w, m, "fd_write", 3, 8, 3, 40),
		"stdin":    call(w, m, "fd_write", 0, 8, 3, 40),
		"list":     call(w, m, "fd_write", 1, 65530, 3, 40),
		"too long": call(w, m, "fd_write", 1, 0, 1<<31, 40),
		"result":   call(w, m, "fd_write", 1, 8, 3, 65534),
	} {
		if want := map[string]Errno{"closed": Badf, "stdin": Badf}[name]; got != want && (want != 0 || got != Fault) {
			t.Errorf("%s: %d", name, got)
		}
	}
	if errno := call(w, m, "fd_read", 0, 8, 1, 40); errno != Success {
		t.Errorf("read: %d", errno)
	}
	if n, _ := m.ReadUint32Le(40); n != 0 {
		t.Errorf("%d bytes read", n)
	}
}

func TestClocksAndSleep(t *testing.T) {
	m, w := memory(t), &world{now: 5_000_000_000, mono: 1000}
	for clock, want := range map[uint64]uint64{0: 5_000_000_000, 1: 1000, 2: 1000, 3: 1000} {
		errno := call(w, m, "clock_time_get", clock, 0, 8)
		if got, _ := m.ReadUint64Le(8); errno != Success || got != want {
			t.Errorf("clock %d: %d, %d", clock, got, errno)
		}
	}
	if errno := call(w, m, "clock_time_get", 4, 0, 8); errno != Inval {
		t.Errorf("clock 4: %d", errno)
	}
	subscribe := func(at uint32, kind byte, word uint32, timeout uint64, flags uint16) {
		b, _ := m.Read(at, subscriptionSize)
		clear(b)
		b[0], b[8] = byte(at), kind
		le.PutUint32(b[16:], word)
		le.PutUint64(b[24:], timeout)
		le.PutUint16(b[40:], flags)
	}
	poll := func(n uint64) (events uint32, errno Errno) {
		errno = call(w, m, "poll_oneoff", 1000, 2000, n, 8)
		events, _ = m.ReadUint32Le(8)
		return events, errno
	}
	subscribe(1000, eventClock, clockMonotonic, 500, 0)
	subscribe(1048, eventClock, clockMonotonic, 900, 0)
	if n, errno := poll(2); n != 1 || errno != Success || w.mono != 1500 {
		t.Errorf("nearest of two: %d events, %d, clock %d", n, errno, w.mono)
	}
	subscribe(1000, eventClock, clockMonotonic, 2000, clockAbsolute)
	if n, errno := poll(1); n != 1 || errno != Success || w.mono != 2000 {
		t.Errorf("absolute: %d events, %d, clock %d", n, errno, w.mono)
	}
	if n, _ := poll(1); n != 1 || w.mono != 2000 {
		t.Errorf("absolute and past: %d events, clock %d", n, w.mono)
	}
	subscribe(1000, eventClock, clockRealtime, 5_000_000_100, clockAbsolute)
	if n, _ := poll(1); n != 1 || w.mono != 2100 {
		t.Errorf("absolute real time: %d events, clock %d", n, w.mono)
	}
	subscribe(1000, eventClock, clockMonotonic, 1<<63, 0)
	subscribe(1048, eventFDRead, 0, 0, 0)
	if n, _ := poll(2); n != 1 || w.mono != 2100 {
		t.Errorf("a descriptor beside a timeout: %d events, clock %d", n, w.mono)
	}
	subscribe(1000, 9, 0, 0, 0)
	if _, errno := poll(1); errno != Inval {
		t.Errorf("unknown event: %d", errno)
	}
	if _, errno := poll(0); errno != Inval {
		t.Errorf("nothing: %d", errno)
	}
	if _, errno := poll(1 << 31); errno != Fault {
		t.Errorf("too many: %d", errno)
	}
}

func TestRandom(t *testing.T) {
	m, w := memory(t), &world{}
	if errno := call(w, m, "random_get", 65532, 4); errno != Success || w.charged != 4 {
		t.Errorf("%d, charged %d", errno, w.charged)
	}
	if errno := call(w, m, "random_get", 65533, 4); errno != Fault {
		t.Errorf("past the end: %d", errno)
	}
}
