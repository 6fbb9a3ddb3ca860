package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// ErrRead says that the file itself could not be read.
var ErrRead = errors.New("read configuration")

// Load reads the file at path with the environment (as os.Environ gives it) over it. The error is [Problems], or
// wraps [ErrRead].
func Load(path string, environ []string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRead, err)
	}
	return Parse(path, text, environ)
}

// Parse is Load for a text that is already there. path is what problems call it, and its directory is where relative
// paths start.
func Parse(path string, text []byte, environ []string) (*Config, error) {
	src := newSource(path)
	tree, problems := src.parse(text)
	if len(problems) > 0 {
		return nil, problems.Err()
	}

	// Phase 1: the file, then the environment over it.
	k := koanf.New(delimiter)
	if err := k.Load(confmap.Provider(tree, ""), nil); err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	m := &merger{src: src}
	if err := k.Load(overrides(environ, singleValues()), nil, koanf.WithMergeFunc(m.merge)); err != nil {
		return nil, fmt.Errorf("load environment: %w", err)
	}

	// Phase 2: typed values.
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the directory of %s: %w", path, err)
	}
	src.dir = dir
	cfg := &Config{src: src}
	d := &decoder{src: src, dir: dir, lookup: lookup(environ), problems: m.problems}
	d.value("", k.Raw(), reflect.ValueOf(cfg).Elem())

	// Phase 3: what no single setting shows.
	c := &checker{cfg: cfg, decoder: d}
	c.check()
	if err := c.problems.Err(); err != nil {
		return nil, err
	}
	cfg.Files = append([]string{filepath.Join(dir, filepath.Base(path))}, d.files...)
	cfg.addFiles()
	return cfg, nil
}

// singleValues are the settings of the top level that a variable without "__" may set.
func singleValues() map[string]bool {
	names := map[string]bool{}
	for f := range reflect.TypeFor[Config]().Fields() {
		if name := f.Tag.Get("yaml"); name != "" && f.Type.Kind() == reflect.String {
			names[name] = true
		}
	}
	return names
}

func lookup(environ []string) func(string) (string, bool) {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// addFiles adds the files that settings name.
func (c *Config) addFiles() {
	for _, doc := range c.Documents {
		c.Files = append(c.Files, doc.File)
	}
	for _, p := range c.Pipelines {
		for _, s := range p.Stages {
			if file, _, isFile := SplitPlugin(s.Plugin); isFile {
				c.Files = append(c.Files, file)
			}
		}
	}
	slices.Sort(c.Files)
	c.Files = slices.Compact(c.Files)
}
