package host

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// Config configures a Host. The zero value works.
type Config struct {
	// CacheDir keeps compiled code between processes. It is made with mode 0700 and refused if others may write to it, because
	// the code in it is run as it stands. Empty: code is kept in memory.
	CacheDir string
	// Slots is how many guests run at a time; 0 means GOMAXPROCS-1, at least 1.
	Slots int
	// Log gets the guests' log lines, at a limited rate, and the host's own. nil: nothing is logged.
	Log *slog.Logger
	// Observer is told what happens. nil: nobody is.
	Observer Observer
	// Schemas answers sluice:schema/1. nil: there are no documents.
	Schemas Schemas
	// IdleAfter is how long an unused instance is kept; 0 means a minute.
	IdleAfter time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Schemas finds schemas for sluice:schema/1. It is used from many goroutines at once.
type Schemas interface {
	// Find returns the schema that a document has for a topic, nil if it has none. A document that does not exist is an error that
	// wraps ErrNoDocument. It is asked once for each instance, document and topic, and keeps nothing of its arguments.
	Find(document, topic string) (Schema, error)
}

// Schema judges values. It is used from many goroutines at once.
type Schema interface {
	// Check judges one value, nil for null, which it must not keep. errors say why an invalid one is; it is empty otherwise. Null
	// and values in Schema Registry framing are not judged: abi.StatusNull, abi.StatusFramed.
	Check(value []byte) (status abi.Status, errors []string)
}

// StageConfig configures a stage.
type StageConfig struct {
	Name     string // in errors, logs and metrics
	Pipeline string // name of the pipeline, for the same
	On       Direction
	// Config is the stage's configuration as a JSON object for the guest; empty means {}.
	Config json.RawMessage
	Mode   Mode
	// OnPoison says what becomes of a record that the guest cannot process. Default: ActionReject on produce, ActionStop on fetch.
	OnPoison Action
	// OnOversize says what becomes of a record of more than a quarter of Limits.Memory. Default: as for OnPoison.
	OnOversize Action
	// OnFailure says what becomes of a batch about which the stage could find out nothing.
	OnFailure OnFailure
	// DeadLetterTopic is copied into the outcomes of records that go there. It is needed if a policy or the guest's verdicts may say dead-letter; a
	// guest that declares no verdicts may still run without it, but fails if it writes that one.
	DeadLetterTopic string
	// Grants are the import modules that the guest may use beyond those that are always granted.
	Grants []string
	Limits Limits
}

// Limits bounds one stage. A zero field means the default.
type Limits struct {
	// Memory is the most linear memory of an instance, in bytes, rounded down to 64 KiB; 32 MiB. A record may have a quarter of it.
	Memory uint32
	// Deadline bounds the time that one call may run, without the time it waits for a run slot; 1 s.
	Deadline time.Duration
	// A call with n records of b bytes has FuelBase + n*FuelPerRecord + b*FuelPerByte units of fuel.
	// A unit is about one instruction.
	FuelBase, FuelPerRecord, FuelPerByte int64
	// FuelStart and StartDeadline bound the start of an instance: start function, _initialize and sluice_configure together; 4e9
	// units and 10 s.
	FuelStart     int64
	StartDeadline time.Duration
}

// Defaults of Limits.
const (
	DefaultMemory        = 32 << 20
	DefaultDeadline      = time.Second
	DefaultFuelBase      = 50_000_000
	DefaultFuelPerRecord = 200_000
	DefaultFuelPerByte   = 500
	DefaultFuelStart     = 4_000_000_000
	DefaultStartDeadline = 10 * time.Second
)

// MaxMemory is the largest Limits.Memory, in bytes.
const MaxMemory = 1 << 30

// Mode says whether verdicts count.
type Mode int

// Modes.
const (
	ModeEnforce Mode = iota // verdicts are applied
	ModeObserve             // verdicts are counted and not applied; failures neither
)

// Action says what becomes of one record.
type Action int

// Actions.
const (
	ActionDefault    Action = iota // what the field's documentation says
	ActionReject                   // refused; only on produce
	ActionDeadLetter               // to the dead-letter topic
	ActionPass                     // goes on as it is
	ActionStop                     // Process returns a *StoppedError
)

// OnFailure says what becomes of a batch that the stage could not judge.
type OnFailure int

// Policies for failures.
const (
	FailureRetry OnFailure = iota // Process returns a *StageError
	FailurePass                   // the records go on as they are
)

// names of the values, as configuration files spell them.
var (
	modeNames      = []string{"enforce", "observe"}
	actionNames    = []string{"", "reject", "dead-letter", "pass", "stop"}
	onFailureNames = []string{"retry", "pass"}
)

// String returns "enforce" or "observe".
func (m Mode) String() string { return nameOf(modeNames, int(m)) }

// String returns "reject", "dead-letter", "pass" or "stop", and "" for the default.
func (a Action) String() string { return nameOf(actionNames, int(a)) }

// String returns "retry" or "pass".
func (f OnFailure) String() string { return nameOf(onFailureNames, int(f)) }

// UnmarshalText accepts what String returns, and the empty text for the default.
func (m *Mode) UnmarshalText(b []byte) error {
	i, err := valueOf(modeNames, string(b))
	*m = Mode(i)
	return err
}

// UnmarshalText accepts what String returns.
func (a *Action) UnmarshalText(b []byte) error {
	i, err := valueOf(actionNames, string(b))
	*a = Action(i)
	return err
}

// UnmarshalText accepts what String returns, and the empty text for the default.
func (f *OnFailure) UnmarshalText(b []byte) error {
	i, err := valueOf(onFailureNames, string(b))
	*f = OnFailure(i)
	return err
}

func nameOf(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("unknown (%d)", i)
	}
	return names[i]
}

func valueOf(names []string, s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	i := slices.Index(names, s)
	if i < 0 {
		return 0, fmt.Errorf("%q: want one of %q", s, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" }))
	}
	return i, nil
}
