package json

import (
	stdjson "encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegate/sluice/abi"
)

// got spells a value as the tables below do: its kind and its text.
func got(v abi.JSONValue) string {
	kinds := [...]string{"-", "null", "false", "true", "number", "string", "object", "array"}
	if v.Text == nil {
		return kinds[v.Kind]
	}
	return kinds[v.Kind] + " " + string(v.Text)
}

func TestGet(t *testing.T) {
	tests := []struct {
		text  string
		paths string // separated by blanks
		want  string // separated by "; ", or "bad"
	}{
		{`{"a":{"b":1.50}}`, `$.a.b $.a $ $.x $.a.b.c`, `number 1.50; object {"b":1.50}; object {"a":{"b":1.50}}; -; -`},
		{` [1, "x" ,[true,null,false]] `, `$[0] $[1] $[2][0] $[2][1] $[2][2] $[3]`, `number 1; string x; true; null; false; -`},
		{`[1,2,3]`, `$[-1] $[-3] $[-4] $[2]`, `number 3; number 1; -; number 3`},
		{`[{"a":1,"b":2}]`, `$[-1].a $[0].b`, `number 1; number 2`},
		{`{"a":1,"a":{"b":2}}`, `$.a $.a.b`, `object {"b":2}; number 2`},
		{`{"a":{"b":1},"a":2}`, `$.a.b $.a`, `-; number 2`},
		{`{"a":{"b":1},"a":{"c":3}}`, `$.a.b $.a.c`, `-; number 3`},
		{`{"\u0061":1}`, `$.a`, `number 1`},
		{`{"a b":1,"":2,"é":3}`, `$['a_b'] $[''] $["é"] $.é`, `-; number 2; number 3; number 3`},
		{`"\ud83d\ude00 \ud800 \ud800\u0041 \"\/\b"`, `$`, "string \U0001F600 \uFFFD \uFFFDA \"/\b"},
		{"\"\xff\"", `$`, `bad`},
		{`""`, `$`, `string `},
		{`{}`, `$ $.a $[0]`, `object {}; -; -`},
		{`[]`, `$ $[0] $[-1]`, `array []; -; -`},
		{`null`, `$ $.a`, `null; -`},
		{`-0`, `$`, `number -0`},
		{``, `$`, `bad`},
		{`1 2`, `$`, `bad`},
		{`{"a":1}}`, `$.a`, `bad`},
		{`{"a":1,}`, `$.a`, `bad`},
		{`{"a":1,"b":[1,}`, `$.a`, `bad`},
		{`[1,]`, `$[0]`, `bad`},
		{`01`, `$`, `bad`},
		{`"` + "\n" + `"`, `$`, `bad`},
		{`{"a":"\x"}`, `$.a`, `bad`},
		{`[[[[1]]]`, `$[0]`, `bad`},
	}
	for _, tt := range tests {
		l, err := Compile(strings.Fields(tt.paths))
		if err != nil {
			t.Errorf("compile %s: %v", tt.paths, err)
			continue
		}
		values := make([]abi.JSONValue, l.Len())
		var r Reader
		out := "bad"
		if r.Get(l, []byte(tt.text), values) == abi.JSONOK {
			var parts []string
			for _, v := range values {
				parts = append(parts, got(v))
			}
			out = strings.Join(parts, "; ")
		}
		if out != tt.want {
			t.Errorf("%s at %s:\n got %s\nwant %s", tt.text, tt.paths, out, tt.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]float64{"1e400": math.Inf(1), "-1e1000000": math.Inf(-1), "0.1": 0.1, "9007199254740993": 9007199254740992} {
		values := make([]abi.JSONValue, 1)
		l, _ := Compile([]string{"$"})
		if s := new(Reader).Get(l, []byte(text), values); s != abi.JSONOK || values[0].Number != want || string(values[0].Text) != text {
			t.Errorf("%s: status %d, %v %q, want %v", text, s, values[0].Number, values[0].Text, want)
		}
	}
}

func TestPaths(t *testing.T) {
	wrong := map[string]int{ // offset of the error
		"": 0, "a": 0, "$.": 2, "$..a": 2, "$.*": 2, "$[*]": 2, "$[1:2]": 3, "$[?@.a]": 2, "$['a]": 5, "$['a'": 5, "$[01]": 2, "$[-0]": 2,
		"$[9007199254740992]": 2, "$.a ": 4, "$.1": 2, "$a": 1, `$['\x']`: 4, `$['\ud800']`: 9, `$['\u+041']`: 4, "$['a','b']": 5, "$.a-b": 3, "$[\"\x01\"]": 3, "$\xff": 0,
	}
	for path, offset := range wrong {
		_, err := parsePath(path)
		var e *PathError
		if !errors.As(err, &e) {
			t.Errorf("%q: no error", path)
		} else if e.Offset != offset {
			t.Errorf("%q: %v, want offset %d", path, err, offset)
		}
	}
	right := map[string][]segment{
		"$":                            nil,
		"$.a_1.é":                      {{name: "a_1"}, {name: "é"}},
		`$['a b']["c"] [ 0 ][-12].d`:   {{name: "a b"}, {name: "c"}, {isIndex: true}, {index: -12, isIndex: true}, {name: "d"}},
		`$['\'\\\/\b\f\n\r\t\u263A"']`: {{name: "'\\/\b\f\n\r\t\u263a\""}},
		`$["\ud83d\ude00'\""]`:         {{name: "\U0001F600'\""}},
	}
	for path, want := range right {
		segments, err := parsePath(path)
		if err != nil || !reflect.DeepEqual(segments, want) {
			t.Errorf("%q: %+v, %v, want %+v", path, segments, err, want)
		}
	}
}

func TestDepth(t *testing.T) {
	l, _ := Compile([]string{"$[0][0]", "$"})
	values := make([]abi.JSONValue, 2)
	for _, tt := range []struct {
		depth int
		want  abi.JSONStatus
	}{{maxDepth, abi.JSONOK}, {maxDepth + 1, abi.JSONBad}, {1 << 20, abi.JSONBad}} {
		text := []byte(strings.Repeat("[", tt.depth) + strings.Repeat("]", tt.depth))
		if got := new(Reader).Get(l, text, values); got != tt.want {
			t.Errorf("depth %d: status %d, want %d", tt.depth, got, tt.want)
		}
		if stdjson.Valid(text) != (tt.want == abi.JSONOK) {
			t.Errorf("depth %d: encoding/json thinks otherwise", tt.depth)
		}
	}
}

func TestGetAllocates(t *testing.T) {
	l, _ := Compile([]string{"$.a.b", "$.c", "$.d[1]"})
	text := []byte(`{"x":[1,2,{"y":null}],"a":{"b":12.5},"c":"hello \n","d":[1,2]}`)
	values := make([]abi.JSONValue, 3)
	var r Reader
	if n := testing.AllocsPerRun(100, func() { r.Get(l, text, values) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkGet(b *testing.B) {
	l, _ := Compile([]string{"$.lumens", "$.sentAt", "$.meta.id"})
	text := []byte(`{"lumens":12,"pad":"` + strings.Repeat("x", 700) + `","list":[` + strings.Repeat("1234,", 50) + `1],"meta":{"id":"abc"},"sentAt":"2024-01-01T00:00:00Z"}`)
	values := make([]abi.JSONValue, 3)
	var r Reader
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Get(l, text, values)
	}
}

// FuzzGet compares with encoding/json: whether a text is one value, and what stands at some paths.
func FuzzGet(f *testing.F) {
	for _, s := range []string{
		`{"a":{"b":1.5,"b":[1,2,{"c":null}]},"a":{"b":"x"}}`, `[1,[2,[3]],{"a":true}]`, `"\ud83d\ude00\ud800\"\\"`, `{"\u0061":1,"a":2}`,
		"\"\xff\xc0\"", `1e400`, `-0.0e-0`, ` { } `, `[[],{}]`, `{"a":[[1],[2,3]]}`,
	} {
		f.Add([]byte(s))
	}
	paths := []string{"$", "$.a", "$.a.b", "$[0]", "$[-1]", "$[1][0]", "$.a[1]", "$.a.b[-1].c", "$['']"}
	l, err := Compile(paths)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values := make([]abi.JSONValue, len(paths))
		if text == nil {
			text = []byte{}
		}
		var r Reader
		ok := r.Get(l, text, values) == abi.JSONOK
		if ok != (stdjson.Valid(text) && utf8.Valid(text)) {
			t.Fatalf("%q: accepted %v, encoding/json: %v", text, ok, !ok)
		}
		if !ok {
			return
		}
		root := decode(t, text)
		for i, path := range paths {
			segments, _ := parsePath(path)
			want, found := walk(root, segments)
			if !found {
				if values[i].Kind != abi.KindNothing {
					t.Errorf("%q at %s: %s, want nothing", text, path, got(values[i]))
				}
				continue
			}
			if diff := cmp.Diff(want, toAny(t, values[i])); diff != "" {
				t.Errorf("%q at %s (-want +got):\n%s", text, path, diff)
			}
		}
	})
}

func decode(t *testing.T, text []byte) any {
	d := stdjson.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func toAny(t *testing.T, v abi.JSONValue) any {
	switch v.Kind {
	case abi.KindNull:
		return nil
	case abi.KindFalse, abi.KindTrue:
		return v.Kind == abi.KindTrue
	case abi.KindNumber:
		return stdjson.Number(v.Text)
	case abi.KindString:
		return string(v.Text)
	}
	return decode(t, v.Text)
}

func walk(v any, segments []segment) (any, bool) {
	for _, s := range segments {
		if s.isIndex {
			list, ok := v.([]any)
			i := s.index
			if i < 0 {
				i += int64(len(list))
			}
			if !ok || i < 0 || i >= int64(len(list)) {
				return nil, false
			}
			v = list[i]
			continue
		}
		object, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = object[s.name]; !ok {
			return nil, false
		}
	}
	return v, true
}
