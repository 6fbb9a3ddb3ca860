//go:build wasip1

// Command touch is a guest that is called and reads nothing.
package main

func main() {}

//go:wasmexport sluice_abi_v1
func marker() {}

//go:wasmexport sluice_process
func process(records, bytes int32) int32 { return 0 }
