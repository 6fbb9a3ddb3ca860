// Package batch reads and rebuilds record batches, the unit in which Kafka
// stores and transfers records: format version 2 ("magic 2"), with any of its
// codecs, to and from [abi.Record].
//
// [Next] and [All] find batches in bytes and parse their headers, which costs
// next to nothing; a [Decoder] decompresses a batch and returns its records as
// views; an [Encoder] builds a batch anew from the header of the old one and
// the records that it shall have. Who keeps all records of a batch unchanged
// forwards [Batch.Raw] and encodes nothing.
//
// Input is hostile: decoders never panic, and what they allocate is bounded by
// [Decoder.Limit] whatever a length field, a window size or a content size
// claims. A batch whose records do not fill it exactly is refused, so that
// nothing can hide behind the records that were shown.
//
// Message sets of the versions before (magic 0 and 1) are recognised and
// refused with [ErrLegacy].
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
)

// HeaderSize is the length of a batch without its records, in bytes.
const HeaderSize = 61

// Errors, for errors.Is. The Kafka error code that suits each is named.
var (
	// ErrTruncated: fewer bytes than the batch claims to have (CORRUPT_MESSAGE).
	// It is normal for the last batch of a fetched partition.
	ErrTruncated = errors.New("truncated batch")
	// ErrLegacy: a message set of magic 0 or 1 (UNSUPPORTED_FOR_MESSAGE_FORMAT).
	ErrLegacy = errors.New("legacy message format")
	// ErrMalformed: bytes that are no batch (CORRUPT_MESSAGE).
	ErrMalformed = errors.New("malformed batch")
	// ErrCRC: the checksum is wrong (CORRUPT_MESSAGE).
	ErrCRC = errors.New("wrong batch checksum")
	// ErrCodec: a codec that does not exist (UNSUPPORTED_COMPRESSION_TYPE).
	ErrCodec = errors.New("unknown compression codec")
	// ErrTooLarge: more bytes or records than the Decoder's limit allows
	// (MESSAGE_TOO_LARGE).
	ErrTooLarge = errors.New("decompressed batch exceeds the limit")
	// ErrShape: a batch that no client may produce (INVALID_RECORD).
	ErrShape = errors.New("batch not allowed in a produce request")
)

// Bits of a batch's attributes.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

// Batch is the header of a record batch and its bytes. The fields are Raw's,
// parsed; changing them does not change Raw, but an [Encoder] goes by them.
type Batch struct {
	BaseOffset           int64
	PartitionLeaderEpoch int32
	CRC                  uint32
	Attributes           int16
	LastOffsetDelta      int32
	// BaseTimestamp is in milliseconds since 1970 UTC. If the attributes have
	// the delete horizon bit, it is that horizon; records' timestamps are
	// relative to it in either case.
	BaseTimestamp int64
	// MaxTimestamp is the largest of the records' timestamps, or the time of
	// all records if the attributes say log append time.
	MaxTimestamp  int64
	ProducerID    int64 // -1 if none
	ProducerEpoch int16
	BaseSequence  int32 // -1 if none
	NumRecords    int32

	// Raw is the whole batch, from the base offset to the end of its records:
	// a view of the bytes that it was parsed from.
	Raw []byte
}

// Where the fields of a batch begin.
const (
	atBaseOffset      = 0
	atLength          = 8 // of what follows the length
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21 // and all that follows is under the checksum
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atNumRecords      = 57

	// logOverhead is what the length does not count.
	logOverhead = 12
)

// Next parses the header of the first batch in b and returns it, and what
// follows it. It checks lengths, not the checksum. With [ErrTruncated] rest is
// b; with [ErrLegacy] it is what follows the message.
func Next(b []byte) (batch Batch, rest []byte, err error) {
	if len(b) < atMagic+1 {
		return batch, b, fmt.Errorf("parse batch: %w: %d bytes", ErrTruncated, len(b))
	}
	size := int64(int32(binary.BigEndian.Uint32(b[atLength:]))) + logOverhead
	magic := int8(b[atMagic])
	if size < atMagic+1 || magic >= 2 && size < HeaderSize {
		return batch, b, fmt.Errorf("parse batch: %w: length of %d bytes", ErrMalformed, size)
	}
	if magic < 0 || magic > 2 {
		return batch, b, fmt.Errorf("parse batch: %w: magic %d", ErrMalformed, magic)
	}
	if int64(len(b)) < size {
		return batch, b, fmt.Errorf("parse batch: %w: %d bytes of %d", ErrTruncated, len(b), size)
	}
	raw, rest := b[:size:size], b[size:]
	if magic < 2 {
		return batch, rest, fmt.Errorf("parse batch: %w: magic %d", ErrLegacy, magic)
	}
	batch.parse(raw)
	return batch, rest, nil
}

// parse fills b from a batch of magic 2 that has at least a header.
func (b *Batch) parse(raw []byte) {
	be := binary.BigEndian
	*b = Batch{
		BaseOffset:           int64(be.Uint64(raw[atBaseOffset:])),
		PartitionLeaderEpoch: int32(be.Uint32(raw[atLeaderEpoch:])),
		CRC:                  be.Uint32(raw[atCRC:]),
		Attributes:           int16(be.Uint16(raw[atAttributes:])),
		LastOffsetDelta:      int32(be.Uint32(raw[atLastOffsetDelta:])),
		BaseTimestamp:        int64(be.Uint64(raw[atBaseTimestamp:])),
		MaxTimestamp:         int64(be.Uint64(raw[atMaxTimestamp:])),
		ProducerID:           int64(be.Uint64(raw[atProducerID:])),
		ProducerEpoch:        int16(be.Uint16(raw[atProducerEpoch:])),
		BaseSequence:         int32(be.Uint32(raw[atBaseSequence:])),
		NumRecords:           int32(be.Uint32(raw[atNumRecords:])),
		Raw:                  raw,
	}
}

// appendTo appends the header with length, checksum and count left 0.
func (b *Batch) appendTo(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(b.BaseOffset))
	dst = be.AppendUint32(dst, 0)
	dst = be.AppendUint32(dst, uint32(b.PartitionLeaderEpoch))
	dst = append(dst, 2)
	dst = be.AppendUint32(dst, 0)
	dst = be.AppendUint16(dst, uint16(b.Attributes))
	dst = be.AppendUint32(dst, uint32(b.LastOffsetDelta))
	dst = be.AppendUint64(dst, uint64(b.BaseTimestamp))
	dst = be.AppendUint64(dst, uint64(b.MaxTimestamp))
	dst = be.AppendUint64(dst, uint64(b.ProducerID))
	dst = be.AppendUint16(dst, uint16(b.ProducerEpoch))
	dst = be.AppendUint32(dst, uint32(b.BaseSequence))
	return be.AppendUint32(dst, 0)
}

// All goes through the batches of a fetched partition. A last batch that is
// cut is not shown: brokers fill the space that a client grants, and clients
// ignore what is incomplete. Whoever opens a partition must leave the cut
// batch out of what is sent on, because it holds records that no stage
// has seen; building the answer from the batches that All yields does that.
// After an error, which is [ErrLegacy] or [ErrMalformed], the iteration ends.
// The Batch is reused for the next step.
func All(b []byte) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		var batch Batch
		for len(b) > 0 {
			var err error
			batch, b, err = Next(b)
			switch {
			case errors.Is(err, ErrTruncated):
				return
			case err != nil:
				yield(nil, err)
				return
			case !yield(&batch, nil):
				return
			}
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CheckCRC computes the checksum and compares it with the batch's. The error
// wraps [ErrCRC].
func (b *Batch) CheckCRC() error {
	if got := crc32.Checksum(b.Raw[atAttributes:], castagnoli); got != b.CRC {
		return fmt.Errorf("check batch: %w: computed %08x, want %08x", ErrCRC, got, b.CRC)
	}
	return nil
}

// CheckProduced checks what brokers demand of a batch in a produce request
// beyond its format: base offset 0, at least one record, as many records as
// LastOffsetDelta + 1, no control batch, a sequence where there is a
// producer id. The error wraps [ErrShape].
func (b *Batch) CheckProduced() error {
	switch {
	case b.IsControl():
		return fmt.Errorf("check batch: %w: clients write no control batches", ErrShape)
	case b.BaseOffset != 0:
		return fmt.Errorf("check batch: %w: base offset %d, want 0", ErrShape, b.BaseOffset)
	case b.NumRecords < 1:
		return fmt.Errorf("check batch: %w: %d records", ErrShape, b.NumRecords)
	case b.NumRecords-1 != b.LastOffsetDelta:
		return fmt.Errorf("check batch: %w: %d records, but the last has offset %d", ErrShape, b.NumRecords, b.LastOffsetDelta)
	case b.ProducerID >= 0 && b.BaseSequence < 0:
		return fmt.Errorf("check batch: %w: producer id %d without a sequence", ErrShape, b.ProducerID)
	}
	return nil
}

// Codec returns the compression codec; it may be one that does not exist.
func (b *Batch) Codec() Codec { return Codec(b.Attributes & attrCodec) }

// IsControl says that the batch holds markers of transactions, written by the
// broker. Such a batch is forwarded as it is: its records are no client's.
func (b *Batch) IsControl() bool { return b.Attributes&attrControl != 0 }

// IsTransactional says that the batch is part of a transaction.
func (b *Batch) IsTransactional() bool { return b.Attributes&attrTransactional != 0 }

// LogAppendTime says that the records' time is MaxTimestamp, the broker's.
func (b *Batch) LogAppendTime() bool { return b.Attributes&attrLogAppendTime != 0 }

// HasDeleteHorizon says that BaseTimestamp is the time at which compaction may
// remove tombstones.
func (b *Batch) HasDeleteHorizon() bool { return b.Attributes&attrDeleteHorizon != 0 }

// LastOffset returns the offset of the batch's last record, which may have
// been removed.
func (b *Batch) LastOffset() int64 { return b.BaseOffset + int64(b.LastOffsetDelta) }
