package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

// TestGolden reads each testdata/*.txtar. Of its parts, sluice.yaml is the configuration and env the environment, one variable
// a line; all others are files beside it. problems, warnings and config are what is wanted: run with -update to
// write them.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			golden(t, filepath.Join(here, path))
		})
	}
}

func golden(t *testing.T, path string) {
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_CACHE_HOME", "/home/me/.cache")
	inputs := &txtar.Archive{Comment: ar.Comment}
	var environ []string
	for _, f := range ar.Files {
		switch f.Name {
		case "problems", "warnings", "config":
			continue
		case "env":
			environ = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
		default:
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		inputs.Files = append(inputs.Files, f)
	}

	got := outcome(t, environ)
	for i := range got {
		got[i].Data = bytes.ReplaceAll(got[i].Data, []byte(dir), []byte("$DIR"))
		if bytes.Contains(got[i].Data, []byte("hunter2")) {
			t.Errorf("%s shows a secret:\n%s", got[i].Name, got[i].Data)
		}
	}
	inputs.Files = append(inputs.Files, got...)
	text := txtar.Format(inputs)
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(txtar.Format(ar)), string(text)); diff != "" {
		t.Errorf("-want +got (run with -update to accept):\n%s", diff)
	}
}

// outcome loads sluice.yaml and returns the parts that say what came of it.
func outcome(t *testing.T, environ []string) []txtar.File {
	cfg, err := Load("sluice.yaml", environ)
	if err != nil {
		var ps Problems
		if !errors.As(err, &ps) {
			t.Fatalf("Load: %v, want Problems", err)
		}
		return []txtar.File{{Name: "problems", Data: []byte(err.Error() + "\n")}}
	}
	var out []txtar.File
	if len(cfg.Warnings) > 0 {
		out = append(out, txtar.File{Name: "warnings", Data: []byte(cfg.Warnings.Error() + "\n")})
	}
	cfg.Warnings = nil
	dump, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, txtar.File{Name: "config", Data: append(dump, '\n')})
}

func TestSecretIsHidden(t *testing.T) {
	s := NewSecret("hunter2")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S Secret }{s})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S Secret }{s})
	js, err := json.Marshal(struct{ S Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", struct{ S Secret }{s}, struct{ S Secret }{s}, &struct{ S Secret }{s}),
		string(js), log.String(),
	} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("shows the secret: %s", text)
		}
	}
	if s.Reveal() != "hunter2" {
		t.Errorf("Reveal() = %q", s.Reveal())
	}
}

func TestPluginProblems(t *testing.T) {
	cfg, err := Parse("sluice.yaml", []byte(`clusters: [{name: main, bootstrap: [b:9092]}]
listeners: [{name: l, bind: "127.0.0.1:19092"}]
pipelines:
  - name: p
    topics: [t]
    on: produce
    stages:
      - plugin: filter
        config:
          keep: true
          conditions:
            - path: lumens
              "odd.key": 5
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := cfg.PluginProblems(StagePath(0, 0), []string{
		"(root): action is required",
		"conditions.0.path: Does not match pattern",
		"conditions.0.odd.key: Must be a string",
		"conditions.0.gone: Must be there",
		"conditions.0: Additional property odd.key is not allowed",
		"(root): Additional property keep is not allowed",
	}).Error()
	want := `sluice.yaml:10:11: pipelines[0].stages[0].config: action is required
sluice.yaml:12:21: pipelines[0].stages[0].config.conditions[0].path: Does not match pattern
sluice.yaml:13:26: pipelines[0].stages[0].config.conditions[0]["odd.key"]: Must be a string
sluice.yaml:12:15: pipelines[0].stages[0].config.conditions[0]: Must be there
sluice.yaml:13:15: pipelines[0].stages[0].config.conditions[0]["odd.key"]: the plugin does not know this key
sluice.yaml:10:11: pipelines[0].stages[0].config.keep: the plugin does not know this key`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParentPath(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"", ""},
		{"a", ""},
		{"a.b", "a"},
		{"a[0]", "a"},
		{"a[0].b[12]", "a[0].b"},
		{`a["x.y"]`, "a"},
		{`a["x\"].[y"].z`, `a["x\"].[y"]`},
		{`a["x\"].[y"]`, "a"},
		{`["x.y"]`, ""},
		{keyPath(keyPath("a", `b"]`), `["c`), keyPath("a", `b"]`)},
	} {
		if got := parentPath(tt.path); got != tt.want {
			t.Errorf("parentPath(%s) = %s, want %s", tt.path, got, tt.want)
		}
	}
}

// TestBombs gives texts that are small and would be large.
func TestBombs(t *testing.T) {
	aliases := "a0: &a0 [x, x]\n"
	for i := range 40 {
		aliases += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	for name, text := range map[string]string{
		"aliases": aliases,
		"depth":   strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"maps":    strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
		"key":     "? \"" + strings.Repeat(".", 1<<20) + "\"\n: 1\n",
	} {
		_, err := Parse("sluice.yaml", []byte(text), nil)
		var ps Problems
		if !errors.As(err, &ps) {
			t.Errorf("%s: %v, want Problems", name, err)
		}
	}
}

func TestNeedsRestart(t *testing.T) {
	const base = "clusters: [{name: main, bootstrap: [b:9092]}]\nlisteners: [{name: l, bind: \"127.0.0.1:19092\"}]\n"
	load := func(text string) *Config {
		cfg, err := Parse("sluice.yaml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	for _, tt := range []struct {
		text string
		want []string
	}{
		{base, nil},
		{base + "log: {level: debug}\nmarkers: {topics: []}\n", nil},
		{strings.Replace(base, "b:9092", "c:9092", 1), []string{"clusters"}},
		{base + "limits: {connections: 5}\nadmin: {bind: \"127.0.0.1:1\"}\n", []string{"admin", "limits"}},
	} {
		if diff := cmp.Diff(tt.want, NeedsRestart(load(base), load(tt.text))); diff != "" {
			t.Errorf("NeedsRestart to\n%s: -want +got:\n%s", tt.text, diff)
		}
	}
}

// FuzzParse finds texts that make the reader panic, or that leave a problem without a message.
func FuzzParse(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range paths {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			if file.Name == "sluice.yaml" {
				f.Add(string(file.Data), "SLUICE_ADMIN__BIND=x")
			}
		}
	}
	f.Add("a: &a [*a]", "SLUICE_CLUSTERS__0__NAME=main")
	f.Add("a: &a {b: &b {c: *a}}", "SLUICE_CLUSTERS__1__NAME=main")
	f.Add("clusters: 5", "SLUICE_CLUSTERS__BOOTSTRAP__0=main")
	f.Fuzz(func(t *testing.T, text, env string) {
		if strings.Contains(text+env, "${file") {
			return // do not read what the fuzzer thinks of
		}
		cfg, err := Parse("sluice.yaml", []byte(text), []string{env})
		var ps Problems
		if err != nil && !errors.As(err, &ps) {
			t.Fatalf("Parse: %v, want Problems", err)
		}
		if (cfg == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v", cfg, err)
		}
		for _, p := range ps {
			if p.Message == "" {
				t.Errorf("problem without a message: %+v", p)
			}
		}
	})
}

// TestReadmeShowsEverySetting holds the page to the structs, with their defaults.
func TestReadmeShowsEverySetting(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	src := newSource("README.md")
	tree, problems := src.parse([]byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	d := &decoder{src: src, lookup: lookup(nil)}
	d.value("", tree, reflect.ValueOf(new(Config)).Elem())
	if err := d.problems.Err(); err != nil {
		t.Errorf("the page has what is not there: %v", err)
	}
	var check func(path string, typ reflect.Type, v any)
	check = func(path string, typ reflect.Type, v any) {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if list, ok := v.([]any); ok && typ.Kind() == reflect.Slice && len(list) > 0 {
			check(path+"[0]", typ.Elem(), list[0])
			return
		}
		m, ok := v.(map[string]any)
		if !ok || typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			name := f.Tag.Get("yaml")
			if _, shown := m[name]; name != "" && !shown {
				t.Errorf("the page does not show %s", keyPath(path, name))
			}
			check(keyPath(path, name), f.Type, m[name])
		}
	}
	check("", reflect.TypeFor[Config](), tree)

	// What the page gives as defaults of the file's own sections are those.
	var shown, defaults Config
	defaults.setDefaults()
	d.value("", map[string]any{"limits": tree["limits"], "admin": tree["admin"], "log": tree["log"]}, reflect.ValueOf(&shown).Elem())
	if diff := cmp.Diff(defaults, shown, cmpopts.IgnoreUnexported(Config{}, Secret{})); diff != "" {
		t.Errorf("defaults: -code +page\n%s", diff)
	}
}
