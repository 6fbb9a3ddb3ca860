package batch

import "github.com/sluicegate/sluice/abi"

// DefaultLimit is a Decoder's limit if none is set, in bytes.
const DefaultLimit = 128 << 20

// Decoder returns the records of batches. Its zero value works. It is used by
// one goroutine at a time and keeps its buffers from batch to batch.
type Decoder struct {
	// Limit bounds the memory for one batch in bytes: decompressed records
	// together with the abi.Records and abi.Headers that describe them.
	// 0 means [DefaultLimit].
	Limit int
}

// Records appends the batch's records to dst and returns it. Keys, values and
// headers, the names of headers included, are views of b.Raw or of the Decoder's buffer,
// valid until the next call of Records and as long as b.Raw is. Offsets are
// absolute (in a produce request, where the base offset is 0, they are positions);
// with log append time every Timestamp is the batch's MaxTimestamp.
//
// The checksum is not checked, see [Batch.CheckCRC]. Errors wrap
// [ErrMalformed], [ErrCodec] or [ErrTooLarge]; dst's old records are returned
// with an error. A control batch is decoded like any other.
func (d *Decoder) Records(b *Batch, dst []abi.Record) ([]abi.Record, error) { panic("todo") }

// Trim gives up buffers that are larger than keep bytes. What Records returned
// before is no longer valid. Call it before a Decoder goes back to a pool.
func (d *Decoder) Trim(keep int) { panic("todo") }
