// Package abi is the contract between the host and its guests, the
// WebAssembly middlewares: names, constants, and the encodings that cross
// the boundary. README.md beside it is the specification; this package is
// that text in Go, used by the host, by the Go SDK and by tests.
//
// It imports the standard library only and holds no state: everything here
// may be used from several goroutines at once.
package abi

// Version is the version of the contract. A guest names the version it was
// written for by exporting [ExportMarker].
const Version = 1

// Exports of a guest.
const (
	ExportMarker     = "sluice_abi_v1"
	ExportConfigure  = "sluice_configure"
	ExportProcess    = "sluice_process"
	ExportInitialize = "_initialize"
	ExportMemory     = "memory"
)

// Import modules offered by the host, one per capability and major version.
const (
	ModuleBatch  = "sluice:batch/1"
	ModuleJSON   = "sluice:json/1"
	ModuleSchema = "sluice:schema/1"
	ModuleExtism = "extism:host/env"
	ModuleWASI   = "wasi_snapshot_preview1"
)

// ManifestSection is the name of the custom section that holds the
// [Manifest] as JSON.
const ManifestSection = "sluice.plugin"

// Limits of the contract, in bytes where the name says so.
const (
	// MaxCallBytes bounds a call's records as read with all fields, except
	// for a call with a single record.
	MaxCallBytes = 256 << 10
	// MaxVerdictBytes bounds the verdict stream of one call.
	MaxVerdictBytes = 16 << 20
	// MaxVerdictHeaders bounds the headers set, removed and added by all the
	// verdicts of one call together.
	MaxVerdictHeaders = 1 << 18
	// MaxPathLists and MaxPaths bound the lists of JSON paths that a stage
	// registers, and the paths in all of them.
	MaxPathLists = 64
	MaxPaths     = 1024
	// MaxReasonBytes bounds the text of a reject or dead-letter verdict.
	MaxReasonBytes = 4 << 10
)

// ReservedHeaderPrefix begins the names of record headers that belong to
// the gateway. Neither clients nor guests may set them.
const ReservedHeaderPrefix = "sluice."

// Fields is a set of the parts of a record.
type Fields uint32

// The parts of a record. Remove and Add occur in replace verdicts only.
const (
	FieldMeta    Fields = 1
	FieldKey     Fields = 2
	FieldValue   Fields = 4
	FieldHeaders Fields = 8
	FieldRemove  Fields = 16
	FieldAdd     Fields = 32

	// FieldsAll is what read accepts at most.
	FieldsAll = FieldMeta | FieldKey | FieldValue | FieldHeaders
)

// Op is the operation of a verdict.
type Op uint16

// Operations. Keep is the absence of a verdict and is never encoded.
const (
	OpKeep       Op = 0
	OpDrop       Op = 1
	OpReplace    Op = 2
	OpReject     Op = 3
	OpDeadLetter Op = 4
	OpRoute      Op = 5 // reserved
	OpDelay      Op = 6 // reserved
	OpEmit       Op = 7 // reserved
)

// String returns the operation's name as the specification spells it.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "unknown"
}

var opNames = [...]string{"keep", "drop", "replace", "reject", "dead-letter", "route", "delay", "emit"}

// Header is one header of a record. A nil Value is null, an empty one is not.
type Header struct {
	Name  string
	Value []byte
}

// Record is one record as middlewares see it. A nil Key or Value is null, an
// empty one is not. Who owns the byte slices is said by whoever hands a
// Record over; nothing in this package keeps them.
type Record struct {
	Key     []byte
	Value   []byte
	Headers []Header // in their order, names may repeat
	// Timestamp is in milliseconds since 1970 UTC, -1 where there is none.
	Timestamp int64
	// Offset is the record's offset; on produce its position in the
	// producer's batch.
	Offset int64
	// LogAppendTime says that Timestamp is the broker's.
	LogAppendTime bool
}

// Manifest describes a module. It is the content of [ManifestSection].
type Manifest struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Description  string         `json:"description,omitempty"`
	License      string         `json:"license,omitempty"`
	ConfigSchema map[string]any `json:"config_schema,omitempty"`
	Permissions  []Permission   `json:"permissions,omitempty"`
}

// Permission is a capability that a module asks for, and why.
type Permission struct {
	Capability string `json:"capability"`
	Reason     string `json:"reason"`
}

// Status is the judgement of sluice:schema/1 on one record.
type Status byte

// Judgements.
const (
	StatusValid   Status = 0
	StatusInvalid Status = 1
	StatusFramed  Status = 2 // Schema Registry framing: not judged
	StatusNull    Status = 3 // null value: not judged
)
