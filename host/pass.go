package host

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// pass is one batch on its way through a pipeline. It lives in the Result, so that its buffers serve the next batch.
type pass struct {
	batch    *Batch
	info     abi.Info
	outcomes []Outcome // the result's; empty until a record is not kept
	// verdicts holds the streams whose verdicts were applied: outcomes are views of it.
	verdicts []byte
	headers  []abi.Header // headers of replaced records
	spare    []Outcome    // storage of outcomes

	// What the stage under way sees.
	stage   *Stage
	records []abi.Record // left of the batch, as they are now
	index   []int32      // records[i] is record index[i] of the batch; nil as long as all are left
	own     []abi.Record // storage of records
	counts  [abi.OpDeadLetter + 1]int
	changed bool // an outcome was set since records was made
	fuel    int64
	written int // where the stage's verdicts begin in verdicts
	call    guestCall
	verdict abi.Verdict

	// Recovery from a failure, see recover.go.
	spans []span
	calls int
}

// guestCall is what a guest is asked in one call.
type guestCall struct {
	records []abi.Record
	info    *abi.Info
	bytes   int // of the records as entries with all fields
}

// span is a range of the records that a stage sees.
type span struct {
	from, to int
	bytes    int
}

// The largest buffers that are kept for the next batch, in bytes and elements.
const (
	keepVerdicts = 4 << 20
	keepElements = 64 << 10
)

// begin starts with a batch.
func (p *pass) begin(b *Batch) {
	p.end()
	p.batch, p.records = b, b.Records
	p.info = abi.Info{Topic: b.Topic, Partition: b.Partition, ProducerID: b.ProducerID, Transactional: b.Transactional, Fetch: b.On == Fetch}
	p.info.ClientID, p.info.Principal = nullString(b.ClientID), nullString(b.Principal)
}

func nullString(s *string) abi.NullString {
	if s == nil {
		return abi.NullString{}
	}
	return abi.NullString{String: *s, Valid: true}
}

// end lets go of the last batch and its outcomes.
func (p *pass) end() {
	clear(p.outcomes)
	clear(p.own)
	clear(p.headers)
	p.outcomes, p.own, p.headers, p.verdicts = nil, p.own[:0], p.headers[:0], p.verdicts[:0]
	if patch := &p.verdict.Patch; cap(p.verdicts) > keepVerdicts || max(cap(patch.Headers), cap(patch.Remove), cap(patch.Add)) > keepElements {
		p.verdicts, p.verdict = nil, abi.Verdict{} // its lists are views of the verdicts
	}
	if max(cap(p.spare), cap(p.own), cap(p.index), cap(p.headers)) > keepElements {
		p.spare, p.own, p.index, p.headers = nil, nil, nil, nil
	}
	p.batch, p.records, p.index, p.stage = nil, nil, p.index[:0], nil
	p.info, p.call = abi.Info{}, guestCall{}
}

// run gives the records that are left to a stage.
func (p *pass) run(ctx context.Context, s *Stage) error {
	start := time.Now()
	p.stage, p.counts, p.fuel, p.changed, p.written = s, [len(p.counts)]int{}, 0, false, len(p.verdicts)
	err := p.runStage(ctx)
	s.observer.Batch(time.Since(start), p.fuel)
	if err != nil {
		return err
	}
	p.count()
	if p.changed {
		p.survivors()
	}
	return nil
}

// runStage cuts the records into calls.
func (p *pass) runStage(ctx context.Context) error {
	s := p.stage
	largest := int(s.limits.Memory / 4)
	for from := 0; from < len(p.records); {
		sp := span{from: from, to: from}
		var refused error // why the record at sp.to is not given to the guest
		for sp.to < len(p.records) && sp.bytes <= abi.MaxCallBytes {
			r := &p.records[sp.to]
			size := abi.EntrySize(r, abi.FieldsAll)
			if size > largest {
				refused = errOversize
				break
			}
			if err := s.poison.known(&p.info, r, s); err != nil {
				refused = err
				break
			}
			if sp.to > from && sp.bytes+size > abi.MaxCallBytes {
				break
			}
			sp.bytes += size
			sp.to++
		}
		if sp.to > from {
			if err := p.judge(ctx, sp); err != nil {
				return err
			}
		}
		if from = sp.to; refused != nil {
			if err := p.refuse(from, refused); err != nil {
				return err
			}
			from++
		}
	}
	return nil
}

// judge asks the guest about a span and does what it says, or what the policies say.
func (p *pass) judge(ctx context.Context, sp span) error {
	if err := p.attempt(ctx, sp, false); err != nil {
		return p.recover(ctx, sp, err)
	}
	return nil
}

// attempt asks a guest about a span once. On success its verdicts are applied; on a failure nothing has happened.
func (p *pass) attempt(ctx context.Context, sp span, fresh bool) *GuestError {
	s := p.stage
	// The permit first: whoever has a slot may have to wait for nothing but slots.
	if err := s.permits.acquire(ctx); err != nil {
		return canceled(err)
	}
	defer s.permits.release()
	if err := s.host.slots.acquire(ctx); err != nil {
		return canceled(err)
	}
	defer s.host.slots.release()

	in, err := s.get(ctx, fresh)
	if err != nil {
		return p.failed(err)
	}
	before, spent := len(p.verdicts), in.fuel.spent
	p.call = guestCall{records: p.records[sp.from:sp.to], info: &p.info, bytes: sp.bytes}
	verdicts, err := in.judge(ctx, &p.call, p.verdicts)
	p.fuel += in.fuel.spent - spent
	if err == nil {
		err = p.checkTotal(len(verdicts) - p.written)
	}
	if err == nil {
		err = p.check(verdicts[before:], sp.to-sp.from)
	}
	if err != nil {
		p.verdicts = verdicts[:before]
		in.close()
		return p.failed(err)
	}
	s.put(in)
	p.verdicts = verdicts
	p.apply(sp.from, verdicts[before:])
	return nil
}

func canceled(err error) *GuestError {
	return &GuestError{Cause: CauseCanceled, Function: abi.ExportProcess, Text: "canceled: " + err.Error(), Err: err}
}

// failed tells of a failure.
func (p *pass) failed(err *GuestError) *GuestError {
	p.stage.observer.Failure(err.Cause)
	return err
}

// A stage's verdicts on one batch may take maxVerdicts bytes, and maxGrowth times what the batch takes. Each call has a limit too, but a batch that
// was compressed well is hundreds of calls.
const (
	maxVerdicts = 4 * abi.MaxVerdictBytes
	maxGrowth   = 4
)

// checkTotal checks how many bytes of verdicts a stage has written for the batch.
func (p *pass) checkTotal(n int) *GuestError {
	if n <= maxVerdicts || n-maxVerdicts <= maxGrowth*abi.EntriesSize(p.records, abi.FieldsAll) {
		return nil
	}
	err := wrongVerdict("more than %d MiB and %d times the batch for one batch: the module makes records too large", maxVerdicts>>20, maxGrowth)
	err.whole = true
	return err
}

// check checks a whole stream of verdicts on n records.
func (p *pass) check(stream []byte, n int) *GuestError {
	s := p.stage
	if len(stream) == 0 {
		return nil
	}
	r, v := abi.NewVerdictReader(stream, n), &p.verdict
	for r.Next(v) {
		switch {
		case !allOps.has(v.Op): // unknown and not critical
		case !s.declared.has(v.Op):
			return wrongVerdict("record %d: %s is not among the verdicts that the module declared for this configuration", v.First, v.Op)
		case v.Op == abi.OpReject && p.batch.On == Fetch:
			return wrongVerdict("record %d: reject is not possible on fetch", v.First)
		case v.Op == abi.OpDeadLetter && s.cfg.DeadLetterTopic == "" && s.cfg.Mode == ModeEnforce:
			return wrongVerdict("record %d: dead-letter, and the stage has no dead_letter topic", v.First)
		}
	}
	if err := r.Err(); err != nil {
		return wrongVerdict("%w", err)
	}
	return nil
}

func wrongVerdict(format string, args ...any) *GuestError {
	err := fmt.Errorf("wrong verdicts: "+format, args...)
	return &GuestError{Cause: CauseVerdict, Function: abi.ExportProcess, Text: oneLine(err.Error()), Err: err}
}

// apply sets the outcomes that a checked stream asks for, on the records from from on.
func (p *pass) apply(from int, stream []byte) {
	if len(stream) == 0 {
		return
	}
	s := p.stage
	r, v := abi.NewVerdictReader(stream, len(p.records)-from), &p.verdict
	for r.Next(v) {
		if !allOps.has(v.Op) {
			continue
		}
		p.counts[v.Op] += int(v.Count)
		if s.cfg.Mode == ModeObserve {
			continue
		}
		for i := range int(v.Count) {
			at := from + int(v.First) + i
			o := p.outcome(at)
			o.Op, o.Stage, o.Reason = v.Op, s.cfg.Name, v.Reason
			o.Record, o.DeadLetterTopic = abi.Record{}, ""
			switch v.Op {
			case abi.OpReplace:
				o.Record, p.headers = v.Patch.Apply(p.records[at], p.headers)
			case abi.OpDeadLetter:
				o.Record, o.DeadLetterTopic = p.records[at], s.cfg.DeadLetterTopic
			}
		}
	}
}

// outcome returns where the outcome of a record that the stage sees goes.
func (p *pass) outcome(at int) *Outcome {
	p.changed = true
	if len(p.outcomes) == 0 {
		n := len(p.batch.Records)
		p.spare = slices.Grow(p.spare[:0], n)[:n]
		p.outcomes = p.spare
	}
	return &p.outcomes[p.origin(at)]
}

// origin returns the index in the batch of a record that the stage sees.
func (p *pass) origin(at int) int {
	if len(p.index) == 0 {
		return at
	}
	return int(p.index[at])
}

// count tells the observer what the stage decided.
func (p *pass) count() {
	kept := len(p.records)
	for op := abi.OpDrop; op <= abi.OpDeadLetter; op++ {
		if n := p.counts[op]; n > 0 {
			p.stage.observer.Records(op, n)
			kept -= n
		}
	}
	if kept > 0 {
		p.stage.observer.Records(abi.OpKeep, kept)
	}
}

// survivors makes the records that the next stage sees.
func (p *pass) survivors() {
	whole := len(p.index) == 0
	if whole {
		p.own = slices.Grow(p.own[:0], len(p.records))[:len(p.records)]
		p.index = slices.Grow(p.index[:0], len(p.records))[:len(p.records)]
	}
	n := 0
	for i := range p.records {
		origin := i
		if !whole {
			origin = int(p.index[i])
		}
		switch o := &p.outcomes[origin]; o.Op {
		case abi.OpKeep:
			p.own[n] = p.records[i]
		case abi.OpReplace:
			p.own[n] = o.Record
		default:
			continue
		}
		p.index[n] = int32(origin)
		n++
	}
	clear(p.own[n:])
	p.own, p.index = p.own[:n], p.index[:n]
	p.records = p.own
}
