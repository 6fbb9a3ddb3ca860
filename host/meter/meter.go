package meter

import (
	"errors"
	"fmt"
	"math"
)

// Version changes whenever Rewrite gives other bytes for the same module and options. It belongs into the key of every cache of
// rewritten or compiled modules.
const Version = 1

// Names that link a rewritten module to its host.
const (
	// ImportModule is the module name of the one import that Rewrite adds.
	ImportModule = "sluice:meter"
	// YieldFunction is the name of that import: `(fuel i64) -> (fuel i64)`.
	YieldFunction = "yield"
	// FuelExport is the exported mutable i64 global with the fuel that is left.
	FuelExport = "sluice:meter/fuel"
	// StackExport is the exported mutable i64 global with the bytes of call stack that are left.
	StackExport = "sluice:meter/stack"
	// StartExport is the exported function `() -> ()` that the guest's start section named.
	StartExport = "sluice:meter/start"
)

// StackSpent is passed to the yield function in place of fuel when a call would pass the stack budget. The host ends the
// call by panicking; a host that returns makes the guest trap as at `unreachable`.
const StackSpent = math.MinInt64

// Options are the limits that a module is held to. A zero field means the default given beside it.
type Options struct {
	ModuleSize   int    // bytes of the module; 32 MiB
	MemoryPages  uint32 // pages of 64 KiB: the maximum of the memory is lowered to it; 512 (32 MiB)
	TableEntries uint32 // entries of all tables together, grown ones included; 65,536
	Types        int    // types; 8,192
	Imports      int    // imports; 1,024
	Functions    int    // functions defined in the module; 65,536
	Globals      int    // globals; 4,096
	Exports      int    // exports; 16,384
	Segments     int    // element and data segments, each; 100,000 (Go makes 15,000 for 1 MB of code)
	Elements     int    // entries of all element segments together; 262,144
	FunctionSize int    // bytes of one function's body; 1 MiB
	Locals       int    // parameters and locals of one function; 8,192
	Nesting      int    // blocks, loops and ifs open at a time; 4,096, which wazero compiles in about a second
	Loops        int    // loops among them; 256
	Stack        int64  // bytes of call stack, estimated; 4 MiB
	Fuel         int64  // initial value of the fuel global; 0, so that the first charge yields
}

// withDefaults returns o with its zero fields set.
func (o Options) withDefaults() Options {
	setDefault(&o.ModuleSize, 32<<20)
	setDefault(&o.MemoryPages, 512)
	setDefault(&o.TableEntries, 65536)
	setDefault(&o.Types, 8192)
	setDefault(&o.Imports, 1024)
	setDefault(&o.Functions, 65536)
	setDefault(&o.Globals, 4096)
	setDefault(&o.Exports, 16384)
	setDefault(&o.Segments, 100000)
	setDefault(&o.Elements, 262144)
	setDefault(&o.FunctionSize, 1<<20)
	setDefault(&o.Locals, 8192)
	setDefault(&o.Nesting, 4096)
	setDefault(&o.Loops, 256)
	setDefault(&o.Stack, 4<<20)
	return o
}

func setDefault[T int | uint32 | int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Info describes a rewritten module. Indices are those of the rewritten module.
type Info struct {
	Yield       uint32 // index of the imported yield function
	Fuel        uint32 // index of the fuel global
	Stack       uint32 // index of the stack global
	StackBytes  int64  // what the host sets StackExport to before each call from outside
	Start       bool   // StartExport exists and is to be called first
	Functions   int    // functions that the guest defines
	Helpers     int    // functions appended by Rewrite, the last ones of the module
	MemoryMin   uint32 // pages; 0 without a memory
	MemoryMax   uint32 // pages, at most Options.MemoryPages; 0 without a memory
	TableMax    uint32 // entries that all tables together can come to have
	ChargeSites int    // charges written into the code
}

// Sentinels, for errors.Is. Every error of Rewrite and Verify wraps exactly one of them.
var (
	// ErrMalformed: the bytes are not a valid module.
	ErrMalformed = errors.New("malformed module")
	// ErrUnsupported: the module uses something outside WebAssembly Core 2.0, or something that is refused on purpose
	// (imports other than functions).
	ErrUnsupported = errors.New("not supported")
	// ErrLimit: the module is larger in some respect than Options allow.
	ErrLimit = errors.New("over a limit")
	// ErrReserved: the module uses a name that begins with ImportModule.
	ErrReserved = errors.New("reserved name")
	// ErrUnmetered: Verify found code that is not metered as Rewrite meters it. It is a fault of this package.
	ErrUnmetered = errors.New("not metered")
)

// Error says what is wrong with a module and where. Fields that do not apply are zero.
type Error struct {
	Err      error  // one of the sentinels
	Section  string // "code", "memory", ...
	Function int    // index in the module's function index space as the guest's author knows it; -1 if none
	Name     string // that function's name, if the name section has one
	Operator string // "memory.grow", or a proposal's operator such as "return_call (tail calls)"
	Offset   int    // byte offset in the module that was given
	Detail   string // what is wrong, e.g. "70000 functions, limit 65536"
}

func (e *Error) Error() string {
	s := e.Section
	if e.Function >= 0 {
		s += fmt.Sprintf(" function %d", e.Function)
		if e.Name != "" {
			s += fmt.Sprintf(" (%s)", e.Name)
		}
	}
	if e.Operator != "" {
		s += ": " + e.Operator
	}
	if s != "" {
		s += ": "
	}
	s += e.Err.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return fmt.Sprintf("%s (at byte %d)", s, e.Offset)
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// Rewrite returns a module that does what the given one does, metered and within the options' limits. It keeps nothing of
// wasm, whose bytes it does not change; out shares no memory with it. It takes time and memory linear in the size of
// wasm whatever the bytes are, and it is safe for concurrent use.
//
// Rewrite reads structure, not types: the result of an invalid module is invalid too, or an error. Compile what was given, or
// what comes out, with the runtime before trusting either.
//
// Custom sections are dropped, except for the module's, functions' and locals' names in the name section.
func Rewrite(wasm []byte, opt Options) (out []byte, info Info, err error) {
	m := module{in: wasm, opt: opt.withDefaults()}
	if !m.rewrite() {
		return nil, Info{}, m.err
	}
	m.info.StackBytes = m.opt.Stack
	return m.out, m.info, nil
}

// Verify checks that out, a module made by Rewrite, is metered as info says, without any of Rewrite's code: every function and every loop
// begins with a charge, operators whose work depends on an operand are charged by it, and nothing but
// charges, stack checks and the appended helpers touches the two globals or calls yield.
func Verify(out []byte, info Info) error {
	v := verifier{b: out, info: info}
	if v.run(); v.err != nil {
		return v.err
	}
	return nil
}
