package gateway

import "github.com/sluicegate/sluice/internal/kafka/batch"

// gaps are the places where the sequences of idempotent producers were interrupted, because a batch was refused here. What was sent behind such a batch,
// before its producer knew of the refusal, must not be stored before it: a broker that knows the producer refuses that by itself, but one
// that does not (yet, or any more) accepts any sequence to begin with. The refused batch could then never be stored (KAFKA-14359): Java sends it until it is
// too old, librdkafka gives up for good, and other clients send the later one a second time, as a new producer.
//
// One goroutine uses it.
type gaps map[gapKey]gap

type gapKey struct {
	topic     string // its name or, in requests that have no names, its id
	partition int32
}

// gap is the batch that is due.
type gap struct {
	producer int64
	epoch    int16
	sequence int32
}

// maxGaps bounds the gaps of one connection; a producer has as many as it has partitions with refusals.
const maxGaps = 1 << 14

// before says that a sequence that was refused precedes the batch's.
func (g gaps) before(k gapKey, b *batch.Batch) bool {
	at, ok := g[k]
	return ok && at.isOf(b) && distance(at.sequence, b.BaseSequence) > 0
}

// refused notes that a batch was refused.
func (g *gaps) refused(k gapKey, b *batch.Batch) {
	if b.ProducerID < 0 || b.BaseSequence < 0 {
		return
	}
	at, ok := (*g)[k]
	if ok && at.isOf(b) && distance(at.sequence, b.BaseSequence) >= 0 {
		return // an earlier one is due
	}
	if *g == nil || len(*g) >= maxGaps {
		*g = gaps{}
	}
	(*g)[k] = gap{b.ProducerID, b.ProducerEpoch, b.BaseSequence}
}

// passed notes that a batch goes to the broker: the one that was due, or one of another producer or epoch, of which the broker is the judge.
func (g gaps) passed(k gapKey, b *batch.Batch) {
	if at, ok := g[k]; ok && (!at.isOf(b) || at.sequence == b.BaseSequence) {
		delete(g, k)
	}
}

func (a gap) isOf(b *batch.Batch) bool {
	return a.producer == b.ProducerID && a.epoch == b.ProducerEpoch
}

// distance returns how far b is behind a, negative if it is before. Sequences begin again at 0 after the largest one.
func distance(a, b int32) int32 {
	const half = 1 << 30
	d := int64(b) - int64(a)
	switch {
	case d > half:
		d -= 1 << 31
	case d < -half:
		d += 1 << 31
	}
	return int32(d)
}
