package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/batch"
	"github.com/sluicegate/sluice/internal/kafka/emit"
)

// opener has what one goroutine needs to open batches one after another: codecs, and buffers that are used again. What its methods return is valid until the next
// batch.
type opener struct {
	dec       batch.Decoder
	enc       batch.Encoder
	records   []abi.Record
	current   []abi.Record // as the next pipeline sees them
	index     []int        // of current's elements in records
	results   []*host.Result
	decisions []decision
	emissions []emit.Record
}

// decision is what all pipelines together made of one record. The zero value keeps it.
type decision struct {
	op       abi.Op
	record   abi.Record // for OpReplace and OpDeadLetter
	reason   string
	stage    string // pipeline/stage
	deadTo   string // topic of OpDeadLetter
	pipeline string
}

var openers = sync.Pool{New: func() any { return new(opener) }}

func getOpener() *opener { return openers.Get().(*opener) }

// put gives the opener back. Nothing that it returned is valid any more.
func (o *opener) put() {
	o.dec.Trim(maxPooled)
	o.enc.Trim(maxPooled)
	const keep = 16 << 10 // records; beyond it, slices are left to the collector
	if cap(o.records) > keep {
		o.records, o.current, o.index, o.decisions = nil, nil, nil, nil
	}
	clear(o.records[:cap(o.records)])
	clear(o.current[:cap(o.current)])
	clear(o.decisions[:cap(o.decisions)])
	o.emissions = nil
	openers.Put(o)
}

// decode checks a batch's checksum and returns its records. give returns the memory that they are accounted with; call it in any case, once they are
// no longer needed.
func (o *opener) decode(ctx context.Context, g *Gateway, b *batch.Batch) (recs []abi.Record, give func(), err error) {
	give = func() {}
	if err := b.CheckCRC(); err != nil {
		return nil, give, err
	}
	// Most batches grow little. One that does not fit its guess begins again with all that a batch may have, after it has given the guess back: who waits for
	// growth holds none.
	limit := int64(o.guess(b))
	for {
		n, err := g.budget.growth.take(ctx, limit)
		if err != nil {
			return nil, give, err
		}
		o.dec.Limit = int(min(limit, n))
		o.records, err = o.dec.Records(b, o.records[:0])
		if err == nil {
			return o.records, func() { g.budget.growth.give(n) }, nil
		}
		g.budget.growth.give(n)
		if !errors.Is(err, batch.ErrTooLarge) || limit >= int64(g.cfg.Limits.BatchBytes) {
			return nil, give, err
		}
		limit = int64(g.cfg.Limits.BatchBytes)
	}
}

// guess estimates the memory of a batch's records: a compressed one becomes some times larger, and each record is described by a struct.
func (o *opener) guess(b *batch.Batch) int {
	const perRecord = 256
	n := len(b.Raw)
	if b.Codec() != batch.None {
		n *= 8
	}
	return 64<<10 + n + perRecord*min(int(max(0, b.NumRecords)), len(b.Raw))
}

// judge gives the records of b to the pipelines of routes, in order. decisions is nil if all records are kept. Each pipeline sees the records that
// those before it left over.
func (o *opener) judge(ctx context.Context, routes []Route, b *host.Batch) ([]decision, error) {
	changed := false
	o.current = append(o.current[:0], b.Records...)
	o.index = o.index[:0]
	for i := range b.Records {
		o.index = append(o.index, i)
	}
	for i, r := range routes {
		if len(o.current) == 0 {
			break
		}
		if i == len(o.results) {
			o.results = append(o.results, new(host.Result))
		}
		sub := *b
		sub.Records = o.current
		res := o.results[i]
		if err := r.Pipeline.Process(ctx, &sub, res); err != nil {
			return nil, err
		}
		if len(res.Outcomes) == 0 {
			continue
		}
		if len(res.Outcomes) != len(o.current) {
			return nil, fmt.Errorf("pipeline %s: %d outcomes for %d records", r.Name, len(res.Outcomes), len(o.current))
		}
		if !changed {
			changed = true
			o.decisions = slices.Grow(o.decisions[:0], len(b.Records))[:len(b.Records)]
			clear(o.decisions)
		}
		if err := o.apply(r.Name, res.Outcomes); err != nil {
			return nil, err
		}
	}
	if !changed {
		return nil, nil
	}
	return o.decisions, nil
}

// apply notes a pipeline's outcomes and leaves the records that go on in current.
func (o *opener) apply(pipeline string, outcomes []host.Outcome) error {
	left := 0
	for i := range outcomes {
		out, at := &outcomes[i], o.index[i]
		d := &o.decisions[at]
		switch out.Op {
		case abi.OpKeep:
		case abi.OpReplace:
			d.op, d.record = abi.OpReplace, out.Record
			o.current[i] = out.Record
		case abi.OpDrop, abi.OpReject, abi.OpDeadLetter:
			*d = decision{
				op: out.Op, record: out.Record, reason: out.Reason, pipeline: pipeline,
				stage: pipeline + "/" + out.Stage, deadTo: out.DeadLetterTopic,
			}
			continue
		default:
			return fmt.Errorf("pipeline %s: outcome %v is not known", pipeline, out.Op)
		}
		o.current[left], o.index[left] = o.current[i], at
		left++
	}
	o.current, o.index = o.current[:left], o.index[:left]
	return nil
}

// deadLetters returns the records that decisions divert. source tells where a record came from.
func (o *opener) deadLetters(decisions []decision, source func(i int) emit.Source) []emit.Record {
	o.emissions = o.emissions[:0]
	for i := range decisions {
		d := &decisions[i]
		if d.op != abi.OpDeadLetter {
			continue
		}
		o.emissions = append(o.emissions, emit.Record{
			Topic: d.deadTo, Source: source(i), Stage: d.stage, Reason: d.reason, Record: d.record,
		})
	}
	return o.emissions
}
