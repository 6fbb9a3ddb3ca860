package meter

import "fmt"

// How code is metered.
//
// Walking a function's operators in order, u is the largest cost that any path from the last charge to this point can
// have run up. A charge takes u from the fuel and begins again at 0. There is one
//
//   - at each loop head, of the largest u of all that jump or fall into it, known when the loop ends;
//   - at the entry of the function, of the largest u at any exit or call, known when the function ends;
//   - wherever u would pass stretch, so that one charge never stands for much more than was run. (A Go function is one
//     loop around a switch, and every jump goes through it: charged at the head for the longest path through
//     the whole, large functions would cost a hundred times what they run.)
//
// The first two yield if the fuel is negative then, and every cycle passes one of them. The third does not ask: what
// runs until somebody does is at most the rest of this body, and of the callers' bodies, which the stack budget bounds (a frame
// weighs more than its body has operators). So what has run is charged, but for at most stretch of the function that runs.
//
// A function without loops and calls that costs at most leafCost is not charged itself: each call costs its caller that much more.
//
// The yield is in the else branch of an if whose then branch is empty. wazero's register allocator takes over the
// state of the first predecessor where paths meet; the other way round, everything alive would be reloaded from
// the stack after each charge.
const (
	stretch  = 200
	leafCost = 16
	leafSize = 256 // bytes of such a function's body
)

// The largest operands of bulk operators that are charged as constants, in the code; larger ones go through a helper, which
// asks. They are small because straight code does not ask: a body of 1 MiB can hold 95,000 of these.
const (
	constBytes   = 1 << 10
	constEntries = 1 << 7
)

// dead is u where no path leads.
const dead = -1

// frame is an open block, loop, if, else, or the function itself.
type frame struct {
	op    int // opBlock, opLoop, opIf, opElse
	most  int // largest u at which control comes to the label
	start int // u at the if, for what an else or its absence starts with
	patch int // of a loop: where in scratch its charge's amount stands
	sets  int // local.set and local.tee that came before
}

// function is the one under way.
type function struct {
	m      *module
	r      reader
	index  int    // in the guest's index space
	locals uint32 // parameters and locals
	mark   int    // input up to here is in scratch
	u      int
	exit   int  // largest u at exits and calls
	sets   int  // local.set and local.tee so far
	simd   bool // has operators on vectors
	calls  bool // calls other functions of the module
	nested int  // loops open
	loops  bool // has loops, or calls that charge
	width  int  // values that pass into and out of blocks and calls
	slots  int  // values that the compiler may have to keep in the frame
	last   int  // the operator before, and its immediate
	lastI  int64
}

func (m *module) codeSection(r reader) bool {
	n, defined := 0, len(m.funcs)-m.imports
	if r.b != nil {
		n = r.count()
	}
	if n != defined {
		return m.fail(ErrMalformed, secCode, r.pos, "%d function bodies for %d functions", n, defined)
	}
	size := len(r.b) - r.pos
	code := make([]byte, 0, size+size/4+1024)
	code = appendU32(code, uint32(n+len(helpers)))
	for i := range n {
		at := r.pos
		length := r.u32()
		if length > uint32(m.opt.FunctionSize) && !r.bad {
			m.fail(ErrLimit, secCode, at, "body of %d bytes, limit %d", length, m.opt.FunctionSize)
		}
		f := function{m: m, r: r.sub(length), index: m.imports + i}
		if code = f.rewrite(code); m.err != nil {
			m.err.Function = f.index
			m.err.Name = functionName(m.in, f.index)
			return false
		}
	}
	if r.b != nil && !m.done(&r, secCode) {
		return false
	}
	for _, h := range helpers {
		body := h.body(m)
		code = append(appendU32(code, uint32(len(body))), body...)
	}
	tables := m.writeTables()
	m.out = append(m.out, tables...) // makes room
	copy(m.out[m.tableMark+len(tables):], m.out[m.tableMark:])
	copy(m.out[m.tableMark:], tables)
	m.out = section(m.out, secCode, code)
	return true
}

// rewrite appends the function's body, with its size, to dst.
func (f *function) rewrite(dst []byte) []byte {
	from := f.r.pos
	groups, ok := f.readLocals()
	if !ok {
		return dst
	}
	to := f.r.pos
	f.m.scratch = f.m.scratch[:0]
	f.m.frames = append(f.m.frames[:0], frame{op: opBlock})
	f.mark = to
	for len(f.m.frames) > 0 {
		f.operator()
		if f.r.bad {
			f.m.fail(ErrMalformed, secCode, f.r.pos, "body ends within an operator or before its end")
		}
		if f.m.err != nil {
			return dst
		}
	}
	if f.r.left() != 0 {
		f.m.fail(ErrMalformed, secCode, f.r.pos, "%d bytes after the end of the body", f.r.left())
		return dst
	}
	f.flush(f.r.pos)
	var room [maxPrologue]byte
	prologue, local := f.prologue(room[:0])
	decl := f.m.in[from:to]
	if local {
		_, skip := groupCount(decl)
		decl = decl[skip:]
		groups++
	}
	size := len(decl) + len(prologue) + len(f.m.scratch)
	if local {
		size += sizeU32(uint32(groups)) + 2
	}
	dst = appendU32(dst, uint32(size))
	if local {
		dst = append(appendU32(dst, uint32(groups)), decl...)
		dst = append(dst, 1, typeI64)
	} else {
		dst = append(dst, decl...)
	}
	dst = append(dst, prologue...)
	return append(dst, f.m.scratch...)
}

// groupCount reads the number that a declaration of locals begins with, and the bytes it takes.
func groupCount(decl []byte) (n uint32, size int) {
	r := reader{b: decl}
	n = r.u32()
	return n, r.pos
}

func sizeU32(v uint32) (n int) {
	for n = 1; v >= 0x80; n++ {
		v >>= 7
	}
	return n
}

// readLocals reads the declaration of locals and returns the number of its groups.
func (f *function) readLocals() (groups int, ok bool) {
	at := f.r.pos
	groups = f.r.count()
	total := uint64(f.m.types[f.m.funcs[f.index]].params)
	for range groups {
		total += uint64(f.r.u32())
		if f.m.valueType(&f.r, secCode); f.r.bad || f.m.err != nil {
			break
		}
	}
	if f.r.bad {
		return 0, f.m.fail(ErrMalformed, secCode, at, "declaration of locals does not fit the body")
	}
	if total > uint64(f.m.opt.Locals) {
		return 0, f.m.fail(ErrLimit, secCode, at, "%d parameters and locals, limit %d", total, f.m.opt.Locals)
	}
	f.locals = uint32(total)
	return groups, f.m.err == nil
}

// flush copies the input up to pos to scratch.
func (f *function) flush(pos int) {
	f.m.scratch = append(f.m.scratch, f.r.b[f.mark:pos]...)
	f.mark = pos
}

// spend adds cost to u; at is where in the input a charge goes if one has to go first.
func (f *function) spend(cost, at int) {
	if f.u == dead {
		return
	}
	if f.u+cost > stretch && f.u > 0 {
		f.flush(at)
		f.m.scratch, _ = f.m.debit(f.m.scratch, f.u)
		f.u = 0
	}
	f.u += cost
}

// debit appends code that takes an amount from the fuel, and returns where the amount stands.
func (m *module) debit(s []byte, amount int) (_ []byte, patch int) {
	s = appendU32(append(s, opGlobalGet), m.info.Fuel)
	s = append(s, opI64Const, 0, 0, 0)
	patch = len(s) - 3
	putAmount(s[patch:], amount)
	m.info.ChargeSites++
	return appendU32(append(s, opI64Sub, opGlobalSet), m.info.Fuel), patch
}

// branch notes that// branch notes that control may go to the label from here.
func (f *function) branch(label uint32, at int) {
	frames := f.m.frames
	if label >= uint32(len(frames)) {
		f.m.fail(ErrMalformed, secCode, at, "label %d of %d", label, len(frames))
		return
	}
	to := &frames[len(frames)-1-int(label)]
	to.most = max(to.most, f.u)
}

// push opens a block.
func (f *function) push(op, at int) {
	if len(f.m.frames) >= f.m.opt.Nesting {
		f.m.fail(ErrLimit, secCode, at, "nesting of %d, limit %d", len(f.m.frames)+1, f.m.opt.Nesting)
		return
	}
	if op == opLoop {
		if f.nested++; f.nested > f.m.opt.Loops {
			f.m.fail(ErrLimit, secCode, at, "%d loops within one another, limit %d", f.nested, f.m.opt.Loops)
			return
		}
	}
	f.m.frames = append(f.m.frames, frame{op: op, most: dead, start: f.u, sets: f.sets})
}

// merge is the cost of bringing the locals that were set since the given time to one place where paths meet.
func (f *function) merge(sets int) int {
	n := min(f.sets-sets, int(f.locals))
	f.slots += n
	return n >> 3
}

// wide counts values that pass into and out of a block or a call: a few bytes of code can make thousands.
func (f *function) wide(values, at int) {
	if f.width += values; f.width > f.m.opt.FunctionSize {
		f.m.fail(ErrLimit, secCode, at, "more than %d values pass through blocks and calls", f.m.opt.FunctionSize)
	}
}

// operator reads one operator and writes what takes its place.
func (f *function) operator() {
	r, at := &f.r, f.r.pos
	code, op := r.next()
	if op.imm == immNope {
		if !r.bad {
			f.m.failOp(ErrUnsupported, secCode, op.name, at, "only WebAssembly Core 2.0 is accepted")
		}
		return
	}
	f.slots++
	f.simd = f.simd || code>>8 == opSIMD
	last, lastI := f.last, f.lastI
	f.last = code
	switch op.imm {
	case immNone:
		f.plain(code, op, at)
		return
	case immBlock:
		f.block(code, op, at)
		return
	case immLabel:
		f.spend(int(op.cost), at)
		f.branch(r.u32(), at)
		if code == opBr {
			f.u = dead
		}
		return
	case immTable:
		f.spend(int(op.cost), at)
		for range r.count() {
			f.branch(r.u32(), at)
		}
		f.branch(r.u32(), at)
		f.u = dead
		return
	case immFunc, immIndirect:
		f.call(code, op, at)
		return
	case immIndex:
		f.index1(code, op, at, last, lastI)
		return
	}
	f.immediate(code, op, at)
	switch code {
	case opMemoryGrow:
		f.bulk(helperMemoryGrow, op, at, false, 0, 0, 0)
	case opMemoryCopy, opMemoryFill, opMemoryInit:
		f.bulk(helperBytes, op, at, last == opI32Const, lastI, constBytes, 3)
	case opTableCopy, opTableInit:
		f.bulk(helperEntries, op, at, last == opI32Const, lastI, constEntries, 0)
	default:
		f.spend(int(op.cost), at)
	}
}

// immediate reads an immediate that stays as it is.
func (f *function) immediate(code int, op operator, at int) {
	r := &f.r
	switch op.imm {
	case immTypes:
		f.m.valueTypes(r, secCode)
	case immIndex2:
		r.u32()
		r.u32()
	case immData:
		r.u32()
	case immMem:
		f.memory(at, op)
	case immMem2:
		f.memory(at, op)
		f.memory(at, op)
	case immDataMem:
		r.u32()
		f.memory(at, op)
	case immMemArg:
		f.memArg(at, op)
	case immMemLane:
		f.memArg(at, op)
		r.byte()
	case immLane:
		r.byte()
	case immI32:
		f.lastI = r.signed(32)
	case immI64:
		r.signed(64)
	case imm4:
		r.bytes(4)
	case imm8:
		r.bytes(8)
	case imm16:
		r.bytes(16)
	case immRef:
		f.m.refType(r, secCode)
	}
}

// memory reads a memory index.
func (f *function) memory(at int, op operator) {
	if f.r.byte() != 0 && !f.r.bad {
		f.m.failOp(ErrUnsupported, secCode, op.name, at, "memory index (multiple memories)")
	}
}

// memArg reads alignment and offset.
func (f *function) memArg(at int, op operator) {
	if align := f.r.u32(); align >= 0x40 {
		f.m.failOp(ErrUnsupported, secCode, op.name, at, "memory index (multiple memories)")
	}
	f.r.u32()
}

// plain handles operators without immediates.
func (f *function) plain(code int, op operator, at int) {
	switch code {
	case opElse:
		f.orElse(at)
	case opEnd:
		f.end(at)
	case opUnreachable:
		f.u = dead
	case opReturn:
		f.spend(int(op.cost), at)
		f.exit = max(f.exit, f.u)
		f.u = dead
	default:
		f.spend(int(op.cost), at)
	}
}

// block opens a block, loop or if.
func (f *function) block(code int, op operator, at int) {
	typeAt := f.r.pos
	t := f.r.signed(33)
	switch {
	case t >= 0:
		if t >= int64(len(f.m.types)) {
			f.m.fail(ErrMalformed, secCode, at, "block of type %d, the module has %d", t, len(f.m.types))
			return
		}
		f.wide(f.m.types[t].params+f.m.types[t].results, at)
		f.slots += 8 * f.m.types[t].results
	case t != blockEmpty-0x80 && !f.r.bad:
		vt := reader{b: f.r.b[:f.r.pos], pos: typeAt}
		f.m.valueType(&vt, secCode)
	}
	f.spend(int(op.cost), at)
	f.push(code, at)
	if code != opLoop || f.m.err != nil {
		return
	}
	f.flush(f.r.pos)
	top := &f.m.frames[len(f.m.frames)-1]
	top.most = f.u
	s, patch := f.m.debit(f.m.scratch, 0)
	s = appendU32(append(s, opGlobalGet), f.m.info.Fuel)
	s = append(s, opI64Const, 0, opI64GeS, opIf, blockEmpty, opElse, opCall)
	f.m.scratch = append(appendU32(s, f.m.helpers+helperSlow), opEnd)
	f.loops, top.patch = true, patch
	if f.u != dead {
		f.u = 0
	}
}

// orElse turns an if into its else.
func (f *function) orElse(at int) {
	top := &f.m.frames[len(f.m.frames)-1]
	if top.op != opIf {
		f.m.failOp(ErrMalformed, secCode, "else", at, "not within an if")
		return
	}
	top.op = opElse
	top.most = max(top.most, f.u)
	f.u = top.start
}

// end closes a block.
func (f *function) end(at int) {
	top := f.m.frames[len(f.m.frames)-1]
	f.m.frames = f.m.frames[:len(f.m.frames)-1]
	cost := f.merge(top.sets)
	switch {
	case top.op == opLoop:
		f.nested--
		putAmount(f.m.scratch[top.patch:], max(top.most, 0)+cost+1)
		return
	case top.op == opIf:
		f.u = max(f.u, top.start)
	}
	f.u = max(f.u, top.most)
	if len(f.m.frames) == 0 {
		f.exit = max(f.exit, f.u)
		return
	}
	f.spend(cost, f.r.pos)
}

// call handles call, call_indirect and ref.func.
func (f *function) call(code int, op operator, at int) {
	index := f.r.u32()
	if f.r.bad {
		return
	}
	t := index
	if code == opCallIndirect {
		f.r.u32()
		if !f.m.typeIndex(t, secCode, at) {
			return
		}
	} else {
		shifted := f.m.funcIndex(index, secCode, at)
		if f.m.err != nil {
			return
		}
		t = f.m.funcs[index]
		f.spend(int(op.cost), at)
		f.flush(at)
		f.mark = f.r.pos
		if code == opCall && index >= uint32(f.m.imports) {
			f.setStack()
		}
		f.m.scratch = appendU32(append(f.m.scratch, byte(code)), shifted)
		if code == opRefFunc {
			return
		}
	}
	if code == opCallIndirect {
		f.spend(int(op.cost), at)
		f.flush(at)
		f.setStack()
	}
	f.exit = max(f.exit, f.u)
	f.wide(f.m.types[t].params+f.m.types[t].results, at)
	if n := f.m.types[t].results; n > 1 {
		f.slots += 8 * n
	}
}

// setStack tells the callee how much stack is left, from the local that the prologue sets.
func (f *function) setStack() {
	f.calls = true
	s := appendU32(append(f.m.scratch, opLocalGet), f.locals)
	f.m.scratch = appendU32(append(s, opGlobalSet), f.m.info.Stack)
}

// index1 handles operators with one index that stays as it is.
func (f *function) index1(code int, op operator, at int, last int, lastI int64) {
	i := f.r.u32()
	switch code {
	case opLocalGet, opLocalSet, opLocalTee:
		if i >= f.locals {
			f.m.failOp(ErrMalformed, secCode, op.name, at, fmt.Sprintf("local %d of %d", i, f.locals))
		}
		if code != opLocalGet {
			f.sets++
		}
	case opGlobalGet, opGlobalSet:
		if i >= uint32(f.m.globals) {
			f.m.failOp(ErrMalformed, secCode, op.name, at, fmt.Sprintf("global %d of %d", i, f.m.globals))
		}
	case opTableGrow:
		if i >= uint32(len(f.m.tables)) {
			f.m.failOp(ErrMalformed, secCode, op.name, at, fmt.Sprintf("table %d of %d", i, len(f.m.tables)))
			return
		}
		f.m.tables[i].grows = true
		f.bulk(helperTableGrow, op, at, false, 0, 0, 0)
		return
	case opTableFill:
		f.bulk(helperEntries, op, at, last == opI32Const, lastI, constEntries, 0)
		return
	}
	f.spend(int(op.cost), at)
}

// bulk charges an operator by its topmost operand n: n>>shift in the code if the operator before gave it as a constant of
// at most most, else by a call to a helper, which returns it.
func (f *function) bulk(helper uint32, op operator, at int, constant bool, n int64, most uint32, shift int) {
	if constant && uint32(n) <= most {
		f.slots += int(uint32(n) >> shift >> 3) // or many frames could add up to much that nobody asks about
		f.spend(int(op.cost)+int(uint32(n)>>shift), at)
		return
	}
	f.spend(int(op.cost), at)
	f.flush(at)
	f.m.scratch = appendU32(append(f.m.scratch, opCall), f.m.helpers+helper)
	f.m.info.ChargeSites++
	f.loops = true
}

// maxPrologue is more than the bytes of the longest prologue.
const maxPrologue = 64

// prologue returns what goes before the first operator; local says that it needs one more local, an i64.
func (f *function) prologue(p []byte) (_ []byte, local bool) {
	entry := f.exit + int(f.locals)>>3
	if !f.loops && !f.calls && entry <= leafCost && len(f.m.scratch) <= leafSize {
		return p, false
	}
	p, _ = f.m.debit(p, max(entry, 1))
	p = appendU32(append(p, opGlobalGet), f.m.info.Fuel)
	weight := f.weight()
	if !f.calls && weight <= smallFrame {
		p = append(p, opI64Const, 0, opI64GeS, opIf, blockEmpty, opElse, opCall)
		return append(appendU32(p, f.m.helpers+helperSlow), opEnd), false
	}
	p = appendU32(append(p, opGlobalGet), f.m.info.Stack)
	p = appendS64(append(p, opI64Const), weight)
	p = appendU32(append(p, opI64Sub, opLocalTee), f.locals)
	p = append(p, opI64Or, opI64Const, 0, opI64GeS, opIf, blockEmpty, opElse)
	p = appendU32(append(p, opLocalGet), f.locals)
	p = appendU32(append(p, opCall), f.m.helpers+helperEnter)
	return append(p, opEnd), true
}

// smallFrame is the weight up to which a function that calls nothing need not count its frame.
const smallFrame = 4096

// weight estimates the bytes of call stack that the compiled function takes. wazero gives each value that lives across a call
// a slot of its own, so operators, merged locals and results are counted, a byte for each: of 2,142 functions of a Go guest two take
// more than this (by a quarter), half take less than a third. Code made to defeat it came to six times as much. That is
// bounded too: wazero's own limit stands behind.
func (f *function) weight() int64 {
	w := 192 + 8*int64(f.locals) + int64(f.slots)
	if f.simd {
		w *= 4
	}
	return w
}
