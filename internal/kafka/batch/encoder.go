package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"

	"github.com/sluicegate/sluice/abi"
)

// Encoder builds batches. Its zero value works. It is used by one goroutine at
// a time and keeps its buffers from batch to batch. The records may be views
// of b.Raw or of a Decoder's buffer; nothing of them is kept. dst must not
// overlap them.
type Encoder struct {
	plain      []byte // records before compression
	compressed bytes.Buffer
}

// AppendProduced appends to dst a batch for a produce request: b with the
// records recs in place of its own, numbered 0, 1, ... whatever their Offset
// says. There must be as many as b has, otherwise the producer's sequence
// numbers would be wrong: the error wraps [ErrShape]. Codec, attributes,
// producer, base sequence, base timestamp and leader epoch are b's.
func (e *Encoder) AppendProduced(dst []byte, b *Batch, recs []abi.Record) ([]byte, error) {
	if n := len(recs); n == 0 || n != int(b.NumRecords) || n-1 != int(b.LastOffsetDelta) {
		return dst, fmt.Errorf("encode batch: %w: %d records for a batch of %d whose last offset is %d",
			ErrShape, n, b.NumRecords, b.LastOffsetDelta)
	}
	return e.append(dst, b, recs, func(i int) int32 { return int32(i) })
}

// AppendFetched appends to dst a batch for a fetch response: b with those of its
// records that are left, changed or not. Their Offset is kept, must ascend and lie within
// the batch, else the error wraps [ErrMalformed]; base offset and last offset stay, so that consumers advance past
// what was removed. Without records the batch is an empty shell, as log
// compaction leaves it.
func (e *Encoder) AppendFetched(dst []byte, b *Batch, recs []abi.Record) ([]byte, error) {
	before := b.BaseOffset - 1
	for i := range recs {
		offset := recs[i].Offset
		if offset <= before || offset > b.LastOffset() {
			return dst, fmt.Errorf("encode batch: %w: record %d has offset %d, after %d, in a batch from %d to %d",
				ErrMalformed, i, offset, before, b.BaseOffset, b.LastOffset())
		}
		before = offset
	}
	return e.append(dst, b, recs, func(i int) int32 { return int32(recs[i].Offset - b.BaseOffset) })
}

// append appends b with recs, whose offset deltas delta returns.
func (e *Encoder) append(dst []byte, b *Batch, recs []abi.Record, delta func(i int) int32) ([]byte, error) {
	head := *b
	codec := b.Codec()
	if len(recs) == 0 {
		codec = None
		head.Attributes &^= attrCodec
	} else if !b.LogAppendTime() {
		head.MaxTimestamp = math.MinInt64
		for i := range recs {
			head.MaxTimestamp = max(head.MaxTimestamp, recs[i].Timestamp)
		}
	}
	if codec < None || codec > Zstd {
		return dst, fmt.Errorf("encode batch: %w: %d", ErrCodec, codec)
	}
	start := len(dst)
	dst = head.appendTo(dst)
	if codec == None {
		dst = appendRecords(dst, &head, recs, delta)
	} else {
		e.plain = appendRecords(e.plain[:0], &head, recs, delta)
		e.compressed.Reset()
		out, used := compressors[codec].Compress(&e.compressed, e.plain)
		if Codec(used) != codec {
			return dst[:start], fmt.Errorf("encode batch: %s: compression broke", codec)
		}
		dst = append(dst, out...)
	}
	raw := dst[start:]
	if len(raw) > math.MaxInt32 {
		return dst[:start], fmt.Errorf("encode batch: %w: %d bytes", ErrTooLarge, len(raw))
	}
	be := binary.BigEndian
	be.PutUint32(raw[atLength:], uint32(len(raw)-logOverhead))
	be.PutUint32(raw[atNumRecords:], uint32(len(recs)))
	be.PutUint32(raw[atCRC:], crc32.Checksum(raw[atAttributes:], castagnoli))
	return dst, nil
}

// appendRecords appends the records of a batch with the header head.
func appendRecords(dst []byte, head *Batch, recs []abi.Record, delta func(i int) int32) []byte {
	for i := range recs {
		r := &recs[i]
		timestampDelta := r.Timestamp - head.BaseTimestamp
		if head.LogAppendTime() {
			timestampDelta = 0 // MaxTimestamp counts
		}
		offsetDelta := delta(i)
		size := recordSize(r, timestampDelta, offsetDelta)
		dst = slices.Grow(dst, size+5)
		dst = appendVarint(dst, int64(size))
		dst = append(dst, 0) // attributes
		dst = appendVarint(dst, timestampDelta)
		dst = appendVarint(dst, int64(offsetDelta))
		dst = appendBytes(dst, r.Key)
		dst = appendBytes(dst, r.Value)
		dst = appendVarint(dst, int64(len(r.Headers)))
		for _, h := range r.Headers {
			dst = appendVarint(dst, int64(len(h.Name)))
			dst = append(dst, h.Name...)
			dst = appendBytes(dst, h.Value)
		}
	}
	return dst
}

// recordSize returns the length of a record without its length field.
func recordSize(r *abi.Record, timestampDelta int64, offsetDelta int32) int {
	n := 1 + varintSize(timestampDelta) + varintSize(int64(offsetDelta)) +
		bytesSize(r.Key) + bytesSize(r.Value) + varintSize(int64(len(r.Headers)))
	for _, h := range r.Headers {
		n += varintSize(int64(len(h.Name))) + len(h.Name) + bytesSize(h.Value)
	}
	return n
}

func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}

func varintSize(v int64) int { return (bits.Len64(zigzag(v)|1) + 6) / 7 }

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func appendVarint(dst []byte, v int64) []byte {
	u := zigzag(v)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// appendBytes appends b preceded by its length, -1 for nil.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1) // zigzag of -1
	}
	dst = appendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

// Trim gives up buffers that are larger than keep bytes.
func (e *Encoder) Trim(keep int) {
	if cap(e.plain) > keep {
		e.plain = nil
	}
	if e.compressed.Cap() > keep {
		e.compressed = bytes.Buffer{}
	}
}
