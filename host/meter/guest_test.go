package meter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/host/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// withEnv adds the module that the testdata import from.
func withEnv(t testing.TB, rt wazero.Runtime) wazero.Runtime {
	_, err := rt.NewHostModuleBuilder("env").
		NewFunctionBuilder().WithFunc(func() {}).Export("nop").
		NewFunctionBuilder().WithFunc(func() int32 { return 7 }).Export("seven").
		Instantiate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// TestEndlessLoops runs each endless export with a budget and expects the yield function to end it in time.
func TestEndlessLoops(t *testing.T) {
	rt := withEnv(t, newRuntime(t))
	wasm := load(t, "loops.wasm")
	for name := range instantiate(t, rt, wasm, true).ExportedFunctionDefinitions() {
		t.Run(name, func(t *testing.T) {
			g := instantiate(t, rt, wasm, true)
			args := make([]uint64, len(g.ExportedFunction(name).Definition().ParamTypes()))
			start := time.Now()
			_, err := g.call(10<<20, name, args...)
			if name == "ends" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, errFuel) {
				t.Errorf("ended with %v", err)
			}
			if g.budget.yields < 9 {
				t.Errorf("%d yields for ten quanta", g.budget.yields)
			}
			t.Logf("%d yields in %v", g.budget.yields, time.Since(start).Round(10*time.Microsecond))
		})
	}
}

// TestRecursion expects endless recursion to end at the stack budget, and siblings not to add up.
func TestRecursion(t *testing.T) {
	rt := newRuntime(t)
	wasm := load(t, "deep.wasm")
	for _, name := range []string{"direct", "mutual", "indirect", "v128"} {
		g := instantiate(t, rt, wasm, true)
		if _, err := g.call(math.MaxInt64, name, 16); !errors.Is(err, errStack) {
			t.Errorf("%s: ended with %v", name, err)
		}
		if left := int64(g.stack.Get()); left < 0 || left > 2048 {
			t.Errorf("%s: ended with %d bytes of stack left", name, left)
		}
	}
	for name, arg := range map[string]uint64{"wide": 20000, "exits": 20} {
		plain, metered := instantiate(t, rt, wasm, false), instantiate(t, rt, wasm, true)
		want, err := plain.call(0, name, arg)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := metered.call(math.MaxInt64, name, arg); err != nil || got != want {
			t.Errorf("%s: %d, %v; without metering %d", name, got, err, want)
		}
	}
}

// TestGoRecursion expects a Go guest to recurse some thousand deep, and its endless recursion to end.
func TestGoRecursion(t *testing.T) {
	g := instantiate(t, newRuntime(t), buildGuest(t), true)
	if got, err := g.call(math.MaxInt64, "deep", 5000); err != nil || got != 5000 {
		t.Errorf("deep(5000) = %d, %v", got, err)
	}
	if _, err := g.call(math.MaxInt64, "deep", 1<<30); !errors.Is(err, errStack) {
		t.Errorf("deep(1<<30): %v", err)
	}
}

func TestGoEndless(t *testing.T) {
	rt, wasm := newRuntime(t), buildGuest(t)
	g := instantiate(t, rt, wasm, true)
	if _, err := g.call(100<<20, "forever"); !errors.Is(err, errFuel) {
		t.Errorf("forever: %v", err)
	}
	_, err := instantiate(t, rt, wasm, true).call(math.MaxInt64, "crash")
	if err == nil || errors.Is(err, errStack) || errors.Is(err, errFuel) {
		t.Errorf("crash: %v", err)
	} else if !strings.Contains(err.Error(), "main.crash") {
		t.Errorf("trace without the guest's names: %v", err)
	}
}

// TestBulk expects operators to be charged by their operand.
func TestBulk(t *testing.T) {
	rt := newRuntime(t)
	wasm := load(t, "bulk.wasm")
	tests := []struct {
		name   string
		n      uint64
		lo, hi int64 // units
		traps  bool
	}{
		{"memory.copy", 1 << 20, 1 << 17, 1<<17 + 300, false},
		{"memory.copy", 0, 1, 300, false},
		{"memory.copy", 1<<32 - 1, 1<<29 - 1, 1<<29 + 300, true}, // unsigned
		{"memory.fill", 1 << 20, 1 << 17, 1<<17 + 300, false},
		{"memory.init", 16, 3, 300, false},
		{"memory.grow", 1, 33 << 10, 34 << 10, false},
		{"memory.grow", 1<<32 - 1, 64 << 10, 128 << 10, false}, // more than there may be fails at once
		{"table.copy", 1000, 1000, 1300, false},
		{"table.fill", 1000, 1000, 1300, false},
		{"table.fill", 1 << 31, 1 << 31, 1<<31 + 300, true},
		{"table.init", 3, 3, 300, false},
		{"table.grow", 1000, 1000, 10000, false},
		{"table.grow", 1<<32 - 1, 65536, 80000, false},
		{"const", 0, 128, 300, false},
		{"const large", 0, 125000, 125300, false},
		{"data.drop", 0, 0, 0, false}, // so small that its callers are charged,
	}
	for _, test := range tests {
		g := instantiate(t, rt, wasm, true)
		const all = 1 << 40
		_, err := g.call(all, test.name, test.n)
		if (err != nil) != test.traps {
			t.Errorf("%s(%d): %v", test.name, test.n, err)
		}
		if got := g.spent(all); got < test.lo || got > test.hi {
			t.Errorf("%s(%d) took %d units, want %d to %d", test.name, test.n, got, test.lo, test.hi)
		}
		if _, err := instantiate(t, rt, wasm, true).call(test.lo-1, test.name, test.n); test.lo > 300 && !errors.Is(err, errFuel) {
			t.Errorf("%s(%d) with too little fuel: %v", test.name, test.n, err)
		}
	}
}

// TestGrowth expects memory and tables to stop at their maximum.
func TestGrowth(t *testing.T) {
	out, info, err := meter.Rewrite(load(t, "bulk.wasm"), meter.Options{TableEntries: 5000, MemoryPages: 40})
	if err != nil {
		t.Fatal(err)
	}
	if info.TableMax != 5000 || info.MemoryMax != 40 {
		t.Errorf("tables to %d, memory to %d", info.TableMax, info.MemoryMax)
	}
	rt := newRuntime(t)
	ctx := context.WithValue(t.Context(), budgetKey{}, &budget{left: 1 << 40, quantum: 1 << 30})
	mod, err := rt.InstantiateWithConfig(ctx, out, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		grow, size string
		by, want   uint64
	}{{"memory.grow", "memory.size", 8, 40}, {"memory.grow", "memory.size", 1, 40}, {"table.grow", "table.size", 3000, 4000}, {"table.grow", "table.size", 1, 4000}} {
		mod.ExportedGlobal(meter.StackExport).(api.MutableGlobal).Set(uint64(info.StackBytes))
		if _, err := mod.ExportedFunction(test.grow).Call(ctx, test.by); err != nil {
			t.Fatal(err)
		}
		if got, err := mod.ExportedFunction(test.size).Call(ctx, 0); err != nil || got[0] != test.want {
			t.Errorf("%s after %s by %d: %d, %v, want %d", test.size, test.grow, test.by, got, err, test.want)
		}
	}
}

// TestIndices expects every function to be found under its new index.
func TestIndices(t *testing.T) {
	rt := withEnv(t, newRuntime(t))
	wasm := load(t, "indices.wasm")
	plain, metered := instantiate(t, rt, wasm, false), instantiate(t, rt, wasm, true)
	if !metered.info.Start {
		t.Error("the start function is not told of")
	}
	calls := []struct {
		name string
		args []uint64
	}{{"one", nil}, {"two", nil}, {"seven", nil}, {"call", nil}, {"ref", nil}}
	for n := range uint64(17) {
		calls = append(calls, struct {
			name string
			args []uint64
		}{"table", []uint64{n}})
	}
	for n := range uint64(17) {
		// Passive segments can be used again and again: nothing drops them.
		calls = append(calls, struct {
			name string
			args []uint64
		}{"init", []uint64{n}})
	}
	for _, c := range calls {
		want, wantErr := plain.call(0, c.name, c.args...)
		got, err := metered.call(math.MaxInt64, c.name, c.args...)
		if got != want || (err == nil) != (wantErr == nil) {
			t.Errorf("%s(%d) = %d, %v; without metering %d, %v", c.name, c.args, got, err, want, wantErr)
		}
	}
	if got, want := metered.ExportedGlobal("global").Get(), plain.ExportedGlobal("global").Get(); got != want || got != 8 {
		t.Errorf("after start the global is %d, without metering %d, want 8", got, want)
	}
}

// TestNames expects functions to have kept their names.
func TestNames(t *testing.T) {
	out, info, err := meter.Rewrite(load(t, "indices.wasm"), meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := newRuntime(t).CompileModule(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	for name, def := range compiled.ExportedFunctions() {
		if (name == "one" || name == "two") && def.Name() != name {
			t.Errorf("export %s is named %q", name, def.Name())
		}
	}
	for _, name := range []string{"sluice:meter.yield", "sluice:meter.slow"} {
		if !bytes.Contains(out, []byte(name)) {
			t.Errorf("%s has no name", name)
		}
	}
	if info.Functions != 8 {
		t.Errorf("%d functions", info.Functions)
	}
}

// TestRewritingTwice expects a rewritten module to be refused: it has our names.
func TestRewritingTwice(t *testing.T) {
	out, _, err := meter.Rewrite(load(t, "loops.wasm"), meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := meter.Rewrite(out, meter.Options{}); !errors.Is(err, meter.ErrReserved) {
		t.Errorf("rewriting twice: %v", err)
	}
}

// TestRewriteIsDeterministic expects the same bytes each time, and the input untouched.
func TestRewriteIsDeterministic(t *testing.T) {
	wasm := buildGuest(t)
	before := bytes.Clone(wasm)
	a, infoA, err := meter.Rewrite(wasm, meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, infoB, err := meter.Rewrite(wasm, meter.Options{})
	if err != nil || !bytes.Equal(a, b) || infoA != infoB || !bytes.Equal(wasm, before) {
		t.Errorf("not the same: %v, %+v, %+v", err, infoA, infoB)
	}
}

// FuzzRewrite expects that what compiles and is taken compiles and verifies when rewritten, and that nothing panics.
func FuzzRewrite(f *testing.F) {
	for _, name := range []string{"loops", "deep", "bulk", "indices"} {
		f.Add(load(f, name+".wasm"))
	}
	f.Add(code(vNone + "\x03\x40\x0c\x00\x0b"))
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(512))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if len(wasm) > 1<<14 {
			return
		}
		_ = meter.Verify(wasm, meter.Info{Helpers: 6})
		out, info, err := meter.Rewrite(wasm, meter.Options{Locals: 100, Nesting: 100})
		if err != nil {
			var typed *meter.Error
			if !errors.As(err, &typed) || typed.Error() == "" {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		verified := meter.Verify(out, info)
		before, err := rt.CompileModule(ctx, wasm)
		if err != nil {
			return
		}
		defer before.Close(ctx)
		if verified != nil {
			t.Fatal(verified)
		}
		after, err := rt.CompileModule(ctx, out)
		if err != nil {
			t.Fatalf("rewritten: %v", err)
		}
		after.Close(ctx)
	})
}

// TestRandomModules compares modules that binaryen makes up, metered and not. It needs wasm-opt.
func TestRandomModules(t *testing.T) {
	tool, err := exec.LookPath("wasm-opt")
	if err != nil {
		if os.Getenv("SLUICE_REQUIRE_ALL") == "1" {
			t.Fatal("wasm-opt is missing; install binaryen")
		}
		t.Skip("wasm-opt is missing; install binaryen")
	}
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{})
	calls, modules, trapped := 0, 0, 0
	for i := range 60 {
		seed := make([]byte, 2000+i*100)
		random.Read(seed)
		in, out := filepath.Join(dir, "seed"), filepath.Join(dir, "out.wasm")
		if err := os.WriteFile(in, seed, 0o600); err != nil {
			t.Fatal(err)
		}
		// Without reference types: what binaryen 108 makes of them belongs to later proposals.
		cmd := exec.Command(tool, "-ttf", in, "-o", out, "--mvp-features", "--enable-simd", "--enable-bulk-memory", "--enable-multivalue",
			"--enable-sign-ext", "--enable-nontrapping-float-to-int", "--enable-mutable-globals")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("wasm-opt: %v\n%s", err, text)
		}
		wasm, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		n, traps := compareModule(t, fmt.Sprint("module ", i), wasm)
		calls, trapped = calls+n, trapped+traps
		if n > 0 {
			modules++
		}
	}
	t.Logf("%d calls of %d modules agree, %d of them trap", calls, modules, trapped)
	if calls < 100 {
		t.Error("hardly any call was compared")
	}
}

// compareModule calls every export without parameters, metered and not, and compares results, traps and memory.
func compareModule(t *testing.T, name string, wasm []byte) (calls, traps int) {
	rt := newRuntime(t)
	compiled, err := rt.CompileModule(t.Context(), wasm)
	if err != nil {
		t.Log(err)
		return 0, 0 // outside Core 2.0
	}
	out, info, err := meter.Rewrite(wasm, meter.Options{})
	if err != nil {
		if !errors.Is(err, meter.ErrUnsupported) && !errors.Is(err, meter.ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
		return 0, 0
	}
	if err := meter.Verify(out, info); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	host := rt.NewHostModuleBuilder("fuzzing-support")
	for _, f := range compiled.ImportedFunctions() {
		_, fn, _ := f.Import()
		host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {}), f.ParamTypes(), f.ResultTypes()).Export(fn)
	}
	if _, err := host.Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain, metered := instantiate(t, rt, wasm, false), instantiate(t, rt, wasm, true)
	for export, def := range compiled.ExportedFunctions() {
		args := make([]uint64, len(def.ParamTypes()))
		if len(args) > 0 || len(def.ResultTypes()) > 1 {
			continue
		}
		want, wantErr := plain.call(0, export)
		got, gotErr := metered.call(math.MaxInt64, export)
		calls++
		if errors.Is(gotErr, errStack) {
			return calls, traps
		}
		if wantErr != nil {
			traps++
		}
		if got != want || (gotErr == nil) != (wantErr == nil) {
			t.Errorf("%s: %s = %#x, %v; without metering %#x, %v", name, export, got, gotErr, want, wantErr)
			return calls, traps
		}
		if m := plain.Memory(); m != nil {
			a, _ := m.Read(0, m.Size())
			b, _ := metered.Memory().Read(0, metered.Memory().Size())
			if !bytes.Equal(a, b) {
				t.Errorf("%s: memory differs after %s", name, export)
				return calls, traps
			}
		}
	}
	return calls, traps
}
