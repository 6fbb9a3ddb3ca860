// Package lines writes records as lines of JSON, for fixtures and filters.
//
// A line is an object with the members of a record; all are optional:
//
//	{"key": "k", "value": {"lumens": 5}, "headers": [["name", "text"], ["null", null]], "timestamp": 1700000000000, "offset": 3}
//
// A key or the value is null, a string (its text), or any other JSON value
// (its text as it stands in the line). Bytes that are not UTF-8 are in
// key_hex and value_hex, and for a header in a third element of its array.
package lines

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/sluicegate/sluice/abi"
)

type line struct {
	Key       json.RawMessage     `json:"key"`
	KeyHex    *string             `json:"key_hex"`
	Value     json.RawMessage     `json:"value"`
	ValueHex  *string             `json:"value_hex"`
	Headers   [][]json.RawMessage `json:"headers"`
	Timestamp *int64              `json:"timestamp"`
	Offset    int64               `json:"offset"`
	LogAppend bool                `json:"log_append_time"`
}

// Parse reads one line. The record owns its memory; without a timestamp it
// has -1.
func Parse(b []byte) (abi.Record, error) {
	var l line
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return abi.Record{}, err
	}
	if d.More() {
		return abi.Record{}, errors.New("text after the object")
	}
	r := abi.Record{Timestamp: -1, Offset: l.Offset, LogAppendTime: l.LogAppend}
	if l.Timestamp != nil {
		r.Timestamp = *l.Timestamp
	}
	var err error
	if r.Key, err = parseBytes(l.Key, l.KeyHex); err != nil {
		return r, fmt.Errorf("key: %w", err)
	}
	if r.Value, err = parseBytes(l.Value, l.ValueHex); err != nil {
		return r, fmt.Errorf("value: %w", err)
	}
	for i, h := range l.Headers {
		header, err := parseHeader(h)
		if err != nil {
			return r, fmt.Errorf("headers[%d]: %w", i, err)
		}
		r.Headers = append(r.Headers, header)
	}
	return r, nil
}

func parseHeader(h []json.RawMessage) (out abi.Header, err error) {
	if len(h) != 2 && len(h) != 3 {
		return out, errors.New("want [name, value]")
	}
	if err := json.Unmarshal(h[0], &out.Name); err != nil {
		return out, err
	}
	var inHex *string
	if len(h) == 3 {
		if err := json.Unmarshal(h[2], &inHex); err != nil {
			return out, err
		}
	}
	out.Value, err = parseBytes(h[1], inHex)
	return out, err
}

func parseBytes(raw json.RawMessage, inHex *string) ([]byte, error) {
	if inHex != nil {
		b, err := hex.DecodeString(*inHex)
		return append([]byte{}, b...), err
	}
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), err
	}
	return raw, nil
}

// Append appends r as a line without the line's end. What it appends is
// parsed as r again.
func Append(dst []byte, r *abi.Record) []byte {
	dst = append(dst, '{')
	dst = appendMember(dst, "key", r.Key)
	dst = append(dst, ", "...)
	dst = appendMember(dst, "value", r.Value)
	if len(r.Headers) > 0 {
		dst = append(dst, `, "headers": [`...)
		for i := range r.Headers {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendHeader(dst, &r.Headers[i])
		}
		dst = append(dst, ']')
	}
	if r.Timestamp != -1 {
		dst = fmt.Appendf(dst, `, "timestamp": %d`, r.Timestamp)
	}
	if r.Offset != 0 {
		dst = fmt.Appendf(dst, `, "offset": %d`, r.Offset)
	}
	if r.LogAppendTime {
		dst = append(dst, `, "log_append_time": true`...)
	}
	return append(dst, '}')
}

func appendMember(dst []byte, name string, b []byte) []byte {
	if !utf8.Valid(b) {
		return fmt.Appendf(dst, `"%s_hex": "%x"`, name, b)
	}
	dst = fmt.Appendf(dst, `"%s": `, name)
	if b != nil && rawJSON(b) {
		return append(dst, b...)
	}
	return appendText(dst, b)
}

// rawJSON reports whether b can stand in a line as it is and means itself.
func rawJSON(b []byte) bool {
	if len(b) == 0 || b[0] == '"' || b[0] <= ' ' || b[len(b)-1] <= ' ' || string(b) == "null" || bytes.ContainsAny(b, "\r\n") {
		return false
	}
	return json.Valid(b)
}

func appendHeader(dst []byte, h *abi.Header) []byte {
	dst = append(dst, '[')
	dst = appendText(dst, []byte(h.Name))
	dst = append(dst, ", "...)
	if !utf8.Valid(h.Value) {
		return fmt.Appendf(dst, `null, "%x"]`, h.Value)
	}
	dst = appendText(dst, h.Value)
	return append(dst, ']')
}

// appendText appends b as a JSON string, nil as null.
func appendText(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(string(b)) // strings always encode
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
