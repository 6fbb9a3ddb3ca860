package asyncapi

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/jsonschema"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func parse(t testing.TB, text string) *Document {
	t.Helper()
	d, err := Parse("doc.yaml", []byte(text), nil)
	if err != nil {
		t.Fatalf("Parse:\n%v\nof\n%s", err, text)
	}
	return d
}

// judge returns the errors of a value for a topic, "no schema" if it has none.
func judge(t testing.TB, d *Document, topic, value string) string {
	t.Helper()
	s, err := NewSet(map[string]*Document{"d": d}, nil).Find("d", topic)
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		return "no schema"
	}
	_, errs := s.Check([]byte(value))
	return strings.Join(errs, "; ")
}

// The demo's document in both versions and both notations means the same.
func TestDemo(t *testing.T) {
	tests := map[string][]byte{"3.0 YAML": Demo}
	for name, file := range map[string]string{"2.x YAML": "demo2.yaml", "2.x JSON": "demo2.json", "3.0 JSON": "demo3.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		tests[name] = data
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := Parse("demo", data, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d.Title() != "Streetlights" || len(d.Warnings()) > 0 {
				t.Errorf("got title %q, warnings %v", d.Title(), d.Warnings())
			}
			want := []Channel{{"event-gateway-demo", []string{"lightMeasured"}, true}}
			if diff := cmp.Diff(want, d.Channels()); diff != "" {
				t.Errorf("channels (-want +got):\n%s", diff)
			}
			schema, ok := d.Schema("event-gateway-demo")
			if want := `{"properties":{"lumens":{"minimum":0,"type":"integer"},"sentAt":{"format":"date-time","type":"string"}},"required":["lumens"],"type":"object"}`; !ok || string(schema) != want {
				t.Errorf("schema: got %s, want %s", schema, want)
			}
			for value, want := range map[string]string{
				`{"lumens":100}`:  "",
				`{"lumens":true}`: "lumens: Invalid type. Expected: integer, given: boolean",
				`{"lumens":1,"sentAt":"2026-01-02T03:04:05Z"}`: "",
				`{"lumens":1,"sentAt":"noon"}`:                 "sentAt: Does not match format 'date-time'",
			} {
				if got := judge(t, d, "event-gateway-demo", value); got != want {
					t.Errorf("%s: got %q, want %q", value, got, want)
				}
			}
			if got := judge(t, d, "other", "1"); got != "no schema" {
				t.Errorf("other topic: got %q, want no schema", got)
			}
		})
	}
}

// TestDocuments runs the documents in testdata: each archive holds a main
// file doc.yaml or doc.json, others that it refers to, and, as golden texts,
// its problems, warnings, channels and schemas. A file "judge" has lines "topic
// value", which are completed with the verdict.
func TestDocuments(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("found no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := fstest.MapFS{}
			main := ""
			for _, f := range archive.Files {
				files[f.Name] = &fstest.MapFile{Data: f.Data}
				if strings.HasPrefix(f.Name, "doc.") {
					main = f.Name
				}
			}
			d, err := Parse(main, files[main].Data, files)
			got := describe(t, d, err)
			for i, f := range archive.Files {
				switch f.Name {
				case "want":
					if want := string(f.Data); want != got && !*update {
						t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
					}
					archive.Files[i].Data = []byte(got)
				case "judge":
					text := verdicts(t, d, string(f.Data))
					if want := string(f.Data); want != text && !*update {
						t.Errorf("verdicts (-want +got):\n%s", cmp.Diff(want, text))
					}
					archive.Files[i].Data = []byte(text)
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func describe(t *testing.T, d *Document, err error) string {
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("error of type %T: %v", err, err)
		}
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, w := range d.Warnings() {
		fmt.Fprintf(&b, "warning: %v\n", w)
	}
	for i, c := range d.Channels() {
		fmt.Fprintf(&b, "%s %q %s\n", c.Address, c.Messages, d.topics.all[i].json)
	}
	fmt.Fprintf(&b, "files: %s\n", strings.Join(d.Files(), " "))
	return b.String()
}

func verdicts(t *testing.T, d *Document, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " => ")
		topic, value, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		verdict := judge(t, d, topic, value)
		if verdict == "" {
			verdict = "valid"
		}
		fmt.Fprintf(&b, "%s => %s\n", line, verdict)
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "docs")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(from, to string) {
		t.Helper()
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	doc := func(ref string) string {
		return "asyncapi: 3.0.0\nchannels:\n  c:\n    address: c\n    messages:\n      m:\n        payload:\n          $ref: '" + ref + "'\n"
	}
	write(filepath.Join(outside, "secret.yaml"), "type: integer")
	write(filepath.Join(dir, "..", "up.yaml"), "type: integer")
	write(filepath.Join(dir, "schemas/light.yaml"), "type: integer")
	write(filepath.Join(dir, "schemas/broken.yaml"), "a: [")
	link(filepath.Join(dir, "in.yaml"), "schemas/light.yaml")
	link(filepath.Join(dir, "out.yaml"), filepath.Join(outside, "secret.yaml"))
	link(filepath.Join(dir, "out"), outside)
	main := filepath.Join(dir, "main.yaml")
	tests := []struct{ ref, want string }{
		{"schemas/light.yaml", ""},
		{"./schemas/../schemas/light.yaml#", ""},
		{"in.yaml", ""},
		{"schemas%2Flight.yaml", ""},
		{"out.yaml", main + `:8: reference "out.yaml" leads out of the document's directory, by a symbolic link`},
		{"out/secret.yaml", main + `:8: reference "out/secret.yaml" leads out of the document's directory, by a symbolic link`},
		{"../up.yaml", main + `:8: reference "../up.yaml" leads out of the document's directory`},
		{"schemas/../../up.yaml", main + `:8: reference "schemas/../../up.yaml" leads out of the document's directory`},
		{"%2e%2e/up.yaml", main + `:8: reference "%2e%2e/up.yaml" leads out of the document's directory`},
		{"/etc/passwd", main + `:8: reference "/etc/passwd" leads out of the document's directory: write a path relative to the file, with slashes`},
		{`..\up.yaml`, main + `:8: reference "..\\up.yaml" leads out of the document's directory: write a path relative to the file, with slashes`},
		{"file:///etc/passwd", main + `:8: reference "file:///etc/passwd" is a URL: only files in the document's directory are read; download it and refer to the copy`},
		{"//host/x.yaml", main + `:8: reference "//host/x.yaml" is a URL: only files in the document's directory are read; download it and refer to the copy`},
		{"https://example.com/x.yaml", main + `:8: reference "https://example.com/x.yaml" is a URL: only files in the document's directory are read; download it and refer to the copy`},
		{"missing.yaml", main + `:8: reference "missing.yaml" leads nowhere: there is no file ` + filepath.Join(dir, "missing.yaml")},
		{"schemas", main + `:8: reference "schemas" leads to a file that cannot be read: schemas is not a regular file`},
		{"schemas/broken.yaml", filepath.Join(dir, "schemas/broken.yaml") + ":1: not YAML: did not find expected node content"},
		{"%zz", main + `:8: reference "%zz" is malformed: invalid URL escape "%zz"`},
	}
	for _, tt := range tests {
		write(main, doc(tt.ref))
		d, err := Load(main)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("$ref %s: got error\n%s\nwant\n%s", tt.ref, got, tt.want)
		}
		if err == nil && judge(t, d, "c", "true") == "" {
			t.Errorf("$ref %s: the schema was not read", tt.ref)
		}
	}

	// The main file may be anywhere; its references are relative to its name.
	write(filepath.Join(outside, "real.yaml"), doc("schemas/light.yaml"))
	link(filepath.Join(dir, "linked.yaml"), filepath.Join(outside, "real.yaml"))
	d, err := Load(filepath.Join(dir, "linked.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "linked.yaml"), filepath.Join(dir, "schemas/light.yaml")}; !cmp.Equal(want, d.Files()) {
		t.Errorf("files: got %q, want %q", d.Files(), want)
	}
	if _, err := Load(filepath.Join(dir, "nothing.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory: got no error")
	}
}

func TestLimits(t *testing.T) {
	bomb := func() string {
		var b strings.Builder
		b.WriteString("asyncapi: 3.0.0\nx0: &a0 {type: integer}\n")
		for i := range 40 {
			fmt.Fprintf(&b, "x%d: &a%d {anyOf: [*a%d, *a%d]}\n", i+1, i+1, i, i)
		}
		b.WriteString("channels: {c: {address: c, messages: {m: {payload: *a40}}}}\n")
		return b.String()
	}
	literals := func() string {
		var b strings.Builder
		b.WriteString("asyncapi: 3.0.0\nx0: &a0 [1, 2]\n")
		for i := range 40 {
			fmt.Fprintf(&b, "x%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
		}
		b.WriteString("channels: {c: {address: c, messages: {m: {payload: {const: *a40}}}}}\n")
		return b.String()
	}
	merges := func() string {
		var b strings.Builder
		b.WriteString("asyncapi: 3.0.0\nx: &a\n")
		for i := range 1000 {
			fmt.Fprintf(&b, "  k%d: 1\n", i)
		}
		for i := range 1000 {
			fmt.Fprintf(&b, "y%d: {<<: *a}\n", i)
		}
		return b.String()
	}
	refs := func() string {
		var b strings.Builder
		b.WriteString("asyncapi: 3.0.0\nchannels: {c: {address: c, messages: {m: {payload: {$ref: '#/x/n0'}}}}}\nx:\n")
		for i := range 2 * maxNesting {
			fmt.Fprintf(&b, "  n%d: {$ref: '#/x/n%d'}\n", i, i+1)
		}
		return b.String() + fmt.Sprintf("  n%d: {type: integer}\n", 2*maxNesting)
	}
	last := func() string { // what it refers to is the first value that there is no room for
		var b strings.Builder
		fmt.Fprintf(&b, "asyncapi: 3.0.0\nx: &a [%s]\ny: {type: integer}\n", strings.Repeat("1, ", 1000))
		b.WriteString("channels: {c: {address: c, messages: {m: {payload: {allOf: [{$ref: '#/y'}], enum: [")
		b.WriteString(strings.Repeat("*a, ", MaxNodes/1001) + strings.Repeat("1, ", MaxNodes%1001-3) + "]}}}}}\n")
		return b.String()
	}
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	tests := []struct{ name, text, want string }{
		{"aliases of aliases, in a schema", bomb(), "too large or nested too deeply"},
		{"aliases of aliases, in a value", literals(), "too large or nested too deeply"},
		{"one value too many, in what a schema refers to", last(), "too large or nested too deeply"},
		{"merges", merges(), "too large: more than 200000 values"},
		{"an alias in itself", "asyncapi: 3.0.0\nx: &a [*a]\n", "doc.yaml:2: the alias *a is inside of what it stands for"},
		{"depth of YAML", "asyncapi: 3.0.0\nx: " + deep, "doc.yaml:2: nested too deeply: more than 128 levels"},
		{"depth of JSON", `{"asyncapi":"3.0.0",` + "\n" + `"x": ` + deep + "}", "doc.yaml:2: nested too deeply: more than 128 levels"},
		{"values", "asyncapi: 3.0.0\nx: [" + strings.Repeat("1,", MaxNodes) + "]", "doc.yaml:2: too large: more than 200000 values"},
		{"bytes", strings.Repeat(" ", MaxFileBytes+1), "doc.yaml: is larger than the 4194304 bytes that are allowed"},
		{"long chain of references", refs(), "or through too many others"},
		{"flood of brackets", strings.Repeat("[", 1<<20), "not YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("doc.yaml", []byte(tt.text), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %.300v, want %q in it", err, tt.want)
			}
		})
	}
	var many strings.Builder
	many.WriteString("asyncapi: 3.0.0\nchannels:\n")
	for i := range 2 * MaxProblems {
		fmt.Fprintf(&many, "  c%d: 1\n", i)
	}
	_, err := Parse("doc.yaml", []byte(many.String()), nil)
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) != MaxProblems {
		t.Errorf("got %d problems, want %d", len(e.Problems), MaxProblems)
	}
}

func TestTooManyFiles(t *testing.T) {
	files := fstest.MapFS{}
	var b strings.Builder
	b.WriteString("asyncapi: 3.0.0\nchannels:\n")
	for i := range MaxFiles {
		name := fmt.Sprintf("s%d.yaml", i)
		files[name] = &fstest.MapFile{Data: []byte("type: integer")}
		fmt.Fprintf(&b, "  c%d: {address: c%d, messages: {m: {payload: {$ref: %s}}}}\n", i, i, name)
	}
	_, err := Parse("doc.yaml", []byte(b.String()), files)
	if want := `doc.yaml:258: reference "s255.yaml" leads to one more file than the 256 that are allowed`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestSet(t *testing.T) {
	var stats jsonschema.Stats
	demo := parse(t, string(Demo))
	set := NewSet(map[string]*Document{"demo": demo, "other": parse(t, "asyncapi: 2.6.0\nchannels: {}")}, &stats)
	s, err := set.Find("demo", "event-gateway-demo")
	if err != nil || s == nil {
		t.Fatalf("Find: got %v, %v", s, err)
	}
	again, _ := set.Find("demo", "event-gateway-demo")
	if again != s {
		t.Error("the second Find made another schema")
	}
	if status, _ := s.Check([]byte(`{"lumens":1}`)); status != abi.StatusValid || stats.Fast.Load() != 1 {
		t.Errorf("got status %d and %d counted, want %d and 1", status, stats.Fast.Load(), abi.StatusValid)
	}
	if s, err := set.Find("other", "event-gateway-demo"); err != nil || s != nil {
		t.Errorf("a topic without schema: got %v, %v, want nil, nil", s, err)
	}
	_, err = set.Find("nope", "x")
	if !errors.Is(err, host.ErrNoDocument) || !strings.Contains(err.Error(), `"nope"; there are: demo, other`) {
		t.Errorf("a document that does not exist: got %v", err)
	}
}

// What a schema is written out as is JSON Schema again.
func TestSchemasAreComplete(t *testing.T) {
	d := parse(t, `
asyncapi: 3.0.0
channels: {c: {address: c, messages: {m: {payload: {$ref: '#/components/schemas/node'}}}}}
components: {schemas: {node: {properties: {"$ref": {type: integer}, next: {$ref: '#/components/schemas/node'}}}}}
`)
	text, _ := d.Schema("c")
	if !json.Valid(text) {
		t.Fatalf("%s is not JSON", text)
	}
	s, err := jsonschema.Compile(text, jsonschema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, errs := s.Check([]byte(`{"next":{"next":{"$ref":"x"}}}`)); !cmp.Equal(errs, []string{"next.next.$ref: Invalid type. Expected: integer, given: string"}) {
		t.Errorf("got %q", errs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Demo)
	archives, _ := filepath.Glob("testdata/*")
	for _, path := range archives {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if filepath.Ext(path) != ".txtar" {
			f.Add(data)
			continue
		}
		for _, file := range txtar.Parse(data).Files {
			if strings.HasPrefix(file.Name, "doc.") {
				f.Add(file.Data)
			}
		}
	}
	files := fstest.MapFS{"other.yaml": {Data: []byte("a: {type: integer}\nb: {$ref: 'doc.yaml#/components/schemas/a'}")}}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("doc.yaml", data, files)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error of type %T: %v", err, err)
			}
			return
		}
		for _, c := range d.Channels() {
			if text, ok := d.Schema(c.Address); ok && !json.Valid(text) {
				t.Fatalf("schema of %q is not JSON: %s", c.Address, text)
			}
		}
	})
}
