package host

import (
	"fmt"

	"github.com/sluicegate/sluice/abi"
)

// Direction says which way records travel.
type Direction int

// Directions.
const (
	Produce Direction = iota // from a client to the broker
	Fetch                    // from the broker to a client
)

// String returns "produce" or "fetch".
func (d Direction) String() string {
	switch d {
	case Produce:
		return "produce"
	case Fetch:
		return "fetch"
	}
	return fmt.Sprintf("direction %d", int(d))
}

// Batch is a list of records of one partition and where they come from. Process reads it and changes nothing in it.
type Batch struct {
	Topic     string
	Partition int32 // -1 where unknown
	// ClientID and Principal are nil where unknown.
	ClientID, Principal *string
	ProducerID          int64 // -1 where there is none
	Transactional       bool
	On                  Direction
	Records             []abi.Record
}

// Result takes the outcomes of one batch. The zero value is ready for use; use it again for the next batch, which
// costs no allocation then, from one goroutine at a time. It must not be copied after its first use.
type Result struct {
	// Outcomes is empty if every record is kept as it is; otherwise it has one element for each record of the batch.
	// The elements are valid until the Result is used again, and as long as the memory of the batch is.
	Outcomes []Outcome

	pass pass // what a batch on its way needs, kept for the next one
}

// Outcome is what became of one record.
type Outcome struct {
	// Op is abi.OpKeep, OpReplace, OpDrop, OpReject or OpDeadLetter.
	Op abi.Op
	// Record is, for OpReplace, the record as it goes on; for OpDeadLetter, the record as the stage saw that diverted it.
	// It is zero otherwise.
	Record abi.Record
	// Reason is the text of OpReject and OpDeadLetter, at most abi.MaxReasonBytes of UTF-8.
	Reason string
	// Stage is the name of the stage that decided last; empty for OpKeep.
	Stage string
	// DeadLetterTopic is where an OpDeadLetter record goes: the deciding stage's StageConfig.DeadLetterTopic.
	DeadLetterTopic string
}
