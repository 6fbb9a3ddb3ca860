//go:build !wasip1

package sluice

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
)

// host is the in-memory host.
type host = *fake.Host

func logText(level Level, text string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", [...]string{"trace", "debug", "info", "warn", "error"}[level], text)
}

// Native is an instance of the registered middleware outside of a gateway.
// Package sluicetest is the way to use it.
type Native struct {
	host     *fake.Host
	process  Process
	batch    Batch
	verdicts []string // declared; nil = all
}

// StartNative configures an instance. Config is the stage's configuration
// as JSON, nil for none; on is produce or fetch.
func StartNative(h *fake.Host, config json.RawMessage, on string) (n *Native, err error) {
	if config == nil {
		config = json.RawMessage("{}")
	}
	input, err := json.Marshal(map[string]any{
		"config": config, "pipeline": "native", "stage": "native", "on": on,
		"host": map[string]any{"abi": abi.Version, "features": []string{abi.ModuleBatch, abi.ModuleJSON, abi.ModuleSchema}},
	})
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer recoverTrap(&err)
	n = &Native{host: h}
	n.batch.host = h
	var output []byte
	if n.process, output, err = configure(h, input); err != nil {
		return nil, err
	}
	if output != nil {
		var out setupOutput
		if err := json.Unmarshal(output, &out); err != nil {
			return nil, fmt.Errorf("read the output of sluice_configure: %w", err)
		}
		n.verdicts = out.Verdicts
	}
	return n, nil
}

// Process judges the host's records. The host's Verdicts are then checked,
// in ascending order, and within what the middleware has declared.
func (n *Native) Process() (err error) {
	defer recoverTrap(&err)
	h := n.host
	h.Verdicts = h.Verdicts[:0]
	b := &n.batch
	b.reset(uint32(len(h.Records)), uint32(abi.EntriesSize(h.Records, abi.FieldsAll)))
	if err := n.process(b); err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return err
	}
	return n.check()
}

func (n *Native) check() error {
	if err := abi.CheckVerdicts(n.host.Verdicts, len(n.host.Records)); err != nil {
		return err
	}
	if n.verdicts == nil {
		return nil
	}
	var v abi.Verdict
	for r := abi.NewVerdictReader(n.host.Verdicts, len(n.host.Records)); r.Next(&v); {
		if !declared(n.verdicts, v.Op) {
			return fmt.Errorf("record %d: %s is not among the declared verdicts %q", v.First, v.Op, n.verdicts)
		}
	}
	return nil
}

func declared(names []string, op abi.Op) bool {
	for _, name := range names {
		if name == op.String() {
			return true
		}
	}
	return false
}

// recoverTrap makes an error of a call that the host ended.
func recoverTrap(err *error) {
	switch v := recover().(type) {
	case nil:
	case fake.Trap:
		*err = errors.New(v.Text)
	default:
		panic(v)
	}
}
