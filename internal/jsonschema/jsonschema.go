// Package jsonschema says whether a value is what a JSON Schema asks for.
//
// The judge is [github.com/xeipuuv/gojsonschema] (drafts 4, 6 and 7): its
// verdict counts, and its error texts are what users see. Two things stand
// in front of it:
//
//   - Own checks of what the judge would accept by accident or pay dearly
//     for: exactly one JSON value, and the limits below. A value that fails
//     them is invalid, in this package's own words.
//   - A one-pass check compiled from the schema, which may only say "surely
//     valid". It costs a hundredth of the judge and allocates nothing. What
//     it is not sure of (a member named twice, an escape in a name, invalid
//     UTF-8, a number that is hard to compare, a keyword outside the list in
//     fast.go) goes to the judge.
//
// Nothing here opens a file or a connection: references must be resolved
// or point into the schema itself. The three meta-schemas are built in.
//
// # Deliberate deviations
//
// The judge alone would accept garbage after the first JSON value, numbers,
// nesting and arrays of any size ("1e1000000" costs it 70 ms), and follow a
// schema that meets itself again on every level for ever; here such values are
// invalid. Errors come in a stable order (by field, then by text;
// the judge's own order changes from run to run), at most [MaxErrors] of
// them, each at most [MaxErrorBytes] long.
package jsonschema

import (
	"fmt"
	"sync/atomic"

	"github.com/sluicegate/sluice/abi"
)

// Limits of what is judged. A value beyond one of them is invalid.
const (
	// MaxValueBytes bounds a value.
	MaxValueBytes = 16 << 20
	// MaxDepth bounds the nesting of arrays and objects.
	MaxDepth = 128
	// MaxItems bounds the elements of one array.
	MaxItems = 1 << 16
	// MaxNameBytes bounds the name of an object's member, as written.
	MaxNameBytes = 1 << 10
	// MaxDigits bounds the digits of a number, before and after the decimal
	// point together.
	MaxDigits = 64
	// MaxExponent bounds a number's exponent in both directions.
	MaxExponent = 400

	// MaxErrors bounds the errors of one value. Where there are more, the
	// last one says how many were left out.
	MaxErrors = 32
	// MaxErrorBytes bounds one error; what is longer ends in "...".
	MaxErrorBytes = 1 << 10
)

// Limits of schemas.
const (
	// MaxSchemaBytes bounds a schema.
	MaxSchemaBytes = 4 << 20
)

// Draft is a version of JSON Schema.
type Draft int

// Drafts. DraftAny takes the keywords of all three as they come, in the
// manner of whichever draft defines them; a "$schema" in the schema decides
// before it.
const (
	DraftAny Draft = 0
	Draft4   Draft = 4
	Draft6   Draft = 6
	Draft7   Draft = 7
)

// Stats counts what became of the values that were checked. Its zero value
// is ready; several schemas may share one.
type Stats struct {
	Fast    atomic.Uint64 // accepted by the one-pass check
	Judged  atomic.Uint64 // decided by the judge
	Refused atomic.Uint64 // not JSON or beyond a limit: the judge never saw it
	Framed  atomic.Uint64 // in Schema Registry framing: not judged
	Null    atomic.Uint64 // null: not judged
}

// Config says how to compile a schema. Its zero value is ready.
type Config struct {
	// Draft is what the schema is written in, unless it says so itself.
	Draft Draft
	// Stats counts values if not nil.
	Stats *Stats
}

// Schema is a compiled schema. It may be used by several goroutines at once.
type Schema struct {
	judge *judge
	fast  *node
	shape *shape
	steps int // of the judge for one part of a value, at most; more than maxUnfolded: there is no telling
	stats *Stats
}

// Compile compiles a schema in JSON. References must point into the schema
// itself ("#/definitions/light") or name one of the three meta-schemas;
// any other is an error, as is a chain of references that leads back to
// itself without going down into the value. The bytes are not kept.
func Compile(schema []byte, cfg Config) (*Schema, error) {
	if len(schema) > MaxSchemaBytes {
		return nil, fmt.Errorf("compile schema: %d bytes are more than the %d that are allowed", len(schema), MaxSchemaBytes)
	}
	doc, problem := parse(schema)
	if problem != "" {
		return nil, fmt.Errorf("compile schema: %s", problem)
	}
	draft, err := draftOf(doc, cfg.Draft)
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	shape, err := checkReferences(doc)
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	fast := compileFast(doc, draft)
	judge, err := newJudge(doc, draft) // changes doc, so it comes last
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	s := &Schema{judge: judge, fast: fast, shape: shape, steps: shape.size(), stats: cfg.Stats}
	if s.stats == nil {
		s.stats = new(Stats)
	}
	return s, nil
}

// WithStats returns the same schema, counting in stats from now on; s goes on
// counting where it did.
func (s *Schema) WithStats(stats *Stats) *Schema {
	return &Schema{judge: s.judge, fast: s.fast, shape: s.shape, steps: s.steps, stats: stats}
}

// Check judges one record's value, which it neither changes nor keeps. For
// [abi.StatusInvalid] it returns at least one error, in the form
// "field: what is wrong"; otherwise none. A nil value and a value in Schema
// Registry framing (first byte 0, then at least the 4 bytes of an id) are not
// judged.
func (s *Schema) Check(value []byte) (abi.Status, []string) {
	if value == nil {
		s.stats.Null.Add(1)
		return abi.StatusNull, nil
	}
	if len(value) >= 5 && value[0] == 0 {
		s.stats.Framed.Add(1)
		return abi.StatusFramed, nil
	}
	if s.fast.accepts(value) {
		s.stats.Fast.Add(1)
		return abi.StatusValid, nil
	}
	doc, problem := parse(value)
	if problem == "" && s.tooComplex(doc, len(value)) {
		problem = fmt.Sprintf("too complex: by this schema, to judge it takes more than %d steps", MaxVisits)
	}
	if problem != "" {
		s.stats.Refused.Add(1)
		return abi.StatusInvalid, []string{"(root): " + problem}
	}
	s.stats.Judged.Add(1)
	if errs := s.judge.check(doc); len(errs) > 0 {
		return abi.StatusInvalid, errs
	}
	return abi.StatusValid, nil
}

// tooComplex reports that the judge would take more than MaxVisits steps for a
// decoded value of this many bytes.
func (s *Schema) tooComplex(doc any, size int) bool {
	parts := size/2 + 1 // at most: each takes a byte and a separator
	if s.steps <= maxUnfolded && s.steps*parts <= MaxVisits {
		return false
	}
	budget := MaxVisits
	s.shape.visits(doc, &budget)
	return budget < 0
}
