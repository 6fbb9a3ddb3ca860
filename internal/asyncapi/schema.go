package asyncapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// How a keyword's value is read. What is in none of these lists is an
// annotation or an extension, and left out.
var (
	literalKeywords = []string{
		"const", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength", "maxProperties", "maximum",
		"minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "required", "type", "uniqueItems",
	}
	schemaKeywords     = []string{"additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
	schemaListKeywords = []string{"allOf", "anyOf", "items", "oneOf"}
	schemaMapKeywords  = []string{"dependencies", "patternProperties", "properties"}
	// laterKeywords are those of later drafts. To the judge they are nothing.
	laterKeywords = []string{
		"$dynamicRef", "$recursiveRef", "dependentRequired", "dependentSchemas", "maxContains", "minContains", "prefixItems",
		"unevaluatedItems", "unevaluatedProperties",
	}
)

// writer writes schemas out as JSON Schema that is complete in itself: what
// they refer to becomes "definitions".
type writer struct {
	loader      *loader
	budget      int
	names       map[*node]string // of definitions
	definitions map[string]any
	queue       []*node
}

// errSchemaTooLarge says that a schema is beyond MaxNodes or MaxDepth.
var errSchemaTooLarge = errors.New("the schema is too large or nested too deeply, with all that it refers to")

// writeSchema returns one schema for a value that fits exactly one of the given ones.
// What is wrong with them is reported, except for their size.
func (l *loader) writeSchema(schemas ...*node) ([]byte, error) {
	w := writer{loader: l, budget: MaxNodes, names: map[*node]string{}, definitions: map[string]any{}}
	oneOf := make([]any, len(schemas))
	for i, s := range schemas {
		oneOf[i] = w.schema(s, 0)
	}
	for len(w.queue) > 0 && w.budget >= 0 {
		n := w.queue[0]
		w.queue = w.queue[1:]
		w.definitions[w.names[n]] = w.schema(n, 0)
	}
	if w.budget < 0 {
		return nil, errSchemaTooLarge
	}
	root := oneOf[0]
	if len(oneOf) > 1 {
		root = map[string]any{"oneOf": oneOf}
	}
	if m, ok := root.(map[string]any); ok && len(w.definitions) > 0 {
		m["definitions"] = w.definitions
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// schema writes one schema out.
func (w *writer) schema(n *node, depth int) any {
	if w.budget--; w.budget < 0 {
		return true
	}
	if depth > MaxDepth {
		w.budget = -1
		return true
	}
	switch {
	case n.kind == boolean:
		return n.text == "true"
	case n.kind != object:
		w.loader.wrong(n, "a schema must be an object or a boolean, not %v", n.kind)
		return true
	case n.get("$ref") != nil:
		return w.reference(n)
	}
	m := map[string]any{}
	for i, name := range n.names {
		w.keyword(m, name, n.values[i], depth)
	}
	return m
}

func (w *writer) keyword(m map[string]any, name string, v *node, depth int) {
	switch {
	case v.kind == list && slices.Contains(schemaListKeywords, name):
		l := make([]any, len(v.values))
		for i, s := range v.values {
			l[i] = w.schema(s, depth+1)
		}
		m[name] = l
	case slices.Contains(schemaKeywords, name):
		m[name] = w.schema(v, depth+1)
	case v.kind == object && slices.Contains(schemaMapKeywords, name):
		children := make(map[string]any, len(v.values))
		for i, s := range v.values {
			if name == "dependencies" && s.kind == list {
				children[v.names[i]] = w.literal(s)
				continue
			}
			if name == "patternProperties" {
				w.pattern(s, v.names[i])
			}
			children[v.names[i]] = w.schema(s, depth+1)
		}
		m[name] = children
	case slices.Contains(literalKeywords, name):
		if name == "pattern" && v.kind == text {
			w.pattern(v, v.text)
		}
		m[name] = w.literal(v)
	case slices.Contains(schemaListKeywords, name), slices.Contains(schemaMapKeywords, name):
		w.loader.wrong(v, "%s must not be %v", name, v.kind)
	case slices.Contains(laterKeywords, name):
		w.loader.warn(v, "%s is a keyword of a later draft than 7: it is not judged", name)
	}
}

// literal returns a value as it stands.
func (w *writer) literal(n *node) any {
	v, _ := n.plain(&w.budget)
	return v
}

// pattern reports a regular expression that cannot be judged.
func (w *writer) pattern(at *node, pattern string) {
	if _, err := regexp.Compile(pattern); err != nil {
		w.loader.wrong(at, "pattern %q is not supported (it is read in the syntax of RE2): %v", pattern, err)
	}
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// reference writes a reference to what becomes a definition.
func (w *writer) reference(n *node) any {
	target := w.loader.follow(n)
	if target == nil {
		return true // reported
	}
	name, ok := w.names[target]
	if !ok {
		ref := n.string("$ref")
		base := strings.Trim(notInName.ReplaceAllString(ref[strings.LastIndexAny(ref, "/#")+1:], "-"), "-")
		name = base
		for i := 2; name == "" || w.taken(name); i++ {
			name = base + "-" + strconv.Itoa(i)
		}
		w.names[target] = name
		w.definitions[name] = true // until its turn comes
		w.queue = append(w.queue, target)
	}
	return map[string]any{"$ref": "#/definitions/" + name}
}

func (w *writer) taken(name string) bool {
	_, ok := w.definitions[name]
	return ok
}
