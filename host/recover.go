package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// Budget of a recovery: calls in all, and time as a multiple of Limits.Deadline.
const (
	maxRecoveryCalls = 64
	recoveryTime     = 2
)

// errOversize is why a record is not given to the guest.
var errOversize = errors.New("the record is larger than a quarter of the stage's memory limit")

// recover finds out which records of a span make the guest fail. The span is tried once more on a fresh instance, then in halves, until records
// that fail alone are found; each of those was tried on a fresh instance, with nothing else to blame.
//
// The error is a *StageError if nothing can be said about some records, or a *StoppedError.
func (p *pass) recover(ctx context.Context, sp span, failure *GuestError) error {
	p.logFailure(sp, failure)
	if p.stage.cfg.Mode == ModeObserve {
		if failure.Cause == CauseCanceled {
			return p.stageError(failure)
		}
		return nil // what would have happened is counted; the records go on
	}
	if !worthRetrying(failure) {
		return p.giveUp(failure)
	}
	p.calls = 0
	until := time.Now().Add(recoveryTime * p.stage.limits.Deadline)
	p.spans = append(p.spans[:0], sp)
	for whole := true; len(p.spans) > 0; whole = false {
		if p.calls == maxRecoveryCalls || time.Now().After(until) {
			return p.giveUp(outOfBudget(p.calls, failure))
		}
		sp := p.spans[len(p.spans)-1]
		p.spans = p.spans[:len(p.spans)-1]
		n := sp.to - sp.from
		p.calls++
		err := p.attempt(ctx, sp, whole || n == 1)
		if err == nil {
			continue
		}
		failure = err
		switch {
		case worthRetrying(err) && n > 1:
			left, right := p.halve(sp)
			p.spans = append(p.spans, right, left)
		case !err.provesPoison():
			if err := p.giveUp(err); err != nil {
				return err
			}
		default:
			if err := p.poisoned(sp.from, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// worthRetrying reports whether another try may find out more.
func worthRetrying(err *GuestError) bool {
	return err.provesPoison() || err.Cause == CauseDeadline && !err.starting
}

func outOfBudget(calls int, last *GuestError) *GuestError {
	e := *last
	e.Text = fmt.Sprintf("the records that fail could not be told apart within %d calls; the last failure: %s", calls, last.Text)
	return &e
}

// halve cuts a span in two.
func (p *pass) halve(sp span) (left, right span) {
	mid := (sp.from + sp.to) / 2
	left = span{from: sp.from, to: mid, bytes: abi.EntriesSize(p.records[sp.from:mid], abi.FieldsAll)}
	right = span{from: mid, to: sp.to, bytes: sp.bytes - left.bytes}
	return left, right
}

// giveUp does what the stage's policy for failures says with what is not settled.
func (p *pass) giveUp(failure *GuestError) error {
	if failure.Cause != CauseCanceled && p.stage.cfg.OnFailure == FailurePass {
		return nil
	}
	return p.stageError(failure)
}

func (p *pass) stageError(failure *GuestError) error {
	return &StageError{Pipeline: p.stage.cfg.Pipeline, Stage: p.stage.cfg.Name, Cause: failure.Cause, Err: failure}
}

// poisoned settles a record that failed alone.
func (p *pass) poisoned(at int, failure *GuestError) error {
	p.stage.poison.add(&p.info, &p.records[at], failure, p.stage)
	return p.settle(at, p.stage.cfg.OnPoison, failure, true)
}

// refuse settles a record that is not given to the guest: it is too large, or it is known to be poisonous.
func (p *pass) refuse(at int, why error) error {
	switch {
	case p.stage.cfg.Mode == ModeObserve:
		return nil
	case why == errOversize:
		why = fmt.Errorf("%w: %d bytes, limit %d (limits.memory)", why, abi.EntrySize(&p.records[at], abi.FieldsAll), p.stage.limits.Memory/4)
		return p.settle(at, p.stage.cfg.OnOversize, why, false)
	}
	return p.settle(at, p.stage.cfg.OnPoison, why, true)
}

// settle sets the outcome of a record that the guest cannot judge.
func (p *pass) settle(at int, action Action, why error, poison bool) error {
	s := p.stage
	if poison {
		s.observer.Poison(1)
	}
	switch action {
	case ActionStop:
		return &StoppedError{
			Pipeline: s.cfg.Pipeline, Stage: s.cfg.Name, Topic: p.batch.Topic, Partition: p.batch.Partition,
			Offset: p.records[at].Offset, Index: p.origin(at), Err: why,
		}
	case ActionPass:
		return nil
	}
	o := p.outcome(at)
	*o = Outcome{Op: abi.OpReject, Stage: s.cfg.Name, Reason: abi.Reason(fmt.Sprintf("stage %s could not process the record: %v", s.cfg.Name, why))}
	if action == ActionDeadLetter {
		o.Op, o.Record, o.DeadLetterTopic = abi.OpDeadLetter, p.records[at], s.cfg.DeadLetterTopic
	}
	p.counts[o.Op]++
	return nil
}

// logFailure logs the first failure of a span, at a limited rate; with its trace where debug messages are logged.
func (p *pass) logFailure(sp span, failure *GuestError) {
	l := &p.stage.log
	if failure.Cause == CauseCanceled {
		return
	}
	if _, ok := l.take(p.stage.clock()); !ok {
		return
	}
	args := []any{"cause", string(failure.Cause), "error", failure.Error(), "topic", p.batch.Topic, "partition", p.batch.Partition,
		"records", sp.to - sp.from, "first_offset", p.records[sp.from].Offset}
	if failure.Cause == CauseHostBug || l.to.Enabled(context.Background(), slog.LevelDebug) {
		args = append(args, "trace", failure.Trace)
	}
	l.to.Warn("guest call failed", args...)
}
