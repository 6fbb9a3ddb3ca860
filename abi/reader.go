package abi

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// ErrMalformed is wrapped by every error about bytes that do not keep to
// the specification.
var ErrMalformed = errors.New("malformed")

var le = binary.LittleEndian

// reader reads from the front of b. The first read past the end fails it;
// from then on every method returns zero values, so that a decoder is a
// straight line with one check at its end.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) u32() uint32 {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	v := load32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) u64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := load64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes returns a view of the next n bytes, never nil unless it fails.
func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// nullable returns a view of n bytes, nil for -1. Other negative lengths
// fail.
func (r *reader) nullable(n int32) []byte {
	if n == -1 {
		return nil
	}
	if n < 0 {
		r.fail()
		return nil
	}
	return r.bytes(uint32(n))
}

// text reads a u32 length and that many bytes.
func (r *reader) text() []byte { return r.bytes(r.u32()) }

// count reads the number of items that follow, each of at least min bytes.
// A number that cannot fit into what is left fails, so that a hostile
// number never makes a decoder allocate.
func (r *reader) count(min int) int {
	n := r.u32()
	if uint64(n)*uint64(min) > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// header reads one header whose name and value are views.
func (r *reader) header() Header {
	nameLen, valueLen := r.u32(), int32(r.u32())
	name := r.bytes(nameLen)
	return Header{Name: view(name), Value: r.nullable(valueLen)}
}

// view returns a string that shares b's memory.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// viewBytes returns s's bytes, which must not be written to.
func viewBytes(s string) []byte {
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

func appendU32(dst []byte, v uint32) []byte { return le.AppendUint32(dst, v) }

// appendNullable appends an i32 length, -1 for nil, and the bytes.
func appendNullable(dst, b []byte) []byte {
	dst = appendU32(dst, uint32(nullableLen(b)))
	return append(dst, b...)
}

func appendText(dst []byte, s string) []byte {
	dst = appendU32(dst, uint32(len(s)))
	return append(dst, s...)
}

func nullableLen(b []byte) int32 {
	if b == nil {
		return -1
	}
	return int32(len(b))
}

// pad rounds n up to the next multiple of 8.
func pad(n int) int { return (n + 7) &^ 7 }

var zeros [8]byte
