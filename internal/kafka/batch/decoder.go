package batch

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/sluicegate/sluice/abi"
)

// DefaultLimit is a Decoder's limit if none is set, in bytes.
const DefaultLimit = 128 << 20

// Decoder returns the records of batches. Its zero value works. It is used by
// one goroutine at a time and keeps its buffers from batch to batch.
type Decoder struct {
	// Limit bounds the memory for one batch in bytes: decompressed records
	// together with the abi.Records and abi.Headers that describe them.
	// 0 means [DefaultLimit].
	Limit int

	buf     []byte       // decompressed records
	headers []abi.Header // of all records
}

const (
	recordBytes = int(unsafe.Sizeof(abi.Record{}))
	headerBytes = int(unsafe.Sizeof(abi.Header{}))

	minRecord = 7 // bytes: length, attributes, two deltas, null key and value, no headers
	minHeader = 2 // bytes: empty name, null value
)

// Records appends the batch's records to dst and returns it. Keys, values and
// headers, the names of headers included, are views of b.Raw or of the Decoder's buffer,
// valid until the next call of Records and as long as b.Raw is. Offsets are
// absolute (in a produce request, where the base offset is 0, they are positions);
// with log append time every Timestamp is the batch's MaxTimestamp.
//
// The checksum is not checked, see [Batch.CheckCRC]. Errors wrap
// [ErrMalformed], [ErrCodec] or [ErrTooLarge]; dst's old records are returned
// with an error. A control batch is decoded like any other.
func (d *Decoder) Records(b *Batch, dst []abi.Record) ([]abi.Record, error) {
	room := d.Limit
	if room <= 0 {
		room = DefaultLimit
	}
	data, err := d.decompress(b.Codec(), b.Raw[HeaderSize:], room)
	if err != nil {
		return dst, fmt.Errorf("decode batch: %s: %w", b.Codec(), err)
	}
	if b.Codec() != None {
		room -= len(data)
	}
	n := int(b.NumRecords)
	if n < 0 || n > len(data)/minRecord {
		return dst, fmt.Errorf("decode batch: %w: %d records in %d bytes", ErrMalformed, n, len(data))
	}
	if room -= n * recordBytes; room < 0 {
		return dst, fmt.Errorf("decode batch: %w: %d records", ErrTooLarge, n)
	}
	before := len(dst)
	dst = slices.Grow(dst, n)[:before+n]
	d.headers = d.headers[:0]
	c := cursor{b: data}
	for i := range n {
		if err := d.record(&c, b, &dst[before+i], &room); err != nil {
			return dst[:before], fmt.Errorf("decode batch: record %d: %w", i, err)
		}
	}
	if c.at != len(data) {
		return dst[:before], fmt.Errorf("decode batch: %w: %d bytes after the last record", ErrMalformed, len(data)-c.at)
	}
	return dst, nil
}

// record decodes one record. room is what is left of the limit.
func (d *Decoder) record(c *cursor, b *Batch, r *abi.Record, room *int) error {
	data := c.b
	size := int(c.varint())
	if c.bad || size < 0 || size > len(data)-c.at {
		return fmt.Errorf("%w: length %d", ErrMalformed, size)
	}
	end := c.at + size
	c.b = data[:end]
	c.skip(1) // attributes, of which none is defined
	timestampDelta := c.varlong()
	offsetDelta := c.varint()
	key := c.bytes()
	value := c.bytes()
	count := int(c.varint())
	if c.bad || count < 0 || count > (end-c.at)/minHeader {
		return fmt.Errorf("%w: cut or with %d headers", ErrMalformed, count)
	}
	if *room -= count * headerBytes; *room < 0 {
		return fmt.Errorf("%w: %d headers", ErrTooLarge, count)
	}
	headers := d.takeHeaders(count)
	for i := range headers {
		name := c.bytes()
		if name == nil {
			c.bad = true
		}
		headers[i] = abi.Header{Name: unsafe.String(unsafe.SliceData(name), len(name)), Value: c.bytes()}
	}
	if c.bad || c.at != end {
		return fmt.Errorf("%w: fields do not fill it", ErrMalformed)
	}
	c.b = data
	*r = abi.Record{
		Key: key, Value: value, Headers: headers,
		Timestamp: b.BaseTimestamp + timestampDelta,
		Offset:    b.BaseOffset + int64(offsetDelta),
	}
	if b.LogAppendTime() {
		r.Timestamp, r.LogAppendTime = b.MaxTimestamp, true
	}
	return nil
}

// takeHeaders returns n headers that no other record of the batch has.
func (d *Decoder) takeHeaders(n int) []abi.Header {
	if n == 0 {
		return nil
	}
	used := len(d.headers)
	if cap(d.headers)-used < n {
		// Records keep what they have of the old array.
		d.headers, used = make([]abi.Header, 0, max(n, 2*cap(d.headers), 16)), 0
	}
	d.headers = d.headers[:used+n]
	return d.headers[used : used+n : used+n]
}

// Trim gives up buffers that are larger than keep bytes. What Records returned
// before is no longer valid. Call it before a Decoder goes back to a pool.
func (d *Decoder) Trim(keep int) {
	if cap(d.buf) > keep {
		d.buf = nil
	}
	if cap(d.headers)*headerBytes > keep {
		d.headers = nil
	}
	clear(d.headers[:cap(d.headers)]) // they refer to batches
}

// cursor reads the fields of records. After the first one that is not there, bad
// is set and all others are zero or anything.
type cursor struct {
	b   []byte
	at  int
	bad bool
}

func (c *cursor) skip(n int) {
	if n > len(c.b)-c.at {
		c.bad = true
		return
	}
	c.at += n
}

// bytes reads a field preceded by its length, nil for -1. It is a view.
func (c *cursor) bytes() []byte {
	n := int(c.varint())
	if n < 0 {
		c.bad = c.bad || n != -1
		return nil
	}
	if c.bad || n > len(c.b)-c.at {
		c.bad = true
		return nil
	}
	v := c.b[c.at : c.at+n : c.at+n]
	c.at += n
	return v
}

// varint reads a zigzag varint of 32 bits.
func (c *cursor) varint() int32 {
	if c.at < len(c.b) {
		if x := c.b[c.at]; x < 0x80 {
			c.at++
			return int32(x>>1) ^ -int32(x&1)
		}
	}
	u := c.uvarint(5)
	if u > 1<<32-1 {
		c.bad = true
	}
	return int32(uint32(u)>>1) ^ -int32(u&1)
}

// varlong reads a zigzag varint of 64 bits.
func (c *cursor) varlong() int64 {
	u := c.uvarint(10)
	return int64(u>>1) ^ -int64(u&1)
}

// uvarint reads a varint of at most n bytes.
func (c *cursor) uvarint(n int) (u uint64) {
	for i := range n {
		if c.at >= len(c.b) {
			break
		}
		x := c.b[c.at]
		c.at++
		u |= uint64(x&0x7f) << (7 * i)
		if x < 0x80 {
			if i == 9 && x > 1 {
				break // beyond 64 bits
			}
			return u
		}
	}
	c.bad = true
	return 0
}
