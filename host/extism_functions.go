package host

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/sluicegate/sluice/host/extism"
)

// extismFunctions is extism:host/env, as far as abi/README.md section 7 goes.
var extismFunctions = []hostFunction{
	fn("alloc", "I", "I", func(in *instance, st []uint64) {
		in.charge(costCall + int64(min(st[0], extism.MaxBytes))/8)
		n := st[0]
		if st[0] = in.extism.Alloc(n); st[0] == 0 && n != 0 {
			in.refuse("%d bytes: the store has %d MiB in all", n, extism.MaxBytes>>20)
		}
	}),
	fn("free", "I", "", func(in *instance, st []uint64) { in.extism.Free(st[0]) }),
	fn("length", "I", "I", func(in *instance, st []uint64) { st[0] = in.extism.Length(st[0]) }),
	fn("length_unsafe", "I", "I", func(in *instance, st []uint64) { st[0] = in.extism.Length(st[0]) }),
	fn("load_u8", "I", "i", func(in *instance, st []uint64) {
		v, err := in.extism.LoadU8(st[0])
		st[0] = uint64(v)
		in.must(err)
	}),
	fn("load_u64", "I", "I", func(in *instance, st []uint64) {
		v, err := in.extism.LoadU64(st[0])
		st[0] = v
		in.must(err)
	}),
	fn("store_u8", "Ii", "", func(in *instance, st []uint64) { in.must(in.extism.StoreU8(st[0], byte(st[1]))) }),
	fn("store_u64", "II", "", func(in *instance, st []uint64) { in.must(in.extism.StoreU64(st[0], st[1])) }),
	fn("input_length", "", "I", func(in *instance, st []uint64) { st[0] = in.extism.InputLength() }),
	fn("input_load_u8", "I", "i", func(in *instance, st []uint64) {
		v, err := in.extism.InputLoadU8(st[0])
		st[0] = uint64(v)
		in.must(err)
	}),
	fn("input_load_u64", "I", "I", func(in *instance, st []uint64) {
		v, err := in.extism.InputLoadU64(st[0])
		st[0] = v
		in.must(err)
	}),
	fn("input_offset", "", "I", func(in *instance, st []uint64) {
		if st[0] = in.extism.InputOffset(); st[0] == 0 && in.extism.InputLength() > 0 {
			in.refuse("%d bytes of input: the store has %d MiB in all", in.extism.InputLength(), extism.MaxBytes>>20)
		}
	}),
	fn("output_set", "II", "", func(in *instance, st []uint64) { in.must(in.extism.OutputSet(st[0], st[1])) }),
	fn("error_set", "I", "", func(in *instance, st []uint64) { in.must(in.extism.ErrorSet(st[0])) }),
	fn("config_get", "I", "I", extismConfigGet),
	fn("log_trace", "I", "", extismLog(slog.LevelDebug-4)),
	fn("log_debug", "I", "", extismLog(slog.LevelDebug)),
	fn("log_info", "I", "", extismLog(slog.LevelInfo)),
	fn("log_warn", "I", "", extismLog(slog.LevelWarn)),
	fn("log_error", "I", "", extismLog(slog.LevelError)),
	fn("get_log_level", "", "i", extismLogLevel),
}

// must ends the call if a handle or an offset was wrong.
func (in *instance) must(err error) {
	if err != nil {
		in.refuse("%v", err)
	}
}

// block returns the bytes of a handle.
func (in *instance) block(handle uint64) []byte {
	b, err := in.extism.Bytes(handle)
	in.must(err)
	in.charge(copyCost(len(b)))
	return b
}

// extismConfigGet implements config_get(key) -> value, or 0: a member of the stage's config, a string as it is, anything else as JSON.
func extismConfigGet(in *instance, st []uint64) {
	raw, ok := in.stage.members[string(in.block(st[0]))]
	st[0] = 0
	if !ok {
		return
	}
	in.charge(copyCost(len(raw)))
	value := []byte(raw)
	var text string
	if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
		value = []byte(text)
	}
	if st[0] = in.extism.Put(value); st[0] == 0 && len(value) > 0 {
		in.refuse("%d bytes: the store has %d MiB in all", len(value), extism.MaxBytes>>20)
	}
}

// extismLog implements log_trace(text) to log_error(text).
func extismLog(level slog.Level) func(in *instance, st []uint64) {
	return func(in *instance, st []uint64) {
		text := in.block(st[0])
		in.stage.log.guest(in.stage, level, string(text[:min(len(text), maxLine)]))
	}
}

// extismLevels are Extism's log levels in ascending order.
var extismLevels = []slog.Level{slog.LevelDebug - 4, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// extismLogLevel implements get_log_level() -> the lowest level that is logged, 0 (trace) to 4 (error), or 2^31-1 for none.
func extismLogLevel(in *instance, st []uint64) {
	for i, level := range extismLevels {
		if in.stage.log.to.Enabled(context.Background(), level) {
			st[0] = uint64(i)
			return
		}
	}
	st[0] = 1<<31 - 1
}
