package sluice

import (
	"encoding/binary"
	"iter"
	"strings"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// keepBuffer is the largest buffer that is kept from one call to the next,
// in bytes. It holds any call of several records; the buffer of a single
// larger record is given back.
const keepBuffer = 512 << 10

// Batch is the records of one call: some or all of a Kafka batch. It is
// valid until the function that it was given to returns.
type Batch struct {
	host  host
	n     int
	bytes int // as read with all fields

	info    abi.Info
	hasInfo bool
	infoBuf buffer
	// Copies that outlive a call: most batches come from where the one
	// before came from.
	topic, clientID, principal string

	entries buffer
	fields  Fields // what entries holds
	read    bool   // whether it holds anything of this call
	record  Record
	loops   uint32 // over the records, begun so far: what a second one leaves is not the first one's

	json   buffer
	status buffer
	errors buffer

	verdicts verdicts
}

// buffer is reused from call to call.
type buffer struct{ b []byte }

// room returns all of the buffer, for the host to write to.
func (u *buffer) room() []byte { return u.b[:cap(u.b)] }

// grow makes room for n bytes without keeping the old ones.
func (u *buffer) grow(n int) {
	if n > cap(u.b) {
		u.b = make([]byte, 0, n+n/4)
	}
}

func (u *buffer) shrink() {
	if cap(u.b) > keepBuffer {
		u.b = nil
	}
}

// reset prepares b for a call.
func (b *Batch) reset(records, bytes uint32) {
	b.n, b.bytes = int(records), int(bytes)
	b.hasInfo, b.read = false, false
	b.verdicts.reset(b.n)
}

// finish writes the verdicts and gives back buffers that have grown large.
func (b *Batch) finish() error {
	stream, err := b.verdicts.stream()
	if err == nil && len(stream) > 0 {
		b.host.Write(stream)
	}
	for _, u := range []*buffer{&b.entries, &b.json, &b.status, &b.errors} {
		u.shrink()
	}
	b.verdicts.shrink()
	return err
}

// Len returns the number of records.
func (b *Batch) Len() int { return b.n }

// Topic returns the name of the records' topic.
func (b *Batch) Topic() string {
	b.loadInfo()
	return intern(&b.topic, b.info.Topic)
}

// Partition returns the records' partition, -1 where it is unknown.
func (b *Batch) Partition() int32 {
	b.loadInfo()
	return b.info.Partition
}

// ClientID returns the client's id, false where it is unknown.
func (b *Batch) ClientID() (string, bool) {
	b.loadInfo()
	return intern(&b.clientID, b.info.ClientID.String), b.info.ClientID.Valid
}

// Principal returns who the client is, false where it is unknown.
func (b *Batch) Principal() (string, bool) {
	b.loadInfo()
	return intern(&b.principal, b.info.Principal.String), b.info.Principal.Valid
}

// ProducerID returns the id of the producer, -1 where there is none.
func (b *Batch) ProducerID() int64 {
	b.loadInfo()
	return b.info.ProducerID
}

// Transactional says whether the batch is part of a Kafka transaction.
func (b *Batch) Transactional() bool {
	b.loadInfo()
	return b.info.Transactional
}

// Fetch says whether the records are being fetched; otherwise they are
// being produced.
func (b *Batch) Fetch() bool {
	b.loadInfo()
	return b.info.Fetch
}

// Now returns the time of the call: the timestamp of its first record, so
// that a batch that is sent again is judged as it was the first time.
func (b *Batch) Now() time.Time { return b.host.Now() }

func (b *Batch) loadInfo() {
	if b.hasInfo {
		return
	}
	u := &b.infoBuf
	need := int(b.host.Info(u.room()))
	if need > cap(u.b) {
		u.grow(need)
		b.host.Info(u.room())
	}
	if err := abi.DecodeInfo(u.b[:need], &b.info); err != nil {
		panic("sluice: " + err.Error())
	}
	b.hasInfo = true
}

// intern returns a string equal to s, a view, that lives on: *last where it
// is the same.
func intern(last *string, s string) string {
	if *last != s {
		*last = strings.Clone(s)
	}
	return *last
}

// Record is one record of a batch.
//
// Key, Value, Headers, Timestamp, Offset and LogAppendTime are set as far
// as they were asked for. KeyLen and ValueLen (-1 for null) and NumHeaders
// are always set.
type Record struct {
	abi.Entry
	// Index is the record's position in the batch, from 0.
	Index int
	// JSON holds what stands at each of the paths asked for, and
	// JSONStatus says whether the value is JSON at all; only with
	// [Paths.Records].
	JSON       []Value
	JSONStatus abi.JSONStatus

	batch *Batch
}

// Records reads the fields f of all records in one go and iterates over
// them. The record and what it refers to are valid until the next one, or until
// other fields are read. With no fields, it reads lengths only.
//
// One loop over a batch's records inside another is a failure of the call: they
// would share the record. Ask for all fields in the first, or finish it before.
func (b *Batch) Records(f Fields) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		rest := b.readEntries(f)
		b.loops++
		loop := b.loops
		r := &b.record
		r.batch = b
		for i := range b.n {
			rest = r.next(rest, b.fields)
			r.Index = i
			if !yield(r) {
				return
			}
			b.only(loop)
		}
	}
}

// only ends the call if another loop has begun since this one.
func (b *Batch) only(loop uint32) {
	if b.loops != loop {
		panic("sluice: a loop over the records of a batch inside another: ask for all fields in the outer one, or finish it first")
	}
}

func (r *Record) next(b []byte, f Fields) []byte {
	rest, err := abi.NextEntry(b, f, &r.Entry)
	if err != nil {
		panic("sluice: " + err.Error())
	}
	return rest
}

// readEntries returns all records' entries, which hold the fields b.fields,
// f at least.
func (b *Batch) readEntries(f Fields) []byte {
	u := &b.entries
	if b.read && f&^b.fields == 0 {
		return u.room()
	}
	b.verdicts.settle() // a change under way may hold views of the buffer
	if f == FieldsAll {
		u.grow(b.bytes)
	}
	b.fields, b.read = f, true
	need := int(b.host.Read(uint32(f), 0, uint32(b.n), u.room()))
	if need > cap(u.b) {
		u.grow(need)
		b.host.Read(uint32(f), 0, uint32(b.n), u.room())
	}
	return u.room()
}

// HasHeaders reports whether any record has headers. It costs much less than
// reading them.
func (b *Batch) HasHeaders() bool {
	const head, count = 16, 12 // an entry without fields; where in it the number of headers is
	entries := b.readEntries(0)
	if b.fields != 0 {
		return b.anyHeaders(entries)
	}
	var any uint32
	for entries = entries[:b.n*head]; len(entries) >= head; entries = entries[head:] {
		any |= binary.LittleEndian.Uint32(entries[count:])
	}
	return any != 0
}

// anyHeaders is HasHeaders where fields of the records have been read before.
func (b *Batch) anyHeaders(entries []byte) bool {
	var r Record
	for range b.n {
		if entries = r.next(entries, b.fields); r.NumHeaders > 0 {
			return true
		}
	}
	return false
}

// ReadPart copies bytes of one field of one record (FieldKey, FieldValue or the encoded
// FieldHeaders) from offset on into dst and returns how many, 0 at the end.
// It is for values larger than a module wants to hold at once.
func (b *Batch) ReadPart(index int, f Fields, offset int, dst []byte) int {
	return int(b.host.ReadPart(uint32(index), uint32(f), uint32(offset), dst))
}

// Drop takes the record out: it goes no further.
func (r *Record) Drop() { r.batch.Drop(r.Index) }

// Reject refuses the record: its producer gets an error with this text. On
// fetch that is a failure of the stage.
func (r *Record) Reject(reason string) { r.batch.Reject(r.Index, reason) }

// DeadLetter moves the record to the stage's dead-letter topic.
func (r *Record) DeadLetter(reason string) { r.batch.DeadLetter(r.Index, reason) }

// SetKey gives the record another key; nil is null.
func (r *Record) SetKey(key []byte) { r.batch.SetKey(r.Index, key) }

// SetValue gives the record another value; nil is null.
func (r *Record) SetValue(value []byte) { r.batch.SetValue(r.Index, value) }

// AddHeader appends a header; a nil value is null.
func (r *Record) AddHeader(name string, value []byte) { r.batch.AddHeader(r.Index, name, value) }

// RemoveHeader removes all headers of this name.
func (r *Record) RemoveHeader(name string) { r.batch.RemoveHeader(r.Index, name) }
