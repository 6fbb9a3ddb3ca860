package jsonschema

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// accepts reports that the value b surely is one JSON value within the limits
// of this package, and surely valid. False means nothing.
func (n *node) accepts(b []byte) bool {
	if len(b) == 0 || len(b) > MaxValueBytes {
		return false
	}
	r := run{b: b, budget: 16*len(b) + 1024}
	end := r.value(n, skipSpace(b, 0), 0)
	return end >= 0 && skipSpace(b, end) == len(b)
}

// run is one pass over a value. Its methods take the index of a value's first
// byte and return the index after it, or -1 if they are not sure.
type run struct {
	b []byte
	// budget is about how many more bytes may be looked at: allOf and its like
	// look at the same bytes again, and again further down.
	budget int
}

func (r *run) value(n *node, i, depth int) int {
	if r.budget -= 8; r.budget < 0 {
		return -1
	}
	for n.ref != nil {
		n = n.ref
	}
	if n.any {
		end := r.skip(i, depth)
		r.budget -= end - i
		return end
	}
	end := i
	if !n.bare {
		if end = r.own(n, i, depth); end < 0 {
			return -1
		}
	}
	if n.bare || n.not != nil || n.allOf != nil || n.anyOf != nil || n.oneOf != nil {
		return r.combined(n, i, end, depth)
	}
	return end
}

// own checks everything but allOf, anyOf, oneOf and not.
func (r *run) own(n *node, i, depth int) int {
	if i >= len(r.b) {
		return -1
	}
	switch c := r.b[i]; c {
	case '"':
		return r.string(n, i)
	case '{':
		if n.sure&tObject == 0 {
			return -1
		}
		return r.object(n, i, depth+1)
	case '[':
		if n.sure&tArray == 0 {
			return -1
		}
		return r.array(n, i, depth+1)
	case 't':
		return r.word(n, i, "true", tBool)
	case 'f':
		return r.word(n, i, "false", tBool)
	case 'n':
		return r.word(n, i, "null", tNull)
	}
	return r.number(n, i)
}

// combined checks allOf, anyOf, oneOf and not on the value that ends at end;
// for a bare node the end is not known yet.
func (r *run) combined(n *node, i, end, depth int) int {
	for _, s := range n.allOf {
		if end = r.value(s, i, depth); end < 0 {
			return -1
		}
	}
	if len(n.anyOf) > 0 {
		e, _ := r.first(n.anyOf, i, depth)
		if e < 0 {
			return -1
		}
		end = e
	}
	if len(n.oneOf) > 0 {
		e, at := r.first(n.oneOf, i, depth)
		if e < 0 {
			return -1
		}
		end = e
		for j, s := range n.oneOf {
			if j != at && !r.refutes(s, i, end, depth) {
				return -1
			}
		}
	}
	if n.not != nil && !r.refutes(n.not, i, end, depth) {
		return -1
	}
	return end
}

// first returns the end of the value if one of the schemas accepts it, and
// which one that is.
func (r *run) first(schemas []*node, i, depth int) (end, at int) {
	for j, s := range schemas {
		if e := r.value(s, i, depth); e >= 0 {
			return e, j
		}
	}
	return -1, 0
}

func (r *run) word(n *node, i int, text string, t types) int {
	if n.sure&t == 0 || len(r.b)-i < len(text) || string(r.b[i:i+len(text)]) != text {
		return -1
	}
	for k := range n.sets {
		if !n.sets[k].word(text[0]) {
			return -1
		}
	}
	return i + len(text)
}

func (l *literals) word(first byte) bool {
	return first == 't' && l.yes || first == 'f' && l.no || first == 'n' && l.null
}

func (r *run) string(n *node, i int) int {
	if n.sure&tString == 0 {
		return -1
	}
	end, plain, ascii := scanString(r.b, i)
	r.budget -= end - i
	if end < 0 {
		return -1
	}
	if n.minLen < 0 && n.maxLen < 0 && n.format == nil && n.sets == nil {
		return end
	}
	if !plain {
		return -1
	}
	text := r.b[i+1 : end-1]
	if n.minLen >= 0 || n.maxLen >= 0 {
		size := len(text)
		if !ascii {
			size = utf8.RuneCount(text)
		}
		if size < n.minLen || n.maxLen >= 0 && size > n.maxLen {
			return -1
		}
	}
	if n.format != nil && !n.format(text) {
		return -1
	}
	for k := range n.sets {
		if !n.sets[k].string(text) {
			return -1
		}
	}
	return end
}

func (l *literals) string(text []byte) bool {
	for _, s := range l.strings {
		if s == string(text) {
			return true
		}
	}
	return false
}

func (r *run) number(n *node, i int) int {
	num, ok := scanNumber(r.b, i)
	if !ok {
		return -1
	}
	t := tInteger
	if !num.integer {
		t = tNumber
	}
	if n.sure&t == 0 {
		return -1
	}
	if n.bounded && (!num.known || num.lo < n.lo || num.hi > n.hi) {
		return -1
	}
	if n.multiple != 0 && (!num.known || num.lo%n.multiple != 0) {
		return -1
	}
	if n.decimals >= 0 && (num.exponent || num.decimals > n.decimals) {
		return -1
	}
	for k := range n.sets {
		if !n.sets[k].number(r.b[i:num.end]) {
			return -1
		}
	}
	return num.end
}

func (l *literals) number(text []byte) bool {
	for _, s := range l.numbers {
		if s == string(text) {
			return true
		}
	}
	return false
}

func (r *run) array(n *node, i, depth int) int {
	if depth > MaxDepth {
		return -1
	}
	b := r.b
	count := 0
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		i++
	} else {
		for {
			if count++; count > MaxItems {
				return -1
			}
			if n.items != nil {
				i = r.value(n.items, i, depth)
			} else {
				i = r.skip(i, depth)
			}
			if i < 0 {
				return -1
			}
			if i = skipSpace(b, i); i >= len(b) {
				return -1
			}
			if b[i] == ']' {
				i++
				break
			}
			if b[i] != ',' {
				return -1
			}
			i = skipSpace(b, i+1)
		}
	}
	if count < n.minItems || n.maxItems >= 0 && count > n.maxItems {
		return -1
	}
	return i
}

func (r *run) object(n *node, i, depth int) int {
	if depth > MaxDepth {
		return -1
	}
	b := r.b
	var seen [maxProps / 64]uint64
	count, next := 0, 0
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		i++
	} else {
		for {
			count++
			name, value := scanName(b, i)
			if value < 0 {
				return -1
			}
			child := n.additional
			if at := n.find(name, next); at >= 0 {
				if seen[at/64]&(1<<(at%64)) != 0 {
					return -1 // named twice
				}
				seen[at/64] |= 1 << (at % 64)
				child, next = n.props[at].value, at+1
			} else if n.closed {
				return -1
			}
			if child != nil {
				i = r.value(child, value, depth)
			} else {
				i = r.skip(value, depth)
			}
			if i < 0 {
				return -1
			}
			if i = skipSpace(b, i); i >= len(b) {
				return -1
			}
			if b[i] == '}' {
				i++
				break
			}
			if b[i] != ',' {
				return -1
			}
			i = skipSpace(b, i+1)
		}
	}
	for k := range seen {
		if n.required[k]&^seen[k] != 0 {
			return -1
		}
	}
	if n.maxProps >= 0 && count > n.maxProps || n.minProps > 0 && !enough(n.minProps, count, &seen) {
		return -1
	}
	return i
}

// enough reports that there surely are at least least members with different
// names. Only those with a prop are known to differ.
func enough(least, count int, seen *[maxProps / 64]uint64) bool {
	different := 0
	for _, s := range seen {
		different += bits.OnesCount64(s)
	}
	return max(different, min(count, 1)) >= least
}

// find returns the index of the prop with a name, -1 if there is none. Records
// of one schema tend to have their members in one order, so that the one
// after the last is a good guess.
func (n *node) find(name []byte, guess int) int {
	if guess < len(n.props) && n.props[guess].name == string(name) {
		return guess
	}
	if n.byName != nil {
		if at, ok := n.byName[string(name)]; ok {
			return at
		}
		return -1
	}
	for at := range n.props {
		if n.props[at].name == string(name) {
			return at
		}
	}
	return -1
}

// skip checks the syntax and the limits of a value, nothing else.
func (r *run) skip(i, depth int) int {
	b := r.b
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		end, _, _ := scanString(b, i)
		return end
	case '{':
		return r.skipObject(i, depth+1)
	case '[':
		return r.skipArray(i, depth+1)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

func skipWord(b []byte, i int, text string) int {
	if len(b)-i < len(text) || string(b[i:i+len(text)]) != text {
		return -1
	}
	return i + len(text)
}

func (r *run) skipObject(i, depth int) int {
	if depth > MaxDepth {
		return -1
	}
	b := r.b
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		_, value := scanName(b, i)
		if value < 0 {
			return -1
		}
		if i = r.skip(value, depth); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = skipSpace(b, i+1)
	}
}

func (r *run) skipArray(i, depth int) int {
	if depth > MaxDepth {
		return -1
	}
	b := r.b
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for count := 1; count <= MaxItems; count++ {
		if i = r.skip(i, depth); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		if b[i] == ']' {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = skipSpace(b, i+1)
	}
	return -1
}

// scanName reads a member's name at b[i], the colon and the space after it.
// It returns the name and where the value begins; -1 if there is no name, or
// one with an escape, invalid UTF-8, or too long.
func scanName(b []byte, i int) (name []byte, value int) {
	if i >= len(b) || b[i] != '"' {
		return nil, -1
	}
	end, plain, _ := scanString(b, i)
	if end < 0 || !plain || end-i-2 > MaxNameBytes {
		return nil, -1
	}
	name = b[i+1 : end-1]
	if i = skipSpace(b, end); i >= len(b) || b[i] != ':' {
		return nil, -1
	}
	return name, skipSpace(b, i+1)
}

// scanString checks the string whose opening quote is b[i] and returns the
// index after its closing quote, -1 if it is not a string in valid UTF-8. It
// says whether the string is plain, without an escape, and all ASCII.
func scanString(b []byte, i int) (end int, plain, ascii bool) {
	start := i + 1
	if start+8 <= len(b) { // most names, many texts
		x := binary.LittleEndian.Uint64(b[start:])
		q, s := x^(ones*'"'), x^(ones*'\\')
		if m := ((q-ones)&^q | (s-ones)&^s | (x - ones*0x20) | x) & highs; m != 0 {
			if end = start + bits.TrailingZeros64(m)>>3; b[end] == '"' {
				return end + 1, true, true
			}
		}
	}
	plain, ascii = true, true
	i = asciiStop(b, start)
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			if !ascii && !utf8.Valid(b[start:i]) {
				return -1, false, false
			}
			return i + 1, plain, ascii
		case c == '\\':
			n := escapeLen(b, i)
			if n == 0 {
				return -1, false, false
			}
			plain = false
			i += n
		case c >= utf8.RuneSelf:
			ascii = false
		default:
			return -1, false, false
		}
		if ascii {
			i = asciiStop(b, i)
		} else {
			i = stringStop(b, i)
		}
	}
	return -1, false, false
}

// skipNumber is scanNumber that only says where the number ends, or -1.
func skipNumber(b []byte, i int) int {
	start := i
	if b[i] == '-' {
		i++
	}
	first := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	digits := i - first
	if digits == 0 || digits > 1 && b[first] == '0' || digits > MaxDigits {
		return -1
	}
	if i < len(b) && (b[i] == '.' || b[i]|0x20 == 'e') {
		num, ok := scanNumber(b, start)
		if !ok {
			return -1
		}
		return num.end
	}
	return i
}

// numeral is a number as it is written.
type numeral struct {
	end      int  // index after it
	integer  bool // no fraction, no exponent
	exponent bool
	decimals int   // digits of the fraction
	known    bool  // lo and hi are known
	lo, hi   int64 // integers with lo <= number <= hi; equal for an integer
}

// scanNumber reads the number at b[i]; false if there is none or one beyond
// the limits of this package.
func scanNumber(b []byte, i int) (numeral, bool) {
	negative := b[i] == '-'
	if negative {
		i++
	}
	start := i
	var v int64
	for i < len(b) && isDigit(b[i]) {
		v = v*10 + int64(b[i]-'0') // meaningless beyond 18 digits
		i++
	}
	digits := i - start
	if digits == 0 || digits > 1 && b[start] == '0' || digits > MaxDigits {
		return numeral{}, false
	}
	if negative {
		v = -v
	}
	n := numeral{end: i, integer: true, known: digits <= 18, lo: v, hi: v}
	if i < len(b) && (b[i] == '.' || b[i]|0x20 == 'e') {
		return n.fraction(b, digits, negative)
	}
	return n, true
}

// fraction completes n with what follows its integer digits.
func (n numeral) fraction(b []byte, digits int, negative bool) (numeral, bool) {
	n.integer = false
	i := n.end
	if b[i] == '.' {
		i++
		start := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		n.decimals = i - start
		if n.decimals == 0 || digits+n.decimals > MaxDigits {
			return n, false
		}
		if negative {
			n.lo--
		} else {
			n.hi++
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		n.exponent, n.known = true, false
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		if i == start || smallInt(b[start:i]) > MaxExponent {
			return n, false
		}
	}
	n.end = i
	return n, true
}
