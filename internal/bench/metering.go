package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/catalog"
	"github.com/sluicegate/sluice/host/extism"
	"github.com/sluicegate/sluice/host/meter"
)

// benchMetering runs the same modules as they are and as the meter rewrites
// them, on canned answers of the host, so that nothing but the rewriting differs.
func benchMetering(opts options, dir string) ([]*table, error) {
	guests, err := buildGuests(dir)
	if err != nil {
		return nil, err
	}
	spin, err := os.ReadFile(guests.spin)
	if err != nil {
		return nil, err
	}
	filter, err := firstParty("filter")
	if err != nil {
		return nil, err
	}
	t := &table{title: "Metering"}
	t.add("", "plain, ns", "metered, ns", "metered, of plain")
	for _, row := range []struct {
		name, config string
		wasm         []byte
		per          int // what a call is divided by
	}{
		{"`filter` by a JSON path, a record of 1 KB", `{"when":{"json":"$.lumens","gt":50}}`, filter, 100},
		{"`filter` by key prefix, a record of 1 KB", `{"when":{"field":"key","prefix":"key-1"}}`, filter, 100},
		{"`filter` by text in the value, a record of 1 KB", `{"when":{"field":"value","contains":"nowhere"}}`, filter, 100},
		{"tight loop, a step", `{}`, spin, 1_000_000},
	} {
		metered, _, err := meter.Rewrite(row.wasm, meter.Options{})
		if err != nil {
			return nil, err
		}
		var works []work
		for _, wasm := range [][]byte{row.wasm, metered} {
			g, err := newCanned(wasm, row.config)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", row.name, err)
			}
			defer g.close()
			works = append(works, work{row.name, row.per, g.process})
		}
		ns, err := timeWork(opts, works)
		if err != nil {
			return nil, err
		}
		var ratios []float64
		for i := range ns[0] {
			ratios = append(ratios, ns[1][i]/ns[0][i])
		}
		t.add(row.name, spread(ns[0]), spread(ns[1]), spread(ratios))
	}
	return []*table{t}, nil
}

// canned is an instance whose host answers each call the same way.
type canned struct {
	rt      wazero.Runtime
	mod     api.Module
	call    api.Function
	stack   []uint64
	store   extism.Store
	entries map[abi.Fields][]byte
	values  []byte
	bytes   int
}

const cannedRecords = 100

func newCanned(wasm []byte, config string) (*canned, error) {
	ctx := context.Background()
	g := &canned{rt: wazero.NewRuntime(ctx), entries: map[abi.Fields][]byte{}, stack: make([]uint64, 4)}
	g.answers()
	wasi_snapshot_preview1.MustInstantiate(ctx, g.rt)
	compiled, err := g.rt.CompileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	if err := g.link(ctx, compiled); err != nil {
		return nil, err
	}
	g.mod, err = g.rt.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithStartFunctions("_initialize").WithStderr(os.Stderr))
	if err != nil {
		return nil, err
	}
	if configure := g.mod.ExportedFunction(abi.ExportConfigure); configure != nil {
		input, _ := json.Marshal(map[string]any{"config": json.RawMessage(config), "pipeline": "bench", "stage": "bench", "on": "produce",
			"host": map[string]any{"abi": 1, "features": []string{}}})
		g.store.Reset(input)
		r, err := configure.Call(ctx)
		if err != nil {
			return nil, err
		}
		if r[0] != 0 {
			return nil, fmt.Errorf("configure: %s", g.store.Error())
		}
	}
	g.call = g.mod.ExportedFunction(abi.ExportProcess)
	return g, g.process()
}

func (g *canned) close() { g.rt.Close(context.Background()) }

// answers prepares what the guest will read.
func (g *canned) answers() {
	records := make([]abi.Record, cannedRecords)
	for i := range records {
		value := []byte(fmt.Sprintf(`{"lumens":%d,"note":"%s"}`, i, strings.Repeat("x", 970)))
		records[i] = abi.Record{Key: []byte(fmt.Sprintf("key-%d", i)), Value: value, Timestamp: 1_700_000_000_000, Offset: int64(i)}
		g.values = abi.AppendJSON(g.values, abi.JSONOK, []abi.JSONValue{{Kind: abi.KindNumber, Number: float64(i), Text: []byte(fmt.Sprint(i))}})
	}
	for f := range abi.FieldsAll + 1 {
		g.entries[f] = abi.AppendEntries(nil, records, f)
	}
	g.bytes = len(g.entries[abi.FieldsAll])
}

// process is one call of the guest.
func (g *canned) process() error {
	g.store.Reset(nil)
	for _, name := range []string{meter.FuelExport, meter.StackExport} {
		if global, ok := g.mod.ExportedGlobal(name).(api.MutableGlobal); ok {
			global.Set(1 << 40)
		}
	}
	g.stack[0], g.stack[1] = cannedRecords, uint64(g.bytes)
	if err := g.call.CallWithStack(context.Background(), g.stack); err != nil {
		return err
	}
	if g.stack[0] != 0 {
		return fmt.Errorf("process: %s", g.store.Error())
	}
	return nil
}

// link defines every import but WASI's: those that matter by name, all others
// by an answer of zero.
func (g *canned) link(ctx context.Context, compiled wazero.CompiledModule) error {
	known := g.functions()
	builders := map[string]wazero.HostModuleBuilder{}
	seen := map[string]bool{}
	for _, def := range compiled.ImportedFunctions() {
		module, name, _ := def.Import()
		if module == abi.ModuleWASI || seen[module+" "+name] {
			continue
		}
		seen[module+" "+name] = true
		f := known[module+" "+name]
		if f == nil {
			f = func(_ api.Module, stack []uint64) {
				if len(stack) > 0 {
					stack[0] = 0
				}
			}
		}
		if builders[module] == nil {
			builders[module] = g.rt.NewHostModuleBuilder(module)
		}
		builders[module].NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			f(m, stack)
		}), def.ParamTypes(), def.ResultTypes()).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

// functions are the imports with an answer.
func (g *canned) functions() map[string]func(api.Module, []uint64) {
	reply := func(m api.Module, stack []uint64, ptr, size uint64, b []byte) {
		if uint64(len(b)) <= size {
			m.Memory().Write(uint32(ptr), b)
		}
		stack[0] = uint64(len(b))
	}
	info := abi.AppendInfo(nil, &abi.Info{Topic: "bench", ProducerID: -1})
	return map[string]func(api.Module, []uint64){
		meter.ImportModule + " " + meter.YieldFunction: func(_ api.Module, s []uint64) { s[0] = 1 << 20 },
		abi.ModuleBatch + " info":                      func(m api.Module, s []uint64) { reply(m, s, s[0], s[1], info) },
		abi.ModuleBatch + " read":                      func(m api.Module, s []uint64) { reply(m, s, s[3], s[4], g.entries[abi.Fields(s[0])]) },
		abi.ModuleJSON + " get":                        func(m api.Module, s []uint64) { reply(m, s, s[3], s[4], g.values) },
		abi.ModuleExtism + " input_length":             func(_ api.Module, s []uint64) { s[0] = g.store.InputLength() },
		abi.ModuleExtism + " input_load_u8": func(_ api.Module, s []uint64) {
			b, _ := g.store.InputLoadU8(s[0])
			s[0] = uint64(b)
		},
		abi.ModuleExtism + " input_load_u64": func(_ api.Module, s []uint64) { s[0], _ = g.store.InputLoadU64(s[0]) },
		abi.ModuleExtism + " alloc":          func(_ api.Module, s []uint64) { s[0] = g.store.Alloc(s[0]) },
		abi.ModuleExtism + " length":         func(_ api.Module, s []uint64) { s[0] = g.store.Length(s[0]) },
		abi.ModuleExtism + " store_u8":       func(_ api.Module, s []uint64) { g.store.StoreU8(s[0], byte(s[1])) },
		abi.ModuleExtism + " store_u64":      func(_ api.Module, s []uint64) { g.store.StoreU64(s[0], s[1]) },
		abi.ModuleExtism + " error_set":      func(_ api.Module, s []uint64) { g.store.ErrorSet(s[0]) },
	}
}

// buildGuest compiles a Go package to a module.
func buildGuest(out, pkg string) error {
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, bytes.TrimSpace(msg))
	}
	return nil
}

// firstParty is a built-in module.
func firstParty(name string) ([]byte, error) {
	m, err := catalog.Resolve(name, "")
	if err != nil {
		return nil, err
	}
	return m.Wasm, nil
}
