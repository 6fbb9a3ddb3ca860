package meter

import "fmt"

// imm says what follows an operator's opcode.
type imm uint8

const (
	immNone     imm = iota
	immBlock        // block type: empty, value type or type index
	immLabel        // label index
	immTable        // br_table: vector of label indices and the default
	immFunc         // function index
	immIndirect     // type index, table index
	immTypes        // select: vector of value types
	immIndex        // an index that stays as it is: local, global, table, element segment
	immIndex2       // two of them
	immData         // data segment index
	immMem          // memory index, one byte that is 0
	immMem2         // two of them
	immDataMem      // data segment index and memory index
	immMemArg       // alignment and offset
	immLane         // one byte
	immMemLane      // alignment, offset, one byte
	immI32
	immI64
	imm4    // 4 bytes
	imm8    // 8 bytes
	imm16   // 16 bytes
	immRef  // reference type
	immNope // not WebAssembly Core 2.0
)

// operator is a row of the tables below.
type operator struct {
	name string
	imm  imm
	cost uint8 // units of fuel; one unit is about one simple machine operation
}

// Costs. Only their order of magnitude matters: the host measures what a unit takes.
const (
	costFree   = 0  // emits no code of its own
	costPlain  = 1  // arithmetic, loads, stores, branches
	costSlow   = 8  // division, roots, conversions that check
	costCall   = 24 // a call, including the whole body of a callee that is small enough not to charge for itself
	costBulk   = 32 // fixed part of bulk operators
	costSwitch = 4  // br_table
)

// mainOps are the operators with an opcode of one byte; rows without a name are no operators at all.
var mainOps = buildOps([]opRun{
	{0x00, immNone, costFree, []string{"unreachable", "nop"}},
	{0x02, immBlock, costFree, []string{"block", "loop"}},
	{0x04, immBlock, costPlain, []string{"if"}},
	{0x05, immNone, costFree, []string{"else"}},
	{0x06, immNope, 0, []string{"try (exception handling)", "catch (exception handling)", "throw (exception handling)", "rethrow (exception handling)", "throw_ref (exception handling)"}},
	{0x0b, immNone, costFree, []string{"end"}},
	{0x0c, immLabel, costPlain, []string{"br", "br_if"}},
	{0x0e, immTable, costSwitch, []string{"br_table"}},
	{0x0f, immNone, costPlain, []string{"return"}},
	{0x10, immFunc, costCall, []string{"call"}},
	{0x11, immIndirect, costCall, []string{"call_indirect"}},
	{0x12, immNope, 0, []string{"return_call (tail calls)", "return_call_indirect (tail calls)", "call_ref (typed function references)", "return_call_ref (tail calls)"}},
	{0x18, immNope, 0, []string{"delegate (exception handling)", "catch_all (exception handling)"}},
	{0x1a, immNone, costFree, []string{"drop"}},
	{0x1b, immNone, costPlain, []string{"select"}},
	{0x1c, immTypes, costPlain, []string{"select"}},
	{0x1f, immNope, 0, []string{"try_table (exception handling)"}},
	{0x20, immIndex, costFree, []string{"local.get"}},
	{0x21, immIndex, costPlain, []string{"local.set", "local.tee", "global.get", "global.set", "table.get", "table.set"}},
	{0x28, immMemArg, costPlain, []string{"i32.load", "i64.load", "f32.load", "f64.load", "i32.load8_s", "i32.load8_u", "i32.load16_s",
		"i32.load16_u", "i64.load8_s", "i64.load8_u", "i64.load16_s", "i64.load16_u", "i64.load32_s", "i64.load32_u", "i32.store", "i64.store",
		"f32.store", "f64.store", "i32.store8", "i32.store16", "i64.store8", "i64.store16", "i64.store32"}},
	{0x3f, immMem, costPlain, []string{"memory.size"}},
	{0x40, immMem, costBulk, []string{"memory.grow"}},
	{0x41, immI32, costFree, []string{"i32.const"}},
	{0x42, immI64, costFree, []string{"i64.const"}},
	{0x43, imm4, costFree, []string{"f32.const"}},
	{0x44, imm8, costFree, []string{"f64.const"}},
	{0x45, immNone, costPlain, []string{"i32.eqz", "i32.eq", "i32.ne", "i32.lt_s", "i32.lt_u", "i32.gt_s", "i32.gt_u", "i32.le_s", "i32.le_u",
		"i32.ge_s", "i32.ge_u", "i64.eqz", "i64.eq", "i64.ne", "i64.lt_s", "i64.lt_u", "i64.gt_s", "i64.gt_u", "i64.le_s", "i64.le_u", "i64.ge_s",
		"i64.ge_u", "f32.eq", "f32.ne", "f32.lt", "f32.gt", "f32.le", "f32.ge", "f64.eq", "f64.ne", "f64.lt", "f64.gt", "f64.le", "f64.ge",
		"i32.clz", "i32.ctz", "i32.popcnt", "i32.add", "i32.sub", "i32.mul"}},
	{0x6d, immNone, costSlow, []string{"i32.div_s", "i32.div_u", "i32.rem_s", "i32.rem_u"}},
	{0x71, immNone, costPlain, []string{"i32.and", "i32.or", "i32.xor", "i32.shl", "i32.shr_s", "i32.shr_u", "i32.rotl", "i32.rotr", "i64.clz",
		"i64.ctz", "i64.popcnt", "i64.add", "i64.sub", "i64.mul"}},
	{0x7f, immNone, costSlow, []string{"i64.div_s", "i64.div_u", "i64.rem_s", "i64.rem_u"}},
	{0x83, immNone, costPlain, []string{"i64.and", "i64.or", "i64.xor", "i64.shl", "i64.shr_s", "i64.shr_u", "i64.rotl", "i64.rotr", "f32.abs",
		"f32.neg"}},
	{0x8d, immNone, costSlow, []string{"f32.ceil", "f32.floor", "f32.trunc", "f32.nearest", "f32.sqrt"}},
	{0x92, immNone, costPlain, []string{"f32.add", "f32.sub", "f32.mul"}},
	{0x95, immNone, costSlow, []string{"f32.div", "f32.min", "f32.max", "f32.copysign"}},
	{0x99, immNone, costPlain, []string{"f64.abs", "f64.neg"}},
	{0x9b, immNone, costSlow, []string{"f64.ceil", "f64.floor", "f64.trunc", "f64.nearest", "f64.sqrt"}},
	{0xa0, immNone, costPlain, []string{"f64.add", "f64.sub", "f64.mul"}},
	{0xa3, immNone, costSlow, []string{"f64.div", "f64.min", "f64.max", "f64.copysign"}},
	{0xa7, immNone, costPlain, []string{"i32.wrap_i64"}},
	{0xa8, immNone, costSlow, []string{"i32.trunc_f32_s", "i32.trunc_f32_u", "i32.trunc_f64_s", "i32.trunc_f64_u"}},
	{0xac, immNone, costPlain, []string{"i64.extend_i32_s", "i64.extend_i32_u"}},
	{0xae, immNone, costSlow, []string{"i64.trunc_f32_s", "i64.trunc_f32_u", "i64.trunc_f64_s", "i64.trunc_f64_u", "f32.convert_i32_s",
		"f32.convert_i32_u", "f32.convert_i64_s", "f32.convert_i64_u", "f32.demote_f64", "f64.convert_i32_s", "f64.convert_i32_u",
		"f64.convert_i64_s", "f64.convert_i64_u", "f64.promote_f32"}},
	{0xbc, immNone, costPlain, []string{"i32.reinterpret_f32", "i64.reinterpret_f64", "f32.reinterpret_i32", "f64.reinterpret_i64",
		"i32.extend8_s", "i32.extend16_s", "i64.extend8_s", "i64.extend16_s", "i64.extend32_s"}},
	{0xd0, immRef, costFree, []string{"ref.null"}},
	{0xd1, immNone, costPlain, []string{"ref.is_null"}},
	{0xd2, immFunc, costPlain, []string{"ref.func"}},
	{0xd3, immNope, 0, []string{"ref.eq (garbage collection)", "ref.as_non_null (typed function references)", "br_on_null (typed function references)",
		"br_on_non_null (typed function references)"}},
	{0xe0, immNope, 0, []string{"cont.new (stack switching)", "cont.bind (stack switching)", "suspend (stack switching)", "resume (stack switching)"}},
	{0xfb, immNope, 0, []string{"0xfb (garbage collection)"}},
	{0xfe, immNope, 0, []string{"0xfe (threads)"}},
})

// miscOps are the operators after the prefix 0xfc.
var miscOps = buildOps([]opRun{
	{0x00, immNone, costSlow, []string{"i32.trunc_sat_f32_s", "i32.trunc_sat_f32_u", "i32.trunc_sat_f64_s", "i32.trunc_sat_f64_u",
		"i64.trunc_sat_f32_s", "i64.trunc_sat_f32_u", "i64.trunc_sat_f64_s", "i64.trunc_sat_f64_u"}},
	{0x08, immDataMem, costBulk, []string{"memory.init"}},
	{0x09, immData, costPlain, []string{"data.drop"}},
	{0x0a, immMem2, costBulk, []string{"memory.copy"}},
	{0x0b, immMem, costBulk, []string{"memory.fill"}},
	{0x0c, immIndex2, costBulk, []string{"table.init"}},
	{0x0d, immIndex, costPlain, []string{"elem.drop"}},
	{0x0e, immIndex2, costBulk, []string{"table.copy"}},
	{0x0f, immIndex, costBulk, []string{"table.grow"}},
	{0x10, immIndex, costPlain, []string{"table.size"}},
	{0x11, immIndex, costBulk, []string{"table.fill"}},
	{0x12, immNope, 0, []string{"memory.discard (memory control)", "i64.add128 (wide arithmetic)", "i64.sub128 (wide arithmetic)",
		"i64.mul_wide_s (wide arithmetic)", "i64.mul_wide_u (wide arithmetic)"}},
})

// simdOps are the operators after the prefix 0xfd. From 0x100 on they belong to relaxed SIMD.
var simdOps = buildOps([]opRun{
	{0x00, immMemArg, costPlain, []string{"v128.load", "v128.load8x8_s", "v128.load8x8_u", "v128.load16x4_s", "v128.load16x4_u", "v128.load32x2_s",
		"v128.load32x2_u", "v128.load8_splat", "v128.load16_splat", "v128.load32_splat", "v128.load64_splat", "v128.store"}},
	{0x0c, imm16, costPlain, []string{"v128.const"}},
	{0x0d, imm16, costSlow, []string{"i8x16.shuffle"}},
	{0x0e, immNone, costSlow, []string{"i8x16.swizzle"}},
	{0x0f, immNone, costPlain, []string{"i8x16.splat", "i16x8.splat", "i32x4.splat", "i64x2.splat", "f32x4.splat", "f64x2.splat"}},
	{0x15, immLane, costPlain, []string{"i8x16.extract_lane_s", "i8x16.extract_lane_u", "i8x16.replace_lane", "i16x8.extract_lane_s",
		"i16x8.extract_lane_u", "i16x8.replace_lane", "i32x4.extract_lane", "i32x4.replace_lane", "i64x2.extract_lane", "i64x2.replace_lane",
		"f32x4.extract_lane", "f32x4.replace_lane", "f64x2.extract_lane", "f64x2.replace_lane"}},
	{0x23, immNone, costPlain, []string{"i8x16.eq", "i8x16.ne", "i8x16.lt_s", "i8x16.lt_u", "i8x16.gt_s", "i8x16.gt_u", "i8x16.le_s", "i8x16.le_u",
		"i8x16.ge_s", "i8x16.ge_u", "i16x8.eq", "i16x8.ne", "i16x8.lt_s", "i16x8.lt_u", "i16x8.gt_s", "i16x8.gt_u", "i16x8.le_s", "i16x8.le_u",
		"i16x8.ge_s", "i16x8.ge_u", "i32x4.eq", "i32x4.ne", "i32x4.lt_s", "i32x4.lt_u", "i32x4.gt_s", "i32x4.gt_u", "i32x4.le_s", "i32x4.le_u",
		"i32x4.ge_s", "i32x4.ge_u", "f32x4.eq", "f32x4.ne", "f32x4.lt", "f32x4.gt", "f32x4.le", "f32x4.ge", "f64x2.eq", "f64x2.ne", "f64x2.lt",
		"f64x2.gt", "f64x2.le", "f64x2.ge", "v128.not", "v128.and", "v128.andnot", "v128.or", "v128.xor", "v128.bitselect", "v128.any_true"}},
	{0x54, immMemLane, costPlain, []string{"v128.load8_lane", "v128.load16_lane", "v128.load32_lane", "v128.load64_lane", "v128.store8_lane",
		"v128.store16_lane", "v128.store32_lane", "v128.store64_lane"}},
	{0x5c, immMemArg, costPlain, []string{"v128.load32_zero", "v128.load64_zero"}},
	{0x5e, immNone, costSlow, []string{"f32x4.demote_f64x2_zero", "f64x2.promote_low_f32x4", "i8x16.abs", "i8x16.neg", "i8x16.popcnt",
		"i8x16.all_true", "i8x16.bitmask", "i8x16.narrow_i16x8_s", "i8x16.narrow_i16x8_u", "f32x4.ceil", "f32x4.floor", "f32x4.trunc",
		"f32x4.nearest", "i8x16.shl", "i8x16.shr_s", "i8x16.shr_u", "i8x16.add", "i8x16.add_sat_s", "i8x16.add_sat_u", "i8x16.sub", "i8x16.sub_sat_s",
		"i8x16.sub_sat_u", "f64x2.ceil", "f64x2.floor", "i8x16.min_s", "i8x16.min_u", "i8x16.max_s", "i8x16.max_u", "f64x2.trunc", "i8x16.avgr_u",
		"i16x8.extadd_pairwise_i8x16_s", "i16x8.extadd_pairwise_i8x16_u", "i32x4.extadd_pairwise_i16x8_s", "i32x4.extadd_pairwise_i16x8_u",
		"i16x8.abs", "i16x8.neg", "i16x8.q15mulr_sat_s", "i16x8.all_true", "i16x8.bitmask", "i16x8.narrow_i32x4_s", "i16x8.narrow_i32x4_u",
		"i16x8.extend_low_i8x16_s", "i16x8.extend_high_i8x16_s", "i16x8.extend_low_i8x16_u", "i16x8.extend_high_i8x16_u", "i16x8.shl", "i16x8.shr_s",
		"i16x8.shr_u", "i16x8.add", "i16x8.add_sat_s", "i16x8.add_sat_u", "i16x8.sub", "i16x8.sub_sat_s", "i16x8.sub_sat_u", "f64x2.nearest",
		"i16x8.mul", "i16x8.min_s", "i16x8.min_u", "i16x8.max_s", "i16x8.max_u"}},
	{0x9b, immNone, costSlow, []string{"i16x8.avgr_u", "i16x8.extmul_low_i8x16_s", "i16x8.extmul_high_i8x16_s", "i16x8.extmul_low_i8x16_u",
		"i16x8.extmul_high_i8x16_u", "i32x4.abs", "i32x4.neg"}},
	{0xa3, immNone, costSlow, []string{"i32x4.all_true", "i32x4.bitmask"}},
	{0xa7, immNone, costSlow, []string{"i32x4.extend_low_i16x8_s", "i32x4.extend_high_i16x8_s", "i32x4.extend_low_i16x8_u",
		"i32x4.extend_high_i16x8_u", "i32x4.shl", "i32x4.shr_s", "i32x4.shr_u", "i32x4.add"}},
	{0xb1, immNone, costPlain, []string{"i32x4.sub"}},
	{0xb5, immNone, costSlow, []string{"i32x4.mul", "i32x4.min_s", "i32x4.min_u", "i32x4.max_s", "i32x4.max_u", "i32x4.dot_i16x8_s"}},
	{0xbc, immNone, costSlow, []string{"i32x4.extmul_low_i16x8_s", "i32x4.extmul_high_i16x8_s", "i32x4.extmul_low_i16x8_u",
		"i32x4.extmul_high_i16x8_u", "i64x2.abs", "i64x2.neg"}},
	{0xc3, immNone, costSlow, []string{"i64x2.all_true", "i64x2.bitmask"}},
	{0xc7, immNone, costSlow, []string{"i64x2.extend_low_i32x4_s", "i64x2.extend_high_i32x4_s", "i64x2.extend_low_i32x4_u",
		"i64x2.extend_high_i32x4_u", "i64x2.shl", "i64x2.shr_s", "i64x2.shr_u", "i64x2.add"}},
	{0xd1, immNone, costPlain, []string{"i64x2.sub"}},
	{0xd5, immNone, costSlow, []string{"i64x2.mul", "i64x2.eq", "i64x2.ne", "i64x2.lt_s", "i64x2.gt_s", "i64x2.le_s", "i64x2.ge_s",
		"i64x2.extmul_low_i32x4_s", "i64x2.extmul_high_i32x4_s", "i64x2.extmul_low_i32x4_u", "i64x2.extmul_high_i32x4_u", "f32x4.abs", "f32x4.neg"}},
	{0xe3, immNone, costSlow, []string{"f32x4.sqrt", "f32x4.add", "f32x4.sub", "f32x4.mul", "f32x4.div", "f32x4.min", "f32x4.max", "f32x4.pmin",
		"f32x4.pmax", "f64x2.abs", "f64x2.neg"}},
	{0xef, immNone, costSlow, []string{"f64x2.sqrt", "f64x2.add", "f64x2.sub", "f64x2.mul", "f64x2.div", "f64x2.min", "f64x2.max", "f64x2.pmin",
		"f64x2.pmax", "i32x4.trunc_sat_f32x4_s", "i32x4.trunc_sat_f32x4_u", "f32x4.convert_i32x4_s", "f32x4.convert_i32x4_u",
		"i32x4.trunc_sat_f64x2_s_zero", "i32x4.trunc_sat_f64x2_u_zero", "f64x2.convert_low_i32x4_s", "f64x2.convert_low_i32x4_u"}},
})

// opRun is a run of operators with consecutive opcodes that are treated alike.
type opRun struct {
	first int
	imm   imm
	cost  uint8
	names []string
}

func buildOps(runs []opRun) (table [256]operator) {
	for i := range table {
		table[i] = operator{imm: immNope}
	}
	for _, run := range runs {
		for i, name := range run.names {
			if table[run.first+i].name != "" {
				panic(fmt.Sprintf("meter: opcode %#x is listed twice", run.first+i))
			}
			table[run.first+i] = operator{name: name, imm: run.imm, cost: run.cost}
		}
	}
	return table
}

// Opcodes that the rewriter treats one by one. Those behind a prefix have it in the second byte.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opI32LtU       = 0x49
	opI64LtS       = 0x53
	opI64GeS       = 0x59
	opI32Add       = 0x6a
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Or        = 0x84
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opSIMD         = 0xfd

	opMemoryInit = 0xfc08
	opMemoryCopy = 0xfc0a
	opMemoryFill = 0xfc0b
	opTableInit  = 0xfc0c
	opTableCopy  = 0xfc0e
	opTableGrow  = 0xfc0f
	opTableFill  = 0xfc11
)

// blockEmpty is the block type without parameters and results.
const blockEmpty = 0x40

// next reads an opcode and returns its row; code has the prefix in its second byte. A row with immNope is
// an operator to be refused, with the name to refuse it by.
func (r *reader) next() (code int, op operator) {
	b := r.byte()
	switch b {
	case opMisc, opSIMD:
		n := r.u32()
		table := &miscOps
		if b == opSIMD {
			table = &simdOps
			if n >= 0x100 && n < 0x200 {
				return 0, operator{fmt.Sprintf("0xfd %#x (relaxed SIMD)", n), immNope, 0}
			}
		}
		if n < 256 && table[n].name != "" {
			return int(b)<<8 | int(n), table[n]
		}
		return 0, operator{fmt.Sprintf("%#x %#x", b, n), immNope, 0}
	}
	op = mainOps[b]
	if op.name == "" {
		op.name = fmt.Sprintf("%#x", b)
	}
	return int(b), op
}
