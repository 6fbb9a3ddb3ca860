package fake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluicegate/sluice/abi"
)

// query is a singular query of RFC 9535.
type query []step

// step is a name, or an index where isIndex.
type step struct {
	name    string
	index   int
	isIndex bool
}

var errPath = errors.New("not a path such as $.a.b or $['a b'][0]")

// parsePath parses a singular query. The escapes of quoted names are those
// of JSON, and \'.
func parsePath(s string) (query, error) {
	rest, ok := strings.CutPrefix(s, "$")
	if !ok {
		return nil, fmt.Errorf("at 0: %w", errPath)
	}
	var p query
	for rest != "" {
		at := len(s) - len(rest)
		var st step
		switch {
		case strings.HasPrefix(rest, "."):
			n := 1
			for n < len(rest) && nameChar(rest[n], n == 1) {
				n++
			}
			if n == 1 {
				return nil, fmt.Errorf("at %d: %w", at, errPath)
			}
			st, rest = step{name: rest[1:n]}, rest[n:]
		case strings.HasPrefix(rest, "["):
			inner, after, ok := bracket(rest[1:])
			if !ok {
				return nil, fmt.Errorf("at %d: %w", at, errPath)
			}
			st, rest = inner, after
		default:
			return nil, fmt.Errorf("at %d: %w", at, errPath)
		}
		p = append(p, st)
	}
	return p, nil
}

func nameChar(c byte, first bool) bool {
	return c == '_' || c >= utf8.RuneSelf || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || !first && '0' <= c && c <= '9'
}

// bracket parses what follows an opening bracket.
func bracket(s string) (st step, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\r\n")
	if s == "" {
		return st, "", false
	}
	if quote := s[0]; quote == '\'' || quote == '"' {
		n := 1
		for ; n < len(s) && s[n] != quote; n++ {
			if s[n] == '\\' {
				n++
			}
		}
		if n >= len(s) {
			return st, "", false
		}
		text := s[1:n]
		if quote == '\'' {
			text = strings.ReplaceAll(strings.ReplaceAll(text, `\'`, `'`), `"`, `\"`)
		}
		if json.Unmarshal([]byte(`"`+text+`"`), &st.name) != nil {
			return st, "", false
		}
		s = s[n+1:]
	} else {
		n := strings.IndexAny(s, "] \t\r\n")
		if n < 0 {
			return st, "", false
		}
		i, err := strconv.Atoi(s[:n])
		if err != nil || strconv.Itoa(i) != s[:n] {
			return st, "", false
		}
		st.index, st.isIndex, s = i, true, s[n:]
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(s, " \t\r\n"), "]")
	return st, rest, ok
}

// evaluate returns what stands at each path of value.
func evaluate(paths []query, value []byte) (abi.JSONStatus, []abi.JSONValue) {
	if value == nil {
		return abi.JSONNull, nil
	}
	if !utf8.Valid(value) || !json.Valid(value) {
		return abi.JSONBad, nil
	}
	values := make([]abi.JSONValue, len(paths))
	for i, p := range paths {
		if raw, ok := p.find(bytes.Trim(value, " \t\r\n")); ok {
			values[i] = jsonValue(raw)
		}
	}
	return abi.JSONOK, values
}

func (p query) find(raw json.RawMessage) (json.RawMessage, bool) {
	for _, st := range p {
		if st.isIndex {
			var items []json.RawMessage
			if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
				return nil, false
			}
			if st.index < 0 {
				st.index += len(items)
			}
			if st.index < 0 || st.index >= len(items) {
				return nil, false
			}
			raw = items[st.index]
			continue
		}
		var members map[string]json.RawMessage
		if raw[0] != '{' || json.Unmarshal(raw, &members) != nil {
			return nil, false
		}
		member, ok := members[st.name]
		if !ok {
			return nil, false
		}
		raw = member
	}
	return raw, true
}

func jsonValue(raw json.RawMessage) abi.JSONValue {
	switch raw[0] {
	case 'n':
		return abi.JSONValue{Kind: abi.KindNull}
	case 'f':
		return abi.JSONValue{Kind: abi.KindFalse}
	case 't':
		return abi.JSONValue{Kind: abi.KindTrue}
	case '{':
		return abi.JSONValue{Kind: abi.KindObject, Text: raw}
	case '[':
		return abi.JSONValue{Kind: abi.KindArray, Text: raw}
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			trapf("get: %v", err)
		}
		return abi.JSONValue{Kind: abi.KindString, Text: []byte(s)}
	}
	f, _ := strconv.ParseFloat(string(raw), 64) // infinite where out of range
	return abi.JSONValue{Kind: abi.KindNumber, Number: f, Text: raw}
}
