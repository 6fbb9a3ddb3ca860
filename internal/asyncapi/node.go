package asyncapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

type kind int

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

var kindNames = [...]string{"null", "a boolean", "a number", "a text", "a list", "an object"}

func (k kind) String() string { return kindNames[k] }

// node is a value of a document, be it YAML or JSON. Aliases of YAML are the
// same node in several places; there are no cycles.
type node struct {
	kind   kind
	text   string // of a scalar; a number as JSON writes it
	names  []string
	values []*node // elements, or members by the order of names
	index  map[string]*node
	file   *file
	line   int
}

// get returns a member, nil if there is none or n is not an object.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	return n.index[name]
}

// string returns the text of a member, "" if there is none.
func (n *node) string(name string) string {
	if m := n.get(name); m != nil && m.kind == text {
		return m.text
	}
	return ""
}

// add appends a member; false if there is one of this name.
func (n *node) add(name string, value *node) bool {
	if _, ok := n.index[name]; ok {
		return false
	}
	if n.index == nil {
		n.index = map[string]*node{}
	}
	n.names = append(n.names, name)
	n.values = append(n.values, value)
	n.index[name] = value
	return true
}

// plain returns n as encoding/json would decode it, numbers as json.Number.
// It returns false once budget values have been made.
func (n *node) plain(budget *int) (any, bool) {
	if *budget--; *budget < 0 {
		return nil, false
	}
	switch n.kind {
	case null:
		return nil, true
	case boolean:
		return n.text == "true", true
	case number:
		return json.Number(n.text), true
	case text:
		return n.text, true
	case list:
		l := make([]any, len(n.values))
		for i, v := range n.values {
			var ok bool
			if l[i], ok = v.plain(budget); !ok {
				return nil, false
			}
		}
		return l, true
	}
	m := make(map[string]any, len(n.values))
	for i, v := range n.values {
		var ok bool
		if m[n.names[i]], ok = v.plain(budget); !ok {
			return nil, false
		}
	}
	return m, true
}

// file is one file of a document.
type file struct {
	name string // path in the root
	tree *node  // nil if it could not be read
}

// reader makes a tree of nodes from a file's text.
type reader struct {
	loader *loader
	file   *file
	nodes  int

	// YAML: nodes with an anchor that were read, or are being read (nil).
	anchored map[*yaml.Node]*node
	// JSON: the decoder and the offsets at which lines begin.
	dec   *json.Decoder
	lines []int
}

// errGaveUp ends the reading of a file whose problem has been reported.
var errGaveUp = errors.New("gave up")

// read parses a file's text; problems are reported to the loader.
func (r *reader) read(data []byte) *node {
	var tree *node
	var err error
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(data) {
		tree, err = r.json(data)
	} else {
		tree, err = r.yaml(data)
	}
	if err != nil {
		return nil
	}
	return tree
}

func (r *reader) fail(line int, format string, args ...any) error {
	r.loader.problem(r.file, line, format, args...)
	return errGaveUp
}

// make counts a new node.
func (r *reader) make(k kind, line, depth int) (*node, error) {
	if r.nodes++; r.nodes > MaxNodes {
		return nil, r.fail(line, "too large: more than %d values", MaxNodes)
	}
	if depth > MaxDepth {
		return nil, r.fail(line, "nested too deeply: more than %d levels", MaxDepth)
	}
	return &node{kind: k, file: r.file, line: line}, nil
}

// json reads text that is known to be valid JSON.
func (r *reader) json(data []byte) (*node, error) {
	r.dec = json.NewDecoder(bytes.NewReader(data))
	r.dec.UseNumber()
	r.lines = []int{0}
	for i, c := range data {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	return r.jsonValue(1)
}

func (r *reader) jsonValue(depth int) (*node, error) {
	token, err := r.dec.Token()
	if err != nil {
		return nil, r.fail(r.line(), "%v", err)
	}
	n, err := r.make(null, r.line(), depth)
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(t)
	case json.Number:
		n.kind, n.text = number, t.String()
	case string:
		n.kind, n.text = text, t
	case json.Delim:
		return n, r.jsonNested(n, t, depth)
	}
	return n, nil
}

func (r *reader) jsonNested(n *node, open json.Delim, depth int) error {
	n.kind = list
	if open == '{' {
		n.kind = object
	}
	for r.dec.More() {
		name := ""
		if n.kind == object {
			token, err := r.dec.Token()
			if err != nil {
				return r.fail(r.line(), "%v", err)
			}
			name, _ = token.(string)
		}
		line := r.line()
		v, err := r.jsonValue(depth + 1)
		if err != nil {
			return err
		}
		if n.kind == list {
			n.values = append(n.values, v)
		} else if !n.add(name, v) {
			r.loader.problem(r.file, line, "%q is there twice", name)
		}
	}
	_, err := r.dec.Token() // the closing one
	return err
}

// line returns the line of the token that was read last.
func (r *reader) line() int {
	at := int(r.dec.InputOffset()) - 1
	return sort.Search(len(r.lines), func(i int) bool { return r.lines[i] > at })
}

// yamlLine finds the line in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^line (\d+): `)

func (r *reader) yaml(data []byte) (*node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, r.fail(0, "is empty")
		}
		return nil, r.yamlError(err)
	}
	if err := dec.Decode(&second); err == nil {
		return nil, r.fail(second.Line, "a second YAML document begins here: only one is read")
	} else if !errors.Is(err, io.EOF) {
		return nil, r.yamlError(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, r.fail(0, "is empty")
	}
	r.anchored = map[*yaml.Node]*node{}
	return r.yamlValue(doc.Content[0], 1)
}

func (r *reader) yamlError(err error) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	return r.fail(line, "not YAML: %s", message)
}

func (r *reader) yamlValue(y *yaml.Node, depth int) (*node, error) {
	if y.Kind == yaml.AliasNode {
		n, seen := r.anchored[y.Alias]
		switch {
		case seen && n == nil:
			return nil, r.fail(y.Line, "the alias *%s is inside of what it stands for", y.Value)
		case seen:
			return n, nil
		}
		return r.yamlValue(y.Alias, depth)
	}
	if y.Anchor != "" {
		r.anchored[y] = nil
	}
	n, err := r.make(null, y.Line, depth)
	if err != nil {
		return nil, err
	}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = object
		err = r.yamlMembers(n, y, depth)
	case yaml.SequenceNode:
		n.kind = list
		for _, c := range y.Content {
			v, err := r.yamlValue(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.values = append(n.values, v)
		}
	case yaml.ScalarNode:
		err = r.yamlScalar(n, y)
	}
	if err != nil {
		return nil, err
	}
	if y.Anchor != "" {
		r.anchored[y] = n
	}
	return n, nil
}

func (r *reader) yamlMembers(n *node, y *yaml.Node, depth int) error {
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			return r.fail(y.Content[i].Line, "a name must be a text")
		}
		v, err := r.yamlValue(y.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		if k.ShortTag() == "!!merge" {
			if v.kind == list {
				merged = append(merged, v.values...)
			} else {
				merged = append(merged, v)
			}
			continue
		}
		if !n.add(k.Value, v) {
			r.loader.problem(r.file, k.Line, "%q is there twice", k.Value)
		}
	}
	for _, m := range merged {
		if m.kind != object {
			return r.fail(n.line, `"<<" must be given objects`)
		}
		if r.nodes += len(m.values); r.nodes > MaxNodes {
			return r.fail(n.line, "too large: more than %d values", MaxNodes)
		}
		for i, v := range m.values {
			n.add(m.names[i], v) // what is there already goes before
		}
	}
	return nil
}

// jsonNumber is a number that JSON writes in the same way.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

func (r *reader) yamlScalar(n *node, y *yaml.Node) error {
	switch y.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if err := y.Decode(&b); err != nil {
			return r.fail(y.Line, "%q is not a boolean", y.Value)
		}
		n.kind, n.text = boolean, strconv.FormatBool(b)
		return nil
	case "!!int", "!!float":
		n.kind, n.text = number, y.Value
		if jsonNumber.MatchString(y.Value) {
			return nil
		}
		var v any
		if err := y.Decode(&v); err != nil {
			return r.fail(y.Line, "%q is not a number", y.Value)
		}
		if f, ok := v.(float64); ok {
			if math.IsInf(f, 0) || math.IsNaN(f) {
				return r.fail(y.Line, "%s is not a number that JSON knows", y.Value)
			}
			n.text = strconv.FormatFloat(f, 'g', -1, 64)
			return nil
		}
		n.text = fmt.Sprint(v)
		if !jsonNumber.MatchString(n.text) {
			return r.fail(y.Line, "%q is not a number", y.Value)
		}
		return nil
	}
	n.kind, n.text = text, y.Value
	return nil
}
