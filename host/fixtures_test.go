//go:build !race

// Compiling the plugins with the race detector in the compiler takes minutes and finds nothing that other tests do not.

package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/jsonschema"
	"github.com/sluicegate/sluice/sdk/go/sluicetest"
)

// builds are the modules that tests have built, by the plugin's name.
var builds struct {
	sync.Mutex
	wasm map[string][]byte
}

// plugin builds a first-party middleware.
func plugin(t testing.TB, name string) []byte {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if b := builds.wasm[name]; b != nil {
		return b
	}
	out := filepath.Join(t.TempDir(), "m.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", out, ".")
	cmd.Dir = filepath.Join("../plugins", name)
	if name == "gopher" {
		cmd.Dir = "testdata/gopher"
	}
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if builds.wasm == nil {
		builds.wasm = map[string][]byte{}
	}
	builds.wasm[name] = b
	return b
}

// cacheDir is shared by the tests of one run.
var cacheDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "sluice-host-test")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(cacheDir())
	os.Exit(code)
}

// documents is a fixture's documents.
type documents map[string]map[string]json.RawMessage

func (d documents) Find(document, topic string) (host.Schema, error) {
	topics, ok := d[document]
	if !ok {
		return nil, host.ErrNoDocument
	}
	raw, ok := topics[topic]
	if !ok {
		return nil, nil
	}
	s, err := jsonschema.Compile(raw, jsonschema.Config{})
	if err != nil {
		return nil, err // and not a nil *Schema in an interface
	}
	return s, nil
}

// TestPluginsDeclareVerdicts holds the first-party middlewares to saying what they will never do: where records cannot be dropped the
// gateway need not open every fetch of their topics.
func TestPluginsDeclareVerdicts(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles modules")
	}
	for name, configs := range map[string]map[string]bool{
		"validate": {
			`{"document": "d"}`: false, `{"document": "d", "on_invalid": "reject"}`: false, `{"document": "d", "on_invalid": "dead-letter"}`: true,
		},
		"filter": {
			`{"when": {"field": "key", "eq": "k"}, "else": "reject"}`: false, `{"when": {"field": "key", "eq": "k"}}`: true,
		},
	} {
		h, m := compiled(t, name, schemasFunc(func(string, string) (host.Schema, error) { return nil, nil }))
		for config, want := range configs {
			s, err := h.NewStage(context.Background(), m, host.StageConfig{Name: name, Config: []byte(config), DeadLetterTopic: "dlq"})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.CanDrop(); got != want {
				t.Errorf("%s %s: CanDrop is %v", name, config, got)
			}
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPluginFixtures runs the fixtures of the first-party middlewares through their modules.
func TestPluginFixtures(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles modules")
	}
	for _, name := range []string{"filter", "validate"} {
		t.Run(name, func(t *testing.T) {
			var current documents
			h, m := compiled(t, name, schemasFunc(func(document, topic string) (host.Schema, error) { return current.Find(document, topic) }))
			paths, err := filepath.Glob(filepath.Join("../plugins", name, "testdata/*.txtar"))
			if err != nil || len(paths) == 0 {
				t.Fatalf("no fixtures: %v", err)
			}
			for _, path := range paths {
				f, err := sluicetest.Load(path)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(f.Name, func(t *testing.T) {
					current = f.Documents
					got, err := runFixture(h, m, f)
					switch {
					case f.Error != "" && (err == nil || !strings.Contains(err.Error(), f.Error)):
						t.Errorf("got error %v, want one with %q", err, f.Error)
					case f.Error == "" && err != nil:
						t.Error(err)
					case f.Error == "":
						if diff := f.Diff(got); diff != "" {
							t.Errorf("outcomes (-want +got):\n%s", diff)
						}
					}
				})
			}
		})
	}
}

// schemasFunc is a host.Schemas.
type schemasFunc func(document, topic string) (host.Schema, error)

func (f schemasFunc) Find(document, topic string) (host.Schema, error) { return f(document, topic) }

// TestGoGuest runs what Go's runtime does in a sandbox that has neither time nor files.
func TestGoGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles a module")
	}
	ctx := context.Background()
	h, m := compiled(t, "gopher", nil)
	defer m.Close(ctx)
	s, err := h.NewStage(ctx, m, host.StageConfig{Name: "gopher", Pipeline: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p := host.NewPipeline("test", s)
	defer p.Close(ctx)
	for value, want := range map[string]string{
		"now":         "2023-11-14T22:13:20.123Z",
		"sleep":       "true",
		"race":        "45",
		"world":       "0 0 true 0 EOF",
		"print hello": "",
		"error way":   "stage gopher could not process the record: sluice_process: no way",
		"panic now":   "stage gopher could not process the record: sluice_process: ",
		"exit":        "stage gopher could not process the record: sluice_process: the guest exited with status 7",
		"eat":         "stage gopher could not process the record: sluice_process: out of memory: the limit is 32 MiB",
		"loop":        "stage gopher could not process the record: sluice_process: out of fuel",
		"recurse":     "stage gopher could not process the record: sluice_process: ",
		"deadlock":    "stage gopher could not process the record: sluice_process: ",
	} {
		b := host.Batch{Topic: "t", Records: []abi.Record{{}, {Value: []byte(value)}}}
		b.Records[0].Timestamp = 1_700_000_000_123
		var r host.Result
		if err := p.Process(ctx, &b, &r); err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if want == "" {
			if len(r.Outcomes) > 0 {
				t.Errorf("%s: %+v", value, r.Outcomes[1])
			}
			continue
		}
		if len(r.Outcomes) == 0 || !strings.HasPrefix(r.Outcomes[1].Reason, want) || r.Outcomes[0].Op != abi.OpKeep {
			t.Errorf("%s: %+v, want %q", value, r.Outcomes, want)
		}
	}
}

// compiled builds and compiles a first-party middleware on a host of its own, which is closed with the test.
func compiled(t testing.TB, name string, schemas host.Schemas) (*host.Host, *host.Module) {
	ctx := context.Background()
	h, err := host.New(ctx, host.Config{CacheDir: cacheDir(), Schemas: schemas})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(ctx) })
	m, err := h.Compile(ctx, name, plugin(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return h, m
}

func runFixture(h *host.Host, m *host.Module, f *sluicetest.Fixture) ([]sluicetest.Outcome, error) {
	ctx := context.Background()
	cfg := host.StageConfig{Name: "stage", Pipeline: "pipeline", Config: f.Config, OnPoison: host.ActionStop, DeadLetterTopic: "dead"}
	b := host.Batch{
		Topic: f.Batch.Topic, Partition: f.Batch.Partition, ProducerID: f.Batch.ProducerID, Transactional: f.Batch.Transactional,
		ClientID: pointer(f.Batch.ClientID), Principal: pointer(f.Batch.Principal), Records: f.In,
	}
	if f.Batch.Fetch {
		cfg.On, b.On = host.Fetch, host.Fetch
	}
	s, err := h.NewStage(ctx, m, cfg)
	if err != nil {
		return nil, err
	}
	p := host.NewPipeline("pipeline", s)
	defer p.Close(ctx)
	var r host.Result
	if err := p.Process(ctx, &b, &r); err != nil {
		return nil, err
	}
	out := make([]sluicetest.Outcome, len(f.In))
	for i, o := range r.Outcomes {
		out[i] = sluicetest.Outcome{Op: o.Op, Reason: strings.Clone(o.Reason), Record: o.Record}
	}
	return out, nil
}

func pointer(s abi.NullString) *string {
	if !s.Valid {
		return nil
	}
	return &s.String
}

// BenchmarkFilter is a Go guest that reads one JSON member of each of 100 records of 1 KB.
func BenchmarkFilter(b *testing.B) {
	ctx := context.Background()
	h, m := compiled(b, "filter", nil)
	s, err := h.NewStage(ctx, m, host.StageConfig{Name: "filter", Config: json.RawMessage(`{"when": {"json": "$.n", "gt": 90}, "then": "drop", "else": "keep"}`)})
	if err != nil {
		b.Fatal(err)
	}
	p := host.NewPipeline("p", s)
	defer p.Close(ctx)
	batch := host.Batch{Topic: "t"}
	for i := range 100 {
		batch.Records = append(batch.Records, abi.Record{Value: fmt.Appendf(nil, `{"pad": %q, "n": %d}`, strings.Repeat("x", 980), i)})
	}
	var r host.Result
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := p.Process(ctx, &batch, &r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
}
