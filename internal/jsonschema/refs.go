package jsonschema

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// Bounds on the schemas that are applied to one and the same value.
const (
	// maxChain bounds how many of them may be nested in one another, by
	// reference or in place.
	maxChain = 256
	// maxFan bounds how many there are in all, counting a schema once for
	// every way that leads to it, as the judge does.
	maxFan = 100_000
)

// checkReferences makes sure that the judge can follow every reference of a
// decoded schema without leaving it, and that it comes to an end: a chain of
// schemas that all look at the same value ("$ref", "allOf", "not", ...) must
// not lead back to its beginning. The judge would recurse until the process
// dies. A schema that contains itself further down in the value is fine.
// It returns the schema's shape.
func checkReferences(doc any) (*shape, error) {
	r := &refs{
		pool:   map[string]any{},
		target: map[uintptr]string{},
		seen:   map[uintptr]*visit{},
		queue:  []any{doc},
		shapes: map[uintptr]*shape{},
	}
	r.index(doc, &url.URL{})
	r.pool[""] = doc
	for len(r.queue) > 0 {
		next := r.queue[len(r.queue)-1]
		r.queue = r.queue[:len(r.queue)-1]
		if _, err := r.walk(next); err != nil {
			return nil, err
		}
	}
	return r.shape(doc), nil
}

// refs resolves references in the judge's manner: the identifiers of schemas
// ("$id", in draft 4 "id") change what references below them are relative to.
type refs struct {
	pool   map[string]any     // by identifier
	target map[uintptr]string // of the schema with a $ref: the resolved one
	seen   map[uintptr]*visit
	queue  []any // schemas that look at a part of the value
	shapes map[uintptr]*shape
}

// visit is what is known of a schema. Until it is done, the schema is on the
// path that is being followed.
type visit struct {
	done   bool
	height int // longest chain of schemas from here on the same value
	fan    int // number of schemas from here on the same value
}

// index collects identifiers and resolves references below node.
func (r *refs) index(node any, base *url.URL) {
	switch n := node.(type) {
	case []any:
		for _, v := range n {
			r.index(v, base)
		}
	case map[string]any:
		key := "$id"
		if _, ok := n["id"]; ok {
			key = "id"
		}
		if id, ok := n[key].(string); ok {
			if abs, ok := join(base, id); ok {
				base = abs
				r.pool[abs.String()] = n
			}
		}
		if ref, ok := n["$ref"].(string); ok {
			if abs, ok := join(base, ref); ok {
				r.target[address(n)] = abs.String()
			}
		}
		for k, v := range n {
			switch k {
			case "const", "enum":
			case "properties", "dependencies", "patternProperties":
				children, _ := v.(map[string]any)
				for _, c := range children {
					r.index(c, base)
				}
			default:
				r.index(v, base)
			}
		}
	}
}

func join(base *url.URL, ref string) (*url.URL, bool) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, false
	}
	b := *base
	b.Fragment, b.RawFragment = "", ""
	abs, err := url.Parse(b.ResolveReference(u).String())
	return abs, err == nil
}

// address identifies a decoded object.
func address(m map[string]any) uintptr { return reflect.ValueOf(m).Pointer() }

// walk checks the schema node and all that it applies to the same value; what
// it applies to parts of the value is queued.
func (r *refs) walk(node any) (*visit, error) {
	m, ok := node.(map[string]any)
	if !ok {
		return &visit{height: 1, fan: 1}, nil // a boolean, or what the judge will refuse
	}
	at := address(m)
	if v := r.seen[at]; v != nil {
		if !v.done {
			return nil, fmt.Errorf("a reference leads back to itself on the same value%s", named(m))
		}
		return v, nil
	}
	v := &visit{height: 1, fan: 1}
	r.seen[at] = v
	same, below, err := r.next(m)
	if err != nil {
		return nil, err
	}
	for _, s := range same {
		n, err := r.walk(s)
		if err != nil {
			return nil, err
		}
		v.height = max(v.height, n.height+1)
		if v.fan += n.fan; v.height > maxChain || v.fan > maxFan {
			return nil, fmt.Errorf("too complex: more than %d schemas in a chain, or %d in all, look at the same value%s", maxChain, maxFan, named(m))
		}
	}
	v.done = true
	r.queue = append(r.queue, below...)
	return v, nil
}

func named(m map[string]any) string {
	if ref, ok := m["$ref"].(string); ok {
		return fmt.Sprintf(" ($ref: %q)", clip(ref))
	}
	return ""
}

// next returns the schemas that a schema applies to the same value, and those
// that it applies to parts of it.
func (r *refs) next(m map[string]any) (same, below []any, err error) {
	if ref, ok := m["$ref"].(string); ok {
		target, err := r.resolve(m)
		if err != nil {
			return nil, nil, fmt.Errorf("$ref: %q: %w", clip(ref), err)
		}
		return []any{target}, nil, nil // what stands beside $ref is ignored
	}
	for k, v := range m {
		switch k {
		case "allOf", "anyOf", "oneOf":
			same = append(same, list(v)...)
		case "not", "if", "then", "else":
			same = append(same, v)
		case "dependencies":
			same = append(same, values(v)...)
		case "properties", "patternProperties":
			below = append(below, values(v)...)
		case "definitions":
			below = append(below, values(v)...)
		case "items":
			below = append(append(below, v), list(v)...)
		case "additionalItems", "additionalProperties", "contains", "propertyNames":
			below = append(below, v)
		}
	}
	return same, below, nil
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func values(v any) []any {
	m, _ := v.(map[string]any)
	l := make([]any, 0, len(m))
	for _, c := range m {
		l = append(l, c)
	}
	return l
}

// resolve returns the schema that m's reference leads to, nil for one of a
// meta-schema.
func (r *refs) resolve(m map[string]any) (any, error) {
	abs, ok := r.target[address(m)]
	if !ok {
		return nil, fmt.Errorf("is not a reference")
	}
	if s, ok := r.pool[abs]; ok {
		return s, nil
	}
	uri, fragment, _ := strings.Cut(abs, "#")
	doc, ok := r.pool[uri]
	if !ok {
		if _, ok := metaSchemas[uri]; ok {
			return nil, nil
		}
		return nil, fmt.Errorf("is outside of the schema")
	}
	pointer, err := url.PathUnescape(fragment)
	if err != nil {
		return nil, err
	}
	return lookUp(doc, pointer)
}

// lookUp follows a JSON pointer.
func lookUp(doc any, pointer string) (any, error) {
	if pointer == "" {
		return doc, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("there is no schema with this identifier")
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		var ok bool
		switch n := doc.(type) {
		case map[string]any:
			doc, ok = n[token]
		case []any:
			i, err := strconv.Atoi(token)
			if ok = err == nil && i >= 0 && i < len(n); ok {
				doc = n[i]
			}
		}
		if !ok {
			return nil, fmt.Errorf("leads nowhere: there is no %q", clip(token))
		}
	}
	return doc, nil
}
