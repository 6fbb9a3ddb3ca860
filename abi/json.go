package abi

import (
	"fmt"
	"math"
)

// JSONStatus says whether a record's value could be read as JSON.
type JSONStatus uint32

// Statuses of sluice:json/1 get.
const (
	JSONOK   JSONStatus = 0 // the value is exactly one JSON value
	JSONBad  JSONStatus = 1 // it is not
	JSONNull JSONStatus = 2 // the record's value is null
)

// JSONKind is the kind of what stands at a path.
type JSONKind uint32

// Kinds of sluice:json/1 get.
const (
	KindNothing JSONKind = 0
	KindNull    JSONKind = 1
	KindFalse   JSONKind = 2
	KindTrue    JSONKind = 3
	KindNumber  JSONKind = 4
	KindString  JSONKind = 5
	KindObject  JSONKind = 6
	KindArray   JSONKind = 7
)

// JSONValue is what stands at a path of one record.
type JSONValue struct {
	Kind JSONKind
	// Number is the float64 nearest to a number, infinite where it is out
	// of range, never NaN. 0 for other kinds.
	Number float64
	// Text is a number as written, a string decoded, an object or array as
	// written; nil for other kinds.
	Text []byte
}

const jsonHead = 8

// AppendPaths appends the list of paths for sluice:json/1 paths.
func AppendPaths(dst []byte, paths []string) []byte {
	dst = appendU32(dst, uint32(len(paths)))
	for _, p := range paths {
		dst = appendText(dst, p)
	}
	return dst
}

// DecodePaths decodes a list of paths. The strings are copies.
func DecodePaths(b []byte) ([]string, error) {
	r := reader{b: b}
	n := r.count(4)
	paths := make([]string, 0, n)
	for ; n > 0 && !r.bad; n-- {
		paths = append(paths, string(r.text()))
	}
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("decode paths of %d bytes: %w", len(b), ErrMalformed)
	}
	return paths, nil
}

// size returns the bytes of v behind its kind and length, without padding.
func (v *JSONValue) size() int {
	switch v.Kind {
	case KindNumber:
		return 8 + len(v.Text)
	case KindString, KindObject, KindArray:
		return len(v.Text)
	}
	return 0
}

// JSONSize returns what [AppendJSON] appends, in bytes.
func JSONSize(s JSONStatus, values []JSONValue) int {
	n := jsonHead
	if s != JSONOK {
		return n
	}
	for i := range values {
		n += jsonHead + pad(values[i].size())
	}
	return n
}

// AppendJSON appends one record's entry of sluice:json/1 get. The values
// count only with JSONOK. It does not allocate where dst has room.
func AppendJSON(dst []byte, s JSONStatus, values []JSONValue) []byte {
	dst = appendU32(dst, uint32(s))
	dst = appendU32(dst, uint32(JSONSize(s, values)))
	if s != JSONOK {
		return dst
	}
	for i := range values {
		v := &values[i]
		size := v.size()
		dst = appendU32(dst, uint32(v.Kind))
		dst = appendU32(dst, uint32(size))
		if v.Kind == KindNumber {
			dst = le.AppendUint64(dst, math.Float64bits(v.Number))
		}
		if size > 0 {
			dst = append(dst, v.Text...)
		}
		dst = append(dst, zeros[:pad(size)-size]...)
	}
	return dst
}

// NextJSON decodes the first entry of b into values, which has one element
// for each path of the list, and returns the rest of b. The texts are views
// of b. Where the status is not JSONOK all values are KindNothing.
func NextJSON(b []byte, values []JSONValue) (s JSONStatus, rest []byte, err error) {
	clear(values)
	r := reader{b: b}
	s = JSONStatus(r.u32())
	size := r.u32()
	if r.bad || size < jsonHead || uint64(size) > uint64(len(b)) || s > JSONNull {
		return 0, nil, fmt.Errorf("decode json entry: status %d, size %d of %d bytes: %w", s, size, len(b), ErrMalformed)
	}
	r.b = b[jsonHead:size]
	if s == JSONOK {
		for i := range values {
			r.jsonValue(&values[i])
		}
	}
	if r.bad || len(r.b) != 0 {
		return 0, nil, fmt.Errorf("decode json entry of %d bytes: %w", size, ErrMalformed)
	}
	return s, b[size:], nil
}

func (r *reader) jsonValue(v *JSONValue) {
	v.Kind = JSONKind(r.u32())
	size := r.u32()
	body := r.bytes(size)
	switch v.Kind {
	case KindNothing, KindNull, KindFalse, KindTrue:
		if size != 0 {
			r.fail()
		}
	case KindNumber:
		if len(body) < 8 {
			r.fail()
			return
		}
		v.Number = math.Float64frombits(le.Uint64(body))
		v.Text = body[8:]
		if math.IsNaN(v.Number) {
			r.fail()
		}
	case KindString, KindObject, KindArray:
		v.Text = body
	default:
		r.fail()
	}
	if r.bad || !allZero(r.bytes(uint32(pad(int(size))-int(size)))) {
		r.fail()
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
