package host

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluicegate/sluice/abi"
)

// schemaFunctions is sluice:schema/1.
var schemaFunctions = []hostFunction{
	fn("find", "iiii", "i", schemaFind),
	fn("check", "iiiii", "i", schemaCheck),
	fn("errors", "iiii", "i", schemaErrors),
}

// maxSchemas bounds what one instance may find.
const maxSchemas = 4096

// schemaState is what an instance knows of schemas.
type schemaState struct {
	ids   map[[2]string]int32 // by document and topic; -1 = none
	found []Schema            // by id
	// judged are the invalid records of the call under way with their errors, so that errors need not judge again; as many as there is room for.
	judged map[judgement][]string
	room   int // bytes
}

// keepErrors bounds the errors that are remembered during a call, in bytes.
const keepErrors = 1 << 20

// forget drops what is remembered when a call has ended.
func (s *schemaState) forget() {
	if len(s.judged) > keepErrors/judgementSize/4 {
		s.judged = nil // a map does not shrink
	}
	clear(s.judged)
	s.room = keepErrors
}

type judgement struct {
	schema int32
	index  uint32
}

// judgementSize is about what it takes to remember a judgement, without its texts.
const judgementSize = 64

// schemaFind implements find(document, topic) -> id, or -1.
func schemaFind(in *instance, stack []uint64) {
	document, topic := in.view(stack[0], stack[1]), in.view(stack[2], stack[3])
	in.charge(copyCost(len(document) + len(topic)))
	s := &in.schemas
	if id, ok := s.ids[[2]string{string(document), string(topic)}]; ok {
		stack[0] = uint64(uint32(id))
		return
	}
	key := [2]string{string(document), string(topic)}
	if len(s.ids) >= maxSchemas {
		in.refuse("more than %d pairs of document and topic", maxSchemas)
	}
	schema, err := in.stage.schemas().Find(key[0], key[1])
	switch {
	case errors.Is(err, ErrNoDocument):
		panic(&fault{cause: CauseConfig, err: err,
			text: fmt.Sprintf("there is no document named %q: list it under documents in the configuration", key[0])})
	case err != nil:
		panic(&fault{cause: CauseConfig, err: err, text: fmt.Sprintf("document %q: %v", key[0], err)})
	}
	id := int32(-1)
	if schema != nil {
		id = int32(len(s.found))
		s.found = append(s.found, schema)
	}
	if s.ids == nil {
		s.ids = map[[2]string]int32{}
	}
	s.ids[key] = id
	stack[0] = uint64(uint32(id))
}

// schemaCheck implements check(schema, first, count, ptr, cap) -> invalid.
func schemaCheck(in *instance, stack []uint64) {
	in.only(phaseProcess)
	id, schema := in.schema(stack[0])
	first := uint32(stack[1])
	records := in.span(stack[1], stack[2])
	out := in.view(stack[3], stack[4])
	if len(out) < len(records) {
		in.refuse("%d bytes for the judgements of %d records", len(out), len(records))
	}
	invalid := 0
	for i := range records {
		status, reasons := in.check(schema, records[i].Value)
		if status == abi.StatusInvalid {
			invalid++
			in.schemas.remember(judgement{id, first + uint32(i)}, reasons)
		}
		out[i] = byte(status)
	}
	stack[0] = uint64(invalid)
}

// schemaErrors implements errors(schema, index, ptr, cap) -> needed.
func schemaErrors(in *instance, stack []uint64) {
	in.only(phaseProcess)
	id, schema := in.schema(stack[0])
	r := &in.span(stack[1], 1)[0]
	key := judgement{id, uint32(stack[1])}
	reasons, ok := in.schemas.judged[key]
	if !ok {
		var status abi.Status
		if status, reasons = in.check(schema, r.Value); status != abi.StatusInvalid {
			reasons = nil
		}
		in.schemas.remember(key, reasons)
	}
	in.buf = appendStrings(in.buf[:0], reasons)
	in.reply(stack, in.buf, stack[2], stack[3])
}

func (in *instance) schema(id uint64) (int32, Schema) {
	i := int32(uint32(id))
	if i < 0 || int(i) >= len(in.schemas.found) {
		in.refuse("schema %d: there are %d", i, len(in.schemas.found))
	}
	return i, in.schemas.found[i]
}

// check judges one value.
func (in *instance) check(schema Schema, value []byte) (abi.Status, []string) {
	in.charge(costCheck + 4*parseCost(len(value)))
	return schema.Check(value)
}

func (s *schemaState) remember(key judgement, reasons []string) {
	size := judgementSize
	for _, r := range reasons {
		size += judgementSize/4 + len(r)
	}
	if s.room -= size; s.room < 0 {
		s.room = 0
		return
	}
	if s.judged == nil {
		s.judged = map[judgement][]string{}
	}
	s.judged[key] = reasons
}

// appendStrings appends a JSON array of strings.
func appendStrings(dst []byte, list []string) []byte {
	if len(list) == 0 {
		return append(dst, "[]"...)
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings always encode
	}
	return append(dst, b...)
}

// noSchemas has no documents.
type noSchemas struct{}

func (noSchemas) Find(string, string) (Schema, error) { return nil, ErrNoDocument }
