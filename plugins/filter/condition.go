package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"

	sluice "github.com/sluicegate/sluice/sdk/go"
)

// condition is a compiled condition.
type condition interface {
	holds(r *sluice.Record) bool
}

type all []condition

func (a all) holds(r *sluice.Record) bool {
	for _, c := range a {
		if !c.holds(r) {
			return false
		}
	}
	return true
}

type anyOf []condition

func (a anyOf) holds(r *sluice.Record) bool {
	for _, c := range a {
		if c.holds(r) {
			return true
		}
	}
	return false
}

type not struct{ condition }

func (n not) holds(r *sluice.Record) bool { return !n.condition.holds(r) }

// comparison holds if all its tests do for what the subject is in a record.
type comparison struct {
	subject subject
	tests   []test
}

func (c *comparison) holds(r *sluice.Record) bool {
	v := c.subject.value(r)
	for i := range c.tests {
		if !c.tests[i].holds(&v) {
			return false
		}
	}
	return true
}

// subject is what a comparison looks at.
type subject struct {
	kind   subjectKind
	path   int    // onJSON: index into the paths
	header string // onHeader
}

type subjectKind int

const (
	onJSON subjectKind = iota
	onKey
	onValue
	onHeader
	onTimestamp
)

// value returns the subject of r. Keys, values and headers are strings;
// those that are null, like a timestamp that is not there, are nothing.
func (s *subject) value(r *sluice.Record) sluice.Value {
	switch s.kind {
	case onJSON:
		return r.JSON[s.path]
	case onKey:
		return text(r.Key)
	case onValue:
		return text(r.Value)
	case onTimestamp:
		if r.Timestamp < 0 {
			return sluice.Value{}
		}
		return sluice.Value{Kind: sluice.KindNumber, Number: float64(r.Timestamp)}
	}
	for i := len(r.Headers) - 1; i >= 0; i-- { // the last one of a name counts
		if r.Headers[i].Name == s.header {
			return text(r.Headers[i].Value)
		}
	}
	return sluice.Value{}
}

func text(b []byte) sluice.Value {
	if b == nil {
		return sluice.Value{}
	}
	return sluice.Value{Kind: sluice.KindString, Text: b}
}

// test is one operator with its operand.
type test struct {
	op       operator
	operands []sluice.Value // one, but for in
	text     []byte         // prefix, suffix, contains
	pattern  *regexp.Regexp // matches
	want     bool           // exists
	// parse says that the subject is text that stands for a number.
	parse bool
}

type operator int

const (
	opEq operator = iota
	opNe
	opLt
	opLte
	opGt
	opGte
	opIn
	opExists
	opMatches
	opPrefix
	opSuffix
	opContains
)

func (t *test) holds(v *sluice.Value) bool {
	switch t.op {
	case opExists:
		return (v.Kind != sluice.KindNothing) == t.want
	case opMatches:
		return v.Kind == sluice.KindString && t.pattern.Match(v.Text)
	case opPrefix:
		return v.Kind == sluice.KindString && bytes.HasPrefix(v.Text, t.text)
	case opSuffix:
		return v.Kind == sluice.KindString && bytes.HasSuffix(v.Text, t.text)
	case opContains:
		return v.Kind == sluice.KindString && bytes.Contains(v.Text, t.text)
	case opNe:
		return !t.equal(v)
	case opEq, opIn:
		return t.equal(v)
	}
	order, ok := t.compare(v, &t.operands[0])
	switch t.op {
	case opLt:
		return ok && order < 0
	case opLte:
		return ok && order <= 0
	case opGt:
		return ok && order > 0
	default:
		return ok && order >= 0
	}
}

// equal reports whether v is one of the operands.
func (t *test) equal(v *sluice.Value) bool {
	for i := range t.operands {
		o := &t.operands[i]
		if v.Kind == o.Kind && v.Kind <= sluice.KindTrue && v.Kind != sluice.KindNothing {
			return true
		}
		if order, ok := t.compare(v, o); ok && order == 0 {
			return true
		}
	}
	return false
}

// compare orders two numbers or two strings. Other values have no order.
func (t *test) compare(v, o *sluice.Value) (order int, ok bool) {
	if v.Kind == sluice.KindString && o.Kind == sluice.KindNumber && t.parse {
		f, err := strconv.ParseFloat(string(v.Text), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f) {
			return 0, false
		}
		v = &sluice.Value{Kind: sluice.KindNumber, Number: f, Text: v.Text}
	}
	switch {
	case v.Kind != o.Kind:
		return 0, false
	case v.Kind == sluice.KindString:
		return bytes.Compare(v.Text, o.Text), true
	case v.Kind == sluice.KindNumber:
		return compareNumbers(v, o)
	}
	return 0, false
}

// exact is the magnitude up to which float64 tells integers apart.
const exact = 1 << 53

func compareNumbers(a, b *sluice.Value) (order int, ok bool) {
	switch {
	case a.Number < b.Number:
		return -1, true
	case a.Number > b.Number:
		return 1, true
	case math.Abs(a.Number) < exact:
		return 0, true
	}
	// Both are the same float64, but need not be the same number.
	if integer(a.Text) && integer(b.Text) {
		order = len(a.Text) - len(b.Text)
		if order == 0 {
			order = bytes.Compare(a.Text, b.Text)
		}
		if a.Number < 0 {
			order = -order
		}
		return order, true
	}
	if math.IsInf(a.Number, 0) { // out of range: there is no telling
		return 0, bytes.Equal(a.Text, b.Text)
	}
	return 0, true
}

// integer reports whether a JSON number is written without fraction and
// exponent.
func integer(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(b) > 0
}

var errTests = fmt.Errorf("nothing to test: want one of eq, ne, lt, lte, gt, gte, in, exists, matches, prefix, suffix, contains")
