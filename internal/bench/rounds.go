package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// leg is one of the ways that are compared with each other.
type leg struct {
	name string
	proc *process // whose processor time counts; nil for none
	run  func() (sample, error)
}

// outcome is what a leg did over all rounds.
type outcome struct {
	name      string
	samples   []sample
	cpu       time.Duration
	measured  bool // cpu was read
	latencies []time.Duration
}

// interleave runs the legs in turn, rounds times, after one unmeasured round.
// Each round begins with another leg, so that none always follows the same.
func interleave(rounds int, legs []leg) ([]outcome, error) {
	out := make([]outcome, len(legs))
	for i := range legs {
		out[i].name = legs[i].name
	}
	for round := -1; round < rounds; round++ {
		for k := range legs {
			i := (k + max(round, 0)) % len(legs)
			var before time.Duration
			if legs[i].proc != nil {
				before = legs[i].proc.cpu()
			}
			s, err := legs[i].run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", legs[i].name, err)
			}
			if round < 0 {
				continue
			}
			if legs[i].proc != nil {
				out[i].cpu += legs[i].proc.cpu() - before
				out[i].measured = true
			}
			out[i].samples = append(out[i].samples, s)
			out[i].latencies = append(out[i].latencies, s.latencies...)
		}
	}
	return out, nil
}

func (o outcome) rates() []float64 {
	var r []float64
	for _, s := range o.samples {
		r = append(r, s.mbps())
	}
	return r
}

// ratios compares round by round: machines drift, rounds less.
func (o outcome) ratios(base outcome) []float64 {
	var r []float64
	for i, s := range o.samples {
		r = append(r, s.mbps()/base.samples[i].mbps())
	}
	return r
}

// perGB is processor seconds per 10^9 record bytes, or "-" where too little
// was used to say.
func (o outcome) perGB() string {
	var bytes int64
	for _, s := range o.samples {
		bytes += s.bytes
	}
	if !o.measured || bytes == 0 {
		return "-"
	}
	v := o.cpu.Seconds() / (float64(bytes) / 1e9)
	if o.cpu < 200*time.Millisecond {
		return fmt.Sprintf("(%.2f)", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

func spread(v []float64) string {
	return fmt.Sprintf("%.2f (%.2f..%.2f)", median(v), slices.Min(v), slices.Max(v))
}

// unsteady says how far the base itself varied, where that is more than 15 %.
func unsteady(base outcome) string {
	r := base.rates()
	if v := (slices.Max(r) - slices.Min(r)) / median(r); v > 0.15 {
		return fmt.Sprintf("%s varied by %.0f %% between rounds: read the ratios with care.", base.name, v*100)
	}
	return ""
}

// table is a Markdown table.
type table struct {
	title string
	front bool // the README shows it
	notes []string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) note(s string) {
	if s != "" {
		t.notes = append(t.notes, s)
	}
}

func (t *table) String() string {
	var b strings.Builder
	if t.title != "" {
		fmt.Fprintf(&b, "### %s\n\n", t.title)
	}
	for i, row := range t.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---:", len(row)-1))
		}
	}
	for _, n := range t.notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return b.String()
}

// throughput turns outcomes, the first being direct, into rows.
func throughput(t *table, label string, outs []outcome) {
	base := outs[0]
	for i, o := range outs {
		ratio := "1"
		if i > 0 {
			ratio = spread(o.ratios(base))
		}
		t.add(label+", "+o.name, fmt.Sprintf("%.0f", median(o.rates())), ratio, o.perGB())
	}
	t.note(prefix(label, unsteady(base)))
}

func prefix(label, s string) string {
	if s == "" {
		return ""
	}
	return label + ": " + s
}
