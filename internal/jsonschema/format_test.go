package jsonschema

import (
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
	const bytes = "0123456789-:TZ.+ tza\xff,"
	rnd := rand.New(rand.NewPCG(1, 1))
	for name, accepts := range formats {
		accepted := 0
		for _, sample := range samples[name] {
			for range 20_000 {
				b := []byte(sample)
				for range rnd.IntN(3) {
					b[rnd.IntN(len(b))] = bytes[rnd.IntN(len(bytes))]
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
