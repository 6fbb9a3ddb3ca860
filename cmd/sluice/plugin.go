package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/catalog"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/pluginbuild"
)

var pluginBuildCommand = &command{
	name: "plugin build", args: "[-o FILE] DIR", summary: "compile a middleware that is written in Go",
	help: `
Compiles the main package in DIR to WebAssembly with the Go command, and appends the manifest from its plugin.yaml: name,
version, description, licence, config_schema and permissions. The same sources and Go release make the same bytes
everywhere. The Go command must be there; for other languages see abi/README.md.

Examples:
  {sluice} plugin build ./mine                # writes NAME.wasm, with the manifest's name
  {sluice} plugin build -o mine.wasm ./mine
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		out := fs.String("o", "", "the `file` to write")
		return func(ctx context.Context, e *env, args []string) error {
			if len(args) != 1 {
				return usage("name one directory with a main package and a plugin.yaml")
			}
			r, err := pluginbuild.Build(ctx, pluginbuild.Options{Dir: args[0], Out: *out, Log: e.err})
			if err != nil {
				return err
			}
			fmt.Fprintf(e.out, "%s  %s %s, %.1f MB, %s\n", r.Path, r.Manifest.Name, r.Manifest.Version, float64(r.Size)/1e6, r.Digest)
			return nil
		}
	},
}

var pluginInspectCommand = &command{
	name: "plugin inspect", args: "[--json] [NAME|FILE]", summary: "show what a module is and what it may do, without running it",
	help: `
Shows a built-in module or a .wasm file: its manifest, its digest, and the capabilities that it imports, which are all that it
can reach. No code of it runs. Without an argument, the built-in modules are listed.

Examples:
  {sluice} plugin inspect
  {sluice} plugin inspect validate
  {sluice} plugin inspect --json ./mine.wasm
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		asJSON := fs.Bool("json", false, "print one JSON object")
		return func(ctx context.Context, e *env, args []string) error {
			switch len(args) {
			case 0:
				return listPlugins(e.out)
			case 1:
				return inspect(ctx, e.out, args[0], *asJSON)
			}
			return usage("name one module")
		}
	},
}

func listPlugins(out io.Writer) error {
	modules, err := catalog.List()
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, m := range modules {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", m.Name, m.Manifest.Version, m.Digest[:len("sha256:")+12], m.Manifest.Description)
	}
	return tw.Flush()
}

// inspection is what plugin inspect knows.
type inspection struct {
	Name         string        `json:"name"`
	Path         string        `json:"path,omitempty"` // empty for built-ins
	Digest       string        `json:"digest"`
	Size         int           `json:"size"`
	Capabilities []string      `json:"capabilities"`
	Manifest     *abi.Manifest `json:"manifest"`
	// Unusable says why this version cannot run it, empty if it can.
	Unusable string `json:"unusable,omitempty"`
}

// errUnusable says that a module cannot run; why was printed.
var errUnusable = errors.New("this version of Sluice cannot run the module")

func inspect(ctx context.Context, out io.Writer, name string, asJSON bool) error {
	m, err := catalog.Resolve(name, "")
	if err != nil {
		return err
	}
	i := inspection{Name: m.Name, Path: m.Path, Digest: m.Digest, Size: len(m.Wasm), Manifest: m.Manifest, Capabilities: []string{}}
	imports, err := abi.Imports(m.Wasm)
	if err != nil {
		return fmt.Errorf("plugin %s: %w", name, err)
	}
	for _, im := range imports {
		i.Capabilities = append(i.Capabilities, im.Module)
	}
	slices.Sort(i.Capabilities)
	i.Capabilities = slices.Compact(i.Capabilities)
	if err := tryCompile(ctx, m); err != nil {
		i.Unusable = err.Error()
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(i)
	} else {
		err = i.print(out)
	}
	if err == nil && i.Unusable != "" {
		err = errUnusable
	}
	return err
}

// tryCompile finds out whether the host takes a module. None of its code runs.
func tryCompile(ctx context.Context, m *catalog.Module) error {
	h, err := host.New(ctx, host.Config{})
	if err != nil {
		return err
	}
	compiled, err := h.Compile(ctx, m.Name, m.Wasm)
	if err == nil {
		err = compiled.Close(ctx)
	}
	return errors.Join(err, h.Close(ctx))
}

func (i *inspection) print(out io.Writer) error {
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", name, value)
		}
	}
	row("name", i.Name)
	if m := i.Manifest; m != nil {
		row("version", m.Version)
		row("description", m.Description)
		row("licence", m.License)
	} else {
		row("manifest", "none: its config is not checked, and its permissions are its imports")
	}
	row("file", i.Path)
	row("digest", i.Digest)
	row("size", fmt.Sprintf("%.1f MB", float64(i.Size)/1e6))
	row("capabilities", strings.Join(i.Capabilities, ", "))
	row("unusable", i.Unusable)
	if err := tw.Flush(); err != nil {
		return err
	}
	if i.Manifest == nil {
		return nil
	}
	for _, p := range i.Manifest.Permissions {
		fmt.Fprintf(out, "asks for %s: %s\n", p.Capability, p.Reason)
	}
	if len(i.Manifest.ConfigSchema) == 0 {
		return nil
	}
	schema, err := json.MarshalIndent(i.Manifest.ConfigSchema, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "config schema:\n%s\n", schema)
	return err
}
