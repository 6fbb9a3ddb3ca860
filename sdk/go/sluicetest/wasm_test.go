package sluicetest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
	"github.com/sluicegate/sluice/sdk/go/internal/schemas"
	"github.com/sluicegate/sluice/sdk/go/sluicetest"
)

// TestCompiled runs the fixtures of the first-party middlewares through
// their compiled modules, on the smallest host there can be: what runs natively
// must do the same as a module.
func TestCompiled(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles modules")
	}
	for _, name := range []string{"filter", "validate"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("../../../plugins", name)
			m := compile(t, dir)
			paths, err := filepath.Glob(filepath.Join(dir, "testdata/*.txtar"))
			if err != nil || len(paths) == 0 {
				t.Fatalf("no fixtures: %v", err)
			}
			for _, path := range paths {
				f, err := sluicetest.Load(path)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(f.Name, func(t *testing.T) { m.run(t, f) })
			}
		})
	}
}

// module is a compiled module and the host of the instance that is running.
type module struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	host     *fake.Host

	input, output []byte
	failure       string
	blocks        []byte // Extism's store; a handle is an offset into it
	sizes         map[uint64]uint64
}

func compile(t testing.TB, dir string) *module {
	t.Helper()
	out := filepath.Join(t.TempDir(), "m.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	m := &module{runtime: wazero.NewRuntime(ctx)}
	t.Cleanup(func() { m.runtime.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, m.runtime)
	m.exportSluice(t)
	m.exportExtism(t)
	if m.compiled, err = m.runtime.CompileModule(ctx, wasm); err != nil {
		t.Fatal(err)
	}
	return m
}

// function adds a host function whose parameters are typed by letters: i for i32, I for i64.
func function(b wazero.HostModuleBuilder, name, params, results string, f func(mem api.Memory, stack []uint64)) {
	types := func(s string) (out []api.ValueType) {
		for _, c := range s {
			if c == 'I' {
				out = append(out, api.ValueTypeI64)
			} else {
				out = append(out, api.ValueTypeI32)
			}
		}
		return out
	}
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
		f(m.Memory(), stack)
	}), types(params), types(results)).Export(name)
}

// guest returns the range of guest memory that two arguments name.
func guest(mem api.Memory, ptr, size uint64) []byte {
	if size == 0 {
		return nil
	}
	b, ok := mem.Read(uint32(ptr), uint32(size))
	if !ok {
		panic(fake.Trap{Text: "range outside memory"})
	}
	return b
}

func instantiate(t testing.TB, b wazero.HostModuleBuilder) {
	t.Helper()
	if _, err := b.Instantiate(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (m *module) exportSluice(t testing.TB) {
	b := m.runtime.NewHostModuleBuilder(abi.ModuleBatch)
	function(b, "info", "ii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.Info(guest(mem, s[0], s[1])))
	})
	function(b, "read", "iiiii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.Read(uint32(s[0]), uint32(s[1]), uint32(s[2]), guest(mem, s[3], s[4])))
	})
	function(b, "read_part", "iiiii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.ReadPart(uint32(s[0]), uint32(s[1]), uint32(s[2]), guest(mem, s[3], s[4])))
	})
	function(b, "write", "ii", "i", func(mem api.Memory, s []uint64) {
		m.host.Write(guest(mem, s[0], s[1]))
		s[0] = 0
	})
	instantiate(t, b)
	b = m.runtime.NewHostModuleBuilder(abi.ModuleJSON)
	function(b, "paths", "ii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.Paths(guest(mem, s[0], s[1])))
	})
	function(b, "get", "iiiii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.Get(uint32(s[0]), uint32(s[1]), uint32(s[2]), guest(mem, s[3], s[4])))
	})
	instantiate(t, b)
	b = m.runtime.NewHostModuleBuilder(abi.ModuleSchema)
	function(b, "find", "iiii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(uint32(m.host.Find(string(guest(mem, s[0], s[1])), string(guest(mem, s[2], s[3])))))
	})
	function(b, "check", "iiiii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.Check(uint32(s[0]), uint32(s[1]), uint32(s[2]), guest(mem, s[3], s[4])))
	})
	function(b, "errors", "iiii", "i", func(mem api.Memory, s []uint64) {
		s[0] = uint64(m.host.Errors(uint32(s[0]), uint32(s[1]), guest(mem, s[2], s[3])))
	})
	instantiate(t, b)
}

// exportExtism offers what go-pdk uses for input, output and errors.
func (m *module) exportExtism(t testing.TB) {
	b := m.runtime.NewHostModuleBuilder(abi.ModuleExtism)
	function(b, "input_length", "", "I", func(_ api.Memory, s []uint64) { s[0] = uint64(len(m.input)) })
	function(b, "input_load_u8", "I", "i", func(_ api.Memory, s []uint64) { s[0] = uint64(m.input[s[0]]) })
	function(b, "input_load_u64", "I", "I", func(_ api.Memory, s []uint64) { s[0] = load64(m.input, s[0]) })
	function(b, "alloc", "I", "I", func(_ api.Memory, s []uint64) {
		at := uint64(len(m.blocks))
		m.blocks = append(m.blocks, make([]byte, s[0])...)
		m.sizes[at] = s[0]
		s[0] = at
	})
	function(b, "length", "I", "I", func(_ api.Memory, s []uint64) { s[0] = m.sizes[s[0]] })
	function(b, "store_u8", "Ii", "", func(_ api.Memory, s []uint64) { m.blocks[s[0]] = byte(s[1]) })
	function(b, "store_u64", "II", "", func(_ api.Memory, s []uint64) {
		for i := range uint64(8) {
			m.blocks[s[0]+i] = byte(s[1] >> (8 * i))
		}
	})
	function(b, "output_set", "II", "", func(_ api.Memory, s []uint64) { m.output = bytes.Clone(m.blocks[s[0] : s[0]+s[1]]) })
	function(b, "error_set", "I", "", func(_ api.Memory, s []uint64) { m.failure = string(m.blocks[s[0] : s[0]+m.sizes[s[0]]]) })
	instantiate(t, b)
}

func load64(b []byte, at uint64) (v uint64) {
	for i := range uint64(8) {
		v |= uint64(b[at+i]) << (8 * i)
	}
	return v
}

func (m *module) run(t *testing.T, f *sluicetest.Fixture) {
	got, err := m.process(f)
	switch {
	case f.Error != "" && (err == nil || !strings.Contains(err.Error(), f.Error)):
		t.Errorf("got error %v, want one with %q", err, f.Error)
	case f.Error == "" && err != nil:
		t.Error(err)
	case f.Error == "":
		if diff := f.Diff(got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	}
}

// process runs the fixture's batch twice in one instance, which must make no
// difference.
func (m *module) process(f *sluicetest.Fixture) (got []sluicetest.Outcome, err error) {
	set := schemas.Set{}
	for document, topics := range f.Documents {
		for topic, schema := range topics {
			if err := set.Add(document, topic, schema, nil); err != nil {
				return nil, err
			}
		}
	}
	on := "produce"
	if f.Batch.Fetch {
		on = "fetch"
	}
	instance, err := m.start(&fake.Host{Schemas: set, Batch: f.Batch, Records: f.In}, f.Config, on)
	if err != nil {
		return nil, err
	}
	defer instance.Close(context.Background())
	for range 2 {
		m.host.Verdicts = nil
		if err := m.call(instance, abi.ExportProcess, uint64(len(f.In)), uint64(abi.EntriesSize(f.In, abi.FieldsAll))); err != nil {
			return nil, err
		}
	}
	return sluicetest.Outcomes(f.In, m.host.Verdicts)
}

// start instantiates and configures an instance on this host.
func (m *module) start(h *fake.Host, config []byte, on string) (api.Module, error) {
	m.host = h
	m.output, m.failure, m.sizes, m.blocks = nil, "", map[uint64]uint64{}, make([]byte, 8)
	m.input = []byte(`{"config": ` + string(config) + `, "pipeline": "p", "stage": "s", "on": "` + on + `", "host": {"abi": 1, "features": []}}`)
	ctx := context.Background()
	settings := wazero.NewModuleConfig().WithName("").WithStartFunctions(abi.ExportInitialize).WithStderr(os.Stderr).
		WithWalltime(func() (int64, int32) {
			now := m.host.Now()
			return now.Unix(), int32(now.Nanosecond())
		}, 1)
	instance, err := m.runtime.InstantiateModule(ctx, m.compiled, settings)
	if err != nil {
		return nil, err
	}
	if err := m.call(instance, abi.ExportConfigure); err != nil {
		instance.Close(ctx)
		return nil, err
	}
	return instance, nil
}

func (m *module) call(instance api.Module, name string, args ...uint64) error {
	results, err := instance.ExportedFunction(name).Call(context.Background(), args...)
	if err == nil && results[0] != 0 {
		err = errors.New(m.failure)
	}
	return err
}

// BenchmarkCompiled measures the modules' own part: the host here does little,
// and its clock and limits are not a gateway's.
func BenchmarkCompiled(b *testing.B) {
	records := make([]abi.Record, 100)
	for i := range records {
		records[i] = abi.Record{Key: []byte("key-1234"), Value: bytes.Repeat([]byte("v"), 1000), Timestamp: 1767225600000,
			Headers: []abi.Header{{Name: "trace-id", Value: []byte("0123456789abcdef")}}}
	}
	bare := make([]abi.Record, 100)
	for i := range bare {
		bare[i] = abi.Record{Value: []byte("{}")}
	}
	for _, c := range []struct {
		name, dir, config string
		records           []abi.Record
	}{
		{"filter key, all kept", "filter", `{"when": {"field": "key", "prefix": "key-"}}`, records},
		{"filter key, all dropped", "filter", `{"when": {"field": "key", "prefix": "other-"}}`, records},
		{"filter header", "filter", `{"when": {"header": "trace-id", "exists": true}}`, records},
		{"filter value", "filter", `{"when": {"field": "value", "prefix": "v"}}`, records},
		{"validate, no headers", "validate", `{"document": "d"}`, bare},
		{"validate, headers", "validate", `{"document": "d"}`, records},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := compile(b, filepath.Join("../../../plugins", c.dir))
			instance, err := m.start(&fake.Host{Schemas: acceptAll{}, Records: c.records}, []byte(c.config), "produce")
			if err != nil {
				b.Fatal(err)
			}
			defer instance.Close(context.Background())
			size := uint64(abi.EntriesSize(c.records, abi.FieldsAll))
			f := instance.ExportedFunction(abi.ExportProcess)
			stack := make([]uint64, 2)
			b.ReportAllocs()
			for b.Loop() {
				m.host.Verdicts = m.host.Verdicts[:0]
				stack[0], stack[1] = uint64(len(c.records)), size
				if err := f.CallWithStack(context.Background(), stack); err != nil || stack[0] != 0 {
					b.Fatal(err, m.failure)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(c.records)), "ns/record")
		})
	}
}

// acceptAll has a schema for every topic that accepts every value.
type acceptAll struct{}

func (acceptAll) Find(string, string) (fake.Schema, error) { return acceptAll{}, nil }
func (acceptAll) Check([]byte) (abi.Status, []string)      { return abi.StatusValid, nil }
