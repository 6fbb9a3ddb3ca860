package jsonschema

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xeipuuv/gojsonschema"
)

// records are what the benchmarks check against the demo schema.
var records = map[string][]byte{
	"45B":          []byte(`{"lumens":100,"sentAt":"2026-01-02T03:04:05Z"}`),
	"1KB":          []byte(`{"lumens":100,"sentAt":"2026-01-02T03:04:05Z","note":"` + strings.Repeat("All quiet. ", 86) + `"}`),
	"1KB-members":  []byte(`{"lumens":100` + strings.Repeat(`,"member":"some text","count":12345,"on":true`, 22) + `}`),
	"invalid-45B":  []byte(`{"lumens":true,"sentAt":"2026-01-02T03:04:05Z"}`),
	"invalid-1KB":  []byte(`{"sentAt":"2026-01-02T03:04:05Z","note":"` + strings.Repeat("All quiet. ", 86) + `","lumens":true}`),
	"invalid-1KBm": []byte(`{"lumens":true` + strings.Repeat(`,"member":"some text","count":12345,"on":true`, 22) + `}`),
}

// BenchmarkCheck compares with the judge alone, used as its documentation
// says, in turns.
func BenchmarkCheck(b *testing.B) {
	s := compile(b, demo, Config{})
	native, err := gojsonschema.NewSchema(gojsonschema.NewStringLoader(demo))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"45B", "1KB", "1KB-members", "invalid-45B", "invalid-1KB", "invalid-1KBm"} {
		value := records[name]
		b.Run(fmt.Sprintf("%s/sluice", name), func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				s.Check(value)
			}
		})
		b.Run(fmt.Sprintf("%s/judge", name), func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				result, err := native.Validate(gojsonschema.NewBytesLoader(value))
				if err != nil {
					b.Fatal(err)
				}
				for _, e := range result.Errors() {
					_ = e.String()
				}
			}
		})
	}
}
