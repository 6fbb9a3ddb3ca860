//go:build wasip1

// Command spin is a guest that runs a tight loop of a million steps, for the price of metering.
package main

func main() {}

//go:wasmexport sluice_abi_v1
func marker() {}

//go:wasmexport sluice_process
func process(records, bytes int32) int32 {
	h := uint32(2166136261)
	for i := range uint32(1_000_000) {
		h = (h ^ i) * 16777619
	}
	sum += h
	return 0
}

var sum uint32
