package json

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/sluicegate/sluice/abi"
)

// maxDepth is how deeply arrays and objects may be nested, as in encoding/json.
const maxDepth = 10000

// Reader reads texts. The zero value is ready for use. It keeps its buffers from one text to the next, and is for one goroutine at a
// time.
type Reader struct {
	b      []byte // the text
	i      int    // position in it
	depth  int
	values []abi.JSONValue
	seen   []bool // by node: it was met in this text
	open   []byte // containers open in skip
	buf    []byte // decoded strings
}

// Get sets values[i] to what stands at the list's path i, for len(values) == l.Len(). Texts of the values are views of text and of the reader's
// buffer: they are valid until the next Get and as long as text is. A nil text is null, as a record's value.
func (r *Reader) Get(l *List, text []byte, values []abi.JSONValue) abi.JSONStatus {
	clear(values)
	if text == nil {
		return abi.JSONNull
	}
	if !utf8.Valid(text) {
		return abi.JSONBad
	}
	r.b, r.i, r.depth, r.values, r.buf = text, 0, 0, values, r.buf[:0]
	if cap(r.seen) < l.nodes {
		r.seen = make([]bool, l.nodes)
	}
	r.seen = r.seen[:l.nodes]
	clear(r.seen)
	r.space()
	ok := r.value(l.root)
	r.space()
	ok = ok && r.i == len(r.b)
	r.b, r.values = nil, nil
	if !ok {
		clear(values)
		return abi.JSONBad
	}
	return abi.JSONOK
}

func (r *Reader) space() {
	for r.i < len(r.b) {
		switch r.b[r.i] {
		case ' ', '\t', '\r', '\n':
			r.i++
		default:
			return
		}
	}
}

// value reads the value at the position, taking what the paths at and below n ask for, and reports whether it is one.
func (r *Reader) value(n *node) bool {
	if n == nil {
		return r.skip()
	}
	if r.seen[n.id] { // a member of this name was here before
		for _, i := range n.all {
			r.values[i] = abi.JSONValue{}
		}
	}
	r.seen[n.id] = true
	if r.i >= len(r.b) {
		return false
	}
	start, ok := r.i, false
	switch {
	case r.b[start] == '{' && len(n.names) > 0:
		ok = r.object(n)
	case r.b[start] == '[' && len(n.indexes) > 0:
		ok = r.array(n)
	default:
		ok = r.skip()
	}
	if !ok {
		return false
	}
	if len(n.ends) > 0 {
		v := r.taken(r.b[start:r.i:r.i])
		for _, i := range n.ends {
			r.values[i] = v
		}
	}
	return true
}

// object reads an object some of whose members are asked for.
func (r *Reader) object(n *node) bool {
	r.i++
	if !r.enter() {
		return false
	}
	r.space()
	if r.next('}') {
		r.depth--
		return true
	}
	for {
		r.space()
		start := r.i
		if !r.string() {
			return false
		}
		child := r.member(n, r.b[start+1:r.i-1])
		r.space()
		if !r.next(':') {
			return false
		}
		r.space()
		if !r.value(child) {
			return false
		}
		r.space()
		if r.next('}') {
			r.depth--
			return true
		}
		if !r.next(',') {
			return false
		}
	}
}

// member returns the node for a member's name, as written without its quotes; nil if nobody asks for it.
func (r *Reader) member(n *node, raw []byte) *node {
	if bytes.IndexByte(raw, '\\') >= 0 {
		start := len(r.buf)
		r.buf = appendDecoded(r.buf, raw)
		raw = r.buf[start:]
		defer func() { r.buf = r.buf[:start] }()
	}
	for i := range n.names {
		if n.names[i].name == string(raw) {
			return n.names[i].to
		}
	}
	return nil
}

// array reads an array some of whose elements are asked for.
func (r *Reader) array(n *node) bool {
	length := int64(-1)
	if n.fromEnd {
		before := r.i
		var ok bool
		if length, ok = r.count(); !ok {
			return false
		}
		r.i = before
	}
	r.i++
	if !r.enter() {
		return false
	}
	r.space()
	if r.next(']') {
		r.depth--
		return true
	}
	for at := int64(0); ; at++ {
		r.space()
		if !r.element(n, at, length) {
			return false
		}
		r.space()
		if r.next(']') {
			r.depth--
			return true
		}
		if !r.next(',') {
			return false
		}
	}
}

// element reads the element at an index of an array of this length, which is -1 where nobody asks for it. An element may have two
// nodes, one from each end; it is read for each.
func (r *Reader) element(n *node, at, length int64) bool {
	start, read := r.i, false
	for i := range n.indexes {
		if index := n.indexes[i].index; index == at || index < 0 && index+length == at {
			r.i = start
			if !r.value(n.indexes[i].to) {
				return false
			}
			read = true
		}
	}
	return read || r.skip()
}

// count returns the length of the array at the position, which it passes.
func (r *Reader) count() (n int64, ok bool) {
	r.i++
	if !r.enter() {
		return 0, false
	}
	defer func() { r.depth-- }()
	r.space()
	if r.next(']') {
		return 0, true
	}
	for {
		r.space()
		if !r.skip() {
			return 0, false
		}
		n++
		r.space()
		if r.next(']') {
			return n, true
		}
		if !r.next(',') {
			return 0, false
		}
	}
}

// enter counts a container that was opened.
func (r *Reader) enter() bool {
	r.depth++
	return r.depth <= maxDepth
}

// next passes c if it is at the position.
func (r *Reader) next(c byte) bool {
	if r.i < len(r.b) && r.b[r.i] == c {
		r.i++
		return true
	}
	return false
}

// taken makes a value of a valid text without blanks around it.
func (r *Reader) taken(text []byte) abi.JSONValue {
	switch text[0] {
	case 'n':
		return abi.JSONValue{Kind: abi.KindNull}
	case 'f':
		return abi.JSONValue{Kind: abi.KindFalse}
	case 't':
		return abi.JSONValue{Kind: abi.KindTrue}
	case '{':
		return abi.JSONValue{Kind: abi.KindObject, Text: text}
	case '[':
		return abi.JSONValue{Kind: abi.KindArray, Text: text}
	case '"':
		raw := text[1 : len(text)-1 : len(text)-1]
		if bytes.IndexByte(raw, '\\') < 0 {
			return abi.JSONValue{Kind: abi.KindString, Text: raw}
		}
		start := len(r.buf)
		r.buf = appendDecoded(r.buf, raw)
		return abi.JSONValue{Kind: abi.KindString, Text: r.buf[start:len(r.buf):len(r.buf)]}
	}
	// Out of range is infinity, which is what ParseFloat returns beside its error.
	f, _ := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	if math.IsNaN(f) {
		f = 0
	}
	return abi.JSONValue{Kind: abi.KindNumber, Number: f, Text: text}
}

// skip passes one value of any depth, without recursion.
func (r *Reader) skip() bool {
	r.open = r.open[:0]
	for {
		if !r.scalarOrOpen() {
			return false
		}
		// A value has ended, or an empty container was opened. Close what ends here.
		for {
			if len(r.open) == 0 {
				return true
			}
			r.space()
			if r.i >= len(r.b) {
				return false
			}
			c := r.b[r.i]
			if c == ',' {
				r.i++
				break
			}
			if c != r.open[len(r.open)-1] {
				return false
			}
			r.i++
			r.depth--
			r.open = r.open[:len(r.open)-1]
		}
		if !r.name() {
			return false
		}
	}
}

// scalarOrOpen passes a scalar or an empty container, opening all containers that it finds in front of one.
func (r *Reader) scalarOrOpen() bool {
	for {
		r.space()
		if r.i >= len(r.b) {
			return false
		}
		c := r.b[r.i]
		if c != '{' && c != '[' {
			return r.scalar(c)
		}
		r.i++
		if !r.enter() {
			return false
		}
		r.open = append(r.open, c+2) // '{'+2 is '}', '['+2 is ']'
		r.space()
		if r.next(c + 2) {
			r.depth--
			r.open = r.open[:len(r.open)-1]
			return true
		}
		if !r.name() {
			return false
		}
	}
}

// name passes a member's name and colon if an object is open, and nothing in an array.
func (r *Reader) name() bool {
	if r.open[len(r.open)-1] != '}' {
		return true
	}
	r.space()
	if !r.string() {
		return false
	}
	r.space()
	return r.next(':')
}

func (r *Reader) scalar(c byte) bool {
	switch c {
	case '"':
		return r.string()
	case 't':
		return r.literal("true")
	case 'f':
		return r.literal("false")
	case 'n':
		return r.literal("null")
	}
	return r.number()
}

func (r *Reader) literal(s string) bool {
	if len(r.b)-r.i < len(s) || string(r.b[r.i:r.i+len(s)]) != s {
		return false
	}
	r.i += len(s)
	return true
}

// number passes a number.
func (r *Reader) number() bool {
	r.next('-')
	if !r.next('0') && !r.digits() {
		return false
	}
	if r.next('.') && !r.digits() {
		return false
	}
	if r.next('e') || r.next('E') {
		if !r.next('+') {
			r.next('-')
		}
		return r.digits()
	}
	return true
}

// digits passes one digit or more.
func (r *Reader) digits() bool {
	start := r.i
	for r.i < len(r.b) && '0' <= r.b[r.i] && r.b[r.i] <= '9' {
		r.i++
	}
	return r.i > start
}

// string passes a string.
func (r *Reader) string() bool {
	if !r.next('"') {
		return false
	}
	for r.i < len(r.b) {
		r.i += ordinary(r.b[r.i:])
		if r.i >= len(r.b) {
			return false
		}
		switch c := r.b[r.i]; {
		case c == '"':
			r.i++
			return true
		case c == '\\':
			if !r.escape() {
				return false
			}
		case c < ' ':
			return false
		default:
			r.i++
		}
	}
	return false
}

// ordinary returns how many bytes of b, in steps of eight, are surely neither quotes nor backslashes nor control characters.
func ordinary(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := 0
	for len(b)-n >= 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, back := x^(ones*'"'), x^(ones*'\\')
		if ((x-ones*' ')&^x|(quote-ones)&^quote|(back-ones)&^back)&tops != 0 {
			break
		}
		n += 8
	}
	return n
}

// escape passes a backslash and what belongs to it.
func (r *Reader) escape() bool {
	r.i++
	if r.i >= len(r.b) {
		return false
	}
	switch r.b[r.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.i++
		return true
	case 'u':
		if _, ok := hex4(r.b[r.i+1:]); ok {
			r.i += 5
			return true
		}
	}
	return false
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	v := rune(0)
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	return v, true
}

// appendDecoded appends what a valid string, as written without its quotes, stands for. Unpaired surrogates become U+FFFD.
func appendDecoded(dst, raw []byte) []byte {
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:n]...)
		raw = raw[n:]
		c := raw[1]
		raw = raw[2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			ch, _ := hex4(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(ch) {
				ch, raw = pair(ch, raw)
			}
			dst = utf8.AppendRune(dst, ch)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// pair joins a surrogate with the one that follows it, if they are a pair.
func pair(first rune, raw []byte) (rune, []byte) {
	if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
		if second, ok := hex4(raw[2:]); ok {
			if ch := utf16.DecodeRune(first, second); ch != utf8.RuneError {
				return ch, raw[6:]
			}
		}
	}
	return utf8.RuneError, raw
}
