package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/internal/testenv"
)

// module returns a module with a manifest of this name.
func module(t *testing.T, name string) []byte {
	t.Helper()
	m := abi.Manifest{Name: name, Version: "1.0.0", Description: "does " + name}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := abi.SetCustomSection([]byte("\x00asm\x01\x00\x00\x00"), abi.ManifestSection, b)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func builtins(t *testing.T) fstest.MapFS {
	return fstest.MapFS{
		"builtin/README.md":     {Data: []byte("readme")},
		"builtin/upper.wasm":    {Data: module(t, "upper")},
		"builtin/lower.wasm":    {Data: module(t, "lower")},
		"builtin/validate.wasm": {Data: module(t, "filter")},
		"builtin/broken.wasm":   {Data: []byte("#!/bin/sh")},
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	wasm := module(t, "mine")
	bare := []byte("\x00asm\x01\x00\x00\x00")
	for name, b := range map[string][]byte{"a.wasm": wasm, "bare.wasm": bare, "text": []byte("hello")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	upper := Digest(module(t, "upper"))
	for _, c := range []struct {
		name, wantName, wantPath string
		wantErr                  error
		wantText                 string
	}{
		{name: "upper", wantName: "upper"},
		{name: "upper@" + upper, wantName: "upper"},
		{name: "upper@" + strings.ToUpper(upper[:7]) + upper[7:], wantErr: ErrUnknown},
		{name: "upper@" + Digest(nil), wantErr: ErrDigest, wantText: upper},
		{name: "upper@sha256:abc", wantText: "64 hexadecimal digits"},
		{name: "a.wasm", wantName: "mine", wantPath: filepath.Join(dir, "a.wasm")},
		{name: "./a.wasm@" + Digest(wasm), wantName: "mine", wantPath: filepath.Join(dir, "a.wasm")},
		{name: "./a.wasm@" + Digest(bare), wantErr: ErrDigest},
		{name: filepath.Join(dir, "bare.wasm"), wantName: "bare", wantPath: filepath.Join(dir, "bare.wasm")},
		{name: "./text", wantErr: abi.ErrNotWasm},
		{name: "./missing.wasm", wantErr: os.ErrNotExist, wantText: filepath.Join(dir, "missing.wasm")},
		{name: "./.", wantText: "not a file"},
		{name: "other", wantErr: ErrUnknown, wantText: "there are broken, lower, upper, validate"},
		{name: "filter", wantErr: ErrNotBuilt, wantText: "make build"},
		{name: "validate", wantErr: ErrMismatch, wantText: "make build"},
		{name: "broken", wantErr: ErrMismatch},
		{name: "", wantErr: ErrUnknown},
		{name: "..", wantErr: ErrUnknown},
	} {
		m, err := resolve(builtins(t), c.name, dir)
		if c.wantErr != nil || c.wantText != "" {
			if err == nil || c.wantErr != nil && !errors.Is(err, c.wantErr) || !strings.Contains(err.Error(), c.wantText) {
				t.Errorf("%q: got error %v, want %v with %q", c.name, err, c.wantErr, c.wantText)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.name, err)
			continue
		}
		if m.Name != c.wantName || m.Path != c.wantPath || m.Builtin() != (c.wantPath == "") || m.Digest != Digest(m.Wasm) {
			t.Errorf("%q: got name %q, path %q, digest %s", c.name, m.Name, m.Path, m.Digest)
		}
	}
}

func TestList(t *testing.T) {
	files := builtins(t)
	if _, err := list(files); !errors.Is(err, ErrMismatch) {
		t.Errorf("with a broken file: got error %v, want %v", err, ErrMismatch)
	}
	delete(files, "builtin/broken.wasm")
	delete(files, "builtin/validate.wasm")
	got, err := list(files)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Name != "lower" || got[1].Manifest.Description != "does upper" {
		t.Errorf("got %v, want lower and upper", got)
	}
	if _, err := list(fstest.MapFS{}); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("without modules: got error %v, want %v", err, ErrNotBuilt)
	}
}

// What this binary holds, if anything, is whole.
func TestEmbedded(t *testing.T) {
	modules, err := List()
	if errors.Is(err, ErrNotBuilt) {
		testenv.Missing(t, "the modules are not built: make plugins")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		t.Logf("%s %s %s %d bytes", m.Name, m.Manifest.Version, m.Digest, len(m.Wasm))
	}
}
