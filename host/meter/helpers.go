package meter

// helper is a function that Rewrite appends.
type helper struct {
	name string
	typ  uint32 // offset from the guest's types
	body func(m *module) []byte
}

// The helpers' indices, from the first.
const (
	helperSlow       = iota // () -> (): yields
	helperEnter             // (i64 stack) -> (): yields, or tells the host that the stack is spent
	helperBytes             // (i32 n) -> n: charges n bytes moved
	helperEntries           // (i32 n) -> n: charges n table entries moved
	helperMemoryGrow        // (i32 n) -> n: charges growing the memory by n pages
	helperTableGrow         // (i32 n) -> n: charges growing a table by n entries
)

var helpers = [...]helper{
	helperSlow:  {"slow", typeOfSlow, func(m *module) []byte { return append(m.yield([]byte{0}), opEnd) }},
	helperEnter: {"enter", typeOfEnter, (*module).enter},
	// 8 bytes a unit: at 10 GB/s a unit takes 0.8 ns.
	helperBytes: {"bytes", typeOfBulk, func(m *module) []byte {
		return m.bulk(func(b []byte) []byte { return append(b, opLocalGet, 0, opI64ExtendU, opI64Const, 3, opI64ShrU) })
	}},
	helperEntries: {"entries", typeOfBulk, func(m *module) []byte {
		return m.bulk(func(b []byte) []byte { return append(b, opLocalGet, 0, opI64ExtendU) })
	}},
	// Growing may copy all that there was: 1,024 units for each page before and after. More pages than allowed fail at once.
	helperMemoryGrow: {"memory.grow", typeOfBulk, func(m *module) []byte {
		return m.bulk(func(b []byte) []byte {
			b = atMost(b, m.info.MemoryMax)
			if m.memory() {
				b = append(b, opMemorySize, 0, opI32Add)
			}
			return append(b, opI64ExtendU, opI64Const, 10, opI64Shl)
		})
	}},
	helperTableGrow: {"table.grow", typeOfBulk, func(m *module) []byte {
		return m.bulk(func(b []byte) []byte {
			b = append(atMost(b, m.opt.TableEntries), opI64ExtendU, opI64Const)
			return append(appendS64(b, int64(m.opt.TableEntries)>>3), opI64Add)
		})
	}},
}

// memory reports whether the module has a memory.
func (m *module) memory() bool {
	r := m.sections[secMemory]
	return r.b != nil && r.count() > 0
}

// atMost appends code that pushes min(local 0, n), unsigned.
func atMost(b []byte, n uint32) []byte {
	limit := appendS64([]byte{opI32Const}, int64(int32(n)))
	b = append(append(b, opLocalGet, 0), limit...)
	b = append(append(b, opLocalGet, 0), limit...)
	return append(b, opI32LtU, opSelect)
}

// yield appends code that calls the host with the fuel and takes what it returns.
func (m *module) yield(b []byte) []byte {
	b = appendU32(append(b, opGlobalGet), m.info.Fuel)
	b = appendU32(append(b, opCall), m.info.Yield)
	return appendU32(append(b, opGlobalSet), m.info.Fuel)
}

// enter is the body of helperEnter: if local 0 is negative, the host is called with StackSpent, which it is not to return
// from. Otherwise it is the fuel that is spent.
func (m *module) enter() []byte {
	b := []byte{0, opLocalGet, 0, opI64Const, 0, opI64LtS, opIf, blockEmpty, opI64Const}
	b = appendU32(append(appendS64(b, StackSpent), opCall), m.info.Yield)
	return append(m.yield(append(b, opDrop, opUnreachable, opEnd)), opEnd)
}

// bulk is the body of a helper that charges what amount pushes, an i64, and returns its argument.
func (m *module) bulk(amount func([]byte) []byte) []byte {
	b := appendU32([]byte{0, opGlobalGet}, m.info.Fuel)
	b = append(amount(b), opI64Sub, opGlobalSet)
	b = appendU32(append(appendU32(b, m.info.Fuel), opGlobalGet), m.info.Fuel)
	b = append(b, opI64Const, 0, opI64LtS, opIf, blockEmpty)
	return append(m.yield(b), opEnd, opLocalGet, 0, opEnd)
}
