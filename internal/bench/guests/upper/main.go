//go:build wasip1

// Command upper is a guest that replaces each value by one with the ASCII letters in upper case, eight bytes at a time.
package main

import (
	"encoding/binary"
	"unsafe"
)

func main() {}

//go:wasmexport sluice_abi_v1
func marker() {}

//go:wasmimport sluice:batch/1 read
func read(fields, first, count int32, ptr unsafe.Pointer, size int32) int32

//go:wasmimport sluice:batch/1 write
func write(ptr unsafe.Pointer, size int32) int32

var (
	in  = make([]byte, 512<<10)
	out = make([]byte, 0, 1<<20)
)

const (
	fieldValue = 4
	opReplace  = 2
)

//go:wasmexport sluice_process
func process(records, bytes int32) int32 {
	if read(fieldValue, 0, records, unsafe.Pointer(&in[0]), int32(len(in))) > int32(len(in)) {
		return 1
	}
	out = out[:0]
	entry := in
	for i := range uint32(records) {
		size, length := le.Uint32(entry), int32(le.Uint32(entry[8:]))
		if length >= 0 {
			out = le.AppendUint16(out, opReplace)
			out = le.AppendUint16(out, 1)
			out = le.AppendUint32(out, uint32(16+4+4+length))
			out = le.AppendUint32(out, i)
			out = le.AppendUint32(out, 1)
			out = le.AppendUint32(out, fieldValue)
			out = le.AppendUint32(out, uint32(length))
			out = append(out, entry[16:16+length]...)
			upper(out[len(out)-int(length):])
		}
		entry = entry[size:]
	}
	write(unsafe.Pointer(&out[0]), int32(len(out)))
	return 0
}

var le = binary.LittleEndian

// upper works on eight bytes at a time: a byte from a to z has bit 5 cleared.
func upper(b []byte) {
	const ones = 0x0101010101010101
	for len(b) >= 8 {
		w := le.Uint64(b)
		low := w &^ (0x80 * ones)
		isLetter := (low + (0x80-'a')*ones) &^ (low + (0x80-'z'-1)*ones) &^ w & (0x80 * ones)
		le.PutUint64(b, w^isLetter>>2)
		b = b[8:]
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 32
		}
	}
}
