package pluginbuild

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/catalog"
)

var reproducible = flag.Bool("reproducible", false, "build twice from different folders with empty caches, which takes minutes")

const root = "../.."

func build(t *testing.T, o Options) *Result {
	t.Helper()
	r, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Each module holds its manifest and imports only what it uses.
func TestFirstParty(t *testing.T) {
	common := []string{abi.ModuleExtism, abi.ModuleBatch, abi.ModuleWASI}
	for name, c := range map[string]struct {
		functions []string // of Sluice's own modules
		maxSize   int64
	}{
		"filter":   {[]string{"sluice:batch/1 read", "sluice:batch/1 write", "sluice:json/1 get", "sluice:json/1 paths"}, 5 << 20},
		"validate": {[]string{"sluice:batch/1 info", "sluice:batch/1 read", "sluice:batch/1 write", "sluice:schema/1 check", "sluice:schema/1 errors", "sluice:schema/1 find"}, 4 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := build(t, Options{Dir: filepath.Join(root, "plugins", name), Out: filepath.Join(t.TempDir(), "m.wasm")})
			if r.Size > c.maxSize {
				t.Errorf("%d bytes, want at most %d: look for a package that brings much with it", r.Size, c.maxSize)
			}
			m, err := catalog.Resolve(r.Path, "")
			if err != nil {
				t.Fatal(err)
			}
			if m.Digest != r.Digest || m.Name != name {
				t.Errorf("read back %s %s, want %s %s", m.Name, m.Digest, name, r.Digest)
			}
			if diff := cmp.Diff(r.Manifest, m.Manifest, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("manifest (-plugin.yaml +module):\n%s", diff)
			}
			imports, err := abi.Imports(m.Wasm)
			if err != nil {
				t.Fatal(err)
			}
			var functions []string
			for _, i := range imports {
				if strings.HasPrefix(i.Module, "sluice:") {
					functions = append(functions, i.Module+" "+i.Name)
				}
			}
			slices.Sort(functions)
			if diff := cmp.Diff(c.functions, slices.Compact(functions)); diff != "" {
				t.Errorf("imports (-want +got):\n%s", diff)
			}
			for _, want := range common {
				if !slices.Contains(r.Capabilities, want) {
					t.Errorf("capabilities %v lack %s", r.Capabilities, want)
				}
			}
		})
	}
	if got := dirs(t, filepath.Join(root, "plugins")); !slices.Equal(got, catalog.FirstParty) {
		t.Errorf("plugins has %v, catalog.FirstParty says %v", got, catalog.FirstParty)
	}
}

func dirs(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestReproducible compares modules that are built from two places. Without
// -reproducible both use the caller's build cache.
func TestReproducible(t *testing.T) {
	for _, name := range catalog.FirstParty {
		t.Run(name, func(t *testing.T) {
			digests := map[string]bool{}
			for range 2 {
				dir := filepath.Join(t.TempDir(), "elsewhere")
				for _, part := range []string{"go.mod", "go.sum", "abi", "sdk", "plugins/" + name} {
					copyTree(t, filepath.Join(root, part), filepath.Join(dir, part))
				}
				var env []string
				if *reproducible {
					env = []string{"GOCACHE=" + filepath.Join(t.TempDir(), "cache")}
				}
				r := build(t, Options{Dir: filepath.Join(dir, "plugins", name), Out: filepath.Join(dir, "m.wasm"), Env: env})
				digests[r.Digest] = true
			}
			r := build(t, Options{Dir: filepath.Join(root, "plugins", name), Out: filepath.Join(t.TempDir(), "m.wasm")})
			digests[r.Digest] = true
			if len(digests) != 1 {
				t.Errorf("three builds from three places made different modules: %v", digests)
			}
		})
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else {
		var b []byte
		if b, err = os.ReadFile(from); err == nil {
			err = os.WriteFile(to, b, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestErrors(t *testing.T) {
	const source = "package main\n\nimport \"unsafe\"\n\n//go:wasmimport sluice:kv/1 get\nfunc get(p unsafe.Pointer) uint32\n\n//go:wasmexport sluice_process\nfunc process(n, b uint32) uint32 { return get(nil) }\n\nfunc main() {}\n"
	const manifest = "name: a\nversion: '1'\n"
	for _, c := range []struct{ name, manifest, source, want string }{
		{"no manifest", "", source, "a middleware needs one beside its sources"},
		{"manifest is no YAML", "name: [", source, ManifestFile},
		{"unknown member", manifest + "licence: MIT\n", source, `unknown field "licence"`},
		{"no version", "name: a\n", source, "version is missing"},
		{"does not compile", manifest, "package main\n\nfunc main() { x }\n", "undefined: x"},
		{"permission is missing", manifest, source, "it imports sluice:kv/1: add that capability to permissions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{ManifestFile: c.manifest, "main.go": c.source, "go.mod": "module a\n\ngo 1.26\n"} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out := filepath.Join(dir, "out.wasm")
			_, err := Build(context.Background(), Options{Dir: dir, Out: out})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("a failed build left a file")
			}
		})
	}
}
