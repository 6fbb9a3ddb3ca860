// Package sluice is the SDK for middlewares written in Go.
//
// An author writes one function over a batch of records and registers it:
//
//	func init() { sluice.Register(process) }
//
//	func main() { sluice.Main() }
//
//	func process(b *sluice.Batch) error {
//		for r := range b.Records(sluice.FieldKey) {
//			if bytes.HasPrefix(r.Key, []byte("test-")) {
//				r.Drop()
//			}
//		}
//		return nil
//	}
//
// Compiled with `sluice plugin build`, which runs the Go compiler with
// GOOS=wasip1 GOARCH=wasm -buildmode=c-shared, that is a module for a
// gateway. Compiled as usual it is a filter over lines on standard input
// (see [Main]), and package sluicetest runs it in tests; both work with an
// in-memory host in place of a gateway.
//
// # Memory
//
// What a batch hands out (keys, values, headers, JSON texts) are views of
// buffers that the next call reuses: they are valid until the function
// returns, or until it reads other fields of the same batch. What is given
// to a batch (new values, reasons) is copied at once.
//
// # State
//
// A gateway runs several instances side by side and discards them as it
// likes, after any failure in particular. Keep in memory only what can be
// lost, such as what was derived from the configuration.
//
// A function runs in one goroutine at a time. Nothing in this package is
// safe for concurrent use.
package sluice

import "github.com/sluicegate/sluice/abi"

// Process judges one batch: records that it does not name go on as they
// are. An error is a failure of the stage, as a panic is; what becomes of
// the batch then is the gateway's policy. It is not the way to refuse a record: see
// [Record.Reject].
type Process func(b *Batch) error

// New makes a Process for one configuration. An error refuses the
// configuration and is shown to whoever wrote it.
type New func(s *Setup) (Process, error)

// registered is what [Register] or [RegisterNew] was called with.
var registered New

// Register makes f this module's middleware, one without configuration.
// Call it from an init function, once.
func Register(f Process) {
	RegisterNew(func(s *Setup) (Process, error) {
		if err := s.Decode(&struct{}{}); err != nil {
			return nil, err
		}
		return f, nil
	})
}

// RegisterNew makes f this module's middleware. Call it from an init
// function, once.
func RegisterNew(f New) {
	if registered != nil {
		panic("sluice: a module registers one middleware")
	}
	registered = f
}

// Names from package abi that authors need.
type (
	// Fields is a set of the parts of a record.
	Fields = abi.Fields
	// Header is a record's header; a nil Value is null.
	Header = abi.Header
	// Status is what a schema says about a record's value.
	Status = abi.Status
	// Value is what stands at a JSON path of a record.
	Value = abi.JSONValue
)

// The parts of a record that [Batch.Records] reads on request.
const (
	FieldMeta    = abi.FieldMeta // timestamp and offset
	FieldKey     = abi.FieldKey
	FieldValue   = abi.FieldValue
	FieldHeaders = abi.FieldHeaders
	FieldsAll    = abi.FieldsAll
)

// Judgements of a schema.
const (
	StatusValid   = abi.StatusValid
	StatusInvalid = abi.StatusInvalid
	StatusFramed  = abi.StatusFramed // in Schema Registry framing: not judged
	StatusNull    = abi.StatusNull   // null: not judged
)

// Level is the severity of a log message.
type Level int

// Levels, from the least severe.
const (
	LevelDebug Level = iota + 1
	LevelInfo
	LevelWarn
	LevelError
)

// Log writes a message to the gateway's log, which limits rate and length.
func Log(level Level, text string) { logText(level, text) }
