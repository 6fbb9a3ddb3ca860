package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"

	sluice "github.com/sluicegate/sluice/sdk/go"
)

// conditionConfig is a condition as it is written: a combination (all, any,
// not), or a subject (json, header, field) with tests of it.
type conditionConfig struct {
	All []conditionConfig `json:"all"`
	Any []conditionConfig `json:"any"`
	Not *conditionConfig  `json:"not"`

	JSON   *string `json:"json"`
	Header *string `json:"header"`
	Field  *string `json:"field"`

	Eq       json.RawMessage   `json:"eq"`
	Ne       json.RawMessage   `json:"ne"`
	Lt       json.RawMessage   `json:"lt"`
	Lte      json.RawMessage   `json:"lte"`
	Gt       json.RawMessage   `json:"gt"`
	Gte      json.RawMessage   `json:"gte"`
	In       []json.RawMessage `json:"in"`
	Exists   *bool             `json:"exists"`
	Matches  *string           `json:"matches"`
	Prefix   *string           `json:"prefix"`
	Suffix   *string           `json:"suffix"`
	Contains *string           `json:"contains"`
}

// parser compiles conditions and collects what they look at. Its errors
// begin with the path of the condition at fault.
type parser struct {
	fields sluice.Fields
	paths  []string
}

func (p *parser) condition(at string, c *conditionConfig) (condition, error) {
	kinds := 0
	for _, is := range []bool{c.All != nil, c.Any != nil, c.Not != nil, c.JSON != nil, c.Header != nil, c.Field != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, fmt.Errorf("%s: want exactly one of all, any, not, json, header, field", at)
	}
	tests, err := c.tests(at)
	if err != nil {
		return nil, err
	}
	if c.All != nil || c.Any != nil || c.Not != nil {
		if len(tests) > 0 {
			return nil, fmt.Errorf("%s: all, any and not stand alone: put the tests into the conditions below them", at)
		}
		return p.combination(at, c)
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("%s: %w", at, errTests)
	}
	s, err := p.subject(at, c)
	if err != nil {
		return nil, err
	}
	for i := range tests {
		if err := tests[i].fit(s.kind); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	return &comparison{s, tests}, nil
}

func (p *parser) combination(at string, c *conditionConfig) (condition, error) {
	switch {
	case c.All != nil:
		list, err := p.list(at+".all", c.All)
		return all(list), err
	case c.Any != nil:
		list, err := p.list(at+".any", c.Any)
		return anyOf(list), err
	}
	inner, err := p.condition(at+".not", c.Not)
	return not{inner}, err
}

func (p *parser) list(at string, configs []conditionConfig) ([]condition, error) {
	if len(configs) == 0 {
		return nil, fmt.Errorf("%s: there are no conditions in it", at)
	}
	list := make([]condition, 0, len(configs))
	for i := range configs {
		c, err := p.condition(at+"["+strconv.Itoa(i)+"]", &configs[i])
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (p *parser) subject(at string, c *conditionConfig) (subject, error) {
	switch {
	case c.JSON != nil:
		for i, path := range p.paths {
			if path == *c.JSON {
				return subject{kind: onJSON, path: i}, nil
			}
		}
		p.paths = append(p.paths, *c.JSON)
		return subject{kind: onJSON, path: len(p.paths) - 1}, nil
	case c.Header != nil:
		p.fields |= sluice.FieldHeaders
		return subject{kind: onHeader, header: *c.Header}, nil
	}
	switch *c.Field {
	case "key":
		p.fields |= sluice.FieldKey
		return subject{kind: onKey}, nil
	case "value":
		p.fields |= sluice.FieldValue
		return subject{kind: onValue}, nil
	case "timestamp":
		p.fields |= sluice.FieldMeta
		return subject{kind: onTimestamp}, nil
	}
	return subject{}, fmt.Errorf("%s: field: %q is none of key, value, timestamp", at, *c.Field)
}

// tests compiles the operators that are there.
func (c *conditionConfig) tests(at string) ([]test, error) {
	var tests []test
	for _, o := range []struct {
		name string
		op   operator
		raw  json.RawMessage
	}{{"eq", opEq, c.Eq}, {"ne", opNe, c.Ne}, {"lt", opLt, c.Lt}, {"lte", opLte, c.Lte}, {"gt", opGt, c.Gt}, {"gte", opGte, c.Gte}} {
		if o.raw == nil {
			continue
		}
		v, err := operand(o.raw)
		if err == nil && o.op > opNe && v.Kind != sluice.KindNumber && v.Kind != sluice.KindString {
			err = fmt.Errorf("%s has no order", o.raw)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", at, o.name, err)
		}
		tests = append(tests, test{op: o.op, operands: []sluice.Value{v}})
	}
	if c.In != nil {
		t := test{op: opIn}
		for _, raw := range c.In {
			v, err := operand(raw)
			if err != nil {
				return nil, fmt.Errorf("%s: in: %w", at, err)
			}
			t.operands = append(t.operands, v)
		}
		if len(t.operands) == 0 {
			return nil, fmt.Errorf("%s: in: the list is empty", at)
		}
		tests = append(tests, t)
	}
	if c.Exists != nil {
		tests = append(tests, test{op: opExists, want: *c.Exists})
	}
	if c.Matches != nil {
		pattern, err := regexp.Compile(*c.Matches)
		if err != nil {
			return nil, fmt.Errorf("%s: matches: %w", at, err)
		}
		tests = append(tests, test{op: opMatches, pattern: pattern})
	}
	for _, o := range []struct {
		op   operator
		text *string
	}{{opPrefix, c.Prefix}, {opSuffix, c.Suffix}, {opContains, c.Contains}} {
		if o.text != nil {
			tests = append(tests, test{op: o.op, text: []byte(*o.text)})
		}
	}
	return tests, nil
}

// operand reads what a value is compared with: null, a boolean, a number or
// a string.
func operand(raw json.RawMessage) (sluice.Value, error) {
	switch raw[0] {
	case 'n':
		return sluice.Value{Kind: sluice.KindNull}, nil
	case 'f':
		return sluice.Value{Kind: sluice.KindFalse}, nil
	case 't':
		return sluice.Value{Kind: sluice.KindTrue}, nil
	case '{', '[':
		return sluice.Value{}, fmt.Errorf("%s: objects and arrays cannot be compared", raw)
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return sluice.Value{Kind: sluice.KindString, Text: []byte(s)}, err
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return sluice.Value{}, fmt.Errorf("%s is out of range", raw)
	}
	return sluice.Value{Kind: sluice.KindNumber, Number: f, Text: raw}, nil
}

// fit prepares t for its subject, or says why it makes no sense there.
func (t *test) fit(kind subjectKind) error {
	if kind == onJSON {
		return nil
	}
	if kind == onTimestamp && (t.text != nil || t.pattern != nil) {
		return fmt.Errorf("a timestamp is a number: compare it")
	}
	t.parse = kind != onTimestamp
	for i := range t.operands {
		o := &t.operands[i]
		if kind == onTimestamp && o.Kind == sluice.KindString {
			at, err := time.Parse(time.RFC3339, string(o.Text))
			if err != nil {
				return fmt.Errorf("%q is not a time such as 2026-01-02T15:04:05Z, nor milliseconds since 1970", o.Text)
			}
			*o = sluice.Value{Kind: sluice.KindNumber, Number: float64(at.UnixMilli())}
		}
		if o.Kind != sluice.KindNumber && (o.Kind != sluice.KindString || kind == onTimestamp) {
			return fmt.Errorf("only JSON values can be null, true or false; whether something is there is tested with exists")
		}
	}
	return nil
}
