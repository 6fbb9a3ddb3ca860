// Package host runs middlewares: WebAssembly modules that judge batches of Kafka records, in a sandbox.
//
// It is a library. Sluice's gateway is one user of it; ExampleHost shows another in some twenty lines. What a module
// may do and how it is called is the ABI, specified in ../abi/README.md. How this package is built inside,
// and why, is in DESIGN.md beside this file.
//
// # The way of a batch
//
// A [Host] is made once for a process: it owns the WebAssembly runtime, the cache of compiled code and the run slots. A
// [Module] is a file that was checked, metered and compiled. A [Stage] is a module with a configuration and policies. A
// [Pipeline] is a list of stages:
//
//	h, err := host.New(ctx, host.Config{CacheDir: dir})
//	m, err := h.Compile(ctx, "filter", wasm)
//	s, err := h.NewStage(ctx, m, host.StageConfig{Name: "filter", Pipeline: "orders", Config: json})
//	p := host.NewPipeline("orders", s)
//	err = p.Process(ctx, &batch, &result)
//
// [Pipeline.Process] gives the batch to each stage in turn. A stage calls its guest once for at most 256 KiB of records, on an
// instance from its own small pool, and takes the guest's verdicts: records are dropped, replaced, rejected or diverted, and the
// next stage sees those that are left. The [Result] has one [Outcome] for each record of the batch; it is for
// the caller to carry them out.
//
// # What a guest cannot do
//
// Memory, processor time, call stack, tables, output and log lines are bounded for each stage by [Limits] and by constants of the
// ABI. A guest reaches nothing outside but the functions that it imports and was granted. Time is
// bounded by fuel, counted in instructions, so that a loop without an end is stopped at the same place on every
// machine; a guest that runs gives way every 250 microseconds or so, and at most GOMAXPROCS-1 guests run at a time.
//
// # Failure
//
// A guest that traps, spends its fuel, returns a failure or writes wrong verdicts loses its instance and its effects of that call. The same
// records are tried once more on a fresh instance, then in halves, until a record that fails alone is found. That record is *poison* and
// follows [StageConfig.OnPoison]; what cannot be settled within the budget follows [StageConfig.OnFailure].
// So Process returns an error for one reason only: nothing can be said about the batch now. Such an error
// is a [*StageError] or a [*StoppedError], and the records should be neither acknowledged nor refused.
//
// # Ownership
//
// Process only reads the records of a [Batch], and only until it returns. Outcomes may share memory with the batch and with the
// Result: they are valid until the Result is used again and as long as the batch's memory is.
package host
