// Package meter rewrites WebAssembly modules so that they cannot hurt the process that runs them.
//
// The runtime (wazero) bounds linear memory. It does not bound time, the call stack below 50 MB, tables, or the
// shape of a module. [Rewrite] takes a module of WebAssembly Core 2.0 and returns an equivalent one that
//
//   - counts down *fuel* in a mutable global, at every function entry, at every loop head and every so often in long
//     straight code, and calls the imported function [YieldFunction] of [ImportModule] when none is left;
//   - charges operators that move many bytes or entries by their size, before they run;
//   - counts the call stack in bytes in a second global and traps when its budget is spent;
//   - cannot have more memory, table entries, functions, locals and so on than [Options] allow.
//
// A module that cannot be made so is refused with an [*Error] that names the section, function, operator or limit.
//
// [Verify] checks the result with code of its own, so that a mistake in the rewriter is an error at load time
// and not a guest that cannot be stopped.
//
// # What the host does
//
// The host provides one function, `sluice:meter` `yield(fuel i64) -> i64`. The guest calls it when a charge made fuel
// negative and passes what is left, a debt below zero. The debt may be large (a charge for 4 GiB of
// memory.fill is one charge), so the host subtracts `granted - fuel` from the call's budget. It ends the call by
// panicking, or returns the next quantum, which is the fuel from then on. A quantum that is not positive is
// allowed: the guest then yields at its next charge.
//
// Between calls, and inside host functions, fuel is the exported mutable i64 global [FuelExport]: set it before a call, read
// it after one, subtract from it what a host function has cost. A negative value makes the guest yield at its next entry or loop
// head. The stack budget is the exported mutable i64 global [StackExport], in bytes: the host sets it to [Info.StackBytes] before each
// call from outside (a callee does not restore it). Look both up once for each instance and keep the [api.MutableGlobal]. A call that
// would pass the stack budget calls yield with [StackSpent]. Host functions must not call back into the instance that called them.
//
// A start function is not run by instantiation. It becomes the export [StartExport] (if [Info.Start] says so), which the host
// calls first, as it calls any other export: with fuel, with a deadline.
//
// Names that begin with `sluice:meter` belong to this package: a guest that imports from or exports such a name is refused.
//
// # Units
//
// A unit of fuel is the work of a simple operator. What is charged for a stretch of code is the dearest path through it, so a guest
// never runs more than it pays for and often less: on a machine of 2025 a unit takes 0.05 to 0.15 ns in Go guests and up to 0.4 ns in
// tight loops, which is why the next quantum is better set from the time that the last one took. The charge for the same call
// on the same state is the same on every machine.
//
// Between two questions whether fuel is left a guest can run a body of [Options.FunctionSize] bytes and the rest of the bodies that
// called it, some milliseconds for code written to that end, some nanoseconds otherwise.
//
// # What it costs
//
// Go guests run 2 to 20 % longer (BenchmarkGoGuest), code is 6 % larger. Loops of five machine instructions run up to 60 % longer,
// depending on how they fall into cache lines (BenchmarkTight). Rewriting and verifying a Go guest of 3.3 MB take 25 ms each.
//
// # What it does not do
//
// It does not validate types; the runtime does. It does not bound what the runtime's compiler takes, which is quadratic in
// nesting and in the size of a function: compile what is not trusted in a process with limits. The stack budget is an estimate
// of wazero's frames: most frames take less than half of what they are counted for, frames made for it have taken six
// times as much.
//
// [api.MutableGlobal]: https://pkg.go.dev/github.com/tetratelabs/wazero/api#MutableGlobal
package meter
