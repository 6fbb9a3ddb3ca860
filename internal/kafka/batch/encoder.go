package batch

import "github.com/sluicegate/sluice/abi"

// Encoder builds batches. Its zero value works. It is used by one goroutine at
// a time and keeps its buffers from batch to batch. The records may be views
// of b.Raw or of a Decoder's buffer; nothing of them is kept. dst must not
// overlap them.
type Encoder struct{}

// AppendProduced appends to dst a batch for a produce request: b with the
// records recs in place of its own, numbered 0, 1, ... whatever their Offset
// says. There must be as many as b has, otherwise the producer's sequence
// numbers would be wrong: the error wraps [ErrShape]. Codec, attributes,
// producer, base sequence, base timestamp and leader epoch are b's.
func (e *Encoder) AppendProduced(dst []byte, b *Batch, recs []abi.Record) ([]byte, error) {
	panic("todo")
}

// AppendFetched appends to dst a batch for a fetch response: b with those of its
// records that are left, changed or not. Their Offset is kept, must ascend and lie within
// the batch; base offset and last offset stay, so that consumers advance past
// what was removed. Without records the batch is an empty shell, as log
// compaction leaves it.
func (e *Encoder) AppendFetched(dst []byte, b *Batch, recs []abi.Record) ([]byte, error) {
	panic("todo")
}

// Trim gives up buffers that are larger than keep bytes.
func (e *Encoder) Trim(keep int) { panic("todo") }
