package host

import (
	"errors"
	"fmt"
	"strings"
)

// Errors about the life of things.
var (
	// ErrClosed is returned by Process on a pipeline that was closed.
	ErrClosed = errors.New("pipeline is closed")
	// ErrNoDocument is returned by Schemas.Find for a document that does not exist.
	ErrNoDocument = errors.New("no such document")
)

// ErrModule is wrapped by every error of Compile and NewStage that lies in the module itself: another file is needed.
var ErrModule = errors.New("unusable module")

// Cause says why a guest call failed.
type Cause string

// Causes. The first six are the guest's and can prove a record poisonous; the others never do.
const (
	CauseTrap     Cause = "trap"     // unreachable, out of bounds, call stack exhausted, ...
	CauseGuest    Cause = "guest"    // the guest returned a failure
	CauseFuel     Cause = "fuel"     // the budget of fuel was spent
	CauseMemory   Cause = "memory"   // a trap after memory was refused
	CauseVerdict  Cause = "verdict"  // wrong, undeclared or too many verdicts
	CauseABI      Cause = "abi"      // a host function was called with arguments that the ABI forbids
	CauseConfig   Cause = "config"   // something that the guest relies on is configured wrong, such as a document
	CauseStart    Cause = "start"    // no instance could be started
	CauseDeadline Cause = "deadline" // more time than Limits.Deadline
	CauseCanceled Cause = "canceled" // the context of the call ended
	CauseHostBug  Cause = "host-bug" // a panic in a host function: a mistake of ours
)

// provesPoison reports whether a record is poisonous with which alone a call failed like this.
func (e *GuestError) provesPoison() bool {
	if e.starting || e.whole {
		return false
	}
	switch e.Cause {
	case CauseTrap, CauseGuest, CauseFuel, CauseMemory, CauseVerdict, CauseABI:
		return true
	}
	return false
}

// GuestError is the failure of one guest call. Error gives one line; %+v adds the trace.
type GuestError struct {
	Cause    Cause
	Function string // the export that was called, such as "sluice_process"
	Text     string // one line
	Trace    string // WebAssembly stack trace, for CauseHostBug the Go stack; may be empty
	Err      error  // what Text was made from, where there is something to unwrap

	starting bool // the call was part of starting an instance, and says nothing about records
	whole    bool // it is about all calls for a batch together, and says nothing about the last one's records
}

func (e *GuestError) Error() string { return e.Function + ": " + e.Text }

// Unwrap returns what the error was made from.
func (e *GuestError) Unwrap() error { return e.Err }

// Format prints the trace too with %+v.
func (e *GuestError) Format(f fmt.State, verb rune) {
	s := e.Error()
	if verb == 'v' && f.Flag('+') && e.Trace != "" {
		s += "\n" + strings.TrimSpace(e.Trace)
	}
	if verb == 'q' {
		s = fmt.Sprintf("%q", s)
	}
	_, _ = f.Write([]byte(s))
}

// StageError says that a stage could not judge a batch and that nothing is known about the records: the right answer is one that makes
// the client try again. It wraps the last *GuestError, or the context's error.
type StageError struct {
	Pipeline, Stage string
	Cause           Cause
	Err             error
}

func (e *StageError) Error() string {
	return fmt.Sprintf("pipeline %s: stage %s: %v", e.Pipeline, e.Stage, e.Err)
}

// Unwrap returns the failure.
func (e *StageError) Unwrap() error { return e.Err }

// StoppedError says that a record is poisonous, or too large, and that the stage's policy is ActionStop: the partition must answer an error until
// somebody acts. Nothing of the batch may go on.
type StoppedError struct {
	Pipeline, Stage string
	Topic           string
	Partition       int32
	Offset          int64 // of the record, as abi.Record.Offset
	Index           int   // of the record in the batch
	Err             error // why
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf("pipeline %s: stage %s: stopped at offset %d of %s-%d: %v", e.Pipeline, e.Stage, e.Offset, e.Topic, e.Partition, e.Err)
}

// Unwrap returns what is wrong with the record.
func (e *StoppedError) Unwrap() error { return e.Err }
