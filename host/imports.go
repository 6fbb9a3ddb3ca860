package host

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/tetratelabs/wazero/api"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host/meter"
	"github.com/sluicegate/sluice/host/wasi"
)

// importModule is one module that guests may import from: a capability.
type importModule struct {
	name      string
	always    bool // granted without being named in StageConfig.Grants
	hidden    bool // not for guests: the meter's own
	functions []hostFunction
}

// hostFunction is one function of an import module. call reads its arguments from stack and writes its result to stack[0]. It ends the guest's
// call by panicking with a *fault.
type hostFunction struct {
	name            string
	params, results []api.ValueType
	call            func(in *instance, stack []uint64)
}

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

// types spells a list of value types: "iI" is i32, i64.
func types(s string) []api.ValueType {
	out := make([]api.ValueType, len(s))
	for i, c := range s {
		out[i] = i32
		if c == 'I' {
			out[i] = i64
		}
	}
	return out
}

// fn makes a row of a table of host functions.
func fn(name, params, results string, call func(in *instance, stack []uint64)) hostFunction {
	return hostFunction{name: name, params: types(params), results: types(results), call: call}
}

// importModules is all that a guest can import. abi/README.md section 1 is the same list.
var importModules = []*importModule{
	{name: abi.ModuleBatch, always: true, functions: batchFunctions},
	{name: abi.ModuleJSON, always: true, functions: jsonFunctions},
	{name: abi.ModuleSchema, always: true, functions: schemaFunctions},
	{name: abi.ModuleExtism, always: true, functions: extismFunctions},
	{name: abi.ModuleWASI, always: true, functions: wasiFunctions()},
	{name: meter.ImportModule, hidden: true, functions: []hostFunction{fn(meter.YieldFunction, "I", "I", meterYield)}},
}

func findModule(name string) *importModule {
	for _, m := range importModules {
		if m.name == name && !m.hidden {
			return m
		}
	}
	return nil
}

func moduleNames() []string {
	var names []string
	for _, m := range importModules {
		if !m.hidden {
			names = append(names, m.name)
		}
	}
	return names
}

// features are the import modules that the guest is told of.
func features() []string {
	return slices.DeleteFunc(moduleNames(), func(name string) bool { return name == abi.ModuleExtism || name == abi.ModuleWASI })
}

func (m *importModule) find(name string) *hostFunction {
	for i := range m.functions {
		if m.functions[i].name == name {
			return &m.functions[i]
		}
	}
	return nil
}

func (m *importModule) functionNames() []string {
	names := make([]string, len(m.functions))
	for i := range m.functions {
		names[i] = m.functions[i].name
	}
	return names
}

// adapt makes the function that the runtime calls. It finds the instance in the context, which is always the instance's own, and tells the
// guest's mistakes (a *fault passes) from ours (any other panic becomes one with CauseHostBug).
func (f *hostFunction) adapt(module string) api.GoModuleFunc {
	call, name := f.call, module+" "+f.name
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		in := ctx.(*guestContext).in
		in.function = name
		defer rethrow(name)
		call(in, stack)
	}
}

// rethrow is deferred around each host function.
func rethrow(name string) {
	switch r := recover().(type) {
	case nil:
	case *fault:
		panic(r)
	default:
		panic(&fault{cause: CauseHostBug, text: fmt.Sprintf("%s: panic in the host, which is a bug of Sluice: %v", name, r), trace: string(debug.Stack())})
	}
}

// fault ends a guest's call from inside a host function.
type fault struct {
	cause Cause
	text  string
	trace string
	err   error
}

func (f *fault) Error() string { return f.text }

// refuse ends the call because of arguments that the ABI does not allow.
func (in *instance) refuse(format string, args ...any) {
	panic(&fault{cause: CauseABI, text: in.function + ": " + fmt.Sprintf(format, args...)})
}

// view returns the guest's memory from ptr on, n bytes. It is valid until the host function returns.
func (in *instance) view(ptr, n uint64) []byte {
	if uint32(n) == 0 {
		return nil // always inside, wherever it is
	}
	b, ok := in.memory.Read(uint32(ptr), uint32(n))
	if !ok {
		in.refuse("%d bytes at %d: memory has %d", uint32(n), uint32(ptr), in.memory.Size())
	}
	return b
}

// span returns the records first to first+count-1 of the batch under way.
func (in *instance) span(first, count uint64) []abi.Record {
	f, n := uint64(uint32(first)), uint64(uint32(count))
	if f+n > uint64(len(in.records)) {
		in.refuse("records %d to %d: the batch has %d", f, f+n-1, len(in.records))
	}
	return in.records[f : f+n]
}

// only ends the call unless the guest is in this phase.
func (in *instance) only(p phase) {
	if in.phase != p {
		in.refuse("only during %s", p)
	}
}

// reply writes b at ptr if it fits into capacity bytes and returns the number of bytes it takes: the way of all functions that read.
func (in *instance) reply(stack []uint64, b []byte, ptr, capacity uint64) {
	in.charge(copyCost(len(b)))
	dst := in.view(ptr, capacity)
	if len(b) <= len(dst) {
		copy(dst, b)
	}
	stack[0] = uint64(len(b))
}

// Costs of host functions in fuel, on top of the instructions of the call itself.
const (
	costCall      = 50  // any host function that does something
	costRecord    = 20  // for each record looked at
	costPathValue = 10  // for each path and record
	costCheck     = 500 // for each record judged
)

// copyCost is the fuel for copying n bytes, or encoding them.
func copyCost(n int) int64 { return costCall + int64(n)/8 }

// parseCost is the fuel for walking over n bytes.
func parseCost(n int) int64 { return costRecord + 2*int64(n) }

func wasiFunctions() []hostFunction {
	out := make([]hostFunction, len(wasi.Functions))
	for i, f := range wasi.Functions {
		results := "i"
		if f.NoResult {
			results = ""
		}
		out[i] = fn(f.Name, f.Params, results, func(in *instance, stack []uint64) {
			in.charge(costCall)
			errno := f.Call(in, in.memory, stack)
			if !f.NoResult {
				stack[0] = uint64(errno)
			}
		})
	}
	return out
}
