package meter_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/host/meter"
)

// builder puts modules together, valid or not, from parts.
type builder struct{ b []byte }

func newBuilder() *builder { return &builder{b: []byte("\x00asm\x01\x00\x00\x00")} }

func leb(v int) (b []byte) {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func vec(items ...string) string { return string(leb(len(items))) + strings.Join(items, "") }

func sized(s string) string { return string(leb(len(s))) + s }

// section appends a section.
func (m *builder) section(id byte, contents string) *builder {
	m.b = append(append(m.b, id), sized(contents)...)
	return m
}

const (
	tVoid  = "\x60\x00\x00"
	tI32   = "\x60\x00\x01\x7f"
	nop    = "\x01"
	end    = "\x0b"
	vNone  = "\x00" // no locals
	refFun = "\x70"
)

// code is a module with functions of type () -> () with the given code after the locals.
func code(bodies ...string) []byte {
	types, items := make([]string, len(bodies)), make([]string, len(bodies))
	for i, body := range bodies {
		types[i], items[i] = "\x00", sized(body+end)
	}
	return newBuilder().section(1, vec(tVoid)).section(3, vec(types...)).section(10, vec(items...)).b
}

func repeat(s string, n int) []string { return slices.Repeat([]string{s}, n) }

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		module []byte
		opt    meter.Options
		want   error
		text   string // part of the message
	}{
		{"empty", nil, meter.Options{}, meter.ErrMalformed, "no magic number"},
		{"text", []byte("(module)"), meter.Options{}, meter.ErrMalformed, "no magic number"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), meter.Options{}, meter.ErrUnsupported, "component"},
		{"section too long", newBuilder().section(1, "\x05").b, meter.Options{}, meter.ErrMalformed, "type"},
		{"section twice", newBuilder().section(1, vec()).section(1, vec()).b, meter.Options{}, meter.ErrMalformed, "twice"},
		{"out of order", newBuilder().section(3, vec()).section(1, vec()).b, meter.Options{}, meter.ErrMalformed, "order"},
		{"trailing bytes", newBuilder().section(1, vec()+"\x00").b, meter.Options{}, meter.ErrMalformed, "after the last entry"},
		{"tags", newBuilder().section(13, vec("\x00\x00")).b, meter.Options{}, meter.ErrUnsupported, "exception handling"},
		{"struct type", newBuilder().section(1, vec("\x5f\x00")).b, meter.Options{}, meter.ErrUnsupported, "garbage collection"},
		{"memory import", newBuilder().section(2, vec("\x03env\x01m\x02\x00\x01")).b, meter.Options{}, meter.ErrUnsupported, `import of a memory, "m" of module "env"`},
		{"table import", newBuilder().section(2, vec("\x03env\x01t\x01\x70\x00\x01")).b, meter.Options{}, meter.ErrUnsupported, "import of a table"},
		{"global import", newBuilder().section(2, vec("\x03env\x01g\x03\x7f\x00")).b, meter.Options{}, meter.ErrUnsupported, "import of a global"},
		{"tag import", newBuilder().section(2, vec("\x03env\x01g\x04\x00\x00")).b, meter.Options{}, meter.ErrUnsupported, "import of a tag"},
		{"our import", newBuilder().section(1, vec(tVoid)).section(2, vec("\x0csluice:meter\x05yield\x00\x00")).b, meter.Options{}, meter.ErrReserved, "sluice:meter"},
		{"our export", newBuilder().section(1, vec(tVoid)).section(3, vec("\x00")).section(7, vec("\x11sluice:meter/fuel\x00\x00")).section(10, vec("\x02\x00\x0b")).b,
			meter.Options{}, meter.ErrReserved, "sluice:meter/fuel"},
		{"two memories", newBuilder().section(5, vec("\x00\x01", "\x00\x01")).b, meter.Options{}, meter.ErrUnsupported, "multiple memories"},
		{"shared memory", newBuilder().section(5, vec("\x03\x01\x02")).b, meter.Options{}, meter.ErrUnsupported, "threads"},
		{"memory64", newBuilder().section(5, vec("\x04\x01")).b, meter.Options{}, meter.ErrUnsupported, "memory64"},
		{"large memory", newBuilder().section(5, vec("\x00\x81\x04")).b, meter.Options{}, meter.ErrLimit, "513 pages"},
		{"large table", newBuilder().section(4, vec("\x70\x00\x81\x80\x04")).b, meter.Options{}, meter.ErrLimit, "65537 entries"},
		{"large tables", newBuilder().section(4, vec("\x70\x00\x80\x80\x02", "\x6f\x00\x81\x80\x02")).b, meter.Options{}, meter.ErrLimit, "65537 entries"},
		{"table with a value", newBuilder().section(4, vec("\x40\x00\x70\x00\x01\xd0\x70\x0b")).b, meter.Options{}, meter.ErrUnsupported, "initial value"},
		{"extended constant", newBuilder().section(6, vec("\x7f\x00\x41\x01\x41\x01\x6a\x0b")).b, meter.Options{}, meter.ErrUnsupported, "extended constants"},
		{"fuel in a constant", newBuilder().section(6, vec("\x7e\x00\x23\x01\x0b")).b, meter.Options{}, meter.ErrMalformed, "not imported"},
		{"export of fuel", newBuilder().section(7, vec("\x01x\x03\x00")).b, meter.Options{}, meter.ErrMalformed, "global 0"},
		{"element of a helper", newBuilder().section(4, vec("\x70\x00\x01")).section(9, vec("\x00\x41\x00\x0b\x01\x01")).b, meter.Options{}, meter.ErrMalformed, "function index 1"},
		{"start with a result", newBuilder().section(1, vec(tI32)).section(3, vec("\x00")).section(8, "\x00").section(10, vec("\x04\x00\x41\x00\x0b")).b,
			meter.Options{}, meter.ErrMalformed, "start function"},
		{"bodies missing", newBuilder().section(1, vec(tVoid)).section(3, vec("\x00")).b, meter.Options{}, meter.ErrMalformed, "0 function bodies for 1"},
		{"return_call", code(vNone + "\x12\x00"), meter.Options{}, meter.ErrUnsupported, "return_call (tail calls)"},
		{"try", code(vNone + "\x06\x40\x0b"), meter.Options{}, meter.ErrUnsupported, "try (exception handling)"},
		{"atomics", code(vNone + "\xfe\x03\x00"), meter.Options{}, meter.ErrUnsupported, "threads"},
		{"gc", code(vNone + "\xfb\x00\x00"), meter.Options{}, meter.ErrUnsupported, "garbage collection"},
		{"relaxed SIMD", code(vNone + "\xfd\x80\x02"), meter.Options{}, meter.ErrUnsupported, "relaxed SIMD"},
		{"wide arithmetic", code(vNone + "\xfc\x13"), meter.Options{}, meter.ErrUnsupported, "wide arithmetic"},
		{"load from a second memory", code(vNone + "\x41\x00\x28\x42\x01\x00\x1a"), meter.Options{}, meter.ErrUnsupported, "i32.load"},
		{"fuel read", code(vNone + "\x23\x00\x1a"), meter.Options{}, meter.ErrMalformed, "global.get"},
		{"stack written", code(vNone + "\x42\x00\x24\x01"), meter.Options{}, meter.ErrMalformed, "global.set"},
		{"our local", code(vNone + "\x20\x00\x1a"), meter.Options{}, meter.ErrMalformed, "local.get"},
		{"helper called", code(vNone + "\x10\x01"), meter.Options{}, meter.ErrMalformed, "function index 1"},
		{"our type called", code(vNone + "\x41\x00\x11\x01\x00"), meter.Options{}, meter.ErrMalformed, "type index 1"},
		{"our block type", code(vNone + "\x02\x01\x0b"), meter.Options{}, meter.ErrMalformed, "block of type 1"},
		{"label", code(vNone + "\x0c\x01"), meter.Options{}, meter.ErrMalformed, "label 1"},
		{"else alone", code(vNone + "\x05"), meter.Options{}, meter.ErrMalformed, "else"},
		{"no end", newBuilder().section(1, vec(tVoid)).section(3, vec("\x00")).section(10, vec("\x02\x00\x01")).b, meter.Options{}, meter.ErrMalformed, "before its end"},
		{"code after the end", code(vNone + end), meter.Options{}, meter.ErrMalformed, "after the end"},
		{"many locals", code(vec("\xff\xff\xff\xff\x0f\x7f", "\xff\xff\xff\xff\x0f\x7f")), meter.Options{}, meter.ErrLimit, "8589934590 parameters and locals"},
		{"large function", code(vNone + strings.Repeat(nop, 100)), meter.Options{FunctionSize: 100}, meter.ErrLimit, "body of 102 bytes"},
		{"nesting", code(vNone + strings.Repeat("\x02\x40", 4096) + strings.Repeat(end, 4096)), meter.Options{}, meter.ErrLimit, "nesting of 4097"},
		{"loops", code(vNone + strings.Repeat("\x03\x40", 257) + strings.Repeat(end, 257)), meter.Options{}, meter.ErrLimit, "257 loops"},
		{"many functions", code(repeat(vNone, 11)...), meter.Options{Functions: 10}, meter.ErrLimit, "11 functions, limit 10"},
		{"module size", code(vNone), meter.Options{ModuleSize: 10}, meter.ErrLimit, "limit 10"},
		{"segments", newBuilder().section(11, vec(repeat("\x01\x00", 3)...)).b, meter.Options{Segments: 2}, meter.ErrLimit, "3 data segments"},
		{"elements", newBuilder().section(9, vec("\x05\x70"+vec(repeat("\xd0\x70\x0b", 3)...))).b, meter.Options{Elements: 2}, meter.ErrLimit, "3 elements"},
		{"wide blocks", newBuilder().section(1, vec(tVoid, "\x60\x00"+vec(repeat("\x7f", 900)...))).section(3, vec("\x00")).
			section(10, vec(sized(vNone+strings.Repeat("\x02\x01\x00\x0b", 2000)+end))).b, meter.Options{}, meter.ErrLimit, "values pass through"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := meter.Rewrite(test.module, test.opt)
			var typed *meter.Error
			if !errors.Is(err, test.want) || !errors.As(err, &typed) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
}

// TestAtTheLimit checks that what is just within a limit is taken.
func TestAtTheLimit(t *testing.T) {
	tests := []struct {
		name   string
		module []byte
		check  func(info meter.Info) bool
	}{
		{"memory", newBuilder().section(5, vec("\x00\x80\x04")).b, func(i meter.Info) bool { return i.MemoryMin == 512 && i.MemoryMax == 512 }},
		{"memory maximum lowered", newBuilder().section(5, vec("\x01\x01\xff\xff\x03")).b, func(i meter.Info) bool { return i.MemoryMin == 1 && i.MemoryMax == 512 }},
		{"memory maximum kept", newBuilder().section(5, vec("\x01\x01\x07")).b, func(i meter.Info) bool { return i.MemoryMax == 7 }},
		{"table", newBuilder().section(4, vec("\x70\x00\x80\x80\x04")).b, func(i meter.Info) bool { return i.TableMax == 65536 }},
		{"table that cannot grow", newBuilder().section(4, vec("\x70\x01\x05\xff\xff\xff\xff\x0f")).b, func(i meter.Info) bool { return i.TableMax == 5 }},
		{"nesting", code(vNone + strings.Repeat("\x02\x40", 4095) + strings.Repeat(end, 4095)), nil},
		{"loops", code(vNone + strings.Repeat("\x03\x40", 256) + strings.Repeat(end, 256)), nil},
		{"nothing at all", newBuilder().b, func(i meter.Info) bool { return i.Functions == 0 && i.MemoryMax == 0 }},
	}
	rt := newRuntime(t)
	for _, test := range tests {
		out, info, err := meter.Rewrite(test.module, meter.Options{})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if test.check != nil && !test.check(info) {
			t.Errorf("%s: info %+v", test.name, info)
		}
		if err := meter.Verify(out, info); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if _, err := rt.CompileModule(t.Context(), out); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestVerifyFindsWhatIsMissing breaks a rewritten module, each byte of its code in turn, and expects the verifier to see
// it wherever a charge, a check or a stack budget was.
func TestVerifyFindsWhatIsMissing(t *testing.T) {
	for _, name := range []string{"loops", "deep", "bulk"} {
		wasm, err := os.ReadFile("testdata/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		out, info, err := meter.Rewrite(wasm, meter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := meter.Verify(out, info); err != nil {
			t.Fatal(err)
		}
		fuel, stack := byte(info.Fuel), byte(info.Stack)
		broken := 0
		for i := len(out) / 3; i+1 < len(out); i++ {
			if (out[i] == 0x24 || out[i] == 0x23) && (out[i+1] == fuel || out[i+1] == stack) && out[i-1] != 0 {
				bad := slices.Clone(out)
				bad[i], bad[i+1] = 0x01, 0x01 // nop nop
				if err := meter.Verify(bad, info); !errors.Is(err, meter.ErrUnmetered) {
					t.Errorf("%s: access to a global at byte %d is gone, and Verify says %v", name, i, err)
				}
				broken++
			}
		}
		t.Logf("%s: %d sites", name, broken)
		for _, wrong := range []func(*meter.Info){func(i *meter.Info) { i.Fuel++ }, func(i *meter.Info) { i.Stack-- }, func(i *meter.Info) { i.Yield++ },
			func(i *meter.Info) { i.Functions++ }, func(i *meter.Info) { i.Helpers-- }, func(i *meter.Info) { i.MemoryMax++ }, func(i *meter.Info) { i.TableMax++ }} {
			other := info
			wrong(&other)
			if err := meter.Verify(out, other); !errors.Is(err, meter.ErrUnmetered) {
				t.Errorf("%s: Verify with info %+v: %v", name, other, err)
			}
		}
	}
}
