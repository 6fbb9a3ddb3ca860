package sluice

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
)

// The middleware of these tests works on lines: it drops what begins with a
// minus, rejects "?", dead-letters "!", and puts a prefix before the rest.
func init() {
	RegisterNew(func(s *Setup) (Process, error) {
		c := struct {
			Prefix string `json:"prefix"`
			Path   string `json:"path"`
			Strict bool   `json:"strict"`
		}{Prefix: "> "}
		if err := s.Decode(&c); err != nil {
			return nil, err
		}
		if c.Strict {
			s.Verdicts(abi.OpReplace)
		}
		if c.Path != "" {
			p := s.Paths(c.Path)
			return func(b *Batch) error {
				for r := range p.Records(b, 0) {
					if r.JSON[0].Kind != KindNothing {
						r.SetValue(r.JSON[0].Text)
					}
				}
				return nil
			}, nil
		}
		return func(b *Batch) error {
			for r := range b.Records(FieldValue) {
				switch {
				case bytes.HasPrefix(r.Value, []byte("-")):
					r.Drop()
				case string(r.Value) == "?":
					r.Reject("a question")
				case string(r.Value) == "!":
					r.DeadLetter("a shout")
				case string(r.Value) == "fail":
					return errors.New("told to fail")
				case len(r.Value) > 0:
					r.SetValue(append([]byte(c.Prefix), r.Value...))
				}
			}
			return nil
		}, nil
	})
}

func TestFilter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"prefix": "file "}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, args, in, out, errs string
		env                       string
		status                    int
	}{
		{name: "lines", in: "a\n\nb", out: "> a\n\n> b\n"},
		{name: "small batches", args: "-batch 1", in: "-\n?\na\n!\n", out: "> a\n", errs: "line 2: reject: a question\nline 4: dead-letter: a shout\n"},
		{name: "one batch", in: "-\n?\na\n!\n", out: "> a\n", errs: "line 2: reject: a question\nline 4: dead-letter: a shout\n"},
		{name: "nothing"},
		{name: "configuration", args: `-config {"prefix":""}`, in: "a\n", out: "a\n"},
		{name: "configuration in a file", args: `-config @` + file, in: "a\n", out: "file a\n"},
		{name: "configuration in the environment", env: `{"prefix": "env "}`, in: "a\n", out: "env a\n"},
		{name: "configuration is no JSON", args: `-config {`, errs: "name: -config: not JSON: {\n", status: 1},
		{name: "configuration is refused", args: `-config {"prefx":""}`, errs: "name: config: unknown field \"prefx\"\n", status: 1},
		{name: "jsonl", args: "-jsonl", in: `{"key": "k", "value": "v", "headers": [["a", null]], "timestamp": 5}`, out: `{"key": "k", "value": "> v", "headers": [["a", null]], "timestamp": 5}` + "\n"},
		{name: "jsonl that is none", args: "-jsonl", in: "{}\n{\n", errs: "name: line 2: unexpected EOF\n", status: 1},
		{name: "paths", args: `-config {"path":"$.a[0]"}`, in: "{\"a\": [\"x\\ty\"]}\nno\n{\"a\": [1.50]}\n", out: "x\ty\nno\n1.50\n"},
		{name: "not a path", args: `-config {"path":"a"}`, errs: "name: paths: \"a\": at 0: not a path such as $.a.b or $['a b'][0]\n", status: 1},
		{name: "failure", args: "-batch 2", in: "a\nb\nc\nfail\n", errs: "name: lines 3 to 4: told to fail\n", status: 1},
		{name: "undeclared verdict", args: `-config {"strict":true}`, in: "a\n?\n", errs: "name: lines 1 to 2: record 1: reject is not among the declared verdicts [\"replace\"]\n", status: 1},
		{name: "help", args: "-help", errs: "usage: name [flags] < records", status: 0},
		{name: "wrong flag", args: "-on neither", errs: "usage: name [flags] < records", status: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append([]string{"/bin/name"}, strings.Fields(c.args)...)
			status := runFilter(args, func(string) string { return c.env }, strings.NewReader(c.in), &out, &errs)
			if status != c.status || !strings.HasPrefix(errs.String(), c.errs) || (c.errs == "") != (errs.Len() == 0) {
				t.Errorf("status %d, errors %q; want %d, %q", status, &errs, c.status, c.errs)
			}
			if c.status == 0 && out.String() != c.out {
				t.Errorf("got %q, want %q", &out, c.out)
			}
		})
	}
}

func TestSetup(t *testing.T) {
	saved := registered
	defer func() { registered = saved }()
	var got *Setup
	registered = func(s *Setup) (Process, error) {
		got = s
		s.Verdicts()
		return nil, s.Decode(&struct{}{})
	}
	_, output, err := configure(&fake.Host{}, []byte(`{"config": {}, "pipeline": "p", "stage": "s", "on": "fetch", "host": {"abi": 1, "features": ["f"]}, "later": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Pipeline != "p" || got.Stage != "s" || !got.Fetch || len(got.Features) != 1 {
		t.Errorf("got %+v", got)
	}
	if string(output) != `{"verdicts":[]}` {
		t.Errorf("output %s, want no verdicts", output)
	}
	for config, want := range map[string]string{
		`5`:        "config: cannot unmarshal number",
		`{"a": 1}`: `config: unknown field "a"`,
	} {
		if _, _, err := configure(&fake.Host{}, []byte(`{"config": `+config+`}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("config %s: got error %v, want one with %q", config, err, want)
		}
	}
	registered = nil
	if _, _, err := configure(&fake.Host{}, []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "sluice.Register") {
		t.Errorf("nothing registered: got error %v", err)
	}
	if _, err := StartNative(&fake.Host{}, json.RawMessage(`{`), "produce"); err == nil {
		t.Error("a configuration that is no JSON was accepted")
	}
}
