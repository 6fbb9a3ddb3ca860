package sluice

import (
	"iter"

	"github.com/sluicegate/sluice/abi"
)

// Kinds of values at JSON paths.
const (
	KindNothing = abi.KindNothing // nothing stands at the path
	KindNull    = abi.KindNull
	KindFalse   = abi.KindFalse
	KindTrue    = abi.KindTrue
	KindNumber  = abi.KindNumber
	KindString  = abi.KindString
	KindObject  = abi.KindObject
	KindArray   = abi.KindArray
)

// Paths is a list of JSON paths. The gateway parses a record's value once
// for all of them, and for all stages: do not parse JSON in a module.
type Paths struct {
	list   uint32
	values []Value
}

// Paths registers paths, singular queries of RFC 9535 such as $.a.b or
// $['a b'][0]. A text that is not one refuses the configuration.
func (s *Setup) Paths(paths ...string) *Paths {
	list := s.host.Paths(abi.AppendPaths(nil, paths))
	return &Paths{list: list, values: make([]Value, len(paths))}
}

// Records iterates over a batch's records with JSON and JSONStatus set: JSON
// has a value for each path, all [KindNothing] where the record's value is
// not JSON. With no fields nothing else of the record is read, not even
// lengths. As with [Batch.Records], one loop at a time.
func (p *Paths) Records(b *Batch, f Fields) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		r := &b.record
		r.batch = b
		r.JSON = p.values
		var entries []byte
		if f != 0 {
			entries = b.readEntries(f)
		}
		texts := p.read(b)
		b.loops++
		loop := b.loops
		for i := range b.n {
			if f != 0 {
				entries = r.next(entries, b.fields)
			}
			var err error
			if r.JSONStatus, texts, err = abi.NextJSON(texts, p.values); err != nil {
				panic("sluice: " + err.Error())
			}
			r.Index = i
			if !yield(r) {
				return
			}
			b.only(loop)
		}
	}
}

// read returns the values of all records.
func (p *Paths) read(b *Batch) []byte {
	b.verdicts.settle()
	u, n := &b.json, uint32(b.n)
	need := int(b.host.Get(p.list, 0, n, u.room()))
	if need > cap(u.b) {
		u.grow(need)
		b.host.Get(p.list, 0, n, u.room())
	}
	return u.b[:need]
}
