package host

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host/meter"
)

// Module is a checked and compiled module. Stages hold on to what they need of it, so that it may be closed as soon
// as they are made. It is for use by many goroutines at once.
type Module struct {
	name     string
	digest   [32]byte
	manifest *abi.Manifest
	imports  []string
	code     *code
}

// code is compiled code, shared by all modules of one digest and all their stages. It is freed with its last reference.
type code struct {
	host     *Host
	digest   [32]byte
	refs     int // under Host.mu
	compiled wazero.CompiledModule
	info     meter.Info
}

// Compile checks a module, meters it and compiles it. No code of it runs. name is for errors. Compile keeps nothing of wasm. Errors that lie in
// the module wrap ErrModule and say what its author can do.
func (h *Host) Compile(ctx context.Context, name string, wasm []byte) (*Module, error) {
	m, err := h.compile(ctx, name, wasm)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	return m, nil
}

func (h *Host) compile(ctx context.Context, name string, wasm []byte) (*Module, error) {
	m := &Module{name: name, digest: sha256.Sum256(wasm)}
	imports, err := abi.Imports(wasm)
	if err != nil {
		return nil, unusable("%w", err)
	}
	if m.imports, err = checkImports(imports); err != nil {
		return nil, err
	}
	if err := checkMarker(wasm); err != nil {
		return nil, err
	}
	if m.manifest, err = abi.ReadManifest(wasm); err != nil {
		return nil, unusable("custom section %s: %w", abi.ManifestSection, err)
	}
	if m.code, err = h.codeOf(ctx, m.digest, wasm); err != nil {
		return nil, err
	}
	return m, nil
}

// codeOf returns a reference to the compiled code of a module.
func (h *Host) codeOf(ctx context.Context, digest [32]byte, wasm []byte) (*code, error) {
	h.mu.Lock()
	if c := h.codes[digest]; c != nil {
		c.refs++
		h.mu.Unlock()
		return c, nil
	}
	h.mu.Unlock()

	metered, info, err := meter.Rewrite(wasm, meter.Options{MemoryPages: MaxMemory / pageSize})
	if err != nil {
		return nil, unusable("%w", err)
	}
	if err := meter.Verify(metered, info); err != nil {
		return nil, fmt.Errorf("meter: %w", err) // our mistake, not the module's
	}
	compiled, err := h.runtime.CompileModule(ctx, metered)
	if err != nil {
		return nil, unusable("%w", err)
	}
	if err := checkTypes(compiled); err != nil {
		_ = compiled.Close(ctx)
		return nil, err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.codes[digest]; c != nil { // somebody else was quicker
		_ = compiled.Close(ctx)
		c.refs++
		return c, nil
	}
	c := &code{host: h, digest: digest, refs: 1, compiled: compiled, info: info}
	h.codes[digest] = c
	return c, nil
}

func (c *code) retain() {
	c.host.mu.Lock()
	c.refs++
	c.host.mu.Unlock()
}

// release gives one reference back.
func (c *code) release(ctx context.Context) error {
	c.host.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last {
		delete(c.host.codes, c.digest)
	}
	c.host.mu.Unlock()
	if !last {
		return nil
	}
	return c.compiled.Close(ctx)
}

// Name returns the name given to Compile.
func (m *Module) Name() string { return m.name }

// Digest returns the SHA-256 of the module's bytes as they were given to Compile.
func (m *Module) Digest() [32]byte { return m.digest }

// Manifest returns what the module says about itself, nil if it says nothing. It must not be changed.
func (m *Module) Manifest() *abi.Manifest { return m.manifest }

// Imports returns the names of the import modules that it uses, sorted. It must not be changed.
func (m *Module) Imports() []string { return m.imports }

// Close releases the module; stages that were made of it live on. It must be called once.
func (m *Module) Close(ctx context.Context) error { return m.code.release(ctx) }

// unusable makes an error that wraps ErrModule.
func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrModule, fmt.Errorf(format, args...))
}

// checkImports checks the names of a module's imports and returns the modules among them, sorted.
func checkImports(imports []abi.Import) ([]string, error) {
	var modules []string
	for _, imp := range imports {
		if imp.Kind != abi.ImportFunc {
			return nil, unusable("it imports the %s %q.%q: only functions may be imported; a module defines its own memory (drop the linker's --import-memory)",
				kindName(imp.Kind), imp.Module, imp.Name)
		}
		m := findModule(imp.Module)
		if m == nil {
			return nil, unusable("it imports %q.%q, and this host has no module %q; it has %s",
				imp.Module, imp.Name, imp.Module, strings.Join(moduleNames(), ", "))
		}
		if m.find(imp.Name) == nil {
			return nil, unusable("it imports %q.%q, and module %q of this host has no such function; it has %s",
				imp.Module, imp.Name, imp.Module, strings.Join(m.functionNames(), ", "))
		}
		if !slices.Contains(modules, imp.Module) {
			modules = append(modules, imp.Module)
		}
	}
	slices.Sort(modules)
	return modules, nil
}

func kindName(k abi.ImportKind) string {
	switch k {
	case abi.ImportTable:
		return "table"
	case abi.ImportMemory:
		return "memory"
	case abi.ImportGlobal:
		return "global"
	}
	return fmt.Sprintf("kind %d", k)
}

// checkTypes checks a compiled module's imports and exports against what the ABI says.
func checkTypes(compiled wazero.CompiledModule) error {
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if module == meter.ImportModule {
			continue
		}
		want := findModule(module).find(name)
		if !slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), want.results) {
			return unusable("it imports %q.%q as %s, and its type is %s",
				module, name, signature(f.ParamTypes(), f.ResultTypes()), signature(want.params, want.results))
		}
	}
	exports := compiled.ExportedFunctions()
	if err := checkExport(exports, abi.ExportProcess, true, []api.ValueType{i32, i32}, []api.ValueType{i32}); err != nil {
		return err
	}
	if err := checkExport(exports, abi.ExportConfigure, false, nil, []api.ValueType{i32}); err != nil {
		return err
	}
	if err := checkExport(exports, abi.ExportInitialize, false, nil, nil); err != nil {
		return err
	}
	if compiled.ExportedMemories()[abi.ExportMemory] == nil {
		return unusable("it exports no memory named %q", abi.ExportMemory)
	}
	return nil
}

func checkExport(exports map[string]api.FunctionDefinition, name string, required bool, params, results []api.ValueType) error {
	f := exports[name]
	switch {
	case f == nil && !required:
		return nil
	case f == nil:
		hint := ""
		if exports["_start"] != nil {
			hint = `; it exports "_start", so it was built as a command: build it as a library (Go: -buildmode=c-shared)`
		}
		return unusable("it exports no function %q%s", name, hint)
	case !slices.Equal(f.ParamTypes(), params) || !slices.Equal(f.ResultTypes(), results):
		return unusable("it exports %q as %s, and its type is %s", name, signature(f.ParamTypes(), f.ResultTypes()), signature(params, results))
	}
	return nil
}

// signature spells a function type as the specification does: "(i32, i32) -> i32".
func signature(params, results []api.ValueType) string {
	list := func(types []api.ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = api.ValueTypeName(t)
		}
		return strings.Join(names, ", ")
	}
	if len(results) == 1 {
		return fmt.Sprintf("(%s) -> %s", list(params), list(results))
	}
	return fmt.Sprintf("(%s) -> (%s)", list(params), list(results))
}
