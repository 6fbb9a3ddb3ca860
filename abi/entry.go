package abi

import "fmt"

// Sizes of the fixed part of an entry, without and with FieldMeta.
const (
	entryHead     = 16
	entryHeadMeta = 40
)

const flagLogAppendTime = 1

// Entry is one record as sluice:batch/1 read delivers it: the fields that
// were asked for in Record, and the lengths, which are always there.
type Entry struct {
	Record
	// KeyLen and ValueLen are in bytes, -1 for null.
	KeyLen, ValueLen int32
	// NumHeaders is the number of headers.
	NumHeaders uint32
}

// EntrySize returns the number of bytes that r takes as an entry with the
// fields f, padding included.
func EntrySize(r *Record, f Fields) int {
	n := entryHead
	if f&FieldMeta != 0 {
		n = entryHeadMeta
	}
	if f&FieldKey != 0 {
		n += len(r.Key)
	}
	if f&FieldValue != 0 {
		n += len(r.Value)
	}
	if f&FieldHeaders != 0 {
		n += HeadersSize(r.Headers)
	}
	return pad(n)
}

// EntriesSize returns what [AppendEntries] appends, in bytes. It looks at
// lengths only.
func EntriesSize(records []Record, f Fields) int {
	n := 0
	for i := range records {
		n += EntrySize(&records[i], f)
	}
	return n
}

// AppendEntries appends the records as entries with the fields f. It does
// not allocate where dst has room for [EntriesSize] bytes, so that a host
// encodes straight into guest memory with dst = mem[ptr:ptr:ptr+cap].
func AppendEntries(dst []byte, records []Record, f Fields) []byte {
	for i := range records {
		dst = AppendEntry(dst, &records[i], f)
	}
	return dst
}

// AppendEntry appends one record as an entry with the fields f.
func AppendEntry(dst []byte, r *Record, f Fields) []byte {
	return appendEntry(dst, r, f, nullableLen(r.Key), nullableLen(r.Value), uint32(len(r.Headers)))
}

// AppendTo appends the entry as it was read with the fields f.
func (e *Entry) AppendTo(dst []byte, f Fields) []byte {
	return appendEntry(dst, &e.Record, f, e.KeyLen, e.ValueLen, e.NumHeaders)
}

func appendEntry(dst []byte, r *Record, f Fields, keyLen, valueLen int32, headers uint32) []byte {
	start := len(dst)
	size := EntrySize(r, f)
	dst = appendU32(dst, uint32(size))
	dst = appendU32(dst, uint32(keyLen))
	dst = appendU32(dst, uint32(valueLen))
	dst = appendU32(dst, headers)
	if f&FieldMeta != 0 {
		dst = le.AppendUint64(dst, uint64(r.Timestamp))
		dst = le.AppendUint64(dst, uint64(r.Offset))
		flags := uint32(0)
		if r.LogAppendTime {
			flags = flagLogAppendTime
		}
		dst = appendU32(dst, flags)
		dst = appendU32(dst, 0)
	}
	if f&FieldKey != 0 {
		dst = append(dst, r.Key...)
	}
	if f&FieldValue != 0 {
		dst = append(dst, r.Value...)
	}
	if f&FieldHeaders != 0 {
		dst = AppendHeaders(dst, r.Headers)
	}
	return append(dst, zeros[:size-(len(dst)-start)]...)
}

// NextEntry decodes the first entry of b, which was read with the fields f,
// into e and returns the rest of b. Keys, values, header names and header
// values in e are views of b: they are valid as long as b is left alone.
// The storage of e.Headers is reused; fields outside f are left zero.
func NextEntry(b []byte, f Fields, e *Entry) (rest []byte, err error) {
	at := uint64(entryHead)
	if f&FieldMeta != 0 {
		at = entryHeadMeta
	}
	if uint64(len(b)) < at {
		return nil, malformedEntry(b)
	}
	size := uint64(load32(b))
	e.KeyLen, e.ValueLen, e.NumHeaders = int32(load32(b[4:])), int32(load32(b[8:])), load32(b[12:])
	if size > uint64(len(b)) || size < at || size%8 != 0 || e.KeyLen < -1 || e.ValueLen < -1 {
		return nil, malformedEntry(b)
	}
	e.Timestamp, e.Offset, e.LogAppendTime = 0, 0, false
	if f&FieldMeta != 0 {
		e.Timestamp, e.Offset = int64(load64(b[16:])), int64(load64(b[24:]))
		flags := load64(b[32:]) // and the reserved word
		e.LogAppendTime = flags&flagLogAppendTime != 0
		if flags&^flagLogAppendTime != 0 {
			return nil, malformedEntry(b)
		}
	}
	e.Key, e.Value = nil, nil
	if f&FieldKey != 0 && e.KeyLen >= 0 {
		end := at + uint64(e.KeyLen)
		if end > size {
			return nil, malformedEntry(b)
		}
		e.Key, at = b[at:end:end], end
	}
	if f&FieldValue != 0 && e.ValueLen >= 0 {
		end := at + uint64(e.ValueLen)
		if end > size {
			return nil, malformedEntry(b)
		}
		e.Value, at = b[at:end:end], end
	}
	e.Headers = e.Headers[:0]
	if f&FieldHeaders != 0 && e.NumHeaders > 0 {
		n, ok := e.readHeaders(b[at:size])
		if !ok {
			return nil, malformedEntry(b)
		}
		at += n
	}
	// The padding is the end of the entry's last 8 bytes, of which there
	// are 16 at least.
	padding := size - at
	if padding > 7 || padding > 0 && load64(b[size-8:])>>(64-8*padding) != 0 {
		return nil, malformedEntry(b)
	}
	return b[size:], nil
}

// readHeaders decodes e.NumHeaders headers from the front of b and returns
// how many bytes they take.
func (e *Entry) readHeaders(b []byte) (n uint64, ok bool) {
	size, at := uint64(len(b)), uint64(0)
	if uint64(e.NumHeaders)*minHeader > size {
		return 0, false
	}
	headers := e.Headers[:0]
	for range e.NumHeaders {
		if size-at < minHeader {
			return 0, false
		}
		nameLen, valueLen := uint64(load32(b[at:])), int32(load32(b[at+4:]))
		at += minHeader
		nameEnd := at + nameLen
		end := nameEnd + uint64(max(valueLen, 0))
		if end > size || valueLen < -1 {
			return 0, false
		}
		h := Header{Name: view(b[at:nameEnd])}
		if valueLen >= 0 {
			h.Value = b[nameEnd:end:end]
		}
		headers = append(headers, h)
		at = end
	}
	e.Headers = headers
	return at, true
}

func malformedEntry(b []byte) error {
	size := uint32(0)
	if len(b) >= 4 {
		size = le.Uint32(b)
	}
	return fmt.Errorf("decode entry: size %d, %d bytes left: %w", size, len(b), ErrMalformed)
}

// minHeader is the size of a header without name and value.
const minHeader = 8

// HeadersSize returns what [AppendHeaders] appends, in bytes.
func HeadersSize(headers []Header) int {
	n := 0
	for i := range headers {
		n += minHeader + len(headers[i].Name) + len(headers[i].Value)
	}
	return n
}

// AppendHeaders appends headers as they stand in entries and verdicts,
// without their number.
func AppendHeaders(dst []byte, headers []Header) []byte {
	for i := range headers {
		h := &headers[i]
		dst = appendU32(dst, uint32(len(h.Name)))
		dst = appendU32(dst, uint32(nullableLen(h.Value)))
		dst = append(dst, h.Name...)
		dst = append(dst, h.Value...)
	}
	return dst
}

// CopyHeaders copies the encoded headers from byte offset on into dst and
// returns how many bytes were copied, 0 at the end. It is read_part of the
// headers, without an intermediate buffer.
func CopyHeaders(dst []byte, headers []Header, offset int) int {
	if offset < 0 {
		return 0
	}
	done := 0
	// part copies what of p lies behind offset; offset then counts from p's end.
	part := func(p []byte) {
		if offset >= len(p) {
			offset -= len(p)
			return
		}
		done += copy(dst[done:], p[offset:])
		offset = 0
	}
	for i := range headers {
		if done == len(dst) {
			break
		}
		h := &headers[i]
		if size := minHeader + len(h.Name) + len(h.Value); offset >= size {
			offset -= size
			continue
		}
		var head [minHeader]byte
		le.PutUint32(head[:], uint32(len(h.Name)))
		le.PutUint32(head[4:], uint32(nullableLen(h.Value)))
		part(head[:])
		part(viewBytes(h.Name))
		part(h.Value)
	}
	return done
}
