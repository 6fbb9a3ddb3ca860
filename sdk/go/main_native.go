//go:build !wasip1

package sluice

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
	"github.com/sluicegate/sluice/sdk/go/internal/lines"
	"github.com/sluicegate/sluice/sdk/go/internal/schemas"
)

const usage = `usage: %s [flags] < records

Runs this middleware over records on standard input, one per line, and prints
what is left of them, in order. What it refuses is told on standard error.

A line is a record's value. With -jsonl it is an object such as
  {"key": "k", "value": {"a": 1}, "headers": [["name", "text"]], "timestamp": 1700000000000}
in which all members are optional; output has the same form.

Exit status: 0 done, 1 the middleware or a line failed, 2 wrong usage.

`

// Main runs the registered middleware: in a gateway, as a gateway calls it;
// as a program, as a filter over lines on standard input. The program's -help tells
// its flags. Call it from main and do nothing after it.
func Main() {
	os.Exit(runFilter(os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// filter is one run over lines.
type filter struct {
	native *Native
	host   *fake.Host
	jsonl  bool
	batch  int
	now    func() time.Time
	out    *bufio.Writer
	errs   io.Writer
	first  int // line number of the batch's first record
}

func runFilter(args []string, getenv func(string) string, in io.Reader, out, errs io.Writer) int {
	name := filepath.Base(args[0])
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintf(errs, usage, name)
		flags.PrintDefaults()
	}
	config := flags.String("config", getenv("SLUICE_CONFIG"), "the stage's configuration as JSON, or @`file`; also in SLUICE_CONFIG")
	jsonl := flags.Bool("jsonl", false, "lines are records with key, headers and timestamp")
	topic := flags.String("topic", "stdin", "the records' `topic`")
	on := flags.String("on", "produce", "produce or fetch")
	size := flags.Int("batch", 100, "records per batch")
	set := schemas.Set{}
	flags.Func("schema", "`document=file`: a JSON Schema for all topics of a document; may be repeated", func(s string) error {
		document, file, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want document=file")
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return set.Add(document, schemas.AnyTopic, text, nil)
	})
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || *size < 1 || *on != "produce" && *on != "fetch":
		flags.Usage()
		return 2
	}
	err := func() error {
		text, err := configText(*config)
		if err != nil {
			return err
		}
		h := &fake.Host{Schemas: set, Batch: abi.Info{Topic: *topic, Partition: -1, ProducerID: -1, Fetch: *on == "fetch"}}
		native, err := StartNative(h, text, *on)
		if err != nil {
			return err
		}
		f := &filter{native: native, host: h, jsonl: *jsonl, batch: *size, now: time.Now, out: bufio.NewWriter(out), errs: errs, first: 1}
		if err := f.run(in); err != nil {
			return err
		}
		return f.out.Flush()
	}()
	if err != nil {
		fmt.Fprintf(errs, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// configText returns the configuration that a flag names, nil for none.
func configText(s string) (json.RawMessage, error) {
	if file, ok := strings.CutPrefix(s, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("-config: %w", err)
		}
		s = string(b)
	}
	if s == "" {
		return nil, nil
	}
	if !json.Valid([]byte(s)) {
		return nil, fmt.Errorf("-config: not JSON: %s", s)
	}
	return json.RawMessage(s), nil
}

// run reads to the end, a batch at a time.
func (f *filter) run(in io.Reader) error {
	r := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			if err := f.add(n, bytes.TrimSuffix(line, []byte("\n"))); err != nil {
				return err
			}
		}
		if len(f.host.Records) == f.batch || err != nil && len(f.host.Records) > 0 {
			if err := f.process(); err != nil {
				return fmt.Errorf("lines %d to %d: %w", f.first, f.first+len(f.host.Records)-1, err)
			}
			f.first, f.host.Records = n+1, f.host.Records[:0]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *filter) add(n int, line []byte) error {
	record := abi.Record{Value: line, Timestamp: f.now().UnixMilli()}
	if f.jsonl {
		var err error
		if record, err = lines.Parse(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	record.Offset = int64(len(f.host.Records))
	f.host.Records = append(f.host.Records, record)
	return nil
}

// process judges the batch and prints what is left of it.
func (f *filter) process() error {
	if err := f.native.Process(); err != nil {
		return err
	}
	next := 0
	keep := func(end int) {
		for ; next < end; next++ {
			f.print(f.host.Records[next])
		}
	}
	var v abi.Verdict
	for r := abi.NewVerdictReader(f.host.Verdicts, len(f.host.Records)); r.Next(&v); {
		keep(int(v.First))
		end := int(v.First + v.Count)
		switch v.Op {
		case abi.OpReplace:
			record, _ := v.Patch.Apply(f.host.Records[next], nil)
			f.print(record)
		case abi.OpReject, abi.OpDeadLetter:
			for i := next; i < end; i++ {
				fmt.Fprintf(f.errs, "line %d: %s: %s\n", f.first+i, v.Op, v.Reason)
			}
		}
		next = end
	}
	keep(len(f.host.Records))
	return nil
}

func (f *filter) print(r abi.Record) {
	if f.jsonl {
		r.Offset = 0
		f.out.Write(lines.Append(nil, &r))
	} else {
		f.out.Write(r.Value)
	}
	f.out.WriteByte('\n')
}
