package abi

import "unsafe"

// The compiler does not merge the loads of encoding/binary for WebAssembly,
// which is little-endian and loads at any address.

func load32(b []byte) uint32 {
	_ = b[3]
	return *(*uint32)(unsafe.Pointer(unsafe.SliceData(b)))
}

func load64(b []byte) uint64 {
	_ = b[7]
	return *(*uint64)(unsafe.Pointer(unsafe.SliceData(b)))
}
