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
	"errors"
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

// Codec is a compression codec as numbered in a batch's attributes.
type Codec int8

// Codecs.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
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

// Next parses the header of the first batch in b and returns it, and what
// follows it. It checks lengths, not the checksum. With [ErrTruncated] rest is
// b; with [ErrLegacy] it is what follows the message.
func Next(b []byte) (batch Batch, rest []byte, err error) { panic("todo") }

// All goes through the batches of a fetched partition. A last batch that is
// cut is not shown: brokers fill the space that a client grants, and clients
// ignore what is incomplete. Whoever opens a partition must leave the cut
// batch out of what is sent on, because it holds records that no stage
// has seen; building the answer from the batches that All yields does that.
// After an error, which is [ErrLegacy] or [ErrMalformed], the iteration ends.
// The Batch is reused for the next step.
func All(b []byte) iter.Seq2[*Batch, error] { panic("todo") }

// CheckCRC computes the checksum and compares it with the batch's. The error
// wraps [ErrCRC].
func (b *Batch) CheckCRC() error { panic("todo") }

// CheckProduced checks what brokers demand of a batch in a produce request
// beyond its format: base offset 0, at least one record, as many records as
// LastOffsetDelta + 1, no control batch, a sequence where there is a
// producer id. The error wraps [ErrShape].
func (b *Batch) CheckProduced() error { panic("todo") }

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
