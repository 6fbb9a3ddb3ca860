package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/catalog"
	"github.com/sluicegate/sluice/internal/config"
	"github.com/sluicegate/sluice/internal/embedded"
	"github.com/sluicegate/sluice/internal/testenv"
)

const document = `asyncapi: 3.0.0
info: {title: Lights, version: 1.0.0}
channels:
  light:
    address: light
    messages:
      measured:
        payload:
          type: object
          properties:
            lumens: {type: integer}
operations:
  measure: {action: send, channel: {$ref: "#/channels/light"}}
`

// fixture is a gateway in this process, before an embedded broker with the topic light.
type fixture struct {
	*App
	path string
	log  *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T) *fixture {
	t.Helper()
	if _, err := catalog.List(); err != nil {
		testenv.Missing(t, "%v", err)
	}
	broker, err := embedded.Start(embedded.Config{Topics: []embedded.Topic{{Name: "light"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	dir := t.TempDir()
	f := &fixture{path: filepath.Join(dir, "sluice.yaml"), log: new(syncBuffer)}
	write(t, filepath.Join(dir, "lights.yaml"), document)
	write(t, f.path, fmt.Sprintf(`clusters: [{name: main, bootstrap: [%q]}]
listeners: [{name: public, bind: "127.0.0.1:0"}]
admin: {bind: "127.0.0.1:0"}
cache_dir: %q
documents: [{name: lights, file: lights.yaml}]
pipelines:
  - name: measurements
    topics: [light]
    on: produce
    stages: [{plugin: validate, config: {document: lights, on_invalid: annotate}}]
`, broker.Addrs()[0], filepath.Join(testenv.CacheDir(), "modules")))
	f.App, err = Start(t.Context(), Options{
		Load:  func() (*config.Config, error) { return config.Load(f.path, nil) },
		LogTo: f.log, Version: "test", DrainTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", f.log)
		}
	})
	return f
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in the configuration.
func (f *fixture) edit(t *testing.T, old, new string) {
	t.Helper()
	text, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("the configuration does not contain %q", old)
	}
	write(t, f.path, strings.Replace(string(text), old, new, 1))
}

func (f *fixture) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(f.Addr("public")), kgo.DefaultProduceTopic("light"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// metric returns the value of a line of /metrics, "" if there is none.
func (f *fixture) metric(t *testing.T, name string) string {
	t.Helper()
	res, err := http.Get("http://" + f.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestReloadUnderTraffic changes the pipelines while a client produces: nothing fails, nothing is lost, no connection is
// dropped, and each record follows either the old rules or the new ones.
func TestReloadUnderTraffic(t *testing.T) {
	f := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl := f.client(t, kgo.ProducerLinger(0))
	if err := cl.ProduceSync(ctx, kgo.StringRecord(`{"lumens": 1}`)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	connections := f.metric(t, `sluice_connections_total{cluster="main",listener="public"}`)

	stop := make(chan struct{})
	produced := make(chan int)
	go func() {
		n := 0
		defer func() { produced <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := cl.ProduceSync(ctx, kgo.StringRecord(`{"lumens": "dim"}`)).FirstErr(); err != nil {
				t.Errorf("record %d: %v", n, err)
				return
			}
			n++
		}
	}()
	// The document's type changes to and fro: what is invalid before is valid after.
	doc := filepath.Join(filepath.Dir(f.path), "lights.yaml")
	for i := range 4 {
		kind := []string{"string", "integer"}[i%2]
		write(t, doc, strings.Replace(document, "integer", kind, 1))
		if err := f.Reload(ctx); err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
	}
	close(stop)
	want := <-produced + 1
	if now := f.metric(t, `sluice_connections_total{cluster="main",listener="public"}`); now != connections {
		t.Errorf("connections: %s before the reloads, %s after: clients had to connect again", connections, now)
	}

	consumer := f.client(t, kgo.ConsumeTopics("light"))
	annotated, got := 0, 0
	for got < want {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", got, want, err)
		}
		for _, r := range fetches.Records() {
			got++
			annotated += len(r.Headers)
		}
	}
	if annotated == 0 || annotated == got {
		t.Errorf("%d of %d records are annotated, want some and not all", annotated, got)
	}
	if n := f.metric(t, `sluice_failures_total{cause="stage",cluster="main"}`); n != "" {
		t.Errorf("%s failures of stages", n)
	}
	if n := f.metric(t, `sluice_stage_instances{pipeline="measurements",stage="validate"}`); n != "1" {
		t.Errorf("%s instances live after the reloads, want 1: the old pipelines are not closed", n)
	}
}

func TestReloadRefused(t *testing.T) {
	f := start(t)
	for _, tt := range []struct{ name, old, new, want string }{
		{"configuration", "on: produce", "on: nowhere", `pipelines[0].on: "nowhere" is not one of produce and fetch`},
		{"plugin's config", "annotate", "explode", "pipelines[0].stages[0].config.on_invalid:"},
		{"guest's objection", "document: lights,", "document: light,", `there is no document named "light"`},
		{"cannot mark drops", "annotate}", "dead-letter}, dead_letter: invalid", "needs markers.key"},
	} {
		f.edit(t, tt.old, tt.new)
		err := f.Reload(t.Context())
		var problems config.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Reload = %v, want problems with %q", tt.name, err, tt.want)
		}
		f.edit(t, tt.new, tt.old)
	}
	if got := f.metric(t, "sluice_reload_ok"); got != "0" {
		t.Errorf("sluice_reload_ok = %s after a failure, want 0", got)
	}
	// The pipeline is there as before.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.client(t).ProduceSync(ctx, kgo.StringRecord(`{"lumens": true}`)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := f.metric(t, `sluice_stage_records_total{pipeline="measurements",stage="validate",verdict="replace"}`); got != "1" {
		t.Errorf("%q records annotated, want 1", got)
	}
	if err := f.Reload(t.Context()); err != nil {
		t.Errorf("Reload of what is right again: %v", err)
	}
	if got := f.metric(t, "sluice_reload_ok"); got != "1" {
		t.Errorf("sluice_reload_ok = %s, want 1", got)
	}
}

func TestRunDrains(t *testing.T) {
	f := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	cl := f.client(t)
	produce, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := cl.ProduceSync(produce, kgo.StringRecord(`{"lumens": 1}`)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if res, err := http.Get("http://" + f.AdminAddr() + "/livez"); err == nil {
		res.Body.Close()
		t.Error("the admin port still answers")
	}
}

func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.yaml")
	for _, tt := range []struct{ name, text, want string }{
		{"admin port", "admin: {bind: \"192.0.2.1:1\"}", "admin: listen tcp 192.0.2.1:1"},
		{"listener", "listeners: [{name: l, bind: \"192.0.2.1:2\"}]", "192.0.2.1:2"},
		{"document", "documents: [{name: d, file: sluice.yaml}]", "sluice.yaml:1: not an AsyncAPI document"},
		{"module", "pipelines: [{name: p, topics: [t], on: fetch, stages: [{plugin: ./sluice.yaml}]}]", "not a WebAssembly module"},
	} {
		text := "clusters: [{name: main, bootstrap: [\"127.0.0.1:1\"]}]\ncache_dir: cache\n"
		if tt.name != "listener" {
			text += "listeners: [{name: l, bind: \"127.0.0.1:0\"}]\n"
		}
		if tt.name != "admin port" {
			text += "admin: {bind: \"127.0.0.1:0\"}\n"
		}
		write(t, path, text+tt.text+"\n")
		a, err := Start(t.Context(), Options{Load: func() (*config.Config, error) { return config.Load(path, nil) }, LogTo: io.Discard})
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Start = %v, want %q", tt.name, err, tt.want)
		}
	}
}
