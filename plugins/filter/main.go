// Filter keeps, drops, refuses or diverts records by conditions on their
// JSON, key, headers and timestamp. README.md tells its configuration.
package main

import (
	"fmt"

	"github.com/sluicegate/sluice/abi"
	sluice "github.com/sluicegate/sluice/sdk/go"
)

func init() { sluice.RegisterNew(newFilter) }

func main() { sluice.Main() }

// config is the stage's configuration.
type config struct {
	When   *conditionConfig `json:"when"`
	Then   string           `json:"then"`
	Else   string           `json:"else"`
	Reason string           `json:"reason"`
}

// actions are what can happen to a record.
var actions = map[string]abi.Op{
	"keep":        abi.OpKeep,
	"drop":        abi.OpDrop,
	"reject":      abi.OpReject,
	"dead-letter": abi.OpDeadLetter,
}

// filter is one configured instance.
type filter struct {
	when      condition
	then, els abi.Op
	reason    string
	// What the conditions look at.
	fields sluice.Fields
	paths  *sluice.Paths // nil = no JSON
}

func newFilter(s *sluice.Setup) (sluice.Process, error) {
	c := config{Then: "keep", Else: "drop", Reason: "refused by a filter"}
	if err := s.Decode(&c); err != nil {
		return nil, err
	}
	f := &filter{reason: c.Reason}
	if err := f.setActions(s, c.Then, c.Else); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if c.When == nil {
		return nil, fmt.Errorf("config: when is missing: it is the condition")
	}
	var p parser
	var err error
	if f.when, err = p.condition("when", c.When); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	f.fields = p.fields
	if len(p.paths) > 0 {
		f.paths = s.Paths(p.paths...)
	}
	return f.process, nil
}

func (f *filter) setActions(s *sluice.Setup, then, els string) error {
	var verdicts []abi.Op
	for _, a := range []struct {
		member, name string
		op           *abi.Op
	}{{"then", then, &f.then}, {"else", els, &f.els}} {
		op, ok := actions[a.name]
		switch {
		case !ok:
			return fmt.Errorf("%s: %q is none of keep, drop, reject, dead-letter", a.member, a.name)
		case op == abi.OpReject && s.Fetch:
			return fmt.Errorf("%s: reject works on produce only; drop or dead-letter works on fetch", a.member)
		case op != abi.OpKeep:
			verdicts = append(verdicts, op)
		}
		*a.op = op
	}
	if f.then == f.els {
		return fmt.Errorf("then and else are both %q: the condition makes no difference", then)
	}
	s.Verdicts(verdicts...)
	return nil
}

// process reads what the conditions look at and no more.
func (f *filter) process(b *sluice.Batch) error {
	if f.paths == nil {
		for r := range b.Records(f.fields) {
			f.judge(r)
		}
		return nil
	}
	for r := range f.paths.Records(b, f.fields) {
		f.judge(r)
	}
	return nil
}

func (f *filter) judge(r *sluice.Record) {
	op := f.els
	if f.when.holds(r) {
		op = f.then
	}
	switch op {
	case abi.OpDrop:
		r.Drop()
	case abi.OpReject:
		r.Reject(f.reason)
	case abi.OpDeadLetter:
		r.DeadLetter(f.reason)
	}
}
