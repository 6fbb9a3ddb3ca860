package jsonschema

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/xeipuuv/gojsonschema"
)

// What is one byte away from right is where formats differ.
func TestFormatsAcceptOnlyWhatTheJudgeAccepts(t *testing.T) {
	samples := map[string][]string{
		"date":      {"2026-01-02", "2024-02-29", "2000-02-29", "1900-02-29", "2023-02-28", "0000-12-31", "2026-04-30"},
		"time":      {"03:04:05Z", "23:59:59.999999999+23:59", "00:00:00-00:00"},
		"date-time": {"2026-01-02T03:04:05Z", "2024-02-29T23:59:59.1-07:30", "9999-12-31T00:00:00.123456789Z"},
		"uuid":      {"01234567-89ab-cdef-0123-456789abcdef"},
	}
	const others = "0123456789-:TZ.+ tza\xff,"
	rnd := rand.New(rand.NewPCG(1, 1))
	for name, accepts := range formats {
		accepted := 0
		for _, sample := range samples[name] {
			for range 20_000 {
				b := []byte(sample)
				for range rnd.IntN(3) {
					b[rnd.IntN(len(b))] = others[rnd.IntN(len(others))]
				}
				b = b[:len(b)-rnd.IntN(2)*rnd.IntN(len(b))]
				if !accepts(b) {
					continue
				}
				accepted++
				if !gojsonschema.FormatCheckers.IsFormat(name, string(b)) {
					t.Errorf("%s: %q is accepted, but not by the judge", name, b)
				}
			}
		}
		if accepted < 1000 {
			t.Errorf("%s: only %d of the samples were accepted", name, accepted)
		}
	}
}

// The searches in strings agree with a search byte by byte, wherever what they
// look for stands and whatever stands around it.
func TestStringStops(t *testing.T) {
	fill := bytes.Repeat([]byte("plain text, [\x7f]!#"), 300)
	for _, c := range []byte{'"', '\\', 0, 0x1f, 0x80, 0xff, '!', '#', ' ', '[', ']', 0x7f} {
		for _, size := range []int{0, 1, 7, 8, 9, 31, 32, 33, 40, 41, 63, 64, 65, 100, 2047, 2080, 2081, 2100, 4200} {
			for from := range 3 {
				for _, at := range []int{0, 1, 7, 8, 31, 32, 39, 40, 41, 47, 48, 72, 73, 2087, 2088, 2089, size - 1, size - 2} {
					b := append([]byte{}, fill[:size]...)
					if at >= 0 && at < size {
						b[at] = c
					}
					if from > size {
						continue
					}
					want := byteStop(b, from)
					if got := asciiStop(b, from); got != want {
						t.Fatalf("byte %#x at %d of %d, from %d: asciiStop: got %d, want %d", c, at, size, from, got, want)
					}
					if c < 0x80 {
						if got := stringStop(b, from); got != want {
							t.Fatalf("byte %#x at %d of %d, from %d: stringStop: got %d, want %d", c, at, size, from, got, want)
						}
					} else if got := stringStop(b, from); got != size {
						t.Fatalf("byte %#x at %d of %d, from %d: stringStop: got %d, want %d", c, at, size, from, got, size)
					}
				}
			}
		}
	}
}
