//go:build wasip1

// The guest that tests and benchmarks meter: what a middleware written in Go does, without an SDK.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

func main() {}

var records = func() (all [][]byte) {
	for i := range 100 {
		all = append(all, fmt.Appendf(nil, `{"id":%d,"lumens":%d,"sentAt":"2026-01-02T03:04:05Z","note":%q}`, i, i*37%1000,
			strings.Repeat("some words of padding ", 40)))
	}
	return all
}()

// filter looks for a text in n records of 1 KB.
//
//go:wasmexport filter
func filter(n int32) (kept int32) {
	for i := range n {
		if !bytes.Contains(records[i%100], []byte(`"lumens":999`)) {
			kept++
		}
	}
	return kept
}

// scan does what a filter does that compares fields of n records: splits, compares, counts, copies some.
//
//go:wasmexport scan
func scan(n int32) (kept int32) {
	seen := make(map[string]int)
	var out []byte
	for i := range n {
		r := records[i%100]
		for field := range bytes.SplitSeq(r, []byte(",")) {
			name, value, ok := bytes.Cut(field, []byte(":"))
			if !ok {
				continue
			}
			seen[string(name)] += len(value)
			if bytes.Equal(name, []byte(`"lumens"`)) && len(value) > 2 {
				out = append(out[:0], r...)
				kept++
			}
		}
	}
	return kept + int32(len(seen)) + int32(len(out))
}

// decode decodes n records with encoding/json.
//
//go:wasmexport decode
func decode(n int32) (sum int32) {
	for i := range n {
		var v struct {
			ID     int32
			Lumens int32
			Note   string
		}
		if err := json.Unmarshal(records[i%100], &v); err != nil {
			panic(err)
		}
		sum += v.ID + v.Lumens + int32(len(v.Note))
	}
	return sum
}

// hash is a tight loop of n rounds.
//
//go:wasmexport hash
func hash(n int32) int32 {
	h := uint32(2166136261)
	for i := range n {
		h = (h ^ uint32(i)) * 16777619
	}
	return int32(h)
}

// order sorts n numbers, by a function.
//
//go:wasmexport order
func order(n int32) int32 {
	s := make([]uint32, n)
	x := uint32(1)
	for i := range s {
		x = x*1664525 + 1013904223
		s[i] = x
	}
	slices.SortFunc(s, func(a, b uint32) int { return int(a>>1) - int(b>>1) })
	return int32(s[n/2])
}

// allocate makes n pieces of garbage.
//
//go:wasmexport allocate
func allocate(n int32) (sum int32) {
	var keep [16][]byte
	for i := range n {
		keep[i%16] = make([]byte, 256)
		sum += int32(len(keep[i*7%16]))
	}
	return sum
}

// deep recurses n deep.
//
//go:wasmexport deep
func deep(n int32) int32 {
	if n == 0 {
		return 0
	}
	return 1 + deep(n-1)
}

// forever does not return.
//
//go:wasmexport forever
func forever() {
	for {
	}
}

// crash panics.
//
//go:wasmexport crash
func crash() {
	panic("on purpose")
}
