// Package sluicetest runs a middleware that is written with the SDK in Go
// tests, natively and with a host in memory.
//
// [Run] holds it to fixtures; [Start] gives a test the middleware to call
// itself. Both use what the tested package has registered.
//
// # Fixtures
//
// A fixture is a txtar archive with these files:
//
//	config.json                the stage's configuration; {} where it is missing
//	batch.json                 where the batch comes from: topic, partition, on (produce or
//	                           fetch), client_id, principal; optional
//	documents/NAME/TOPIC.json  the JSON Schema for a topic of a document; optional
//	in.jsonl                   the batch, a record a line
//	want.jsonl                 a line for each record: {"op": "keep"}, drop, reject or
//	                           dead-letter with a "reason", or replace with the whole
//	                           new "record"
//	error.txt                  in place of want.jsonl: a part of the text with which
//	                           configuration or call fails
//
// A record's line is an object; all members are optional:
//
//	{"key": "k", "value": {"a": 1}, "headers": [["name", "text"]], "timestamp": 1700000000000}
//
// A key or value that is no string and not null is taken as it is written.
// Bytes that are not UTF-8 stand in key_hex and value_hex, and as a third
// element of a header.
//
// Fixtures say nothing about how a middleware is run, so that a gateway's
// own tests can run the compiled module on the same ones: see [Load].
package sluicetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/sluicegate/sluice/abi"
	sluice "github.com/sluicegate/sluice/sdk/go"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
	"github.com/sluicegate/sluice/sdk/go/internal/lines"
	"github.com/sluicegate/sluice/sdk/go/internal/schemas"
)

var update = flag.Bool("sluicetest.update", false, "rewrite want.jsonl in fixtures")

// Schema judges values; a gateway's schemas fit.
type Schema interface {
	Check(value []byte) (abi.Status, []string)
}

// Fixture is a batch and what is to become of it.
type Fixture struct {
	Name      string // the file's name without .txtar
	Config    json.RawMessage
	Batch     abi.Info
	Documents map[string]map[string]json.RawMessage // by name and topic
	In        []abi.Record
	Want      []Outcome // one for each of In
	Error     string    // wanted in place of Want, "" for none

	path    string
	archive *txtar.Archive
}

// Outcome is what became of one record. Record is set for OpReplace.
type Outcome struct {
	Op     abi.Op
	Reason string
	Record abi.Record
}

// batchFile is batch.json.
type batchFile struct {
	Topic         string  `json:"topic"`
	Partition     int32   `json:"partition"`
	On            string  `json:"on"`
	ClientID      *string `json:"client_id"`
	Principal     *string `json:"principal"`
	ProducerID    *int64  `json:"producer_id"`
	Transactional bool    `json:"transactional"`
}

// outcomeLine is a line of want.jsonl.
type outcomeLine struct {
	Op     string          `json:"op"`
	Reason string          `json:"reason"`
	Record json.RawMessage `json:"record"`
}

// Load reads a fixture.
func Load(path string) (*Fixture, error) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	f := &Fixture{
		Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), Config: json.RawMessage("{}"),
		Batch: abi.Info{Topic: "topic", ProducerID: -1}, Documents: map[string]map[string]json.RawMessage{},
		path: path, archive: a,
	}
	wanted := false
	for _, file := range a.Files {
		switch {
		case file.Name == "config.json":
			f.Config = file.Data
			if !json.Valid(file.Data) {
				err = errors.New("not JSON")
			}
		case file.Name == "batch.json":
			err = f.setBatch(file.Data)
		case file.Name == "in.jsonl":
			err = eachLine(file.Data, f.addIn)
		case file.Name == "want.jsonl":
			wanted = true
			err = eachLine(file.Data, f.addWant)
		case file.Name == "error.txt":
			wanted = true
			f.Error = strings.TrimSpace(string(file.Data))
		case strings.HasPrefix(file.Name, "documents/"):
			err = f.addDocument(file.Name, file.Data)
		default:
			err = errors.New("unknown file in a fixture")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, file.Name, err)
		}
	}
	if !wanted && !*update {
		return nil, fmt.Errorf("%s: neither want.jsonl nor error.txt", path)
	}
	return f, nil
}

func (f *Fixture) setBatch(b []byte) error {
	file := batchFile{Topic: f.Batch.Topic}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return err
	}
	if file.On != "" && file.On != "produce" && file.On != "fetch" {
		return fmt.Errorf("on: %q is neither produce nor fetch", file.On)
	}
	f.Batch = abi.Info{Topic: file.Topic, Partition: file.Partition, ProducerID: -1, Transactional: file.Transactional, Fetch: file.On == "fetch"}
	if file.ProducerID != nil {
		f.Batch.ProducerID = *file.ProducerID
	}
	if file.ClientID != nil {
		f.Batch.ClientID = abi.NullString{String: *file.ClientID, Valid: true}
	}
	if file.Principal != nil {
		f.Batch.Principal = abi.NullString{String: *file.Principal, Valid: true}
	}
	return nil
}

func (f *Fixture) addDocument(name string, b []byte) error {
	parts := strings.Split(name, "/")
	topic, ok := strings.CutSuffix(parts[len(parts)-1], ".json")
	if len(parts) != 3 || !ok {
		return errors.New("want documents/NAME/TOPIC.json")
	}
	if f.Documents[parts[1]] == nil {
		f.Documents[parts[1]] = map[string]json.RawMessage{}
	}
	f.Documents[parts[1]][topic] = b
	return nil
}

// eachLine calls f with each line that is not empty.
func eachLine(b []byte, f func([]byte) error) error {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 64<<20)
	for n := 1; s.Scan(); n++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if err := f(s.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

func (f *Fixture) addIn(line []byte) error {
	r, err := lines.Parse(line)
	if err != nil {
		return err
	}
	if r.Offset == 0 {
		r.Offset = int64(len(f.In))
	}
	f.In = append(f.In, r)
	return nil
}

var ops = map[string]abi.Op{}

func init() {
	for op := abi.OpKeep; op <= abi.OpDeadLetter; op++ {
		ops[op.String()] = op
	}
}

func (f *Fixture) addWant(line []byte) error {
	var l outcomeLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return err
	}
	op, ok := ops[l.Op]
	if !ok {
		return fmt.Errorf("op %q", l.Op)
	}
	o := Outcome{Op: op, Reason: l.Reason}
	if l.Record != nil {
		var err error
		if o.Record, err = lines.Parse(l.Record); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	f.Want = append(f.Want, o)
	return nil
}

// Outcomes applies a stream of verdicts to a batch.
func Outcomes(in []abi.Record, stream []byte) ([]Outcome, error) {
	if err := abi.CheckVerdicts(stream, len(in)); err != nil {
		return nil, err
	}
	out := make([]Outcome, len(in))
	r := abi.NewVerdictReader(stream, len(in))
	for {
		var v abi.Verdict // a new one each time: outcomes keep views of it
		if !r.Next(&v) {
			return out, r.Err()
		}
		if v.Op > abi.OpDeadLetter {
			continue
		}
		for i := v.First; i < v.First+v.Count; i++ {
			out[i] = Outcome{Op: v.Op, Reason: v.Reason}
			if v.Op == abi.OpReplace {
				out[i].Record, _ = v.Patch.Apply(in[i], nil)
			}
		}
	}
}

// Diff compares outcomes with what the fixture wants, "" where they are the
// same. Records are compared by all but their offsets.
func (f *Fixture) Diff(got []Outcome) string {
	want := string(appendOutcomes(nil, f.Want))
	return cmp.Diff(strings.Split(want, "\n"), strings.Split(string(appendOutcomes(nil, got)), "\n"))
}

func appendOutcomes(dst []byte, outcomes []Outcome) []byte {
	for _, o := range outcomes {
		dst = fmt.Appendf(dst, `{"op": "%s"`, o.Op)
		switch o.Op {
		case abi.OpReject, abi.OpDeadLetter:
			reason, _ := json.Marshal(o.Reason) // a string always encodes
			dst = fmt.Appendf(dst, `, "reason": %s`, reason)
		case abi.OpReplace:
			r := o.Record
			r.Offset = 0
			dst = append(dst, `, "record": `...)
			dst = lines.Append(dst, &r)
		}
		dst = append(dst, "}\n"...)
	}
	return dst
}

// Option changes what tests run with.
type Option func(*options)

type options struct {
	compile func([]byte) (fake.Schema, error)
}

// WithSchemas sets how the schemas of documents are compiled. Without it a
// simple judge is used whose wording may differ from a gateway's.
func WithSchemas(compile func(schema []byte) (Schema, error)) Option {
	return func(o *options) {
		o.compile = func(b []byte) (fake.Schema, error) { return compile(b) }
	}
}

// Run holds the registered middleware to all fixtures that a pattern of
// package filepath matches, each as a subtest. With the flag
// -sluicetest.update it rewrites their want.jsonl instead.
func Run(t *testing.T, pattern string, opts ...Option) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures match %q", pattern)
	}
	for _, path := range paths {
		f, err := Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(f.Name, func(t *testing.T) { f.run(t, opts) })
	}
}

func (f *Fixture) run(t *testing.T, opts []Option) {
	got, err := f.process(opts)
	if err != nil || f.Error != "" {
		switch {
		case err == nil:
			t.Errorf("no error, want one with %q", f.Error)
		case f.Error == "":
			t.Errorf("error: %v", err)
		case !strings.Contains(err.Error(), f.Error):
			t.Errorf("error:\n%v\nwant one with\n%s", err, f.Error)
		}
		return
	}
	if *update {
		f.rewrite(t, got)
		return
	}
	if diff := f.Diff(got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func (f *Fixture) process(opts []Option) ([]Outcome, error) {
	m, err := f.start(opts)
	if err != nil {
		return nil, err
	}
	return m.Process(f.In...)
}

func (f *Fixture) rewrite(t *testing.T, got []Outcome) {
	want := txtar.File{Name: "want.jsonl", Data: appendOutcomes(nil, got)}
	files := f.archive.Files
	for i := range files {
		if files[i].Name == want.Name {
			files[i], want.Data = want, nil
		}
	}
	if want.Data != nil {
		f.archive.Files = append(files, want)
	}
	if err := os.WriteFile(f.path, txtar.Format(f.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Middleware is a configured instance of the registered middleware.
type Middleware struct {
	// Batch says where the next batch comes from.
	Batch abi.Info
	// Calls counts the calls of the ABI's functions by name.
	Calls map[string]int

	host   *fake.Host
	native *sluice.Native
}

// Start configures an instance with a configuration as JSON, "" for none,
// on produce. A refused configuration fails the test.
func Start(t testing.TB, config string) *Middleware {
	t.Helper()
	f := &Fixture{Batch: abi.Info{Topic: "topic", ProducerID: -1}}
	if config != "" {
		f.Config = json.RawMessage(config)
	}
	m, err := f.start(nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Start configures an instance as the fixture says.
func (f *Fixture) Start(t testing.TB, opts ...Option) *Middleware {
	t.Helper()
	m, err := f.start(opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (f *Fixture) start(opts []Option) (*Middleware, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	set := schemas.Set{}
	for document, topics := range f.Documents {
		for topic, schema := range topics {
			if err := set.Add(document, topic, schema, o.compile); err != nil {
				return nil, err
			}
		}
	}
	on := "produce"
	if f.Batch.Fetch {
		on = "fetch"
	}
	m := &Middleware{Batch: f.Batch, Calls: map[string]int{}, host: &fake.Host{Schemas: set}}
	m.host.Calls = m.Calls
	var err error
	m.native, err = sluice.StartNative(m.host, f.Config, on)
	return m, err
}

// Process gives the middleware one batch and returns what became of each
// record. The records must live as long as the outcomes.
func (m *Middleware) Process(records ...abi.Record) ([]Outcome, error) {
	if err := m.process(records); err != nil {
		return nil, err
	}
	return Outcomes(records, bytes.Clone(m.host.Verdicts))
}

func (m *Middleware) process(records []abi.Record) error {
	m.host.Batch, m.host.Records = m.Batch, records
	return m.native.Process()
}

// Benchmark gives the middleware the same batch b.N times and reports the
// time for one record.
func (m *Middleware) Benchmark(b *testing.B, records ...abi.Record) {
	b.Helper()
	b.ReportAllocs()
	m.host.Calls = nil
	for b.Loop() {
		if err := m.process(records); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(records)), "ns/record")
}
