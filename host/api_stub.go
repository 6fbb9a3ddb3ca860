package host

import (
	"context"
	"errors"

	"github.com/sluicegate/sluice/abi"
)

type scratch struct{}

var errTodo = errors.New("not written yet")

// Host runs guests. It is for use by many goroutines at once.
type Host struct{}

// New makes a host.
func New(ctx context.Context, cfg Config) (*Host, error) { return nil, errTodo }

// Close ends the host. Pipelines must have been closed.
func (h *Host) Close(ctx context.Context) error { return errTodo }

// Compile checks a module, meters it and compiles it. name is for errors. It keeps nothing of wasm.
func (h *Host) Compile(ctx context.Context, name string, wasm []byte) (*Module, error) {
	return nil, errTodo
}

// Module is a checked and compiled module. Stages hold on to what they need of it, so that it may be closed
// when the stages were made.
type Module struct{}

// Name returns the name given to Compile.
func (m *Module) Name() string { return "" }

// Digest returns the SHA-256 of the module's bytes.
func (m *Module) Digest() [32]byte { return [32]byte{} }

// Manifest returns what the module says about itself, nil if it says nothing.
func (m *Module) Manifest() *abi.Manifest { return nil }

// Imports returns the names of the import modules that it uses, sorted.
func (m *Module) Imports() []string { return nil }

// Close releases the module.
func (m *Module) Close(ctx context.Context) error { return errTodo }

// Stage is a module with a configuration. It belongs to one pipeline.
type Stage struct{}

// NewStage makes a stage and starts one instance of it, so that a guest that refuses its configuration is an error now. The error has the guest's text.
func (h *Host) NewStage(ctx context.Context, m *Module, cfg StageConfig) (*Stage, error) {
	return nil, errTodo
}

// Name returns the stage's name.
func (s *Stage) Name() string { return "" }

// Close closes a stage that was not given to a pipeline.
func (s *Stage) Close(ctx context.Context) error { return errTodo }

// Pipeline is a list of stages, which it owns.
type Pipeline struct{}

// NewPipeline makes a pipeline of stages, which belong to it from then on.
func NewPipeline(name string, stages ...*Stage) *Pipeline { return nil }

// Name returns the pipeline's name.
func (p *Pipeline) Name() string { return "" }

// CanDrop reports whether a record may be missing afterwards: whether a stage may drop or dead-letter one.
func (p *Pipeline) CanDrop() bool { return true }

// Process judges a batch. It may be called from many goroutines at once, each with its own Result. An error is a *StageError, a *StoppedError, ErrClosed or the
// context's; the Result then says nothing.
func (p *Pipeline) Process(ctx context.Context, b *Batch, r *Result) error { return errTodo }

// Close closes the stages when the last Process under way has returned, and waits for that until ctx ends. Process returns ErrClosed from now on.
func (p *Pipeline) Close(ctx context.Context) error { return errTodo }
