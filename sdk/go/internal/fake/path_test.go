package fake

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegate/sluice/abi"
)

func TestPaths(t *testing.T) {
	const value = ` {"a": {"b": [1, "\ud800x", null]}, "a b": true, "it's": false, "é": {"x": 1, "x": 2}, "": {} } `
	for path, want := range map[string]abi.JSONValue{
		"$.a.b[0]":     {Kind: abi.KindNumber, Number: 1, Text: []byte("1")},
		"$.a.b[-2]":    {Kind: abi.KindString, Text: []byte("\uFFFDx")},
		"$.a.b[2]":     {Kind: abi.KindNull},
		"$.a.b[3]":     {},
		"$.a.b[-4]":    {},
		"$.a.b.c":      {},
		"$.a[0]":       {},
		"$['a b']":     {Kind: abi.KindTrue},
		`$["a b"]`:     {Kind: abi.KindTrue},
		`$[ 'it\'s' ]`: {Kind: abi.KindFalse},
		"$.é.x":        {Kind: abi.KindNumber, Number: 2, Text: []byte("2")},
		"$['']":        {Kind: abi.KindObject, Text: []byte("{}")},
		"$.a.b":        {Kind: abi.KindArray, Text: []byte(`[1, "\ud800x", null]`)},
	} {
		p, err := parsePath(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		status, got := evaluate([]query{p}, []byte(value))
		if status != abi.JSONOK {
			t.Fatalf("status %d", status)
		}
		if diff := cmp.Diff(want, got[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, bad := range []string{"", "a", "$.", "$..a", "$.*", "$[*]", "$[1:2]", "$[01]", "$[-0]", "$['a]", "$[a]", "$[?@.a]", "$.1", "$ ", "$['a'", "$['a','b']"} {
		if p, err := parsePath(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, p)
		}
	}
	for value, want := range map[string]abi.JSONStatus{"": abi.JSONBad, "{} {}": abi.JSONBad, "\"\xff\"": abi.JSONBad, " 1 ": abi.JSONOK} {
		if got, _ := evaluate(nil, []byte(value)); got != want {
			t.Errorf("%q: status %d, want %d", value, got, want)
		}
	}
	if got, _ := evaluate(nil, nil); got != abi.JSONNull {
		t.Errorf("null: status %d", got)
	}
}
