package jsonschema

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/abi"
	"github.com/xeipuuv/gojsonschema"
)

// TestSuite runs the JSON-Schema-Test-Suite in the edition that the judge
// ships with its own tests, found in the module cache.
func TestSuite(t *testing.T) {
	dir := suiteDir(t)
	for draft, name := range map[Draft]string{Draft4: "draft4", Draft6: "draft6", Draft7: "draft7"} {
		t.Run(name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, name, "*.json"))
			if err != nil {
				t.Fatal(err)
			}
			more, err := filepath.Glob(filepath.Join(dir, name, "optional", "*.json"))
			if err != nil {
				t.Fatal(err)
			}
			formats, err := filepath.Glob(filepath.Join(dir, name, "optional", "format", "*.json"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(append(files, more...), formats...)
			if len(files) < 30 {
				t.Fatalf("found %d files below %s", len(files), dir)
			}
			r := suiteRun{draft: draft}
			for _, file := range files {
				r.file(t, file)
			}
			t.Logf("%d tests (%d schemas with references to other documents left out), %d of which the judge fails; %d documents are valid, %d (%.0f%%) accepted without the judge",
				r.tests, r.refused, r.failed, r.valid, r.fast, 100*float64(r.fast)/float64(r.valid))
			if r.fast*3 < r.valid {
				t.Error("less than a third of what is valid is accepted without the judge")
			}
		})
	}
}

func suiteDir(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/xeipuuv/gojsonschema").Output()
	if err != nil {
		t.Fatalf("find the judge's module: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "testdata")
}

type suiteRun struct {
	draft                               Draft
	tests, refused, failed, valid, fast int
}

func (r *suiteRun) file(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Description string
		Schema      json.RawMessage
		Tests       []struct {
			Description string
			Data        json.RawMessage
			Valid       bool
		}
	}
	if err := json.Unmarshal(text, &groups); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, group := range groups {
		var stats Stats
		s, err := Compile(group.Schema, Config{Draft: r.draft, Stats: &stats})
		if err != nil {
			if !strings.Contains(string(group.Schema), "localhost:1234") {
				t.Errorf("%s: %s: %v", filepath.Base(file), group.Description, err)
			}
			r.refused++
			continue
		}
		loader := gojsonschema.NewSchemaLoader()
		loader.Draft = gojsonschema.Draft(r.draft)
		native, err := loader.Compile(gojsonschema.NewBytesLoader(group.Schema))
		if err != nil {
			t.Fatalf("%s: %s: %v", filepath.Base(file), group.Description, err)
		}
		for _, test := range group.Tests {
			r.test(t, s, native, test.Data, test.Valid, filepath.Base(file)+": "+group.Description+": "+test.Description)
		}
		r.fast += int(stats.Fast.Load())
	}
}

// test checks one document. What counts is the judge's opinion; where it
// differs from the suite's (on formats and other optional parts) this is no
// failure of ours.
func (r *suiteRun) test(t *testing.T, s *Schema, native *gojsonschema.Schema, doc []byte, valid bool, name string) {
	result, err := native.Validate(gojsonschema.NewBytesLoader(doc))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	status, errs := s.Check(doc)
	r.tests++
	r.failed += count(result.Valid() != valid)
	r.valid += count(result.Valid())
	if (status == abi.StatusValid) != result.Valid() {
		t.Errorf("%s: got status %d %q, the judge alone says valid: %v", name, status, errs, result.Valid())
	}
	if result.Valid() != valid && !strings.Contains("content.json idn-hostname.json iri.json time.json zeroTerminatedFloats.json", strings.Split(name, ":")[0]) {
		t.Errorf("%s: the judge says valid: %v, the suite %v", name, result.Valid(), valid)
	}
}
