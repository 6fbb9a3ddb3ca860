package meter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// The verifier shares no code with the rewriter: it has its own decoder and its own idea of each sequence. It looks at
// instructions only, not at paths, so what it proves is that every entry and every loop charges something and asks, that calls carry
// the stack budget, that bulk operators are charged, and that nothing else can reach the globals and the yield function. That
// amounts are large enough is the rewriter's word.

// instr is an instruction with its first two immediates.
type instr struct {
	op   int // prefix<<8 | opcode
	a, b int64
	at   int
}

// verifier reads the rewritten module.
type verifier struct {
	b         []byte
	pos       int
	bad       bool
	info      Info
	err       *Error
	code      []instr
	yieldType int64
}

// complain records the first fault.
func (v *verifier) complain(at, function int, format string, args ...any) {
	if v.err == nil {
		v.err = &Error{Err: ErrUnmetered, Section: "verify", Function: function, Offset: at, Detail: fmt.Sprintf(format, args...)}
	}
}

// need complains unless ok.
func (v *verifier) need(ok bool, what string) {
	if !ok {
		v.complain(v.pos, -1, "%s", what)
	}
}

func (v *verifier) skip(n uint64) []byte {
	if v.bad || n > uint64(len(v.b)-v.pos) {
		v.bad = true
		return nil
	}
	v.pos += int(n)
	return v.b[v.pos-int(n) : v.pos]
}

func (v *verifier) u() uint64 {
	n, size := binary.Uvarint(v.b[v.pos:])
	if size <= 0 || v.bad {
		v.bad = true
		return 0
	}
	v.pos += size
	return n
}

func (v *verifier) s() (n int64) {
	for shift := 0; shift < 70; shift += 7 {
		c := v.skip(1)
		if v.bad {
			return 0
		}
		if n |= int64(c[0]&0x7f) << shift; c[0] < 0x80 {
			if c[0]&0x40 != 0 && shift < 57 {
				n |= -1 << (shift + 7)
			}
			return n
		}
	}
	v.bad = true
	return 0
}

// times runs f as often as the next number says, or until something is wrong.
func (v *verifier) times(f func(i int)) int {
	n := v.u()
	for i := range n {
		if f(int(i)); v.bad || v.err != nil {
			break
		}
	}
	return int(n)
}

// run looks at every section.
func (v *verifier) run() {
	if v.pos = 8; len(v.b) < 8 {
		v.bad, v.pos = true, 0
	}
	seen := [256]bool{}
	for v.pos < len(v.b) && !v.bad && v.err == nil {
		id := v.b[v.pos]
		v.pos++
		size := v.u()
		start := v.pos
		v.need(id == 0 || !seen[id], "section appears twice")
		seen[id] = true
		switch id {
		case 1:
			v.types()
		case 2:
			v.imports()
		case 4:
			v.tables()
		case 5:
			v.memory()
		case 6:
			v.globals()
		case 7:
			v.exports()
		case 8:
			v.complain(start, -1, "start section")
		case 9:
			v.elements()
		case 10:
			v.bodies()
		default:
			v.skip(size)
		}
		if !v.bad && v.err == nil && uint64(v.pos-start) != size {
			v.complain(start, -1, "section %d has another size than its contents", id)
		}
	}
	if v.bad {
		v.complain(v.pos, -1, "bytes are missing")
	}
	v.need(seen[2] && seen[6] && seen[7] && seen[10], "no section of imports, globals, exports or code")
	v.need(seen[4] || v.info.TableMax == 0, "no tables")
}

func (v *verifier) types() {
	n := v.times(func(i int) {
		v.skip(1)
		from := v.pos
		v.skip(v.u())
		v.skip(v.u())
		if !v.bad && bytes.Equal(v.b[from:v.pos], []byte{1, 0x7e, 1, 0x7e}) {
			v.yieldType = int64(i) // the last one is ours
		}
	})
	v.need(v.yieldType < int64(n), "type of the yield function")
}

func (v *verifier) imports() {
	n := v.times(func(i int) {
		mod, name := string(v.skip(v.u())), string(v.skip(v.u()))
		kind := v.skip(1)
		typ := v.u()
		v.need(!v.bad && kind[0] == 0, "import that is no function")
		ours := strings.HasPrefix(mod, "sluice:meter")
		v.need(ours == (i == int(v.info.Yield)), "yield function in another place of the imports")
		v.need(!ours || mod == "sluice:meter" && name == "yield" && int64(typ) == v.yieldType, "yield function of another name or type")
	})
	v.need(n == int(v.info.Yield)+1, "imports after the yield function")
}

func (v *verifier) tables() {
	total := uint64(0)
	v.times(func(int) {
		v.skip(1)
		v.need(v.u() == 1, "table without a maximum")
		v.u()
		total += v.u()
	})
	v.need(total == uint64(v.info.TableMax), "tables have another maximum")
}

func (v *verifier) memory() {
	v.times(func(int) {
		v.need(v.u() == 1, "memory without a maximum")
		v.need(v.u() == uint64(v.info.MemoryMin) && v.u() == uint64(v.info.MemoryMax), "memory has another size")
	})
}

func (v *verifier) globals() {
	n := v.times(func(i int) {
		head := v.skip(2)
		ours := i == int(v.info.Fuel) || i == int(v.info.Stack)
		v.need(v.bad || !ours || bytes.Equal(head, []byte{0x7e, 1}), "global of another type")
		v.constant()
	})
	v.need(int(v.info.Fuel) == n-2 && int(v.info.Stack) == n-1, "globals in another place")
}

// constant reads a constant expression, which must not name our functions or globals.
func (v *verifier) constant() {
	for !v.bad && v.err == nil {
		in := v.instr()
		v.need(in.op != 0xd2 || v.guests(in.a), "constant names a function that is not the guest's")
		v.need(in.op != 0x23 || !v.ours(in.a), "constant names a global that is not the guest's")
		if in.op == 0x0b {
			return
		}
	}
}

// guests reports whether function f is neither yield nor a helper; ours whether global g is fuel or stack.
func (v *verifier) guests(f int64) bool {
	return f >= 0 && f != int64(v.info.Yield) && f < int64(v.info.Yield)+1+int64(v.info.Functions)
}

func (v *verifier) ours(g int64) bool { return g == int64(v.info.Fuel) || g == int64(v.info.Stack) }

func (v *verifier) exports() {
	want := map[string][2]uint64{"sluice:meter/fuel": {3, uint64(v.info.Fuel)}, "sluice:meter/stack": {3, uint64(v.info.Stack)}}
	v.times(func(int) {
		name := string(v.skip(v.u()))
		kind := v.skip(1)
		index := v.u()
		if v.bad {
			return
		}
		if w, ok := want[name]; ok {
			v.need(w == [2]uint64{uint64(kind[0]), index}, "export "+name+" names something else")
			delete(want, name)
			return
		}
		v.need(!strings.HasPrefix(name, "sluice:meter") || name == "sluice:meter/start" && v.info.Start && kind[0] == 0, "export "+name)
		v.need(kind[0] != 3 || !v.ours(int64(index)), "fuel or stack exported under another name")
		v.need(kind[0] != 0 || v.guests(int64(index)), "function exported that is not the guest's")
	})
	v.need(len(want) == 0, "fuel or stack is not exported")
}

func (v *verifier) elements() {
	v.times(func(int) {
		flags := v.u()
		if flags&1 == 0 {
			if flags&2 != 0 {
				v.u()
			}
			v.constant()
		}
		if flags&3 != 0 {
			v.skip(1)
		}
		v.times(func(int) {
			if flags&4 != 0 {
				v.constant()
			} else {
				v.need(v.guests(int64(v.u())), "element that is not the guest's function")
			}
		})
	})
}

func (v *verifier) bodies() {
	first := int(v.info.Yield) + 1
	n := v.times(func(i int) {
		size := v.u()
		end := v.pos + int(min(size, 1<<40))
		if i >= v.info.Functions {
			v.helper(i-v.info.Functions, v.skip(size))
			return
		}
		locals := uint64(0)
		v.times(func(int) {
			locals += v.u()
			v.skip(1)
		})
		v.code = v.code[:0]
		for v.pos < end && !v.bad {
			v.code = append(v.code, v.instr())
		}
		v.function(first+i, int(size))
	})
	v.need(n == v.info.Functions+v.info.Helpers && v.info.Helpers == 6, "number of functions")
}

// instr reads one instruction.
func (v *verifier) instr() (in instr) {
	in.at = v.pos
	op := v.skip(1)
	if v.bad {
		return in
	}
	in.op = int(op[0])
	switch {
	case in.op == 0xfc || in.op == 0xfd:
		n := v.u()
		in.op = in.op<<8 | int(min(n, 0xff))
		if v.need(n < 0x100, "operator outside Core 2.0"); in.op>>8 == 0xfc {
			v.miscImmediates(&in)
		} else {
			v.vectorImmediates(int(n))
		}
	case in.op >= 0x02 && in.op <= 0x04, in.op == 0x41, in.op == 0x42:
		in.a = v.s()
	case in.op == 0x0e:
		v.times(func(int) { v.u() })
		v.u()
	case in.op == 0x0c, in.op == 0x0d, in.op == 0x10, in.op >= 0x20 && in.op <= 0x26, in.op == 0xd2, in.op == 0x3f, in.op == 0x40:
		in.a = int64(v.u())
	case in.op == 0x11, in.op >= 0x28 && in.op <= 0x3e:
		in.a, in.b = int64(v.u()), int64(v.u())
	case in.op == 0x1c:
		v.skip(v.u())
	case in.op == 0x43:
		v.skip(4)
	case in.op == 0x44:
		v.skip(8)
	case in.op == 0xd0:
		v.skip(1)
	case in.op >= 0x06 && in.op <= 0x0a, in.op >= 0x12 && in.op <= 0x19, in.op == 0x1d, in.op == 0x1e, in.op == 0x1f, in.op == 0x27, in.op > 0xc4 && in.op != 0xd1:
		v.complain(in.at, -1, "operator %#x outside Core 2.0", in.op)
	}
	return in
}

func (v *verifier) miscImmediates(in *instr) {
	switch n := in.op & 0xff; {
	case n <= 7:
	case n == 8 || n == 10 || n == 12 || n == 14:
		in.a, in.b = int64(v.u()), int64(v.u())
	case n <= 17:
		in.a = int64(v.u())
	default:
		v.complain(in.at, -1, "operator 0xfc %#x outside Core 2.0", n)
	}
}

func (v *verifier) vectorImmediates(n int) {
	switch {
	case n <= 11 || n == 92 || n == 93:
		v.u()
		v.u()
	case n == 12 || n == 13:
		v.skip(16)
	case n >= 21 && n <= 34:
		v.skip(1)
	case n >= 84 && n <= 91:
		v.u()
		v.u()
		v.skip(1)
	}
}

// any stands for an immediate that may be anything not negative; the local that it stands for is returned.
const anyImmediate = -1 << 62

// match reports whether the instructions from i on are the given ones, as pairs of operator and first immediate.
func (v *verifier) match(i int, want ...int64) bool {
	if i < 0 || i+len(want)/2 > len(v.code) {
		return false
	}
	for k := 0; k < len(want); k += 2 {
		in := v.code[i+k/2]
		if in.op != int(want[k]) || want[k+1] != anyImmediate && in.a != want[k+1] || want[k+1] == anyImmediate && in.a < 0 {
			return false
		}
	}
	return true
}

// function checks the instructions of the guest's function f, whose body has size bytes.
func (v *verifier) function(f, size int) {
	if v.bad || v.err != nil {
		return
	}
	fuel, stack := int64(v.info.Fuel), int64(v.info.Stack)
	helper := int64(v.info.Yield) + 1 + int64(v.info.Functions)
	debit := []int64{0x23, fuel, 0x42, anyImmediate, 0x7d, 0, 0x24, fuel}
	ask := append(append([]int64{}, debit...), 0x23, fuel, 0x42, 0, 0x59, 0, 0x04, -64, 0x05, 0, 0x10, helper, 0x0b, 0)
	i, kept := 0, int64(-1) // kept is the local with the stack that is left
	charged := v.match(0, ask...) && v.code[1].a > 0
	if charged {
		i = len(ask) / 2
	} else if v.match(0, debit...) && v.code[1].a > 0 && v.match(8, 0x22, anyImmediate) {
		kept = v.code[8].a
		enter := []int64{0x23, fuel, 0x23, stack, 0x42, anyImmediate, 0x7d, 0, 0x22, kept, 0x84, 0, 0x42, 0, 0x59, 0, 0x04, -64, 0x05, 0,
			0x20, kept, 0x10, helper + 1, 0x0b, 0}
		if charged = v.match(4, enter...) && v.code[6].a > 0; charged {
			i = 4 + len(enter)/2
		}
	}
	var last, in instr // in is the instruction looked at, last the one before it, debits left out
	for i < len(v.code) && v.err == nil {
		last, in = in, v.code[i]
		switch {
		case v.match(i, debit...):
			i, in = i+len(debit)/2, last
			continue
		case in.op == 0x03:
			if !charged || !v.match(i+1, ask...) || v.code[i+2].a <= 0 {
				v.complain(in.at, f, "loop that does not begin with a charge, or in a function that does not")
			}
			i += 1 + len(ask)/2
			continue
		case v.match(i, 0x20, kept, 0x24, stack) && i+2 < len(v.code) && (v.code[i+2].op == 0x11 || v.code[i+2].op == 0x10 && v.code[i+2].a > int64(v.info.Yield) && v.guests(v.code[i+2].a)):
			i += 3
			continue
		case in.op == 0x10 && in.a < int64(v.info.Yield): // a host function
		case in.op == 0x10 && in.a > helper+1 && i+1 < len(v.code) && charged && bulkHelper(v.code[i+1].op) == in.a-helper:
			i += 2
			continue
		case in.op == 0x10 || in.op == 0x11:
			v.complain(in.at, f, "call without the stack that is left, or of a function that is not the guest's")
		case in.op == 0xd2 && !v.guests(in.a):
			v.complain(in.at, f, "reference to a function that is not the guest's")
		case (in.op == 0x23 || in.op == 0x24) && v.ours(in.a):
			v.complain(in.at, f, "access to fuel or stack outside a charge")
		case (in.op == 0x20 || in.op == 0x21 || in.op == 0x22) && in.a == kept:
			v.complain(in.at, f, "access to the local with the stack that is left")
		case bulkHelper(in.op) != 0:
			if bulkHelper(in.op) > 3 || last.op != 0x41 || uint32(last.a) > 1<<10 {
				v.complain(in.at, f, "operator %#x that is not charged by its operand", in.op)
			}
		}
		i++
	}
	if !charged && size > 300 {
		v.complain(v.pos, f, "function that does not begin with a charge")
	}
}

// bulkHelper returns which helper charges an operator, 0 for none.
func bulkHelper(op int) int64 {
	switch op {
	case 0xfc08, 0xfc0a, 0xfc0b:
		return 2
	case 0xfc0c, 0xfc0e, 0xfc11:
		return 3
	case 0x40:
		return 4
	case 0xfc0f:
		return 5
	}
	return 0
}

// helper checks the body of helper n: it must be the expected text, but for the constants that scale a charge.
func (v *verifier) helper(n int, body []byte) {
	fuel := binary.AppendUvarint(nil, uint64(v.info.Fuel))
	yield := fmt.Sprintf("\x23%s\x10%s\x24%s", fuel, binary.AppendUvarint(nil, uint64(v.info.Yield)), fuel)
	before := fmt.Sprintf("\x00\x23%s", fuel)
	after := fmt.Sprintf("\x7d\x24%s\x23%s\x42\x00\x53\x04\x40%s\x0b\x20\x00\x0b", fuel, fuel, yield)
	text := string(body)
	amount := ""
	if strings.HasPrefix(text, before) && strings.HasSuffix(text, after) && len(text) >= len(before)+len(after) {
		amount = text[len(before) : len(text)-len(after)]
	}
	ok := false
	switch n {
	case 0:
		ok = text == "\x00"+yield+"\x0b"
	case 1:
		ok = text == fmt.Sprintf("\x00\x20\x00\x42\x00\x53\x04\x40\x42\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f\x10%s\x1a\x00\x0b%s\x0b",
			binary.AppendUvarint(nil, uint64(v.info.Yield)), yield)
	case 2:
		ok = amount == "\x20\x00\xad\x42\x03\x88"
	case 3:
		ok = amount == "\x20\x00\xad"
	case 4:
		ok = strings.HasPrefix(amount, "\x20\x00\x41") && strings.HasSuffix(amount, "\xad\x42\x0a\x86") && strings.Contains(amount, "\x49\x1b")
	case 5:
		ok = strings.HasPrefix(amount, "\x20\x00\x41") && strings.HasSuffix(amount, "\x7c") && strings.Contains(amount, "\x49\x1b\xad\x42")
	}
	if !ok {
		v.complain(v.pos, int(v.info.Yield)+1+v.info.Functions+n, "helper %d has another body", n)
	}
}
