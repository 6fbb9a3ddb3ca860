package host

import (
	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host/capability/json"
)

// jsonFunctions is sluice:json/1.
var jsonFunctions = []hostFunction{
	fn("paths", "ii", "i", jsonPaths),
	fn("get", "iiiii", "i", jsonGet),
}

// maxLists bounds the lists of paths of one instance.
const maxLists = 64

// jsonState is what an instance knows of JSON: its lists of paths, and the last answer of get.
type jsonState struct {
	lists  []*json.List
	paths  int // in all lists
	reader json.Reader
	values []abi.JSONValue
	// answer is the last answer in this call, kept for a guest that comes again with a larger buffer.
	answer    []byte
	asked     [3]uint32 // list, first, count
	hasAnswer bool
}

// forget drops the last answer when a call has ended.
func (s *jsonState) forget() {
	s.hasAnswer = false
	if cap(s.answer) > keepAnswer {
		s.answer = nil
	}
}

// jsonPaths implements paths(ptr, len) -> list.
func jsonPaths(in *instance, stack []uint64) {
	in.only(phaseConfigure)
	src := in.view(stack[0], stack[1])
	in.charge(copyCost(len(src)) + parseCost(len(src)))
	if len(in.json.lists) >= maxLists {
		in.refuse("more than %d lists of paths", maxLists)
	}
	paths, err := abi.DecodePaths(src)
	if err != nil {
		in.refuse("%v", err)
	}
	if in.json.paths += len(paths); in.json.paths > json.MaxPaths {
		in.refuse("more than %d paths", json.MaxPaths)
	}
	list, err := json.Compile(paths)
	if err != nil {
		in.refuse("%v", err)
	}
	in.json.lists = append(in.json.lists, list)
	stack[0] = uint64(len(in.json.lists) - 1)
}

// jsonGet implements get(list, first, count, ptr, cap) -> needed.
func jsonGet(in *instance, stack []uint64) {
	in.only(phaseProcess)
	s := &in.json
	id := uint32(stack[0])
	if uint64(id) >= uint64(len(s.lists)) {
		in.refuse("list %d: there are %d", id, len(s.lists))
	}
	records := in.span(stack[1], stack[2])
	in.view(stack[3], stack[4]) // a wrong buffer is an error before the work
	asked := [3]uint32{id, uint32(stack[1]), uint32(stack[2])}
	if !s.hasAnswer || s.asked != asked {
		s.hasAnswer = false
		in.readJSON(s.lists[id], records)
		s.asked, s.hasAnswer = asked, true
	}
	in.reply(stack, s.answer, stack[3], stack[4])
}

// readJSON makes the answer for these records.
func (in *instance) readJSON(list *json.List, records []abi.Record) {
	s := &in.json
	if cap(s.values) < list.Len() {
		s.values = make([]abi.JSONValue, list.Len())
	}
	values := s.values[:list.Len()]
	s.answer = s.answer[:0]
	most := int(in.stage.limits.Memory) // the guest cannot take more
	for i := range records {
		// Each repeated name may have to clear all paths, so that walking costs more the more there are.
		cost := parseCost(len(records[i].Value)) * int64(list.Passes()+len(values)/4)
		in.charge(cost + costPathValue*int64(len(values)))
		status := s.reader.Get(list, records[i].Value, values)
		// Many paths may lead to one large value, so the answer's size is known before it is made.
		size := abi.JSONSize(status, values)
		if size > most-len(s.answer) {
			clear(values)
			in.refuse("an answer of more than %d KiB, the stage's limits.memory: ask for fewer records or fewer paths", most>>10)
		}
		in.charge(copyCost(size))
		s.answer = abi.AppendJSON(s.answer, status, values)
	}
	clear(values) // they are views of the records
}

// keepAnswer is the largest buffer that is kept for the next call, in bytes.
const keepAnswer = 1 << 20
