package meter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// Section ids of WebAssembly Core 2.0.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag // exception handling
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code",
	"data", "data count", "tag"}

// sectionOrder is the order in which the sections appear.
var sectionOrder = [...]int{secType, secImport, secFunction, secTable, secMemory, secGlobal, secExport, secStart, secElement, secDataCount,
	secCode, secData}

// Value types, and the other first bytes of types.
const (
	typeI32     = 0x7f
	typeI64     = 0x7e
	typeF32     = 0x7d
	typeF64     = 0x7c
	typeV128    = 0x7b
	typeFuncRef = 0x70
	typeExtern  = 0x6f
	typeFunc    = 0x60
)

// Kinds of imports and exports.
const (
	kindFunc   = 0
	kindGlobal = 3
)

var kindNames = [...]string{"function", "table", "memory", "global", "tag"}

// signature is what the rewriter has to know of a function type: how many values cross.
type signature struct{ params, results int }

// table is a table's declaration.
type table struct {
	ref      byte
	min, max uint32
	grows    bool // some table.grow names it
}

// module is a module under way from one form to the other. Each section is read from its bytes when its turn to be
// written comes; what later sections need is kept.
type module struct {
	opt      Options
	in       []byte
	sections [secTag]reader // contents by id; b is nil where there is none
	info     Info

	types   []signature
	imports int      // imported functions
	funcs   []uint32 // type of each function, imported ones first
	tables  []table
	globals int
	start   uint32
	helpers uint32 // index of the first helper in the new module

	out []byte
	err *Error

	tableMark int    // where in out the table section goes: it depends on the code
	scratch   []byte // reused from function to function
	frames    []frame
}

// fail records the first error and returns false.
func (m *module) fail(err error, section int, at int, format string, args ...any) bool {
	if m.err == nil {
		m.err = &Error{Err: err, Section: sectionNames[section], Function: -1, Offset: at, Detail: fmt.Sprintf(format, args...)}
	}
	return false
}

// limit fails if n is above max.
func (m *module) limit(section, at int, n, max int, what string) bool {
	if n <= max {
		return true
	}
	return m.fail(ErrLimit, section, at, "%d %s, limit %d", n, what, max)
}

// rewrite runs all steps. It returns false when one failed, with m.err set.
func (m *module) rewrite() bool {
	if !m.split() {
		return false
	}
	m.out = make([]byte, 0, len(m.in)+len(m.in)/2+1024)
	m.out = append(m.out, header...)
	steps := [...]struct {
		section int
		run     func(reader) bool
	}{
		{secType, m.typeSection}, {secImport, m.importSection}, {secFunction, m.functionSection}, {secTable, m.tableSection},
		{secMemory, m.memorySection}, {secGlobal, m.globalSection}, {secStart, m.startSection}, {secExport, m.exportSection},
		{secElement, m.elementSection}, {secDataCount, m.dataCountSection}, {secCode, m.codeSection}, {secData, m.dataSection},
	}
	for _, step := range steps {
		if !step.run(m.sections[step.section]) {
			return false
		}
	}
	m.nameSection()
	return true
}

var header = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// split finds the sections, at most one of each and in order, and checks the sizes.
func (m *module) split() bool {
	if len(m.in) > m.opt.ModuleSize {
		return m.fail(ErrLimit, secCustom, 0, "module of %d bytes, limit %d", len(m.in), m.opt.ModuleSize)
	}
	if len(m.in) < 8 || !bytes.Equal(m.in[:4], header[:4]) {
		return m.fail(ErrMalformed, secCustom, 0, "not a WebAssembly module (no magic number)")
	}
	if !bytes.Equal(m.in[4:8], header[4:]) {
		if binary.LittleEndian.Uint16(m.in[6:]) == 1 {
			return m.fail(ErrUnsupported, secCustom, 4, "this is a component; build a core module")
		}
		return m.fail(ErrUnsupported, secCustom, 4, "version %d, want 1", binary.LittleEndian.Uint32(m.in[4:]))
	}
	r := reader{b: m.in, pos: 8}
	next := 0
	for r.left() > 0 {
		at := r.pos
		id := r.byte()
		body := r.sub(r.u32())
		if r.bad {
			return m.fail(ErrMalformed, secCustom, at, "section does not fit the module")
		}
		switch {
		case id == secCustom:
			if body.name(); body.bad {
				return m.fail(ErrMalformed, secCustom, at, "custom section without a name")
			}
			continue
		case id == secTag:
			return m.fail(ErrUnsupported, secTag, at, "exception handling")
		case id > secTag:
			return m.fail(ErrMalformed, secCustom, at, "unknown section %d", id)
		}
		i := slices.Index(sectionOrder[next:], int(id))
		if i < 0 {
			return m.fail(ErrMalformed, int(id), at, "section appears twice or out of order")
		}
		next += i + 1
		m.sections[id] = body
	}
	return true
}

// done checks that a section was read to its end without a violation.
func (m *module) done(r *reader, section int) bool {
	if m.err != nil {
		return false
	}
	if r.bad {
		return m.fail(ErrMalformed, section, r.pos, "bytes are missing or not as the format wants them")
	}
	if r.left() != 0 {
		return m.fail(ErrMalformed, section, r.pos, "%d bytes after the last entry", r.left())
	}
	return true
}

// section appends a section to dst: id, size, and the parts.
func section(dst []byte, id byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	dst = appendU32(append(dst, id), uint32(size))
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// valueType reads and checks a value type.
func (m *module) valueType(r *reader, section int) bool {
	at := r.pos
	switch t := r.byte(); t {
	case typeI32, typeI64, typeF32, typeF64, typeV128, typeFuncRef, typeExtern:
		return true
	case 0x69, 0x74:
		return m.fail(ErrUnsupported, section, at, "type %#x (exception handling)", t)
	case 0x63, 0x64:
		return m.fail(ErrUnsupported, section, at, "type %#x (typed function references)", t)
	case 0x78, 0x77, 0x6e, 0x6d, 0x6c, 0x6b, 0x6a, 0x71, 0x72, 0x73:
		return m.fail(ErrUnsupported, section, at, "type %#x (garbage collection)", t)
	default:
		return !r.bad && m.fail(ErrMalformed, section, at, "unknown type %#x", t)
	}
}

// refType reads and checks a reference type.
func (m *module) refType(r *reader, section int) (t byte) {
	at := r.pos
	if !m.valueType(r, section) {
		return 0
	}
	if t = r.b[at]; t != typeFuncRef && t != typeExtern {
		m.fail(ErrMalformed, section, at, "type %#x is not a reference", t)
	}
	return t
}

// Types that Rewrite appends, by offset from the guest's own.
const (
	typeOfSlow  = iota // () -> ()
	typeOfYield        // (i64) -> (i64)
	typeOfEnter        // (i64) -> ()
	typeOfBulk         // (i32) -> (i32)
	addedTypes
)

var addedTypeBytes = []byte{
	typeFunc, 0, 0,
	typeFunc, 1, typeI64, 1, typeI64,
	typeFunc, 1, typeI64, 0,
	typeFunc, 1, typeI32, 1, typeI32,
}

func (m *module) typeSection(r reader) bool {
	n := 0
	if r.b != nil {
		n = r.count()
	}
	if !m.limit(secType, r.pos, n, m.opt.Types, "types") {
		return false
	}
	entries := r.pos
	m.types = make([]signature, n)
	for i := range m.types {
		at := r.pos
		switch t := r.byte(); t {
		case typeFunc:
		case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
			return m.fail(ErrUnsupported, secType, at, "type %d (garbage collection)", i)
		default:
			return m.fail(ErrMalformed, secType, at, "type %d is not a function type", i)
		}
		m.types[i].params = m.valueTypes(&r, secType)
		m.types[i].results = m.valueTypes(&r, secType)
		if m.err != nil {
			return false
		}
		if !m.limit(secType, at, m.types[i].params, min(m.opt.Locals, 1000), "parameters") ||
			!m.limit(secType, at, m.types[i].results, min(m.opt.Locals, 1000), "results") {
			return false
		}
	}
	if !m.done(&r, secType) {
		return false
	}
	m.out = section(m.out, secType, appendU32(nil, uint32(n+addedTypes)), r.b[entries:], addedTypeBytes)
	return true
}

// valueTypes reads a vector of value types and returns its length.
func (m *module) valueTypes(r *reader, section int) int {
	n := r.count()
	for range n {
		if !m.valueType(r, section) {
			return 0
		}
	}
	return n
}

func (m *module) importSection(r reader) bool {
	n := 0
	if r.b != nil {
		n = r.count()
	}
	if !m.limit(secImport, r.pos, n, m.opt.Imports, "imports") {
		return false
	}
	entries := r.pos
	for range n {
		at := r.pos
		mod, name := r.name(), r.name()
		kind := r.byte()
		if r.bad {
			break
		}
		if kind != kindFunc {
			if int(kind) >= len(kindNames) {
				return m.fail(ErrMalformed, secImport, at, "import %.100q of unknown kind %d", name, kind)
			}
			return m.fail(ErrUnsupported, secImport, at, "import of a %s, %.100q of module %.100q: only functions may be imported", kindNames[kind],
				name, mod)
		}
		if reserved(mod) {
			return m.fail(ErrReserved, secImport, at, "import module %.100q: %s is the host's own", mod, ImportModule)
		}
		t := r.u32()
		if !m.typeIndex(t, secImport, at) {
			return false
		}
		m.funcs = append(m.funcs, t)
	}
	if !m.done(&r, secImport) {
		return false
	}
	m.imports = n
	m.info.Yield = uint32(n)
	ours := appendName(appendName(nil, ImportModule), YieldFunction)
	ours = appendU32(append(ours, kindFunc), m.addedType(typeOfYield))
	m.out = section(m.out, secImport, appendU32(nil, uint32(n+1)), r.b[entries:], ours)
	return true
}

// reserved reports whether a name belongs to this package.
func reserved(name []byte) bool { return bytes.HasPrefix(name, []byte(ImportModule)) }

func (m *module) addedType(i uint32) uint32 { return uint32(len(m.types)) + i }

// typeIndex checks an index into the guest's types: without the check, an index past them would name one of ours.
func (m *module) typeIndex(t uint32, section, at int) bool {
	if t < uint32(len(m.types)) {
		return true
	}
	return m.fail(ErrMalformed, section, at, "type index %d, the module has %d", t, len(m.types))
}

func (m *module) functionSection(r reader) bool {
	n := 0
	if r.b != nil {
		n = r.count()
	}
	if !m.limit(secFunction, r.pos, n, m.opt.Functions, "functions") {
		return false
	}
	entries := r.pos
	for range n {
		at := r.pos
		t := r.u32()
		if !r.bad && !m.typeIndex(t, secFunction, at) {
			return false
		}
		m.funcs = append(m.funcs, t)
	}
	if !m.done(&r, secFunction) {
		return false
	}
	m.info.Functions = n
	m.helpers = uint32(m.imports + 1 + n)
	var ours []byte
	for _, h := range helpers {
		ours = appendU32(ours, m.addedType(h.typ))
	}
	m.info.Helpers = len(helpers)
	m.out = section(m.out, secFunction, appendU32(nil, uint32(n+len(helpers))), r.b[entries:], ours)
	return true
}

// limits reads the limits of a table or a memory. max is the largest number where none is given.
func (m *module) limits(r *reader, section int) (lo, hi uint32) {
	at := r.pos
	flags := r.byte()
	switch {
	case flags >= 8:
		m.fail(ErrUnsupported, section, at, "limits with flags %#x (custom page sizes)", flags)
	case flags >= 4:
		m.fail(ErrUnsupported, section, at, "64-bit addresses (memory64)")
	case flags >= 2:
		m.fail(ErrUnsupported, section, at, "shared memory (threads)")
	}
	lo, hi = r.u32(), 1<<32-1
	if flags == 1 {
		if hi = r.u32(); lo > hi && !r.bad {
			m.fail(ErrMalformed, section, at, "minimum %d is above maximum %d", lo, hi)
		}
	}
	return lo, hi
}

// tableSection keeps the declarations; writeTables writes them when the code has told which tables grow.
func (m *module) tableSection(r reader) bool {
	if m.tableMark = len(m.out); r.b == nil {
		return true
	}
	n := r.count()
	if !m.limit(secTable, r.pos, n, maxTables, "tables") {
		return false
	}
	total := uint64(0)
	for i := range n {
		at := r.pos
		if r.left() > 0 && r.b[r.pos] == 0x40 {
			return m.fail(ErrUnsupported, secTable, at, "table %d with an initial value (typed function references)", i)
		}
		t := table{ref: m.refType(&r, secTable)}
		t.min, t.max = m.limits(&r, secTable)
		if m.err != nil {
			return false
		}
		if total += uint64(t.min); total > uint64(m.opt.TableEntries) {
			return m.fail(ErrLimit, secTable, at, "tables of %d entries together, limit %d", total, m.opt.TableEntries)
		}
		m.tables = append(m.tables, t)
	}
	return m.done(&r, secTable)
}

// maxTables bounds the number of tables: an empty one takes memory too.
const maxTables = 1024

// writeTables returns the table section. A table that no operator grows gets its minimum as maximum; the entries that
// the limit leaves are divided equally among those that grow.
func (m *module) writeTables() []byte {
	if m.sections[secTable].b == nil {
		return nil
	}
	left, growing := m.opt.TableEntries, uint32(0)
	for _, t := range m.tables {
		left -= t.min
		if t.grows {
			growing++
		}
	}
	b := appendU32(nil, uint32(len(m.tables)))
	m.info.TableMax = 0
	for _, t := range m.tables {
		most := t.min
		if t.grows {
			most = min(t.max, t.min+left/growing)
		}
		m.info.TableMax += most
		b = appendU32(appendU32(append(b, t.ref, 1), t.min), most)
	}
	return section(nil, secTable, b)
}

func (m *module) memorySection(r reader) bool {
	if r.b == nil {
		return true
	}
	at := r.pos
	n := r.count()
	if n > 1 {
		return m.fail(ErrUnsupported, secMemory, at, "%d memories (multiple memories)", n)
	}
	if n == 0 {
		return m.done(&r, secMemory)
	}
	lo, hi := m.limits(&r, secMemory)
	if !m.done(&r, secMemory) {
		return false
	}
	if lo > m.opt.MemoryPages {
		return m.fail(ErrLimit, secMemory, at, "memory of at least %d pages of 64 KiB, limit %d", lo, m.opt.MemoryPages)
	}
	if hi != 1<<32-1 && hi > 65536 {
		return m.fail(ErrMalformed, secMemory, at, "memory of up to %d pages", hi)
	}
	hi = min(hi, m.opt.MemoryPages)
	m.info.MemoryMin, m.info.MemoryMax = lo, hi
	m.out = section(m.out, secMemory, appendU32(appendU32([]byte{1, 1}, lo), hi))
	return true
}

func (m *module) globalSection(r reader) bool {
	n := 0
	if r.b != nil {
		n = r.count()
	}
	if !m.limit(secGlobal, r.pos, n, m.opt.Globals, "globals") {
		return false
	}
	dst := appendU32(nil, uint32(n+2))
	for range n {
		from := r.pos
		at := r.pos
		m.valueType(&r, secGlobal)
		if mut := r.byte(); mut > 1 && m.err == nil && !r.bad {
			if mut < 4 {
				return m.fail(ErrUnsupported, secGlobal, at, "shared global (threads)")
			}
			return m.fail(ErrMalformed, secGlobal, at, "mutability %#x", mut)
		}
		dst = append(dst, r.b[from:r.pos]...)
		if dst = m.constExpr(&r, dst, secGlobal); m.err != nil || r.bad {
			break
		}
	}
	if !m.done(&r, secGlobal) {
		return false
	}
	m.globals = n
	m.info.Fuel, m.info.Stack = uint32(n), uint32(n+1)
	for _, v := range [...]int64{m.opt.Fuel, m.opt.Stack} {
		dst = append(dst, typeI64, 1, opI64Const)
		dst = append(appendS64(dst, v), opEnd)
	}
	m.out = section(m.out, secGlobal, dst)
	return true
}

// constExpr appends a constant expression to dst, function indices shifted. There is exactly one operator and the end.
func (m *module) constExpr(r *reader, dst []byte, section int) []byte {
	from := r.pos
	code, op := r.next()
	switch {
	case r.bad:
		return dst
	case code == opRefFunc:
		dst = append(dst, opRefFunc)
		dst = appendU32(dst, m.funcIndex(r.u32(), section, from))
	case code == opGlobalGet && op.imm == immIndex:
		// Only imported globals may be named here, and there are none.
		m.fail(ErrMalformed, section, from, "constant expression reads a global that is not imported")
	case op.imm == immI32:
		r.signed(32)
	case op.imm == immI64:
		r.signed(64)
	case op.imm == imm4:
		r.bytes(4)
	case op.imm == imm8:
		r.bytes(8)
	case op.imm == imm16 && op.name == "v128.const":
		r.bytes(16)
	case code == opRefNull:
		m.refType(r, section)
	case op.imm == immNope:
		m.failOp(ErrUnsupported, section, op.name, from, "")
	case code == opEnd:
		m.fail(ErrMalformed, section, from, "empty constant expression")
	default:
		m.failOp(ErrUnsupported, section, op.name, from, "not allowed in a constant expression (extended constants)")
	}
	if code != opRefFunc && !r.bad {
		dst = append(dst, r.b[from:r.pos]...)
	}
	at := r.pos
	code, op = r.next()
	if m.err != nil || r.bad {
		return dst
	}
	if code != opEnd {
		m.failOp(ErrUnsupported, section, op.name, at, "second operator in a constant expression (extended constants)")
	}
	return append(dst, opEnd)
}

// failOp is fail for an operator.
func (m *module) failOp(err error, section int, op string, at int, detail string) bool {
	if m.err == nil {
		m.err = &Error{Err: err, Section: sectionNames[section], Function: -1, Operator: op, Offset: at, Detail: detail}
	}
	return false
}

// funcIndex returns the index in the new module of a function of the old.
func (m *module) funcIndex(f uint32, section, at int) uint32 {
	if f < uint32(m.imports) {
		return f
	}
	if f >= uint32(len(m.funcs)) {
		m.fail(ErrMalformed, section, at, "function index %d, the module has %d", f, len(m.funcs))
	}
	return f + 1
}

func (m *module) exportSection(r reader) bool {
	n := 0
	if r.b != nil {
		n = r.count()
	}
	if !m.limit(secExport, r.pos, n, m.opt.Exports, "exports") {
		return false
	}
	dst := []byte{}
	for range n {
		at := r.pos
		name := r.name()
		kind, index := r.byte(), r.u32()
		if r.bad {
			break
		}
		if reserved(name) {
			return m.fail(ErrReserved, secExport, at, "export %.100q: names with %s are the host's own", name, ImportModule)
		}
		switch {
		case kind == kindFunc:
			index = m.funcIndex(index, secExport, at)
		case kind == kindGlobal && index >= uint32(m.globals):
			return m.fail(ErrMalformed, secExport, at, "export of global %d, the module has %d", index, m.globals)
		case kind > kindGlobal:
			return m.fail(ErrUnsupported, secExport, at, "export %.100q of kind %d (exception handling)", name, kind)
		}
		dst = appendU32(append(appendName(dst, string(name)), kind), index)
	}
	if !m.done(&r, secExport) {
		return false
	}
	dst = appendU32(append(appendName(dst, FuelExport), kindGlobal), m.info.Fuel)
	dst = appendU32(append(appendName(dst, StackExport), kindGlobal), m.info.Stack)
	n += 2
	if m.info.Start {
		dst = appendU32(append(appendName(dst, StartExport), kindFunc), m.start)
		n++
	}
	m.out = section(m.out, secExport, appendU32(nil, uint32(n)), dst)
	return true
}

// startSection notes the start function, which becomes an export.
func (m *module) startSection(r reader) bool {
	if r.b == nil {
		return true
	}
	at := r.pos
	f := r.u32()
	if !m.done(&r, secStart) {
		return false
	}
	if m.start = m.funcIndex(f, secStart, at); m.err != nil {
		return false
	}
	if m.types[m.funcs[f]] != (signature{}) {
		return m.fail(ErrMalformed, secStart, at, "start function with parameters or results")
	}
	m.info.Start = true
	return true
}

func (m *module) elementSection(r reader) bool {
	if r.b == nil {
		return true
	}
	n := r.count()
	if !m.limit(secElement, r.pos, n, m.opt.Segments, "element segments") {
		return false
	}
	dst := appendU32(nil, uint32(n))
	total := 0
	for range n {
		if dst = m.element(&r, dst, &total); m.err != nil || r.bad {
			break
		}
	}
	if !m.done(&r, secElement) {
		return false
	}
	m.out = section(m.out, secElement, dst)
	return true
}

// element appends one element segment. Bits of the flags: 0 passive or declarative, 1 table index (or declarative), 2 expressions
// in place of function indices.
func (m *module) element(r *reader, dst []byte, total *int) []byte {
	at := r.pos
	flags := r.u32()
	if flags > 7 {
		m.fail(ErrMalformed, secElement, at, "segment of kind %d", flags)
		return dst
	}
	dst = append(dst, byte(flags))
	if flags&1 == 0 {
		if flags&2 != 0 {
			dst = appendU32(dst, r.u32())
		}
		if dst = m.constExpr(r, dst, secElement); m.err != nil {
			return dst
		}
	}
	if flags&3 != 0 {
		from := r.pos
		if flags&4 != 0 {
			m.refType(r, secElement)
		} else if kind := r.byte(); kind != 0 && !r.bad {
			m.fail(ErrMalformed, secElement, from, "elements of kind %d", kind)
		}
		dst = append(dst, r.b[from:r.pos]...)
	}
	n := r.count()
	if *total += n; !m.limit(secElement, at, *total, m.opt.Elements, "elements in segments") {
		return dst
	}
	dst = appendU32(dst, uint32(n))
	for range n {
		if flags&4 != 0 {
			dst = m.constExpr(r, dst, secElement)
		} else {
			at := r.pos
			dst = appendU32(dst, m.funcIndex(r.u32(), secElement, at))
		}
		if m.err != nil || r.bad {
			break
		}
	}
	return dst
}

func (m *module) dataCountSection(r reader) bool {
	if r.b == nil {
		return true
	}
	from := r.pos
	r.u32()
	if !m.done(&r, secDataCount) {
		return false
	}
	m.out = section(m.out, secDataCount, r.b[from:])
	return true
}

func (m *module) dataSection(r reader) bool {
	if r.b == nil {
		return true
	}
	from := r.pos
	n := r.count()
	if !m.limit(secData, r.pos, n, m.opt.Segments, "data segments") {
		return false
	}
	for range n {
		at := r.pos
		flags := r.u32()
		if flags > 2 && !r.bad {
			return m.fail(ErrMalformed, secData, at, "segment of kind %d", flags)
		}
		if flags == 2 && r.u32() != 0 && !r.bad {
			return m.fail(ErrUnsupported, secData, at, "memory index (multiple memories)")
		}
		if flags != 1 {
			m.scratch = m.constExpr(&r, m.scratch[:0], secData)
		}
		if r.bytes(r.u32()); m.err != nil || r.bad {
			break
		}
	}
	if !m.done(&r, secData) {
		return false
	}
	m.out = section(m.out, secData, r.b[from:])
	return true
}
