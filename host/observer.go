package host

import (
	"time"

	"github.com/sluicegate/sluice/abi"
)

// Observer is told what happens, for metrics. The host asks it once for each stage.
type Observer interface {
	// Stage returns what is told about one stage. It may return nil to hear nothing. Names are those of StageConfig; stages made
	// after a reload may have the names of earlier ones that still live.
	Stage(pipeline, stage string) StageObserver
}

// StageObserver is told about one stage. Methods are called from many goroutines at once, on the data path: they
// must be quick and must not block.
type StageObserver interface {
	// Batch is called once for each batch that the stage was given, with the time it took, waiting for a run slot included, and the
	// fuel that its guest spent.
	Batch(elapsed time.Duration, fuel int64)
	// Records is called with the number of records that got an operation, abi.OpKeep included. In ModeObserve these are the verdicts
	// that were not applied.
	Records(op abi.Op, n int)
	// Poison is called with the number of records that were found to be poisonous.
	Poison(n int)
	// Failure is called for each guest call, or each start of an instance, that failed.
	Failure(cause Cause)
	// Instances is called when instances were made (1) or closed (-1).
	Instances(delta int)
	// LogDropped is called with the number of the guest's log lines that were over its rate.
	LogDropped(n int)
}

// noObserver hears nothing.
type noObserver struct{}

func (noObserver) Batch(time.Duration, int64) {}
func (noObserver) Records(abi.Op, int)        {}
func (noObserver) Poison(int)                 {}
func (noObserver) Failure(Cause)              {}
func (noObserver) Instances(int)              {}
func (noObserver) LogDropped(int)             {}
