package json

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// segment is one step of a path: a member's name or an element's index, which counts from the end if it is negative.
type segment struct {
	name    string
	index   int64
	isIndex bool
}

// maxSegments bounds a path's length.
const maxSegments = 64

// PathError says what is wrong with a path, and where.
type PathError struct {
	Path   string
	Offset int // in bytes
	Text   string
}

func (e *PathError) Error() string {
	return fmt.Sprintf("path %q: at byte %d: %s", e.Path, e.Offset, e.Text)
}

// pathParser reads a singular query of RFC 9535.
type pathParser struct {
	s string
	i int
}

// parsePath parses a singular query: `$.a.b`, `$['a b'][0]`.
func parsePath(s string) ([]segment, error) {
	p := &pathParser{s: s}
	if !utf8.ValidString(s) {
		return nil, p.fail("not UTF-8")
	}
	if !strings.HasPrefix(s, "$") {
		return nil, p.fail("want $, the root of the value")
	}
	p.i++
	var segments []segment
	for {
		p.space()
		if p.i == len(s) {
			break
		}
		seg, err := p.segment()
		if err != nil {
			return nil, err
		}
		if segments = append(segments, seg); len(segments) > maxSegments {
			return nil, p.fail("more than " + strconv.Itoa(maxSegments) + " segments")
		}
	}
	if c := s[len(s)-1]; strings.IndexByte(" \t\r\n", c) >= 0 {
		return nil, p.fail("blank at the end")
	}
	return segments, nil
}

func (p *pathParser) fail(text string) error {
	return &PathError{Path: p.s, Offset: p.i, Text: text}
}

func (p *pathParser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

// peek returns the byte at the position, 0 at the end.
func (p *pathParser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *pathParser) segment() (segment, error) {
	switch p.peek() {
	case '.':
		p.i++
		return p.shorthand()
	case '[':
		p.i++
		p.space()
		seg, err := p.selector()
		if err != nil {
			return seg, err
		}
		p.space()
		if p.peek() != ']' {
			return seg, p.fail("want ]")
		}
		p.i++
		return seg, nil
	}
	return segment{}, p.fail("want . or [")
}

func (p *pathParser) shorthand() (segment, error) {
	start := p.i
	for i, r := range p.s[start:] {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r >= utf8.RuneSelf
		if !letter && (i == 0 || r < '0' || r > '9') {
			break
		}
		p.i = start + i + utf8.RuneLen(r)
	}
	switch {
	case p.i > start:
		return segment{name: p.s[start:p.i]}, nil
	case p.peek() == '.' || p.peek() == '*':
		return segment{}, p.fail("a path leads to one value: wildcards and descendants are not allowed")
	}
	return segment{}, p.fail("want a name of letters, digits and underscores; write others as ['...']")
}

func (p *pathParser) selector() (segment, error) {
	switch c := p.peek(); {
	case c == '\'' || c == '"':
		name, err := p.quoted(c)
		return segment{name: name}, err
	case c == '-' || '0' <= c && c <= '9':
		return p.indexSelector()
	case c == '*' || c == ':' || c == '?':
		return segment{}, p.fail("a path leads to one value: wildcards, slices and filters are not allowed")
	}
	return segment{}, p.fail("want a quoted name or an index")
}

func (p *pathParser) indexSelector() (segment, error) {
	start := p.i
	if p.peek() == '-' {
		p.i++
	}
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.i++
	}
	text := p.s[start:p.i]
	digits := strings.TrimPrefix(text, "-")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || digits[0] == '0' && text != "0" || n >= 1<<53 || n <= -1<<53 {
		p.i = start
		return segment{}, p.fail("want an index without leading zeros, between -(2^53-1) and 2^53-1")
	}
	return segment{index: n, isIndex: true}, nil
}

// quoted reads a string literal between quotes.
func (p *pathParser) quoted(quote byte) (string, error) {
	p.i++
	var b strings.Builder
	for {
		switch c := p.peek(); {
		case p.i >= len(p.s):
			return "", p.fail("the name has no closing quote")
		case c == quote:
			p.i++
			return b.String(), nil
		case c < ' ':
			return "", p.fail("control character in a name")
		case c == '\\':
			p.i++
			r, err := p.escape(quote)
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
			p.i++
		}
	}
}

// escape reads what follows a backslash.
func (p *pathParser) escape(quote byte) (rune, error) {
	c := p.peek()
	if i := strings.IndexByte(`bfnrt/\`, c); i >= 0 && c != 0 {
		p.i++
		return rune("\b\f\n\r\t/\\"[i]), nil
	}
	switch c {
	case quote:
		p.i++
		return rune(quote), nil
	case 'u':
		r, ok := p.hex4()
		if ok && utf16.IsSurrogate(r) {
			var low rune
			if ok = strings.HasPrefix(p.s[p.i:], `\u`); ok {
				p.i++
				low, ok = p.hex4()
			}
			r = utf16.DecodeRune(r, low)
			ok = ok && r != utf8.RuneError
		}
		if !ok {
			return 0, p.fail(`want \u and four hexadecimal digits, surrogates in pairs`)
		}
		return r, nil
	}
	return 0, p.fail("unknown escape")
}

// hex4 reads u and four digits.
func (p *pathParser) hex4() (rune, bool) {
	if len(p.s)-p.i < 5 {
		return 0, false
	}
	n, err := strconv.ParseUint(p.s[p.i+1:p.i+5], 16, 16)
	if err != nil || p.s[p.i+1] == '+' {
		return 0, false
	}
	p.i += 5
	return rune(n), true
}
