package sluice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sluicegate/sluice/abi"
)

// Setup is what a middleware learns and says before its first batch.
type Setup struct {
	// Pipeline and Stage are names from the gateway's configuration.
	Pipeline, Stage string
	// Fetch says that the pipeline works on fetch; otherwise on produce.
	Fetch bool
	// Features are the import modules that the host offers.
	Features []string

	host     host
	config   json.RawMessage
	verdicts []string
}

// setupInput is the input of sluice_configure.
type setupInput struct {
	Config   json.RawMessage `json:"config"`
	Pipeline string          `json:"pipeline"`
	Stage    string          `json:"stage"`
	On       string          `json:"on"`
	Host     struct {
		Features []string `json:"features"`
	} `json:"host"`
}

// setupOutput is the output of sluice_configure.
type setupOutput struct {
	Verdicts []string `json:"verdicts"`
}

// Decode decodes the stage's configuration into v, as encoding/json does.
// A member that v has no field for is an error, so that a misspelt one is
// not ignored in silence.
func (s *Setup) Decode(v any) error {
	config := s.config
	if len(config) == 0 {
		config = []byte("{}")
	}
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("config: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("config: text after the JSON value")
	}
	return nil
}

// Verdicts declares the operations that this stage will ever use; using
// another one is then a failure. Without it all are possible, and where a
// stage may drop records the gateway has more to do on every fetch.
// Calling it without arguments declares a stage that only looks.
func (s *Setup) Verdicts(ops ...abi.Op) {
	s.verdicts = []string{}
	for _, op := range ops {
		s.verdicts = append(s.verdicts, op.String())
	}
}

// configure runs the registered function on the input of sluice_configure
// and returns the output, nil for none.
func configure(h host, input []byte) (p Process, output []byte, err error) {
	if registered == nil {
		return nil, nil, errors.New("no middleware is registered: call sluice.Register from an init function")
	}
	var in setupInput
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, nil, fmt.Errorf("read the input of sluice_configure: %w", err)
	}
	s := &Setup{Pipeline: in.Pipeline, Stage: in.Stage, Fetch: in.On == "fetch", Features: in.Host.Features, host: h, config: in.Config}
	p, err = registered(s)
	if err != nil || s.verdicts == nil {
		return p, nil, err
	}
	output, err = json.Marshal(setupOutput{s.verdicts})
	return p, output, err
}
