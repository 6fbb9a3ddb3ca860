package gateway

import (
	"context"

	"github.com/sluicegate/sluice/host"
)

// Pipeline judges batches. *host.Pipeline is one.
type Pipeline interface {
	// Process is called from many goroutines at once. Its errors are failures of ours, never of the records.
	Process(ctx context.Context, b *host.Batch, r *host.Result) error
	// CanDrop says that outcomes may be OpDrop or OpDeadLetter.
	CanDrop() bool
}

// Route sends the records of some topics through a pipeline.
type Route struct {
	// Name is the pipeline's, for logs and errors.
	Name string
	// Cluster limits the route to one cluster; empty: all.
	Cluster string
	// Topics are globs: * stands for any number of any characters, ? for one. A glob matches an internal topic (__*) only if it
	// begins with __ itself.
	Topics   []string
	On       host.Direction
	Pipeline Pipeline
}

// Markers says how dropped records are marked, and where markers may be.
type Markers struct {
	// Key is the secret of markers, at least 16 bytes; all gateways of a cluster have the same. Without it no pipeline that
	// can drop is accepted on produce.
	Key []byte
	// Topics are globs of topics that may hold markers from earlier configurations. Topics of pipelines that can drop need not be listed.
	Topics []string
}

// Routes is an immutable set of routes.
type Routes struct{}

// NewRoutes checks and compiles routes. Several routes that match a topic apply in their order.
func NewRoutes(markers Markers, routes []Route) (*Routes, error) { return &Routes{}, nil }
