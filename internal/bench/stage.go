package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/xeipuuv/gojsonschema"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/asyncapi"
	"github.com/sluicegate/sluice/internal/jsonschema"
	"github.com/sluicegate/sluice/internal/kafka/batch"
)

// guestFiles are the modules that the benchmark measures with.
type guestFiles struct{ touch, readall, upper, loop, spin string }

// buildGuests compiles internal/bench/guests into dir.
func buildGuests(dir string) (guestFiles, error) {
	var g guestFiles
	for name, file := range map[string]*string{"touch": &g.touch, "readall": &g.readall, "upper": &g.upper, "loop": &g.loop, "spin": &g.spin} {
		*file = filepath.Join(dir, name+".wasm")
		if _, err := os.Stat(*file); err == nil {
			continue
		}
		if err := buildGuest(*file, "./internal/bench/guests/"+name); err != nil {
			return g, err
		}
	}
	return g, nil
}

// runtimeHost is a host with its compile cache in dir.
func runtimeHost(dir string, schemas host.Schemas) (*host.Host, error) {
	return host.New(context.Background(), host.Config{CacheDir: filepath.Join(dir, "cache"), Schemas: schemas})
}

// pipelineOf makes a pipeline of one stage.
func pipelineOf(h *host.Host, name string, wasm []byte, config string) (*host.Pipeline, error) {
	ctx := context.Background()
	m, err := h.Compile(ctx, name, wasm)
	if err != nil {
		return nil, err
	}
	s, err := h.NewStage(ctx, m, host.StageConfig{Name: name, Pipeline: "bench", Config: json.RawMessage(config), DeadLetterTopic: "dead"})
	if err != nil {
		return nil, err
	}
	return host.NewPipeline("bench", s), nil
}

// work is something that is timed per record.
type work struct {
	name    string
	records int // per call of do
	do      func() error
}

// timeWork interleaves works and returns nanoseconds per record of each round.
func timeWork(opts options, works []work) ([][]float64, error) {
	out := make([][]float64, len(works))
	calls := make([]int, len(works))
	for i, w := range works { // how many calls make up a leg
		begin := time.Now()
		n := 0
		for ; time.Since(begin) < opts.leg/4; n++ {
			if err := w.do(); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
		}
		calls[i] = max(1, n)
	}
	for round := range opts.rounds {
		for k := range works {
			i := (k + round) % len(works)
			begin := time.Now()
			for range calls[i] {
				if err := works[i].do(); err != nil {
					return nil, fmt.Errorf("%s: %w", works[i].name, err)
				}
			}
			out[i] = append(out[i], float64(time.Since(begin).Nanoseconds())/float64(calls[i]*works[i].records))
		}
	}
	return out, nil
}

// allocations per call, as a whole number.
func allocations(do func() error) string {
	runtime.GC()
	return fmt.Sprintf("%.0f", testing.AllocsPerRun(200, func() { do() }))
}

func processOf(p *host.Pipeline, b *host.Batch) func() error {
	var r host.Result
	return func() error { return p.Process(context.Background(), b, &r) }
}

func recordsOf(n int, value []byte) *host.Batch {
	b := &host.Batch{Topic: "event-gateway-demo", ProducerID: -1}
	for i := range n {
		b.Records = append(b.Records, abi.Record{Value: value, Timestamp: 1_700_000_000_000, Offset: int64(i)})
	}
	return b
}

// benchStage prices a stage: the call, the reading, the batch around it.
func benchStage(opts options, dir string) ([]*table, error) {
	guests, err := buildGuests(dir)
	if err != nil {
		return nil, err
	}
	h, err := runtimeHost(dir, nil)
	if err != nil {
		return nil, err
	}
	defer h.Close(context.Background())
	raw := plainBatch(100, 1000)
	records := recordsOf(100, make([]byte, 1000))
	var works []work
	for _, g := range []struct{ name, file string }{
		{"guest called, reads nothing", guests.touch},
		{"guest reads all fields", guests.readall},
	} {
		p, err := openPipeline(h, g.file)
		if err != nil {
			return nil, err
		}
		works = append(works, work{g.name, 100, processOf(p, records)})
	}
	p, err := openPipeline(h, guests.readall)
	if err != nil {
		return nil, err
	}
	works = append(works, work{"the same with decode, CRC and re-encode of the batch", 100, roundTrip(p, raw)})
	rows, err := timeWork(opts, works)
	if err != nil {
		return nil, err
	}
	t := &table{front: true, title: "A stage: a batch of 100 records of 1 KB"}
	t.add("", "ns a record", "host allocations a batch")
	for i, w := range works {
		t.add(w.name, spread(rows[i]), allocations(w.do))
	}
	return []*table{t}, nil
}

func openPipeline(h *host.Host, file string) (*host.Pipeline, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return pipelineOf(h, filepath.Base(file), wasm, "{}")
}

// roundTrip decodes a batch, runs the pipeline and encodes the batch again.
func roundTrip(p *host.Pipeline, raw []byte) func() error {
	var (
		dec batch.Decoder
		enc batch.Encoder
		hb  = host.Batch{Topic: "bench", ProducerID: -1}
		res host.Result
		out []byte
	)
	return func() error {
		b, _, err := batch.Next(raw)
		if err != nil {
			return err
		}
		if err := b.CheckCRC(); err != nil {
			return err
		}
		if hb.Records, err = dec.Records(&b, hb.Records[:0]); err != nil {
			return err
		}
		if err := p.Process(context.Background(), &hb, &res); err != nil {
			return err
		}
		out, err = enc.AppendProduced(out[:0], &b, hb.Records)
		return err
	}
}

// demoValues are documents for the demo schema.
func demoValues() (valid45, valid1k, invalid45, invalid1k []byte) {
	pad := func(v string, n int) []byte {
		const tail = `,"note":""}`
		fill := make([]byte, max(0, n-len(v)-len(tail)+1))
		for i := range fill {
			fill[i] = 'a' + byte(i%26)
		}
		return []byte(v[:len(v)-1] + `,"note":"` + string(fill) + `"}`)
	}
	const valid, invalid = `{"lumens":100,"sentAt":"2026-01-02T03:04:05Z"}`, `{"lumens":true,"sentAt":"2026-01-02T03:04:0Z"}`
	return []byte(valid), pad(valid, 1000), []byte(invalid), pad(invalid, 1000)
}

// benchValidate compares the validate stage with the judge alone.
func benchValidate(opts options, dir string) ([]*table, error) {
	set, schemaJSON, err := demoSchemas()
	if err != nil {
		return nil, err
	}
	h, err := runtimeHost(dir, set)
	if err != nil {
		return nil, err
	}
	defer h.Close(context.Background())
	wasm, err := firstParty("validate")
	if err != nil {
		return nil, err
	}
	p, err := pipelineOf(h, "validate", wasm, `{"document":"demo","on_invalid":"annotate"}`)
	if err != nil {
		return nil, err
	}
	judge, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(schemaJSON))
	if err != nil {
		return nil, err
	}
	t := &table{front: true, title: "`validate`, demo schema, batches of 100 records"}
	t.add("", "native gojsonschema, ns a record", "validate, ns a record", "records a second and core, of native", "accepted without the judge")
	v45, v1k, i45, i1k := demoValues()
	texts := 0
	for _, row := range []struct {
		name  string
		value []byte
	}{{"valid, 45 B", v45}, {"valid, 1 KB", v1k}, {"invalid, 45 B", i45}, {"invalid, 1 KB", i1k}} {
		native := func() error {
			result, err := judge.Validate(gojsonschema.NewBytesLoader(row.value))
			if err != nil {
				return err
			}
			for _, e := range result.Errors() { // the texts are what it is asked for
				texts += len(e.String())
			}
			return nil
		}
		fast0, judged0 := judgeCounts()
		works := []work{
			{"native", 1, native},
			{"validate", 100, processOf(p, recordsOf(100, row.value))},
		}
		ns, err := timeWork(opts, works)
		if err != nil {
			return nil, err
		}
		var ratios []float64
		for i := range ns[0] {
			ratios = append(ratios, ns[0][i]/ns[1][i])
		}
		fast, judged := judgeCounts()
		fast, judged = fast-fast0, judged-judged0
		t.add(row.name, spread(ns[0]), spread(ns[1]), spread(ratios), fmt.Sprintf("%.0f %%", 100*float64(fast)/float64(max(1, fast+judged))))
	}
	return []*table{t}, nil
}

// judged counts what the schemas of the demo document decided.
var judged jsonschema.Stats

func judgeCounts() (fast, judge uint64) { return judged.Fast.Load(), judged.Judged.Load() }

// demoSchemas are the schemas of the demo document, under the name demo, and
// the one of its topic as the judge gets it.
func demoSchemas() (*asyncapi.Set, []byte, error) {
	doc, err := asyncapi.Parse("demo.yaml", asyncapi.Demo, nil)
	if err != nil {
		return nil, nil, err
	}
	schema, ok := doc.Schema("event-gateway-demo")
	if !ok {
		return nil, nil, fmt.Errorf("the demo document has no schema for its topic")
	}
	return asyncapi.NewSet(map[string]*asyncapi.Document{"demo": doc}, &judged), schema, nil
}
