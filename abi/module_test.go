package abi

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testModule has the type () -> (), five imports, one of them twice, and
// two custom sections.
var testModule = []byte("\x00asm\x01\x00\x00\x00" +
	section(0, "\x04name\x00") +
	section(1, "\x01\x60\x00\x00") +
	section(2, "\x05"+"\x01m\x01f\x00\x00"+"\x01m\x01f\x00\x00"+"\x01m\x01t\x01\x70\x00\x01"+"\x01m\x02me\x02\x01\x01\x02"+"\x01m\x01g\x03\x7f\x00") +
	section(0, "\x0dsluice.plugin{"))

func section(id byte, content string) string {
	return string(append(appendLEB([]byte{id}, uint32(len(content))), content...))
}

func TestImports(t *testing.T) {
	got, err := Imports(testModule)
	if err != nil {
		t.Fatal(err)
	}
	want := []Import{{"m", "f", ImportFunc}, {"m", "f", ImportFunc}, {"m", "t", ImportTable}, {"m", "me", ImportMemory}, {"m", "g", ImportGlobal}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("imports (-want +got):\n%s", diff)
	}
}

func TestModuleErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		wasm string
		is   error
	}{
		{"empty", "", ErrNotWasm},
		{"text", "hello, world", ErrNotWasm},
		{"component", "\x00asm\x0d\x00\x01\x00", ErrComponent},
		{"other version", "\x00asm\x02\x00\x00\x00", ErrNotWasm},
		{"section past the end", "\x00asm\x01\x00\x00\x00\x00\x05\x01a", ErrMalformed},
		{"size that never ends", "\x00asm\x01\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff", ErrMalformed},
		{"custom section without a name", "\x00asm\x01\x00\x00\x00\x00\x01\x05", ErrMalformed},
		{"section twice", "\x00asm\x01\x00\x00\x00\x00\x02\x01a\x00\x02\x01a", ErrMalformed},
	} {
		if _, err := CustomSection([]byte(c.wasm), "a"); !errors.Is(err, c.is) {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.is)
		}
	}
	if _, err := Imports([]byte("\x00asm\x01\x00\x00\x00\x02\x05\xff\xff\xff\xff\x0f")); !errors.Is(err, ErrMalformed) {
		t.Errorf("hostile number of imports: got error %v, want one that wraps ErrMalformed", err)
	}
}

func TestManifest(t *testing.T) {
	m := &Manifest{Name: "filter", Version: "1.2.3", Description: "drops <some>", ConfigSchema: map[string]any{"type": "object"},
		Permissions: []Permission{{"sluice:kv/1", "remembers"}}}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := SetCustomSection(testModule, ManifestSection, b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadManifest(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if n := bytes.Count(wasm, []byte(ManifestSection)); n != 1 {
		t.Errorf("the module has %d manifests, want the older one replaced", n)
	}
	if m, err := ReadManifest([]byte("\x00asm\x01\x00\x00\x00")); m != nil || err != nil {
		t.Errorf("module without a manifest: got %v, %v, want nil, nil", m, err)
	}
}

func TestManifestErrors(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`{`, "unexpected end"},
		{`{"name": "Filter", "version": "1"}`, `name "Filter"`},
		{`{"name": "a--b", "version": "1"}`, `name "a--b"`},
		{`{"name": "", "version": "1"}`, `name ""`},
		{`{"name": "a"}`, "version is missing"},
		{`{"name": "a", "version": "1", "permissions": [{"capability": "sluice:kv/1"}]}`, "permissions[0]"},
	} {
		if _, err := ParseManifest([]byte(c.json)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one that has %q", c.json, err, c.want)
		}
	}
	if _, err := ParseManifest([]byte(`{"name": "a.b-c_9", "version": "1", "later": true}`)); err != nil {
		t.Errorf("unknown members are ignored: %v", err)
	}
}
