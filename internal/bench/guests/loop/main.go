//go:build wasip1

// Command loop is a guest that never returns.
package main

func main() {}

//go:wasmexport sluice_abi_v1
func marker() {}

//go:wasmexport sluice_process
func process(records, bytes int32) int32 {
	for {
		spin++
	}
}

var spin uint32
