//go:build !wasm

package abi

func load32(b []byte) uint32 { return le.Uint32(b) }

func load64(b []byte) uint64 { return le.Uint64(b) }
