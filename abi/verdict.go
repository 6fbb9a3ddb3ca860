package abi

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	verdictHead  = 16
	flagCritical = 1
)

// Verdict is one entry of a stream of verdicts.
type Verdict struct {
	Op       Op
	Critical bool
	// First is the index of the first record, Count the number of records.
	First, Count uint32
	// Reason is the text of reject and dead-letter.
	Reason string
	// Patch is what replace changes.
	Patch Patch
	// Payload is the payload as it was encoded. It is all that is known of
	// an operation that this package does not know.
	Payload []byte
}

// Patch is the payload of a replace verdict: the parts in Mask are new.
type Patch struct {
	Mask       Fields // FieldKey, FieldValue, FieldHeaders, FieldRemove, FieldAdd
	Key, Value []byte // nil = null
	Headers    []Header
	Remove     []string
	Add        []Header
}

// patchFields is what the mask of a replace verdict may hold.
const patchFields = FieldKey | FieldValue | FieldHeaders | FieldRemove | FieldAdd

// AppendDrop appends a drop verdict on count records from first on. Like
// all verdicts that this package appends it is critical, except where
// AppendVerdict is told otherwise.
func AppendDrop(dst []byte, first, count uint32) []byte {
	return appendVerdictHead(dst, OpDrop, flagCritical, 0, first, count)
}

// AppendReject appends a reject verdict. The text must be valid UTF-8 of at
// most [MaxReasonBytes]; see [Reason].
func AppendReject(dst []byte, first, count uint32, text string) []byte {
	dst = appendVerdictHead(dst, OpReject, flagCritical, 4+len(text), first, count)
	return appendText(dst, text)
}

// AppendDeadLetter appends a dead-letter verdict. The text must be valid
// UTF-8 of at most [MaxReasonBytes]; see [Reason].
func AppendDeadLetter(dst []byte, first, count uint32, text string) []byte {
	dst = appendVerdictHead(dst, OpDeadLetter, flagCritical, 4+len(text), first, count)
	return appendText(dst, text)
}

// AppendReplace appends a replace verdict on the record with this index.
func AppendReplace(dst []byte, index uint32, p *Patch) []byte {
	dst = appendVerdictHead(dst, OpReplace, flagCritical, p.size(), index, 1)
	return p.appendTo(dst)
}

// AppendVerdict appends v as its fields say, a wrong one included: the
// payload of an unknown operation is v.Payload.
func AppendVerdict(dst []byte, v *Verdict) []byte {
	var flags uint16
	if v.Critical {
		flags = flagCritical
	}
	switch v.Op {
	case OpDrop:
		return appendVerdictHead(dst, v.Op, flags, 0, v.First, v.Count)
	case OpReplace:
		dst = appendVerdictHead(dst, v.Op, flags, v.Patch.size(), v.First, v.Count)
		return v.Patch.appendTo(dst)
	case OpReject, OpDeadLetter:
		dst = appendVerdictHead(dst, v.Op, flags, 4+len(v.Reason), v.First, v.Count)
		return appendText(dst, v.Reason)
	}
	dst = appendVerdictHead(dst, v.Op, flags, len(v.Payload), v.First, v.Count)
	return append(dst, v.Payload...)
}

func appendVerdictHead(dst []byte, op Op, flags uint16, payload int, first, count uint32) []byte {
	dst = le.AppendUint16(dst, uint16(op))
	dst = le.AppendUint16(dst, flags)
	dst = appendU32(dst, uint32(verdictHead+payload))
	dst = appendU32(dst, first)
	return appendU32(dst, count)
}

func (p *Patch) size() int {
	n := 4
	if p.Mask&FieldKey != 0 {
		n += 4 + len(p.Key)
	}
	if p.Mask&FieldValue != 0 {
		n += 4 + len(p.Value)
	}
	if p.Mask&FieldHeaders != 0 {
		n += 4 + HeadersSize(p.Headers)
	}
	if p.Mask&FieldRemove != 0 {
		n += 4
		for _, name := range p.Remove {
			n += 4 + len(name)
		}
	}
	if p.Mask&FieldAdd != 0 {
		n += 4 + HeadersSize(p.Add)
	}
	return n
}

func (p *Patch) appendTo(dst []byte) []byte {
	dst = appendU32(dst, uint32(p.Mask))
	if p.Mask&FieldKey != 0 {
		dst = appendNullable(dst, p.Key)
	}
	if p.Mask&FieldValue != 0 {
		dst = appendNullable(dst, p.Value)
	}
	if p.Mask&FieldHeaders != 0 {
		dst = appendU32(dst, uint32(len(p.Headers)))
		dst = AppendHeaders(dst, p.Headers)
	}
	if p.Mask&FieldRemove != 0 {
		dst = appendU32(dst, uint32(len(p.Remove)))
		for _, name := range p.Remove {
			dst = appendText(dst, name)
		}
	}
	if p.Mask&FieldAdd != 0 {
		dst = appendU32(dst, uint32(len(p.Add)))
		dst = AppendHeaders(dst, p.Add)
	}
	return dst
}

// Apply returns r with the patch applied. A changed list of headers is
// appended to buf, and the record's Headers are that tail; the extended buf
// is returned too, so that one buffer serves a batch. Nothing is copied:
// the result shares the memory of r and of the patch.
func (p *Patch) Apply(r Record, buf []Header) (Record, []Header) {
	if p.Mask&FieldKey != 0 {
		r.Key = p.Key
	}
	if p.Mask&FieldValue != 0 {
		r.Value = p.Value
	}
	if p.Mask&(FieldHeaders|FieldRemove|FieldAdd) == 0 {
		return r, buf
	}
	start := len(buf)
	if p.Mask&FieldHeaders != 0 {
		buf = append(buf, p.Headers...)
	} else {
		buf = p.appendKept(buf, r.Headers)
	}
	if p.Mask&FieldAdd != 0 {
		buf = append(buf, p.Add...)
	}
	r.Headers = buf[start:len(buf):len(buf)]
	return r, buf
}

// manyNames is from how many comparisons on a set of names is made.
const manyNames = 4096

// appendKept appends the headers that the patch does not remove. Both lists
// may be long, and their authors hostile: it never compares each with each.
func (p *Patch) appendKept(buf, headers []Header) []Header {
	if p.Mask&FieldRemove == 0 {
		return append(buf, headers...)
	}
	if len(p.Remove)*len(headers) <= manyNames {
		for _, h := range headers {
			if !p.removes(h.Name) {
				buf = append(buf, h)
			}
		}
		return buf
	}
	set := make(map[string]struct{}, len(p.Remove))
	for _, name := range p.Remove {
		set[name] = struct{}{}
	}
	for _, h := range headers {
		if _, ok := set[h.Name]; !ok {
			buf = append(buf, h)
		}
	}
	return buf
}

func (p *Patch) removes(name string) bool {
	for _, n := range p.Remove {
		if n == name {
			return true
		}
	}
	return false
}

// Reason returns s as the text of a reject or dead-letter verdict: valid
// UTF-8, cut to [MaxReasonBytes] at a character's boundary.
func Reason(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= MaxReasonBytes {
		return s
	}
	n := MaxReasonBytes
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// CheckVerdicts checks a whole stream against a batch of that many records.
// The error says which entry broke which rule; a stream that passes is read
// by a [VerdictReader] without error.
func CheckVerdicts(stream []byte, records int) error {
	r := NewVerdictReader(stream, records)
	for {
		v, ok := r.head()
		if !ok {
			return r.err
		}
		r.payload(&v, nil)
	}
}

// VerdictReader reads a stream entry by entry. It may be copied and reused
// by assignment, and it never allocates in the steady state.
type VerdictReader struct {
	rest    []byte
	records uint64
	next    uint64 // the lowest index that the next entry may have
	entry   int    // entries read
	headers int    // headers named so far
	err     error
}

// NewVerdictReader returns a reader of the verdicts on a batch of that many
// records.
func NewVerdictReader(stream []byte, records int) VerdictReader {
	return VerdictReader{rest: stream, records: uint64(max(records, 0))}
}

// Err returns the error that ended the reading, nil at a clean end.
func (r *VerdictReader) Err() error { return r.err }

// Next decodes the next entry into v and reports whether there was one. All
// strings and bytes of v are views of the stream; the storage of the lists in v.Patch is
// reused. Entries with an unknown operation that are not critical are
// returned too: callers skip what they do not know.
func (r *VerdictReader) Next(v *Verdict) bool {
	head, ok := r.head()
	if !ok {
		return false
	}
	head.Patch = Patch{Headers: v.Patch.Headers[:0], Remove: v.Patch.Remove[:0], Add: v.Patch.Add[:0]}
	*v = head
	return r.payload(v, &v.Patch)
}

// head reads the fixed part of an entry and sets Payload.
func (r *VerdictReader) head() (v Verdict, ok bool) {
	if r.err != nil || len(r.rest) == 0 {
		return v, false
	}
	if len(r.rest) < verdictHead {
		return v, r.fail("%d bytes left, an entry begins with %d", len(r.rest), verdictHead)
	}
	flags, size := le.Uint16(r.rest[2:]), le.Uint32(r.rest[4:])
	v.Op, v.Critical = Op(le.Uint16(r.rest)), flags&flagCritical != 0
	v.First, v.Count = le.Uint32(r.rest[8:]), le.Uint32(r.rest[12:])
	first, end := uint64(v.First), uint64(v.First)+uint64(v.Count)
	switch {
	case flags&^flagCritical != 0:
		return v, r.fail("unknown flags %#x", flags)
	case size < verdictHead || uint64(size) > uint64(len(r.rest)):
		return v, r.fail("size %d, %d bytes left", size, len(r.rest))
	case v.Count == 0:
		return v, r.fail("no records")
	case first < r.next:
		return v, r.fail("index %d after %d: not in ascending order", first, int64(r.next)-1)
	case end > r.records:
		return v, r.fail("records %d to %d of a batch of %d", first, end-1, r.records)
	}
	v.Payload = r.rest[verdictHead:size:size]
	r.rest, r.next = r.rest[size:], end
	return v, true
}

// payload checks v.Payload and, where p is not nil, decodes it into v and p.
func (r *VerdictReader) payload(v *Verdict, p *Patch) bool {
	ok := true
	switch v.Op {
	case OpDrop:
		if len(v.Payload) != 0 {
			ok = r.fail("drop with a payload of %d bytes", len(v.Payload))
		}
	case OpReplace:
		if v.Count != 1 {
			ok = r.fail("replace of %d records, want 1", v.Count)
		} else {
			ok = r.patch(v.Payload, p)
		}
	case OpReject, OpDeadLetter:
		ok = r.reason(v)
	default:
		if v.Critical {
			ok = r.fail("unknown operation %d is marked critical", v.Op)
		}
	}
	r.entry++
	return ok
}

func (r *VerdictReader) reason(v *Verdict) bool {
	in := reader{b: v.Payload}
	text := in.text()
	switch {
	case in.bad || len(in.b) != 0:
		return r.fail("%s: payload of %d bytes is not a length and a text of that length", v.Op, len(v.Payload))
	case len(text) > MaxReasonBytes:
		return r.fail("%s: text of %d bytes, at most %d", v.Op, len(text), MaxReasonBytes)
	case !utf8.Valid(text):
		return r.fail("%s: text is not UTF-8", v.Op)
	}
	v.Reason = view(text)
	return true
}

// patch checks the parts of a replace verdict and decodes them into p,
// unless p is nil.
func (r *VerdictReader) patch(b []byte, p *Patch) bool {
	keep := p != nil
	if !keep {
		p = &Patch{}
	}
	in := reader{b: b}
	p.Mask = Fields(in.u32())
	switch {
	case in.bad:
		return r.fail("replace: payload of %d bytes has no mask", len(b))
	case p.Mask == 0 || p.Mask&^patchFields != 0:
		return r.fail("replace: mask %#x", uint32(p.Mask))
	case p.Mask&FieldHeaders != 0 && p.Mask&(FieldRemove|FieldAdd) != 0:
		return r.fail("replace: mask %#x sets all headers and also removes or adds some", uint32(p.Mask))
	}
	if p.Mask&FieldKey != 0 {
		p.Key = in.nullable(int32(in.u32()))
	}
	if p.Mask&FieldValue != 0 {
		p.Value = in.nullable(int32(in.u32()))
	}
	reserved := ""
	if p.Mask&FieldHeaders != 0 {
		p.Headers, reserved = r.patchHeaders(&in, p.Headers, keep)
	}
	if p.Mask&FieldRemove != 0 {
		for n := r.named(in.count(4)); n > 0 && !in.bad; n-- {
			if name := view(in.text()); keep {
				p.Remove = append(p.Remove, name)
			}
		}
	}
	if p.Mask&FieldAdd != 0 {
		p.Add, reserved = r.patchHeaders(&in, p.Add, keep)
	}
	switch {
	case r.err != nil:
		return false
	case reserved != "":
		return r.fail("replace: header %q: names that begin with %q belong to the gateway", reserved, ReservedHeaderPrefix)
	case in.bad:
		return r.fail("replace: parts do not fit into %d bytes", len(b))
	case len(in.b) != 0:
		return r.fail("replace: %d bytes after the parts", len(in.b))
	}
	return true
}

// named counts n more headers and returns n, or 0 past the limit.
func (r *VerdictReader) named(n int) int {
	r.headers += n
	if r.headers > MaxVerdictHeaders {
		r.fail("more than %d headers in one stream", MaxVerdictHeaders)
		return 0
	}
	return n
}

// patchHeaders reads the headers of one part, appends them to dst if keep,
// and returns the first reserved name among them.
func (r *VerdictReader) patchHeaders(in *reader, dst []Header, keep bool) (_ []Header, reserved string) {
	for n := r.named(in.count(minHeader)); n > 0 && !in.bad; n-- {
		h := in.header()
		if reserved == "" && strings.HasPrefix(h.Name, ReservedHeaderPrefix) {
			reserved = h.Name
		}
		if keep {
			dst = append(dst, h)
		}
	}
	return dst, reserved
}

// fail sets the error and returns false.
func (r *VerdictReader) fail(format string, args ...any) bool {
	r.err = fmt.Errorf("verdict %d: %s: %w", r.entry, fmt.Sprintf(format, args...), ErrMalformed)
	return false
}
