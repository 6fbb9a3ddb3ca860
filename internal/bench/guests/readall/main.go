//go:build wasip1

// Command readall is a guest that reads all fields of all records.
package main

import "unsafe"

func main() {}

//go:wasmexport sluice_abi_v1
func marker() {}

//go:wasmimport sluice:batch/1 read
func read(fields, first, count int32, ptr unsafe.Pointer, size int32) int32

var buf = make([]byte, 512<<10)

//go:wasmexport sluice_process
func process(records, bytes int32) int32 {
	if read(15, 0, records, unsafe.Pointer(&buf[0]), int32(len(buf))) > int32(len(buf)) {
		return 1
	}
	return 0
}
