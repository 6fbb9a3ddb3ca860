package meter

import (
	"context"
	"fmt"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// immediates gives bytes that make a valid immediate of each kind in the module that opModule builds.
var immediates = map[imm][]byte{
	immBlock: {blockEmpty, opEnd}, immLabel: {0}, immTable: {1, 0, 0}, immFunc: {0}, immIndirect: {0, 0}, immTypes: {1, typeI32},
	immIndex: {0}, immIndex2: {0, 0}, immData: {0}, immMem: {0}, immMem2: {0, 0}, immDataMem: {0, 0}, immMemArg: {0, 0}, immLane: {0},
	immMemLane: {0, 0, 0}, immI32: {0}, immI64: {0}, imm4: make([]byte, 4), imm8: make([]byte, 8), imm16: make([]byte, 16), immRef: {typeFuncRef},
}

// opModule builds a module with one function: unreachable, so that any operands are there, then the given bytes.
func opModule(code []byte) []byte {
	body := append(append([]byte{1, 1, typeI32, opUnreachable}, code...), opUnreachable, opEnd)
	m := append([]byte{}, header...)
	m = section(m, secType, []byte{1, typeFunc, 0, 0})
	m = section(m, secFunction, []byte{1, 0})
	m = section(m, secTable, []byte{1, typeFuncRef, 0, 1})
	m = section(m, secMemory, []byte{1, 0, 1})
	m = section(m, secGlobal, []byte{1, typeI32, 1, opI32Const, 0, opEnd})
	m = section(m, secElement, []byte{1, 1, 0, 1, 0})
	m = section(m, secDataCount, []byte{1})
	m = section(m, secCode, appendU32([]byte{1}, uint32(len(body))), body)
	return section(m, secData, []byte{1, 1, 0})
}

// TestOperators compares the tables with what wazero takes, for every opcode.
func TestOperators(t *testing.T) {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	defer rt.Close(ctx)
	accepted := 0
	for _, prefix := range []int{0, opMisc, opSIMD} {
		for n := range 0x180 {
			var code []byte
			switch {
			case prefix != 0:
				code = appendU32([]byte{byte(prefix)}, uint32(n))
			case n > 0xff || n == opMisc || n == opSIMD || n == opElse || n == opEnd:
				continue
			default:
				code = []byte{byte(n)}
			}
			r := reader{b: append(code, 0)}
			_, op := r.next()
			module := opModule(append(code, immediates[op.imm]...))
			if op.name == "select" && op.imm == immNone {
				module = opModule([]byte{opI32Const, 0, opI32Const, 0, opI32Const, 0, opSelect, opDrop})
			}
			compiled, want := rt.CompileModule(ctx, module)
			out, info, got := Rewrite(module, Options{})
			if (want == nil) != (got == nil) {
				t.Errorf("%x %s: rewriting says %v, wazero %v", code, op.name, got, want)
				continue
			}
			if got != nil {
				continue
			}
			accepted++
			compiled.Close(ctx)
			if err := Verify(out, info); err != nil {
				t.Errorf("%x %s: %v", code, op.name, err)
			}
			if compiled, err := rt.CompileModule(ctx, out); err != nil {
				t.Errorf("%x %s, rewritten: %v", code, op.name, err)
			} else {
				compiled.Close(ctx)
			}
		}
	}
	// else and end are in every module of the other tests.
	if want := 435; accepted != want {
		t.Errorf("%d operators accepted, want %d", accepted, want)
	}
}

func TestNumbers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 127, 128, 8191, 8192, 1 << 31, -1 << 31, 1<<32 - 1, 1<<63 - 1, -1 << 63} {
		r := reader{b: appendS64(nil, v)}
		if got := r.signed(64); got != v || r.bad || r.left() != 0 {
			t.Errorf("signed(appendS64(%d)) = %d, bad %v, %d bytes left", v, got, r.bad, r.left())
		}
	}
	for _, v := range []uint32{0, 1, 127, 128, 16383, 16384, 1 << 31, 1<<32 - 1} {
		r := reader{b: appendU32(nil, v)}
		if got := r.u32(); got != v || r.bad || r.left() != 0 {
			t.Errorf("u32(appendU32(%d)) = %d, bad %v, %d bytes left", v, got, r.bad, r.left())
		}
	}
	for _, v := range []int{0, 1, 127, 128, 4000, 16384, maxAmount} {
		var b [3]byte
		putAmount(b[:], v)
		r := reader{b: b[:]}
		if got := r.signed(64); got != int64(v) || r.bad || r.left() != 0 {
			t.Errorf("signed(putAmount(%d)) = %d, bad %v, %d bytes left", v, got, r.bad, r.left())
		}
	}
	for _, bad := range []string{"", "\x80", "\xff\xff\xff\xff\x1f", "\x80\x80\x80\x80\x80\x00"} {
		if r := (reader{b: []byte(bad)}); r.u32() != 0 || !r.bad {
			t.Errorf("u32 of %x is taken", bad)
		}
	}
	for _, bad := range []string{"", "\x80", "\xff\xff\xff\xff\x3f", "\x80\x80\x80\x80\x40", "\x80\x80\x80\x80\x80\x00"} {
		if r := (reader{b: []byte(bad)}); r.signed(32) != 0 || !r.bad {
			t.Errorf("signed(32) of %x is taken", bad)
		}
	}
}

// TestEntryAmounts checks what straight code, branches and loops are charged, in units.
func TestEntryAmounts(t *testing.T) {
	adds := func(n int) (code []byte) {
		for range n {
			code = append(code, opLocalGet, 0, opLocalSet, 0) // costs 1
		}
		return code
	}
	ifs := append(append([]byte{opLocalGet, 0, opIf, blockEmpty}, adds(30)...), opElse)
	ifs = append(append(ifs, adds(50)...), opEnd)
	loop := append(append([]byte{opLoop, blockEmpty}, adds(40)...), opLocalGet, 0, opBrIf, 0, opEnd)
	tests := []struct {
		name  string
		code  []byte
		total int // all amounts in the function
	}{
		{"straight", adds(100), 100},
		{"long", adds(1000), 1000},
		{"the dearer branch", ifs, 51},
		{"loop", loop, 41 + 1 + 41}, // at the head 40 + br_if + 1; at the entry what comes after the head
	}
	for _, test := range tests {
		out, _, err := Rewrite(plainModule(test.code), Options{})
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := amounts(out); got != test.total {
			t.Errorf("%s: charges of %d in all, want %d", test.name, got, test.total)
		}
	}
}

// plainModule has one function with one local of type i32.
func plainModule(code []byte) []byte {
	body := append(append([]byte{1, 1, typeI32}, code...), opEnd)
	m := section(append([]byte{}, header...), secType, []byte{1, typeFunc, 0, 0})
	m = section(m, secFunction, []byte{1, 0})
	return section(m, secCode, appendU32([]byte{1}, uint32(len(body))), body)
}

// amounts adds the charges of the first function of a module without globals of its own.
func amounts(out []byte) (sum int) {
	r := reader{b: out, pos: 8}
	for r.left() > 0 {
		id, body := r.byte(), r.sub(r.u32())
		if id != secCode {
			continue
		}
		body.u32()
		f := body.sub(body.u32())
		for i := f.pos; i+7 < len(f.b); i++ {
			if f.b[i] == opGlobalGet && f.b[i+1] == 0 && f.b[i+2] == opI64Const && f.b[i+6] == opI64Sub {
				amount := reader{b: f.b, pos: i + 3}
				sum += int(amount.signed(64))
			}
		}
	}
	return sum
}

func ExampleError() {
	body := []byte{1, 0, 5, 0, 0x12, 0, opEnd} // return_call
	m := section(append([]byte{}, header...), secType, []byte{1, typeFunc, 0, 0})
	m = section(m, secFunction, []byte{1, 0})
	m = section(m, secCode, append([]byte{1, 4}, body[3:]...))
	_, _, err := Rewrite(m, Options{})
	fmt.Println(err)
	// Output: code function 0: return_call (tail calls): not supported: only WebAssembly Core 2.0 is accepted (at byte 23)
}
