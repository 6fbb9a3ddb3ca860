package jsonschema

import (
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/xeipuuv/gojsonschema"
)

// The one-pass check knows these keywords:
//
//	type, enum, const, $ref (within the schema, without identifiers), allOf,
//	anyOf, oneOf, not, properties, required, additionalProperties,
//	minProperties, maxProperties, items (one schema), minItems, maxItems,
//	minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf,
//	minLength, maxLength, format (date, time, date-time, uuid, and whatever
//	the judge does not know)
//
// and ignores the annotations listed below. A keyword outside both lists
// makes it unsure: of any value, or of the values of the type that the
// keyword is about.
var annotations = []string{
	"$comment", "$schema", "contentEncoding", "contentMediaType", "default", "definitions", "deprecated", "description",
	"discriminator", "example", "examples", "externalDocs", "nullable", "readOnly", "title", "writeOnly",
	// Only with an array of items:
	"additionalItems",
}

// types is a set of the types that a value can have. A number written
// without fraction and exponent is an integer; any other counts as tNumber
// here, though it may be an integer to the judge (1.0).
type types uint8

const (
	tNull types = 1 << iota
	tBool
	tInteger
	tNumber
	tString
	tArray
	tObject

	tAll = tNull | tBool | tInteger | tNumber | tString | tArray | tObject
)

var typesByName = map[string]types{
	"null": tNull, "boolean": tBool, "integer": tInteger, "number": tInteger | tNumber,
	"string": tString, "array": tArray, "object": tObject,
}

// maxProps bounds the named members of one schema that the check can tell
// apart.
const maxProps = 256

// node is one compiled schema. Every field is a true constraint of the
// schema: a value that breaks it is invalid to the judge too. Nodes do not
// change after compileFast.
type node struct {
	any  bool  // no constraint at all
	sure types // types of values that the check can accept
	may  types // types of values that can be valid

	sets []literals // the value is in each of them

	bounded  bool  // lo and hi matter
	lo, hi   int64 // bounds of a number: n >= lo, n <= hi for integers n
	multiple int64 // if not 0, an integer is a multiple of it
	decimals int   // if >= 0, a number is a multiple of 10^-decimals

	minLen, maxLen int // in code points; -1 is none
	format         func([]byte) bool

	items              *node // nil: anything
	minItems, maxItems int   // -1 is none

	props              []prop
	byName             map[string]int // index of props, if there are many
	required           [maxProps / 64]uint64
	additional         *node // of members without a prop; nil: anything
	closed             bool  // there may be none of those
	open               bool  // others may be described by a pattern: additional and closed say nothing
	minProps, maxProps int   // -1 is none

	allOf, anyOf, oneOf []*node
	not                 *node

	ref *node // if not nil, this is the schema, and all else is empty
	// bare says that allOf, anyOf and oneOf are all there is.
	bare bool
}

// prop is a named member: of "properties" or "required".
type prop struct {
	name  string
	value *node // nil: anything
}

// literals is a set of scalars, from enum or const.
type literals struct {
	strings       []string
	numbers       []string // as written
	null, yes, no bool
}

// compileFast compiles a decoded schema for the one-pass check. It keeps
// nothing of doc.
func compileFast(doc any, draft Draft) *node {
	c := compiler{doc: doc, draft: draft, byRef: map[string]*node{}, identified: identified(doc)}
	return c.schema(doc)
}

type compiler struct {
	doc   any
	draft Draft
	byRef map[string]*node
	// identified says that there are identifiers: they change what
	// references are relative to, which only the judge follows.
	identified bool
}

// identified reports whether there may be an identifier anywhere in doc.
func identified(doc any) bool {
	switch n := doc.(type) {
	case []any:
		return slices.ContainsFunc(n, identified)
	case map[string]any:
		for k, v := range n {
			if _, ok := v.(string); ok && (k == "id" || k == "$id") || identified(v) {
				return true
			}
		}
	}
	return false
}

// unsure is a node that accepts and refutes nothing.
func unsure(n *node) { *n = node{may: tAll, open: true}; n.none() }

// none sets all limits to "none".
func (n *node) none() {
	n.lo, n.hi, n.decimals = math.MinInt64, math.MaxInt64, -1
	n.minLen, n.maxLen, n.minItems, n.maxItems, n.minProps, n.maxProps = -1, -1, -1, -1, -1, -1
}

func (c *compiler) schema(s any) *node {
	n := new(node)
	c.fill(n, s)
	return n
}

// fill compiles s into n, which others may point to already.
func (c *compiler) fill(n *node, s any) {
	*n = node{sure: tAll, may: tAll}
	n.none()
	switch s := s.(type) {
	case bool:
		n.any = s
		if !s {
			n.sure, n.may = 0, 0
		}
	case map[string]any:
		if ref, ok := s["$ref"].(string); ok {
			c.reference(n, ref)
			return
		}
		n.any = true
		for k, v := range s {
			if strings.HasPrefix(k, "x-") || slices.Contains(annotations, k) {
				continue
			}
			n.any = false
			if !c.keyword(n, k, v, s) {
				unsure(n)
				return
			}
		}
		n.settle()
	default:
		unsure(n)
	}
}

// reference makes n the schema that ref points to, which may be one that is
// still being compiled.
func (c *compiler) reference(n *node, ref string) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if !ok || c.identified || strings.ContainsAny(pointer, "%~") {
		unsure(n)
		return
	}
	target, ok := c.byRef[pointer]
	if !ok {
		s, err := lookUp(c.doc, pointer)
		if err != nil {
			unsure(n)
			return
		}
		target = new(node)
		c.byRef[pointer] = target
		c.fill(target, s)
	}
	n.ref = target
}

// keyword adds one keyword of s to n; false means that the check does not know
// what to do with it.
func (c *compiler) keyword(n *node, k string, v any, s map[string]any) bool {
	switch k {
	case "$id", "id":
		_, ok := v.(string)
		return ok
	case "type":
		return n.setTypes(v)
	case "enum":
		values, ok := v.([]any)
		if len(values) > 0 {
			n.sets = append(n.sets, newLiterals(values))
		}
		return ok
	case "const":
		n.sets = append(n.sets, newLiterals([]any{v}))
		return c.draft != Draft4
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		return n.setBound(k, v, s)
	case "multipleOf":
		return n.setMultiple(v)
	case "minLength":
		return setSize(&n.minLen, v)
	case "maxLength":
		return setSize(&n.maxLen, v)
	case "pattern":
		n.sure &^= tString
		return true
	case "format":
		return n.setFormat(v)
	case "allOf":
		return c.schemas(&n.allOf, v)
	case "anyOf":
		return c.schemas(&n.anyOf, v)
	case "oneOf":
		return c.schemas(&n.oneOf, v)
	case "not":
		n.not = c.schema(v)
		return true
	case "items", "minItems", "maxItems", "uniqueItems", "contains":
		return c.arrayKeyword(n, k, v)
	}
	return c.objectKeyword(n, k, v, s)
}

func (c *compiler) schemas(list *[]*node, v any) bool {
	values, ok := v.([]any)
	for _, s := range values {
		*list = append(*list, c.schema(s))
	}
	return ok
}

func (c *compiler) arrayKeyword(n *node, k string, v any) bool {
	switch k {
	case "items":
		if _, ok := v.([]any); ok {
			n.sure &^= tArray
			return true
		}
		n.items = c.schema(v)
	case "minItems":
		return setSize(&n.minItems, v)
	case "maxItems":
		return setSize(&n.maxItems, v)
	case "uniqueItems":
		if v != false {
			n.sure &^= tArray
		}
	case "contains":
		n.sure &^= tArray
		return c.draft != Draft4
	}
	return true
}

func (c *compiler) objectKeyword(n *node, k string, v any, s map[string]any) bool {
	switch k {
	case "properties", "required", "additionalProperties":
		if n.props != nil || n.additional != nil || n.closed {
			return true // all three were read together
		}
		return c.members(n, s)
	case "minProperties":
		return setSize(&n.minProps, v)
	case "maxProperties":
		return setSize(&n.maxProps, v)
	case "patternProperties":
		n.sure &^= tObject
		n.open = true
		return true
	case "propertyNames":
		n.sure &^= tObject
		return c.draft != Draft4
	case "dependencies":
		n.sure &^= tObject
		return true
	}
	return false
}

// members reads properties, required and additionalProperties.
func (c *compiler) members(n *node, s map[string]any) bool {
	switch additional := s["additionalProperties"].(type) {
	case nil:
	case bool:
		n.closed = !additional
	default:
		n.additional = c.schema(additional)
	}
	n.byName = map[string]int{}
	if v, ok := s["properties"]; ok {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			n.byName[name] = len(n.props)
			n.props = append(n.props, prop{name, c.schema(m[name])})
		}
	}
	required, _ := s["required"].([]any)
	for _, v := range required {
		name, ok := v.(string)
		if !ok {
			return false
		}
		i, ok := n.byName[name]
		if !ok { // required only: to the rest of the schema an additional member
			i = len(n.props)
			n.byName[name] = i
			n.props = append(n.props, prop{name, n.rest()})
		}
		if i < maxProps {
			n.required[i/64] |= 1 << (i % 64)
		}
	}
	return len(n.props) <= maxProps
}

// rest returns the schema of members without a prop.
func (n *node) rest() *node {
	switch {
	case n.closed:
		never := new(node)
		never.none()
		return never
	case n.additional != nil:
		return n.additional
	}
	return &node{any: true}
}

func (n *node) setTypes(v any) bool {
	names, ok := v.([]any)
	if !ok {
		names = []any{v}
	}
	if len(names) == 0 {
		return true
	}
	var sum types
	for _, name := range names {
		text, _ := name.(string)
		t, ok := typesByName[text]
		if !ok {
			return false
		}
		sum |= t
	}
	n.sure &= sum
	if sum&tInteger != 0 {
		sum |= tNumber // 1.0 is an integer
	}
	n.may &= sum
	return true
}

func newLiterals(values []any) literals {
	var l literals
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			l.null = true
		case bool:
			l.yes = l.yes || v
			l.no = l.no || !v
		case json.Number:
			l.numbers = append(l.numbers, string(v))
		case string:
			l.strings = append(l.strings, v)
		}
	}
	return l
}

// setBound adds a bound of numbers. Drafts before 6 have it that
// "exclusiveMinimum": true changes the meaning of minimum.
func (n *node) setBound(k string, v any, s map[string]any) bool {
	exclusive := strings.HasPrefix(k, "exclusive")
	if _, ok := v.(bool); ok && exclusive {
		return true // read with the other keyword
	}
	r, ok := rat(v)
	if !ok {
		return false
	}
	n.bounded = true
	switch k {
	case "minimum":
		exclusive = s["exclusiveMinimum"] == true
	case "maximum":
		exclusive = s["exclusiveMaximum"] == true
	}
	floor := new(big.Int).Div(r.Num(), r.Denom()) // Euclidean: rounds down
	ceil := new(big.Int).Set(floor)
	if !r.IsInt() {
		ceil.Add(ceil, big.NewInt(1))
	}
	limit := new(big.Int)
	lower := strings.HasSuffix(k, "inimum")
	switch {
	case lower && exclusive:
		limit.Add(floor, big.NewInt(1))
	case lower:
		limit.Set(ceil)
	case exclusive:
		limit.Sub(ceil, big.NewInt(1))
	default:
		limit.Set(floor)
	}
	switch {
	case !limit.IsInt64():
		// Either no number that the check reads breaks the bound, or none
		// keeps it; the judge will know.
		n.sure &^= tInteger | tNumber
	case lower:
		n.lo = max(n.lo, limit.Int64())
	default:
		n.hi = min(n.hi, limit.Int64())
	}
	return true
}

func (n *node) setMultiple(v any) bool {
	r, ok := rat(v)
	if !ok || r.Sign() <= 0 {
		return false
	}
	if r.IsInt() && r.Num().IsInt64() {
		n.multiple = r.Num().Int64()
		n.sure &^= tNumber
		return true
	}
	if text := r.Denom().String(); r.Num().IsInt64() && r.Num().Int64() == 1 && strings.Trim(text, "0") == "1" {
		n.decimals = len(text) - 1
		return true
	}
	n.sure &^= tInteger | tNumber
	return true
}

func rat(v any) (*big.Rat, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	return new(big.Rat).SetString(string(number))
}

func setSize(size *int, v any) bool {
	number, ok := v.(json.Number)
	if !ok {
		return false
	}
	n, err := strconv.Atoi(string(number))
	*size = n
	return err == nil && n >= 0
}

func (n *node) setFormat(v any) bool {
	name, ok := v.(string)
	if !ok || name == "" || !gojsonschema.FormatCheckers.Has(name) {
		return ok // the judge ignores what it does not know
	}
	n.sure &^= tInteger | tNumber // the judge's formats refuse numbers
	if n.format = formats[name]; n.format == nil {
		n.sure &^= tString
	}
	return true
}

// settle completes a node when all keywords have been read.
func (n *node) settle() {
	if len(n.sets) > 0 {
		n.sure &^= tArray | tObject
	}
	own := *n
	own.allOf, own.anyOf, own.oneOf = nil, nil, nil
	plain := node{sure: tAll, may: tAll}
	plain.none()
	n.bare = len(n.allOf)+len(n.anyOf)+len(n.oneOf) > 0 && reflect.DeepEqual(own, plain)
	if len(n.props) <= fewProps {
		n.byName = nil
	}
}

// fewProps is how many members are searched one by one.
const fewProps = 16
