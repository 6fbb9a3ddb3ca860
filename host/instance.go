package host

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host/extism"
	"github.com/sluicegate/sluice/host/meter"
)

// phase is what a guest is being called for. Some host functions are for one phase only.
type phase int

const (
	phaseStart     phase = iota // start function and _initialize
	phaseConfigure              // sluice_configure
	phaseProcess                // sluice_process
)

func (p phase) String() string {
	return [...]string{abi.ExportInitialize, abi.ExportConfigure, abi.ExportProcess}[p]
}

// instance is one instance of a stage's module: its own memory, globals and handles. It runs one call at a time. After a failure it is
// closed and never called again.
type instance struct {
	stage   *Stage
	module  api.Module
	memory  api.Memory
	linear  *linearMemory
	process api.Function
	ctx     guestContext
	stack   [2]uint64 // arguments and results of a call

	// What host functions work on during a call.
	phase        phase
	function     string       // the host function under way, for errors
	records      []abi.Record // of the call; views of the caller's
	info         *abi.Info    // of the batch
	now          time.Time    // what the guest's real-time clock says
	verdicts     []byte       // stream of verdicts, appended to the caller's buffer
	verdictsFrom int          // where this call's verdicts begin in it
	buf          []byte       // for replies
	extism       extism.Store
	schemas      schemaState
	json         jsonState
	output       [2]lineBuffer // standard output and error

	fuel fuelState

	random    *rand.ChaCha8 // made when first asked for
	number    uint64        // of the instance in its stage
	advanced  int64         // nanoseconds by which poll_oneoff has moved the monotonic clock
	idleSince time.Time     // under Stage.mu, while in the free list
}

// guestContext is the context of an instance's calls. Host functions find their instance in it.
type guestContext struct {
	context.Context
	in *instance
}

// Value has nothing: the runtime looks for its own options in it at every call.
func (*guestContext) Value(any) any { return nil }

// newInstance makes an instance and starts it: start function, _initialize, configure. It runs guest code, so the caller holds a run slot.
func (s *Stage) newInstance(ctx context.Context) (*instance, *GuestError) {
	in := &instance{stage: s, linear: &linearMemory{limit: uint64(s.limits.Memory)}, number: s.made.Add(1)}
	in.ctx.in = in
	in.fuel.quantum = firstQuantum
	in.schemas.room = keepErrors
	if err := in.instantiate(ctx); err != nil {
		return nil, in.startError(err)
	}
	s.observer.Instances(1)
	if err := in.start(ctx); err != nil {
		in.close()
		return nil, in.startError(err)
	}
	return in, nil
}

// startError makes any error of a start one that is never blamed on records.
func (in *instance) startError(err error) *GuestError {
	var g *GuestError
	if !errors.As(err, &g) {
		g = &GuestError{Cause: CauseStart, Function: "instantiate", Text: firstLine(err.Error()), Err: err}
	}
	g.starting = true
	return g
}

// instantiate makes the instance. It runs no code of the guest.
func (in *instance) instantiate(ctx context.Context) (err error) {
	defer func() {
		// The runtime panics where memory cannot be had.
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			in.linear.Free()
		}
	}()
	ctx = experimental.WithMemoryAllocator(context.WithoutCancel(ctx), in.linear)
	code := in.stage.code
	in.module, err = code.host.runtime.InstantiateModule(ctx, code.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	in.memory = in.module.ExportedMemory(abi.ExportMemory)
	in.process = in.module.ExportedFunction(abi.ExportProcess)
	fuel, ok := in.module.ExportedGlobal(meter.FuelExport).(api.MutableGlobal)
	stack, ok2 := in.module.ExportedGlobal(meter.StackExport).(api.MutableGlobal)
	if !ok || !ok2 {
		return errors.New("the metered module has no fuel or stack global, which is a bug of Sluice")
	}
	in.fuel.global, in.fuel.stack, in.fuel.stackBytes = fuel, stack, code.info.StackBytes
	return nil
}

// start runs what runs once for each instance, under one budget.
func (in *instance) start(ctx context.Context) error {
	s := in.stage
	in.now = s.clock()
	in.fuel.begin(s.limits.FuelStart, s.limits.StartDeadline)
	in.phase = phaseStart
	if s.code.info.Start {
		if err := in.run(ctx, meter.StartExport, 0); err != nil {
			return err
		}
	}
	if in.module.ExportedFunction(abi.ExportInitialize) != nil {
		if err := in.run(ctx, abi.ExportInitialize, 0); err != nil {
			return err
		}
	}
	if in.module.ExportedFunction(abi.ExportConfigure) == nil {
		return nil
	}
	in.phase = phaseConfigure
	in.extism.Reset(s.input)
	if err := in.run(ctx, abi.ExportConfigure, 1); err != nil {
		return err
	}
	return s.configured(in.extism.Output())
}

// run calls an export that takes nothing and returns results values: nothing, or an i32 that says success with 0.
func (in *instance) run(ctx context.Context, name string, results int) error {
	in.stack[0] = 0
	if err := in.call(ctx, in.module.ExportedFunction(name), name, in.stack[:results]); err != nil {
		return err
	}
	return nil
}

// judge calls sluice_process on records. On success their verdicts are the bytes from verdictsFrom on of the returned buffer, which is
// verdicts with the stream appended; they are not checked yet. The caller holds a run slot.
func (in *instance) judge(ctx context.Context, c *guestCall, verdicts []byte) ([]byte, *GuestError) {
	l := &in.stage.limits
	in.phase = phaseProcess
	in.records, in.info = c.records, c.info
	in.verdicts, in.verdictsFrom = verdicts, len(verdicts)
	in.now = in.stage.clock()
	if t := c.records[0].Timestamp; t >= 0 {
		in.now = time.UnixMilli(t)
	}
	in.fuel.begin(l.FuelBase+int64(len(c.records))*l.FuelPerRecord+int64(c.bytes)*l.FuelPerByte, l.Deadline)
	in.extism.Reset(nil)
	in.stack = [2]uint64{uint64(len(c.records)), uint64(c.bytes)}
	err := in.call(ctx, in.process, abi.ExportProcess, in.stack[:])
	verdicts = in.verdicts
	in.records, in.info, in.verdicts = nil, nil, nil
	in.schemas.forget()
	in.json.forget()
	if cap(in.buf) > keepAnswer {
		in.buf = nil
	}
	return verdicts, err
}

// call calls a function of the guest with fuel and a deadline, and says what went wrong.
func (in *instance) call(ctx context.Context, f api.Function, name string, stack []uint64) *GuestError {
	in.ctx.Context = ctx
	in.linear.denied = false
	in.fuel.enter()
	err := f.CallWithStack(&in.ctx, stack)
	in.fuel.leave()
	in.ctx.Context = nil
	in.flushOutput()
	if err == nil {
		if len(stack) == 0 || uint32(stack[0]) == 0 {
			return nil
		}
		text := oneLine(in.extism.Error())
		if text == "" {
			text = fmt.Sprintf("returned %d without saying why", int32(stack[0]))
		}
		return &GuestError{Cause: CauseGuest, Function: name, Text: text}
	}
	return in.explain(name, err)
}

// explain makes a GuestError of what the runtime returned.
func (in *instance) explain(name string, err error) *GuestError {
	text, trace, _ := strings.Cut(err.Error(), "\n")
	g := &GuestError{Cause: CauseTrap, Function: name, Text: text, Trace: trace, Err: err}
	var f *fault
	var bug runtime.Error
	switch {
	case errors.As(err, &f):
		g.Cause, g.Text, g.Err = f.cause, f.text, f.err
		if f.trace != "" {
			g.Trace = f.trace
		}
	case errors.As(err, &bug): // of the runtime: a guest's own mistakes are no Go errors
		g.Cause = CauseHostBug
	case in.linear.denied:
		g.Cause = CauseMemory
		g.Text = fmt.Sprintf("out of memory: the limit is %d MiB (limits.memory of the stage); %s", in.stage.limits.Memory>>20, text)
	}
	g.Text = oneLine(g.Text)
	return g
}

// close frees the instance. It must not be in a call.
func (in *instance) close() {
	_ = in.module.Close(context.Background())
	in.linear.Free()
	in.stage.observer.Instances(-1)
}

// Fuel.

const (
	// quantumTime is how long a guest should run between two yields.
	quantumTime = 250 * time.Microsecond
	// firstQuantum is an instance's first guess of what that takes, in fuel.
	firstQuantum = 100_000
	minQuantum   = 1_000
	maxQuantum   = 1 << 30
)

// fuelState is the account of one instance. Granted fuel stands in the guest's global; what a host function costs is taken from there too,
// so that the same call ends at the same place whatever the quanta were.
type fuelState struct {
	global     api.MutableGlobal
	stack      api.MutableGlobal
	stackBytes int64

	quantum  int64         // what to grant at a time; it follows the speed of what the guest does
	left     int64         // of the budget, the granted fuel included
	granted  int64         // what the global was last set to
	spent    int64         // in the life of the instance
	ran      time.Duration // in this budget, without waiting
	deadline time.Duration
	since    time.Time // start of the quantum
}

// begin sets the budget.
func (f *fuelState) begin(budget int64, deadline time.Duration) {
	f.left, f.deadline, f.ran = budget, deadline, 0
}

// enter prepares the globals for a call.
func (f *fuelState) enter() {
	f.stack.Set(uint64(f.stackBytes))
	f.since = time.Now()
	f.granted = min(f.quantum, f.left)
	f.global.Set(uint64(f.granted))
}

// leave settles after a call, whatever its end.
func (f *fuelState) leave() {
	f.settle(int64(f.global.Get()))
	f.ran += time.Since(f.since)
}

// settle takes what was used of the grant off the account.
func (f *fuelState) settle(fuel int64) (used int64) {
	used = f.granted - fuel
	f.left -= used
	f.spent += used
	f.granted = fuel
	return used
}

// adapt sets the next quantum from what the last one took. It grows slowly and shrinks at once, because a unit of fuel may come to
// cost fifty times as much from one loop to the next.
func (f *fuelState) adapt(used int64, took time.Duration) {
	next := f.quantum * 2
	if took > 0 && used > 0 {
		next = min(next, int64(float64(used)*float64(quantumTime)/float64(took)))
	}
	f.quantum = min(max(next, minQuantum), maxQuantum)
}

// meterYield implements yield(fuel) -> fuel of the meter.
func meterYield(in *instance, stack []uint64) {
	if int64(stack[0]) == meter.StackSpent {
		panic(&fault{cause: CauseTrap, text: fmt.Sprintf("call stack exhausted (%d KiB): endless recursion?", in.fuel.stackBytes>>10)})
	}
	stack[0] = uint64(in.yield(int64(stack[0])))
}

// charge takes n units of fuel from the guest for work of the host, before it is done.
func (in *instance) charge(n int64) {
	fuel := int64(in.fuel.global.Get()) - n
	if fuel < 0 {
		fuel = in.yield(fuel)
	}
	in.fuel.global.Set(uint64(fuel))
}

// yield is called when the grant is used up: it settles, gives way to others, and returns the next grant, or ends the call.
func (in *instance) yield(fuel int64) int64 {
	f := &in.fuel
	f.global.Set(uint64(fuel)) // so that leave finds it if the call ends here
	now := time.Now()
	took := now.Sub(f.since)
	f.ran += took
	f.since = now
	f.adapt(f.settle(fuel), took)
	switch {
	case f.left < 0:
		panic(&fault{cause: CauseFuel, text: "out of fuel: the call's budget is spent (an endless loop, or too much work; limits.fuel of the stage)"})
	case f.ran > f.deadline:
		panic(&fault{cause: CauseDeadline, text: fmt.Sprintf("ran longer than %v (limits.deadline of the stage)", f.deadline)})
	}
	err := in.ctx.Err()
	if err == nil {
		err = in.stage.host.slots.pass(in.ctx.Context)
	}
	if err != nil {
		panic(&fault{cause: CauseCanceled, text: "canceled: " + err.Error(), err: err})
	}
	runtime.Gosched()
	f.since = time.Now()
	f.granted = min(f.quantum, f.left)
	return f.granted
}

// The world as wasi and Extism see it.

// Now returns the time of the real-time clock in nanoseconds since 1970 UTC: it stands still during a call.
func (in *instance) Now() int64 { return in.now.UnixNano() }

// Monotonic returns the time of the monotonic clock in nanoseconds. It moves with the fuel that is spent, and a little with each look.
func (in *instance) Monotonic() int64 {
	in.advanced += 1000
	return in.advanced + in.fuel.spent + in.fuel.granted - int64(in.fuel.global.Get())
}

// Sleep moves the monotonic clock.
func (in *instance) Sleep(ns int64) {
	const most = int64(1) << 61 // so that it cannot overflow
	if ns > 0 && in.advanced < most {
		in.advanced += min(ns, most-in.advanced)
	}
}

// Random fills p with numbers that nobody outside the process can predict.
func (in *instance) Random(p []byte) {
	if in.random == nil {
		code := in.stage.code
		mac := hmac.New(sha256.New, code.host.secret[:])
		mac.Write(code.digest[:])
		mac.Write(binary.LittleEndian.AppendUint64(nil, in.stage.number))
		mac.Write(binary.LittleEndian.AppendUint64(nil, in.number))
		in.random = rand.NewChaCha8([32]byte(mac.Sum(nil)))
	}
	_, _ = in.random.Read(p)
}

// Output takes what the guest writes to standard output (1) and standard error (2).
func (in *instance) Output(fd int, p []byte) {
	in.output[fd-1].write(p, func(line []byte) { in.stage.log.guest(in.stage, outputLevel, string(line)) })
}

func (in *instance) flushOutput() {
	for i := range in.output {
		in.output[i].flush(func(line []byte) { in.stage.log.guest(in.stage, outputLevel, string(line)) })
	}
}

// Charge takes fuel for work on n bytes.
func (in *instance) Charge(n int) { in.charge(copyCost(n)) }

// Exit ends the call: a guest has no business to exit.
func (in *instance) Exit(status uint32) {
	panic(&fault{cause: CauseTrap, text: fmt.Sprintf("the guest exited with status %d", status)})
}
