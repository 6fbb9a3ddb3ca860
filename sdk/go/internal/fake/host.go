// Package fake is a host in memory, with which middlewares written with the
// SDK run natively: in tests and as filters over lines.
//
// It keeps to the ABI where a middleware can tell: null is not empty, too
// small a buffer is not written to, wrong arguments and garbage verdicts end
// the call. It has no limits on time and memory, and its JSON paths and
// schemas are simple and slow.
package fake

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// Schemas finds schemas by the name of a document and a topic. A nil
// Schema is none for this topic; an error says that there is no such
// document.
type Schemas interface {
	Find(document, topic string) (Schema, error)
}

// Schema judges values. Errors are the texts for an invalid one.
type Schema interface {
	Check(value []byte) (abi.Status, []string)
}

// Trap is what a call panics with where a gateway would end it.
type Trap struct{ Text string }

// Error returns the text.
func (t Trap) Error() string { return t.Text }

func trapf(format string, args ...any) {
	panic(Trap{fmt.Sprintf(format, args...)})
}

// Host is the host of one instance. Set Batch and Records before each call;
// Verdicts is then what the call wrote.
type Host struct {
	Schemas  Schemas // nil = no documents
	Batch    abi.Info
	Records  []abi.Record
	Verdicts []byte
	// Calls counts calls by function.
	Calls map[string]int

	lists   [][]query
	schemas []Schema
}

func (h *Host) called(name string) {
	if h.Calls != nil {
		h.Calls[name]++
	}
}

func (h *Host) part(name string, first, count uint32) []abi.Record {
	h.called(name)
	if uint64(first)+uint64(count) > uint64(len(h.Records)) {
		trapf("%s: records %d to %d of a batch of %d", name, first, uint64(first)+uint64(count), len(h.Records))
	}
	return h.Records[first : first+count]
}

// put copies b to dst if it fits and returns its length.
func put(dst, b []byte) uint32 {
	if len(b) <= len(dst) {
		copy(dst, b)
	}
	return uint32(len(b))
}

// Info is sluice:batch/1 info.
func (h *Host) Info(dst []byte) uint32 {
	h.called("info")
	if n := abi.InfoSize(&h.Batch); n > len(dst) {
		return uint32(n)
	}
	return uint32(len(abi.AppendInfo(dst[:0], &h.Batch)))
}

// Read is sluice:batch/1 read.
func (h *Host) Read(fields, first, count uint32, dst []byte) uint32 {
	records, f := h.part("read", first, count), abi.Fields(fields)
	if f&^abi.FieldsAll != 0 {
		trapf("read: unknown fields %#x", fields)
	}
	need := abi.EntriesSize(records, f)
	if need <= len(dst) {
		abi.AppendEntries(dst[:0], records, f)
	}
	return uint32(need)
}

// ReadPart is sluice:batch/1 read_part.
func (h *Host) ReadPart(index, field, offset uint32, dst []byte) uint32 {
	r := &h.part("read_part", index, 1)[0]
	var b []byte
	switch abi.Fields(field) {
	case abi.FieldKey:
		b = r.Key
	case abi.FieldValue:
		b = r.Value
	case abi.FieldHeaders:
		return uint32(abi.CopyHeaders(dst, r.Headers, int(offset)))
	default:
		trapf("read_part: field %d", field)
	}
	return uint32(copy(dst, b[min(uint64(offset), uint64(len(b))):]))
}

// Write is sluice:batch/1 write.
func (h *Host) Write(b []byte) {
	h.called("write")
	if len(h.Verdicts)+len(b) > abi.MaxVerdictBytes {
		trapf("write: more than %d bytes of verdicts", abi.MaxVerdictBytes)
	}
	h.Verdicts = append(h.Verdicts, b...)
}

// Paths is sluice:json/1 paths.
func (h *Host) Paths(list []byte) uint32 {
	h.called("paths")
	texts, err := abi.DecodePaths(list)
	if err != nil {
		trapf("paths: %v", err)
	}
	paths := make([]query, 0, len(texts))
	for _, text := range texts {
		p, err := parsePath(text)
		if err != nil {
			trapf("paths: %q: %v", text, err)
		}
		paths = append(paths, p)
	}
	h.lists = append(h.lists, paths)
	return uint32(len(h.lists) - 1)
}

// Get is sluice:json/1 get.
func (h *Host) Get(list, first, count uint32, dst []byte) uint32 {
	records := h.part("get", first, count)
	if uint64(list) >= uint64(len(h.lists)) {
		trapf("get: no list %d", list)
	}
	var out []byte
	for i := range records {
		status, values := evaluate(h.lists[list], records[i].Value)
		out = abi.AppendJSON(out, status, values)
	}
	return put(dst, out)
}

// Find is sluice:schema/1 find.
func (h *Host) Find(document, topic string) int32 {
	h.called("find")
	if h.Schemas == nil {
		trapf("find: document %q is not configured", document)
	}
	s, err := h.Schemas.Find(document, topic)
	if err != nil {
		trapf("find: %v", err)
	}
	if s == nil {
		return -1
	}
	h.schemas = append(h.schemas, s)
	return int32(len(h.schemas) - 1)
}

func (h *Host) schema(name string, id uint32) Schema {
	if uint64(id) >= uint64(len(h.schemas)) {
		trapf("%s: no schema %d", name, id)
	}
	return h.schemas[id]
}

// Check is sluice:schema/1 check.
func (h *Host) Check(schema, first, count uint32, dst []byte) (invalid uint32) {
	records, s := h.part("check", first, count), h.schema("check", schema)
	if len(dst) < len(records) {
		trapf("check: room for %d of %d records", len(dst), len(records))
	}
	for i := range records {
		status, _ := s.Check(records[i].Value)
		dst[i] = byte(status)
		if status == abi.StatusInvalid {
			invalid++
		}
	}
	return invalid
}

// Errors is sluice:schema/1 errors.
func (h *Host) Errors(schema, index uint32, dst []byte) uint32 {
	s := h.schema("errors", schema)
	_, texts := s.Check(h.part("errors", index, 1)[0].Value)
	if texts == nil {
		texts = []string{}
	}
	b, err := json.Marshal(texts)
	if err != nil {
		trapf("errors: %v", err)
	}
	return put(dst, b)
}

// Now is the guest's clock: the time of the batch's first record, or of the
// host where it has none.
func (h *Host) Now() time.Time {
	if len(h.Records) > 0 && h.Records[0].Timestamp >= 0 {
		return time.UnixMilli(h.Records[0].Timestamp)
	}
	return time.Now()
}
