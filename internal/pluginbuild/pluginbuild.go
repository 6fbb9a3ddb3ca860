// Package pluginbuild compiles middlewares that are written in Go.
//
// The result is reproducible: the same sources, module versions and Go release
// make the same bytes, in whatever directory and on whatever machine.
package pluginbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/catalog"
)

// ManifestFile is the name of the file beside a middleware's sources that
// describes it.
const ManifestFile = "plugin.yaml"

// granted are the import modules that need no permission.
var granted = []string{abi.ModuleBatch, abi.ModuleJSON, abi.ModuleSchema, abi.ModuleExtism, abi.ModuleWASI}

// Options say what to build.
type Options struct {
	// Dir holds the main package and its plugin.yaml.
	Dir string
	// Out is the file to write; NAME.wasm in the working directory where it
	// is empty, with the manifest's name.
	Out string
	// Go is the go command; "go" where it is empty.
	Go string
	// Env is added to the environment of the go command.
	Env []string
	// Log gets the compiler's messages; nil for nowhere but the error.
	Log io.Writer
}

// Result is what was built.
type Result struct {
	Path     string
	Digest   string
	Size     int64 // bytes
	Manifest *abi.Manifest
	// Capabilities are the import modules, each once, in order.
	Capabilities []string
}

// Build compiles the package and appends its manifest. The file at Out is
// replaced as a whole or not at all.
func Build(ctx context.Context, o Options) (*Result, error) {
	manifest, err := ReadManifest(filepath.Join(o.Dir, ManifestFile))
	if err != nil {
		return nil, err
	}
	if o.Out == "" {
		o.Out = manifest.Name + ".wasm"
	}
	wasm, err := compile(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", o.Dir, err)
	}
	capabilities, err := capabilities(wasm, manifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Dir, err)
	}
	section, err := manifest.Encode()
	if err != nil {
		return nil, err
	}
	if wasm, err = abi.SetCustomSection(wasm, abi.ManifestSection, section); err != nil {
		return nil, fmt.Errorf("append the manifest: %w", err)
	}
	if err := write(o.Out, wasm); err != nil {
		return nil, err
	}
	return &Result{Path: o.Out, Digest: catalog.Digest(wasm), Size: int64(len(wasm)), Manifest: manifest, Capabilities: capabilities}, nil
}

// ReadManifest reads a plugin.yaml. Members that a manifest does not have
// are errors here, where the author sees them.
func ReadManifest(path string) (*abi.Manifest, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read manifest: %w: a middleware needs one beside its sources, with its name and version at least", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := parseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func parseManifest(b []byte) (*abi.Manifest, error) {
	var v map[string]any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("the names of all members must be strings: %w", err)
	}
	var m abi.Manifest
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	return &m, nil
}

// compile runs the Go compiler and returns the module.
func compile(ctx context.Context, o Options) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "sluice-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "module.wasm")
	gocmd := o.Go
	if gocmd == "" {
		gocmd = "go"
	}
	cmd := exec.CommandContext(ctx, gocmd, "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", out, ".")
	cmd.Dir = o.Dir
	// Settings of the caller's that would change the bytes are left out.
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWASM=", "GOEXPERIMENT=", "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, o.Env...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	if o.Log != nil {
		cmd.Stderr = io.MultiWriter(&messages, o.Log)
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: install Go from https://go.dev/dl", err)
		}
		if text := strings.TrimSpace(messages.String()); text != "" && o.Log == nil {
			return nil, fmt.Errorf("%w:\n%s", err, text)
		}
		return nil, err
	}
	return os.ReadFile(out)
}

// capabilities returns the module's import modules and checks that the
// manifest asks for those that have to be granted.
func capabilities(wasm []byte, m *abi.Manifest) ([]string, error) {
	imports, err := abi.Imports(wasm)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, imp := range imports {
		if slices.Contains(names, imp.Module) {
			continue
		}
		names = append(names, imp.Module)
		asked := slices.ContainsFunc(m.Permissions, func(p abi.Permission) bool { return p.Capability == imp.Module })
		if !asked && !slices.Contains(granted, imp.Module) {
			return nil, fmt.Errorf("it imports %s: add that capability to permissions in %s, with the reason", imp.Module, ManifestFile)
		}
	}
	slices.Sort(names)
	return names, nil
}

// write replaces the file at path.
func write(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".sluice-build-*")
	if err != nil {
		return fmt.Errorf("write module: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write module: %w", err)
	}
	return nil
}
