package jsonschema

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluicegate/sluice/abi"
	"github.com/xeipuuv/gojsonschema"
)

// demo is the payload schema of the demo document.
const demo = `{
	"type": "object",
	"required": ["lumens"],
	"properties": {
		"lumens": {"type": "integer", "minimum": 0, "description": "Light intensity."},
		"sentAt": {"type": "string", "format": "date-time"}
	}
}`

func compile(t testing.TB, schema string, cfg Config) *Schema {
	t.Helper()
	s, err := Compile([]byte(schema), cfg)
	if err != nil {
		t.Fatalf("Compile(%s): %v", schema, err)
	}
	return s
}

func TestCheck(t *testing.T) {
	const number = `{"type":"number"}`
	long := strings.Repeat("9", MaxDigits)
	tests := []struct {
		name, schema, value string
		status              abi.Status
		errs                []string
	}{
		{"valid", demo, `{"lumens":100}`, abi.StatusValid, nil},
		{"valid, spaced", demo, " {\n\t\"lumens\" : 100 ,\r\n\"sentAt\": \"2026-01-02T03:04:05Z\" } ", abi.StatusValid, nil},
		{"valid, with others", demo, `{"a":[1,{"b":null}],"lumens":0,"é":"\u00e9\n"}`, abi.StatusValid, nil},
		{"an integer in the judge's eyes", demo, `{"lumens":1.0}`, abi.StatusValid, nil},
		{"last member of a name counts", demo, `{"lumens":true,"lumens":1}`, abi.StatusValid, nil},
		{"escaped name", demo, `{"l\u0075mens":1}`, abi.StatusValid, nil},
		{"invalid UTF-8", demo, "{\"lumens\":1,\"x\":\"\xff\"}", abi.StatusValid, nil},

		{"wrong type", demo, `{"lumens":true}`, abi.StatusInvalid, []string{"lumens: Invalid type. Expected: integer, given: boolean"}},
		{"missing", demo, `{}`, abi.StatusInvalid, []string{"(root): lumens is required"}},
		{"two errors", demo, `{"sentAt":"yesterday","lumens":-1}`, abi.StatusInvalid, []string{
			"lumens: Must be greater than or equal to 0", "sentAt: Does not match format 'date-time'"}},
		{"not an object", demo, `[]`, abi.StatusInvalid, []string{"(root): Invalid type. Expected: object, given: array"}},

		{"empty", demo, "", abi.StatusInvalid, []string{"(root): not valid JSON: there is no value"}},
		{"text", demo, "hello", abi.StatusInvalid, []string{"(root): not valid JSON: 'h' at byte 0 where a value should be"}},
		{"cut off", demo, `{"lumens":1`, abi.StatusInvalid, []string{"(root): not valid JSON: it ends where ',' or '}' should be"}},
		{"two values", demo, `{"lumens":1}{"lumens":2}`, abi.StatusInvalid, []string{"(root): not valid JSON: '{' at byte 12, after the value"}},
		{"byte order mark", demo, "\xef\xbb\xbf{}", abi.StatusInvalid, []string{"(root): not valid JSON: it begins with a byte order mark"}},
		{"control character", demo, "{\"a\":\"\n\"}", abi.StatusInvalid, []string{`(root): not valid JSON: control character '\n' in the string at byte 6`}},
		{"bad escape", demo, `{"a":"\x"}`, abi.StatusInvalid, []string{`(root): not valid JSON: unknown escape at byte 6`}},
		{"huge exponent", demo, `{"lumens":1e1000000}`, abi.StatusInvalid, []string{"(root): the number at byte 10 is out of range: its exponent is beyond ±400, which is not judged"}},
		{"leading zero", number, `01`, abi.StatusInvalid, []string{"(root): not valid JSON: a number with a leading zero at byte 0"}},

		{"exponent at the limit", number, `1e400`, abi.StatusValid, nil},
		{"negative exponent at the limit", number, `1E-400`, abi.StatusValid, nil},
		{"exponent beyond", number, `1e-401`, abi.StatusInvalid, []string{"(root): the number at byte 0 is out of range: its exponent is beyond ±400, which is not judged"}},
		{"digits at the limit", number, long, abi.StatusValid, nil},
		{"digits beyond", number, "0." + long, abi.StatusInvalid, []string{"(root): the number at byte 0 is too long: 65 digits are more than the 64 that are judged"}},
		{"depth at the limit", `{}`, nest(MaxDepth), abi.StatusValid, nil},
		{"depth beyond", `{}`, nest(MaxDepth + 1), abi.StatusInvalid, []string{"(root): nested too deeply: more than 128 levels at byte 128"}},
		{"items at the limit", `{}`, "[0" + strings.Repeat(",0", MaxItems-1) + "]", abi.StatusValid, nil},
		{"items beyond", `{}`, "[0" + strings.Repeat(",0", MaxItems) + "]", abi.StatusInvalid, []string{"(root): the array at byte 0 is too long: more than the 65536 elements that are judged"}},
		{"name at the limit", `{}`, `{"` + strings.Repeat("a", MaxNameBytes) + `":1}`, abi.StatusValid, nil},
		{"name beyond", `{}`, `{"` + strings.Repeat("a", MaxNameBytes+1) + `":1}`, abi.StatusInvalid, []string{"(root): the name at byte 1 is too long: 1025 bytes are more than the 1024 that are judged"}},
		{"size at the limit", `{}`, `"` + strings.Repeat("a", MaxValueBytes-2) + `"`, abi.StatusValid, nil},
		{"size beyond", `{}`, `"` + strings.Repeat("a", MaxValueBytes-1) + `"`, abi.StatusInvalid, []string{"(root): too large: 16777217 bytes are more than the 16777216 that are judged"}},

		{"framed", demo, "\x00\x00\x00\x00\x01", abi.StatusFramed, nil},
		{"too short for a frame", demo, "\x00\x00\x00\x00", abi.StatusInvalid, []string{`(root): not valid JSON: '\x00' at byte 0 where a value should be`}},
		{"beyond a double in enum", `{"enum":[1]}`, `1e309`, abi.StatusInvalid, []string{
			"(root): cannot be judged: a number is beyond the range of a double, or: runtime error: invalid memory address or nil pointer dereference"}},
		{"reference downwards", `{"properties":{"next":{"$ref":"#"}},"required":["v"]}`, `{"v":1,"next":{"v":1,"next":{}}}`, abi.StatusInvalid, []string{"next.next: v is required"}},
		{"no additional", `{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1,"b":2,"c":3}`, abi.StatusInvalid, []string{
			"(root): Additional property b is not allowed", "(root): Additional property c is not allowed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := compile(t, tt.schema, Config{})
			start := time.Now()
			status, errs := s.Check([]byte(tt.value))
			if status != tt.status {
				t.Errorf("status of %.100s: got %d, want %d", tt.value, status, tt.status)
			}
			if diff := cmp.Diff(tt.errs, errs); diff != "" {
				t.Errorf("errors of %.100s (-want +got):\n%s", tt.value, diff)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	if status, errs := compile(t, demo, Config{}).Check(nil); status != abi.StatusNull || errs != nil {
		t.Errorf("Check(nil) = %d, %q; want %d", status, errs, abi.StatusNull)
	}
}

func nest(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestHugeNumbersAreQuick(t *testing.T) {
	s := compile(t, demo, Config{})
	for _, v := range []string{`{"lumens":1e1000000}`, `{"lumens":1e999999999}`, `{"lumens":1e-999999999999999999999}`, `{"lumens":` + strings.Repeat("1", 1<<20) + `}`} {
		start := time.Now()
		if status, _ := s.Check([]byte(v)); status != abi.StatusInvalid {
			t.Errorf("%.30s...: got status %d, want invalid", v, status)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%.30s...: took %v", v, d)
		}
	}
}

// The judge's texts are taken over as they are, whatever order it finds them in.
func TestErrorsAreTheJudges(t *testing.T) {
	const schema = `{
		"type": "object", "required": ["a", "b", "é"], "minProperties": 9,
		"additionalProperties": {"type": "string", "maxLength": 1},
		"propertyNames": {"pattern": "^[a-z]$"},
		"properties": {"a": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"x": {"enum": ["<", 1.50]}}}]}}}`
	const value = `{"a":{"x":2},"B":1,"c":"long","d":false,"e":[{}]}`
	s := compile(t, schema, Config{})
	native, err := gojsonschema.NewSchema(gojsonschema.NewStringLoader(schema))
	if err != nil {
		t.Fatal(err)
	}
	result, err := native.Validate(gojsonschema.NewStringLoader(value))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, e := range result.Errors() {
		want[e.String()]++
	}
	_, first := s.Check([]byte(value))
	got := map[string]int{}
	for _, e := range first {
		got[e]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-judge +got):\n%s", diff)
	}
	for range 50 {
		// Another schema, so that what depends on the order of compiling shows too.
		if _, again := compile(t, schema, Config{}).Check([]byte(value)); !cmp.Equal(first, again) {
			t.Fatalf("the order of errors changed:\n%s", cmp.Diff(first, again))
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	s := compile(t, `{"items":{"type":"string"}}`, Config{})
	_, errs := s.Check([]byte("[0" + strings.Repeat(",0", 999) + "]"))
	if len(errs) != MaxErrors {
		t.Fatalf("got %d errors, want %d", len(errs), MaxErrors)
	}
	if want := fmt.Sprintf("(root): %d more errors", 1000-MaxErrors+1); errs[MaxErrors-1] != want {
		t.Errorf("last error: got %q, want %q", errs[MaxErrors-1], want)
	}
	s = compile(t, `{"const":"`+strings.Repeat("é", 2000)+`"}`, Config{})
	_, errs = s.Check([]byte("1"))
	if len(errs) != 1 || len(errs[0]) > MaxErrorBytes || len(errs[0]) < MaxErrorBytes-1 || !strings.HasSuffix(errs[0], "é...") {
		t.Errorf("got %q (%d bytes), want a text cut at %d bytes between characters", errs, len(errs[0]), MaxErrorBytes)
	}
}

func TestCompileErrors(t *testing.T) {
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"$ref":"#/definitions/d0","definitions":{`)
		for i := range n {
			fmt.Fprintf(&b, `"d%d":{"$ref":"#/definitions/d%d"},`, i, i+1)
		}
		fmt.Fprintf(&b, `"d%d":{}}}`, n)
		return b.String()
	}
	fan := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"$ref":"#/definitions/d0","definitions":{`)
		for i := range n {
			fmt.Fprintf(&b, `"d%d":{"allOf":[{"$ref":"#/definitions/d%d"},{"$ref":"#/definitions/d%d"}]},`, i, i+1, i+1)
		}
		fmt.Fprintf(&b, `"d%d":{}}}`, n)
		return b.String()
	}
	tests := []struct{ name, schema, want string }{
		{"not JSON", `{`, "not valid JSON"},
		{"not a schema", `1`, "Invalid JSON"},
		{"unknown type", `{"type":"float"}`, "float"},
		{"a failed assertion in the judge", `{"definitions":true}`, "malformed schema"},
		{"huge bound", `{"minimum":1e1000000}`, "out of range"},
		{"file", `{"$ref":"file:///etc/passwd"}`, "outside of the schema"},
		{"relative file", `{"$ref":"other.json"}`, "outside of the schema"},
		{"URL", `{"items":{"$ref":"http://127.0.0.1:1/x.json"}}`, "outside of the schema"},
		{"identifier with a URL", `{"$id":"http://127.0.0.1:1/x.json","items":{"$ref":"y.json"}}`, "outside of the schema"},
		{"unknown $schema", `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`, "use draft 4, 6 or 7"},
		{"missing", `{"$ref":"#/definitions/a"}`, `there is no "definitions"`},
		{"itself", `{"$ref":"#"}`, "leads back to itself"},
		{"itself by allOf", `{"allOf":[{"$ref":"#"}]}`, "leads back to itself"},
		{"each other", `{"properties":{"x":{"$ref":"#/definitions/a"}},"definitions":{"a":{"anyOf":[{"$ref":"#/definitions/b"}]},"b":{"not":{"$ref":"#/definitions/a"}}}}`, "leads back to itself"},
		{"itself by identifier", `{"$id":"http://x/y","not":{"$ref":"y"}}`, "leads back to itself"},
		{"long chain", chain(maxChain), "too complex"},
		{"wide", fan(20), "too complex"},
		{"size", `{"title":"` + strings.Repeat("x", MaxSchemaBytes) + `"}`, "more than the"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile([]byte(tt.schema), Config{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile(%.200s): got error %v, want %q in it", tt.schema, err, tt.want)
			}
		})
	}
	for _, good := range []string{chain(maxChain - 4), fan(10),
		`{"allOf":[{"properties":{"a":{"$ref":"#"}}}]}`,
		`{"definitions":{"a":{"properties":{"b":{"allOf":[{"$ref":"#/definitions/a"}]}}}},"allOf":[{"$ref":"#/definitions/a"}]}`,
		`{"$ref":"http://json-schema.org/draft-07/schema#"}`,
		`{"$schema":"http://json-schema.org/draft-04/schema#"}`,
	} {
		if _, err := Compile([]byte(good), Config{}); err != nil {
			t.Errorf("Compile(%.200s): %v", good, err)
		}
	}
	if _, err := Compile([]byte("{}"), Config{Draft: 5}); err == nil {
		t.Error("draft 5: got no error")
	}
}

func TestDrafts(t *testing.T) {
	tests := []struct {
		draft         Draft
		schema, value string
		want          abi.Status
	}{
		{Draft4, `{"const":1}`, `2`, abi.StatusValid}, // not a keyword yet
		{Draft6, `{"const":1}`, `2`, abi.StatusInvalid},
		{Draft6, `{"if":{},"then":false}`, `2`, abi.StatusValid},
		{Draft7, `{"if":{},"then":false}`, `2`, abi.StatusInvalid},
		{DraftAny, `{"if":{},"then":false}`, `2`, abi.StatusInvalid},
		{DraftAny, `{"minimum":1,"exclusiveMinimum":true}`, `1`, abi.StatusInvalid},
		{DraftAny, `{"exclusiveMinimum":1}`, `1`, abi.StatusInvalid},
		{DraftAny, `{"$schema":"http://json-schema.org/draft-04/schema#","const":1}`, `2`, abi.StatusValid},
	}
	for _, tt := range tests {
		if got, errs := compile(t, tt.schema, Config{Draft: tt.draft}).Check([]byte(tt.value)); got != tt.want {
			t.Errorf("draft %d, %s, %s: got status %d %q, want %d", tt.draft, tt.schema, tt.value, got, errs, tt.want)
		}
	}
}

// What the one-pass check must be sure of, or its keywords are there for
// nothing; and what it must leave to the judge.
func TestFastPath(t *testing.T) {
	const messages = `{"oneOf":[
		{"type":"object","required":["kind"],"properties":{"kind":{"const":"on"},"at":{"type":"string"}}},
		{"type":"object","required":["kind","n"],"properties":{"kind":{"enum":["dim"]},"n":{"type":"integer"}}},
		{"type":"object","required":["other"]}]}`
	tests := []struct {
		schema, value string
		fast          bool
	}{
		{demo, `{"lumens":100,"sentAt":"2024-02-29T23:59:59.123456789+01:00"}`, true},
		{demo, `{"lumens":-0}`, true},
		{demo, `{"lumens":999999999999999999}`, true},
		{demo, `{"lumens":9999999999999999999}`, false},
		{demo, `{"lumens":1.0}`, false},
		{demo, `{"lumens":1e2}`, false},
		{demo, `{"lumens":1,"lumens":2}`, false},
		{demo, `{"lumens":1,"x":1,"x":2}`, true}, // says nothing of x
		{demo, `{"l\u0075mens":1}`, false},
		{demo, `{"lumens":1,"\u0061":1}`, false},
		{demo, "{\"lumens\":1,\"a\":\"\xff\"}", false},
		{demo, "{\"lumens\":1,\"a\":\"日本語のとても長いテキスト\"}", true},
		{demo, `{"lumens":1,"a":"\ud800 \" \\ "}`, true},
		{demo, `{"lumens":1,"sentAt":"2023-02-29T00:00:00Z"}`, false},
		{demo, `{"lumens":1,"sentAt":"12:00:00"}`, false}, // the judge is content
		{demo, `{"lumens":1} x`, false},
		{`{"type":"number","minimum":-1.5,"maximum":10}`, `-1.25`, false}, // valid, but hard to say
		{`{"type":"number","minimum":-1.5,"maximum":10}`, `9.99`, true},
		{`{"type":"number","minimum":-1.5,"maximum":10}`, `10.01`, false},
		{`{"type":"number","exclusiveMinimum":0}`, `0.5`, false},
		{`{"type":"number","exclusiveMinimum":0}`, `1`, true},
		{`{"type":"number","multipleOf":0.01}`, `19.99`, true},
		{`{"type":"number","multipleOf":0.01}`, `19.999`, false},
		{`{"multipleOf":3}`, `9`, true},
		{`{"multipleOf":3}`, `"nine"`, true},
		{`{"minLength":2,"maxLength":3}`, `"日本"`, true},
		{`{"minLength":2,"maxLength":3}`, `"日"`, false},
		{`{"enum":["a",1,null,true,[1]]}`, `"a"`, true},
		{`{"enum":["a",1,null,true,[1]]}`, `1`, true},
		{`{"enum":["a",1,null,true,[1]]}`, `null`, true},
		{`{"enum":["a",1,null,true,[1]]}`, `true`, true},
		{`{"enum":["a",1,null,true,[1]]}`, `[1]`, false},
		{`{"enum":["a",1,null,true,[1]]}`, `false`, false},
		{`{"type":["string","null"]}`, `null`, true},
		{`{"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2}`, `[1, 2]`, true},
		{`{"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2}`, `[]`, false},
		{`{"additionalProperties":{"type":"integer"},"required":["a"]}`, `{"a":1,"b":2}`, true},
		{`{"additionalProperties":{"type":"integer"},"required":["a"]}`, `{"a":"1"}`, false},
		{`{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1}`, true},
		{`{"minProperties":1,"maxProperties":2}`, `{"a":1,"b":2}`, true},
		{`{"minProperties":2}`, `{"a":1,"b":2}`, false}, // they might be the same
		{`{"properties":{"children":{"items":{"$ref":"#"}}}}`, `{"children":[{"children":[]},{}]}`, true},
		{`{"$ref":"#/definitions/a","definitions":{"a":{"type":"integer"}}}`, `1`, true},
		{`{"allOf":[{"type":"integer"},{"minimum":1}]}`, `1`, true},
		{`{"anyOf":[{"type":"string"},{"minimum":1}]}`, `1`, true},
		{`{"oneOf":[{"type":"integer"},{"type":"number"}]}`, `1`, false},
		{`{"not":{"type":"string"}}`, `1`, true},
		{messages, `{"kind":"on","at":"now"}`, true},
		{messages, `{"n":5,"kind":"dim"}`, true},
		{messages, `{"kind":"on","n":1,"other":1}`, false},
		{messages, `{"kind":"off"}`, false},
		{`{"type":"string","format":"uuid"}`, `"01234567-89ab-cdef-0123-456789abcdef"`, true},
		{`{"type":"string","format":"uuid"}`, `"01234567-89AB-cdef-0123-456789abcdef"`, false},
		{`{"type":"integer","format":"int32"}`, `1`, true},
		{`{"format":"date"}`, `1`, false}, // the judge's formats refuse numbers
		{`{"pattern":"^a"}`, `1`, true},
		{`{"pattern":"^a"}`, `"a"`, false},
		{`{"whatever":1}`, `1`, false},
		{`{"x-anything":1,"discriminator":"kind"}`, `1`, true},
	}
	for _, tt := range tests {
		var stats Stats
		s := compile(t, tt.schema, Config{Stats: &stats})
		s.Check([]byte(tt.value))
		if got := stats.Fast.Load() == 1; got != tt.fast {
			t.Errorf("%s, %s: accepted without the judge: got %v, want %v", tt.schema, tt.value, got, tt.fast)
		}
	}
}

func TestManyMembers(t *testing.T) {
	for _, n := range []int{fewProps, fewProps + 1, 64, 65, maxProps, maxProps + 1} {
		var props, required, members []string
		for i := range n {
			props = append(props, fmt.Sprintf(`"p%d":{"type":"integer"}`, i))
			required = append(required, fmt.Sprintf(`"p%d"`, i))
			members = append(members, fmt.Sprintf(`"p%d":%d`, i, i))
		}
		var stats Stats
		s := compile(t, fmt.Sprintf(`{"properties":{%s},"required":[%s]}`, strings.Join(props, ","), strings.Join(required, ",")), Config{Stats: &stats})
		if status, errs := s.Check([]byte("{" + strings.Join(members, ",") + "}")); status != abi.StatusValid {
			t.Errorf("%d members: %q", n, errs)
		}
		if fast := stats.Fast.Load() == 1; fast != (n <= maxProps) {
			t.Errorf("%d members: accepted without the judge: %v", n, fast)
		}
		for i := range n {
			without := append(append([]string{}, members[:i]...), members[i+1:]...)
			if status, _ := s.Check([]byte("{" + strings.Join(without, ",") + "}")); status != abi.StatusInvalid {
				t.Errorf("%d members without p%d: got status %d, want invalid", n, i, status)
			}
		}
	}
}

// Some schemas look at the same value twice on every level, which takes time
// exponential in the depth: in the one-pass check, and in the judge.
func TestExponentialSchemas(t *testing.T) {
	const twice = `{"allOf":[{"$ref":"#"},{"$ref":"#"}]}`
	expression := `{"oneOf":[
		{"type":"object","required":["and"],"properties":{"and":{"type":"array","items":{"$ref":"#"}},"or":{"$ref":"#"}},"additionalProperties":false},
		{"type":"object","required":["or"],"properties":{"and":{"items":{"$ref":"#"}},"or":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":false},
		{"type":"integer"}]}`
	var levels strings.Builder
	for i := range 60 {
		fmt.Fprintf(&levels, `"l%d":{"properties":{"a":{"allOf":[{"$ref":"#/definitions/l%d"},{"$ref":"#/definitions/l%d"}]}}},`, i, i+1, i+1)
	}
	nested := func(open, closing string, depth int) string {
		return strings.Repeat(open, depth) + `"x"` + strings.Repeat(closing, depth)
	}
	tests := []struct {
		name, schema, value string
		refused             bool
	}{
		{"members", `{"properties":{"a":` + twice + `}}`, nested(`{"a":`, "}", 100), true},
		{"other members", `{"additionalProperties":` + twice + `}`, nested(`{"a":`, "}", 100), true},
		{"members by pattern", `{"patternProperties":{"^a":` + twice + `}}`, nested(`{"a":`, "}", 100), true},
		{"elements", `{"items":` + twice + `}`, nested("[", "]", 100), true},
		{"contained", `{"contains":` + twice + `}`, nested("[", "]", 100), true},
		{"elements by place", `{"items":[` + twice + `]}`, nested("[", "]", 100), true},
		{"more elements", `{"items":[true],"additionalItems":` + twice + `}`, strings.Repeat("[0,", 100) + "0" + strings.Repeat("]", 100), true},
		{"without recursion", `{"$ref":"#/definitions/l0","definitions":{` + levels.String() + `"l60":{}}}`, nested(`{"a":`, "}", 60), true},
		{"an expression", expression, nested(`{"and":[`, "]}", 50), true},
		{"a small expression", expression, nested(`{"and":[`, "]}", 5), false},
		{"a list", `{"properties":{"v":{"type":"integer"},"next":{"$ref":"#"}}}`, nested(`{"v":1,"next":`, "}", 100), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			var stats Stats
			status, errs := compile(t, tt.schema, Config{Stats: &stats}).Check([]byte(tt.value))
			refused := len(errs) == 1 && strings.HasPrefix(errs[0], "(root): too complex")
			if refused != tt.refused {
				t.Errorf("got status %d %q, want refused: %v", status, errs, tt.refused)
			}
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// Values with more parts than the judge may look at, which it could not be
// kept from turning into errors one by one.
func TestLargeValuesAreBounded(t *testing.T) {
	const many = MaxVisits + 1
	array := func(element string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
	}
	var members strings.Builder
	for i := range many {
		fmt.Fprintf(&members, `,"%x":1`, i)
	}
	object := "{" + members.String()[1:] + "}"
	rows := array(array("1", 1000), many/1000+1)
	for _, tt := range []struct{ schema, value string }{
		{`{"additionalProperties":{"type":"string"}}`, object},
		{`{"additionalProperties":false}`, object},
		{`{"patternProperties":{"":{"type":"string"}}}`, object},
		{`{"propertyNames":{"maxLength":1}}`, object},
		{`{"items":{"items":{"type":"string"}}}`, rows},
		{`{"items":{"items":false}}`, rows},
		{`{"items":{"anyOf":[{"type":"string"},{"type":"null"},{"type":"object"},{"type":"array"}]}}`, array("1", MaxItems)},
	} {
		status, errs := compile(t, tt.schema, Config{}).Check([]byte(tt.value))
		if status != abi.StatusInvalid || len(errs) != 1 || !strings.HasPrefix(errs[0], "(root): too complex") {
			t.Errorf("%s: got %d %.200q, want it refused", tt.schema, status, errs)
		}
	}
	// What the one-pass check is sure of is valid at any size.
	if status, errs := compile(t, `{"items":{"items":{"type":"integer"}}}`, Config{}).Check([]byte(rows)); status != abi.StatusValid {
		t.Errorf("got %d %.200q, want it valid", status, errs)
	}
}

func TestStats(t *testing.T) {
	var stats Stats
	s := compile(t, demo, Config{Stats: &stats})
	for _, v := range []string{`{"lumens":1}`, `{"lumens":2}`, `{"lumens":3.0}`, `{`, "\x00aaaa"} {
		s.Check([]byte(v))
	}
	s.Check(nil)
	got := []uint64{stats.Fast.Load(), stats.Judged.Load(), stats.Refused.Load(), stats.Framed.Load(), stats.Null.Load()}
	if want := []uint64{2, 1, 1, 1, 1}; !cmp.Equal(got, want) {
		t.Errorf("fast, judged, refused, framed, null: got %v, want %v", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := compile(t, demo, Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if status, _ := s.Check([]byte(`{"lumens":1}`)); status != abi.StatusValid {
					t.Errorf("got status %d, want valid", status)
				}
				if _, errs := s.Check([]byte(`{"lumens":"1"}`)); len(errs) != 1 {
					t.Errorf("got errors %q, want one", errs)
				}
			}
		})
	}
	wg.Wait()
}

func TestAcceptingDoesNotAllocate(t *testing.T) {
	s := compile(t, demo, Config{})
	for name, value := range records {
		if got := testing.AllocsPerRun(100, func() { s.Check(value) }); got != 0 && !strings.HasPrefix(name, "invalid") {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}
