package host

import (
	"github.com/tetratelabs/wazero/experimental"
)

// linearMemory is the memory of one instance: an address range of the limit's size is reserved at once and committed by the
// kernel as it is touched, so that growing neither copies nor moves. It is not for concurrent use, as its instance is not.
type linearMemory struct {
	limit    uint64 // bytes
	reserved []byte
	denied   bool // growth was refused since this was last cleared
}

var (
	_ experimental.MemoryAllocator = (*linearMemory)(nil)
	_ experimental.LinearMemory    = (*linearMemory)(nil)
)

// Allocate reserves the memory. The runtime asks once for each instance.
func (m *linearMemory) Allocate(_, maximum uint64) experimental.LinearMemory {
	m.reserved = reserve(min(maximum, m.limit))
	return m
}

// Reallocate returns the memory with size bytes, nil past the limit.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		m.denied = true
		return nil
	}
	return m.reserved[:size:size]
}

// Free gives the memory back. A second time does nothing.
func (m *linearMemory) Free() {
	if m.reserved != nil {
		unreserve(m.reserved)
		m.reserved = nil
	}
}
