// Command bench measures what Sluice costs and writes the tables that the
// README shows. Everything that is compared runs in one process tree, in
// interleaved rounds, because the machines that it runs on are shared and
// noisy: ratios mean something, absolute numbers little.
//
// It needs bin/sluice (make build) and, for the tables against Apache Kafka,
// a JDK and Maven; without those it says so and leaves the tables out.
// Traffic goes to 127.0.0.1 only.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// options are what a run was asked for.
type options struct {
	rounds int
	leg    time.Duration
	sluice string
	only   string
}

// section is one part of the benchmark.
type section struct {
	name string
	run  func(options, string) ([]*table, error)
}

var sections = []section{
	{"kafka", benchKafka},
	{"embedded", benchEmbedded},
	{"stage", benchStage},
	{"validate", benchValidate},
	{"metering", benchMetering},
	{"isolation", benchIsolation},
}

func main() {
	var opts options
	flag.IntVar(&opts.rounds, "rounds", 9, "interleaved rounds, at least 7 for numbers worth showing")
	flag.DurationVar(&opts.leg, "leg", 700*time.Millisecond, "how long each leg of a round runs")
	flag.StringVar(&opts.sluice, "sluice", "bin/sluice", "the binary to measure")
	flag.StringVar(&opts.only, "only", "", "comma-separated sections: kafka, embedded, stage, validate, metering, isolation")
	out := flag.String("out", "internal/bench/RESULTS.md", "where the tables go; - prints them only")
	child := flag.String("child", "", "internal: serve as broker or forward")
	port := flag.Int("port", 0, "internal")
	to := flag.String("to", "", "internal")
	flag.Parse()

	var err error
	switch *child {
	case "":
		err = bench(opts, *out)
	case "broker":
		err = serveEmbedded(*port)
	case "forward":
		err = forward(fmt.Sprintf("127.0.0.1:%d", *port), *to)
	default:
		err = fmt.Errorf("unknown child %q", *child)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(opts options, out string) error {
	if _, err := os.Stat(opts.sluice); err != nil {
		return fmt.Errorf("%w: run `make build` first", err)
	}
	opts.sluice, _ = filepath.Abs(opts.sluice)
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var doc strings.Builder
	fmt.Fprintf(&doc, "# What Sluice costs\n\nWritten by `make bench` on %s: %s, %d cores, %s. %d interleaved rounds of %v a leg;\n",
		time.Now().UTC().Format("2006-01-02"), runtime.Version(), runtime.NumCPU(), cpuModel(), opts.rounds, opts.leg)
	doc.WriteString("medians, in brackets the lowest and highest round. CPU is the gateway's (or forwarder's) own, per 10^9 bytes of records;\nin brackets where less than 0.2 s of it was used.\n")
	var front strings.Builder
	for _, s := range sections {
		if opts.only != "" && !strings.Contains(","+opts.only+",", ","+s.name+",") {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench   %s ...\n", s.name)
		begin := time.Now()
		tables, err := s.run(opts, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, t := range tables {
			fmt.Printf("\n%s", t)
			fmt.Fprintf(&doc, "\n%s", t)
			if t.front {
				fmt.Fprintf(&front, "\n%s", t)
			}
		}
		fmt.Fprintf(os.Stderr, "bench   %s took %v\n", s.name, time.Since(begin).Round(time.Second))
	}
	if out == "-" {
		return nil
	}
	if err := os.WriteFile(out, []byte(doc.String()), 0o644); err != nil || opts.only != "" {
		return err
	}
	return show(readme, front.String())
}

// readme is the page that shows the most important tables, between two
// comments.
const readme = "README.md"

// show puts text between the comments of a page.
func show(page, text string) error {
	const begin, end = "<!-- bench -->\n", "<!-- /bench -->"
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for tables: put %q and %q there", page, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(page, []byte(before+begin+text+"\n"+end+after), 0o644)
}

// cpuModel names the processor, as far as the system tells.
func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}
