package jsonschema

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// parse decodes exactly one JSON value in the form that the judge wants: a
// number as json.Number, of a repeated name the last member, invalid UTF-8 as
// U+FFFD. It accepts what encoding/json accepts, within this package's limits.
// If problem is not empty it says, for a user, why there is no value.
func parse(b []byte) (doc any, problem string) {
	if len(b) > MaxValueBytes {
		return nil, fmt.Sprintf("too large: %d bytes are more than the %d that are judged", len(b), MaxValueBytes)
	}
	p := parser{b: b}
	p.space()
	if p.i == len(b) {
		return nil, "not valid JSON: there is no value"
	}
	if len(b) >= 3 && string(b[:3]) == "\xef\xbb\xbf" {
		return nil, "not valid JSON: it begins with a byte order mark"
	}
	doc, ok := p.value(0)
	if !ok {
		return nil, p.problem
	}
	p.space()
	if p.i < len(b) {
		return nil, fmt.Sprintf("not valid JSON: %s at byte %d, after the value", quoteByte(b[p.i]), p.i)
	}
	return doc, ""
}

// parser is at byte i of b. Its methods return false once problem is set.
type parser struct {
	b       []byte
	i       int
	problem string
}

func (p *parser) fail(format string, args ...any) bool {
	p.problem = fmt.Sprintf(format, args...)
	return false
}

// unexpected fails at the current byte.
func (p *parser) unexpected(want string) bool {
	if p.i >= len(p.b) {
		return p.fail("not valid JSON: it ends where %s should be", want)
	}
	return p.fail("not valid JSON: %s at byte %d where %s should be", quoteByte(p.b[p.i]), p.i, want)
}

func quoteByte(c byte) string {
	if c >= utf8.RuneSelf {
		return fmt.Sprintf("byte 0x%02x", c)
	}
	return strconv.QuoteRune(rune(c))
}

func (p *parser) space() { p.i = skipSpace(p.b, p.i) }

func (p *parser) value(depth int) (any, bool) {
	if p.i >= len(p.b) {
		return nil, p.unexpected("a value")
	}
	switch c := p.b[p.i]; {
	case c == '"':
		s, ok := p.string()
		return s, ok
	case c == '{':
		return p.object(depth + 1)
	case c == '[':
		return p.array(depth + 1)
	case c == '-' || isDigit(c):
		return p.number()
	case c == 't':
		return true, p.literal("true")
	case c == 'f':
		return false, p.literal("false")
	case c == 'n':
		return nil, p.literal("null")
	}
	return nil, p.unexpected("a value")
}

func (p *parser) literal(text string) bool {
	for j := range len(text) {
		if p.i >= len(p.b) || p.b[p.i] != text[j] {
			return p.unexpected(text)
		}
		p.i++
	}
	return true
}

func (p *parser) object(depth int) (any, bool) {
	if depth > MaxDepth {
		return nil, p.fail("nested too deeply: more than %d levels at byte %d", MaxDepth, p.i)
	}
	p.i++ // {
	m := make(map[string]any)
	p.space()
	if p.i < len(p.b) && p.b[p.i] == '}' {
		p.i++
		return m, true
	}
	for {
		p.space()
		if p.i >= len(p.b) || p.b[p.i] != '"' {
			return nil, p.unexpected("a member's name in double quotes")
		}
		start := p.i
		name, ok := p.string()
		if !ok {
			return nil, false
		}
		if p.i-start-2 > MaxNameBytes {
			return nil, p.fail("the name at byte %d is too long: %d bytes are more than the %d that are judged", start, p.i-start-2, MaxNameBytes)
		}
		p.space()
		if p.i >= len(p.b) || p.b[p.i] != ':' {
			return nil, p.unexpected("':'")
		}
		p.i++
		p.space()
		v, ok := p.value(depth)
		if !ok {
			return nil, false
		}
		m[name] = v
		if more, ok := p.more('}', "',' or '}'"); !ok || !more {
			return m, ok
		}
	}
}

func (p *parser) array(depth int) (any, bool) {
	if depth > MaxDepth {
		return nil, p.fail("nested too deeply: more than %d levels at byte %d", MaxDepth, p.i)
	}
	start := p.i
	p.i++ // [
	items := []any{}
	p.space()
	if p.i < len(p.b) && p.b[p.i] == ']' {
		p.i++
		return items, true
	}
	for {
		p.space()
		if len(items) == MaxItems {
			return nil, p.fail("the array at byte %d is too long: more than the %d elements that are judged", start, MaxItems)
		}
		v, ok := p.value(depth)
		if !ok {
			return nil, false
		}
		items = append(items, v)
		if more, ok := p.more(']', "',' or ']'"); !ok || !more {
			return items, ok
		}
	}
}

// more steps over a comma (true) or the closing byte (false).
func (p *parser) more(closing byte, want string) (more, ok bool) {
	p.space()
	if p.i < len(p.b) {
		switch p.b[p.i] {
		case ',':
			p.i++
			return true, true
		case closing:
			p.i++
			return false, true
		}
	}
	return false, p.unexpected(want)
}

func (p *parser) string() (string, bool) {
	start := p.i
	p.i++ // opening quote
	escaped := false
	for {
		p.i = stringStop(p.b, p.i)
		if p.i >= len(p.b) {
			return "", p.unexpected("the end of a string")
		}
		switch c := p.b[p.i]; c {
		case '"':
			p.i++
			return p.text(p.b[start:p.i], escaped)
		case '\\':
			escaped = true
			n := escapeLen(p.b, p.i)
			if n == 0 {
				return "", p.fail("not valid JSON: unknown escape at byte %d", p.i)
			}
			p.i += n
		default:
			return "", p.fail("not valid JSON: control character %s in the string at byte %d", quoteByte(c), p.i)
		}
	}
}

// text decodes a string whose syntax is right, quotes included.
func (p *parser) text(quoted []byte, escaped bool) (string, bool) {
	raw := quoted[1 : len(quoted)-1]
	if !escaped && utf8.Valid(raw) {
		return string(raw), true
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", p.fail("not valid JSON: %v", err)
	}
	return s, true
}

func (p *parser) number() (any, bool) {
	start := p.i
	if p.b[p.i] == '-' {
		p.i++
	}
	digits := p.digits()
	switch {
	case digits == 0:
		return nil, p.unexpected("a digit")
	case digits > 1 && p.b[p.i-digits] == '0':
		p.i += 1 - digits
		return nil, p.fail("not valid JSON: a number with a leading zero at byte %d", start)
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		p.i++
		n := p.digits()
		if n == 0 {
			return nil, p.unexpected("a digit")
		}
		digits += n
	}
	exponent := 0
	if p.i < len(p.b) && (p.b[p.i] == 'e' || p.b[p.i] == 'E') {
		p.i++
		if p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		from := p.i
		if p.digits() == 0 {
			return nil, p.unexpected("a digit")
		}
		exponent = smallInt(p.b[from:p.i])
	}
	if digits > MaxDigits {
		return nil, p.fail("the number at byte %d is too long: %d digits are more than the %d that are judged", start, digits, MaxDigits)
	}
	if exponent > MaxExponent {
		return nil, p.fail("the number at byte %d is out of range: its exponent is beyond ±%d, which is not judged", start, MaxExponent)
	}
	return json.Number(p.b[start:p.i]), true
}

// digits steps over decimal digits and returns how many there were.
func (p *parser) digits() int {
	start := p.i
	for p.i < len(p.b) && isDigit(p.b[p.i]) {
		p.i++
	}
	return p.i - start
}

// smallInt returns the value of decimal digits, capped just above MaxExponent.
func smallInt(digits []byte) int {
	n := 0
	for _, c := range digits {
		if n = n*10 + int(c-'0'); n > MaxExponent {
			return MaxExponent + 1
		}
	}
	return n
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// escapeLen returns the length of the escape sequence that begins at the
// backslash b[i], 0 if it is none.
func escapeLen(b []byte, i int) int {
	if i+1 >= len(b) {
		return 0
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if i+6 > len(b) {
			return 0
		}
		for _, c := range b[i+2 : i+6] {
			if !isDigit(c) && (c|0x20)-'a' > 5 {
				return 0
			}
		}
		return 6
	}
	return 0
}

// Eight bytes are looked at at once. The lowest byte that a mask flags is
// exact; a borrow may flag bytes above it wrongly.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// stringStop returns the index of the first byte from i on that needs a look
// in a string: a quote, a backslash or a control character; len(b) if there
// is none.
func stringStop(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, s := x^(ones*'"'), x^(ones*'\\')
		m := ((q-ones)&^q | (s-ones)&^s | (x-ones*0x20)&^x) & highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			return i
		}
	}
	return i
}

// asciiStop is stringStop that also stops at the first byte of what is not
// ASCII.
func asciiStop(b []byte, i int) int {
	for long := i + 32; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, s := x^(ones*'"'), x^(ones*'\\')
		m := ((q-ones)&^q | (s-ones)&^s | (x - ones*0x20) | x) & highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		if i == long {
			return longStop(b, i)
		}
	}
	return byteStop(b, i)
}

// longStop is asciiStop for texts, with the searches that the library has in
// vector instructions. It looks at a part only, so that a text of many escapes
// does not have it search to the end again after each.
func longStop(b []byte, i int) int {
	for i < len(b) {
		part := b[i:min(i+2048, len(b))]
		quote := bytes.IndexByte(part, '"')
		if quote >= 0 {
			part = part[:quote]
		}
		escape := bytes.IndexByte(part, '\\')
		if escape >= 0 {
			part = part[:escape]
		}
		n := 0
		for ; n+32 <= len(part); n += 32 {
			w := part[n : n+32 : n+32]
			x0, x1 := binary.LittleEndian.Uint64(w), binary.LittleEndian.Uint64(w[8:])
			x2, x3 := binary.LittleEndian.Uint64(w[16:]), binary.LittleEndian.Uint64(w[24:])
			m := (x0 - ones*0x20) | x0 | (x1 - ones*0x20) | x1 | (x2 - ones*0x20) | x2 | (x3 - ones*0x20) | x3
			if m&highs != 0 {
				break
			}
		}
		stop := byteStop(part, n)
		i += stop
		if stop < len(part) || quote >= 0 || escape >= 0 {
			return i
		}
	}
	return i
}

// byteStop is asciiStop, byte by byte.
func byteStop(b []byte, i int) int {
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 || c >= utf8.RuneSelf {
			return i
		}
	}
	return i
}
