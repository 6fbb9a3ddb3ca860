package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what a file may expand to, so that a few nested aliases cannot fill the memory. A thousand pipelines
// of ten stages are about 100,000 nodes.
const maxNodes = 500_000

// maxDepth bounds how deep values may be inside each other.
const maxDepth = 100

// A source knows where each setting was written.
type source struct {
	file   string            // as the user named it
	dir    string            // its absolute directory
	keys   map[string]place  // path -> the key in the file (a list's element: the element)
	values map[string]place  // path -> the value in the file
	env    map[string]string // path -> environment variable that has set it
}

type place struct{ line, column int }

func newSource(file string) *source {
	return &source{file: file, keys: map[string]place{}, values: map[string]place{}, env: map[string]string{}}
}

// problem reports something about the value at path. Where path was not written, the nearest thing that holds it is
// the place.
func (s *source) problem(path, format string, args ...any) Problem {
	return s.problemAt(s.values, path, format, args...)
}

// keyProblem is like problem, and points at the key.
func (s *source) keyProblem(path, format string, args ...any) Problem {
	return s.problemAt(s.keys, path, format, args...)
}

func (s *source) problemAt(places map[string]place, path, format string, args ...any) Problem {
	p := Problem{File: s.file, Path: path, Message: fmt.Sprintf(format, args...)}
	for at := path; ; at = parentPath(at) {
		if name, ok := s.env[at]; ok && p.Variable == "" && at != "" {
			p.File, p.Variable = "", name
			return p
		}
		if where, ok := places[at]; ok {
			p.Line, p.Column = where.line, where.column
			return p
		}
		if at == "" {
			return p
		}
		places = s.values
	}
}

// parse turns a YAML document into plain values (map[string]any, []any, string, bool, int64, uint64, float64, nil)
// and records where each of them stands.
func (s *source) parse(text []byte) (map[string]any, Problems) {
	text = protect(text)
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return map[string]any{}, nil // an empty file
	case err != nil:
		return nil, Problems{s.syntax(text, err)}
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, Problems{{File: s.file, Message: "the file holds more than one YAML document: remove everything from the second --- on"}}
	}
	t := &treeBuilder{src: s, open: map[*yaml.Node]bool{}}
	root := t.value("", doc.Content[0])
	if len(t.problems) > 0 {
		return nil, t.problems
	}
	switch root := root.(type) {
	case map[string]any:
		return root, nil
	case nil:
		return map[string]any{}, nil
	}
	return nil, Problems{s.problem("", "the file must be a mapping with keys such as clusters, listeners and pipelines")}
}

// YAML wants ${file:/x} in quotes inside { } and [ ], and nobody expects that. So the braces of references are replaced by
// < and >, which mean nothing to YAML and are as wide, so that columns stay true, and put back into what was read.
var (
	writtenReference   = regexp.MustCompile(`\$\{((?:file|env):[^{}"'\r\n]*)\}`)
	protectedReference = regexp.MustCompile(`\$<((?:file|env):[^<>]*)>`)
)

func protect(text []byte) []byte { return writtenReference.ReplaceAll(text, []byte("$$<$1>")) }

func unprotect(text string) string { return protectedReference.ReplaceAllString(text, "$${$1}") }

// yamlPrefix is what the parser puts before its messages. Its line is where the thing began that is not well formed,
// which may be far from the mistake.
var yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

// syntax turns the parser's error into a problem at the first line with which the text cannot be read any more.
func (s *source) syntax(text []byte, err error) Problem {
	message := yamlPrefix.ReplaceAllString(err.Error(), "")
	lines := bytes.SplitAfter(text, []byte("\n"))
	n := sort.Search(len(lines), func(n int) bool {
		err := yaml.Unmarshal(bytes.Join(lines[:n+1], nil), new(yaml.Node))
		return err != nil && yamlPrefix.ReplaceAllString(err.Error(), "") == message
	})
	p := Problem{File: s.file, Message: "not valid YAML: " + message}
	if n < len(lines) {
		p.Line, p.Column = n+1, 1+len(lines[n])-len(bytes.TrimLeft(lines[n], " "))
	}
	return p
}

// treeBuilder walks the nodes of a document once.
type treeBuilder struct {
	src      *source
	problems Problems
	open     map[*yaml.Node]bool // aliases being expanded, to find one that holds itself
	nodes    int
	depth    int
}

func (t *treeBuilder) problem(path string, n *yaml.Node, format string, args ...any) {
	t.problems = append(t.problems, Problem{
		File: t.src.file, Line: n.Line, Column: n.Column, Path: path, Message: fmt.Sprintf(format, args...),
	})
}

func (t *treeBuilder) value(path string, n *yaml.Node) any {
	if t.nodes++; t.nodes > maxNodes {
		if t.nodes == maxNodes+1 {
			t.problem(path, n, "the file expands to more than %d values: use fewer aliases", maxNodes)
		}
		return nil
	}
	if t.depth++; t.depth > maxDepth {
		t.problem(path, n, "is inside more than %d other values", maxDepth)
		t.nodes = maxNodes + 1 // one such problem is enough
	}
	defer func() { t.depth-- }()
	if t.nodes > maxNodes {
		return nil
	}
	if _, seen := t.src.values[path]; !seen {
		t.src.values[path] = place{n.Line, n.Column}
	}
	switch n.Kind {
	case yaml.MappingNode:
		return t.mapping(path, n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, e := range n.Content {
			at := indexPath(path, i)
			t.src.keys[at] = place{e.Line, e.Column}
			list[i] = t.value(at, e)
		}
		return list
	case yaml.AliasNode:
		if t.open[n.Alias] {
			t.problem(path, n, "the alias *%s holds itself", n.Value)
			return nil
		}
		t.open[n.Alias] = true
		defer delete(t.open, n.Alias)
		return t.value(path, n.Alias)
	default:
		return t.scalar(path, n)
	}
}

func (t *treeBuilder) mapping(path string, n *yaml.Node) map[string]any {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			t.problem(path, k, "merge keys (<<) are not supported: repeat the settings, or use an alias for the whole value")
			continue
		}
		if k.Kind != yaml.ScalarNode {
			t.problem(path, k, "a key must be plain text")
			continue
		}
		at := keyPath(path, k.Value)
		if first, twice := t.src.keys[at]; twice && hasKey(m, k.Value) {
			t.problem(at, k, "this key is already in line %d: remove one of them", first.line)
			continue
		}
		t.src.keys[at] = place{k.Line, k.Column}
		m[k.Value] = t.value(at, v)
	}
	return m
}

func hasKey(m map[string]any, key string) bool {
	_, ok := m[key]
	return ok
}

func (t *treeBuilder) scalar(path string, n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return i
		}
		var u uint64
		if n.Decode(&u) == nil {
			return u
		}
		t.problem(path, n, "the number is too large: put it in quotes if it is text")
	case "!!float":
		var f float64
		if err := n.Decode(&f); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
		t.problem(path, n, "is not a number that can be used here: put it in quotes if it is text")
	case "!!str", "!!timestamp":
		return unprotect(n.Value)
	default:
		t.problem(path, n, "the tag %s is not supported", n.Tag)
	}
	return nil
}
