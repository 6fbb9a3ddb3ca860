// Package extism is the host's half of Extism's plug-in interface, as far as the ABI offers it to guests: a store of
// bytes behind handles, in which inputs, outputs, errors, configuration and log lines change hands eight bytes at a time.
//
// Extism's own hosts keep the store in a second WebAssembly module. Here it is a byte slice with a bump allocator, emptied
// for each call. Handles are offsets into it. They are the guest's numbers: everything is checked, nothing panics.
//
// The package knows neither the runtime nor Sluice; package host registers these functions as `extism:host/env`.
package extism

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// MaxBytes bounds what a guest may allocate in one call, freed blocks included.
const MaxBytes = 4 << 20

// The largest buffer, in bytes, and list of blocks that are kept for the next call.
const (
	keepBytes  = 256 << 10
	keepBlocks = 1 << 10
)

// ErrHandle is wrapped by errors about offsets that are no handle or lie outside of the store.
var ErrHandle = errors.New("not a handle")

// Store holds the bytes of one call. The zero value is an empty store. It is not for concurrent use.
type Store struct {
	bytes  []byte
	blocks []block // ascending, without gaps larger than padding
	input  []byte
	inAt   uint64 // handle of the input, 0 until asked for
	out    block
	err    block
}

type block struct{ at, size uint64 }

// first is the offset of the first block; 0 is the handle of nothing.
const first = 8

// Reset empties the store and sets the input, which it keeps and does not change.
func (s *Store) Reset(input []byte) {
	if cap(s.bytes) > keepBytes {
		s.bytes = nil
	}
	if cap(s.blocks) > keepBlocks {
		s.blocks = nil
	}
	s.bytes, s.blocks = s.bytes[:0], s.blocks[:0]
	s.input, s.inAt = input, 0
	s.out, s.err = block{}, block{}
}

// Alloc returns the handle of n new zero bytes, 0 if n is 0 or there is no room for them.
func (s *Store) Alloc(n uint64) uint64 {
	if n == 0 || n > MaxBytes {
		return 0
	}
	at := max(uint64(len(s.bytes)), first)
	end := at + (n+7)&^7
	if end > MaxBytes {
		return 0
	}
	grow := int(end) - len(s.bytes)
	s.bytes = append(s.bytes, make([]byte, grow)...)
	s.blocks = append(s.blocks, block{at, n})
	return at
}

// Free gives a block back. Only the last block's bytes are used again within the call. Freeing what is no handle does nothing.
func (s *Store) Free(handle uint64) {
	if n := len(s.blocks); n > 0 && s.blocks[n-1].at == handle {
		s.blocks = s.blocks[:n-1]
		s.bytes = s.bytes[:handle]
	}
}

// Length returns the size of a block, 0 for what is no handle.
func (s *Store) Length(handle uint64) uint64 {
	i := sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].at >= handle })
	if i < len(s.blocks) && s.blocks[i].at == handle {
		return s.blocks[i].size
	}
	return 0
}

// Put stores a copy of b and returns its handle, 0 if b is empty or there is no room.
func (s *Store) Put(b []byte) uint64 {
	h := s.Alloc(uint64(len(b)))
	if h != 0 {
		copy(s.bytes[h:], b)
	}
	return h
}

// Bytes returns a view of a block, valid until the next Alloc or Reset. The handle 0 has no bytes.
func (s *Store) Bytes(handle uint64) ([]byte, error) {
	if handle == 0 {
		return nil, nil
	}
	n := s.Length(handle)
	if n == 0 {
		return nil, fmt.Errorf("%d: %w", handle, ErrHandle)
	}
	return s.bytes[handle:][:n], nil
}

// at returns n bytes at an offset inside of the store.
func (s *Store) at(offset, n uint64) ([]byte, error) {
	if offset < first || offset > uint64(len(s.bytes)) || n > uint64(len(s.bytes))-offset {
		return nil, fmt.Errorf("%d bytes at %d of %d: %w", n, offset, len(s.bytes), ErrHandle)
	}
	return s.bytes[offset:][:n], nil
}

// LoadU8 returns the byte at an offset.
func (s *Store) LoadU8(offset uint64) (byte, error) {
	b, err := s.at(offset, 1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// LoadU64 returns eight bytes at an offset, little-endian.
func (s *Store) LoadU64(offset uint64) (uint64, error) {
	b, err := s.at(offset, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// StoreU8 sets the byte at an offset.
func (s *Store) StoreU8(offset uint64, v byte) error {
	b, err := s.at(offset, 1)
	if err == nil {
		b[0] = v
	}
	return err
}

// StoreU64 sets eight bytes at an offset, little-endian.
func (s *Store) StoreU64(offset, v uint64) error {
	b, err := s.at(offset, 8)
	if err == nil {
		binary.LittleEndian.PutUint64(b, v)
	}
	return err
}

// InputLength returns the size of the input.
func (s *Store) InputLength() uint64 { return uint64(len(s.input)) }

// InputLoadU8 returns one byte of the input.
func (s *Store) InputLoadU8(offset uint64) (byte, error) {
	if offset >= uint64(len(s.input)) {
		return 0, fmt.Errorf("input byte %d of %d: %w", offset, len(s.input), ErrHandle)
	}
	return s.input[offset], nil
}

// InputLoadU64 returns eight bytes of the input, little-endian.
func (s *Store) InputLoadU64(offset uint64) (uint64, error) {
	if offset > uint64(len(s.input)) || uint64(len(s.input))-offset < 8 {
		return 0, fmt.Errorf("input bytes %d to %d of %d: %w", offset, offset+7, len(s.input), ErrHandle)
	}
	return binary.LittleEndian.Uint64(s.input[offset:]), nil
}

// InputOffset returns a handle of the input, 0 if it is empty.
func (s *Store) InputOffset() uint64 {
	if s.inAt == 0 {
		s.inAt = s.Put(s.input)
	}
	return s.inAt
}

// OutputSet makes n bytes at an offset the output.
func (s *Store) OutputSet(offset, n uint64) error {
	if n == 0 {
		s.out = block{}
		return nil
	}
	if _, err := s.at(offset, n); err != nil {
		return err
	}
	s.out = block{offset, n}
	return nil
}

// Output returns a copy of the output, nil if none was set.
func (s *Store) Output() []byte {
	if s.out.size == 0 || s.out.at+s.out.size > uint64(len(s.bytes)) {
		return nil
	}
	return append([]byte(nil), s.bytes[s.out.at:][:s.out.size]...)
}

// ErrorSet makes a block the text of the call's failure; the handle 0 takes it back.
func (s *Store) ErrorSet(handle uint64) error {
	b, err := s.Bytes(handle)
	if err != nil {
		return err
	}
	s.err = block{handle, uint64(len(b))}
	return nil
}

// Error returns the text of the call's failure, empty if none was set.
func (s *Store) Error() string {
	if s.err.size == 0 || s.err.at+s.err.size > uint64(len(s.bytes)) {
		return ""
	}
	return string(s.bytes[s.err.at:][:s.err.size])
}
