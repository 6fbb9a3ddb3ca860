// Package catalog answers which bytes a plugin's name stands for.
//
// A name is that of a built-in module, which is part of this binary, or the
// path of a .wasm file. Either may be pinned to a digest, as in
//
//	validate@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//
// and is then refused if its bytes have another one. What is returned is a
// WebAssembly module whose manifest, if it has one, can be read; whether it can
// run is for package host to say. Nothing here runs foreign code or uses the
// network.
package catalog

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/abi"
)

// Errors of Resolve, to be told apart with errors.Is.
var (
	// ErrUnknown says that no built-in module has the name.
	ErrUnknown = errors.New("no built-in module has this name")
	// ErrNotBuilt says that this binary was built without its modules.
	ErrNotBuilt = errors.New("this binary was built without its modules: build it with `make build`")
	// ErrDigest says that the bytes are not those that the name is pinned to.
	ErrDigest = errors.New("digest mismatch")
	// ErrMismatch says that a built-in file holds something else than its
	// name says.
	ErrMismatch = errors.New("built-in module is damaged or out of date: build again with `make build`")
)

// MaxModuleBytes bounds the files that Resolve reads, in bytes.
const MaxModuleBytes = 256 << 20

// FirstParty names the modules that ship with Sluice.
var FirstParty = []string{"filter", "validate"}

//go:embed builtin
var embedded embed.FS

// Module is a module's bytes and what they say of themselves.
type Module struct {
	// Name is the built-in's name; of a file it is the manifest's, or the
	// file's without .wasm where there is no manifest.
	Name string
	// Digest is sha256: and 64 hexadecimal digits, over Wasm.
	Digest string
	// Path is the file that it came from, empty for a built-in.
	Path string
	// Manifest is nil where the module has none.
	Manifest *abi.Manifest
	// Wasm is the module itself. It must not be written to.
	Wasm []byte
}

// Builtin reports whether m is part of this binary.
func (m *Module) Builtin() bool { return m.Path == "" }

// Resolve returns the module that a name stands for. It is the path of a
// file if it holds a slash or backslash or ends in .wasm; a relative one is
// relative to dir.
func Resolve(name, dir string) (*Module, error) {
	return resolve(embedded, name, dir)
}

// List returns the built-in modules by name. Those that this binary was
// built without are missing; an empty list is [ErrNotBuilt].
func List() ([]*Module, error) { return list(embedded) }

// Digest returns the digest of a module's bytes as Sluice writes it.
func Digest(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func resolve(builtin fs.FS, name, dir string) (*Module, error) {
	name, pin, err := cutPin(name)
	if err != nil {
		return nil, err
	}
	m, err := load(builtin, name, dir)
	if err != nil {
		return nil, err
	}
	if pin != "" && pin != m.Digest {
		return nil, fmt.Errorf("plugin %q is %s but is pinned to %s: %w", name, m.Digest, pin, ErrDigest)
	}
	return m, nil
}

// cutPin splits name@sha256:digest.
func cutPin(s string) (name, pin string, err error) {
	at := strings.LastIndex(s, "@sha256:")
	if at < 0 {
		return s, "", nil
	}
	name, pin = s[:at], s[at+1:]
	sum, err := hex.DecodeString(strings.TrimPrefix(pin, "sha256:"))
	if err != nil || len(sum) != sha256.Size {
		return "", "", fmt.Errorf("plugin %q: a digest is sha256: and 64 hexadecimal digits", s)
	}
	return name, strings.ToLower(pin), nil
}

func load(builtin fs.FS, name, dir string) (*Module, error) {
	if strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".wasm") {
		return loadFile(name, dir)
	}
	return loadBuiltin(builtin, name)
}

func loadBuiltin(builtin fs.FS, name string) (*Module, error) {
	wasm, err := fs.ReadFile(builtin, path.Join("builtin", name+".wasm"))
	switch {
	case err == nil:
	case slices.Contains(FirstParty, name):
		return nil, fmt.Errorf("plugin %q: %w", name, ErrNotBuilt)
	default:
		return nil, fmt.Errorf("plugin %q: %w: there are %s; a file is named by its path, such as ./%s.wasm", name, ErrUnknown, names(builtin), name)
	}
	m, err := newModule(wasm)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w: %w", name, ErrMismatch, err)
	}
	if m.Manifest == nil || m.Manifest.Name != name {
		return nil, fmt.Errorf("plugin %q: %w: its manifest names another one", name, ErrMismatch)
	}
	m.Name = name
	return m, nil
}

// names lists the built-in modules for an error's text.
func names(builtin fs.FS) string {
	files := wasmFiles(builtin)
	if len(files) == 0 {
		return "none in this binary (see `make build`)"
	}
	return strings.Join(files, ", ")
}

// wasmFiles returns the names of the built-in modules, in order.
func wasmFiles(builtin fs.FS) []string {
	files, err := fs.Glob(builtin, "builtin/*.wasm")
	if err != nil {
		return nil // the pattern is right
	}
	for i := range files {
		files[i] = strings.TrimSuffix(path.Base(files[i]), ".wasm")
	}
	return files
}

func loadFile(name, dir string) (*Module, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("plugin: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("plugin %s: not a file", name)
	case info.Size() > MaxModuleBytes:
		return nil, fmt.Errorf("plugin %s: %d bytes, at most %d", name, info.Size(), MaxModuleBytes)
	}
	wasm, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("plugin: %w", err)
	}
	m, err := newModule(wasm)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", name, err)
	}
	m.Path, m.Name = name, strings.TrimSuffix(filepath.Base(name), ".wasm")
	if m.Manifest != nil {
		m.Name = m.Manifest.Name
	}
	return m, nil
}

func newModule(wasm []byte) (*Module, error) {
	manifest, err := abi.ReadManifest(wasm)
	if err != nil {
		return nil, err
	}
	return &Module{Digest: Digest(wasm), Manifest: manifest, Wasm: wasm}, nil
}

func list(builtin fs.FS) ([]*Module, error) {
	var modules []*Module
	for _, name := range wasmFiles(builtin) {
		m, err := loadBuiltin(builtin, name)
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	if len(modules) == 0 {
		return nil, ErrNotBuilt
	}
	return modules, nil
}
