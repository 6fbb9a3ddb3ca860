package jsonschema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xeipuuv/gojsonschema"
)

// verdicts of one document by everything that has an opinion.
type verdicts struct {
	fast, refuted bool // by the one-pass check
	judge         bool // by the judge, called as its documentation says
	panicked      bool // which is the judge's way to say "beyond a double"
}

// subject is a schema, compiled by this package and by the judge alone.
type subject struct {
	text   []byte
	schema *Schema
	native *gojsonschema.Schema
}

// newSubject returns nil if the schema is refused.
func newSubject(t *testing.T, text []byte) *subject {
	s, err := Compile(text, Config{})
	if err != nil {
		return nil
	}
	native, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(text))
	if err != nil {
		t.Fatalf("schema %s: the judge alone says: %v", text, err)
	}
	return &subject{text, s, native}
}

// compare checks what must hold of any schema and any document. It reports
// false if there is nothing to compare.
func (s *subject) compare(t *testing.T, doc []byte) (v verdicts, ok bool) {
	compareParse(t, doc)
	v.fast = s.schema.fast.accepts(doc)
	parsed, problem := parse(doc)
	if problem != "" {
		if v.fast {
			t.Fatalf("the one-pass check accepts %q, which is %s", doc, problem)
		}
		return v, false
	}
	any := node{any: true}
	if any.accepts(doc) { // so its UTF-8 is right, as refutes asks for
		begin := skipSpace(doc, 0)
		r := run{b: doc, budget: 1 << 20}
		v.refuted = r.refutes(s.schema.fast, begin, r.skip(begin, 0), 0)
	}
	v.judge, v.panicked = judged(t, s.native, doc)
	if v.panicked {
		if v.fast {
			t.Fatalf("schema %s: the one-pass check accepts %q, on which the judge panics", s.text, doc)
		}
		return v, true
	}
	if v.fast && !v.judge {
		t.Fatalf("schema %s: the one-pass check accepts %q, the judge does not", s.text, doc)
	}
	if v.refuted && v.judge {
		t.Fatalf("schema %s: the one-pass check refutes %q, which the judge accepts", s.text, doc)
	}
	if errs := s.schema.judge.check(parsed); (len(errs) == 0) != v.judge {
		t.Fatalf("schema %s, %q: got errors %q; the judge alone says valid: %v", s.text, doc, errs, v.judge)
	}
	return v, true
}

func judged(t *testing.T, native *gojsonschema.Schema, doc []byte) (valid, panicked bool) {
	defer func() {
		if recover() != nil {
			panicked = true
		}
	}()
	result, err := native.Validate(gojsonschema.NewBytesLoader(doc))
	if err != nil {
		t.Fatalf("%q: the judge alone says: %v", doc, err)
	}
	return result.Valid(), false
}

// compareParse checks parse against encoding/json.
func compareParse(t *testing.T, doc []byte) {
	got, problem := parse(doc)
	valid := json.Valid(doc)
	if strings.HasPrefix(problem, "not valid JSON") == valid && !(problem != "" && !valid) {
		t.Fatalf("%q: got problem %q, encoding/json says valid: %v", doc, problem, valid)
	}
	if problem != "" {
		return
	}
	if !valid {
		t.Fatalf("%q: got no problem, but it is not JSON", doc)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var want any
	if err := dec.Decode(&want); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(got, want) {
		t.Fatalf("%q: differs from encoding/json (-want +got):\n%s", doc, cmp.Diff(want, got))
	}
}

// TestFastAcceptsOnlyTheValid is the proof by generated pairs of schemas and
// documents: fast accept implies judge accept.
func TestFastAcceptsOnlyTheValid(t *testing.T) {
	rounds := 5_000
	if testing.Short() {
		rounds = 1_000
	}
	g := &generator{rand.New(rand.NewPCG(1, 2))}
	var compared, valid, fast, refuted, oneOf int
	for range rounds {
		schema := g.schema(3)
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		s := newSubject(t, text)
		if s == nil {
			continue
		}
		for range 4 {
			v, ok := s.compare(t, []byte(g.document(schema, 3)))
			if !ok {
				continue
			}
			compared++
			valid += count(v.judge)
			fast += count(v.fast)
			refuted += count(v.refuted)
			oneOf += count(v.fast && bytes.Contains(text, []byte("oneOf")))
		}
	}
	t.Logf("%d pairs compared: %d valid, %d (%.0f%%) of them accepted without the judge (%d by way of oneOf); of %d invalid ones %d refuted",
		compared, valid, fast, 100*float64(fast)/float64(valid), oneOf, compared-valid, refuted)
	if compared < rounds || fast*2 < valid || refuted == 0 || oneOf == 0 {
		t.Error("the generator does not reach what it is for")
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// FuzzFast looks for what the generator does not think of.
func FuzzFast(f *testing.F) {
	g := &generator{rand.New(rand.NewPCG(3, 4))}
	for range 300 {
		schema := g.schema(3)
		text, err := json.Marshal(schema)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte(g.document(schema, 3)))
	}
	for _, r := range records {
		f.Add([]byte(demo), r)
	}
	f.Fuzz(func(t *testing.T, schema, doc []byte) {
		if len(schema) > 2000 || len(doc) > 2000 || bytes.Count(doc, []byte("{"))+bytes.Count(doc, []byte("[")) > 12 {
			return // the judge alone takes exponential time on some
		}
		if s := newSubject(t, schema); s != nil {
			s.compare(t, doc)
		}
	})
}

// FuzzGenerated lets the fuzzer steer the generator.
func FuzzGenerated(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		g := &generator{rand.New(rand.NewPCG(a, b))}
		schema := g.schema(4)
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		s := newSubject(t, text)
		for range 3 {
			if s != nil {
				s.compare(t, []byte(g.document(schema, 4)))
			}
		}
	})
}

// generator makes schemas and documents that nearly fit them.
type generator struct{ *rand.Rand }

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) name() string {
	return pick(g, "a", "b", "c", "kind", "lumens", "é", "a b", "", "\ufffd", "x\"y", "<")
}

func (g *generator) scalar() any {
	return pick[any](g, nil, true, false, 0, 1, -1, 2, 3.5, 10, "", "a", "on", "off", "é", "日本", "<b>", "\ufffd", "2026-01-02", json.Number("1.0"), json.Number("1e2"), json.Number("123456789012345678901234567890"))
}

func (g *generator) bound() any {
	return pick[any](g, 0, 1, -1, 2, 5, 10, 1.5, -1.5, 0.1, json.Number("1e18"), json.Number("9223372036854775807"), json.Number("-9223372036854775808"), json.Number("1e30"), json.Number("1.0"))
}

// schema returns a schema; references go to "#" and "#/definitions/d".
func (g *generator) schema(depth int) map[string]any {
	s := g.sub(depth)
	if g.one(4) {
		s["definitions"] = map[string]any{"d": g.sub(depth - 1)}
	}
	if g.one(12) {
		s["$schema"] = pick(g, "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-06/schema", "http://json-schema.org/draft-07/schema#")
	}
	if g.one(40) {
		s["$id"] = pick(g, "http://x/y", "#d")
	}
	return s
}

func (g *generator) any(depth int) any {
	if g.one(10) {
		return g.one(2)
	}
	return g.sub(depth)
}

func (g *generator) anys(depth int) []any {
	var l []any
	for range 1 + g.IntN(3) {
		l = append(l, g.any(depth))
	}
	return l
}

func (g *generator) sub(depth int) map[string]any {
	s := map[string]any{}
	for range 1 + g.IntN(3) {
		g.keyword(s, depth)
	}
	if g.one(2) {
		s["type"] = pick(g, "object", "object", "array", "string", "integer", "number", "boolean", "null")
	}
	return s
}

func (g *generator) keyword(s map[string]any, depth int) {
	if depth > 0 && g.one(2) {
		g.nesting(s, depth-1)
		return
	}
	switch g.IntN(17) {
	case 0:
		s["type"] = []any{pick(g, "object", "array", "string"), pick(g, "integer", "number", "boolean", "null")}
	case 1:
		s["enum"] = []any{g.scalar()}
		if v := g.scalar(); v != s["enum"].([]any)[0] && g.one(2) {
			s["enum"] = append(s["enum"].([]any), v)
		}
	case 2:
		s["const"] = g.scalar()
	case 3:
		s[pick(g, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")] = g.bound()
	case 4:
		s["minimum"], s["exclusiveMinimum"] = g.bound(), g.one(2)
	case 5:
		s["multipleOf"] = pick[any](g, 1, 2, 3, 0.1, 0.01, 1.5, json.Number("1e3"))
	case 6:
		s["minLength"] = g.IntN(4)
	case 7:
		s["maxLength"] = g.IntN(4) + 3
	case 8:
		s["format"] = pick(g, "date-time", "date", "time", "uuid", "email", "int32")
	case 9:
		s["minItems"] = g.IntN(3)
	case 10:
		s["maxItems"] = g.IntN(3)
	case 11:
		s["minProperties"] = g.IntN(3)
	case 12:
		s["maxProperties"] = g.IntN(4) + 2
	case 13:
		s["required"] = []any{g.name()}
	case 14:
		s["additionalProperties"] = g.one(2)
	case 15:
		s[pick(g, "title", "description", "x-y", "unknown")] = "text"
	case 16:
		s["uniqueItems"], s["pattern"] = g.one(2), "^[a-o]"
	}
}

func (g *generator) nesting(s map[string]any, depth int) {
	switch g.IntN(13) {
	case 0, 1, 2, 3, 4:
		props := map[string]any{}
		for range 1 + g.IntN(3) {
			props[g.name()] = g.any(depth)
		}
		s["properties"] = props
		if g.one(2) {
			var required []any
			for _, name := range slices.Sorted(maps.Keys(props)) {
				required = append(required, name)
			}
			s["required"] = required
		}
	case 5:
		s["additionalProperties"] = g.any(depth)
	case 6, 7:
		s["items"] = g.any(depth)
	case 8:
		s["allOf"] = g.anys(depth)
	case 9:
		s["anyOf"] = g.anys(depth)
	case 10:
		s["oneOf"] = g.anys(depth)
	case 11:
		s["not"] = g.any(depth)
	case 12:
		switch g.IntN(5) {
		case 0:
			s["$ref"] = pick(g, "#", "#/definitions/d")
		case 1:
			s["patternProperties"] = map[string]any{"^[a-k]": g.any(depth)}
		case 2:
			s["propertyNames"] = g.any(depth)
		case 3:
			s[pick(g, "contains", "if", "then", "else")] = g.any(depth)
		case 4:
			s["items"] = g.anys(depth)
		}
	}
}

// document returns a JSON text that mostly follows the schema, written oddly
// now and then, and now and then damaged.
func (g *generator) document(schema any, depth int) string {
	text := g.value(schema, depth)
	if g.one(15) && len(text) > 0 {
		i := g.IntN(len(text))
		text = text[:i] + pick(g, "", "\\", "\"", "0", "\xff", " ", ",", "}", "1e400", "\x01", text) + text[i+g.IntN(2):]
	}
	return text
}

func (g *generator) value(schema any, depth int) string {
	s, _ := schema.(map[string]any)
	if enum, ok := s["enum"].([]any); ok && !g.one(8) {
		return g.write(pick(g, enum...))
	}
	if c, ok := s["const"]; ok && !g.one(8) {
		return g.write(c)
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		if l, ok := s[k].([]any); ok && !g.one(4) && depth > -3 {
			return g.value(pick(g, l...), depth-1)
		}
	}
	switch t, _ := s["type"].(string); {
	case g.one(12):
	case t == "integer":
		return g.write(pick[any](g, 0, 1, 2, 3, 5, 6, 12, -1, 1000, json.Number("4.0")))
	case t == "number":
		return g.write(pick[any](g, 0, 1, 2.5, -1.5, 0.01, 0.1, 100, json.Number("1.50"), json.Number("1e1"), json.Number("-1.1")))
	case t == "string":
		return g.string(s)
	case t == "boolean":
		return pick(g, "true", "false")
	case t == "null":
		return "null"
	case t == "array" || s["items"] != nil && g.one(2):
		return g.array(s, depth)
	case t == "object" || s["properties"] != nil || s["required"] != nil || s["additionalProperties"] != nil:
		return g.object(s, depth)
	}
	return g.write(g.scalar())
}

func (g *generator) string(s map[string]any) string {
	switch format, _ := s["format"].(string); format {
	case "date-time":
		return pick(g, `"2026-01-02T03:04:05Z"`, `"2026-02-29T03:04:05Z"`, `"2024-02-29T23:59:59.5+01:00"`, `"1900-02-29T00:00:00Z"`, `"2000-02-29T00:00:00Z"`,
			`"2026-01-02T24:00:00Z"`, `"2026-01-02T03:04:60Z"`, `"2026-01-02T03:04:05+24:00"`, `"2026-01-02T03:04:05.1234567890Z"`, `"2026-01-02t03:04:05z"`, `"0000-12-31T00:00:00-23:59"`, `"2026-01-02T03:04:05.Z"`)
	case "date":
		return pick(g, `"2026-01-02"`, `"2026-04-31"`, `"2026-13-01"`, `"2026-00-10"`, `"2026-01-00"`, `"1600-02-29"`)
	case "time":
		return pick(g, `"03:04:05Z"`, `"03:04:05"`, `"23:59:59.999-08:00"`, `"03:04Z"`)
	case "uuid":
		return pick(g, `"01234567-89ab-cdef-0123-456789abcdef"`, `"01234567-89ab-cdef-0123-456789abcdeG"`)
	}
	return g.write(pick[any](g, "", "a", "on", "off", "é", "日本", "abcd", "<b>", "line\n", "q\"", "longer than eight bytes"))
}

func (g *generator) array(s map[string]any, depth int) string {
	var b strings.Builder
	b.WriteString("[" + g.space())
	for i := range g.IntN(4) {
		if i > 0 {
			b.WriteString("," + g.space())
		}
		b.WriteString(g.value(s["items"], depth-1) + g.space())
	}
	return b.String() + "]"
}

func (g *generator) object(s map[string]any, depth int) string {
	props, _ := s["properties"].(map[string]any)
	var members []string
	add := func(name string, schema any) {
		value := "1"
		if depth > -3 {
			value = g.value(schema, depth-1)
		}
		members = append(members, g.write(name)+g.space()+":"+g.space()+value)
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		for !g.one(8) {
			add(name, props[name])
			if !g.one(20) {
				break
			}
		}
	}
	if required, ok := s["required"].([]any); ok && !g.one(4) {
		for _, name := range required {
			if _, ok := props[name.(string)]; !ok {
				add(name.(string), s["additionalProperties"])
			}
		}
	}
	for g.one(3) {
		add(g.name(), s["additionalProperties"])
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return fmt.Sprintf("{%s%s%s}", g.space(), strings.Join(members, ","+g.space()), g.space())
}

func (g *generator) space() string {
	if g.one(6) {
		return pick(g, " ", "\n", "\t", "  ")
	}
	return ""
}

// write returns v as JSON, with an escape in some strings.
func (g *generator) write(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	if _, ok := v.(string); ok && g.one(10) {
		return strings.Replace(string(b), "a", `\u0061`, 1)
	}
	if g.one(2) {
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte(`\u003c`), []byte("<")), []byte(`\u003e`), []byte(">"))
	}
	return string(b)
}
