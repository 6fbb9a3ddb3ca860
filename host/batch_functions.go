package host

import "github.com/sluicegate/sluice/abi"

// batchFunctions is sluice:batch/1.
var batchFunctions = []hostFunction{
	fn("info", "ii", "i", batchInfo),
	fn("read", "iiiii", "i", batchRead),
	fn("read_part", "iiiii", "i", batchReadPart),
	fn("write", "ii", "i", batchWrite),
}

// batchInfo implements info(ptr, cap) -> needed.
func batchInfo(in *instance, stack []uint64) {
	in.only(phaseProcess)
	n := abi.InfoSize(in.info)
	in.charge(copyCost(n))
	dst := in.view(stack[0], stack[1])
	if n <= len(dst) {
		abi.AppendInfo(dst[:0], in.info)
	}
	stack[0] = uint64(n)
}

// batchRead implements read(fields, first, count, ptr, cap) -> needed. The entries are encoded straight into the guest's memory.
func batchRead(in *instance, stack []uint64) {
	in.only(phaseProcess)
	fields := abi.Fields(stack[0])
	if fields&^abi.FieldsAll != 0 {
		in.refuse("unknown fields %#x", uint32(fields))
	}
	records := in.span(stack[1], stack[2])
	n := abi.EntriesSize(records, fields)
	in.charge(copyCost(n) + costRecord*int64(len(records)))
	dst := in.view(stack[3], stack[4])
	if n <= len(dst) {
		abi.AppendEntries(dst[:0], records, fields)
	}
	stack[0] = uint64(n)
}

// batchReadPart implements read_part(index, field, offset, ptr, cap) -> copied.
func batchReadPart(in *instance, stack []uint64) {
	in.only(phaseProcess)
	r := &in.span(stack[0], 1)[0]
	offset := int(uint32(stack[2]))
	dst := in.view(stack[3], stack[4])
	n := 0
	switch abi.Fields(stack[1]) {
	case abi.FieldKey:
		n = copy(dst, r.Key[min(offset, len(r.Key)):])
	case abi.FieldValue:
		n = copy(dst, r.Value[min(offset, len(r.Value)):])
	case abi.FieldHeaders:
		in.charge(costRecord * int64(len(r.Headers)))
		n = abi.CopyHeaders(dst, r.Headers, offset)
	default:
		in.refuse("field %d: want key (2), value (4) or headers (8)", uint32(stack[1]))
	}
	in.charge(copyCost(n))
	stack[0] = uint64(n)
}

// batchWrite implements write(ptr, len) -> 0.
func batchWrite(in *instance, stack []uint64) {
	in.only(phaseProcess)
	src := in.view(stack[0], stack[1])
	in.charge(copyCost(len(src)))
	if len(in.verdicts)-in.verdictsFrom+len(src) > abi.MaxVerdictBytes {
		panic(&fault{cause: CauseVerdict, text: "sluice:batch/1 write: more than 16 MiB of verdicts in one call"})
	}
	in.verdicts = append(in.verdicts, src...)
	stack[0] = 0
}
