package host

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Pipeline is a list of stages, which it owns. It is for use by many goroutines at once.
type Pipeline struct {
	name   string
	stages []*Stage

	mu     sync.Mutex
	active int // Process calls under way
	closed bool
	done   chan struct{} // closed when the stages are
	err    error         // of closing them, set before done is closed
}

// NewPipeline makes a pipeline of stages, which belong to it from then on. Without any it keeps every record.
func NewPipeline(name string, stages ...*Stage) *Pipeline {
	return &Pipeline{name: name, stages: slices.Clone(stages), done: make(chan struct{})}
}

// Name returns the pipeline's name.
func (p *Pipeline) Name() string { return p.name }

// CanDrop reports whether a record may be missing afterwards, because some stage may drop or dead-letter one.
func (p *Pipeline) CanDrop() bool { return slices.ContainsFunc(p.stages, (*Stage).CanDrop) }

// Process judges a batch. It may be called from many goroutines at once, each with its own Result. It waits for a run slot, so that
// it blocks while others' guests run, until ctx ends.
//
// An error is a *StageError, a *StoppedError or ErrClosed; the Result says nothing then. It says that nothing may happen to
// the records: they were neither judged good nor bad.
func (p *Pipeline) Process(ctx context.Context, b *Batch, r *Result) error {
	r.Outcomes = nil
	if !p.enter() {
		return ErrClosed
	}
	defer p.leave()
	r.pass.begin(b)
	for _, s := range p.stages {
		if len(r.pass.records) == 0 {
			break
		}
		if err := r.pass.run(ctx, s); err != nil {
			r.pass.end()
			return err
		}
	}
	r.Outcomes = r.pass.outcomes
	return nil
}

func (p *Pipeline) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.active++
	return true
}

func (p *Pipeline) leave() {
	p.mu.Lock()
	p.active--
	last := p.closed && p.active == 0
	p.mu.Unlock()
	if last {
		p.closeStages()
	}
}

// Close lets no more batches in: Process returns ErrClosed from now on. The stages are closed when the last batch under way is through; Close waits for
// that until ctx ends, and they are closed even if it does. A second Close waits too.
func (p *Pipeline) Close(ctx context.Context) error {
	p.mu.Lock()
	last := !p.closed && p.active == 0
	p.closed = true
	p.mu.Unlock()
	if last {
		p.closeStages()
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Pipeline) closeStages() {
	for _, s := range p.stages {
		p.err = errors.Join(p.err, s.Close(context.Background()))
	}
	close(p.done)
}
