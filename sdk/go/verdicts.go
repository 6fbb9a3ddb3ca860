package sluice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicegate/sluice/abi"
)

// The methods below judge a record by its index. A record has one verdict:
// Drop, Reject and DeadLetter replace what was said about it before, and
// changes (keys, values, headers) add up. Records may be judged in any
// order, but coming back to a record after judging another one is a
// failure of the call.

// Drop takes a record out: it goes no further.
func (b *Batch) Drop(index int) {
	b.verdicts.start(index).drop()
}

// Reject refuses a record: its producer gets an error with this text, of which
// at most [abi.MaxReasonBytes] are used. On fetch that is a failure of the
// stage.
func (b *Batch) Reject(index int, reason string) {
	b.verdicts.start(index).refuse(abi.OpReject, reason)
}

// DeadLetter moves a record to the stage's dead-letter topic, with this
// text as the reason, of which at most [abi.MaxReasonBytes] are used.
func (b *Batch) DeadLetter(index int, reason string) {
	b.verdicts.start(index).refuse(abi.OpDeadLetter, reason)
}

// SetKey gives a record another key; nil is null.
func (b *Batch) SetKey(index int, key []byte) {
	p := b.verdicts.start(index).patch(abi.FieldKey)
	p.Key = b.verdicts.copy(key)
}

// SetValue gives a record another value; nil is null.
func (b *Batch) SetValue(index int, value []byte) {
	p := b.verdicts.start(index).patch(abi.FieldValue)
	p.Value = b.verdicts.copy(value)
}

// AddHeader appends a header to a record's; a nil value is null. Names that
// begin with [abi.ReservedHeaderPrefix] are the gateway's.
func (b *Batch) AddHeader(index int, name string, value []byte) {
	p := b.verdicts.start(index).patch(abi.FieldAdd)
	p.Add = append(p.Add, Header{Name: name, Value: b.verdicts.copy(value)})
}

// RemoveHeader removes all of a record's own headers of this name; those
// that AddHeader adds stay.
func (b *Batch) RemoveHeader(index int, name string) {
	p := b.verdicts.start(index).patch(abi.FieldRemove)
	p.Remove = append(p.Remove, name)
}

// verdicts collects the stream of one call. The verdict on one record at a
// time is pending: it may still change. All memory is reused.
type verdicts struct {
	n   int
	out []byte // settled entries
	// unordered is set once an entry has a lower index than the one before.
	unordered bool
	lastIndex int // highest index of the last settled entry, -1 for none
	lastDrop  int // where in out the last entry begins if it is a drop, or -1

	index   int // of the pending record, -1 for none
	op      abi.Op
	reason  string
	pending abi.Patch
	scratch []byte // keys, values and header values of pending
}

func (v *verdicts) reset(n int) {
	v.n, v.out, v.unordered = n, v.out[:0], false
	v.lastIndex, v.lastDrop = -1, -1
	v.index = -1
	v.clear()
}

// clear forgets the pending verdict. A drop, the most frequent, leaves
// little to forget.
func (v *verdicts) clear() {
	v.op = abi.OpKeep
	if v.reason != "" {
		v.reason = ""
	}
	if p := &v.pending; p.Mask != 0 {
		p.Mask, p.Key, p.Value = 0, nil, nil
		p.Remove, p.Add = p.Remove[:0], p.Add[:0]
		v.scratch = v.scratch[:0]
	}
}

func (v *verdicts) shrink() {
	if cap(v.out) > keepBuffer {
		v.out = nil
	}
	if cap(v.scratch) > keepBuffer {
		v.scratch = nil
	}
}

// start makes the record with this index the pending one.
func (v *verdicts) start(index int) *verdicts {
	if index < 0 || index >= v.n {
		panic("sluice: record index out of range")
	}
	if v.index != index {
		v.settle()
		v.index = index
	}
	return v
}

func (v *verdicts) drop() {
	v.clear()
	v.op = abi.OpDrop
}

func (v *verdicts) refuse(op abi.Op, reason string) {
	v.clear()
	v.op, v.reason = op, abi.Reason(reason)
}

func (v *verdicts) patch(part Fields) *abi.Patch {
	if v.op != abi.OpReplace {
		v.clear()
		v.op = abi.OpReplace
	}
	v.pending.Mask |= part
	return &v.pending
}

// copy returns a copy of b that lives until the pending verdict is settled.
func (v *verdicts) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	start := len(v.scratch)
	v.scratch = append(v.scratch, b...)
	// Where append moved the scratch memory, earlier copies keep the old.
	return v.scratch[start:len(v.scratch):len(v.scratch)]
}

// settle encodes the pending verdict, if there is one.
func (v *verdicts) settle() {
	if v.index < 0 {
		return
	}
	index, first := v.index, uint32(v.index)
	if v.op == abi.OpDrop && v.lastDrop >= 0 && v.lastIndex == index-1 {
		count := v.out[v.lastDrop+12:]
		binary.LittleEndian.PutUint32(count, binary.LittleEndian.Uint32(count)+1)
	} else {
		if index <= v.lastIndex {
			v.unordered = true
		}
		v.lastDrop = -1
		switch v.op {
		case abi.OpDrop:
			v.lastDrop = len(v.out)
			v.out = abi.AppendDrop(v.out, first, 1)
		case abi.OpReplace:
			v.out = abi.AppendReplace(v.out, first, &v.pending)
		case abi.OpReject:
			v.out = abi.AppendReject(v.out, first, 1, v.reason)
		case abi.OpDeadLetter:
			v.out = abi.AppendDeadLetter(v.out, first, 1, v.reason)
		}
	}
	v.lastIndex, v.index = index, -1
	v.clear()
}

var errTwice = errors.New("two verdicts")

// stream returns the whole stream, in ascending order of index.
func (v *verdicts) stream() ([]byte, error) {
	v.settle()
	if !v.unordered {
		return v.out, nil
	}
	type entry struct {
		first, next uint32
		b           []byte
	}
	var entries []entry
	for rest := v.out; len(rest) > 0; {
		size, first, count := binary.LittleEndian.Uint32(rest[4:]), binary.LittleEndian.Uint32(rest[8:]), binary.LittleEndian.Uint32(rest[12:])
		entries = append(entries, entry{first, first + count, rest[:size]})
		rest = rest[size:]
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return int(a.first) - int(b.first) })
	out := make([]byte, 0, len(v.out))
	next := uint32(0)
	for _, e := range entries {
		if e.first < next {
			return nil, fmt.Errorf("record %d: %w: judge a record once, or keep its verdicts together", e.first, errTwice)
		}
		out, next = append(out, e.b...), e.next
	}
	return out, nil
}
