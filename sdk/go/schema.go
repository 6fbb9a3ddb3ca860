package sluice

import (
	"encoding/json"
	"strings"
	"unsafe"
)

// Document is an AsyncAPI document that the gateway's configuration names
// under documents.
type Document struct {
	name    string
	host    host
	schemas map[string]int32 // by topic; -1 = none
}

// Document returns the document of this name. If there is none the
// configuration is refused.
func (s *Setup) Document(name string) *Document {
	s.host.Find(name, "")
	return &Document{name: name, host: s.host, schemas: map[string]int32{}}
}

// maxTopics bounds what a Document remembers.
const maxTopics = 10_000

// Schema returns the schema for a topic's values, false if the document has
// none.
func (d *Document) Schema(topic string) (Schema, bool) {
	id, ok := d.schemas[topic]
	if !ok {
		id = d.host.Find(d.name, topic)
		if len(d.schemas) >= maxTopics {
			clear(d.schemas)
		}
		d.schemas[strings.Clone(topic)] = id
	}
	return Schema{id}, id >= 0
}

// Schema judges the values of records. The gateway does it, on its own copy
// of the records: they do not have to be read.
type Schema struct{ id int32 }

// Check judges all records of a batch. It returns one status for each,
// valid until the next Check, and how many are invalid.
func (s Schema) Check(b *Batch) (statuses []Status, invalid int) {
	b.status.grow(b.n)
	out := b.status.b[:b.n]
	invalid = int(b.host.Check(uint32(s.id), 0, uint32(b.n), out))
	return unsafe.Slice((*Status)(unsafe.SliceData(out)), len(out)), invalid
}

// ErrorsJSON returns why a record is invalid, as a JSON array of strings,
// valid until the next call of ErrorsJSON or Errors.
func (s Schema) ErrorsJSON(b *Batch, index int) []byte {
	u := &b.errors
	need := int(b.host.Errors(uint32(s.id), uint32(index), u.room()))
	if need > cap(u.b) {
		u.grow(need)
		b.host.Errors(uint32(s.id), uint32(index), u.room())
	}
	return u.b[:need]
}

// Errors returns why a record is invalid.
func (s Schema) Errors(b *Batch, index int) []string {
	var texts []string
	if err := json.Unmarshal(s.ErrorsJSON(b, index), &texts); err != nil {
		panic("sluice: errors of a record: " + err.Error())
	}
	return texts
}
