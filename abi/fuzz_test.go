package abi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The property of every fuzz test here: a decoder never panics, and what it
// decodes is encoded again as the same bytes.

// seed adds the bytes of all vectors in a file.
func seed(f *testing.F, file string, add func(b []byte, n int)) {
	f.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		f.Fatal(err)
	}
	var vectors []struct {
		Hex                    string
		Fields, Records, Paths int
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		f.Fatal(err)
	}
	for _, v := range vectors {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			f.Fatal(err)
		}
		add(b, v.Fields+v.Records+v.Paths)
	}
}

func FuzzInfo(f *testing.F) {
	seed(f, "info.json", func(b []byte, _ int) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		var i Info
		if err := DecodeInfo(b, &i); err != nil {
			return
		}
		if got := AppendInfo(nil, &i); !bytes.Equal(got, b) {
			t.Errorf("%x was encoded again as %x", b, got)
		}
		if n := InfoSize(&i); n != len(b) {
			t.Errorf("%x: InfoSize is %d, want %d", b, n, len(b))
		}
	})
}

func FuzzEntries(f *testing.F) {
	seed(f, "entries.json", func(b []byte, n int) { f.Add(b, uint8(n)) })
	f.Fuzz(func(t *testing.T, b []byte, mask uint8) {
		fields := Fields(mask) & FieldsAll
		var e Entry
		for rest := b; len(rest) > 0; {
			next, err := NextEntry(rest, fields, &e)
			if err != nil {
				return
			}
			entry := rest[:len(rest)-len(next)]
			if got := e.AppendTo(nil, fields); !bytes.Equal(got, entry) {
				t.Fatalf("fields %d: %x was encoded again as %x", fields, entry, got)
			}
			if n := EntrySize(&e.Record, fields); n != len(entry) {
				t.Fatalf("fields %d: %x: EntrySize is %d, want %d", fields, entry, n, len(entry))
			}
			if fields == FieldsAll {
				if got := AppendEntry(nil, &e.Record, fields); !bytes.Equal(got, entry) {
					t.Fatalf("record of %x was encoded as %x", entry, got)
				}
			}
			rest = next
		}
	})
}

func FuzzVerdicts(f *testing.F) {
	seed(f, "verdicts.json", func(b []byte, n int) { f.Add(b, uint16(n)) })
	f.Fuzz(func(t *testing.T, b []byte, records uint16) {
		checkErr := CheckVerdicts(b, int(records))
		var again []byte
		var v Verdict
		r := NewVerdictReader(b, int(records))
		for r.Next(&v) {
			again = AppendVerdict(again, &v)
			record, _ := v.Patch.Apply(Record{Headers: []Header{{Name: "a"}}}, nil)
			_ = record
		}
		if (checkErr == nil) != (r.Err() == nil) {
			t.Fatalf("%x: checked with %v, read with %v", b, checkErr, r.Err())
		}
		if checkErr == nil && !bytes.Equal(again, b) {
			t.Errorf("%x was encoded again as %x", b, again)
		}
	})
}

func FuzzPaths(f *testing.F) {
	seed(f, "paths.json", func(b []byte, _ int) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		paths, err := DecodePaths(b)
		if err != nil {
			return
		}
		if got := AppendPaths(nil, paths); !bytes.Equal(got, b) {
			t.Errorf("%x was encoded again as %x", b, got)
		}
	})
}

func FuzzJSON(f *testing.F) {
	seed(f, "json.json", func(b []byte, n int) { f.Add(b, uint8(n)) })
	f.Fuzz(func(t *testing.T, b []byte, paths uint8) {
		values := make([]JSONValue, paths)
		for rest := b; len(rest) > 0; {
			s, next, err := NextJSON(rest, values)
			if err != nil {
				return
			}
			entry := rest[:len(rest)-len(next)]
			if got := AppendJSON(nil, s, values); !bytes.Equal(got, entry) {
				t.Fatalf("%x was encoded again as %x", entry, got)
			}
			rest = next
		}
	})
}

func FuzzModule(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	f.Add(testModule)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = Imports(b)
		_, _ = ReadManifest(b)
		out, err := SetCustomSection(b, "s", []byte("content"))
		if err != nil {
			return
		}
		got, err := CustomSection(out, "s")
		if err != nil || string(got) != "content" {
			t.Fatalf("%x: read back %q, %v", b, got, err)
		}
		again, err := SetCustomSection(out, "s", []byte("content"))
		if err != nil || !bytes.Equal(again, out) {
			t.Errorf("%x: setting the section again changed %x to %x, %v", b, out, again, err)
		}
	})
}
