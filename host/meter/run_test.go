package meter_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/host/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

var (
	errFuel  = errors.New("fuel is spent")
	errStack = errors.New("stack is spent")
)

// budget is the test's idea of a host: a call's fuel, granted in quanta.
type budget struct {
	left, granted int64
	quantum       int64
	yields        int
}

type budgetKey struct{}

// yield is the host function.
func yield(ctx context.Context, _ api.Module, stack []uint64) {
	b := ctx.Value(budgetKey{}).(*budget)
	fuel := int64(stack[0])
	if fuel == meter.StackSpent {
		panic(errStack)
	}
	b.yields++
	b.left -= b.granted - fuel
	b.granted = min(b.quantum, b.left)
	if b.left < 0 {
		panic(errFuel)
	}
	stack[0] = uint64(b.granted)
}

// spent is the fuel that calls took until now.
func (g *guest) spent(all int64) int64 {
	return all - g.budget.left + g.budget.granted - int64(g.fuel.Get())
}

// guest is an instance, metered or not.
type guest struct {
	api.Module
	ctx         context.Context
	budget      budget
	fuel, stack api.MutableGlobal
	info        meter.Info
}

func newRuntime(t testing.TB) wazero.Runtime {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(2048))
	t.Cleanup(func() { rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	_, err := rt.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(yield), []api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).
		Export(meter.YieldFunction).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// instantiate makes an instance of a module, rewritten before if metered, and runs its start function.
func instantiate(t testing.TB, rt wazero.Runtime, wasm []byte, metered bool) *guest {
	t.Helper()
	g := &guest{}
	if metered {
		out, info, err := meter.Rewrite(wasm, meter.Options{})
		if err != nil {
			t.Fatalf("rewrite: %v", err)
		}
		if err := meter.Verify(out, info); err != nil {
			t.Fatalf("verify: %v", err)
		}
		wasm, g.info = out, info
	}
	g.ctx = context.WithValue(context.Background(), budgetKey{}, &g.budget)
	// wazero's default clock goes 1 ms further with each look at it: a Go guest's collector then falls behind until memory is full.
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithSysNanotime()
	var err error
	if g.Module, err = rt.InstantiateWithConfig(g.ctx, wasm, config); err != nil {
		t.Fatalf("instantiate: %v", err)
	}
	t.Cleanup(func() { g.Close(g.ctx) })
	if metered {
		g.fuel = g.ExportedGlobal(meter.FuelExport).(api.MutableGlobal)
		g.stack = g.ExportedGlobal(meter.StackExport).(api.MutableGlobal)
	}
	if g.info.Start {
		if _, err := g.call(math.MaxInt64, meter.StartExport); err != nil {
			t.Fatalf("start: %v", err)
		}
	}
	if g.ExportedFunction("_initialize") != nil {
		if _, err := g.call(math.MaxInt64, "_initialize"); err != nil {
			t.Fatalf("initialize: %v", err)
		}
	}
	return g
}

// grant sets the fuel of the next call.
func (g *guest) grant(fuel int64) {
	if g.fuel == nil {
		return
	}
	g.budget.quantum = 1 << 20
	g.budget.left, g.budget.granted = fuel, min(fuel, g.budget.quantum)
	g.fuel.Set(uint64(g.budget.granted))
	g.stack.Set(uint64(g.info.StackBytes))
}

// call runs an export with so much fuel.
func (g *guest) call(fuel int64, name string, args ...uint64) (uint64, error) {
	g.grant(fuel)
	f := g.ExportedFunction(name)
	if f == nil {
		return 0, fmt.Errorf("no export %q", name)
	}
	results, err := f.Call(g.ctx, args...)
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return results[0], nil
}

// goGuest builds testdata/guest.
var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "meter")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", out, "./testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/guest: %w\n%s", err, text)
	}
	return os.ReadFile(out)
})

func buildGuest(t testing.TB) []byte {
	t.Helper()
	wasm, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

var workloads = []struct {
	name string
	n    uint64
}{{"filter", 100}, {"scan", 100}, {"decode", 20}, {"hash", 100000}, {"order", 2000}, {"allocate", 2000}, {"deep", 200}}

func TestGoGuestAgrees(t *testing.T) {
	wasm := buildGuest(t)
	rt := newRuntime(t)
	plain, metered := instantiate(t, rt, wasm, false), instantiate(t, rt, wasm, true)
	for _, w := range workloads {
		want, err := plain.call(0, w.name, w.n)
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		got, err := metered.call(math.MaxInt64, w.name, w.n)
		if err != nil {
			t.Fatalf("%s metered: %v", w.name, err)
		}
		t.Logf("%s(%d) took %d units", w.name, w.n, metered.spent(math.MaxInt64))
		if got != want {
			t.Errorf("%s(%d) = %d, without metering %d", w.name, w.n, got, want)
		}
	}
}

// BenchmarkGoGuest runs each workload without and with metering in turn, so that noise hits both alike. It reports the fastest run
// of each and what metering adds.
func BenchmarkGoGuest(b *testing.B) {
	wasm := buildGuest(b)
	rt := newRuntime(b)
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			compare(b, instantiate(b, rt, wasm, false), instantiate(b, rt, wasm, true), w.name, w.n)
		})
	}
}

// BenchmarkTight does the same with loops of a few instructions. What metering adds to them depends on how jumps fall
// into cache lines, and so on the code before: anything from nothing to double.
func BenchmarkTight(b *testing.B) {
	wasm := load(b, "tight.wasm")
	rt := newRuntime(b)
	for name, n := range map[string]uint64{"hash": 1000000, "find": 1000000, "sum": 1000000, "fib": 22} {
		b.Run(name, func(b *testing.B) {
			compare(b, instantiate(b, rt, wasm, false), instantiate(b, rt, wasm, true), name, n)
		})
	}
}

func compare(b *testing.B, plain, metered *guest, name string, n uint64) {
	stack := make([]uint64, 1)
	run := func(g *guest) time.Duration {
		g.grant(1 << 50)
		stack[0] = n
		f := g.ExportedFunction(name)
		start := time.Now()
		if err := f.CallWithStack(g.ctx, stack); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
	for b.Loop() {
		best[0] = min(best[0], run(plain))
		best[1] = min(best[1], run(metered))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(best[0])/1e3, "plain-us")
	b.ReportMetric(float64(best[1])/1e3, "metered-us")
	b.ReportMetric((float64(best[1])/float64(best[0])-1)*100, "%more")
	b.ReportMetric(float64(best[1])/float64(metered.spent(1<<50)), "ns/unit")
}

// BenchmarkRewrite reports the fastest of its runs.
func BenchmarkRewrite(b *testing.B) {
	wasm := buildGuest(b)
	rewrite, verify := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	var larger float64
	for b.Loop() {
		start := time.Now()
		out, info, err := meter.Rewrite(wasm, meter.Options{})
		if err != nil {
			b.Fatal(err)
		}
		rewrite = min(rewrite, time.Since(start))
		start = time.Now()
		if err := meter.Verify(out, info); err != nil {
			b.Fatal(err)
		}
		verify = min(verify, time.Since(start))
		larger = float64(len(out))/float64(len(wasm))*100 - 100
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(wasm))/1e6, "MB")
	b.ReportMetric(rewrite.Seconds()*1e3, "rewrite-ms")
	b.ReportMetric(verify.Seconds()*1e3, "verify-ms")
	b.ReportMetric(larger, "%larger")
}
