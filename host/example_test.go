package host_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
)

// ExampleHost runs a module over a batch of three records. The guest drops a record whose value begins with d and replaces one that begins
// with v.
func ExampleHost() {
	ctx := context.Background()
	h, err := host.New(ctx, host.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close(ctx)
	wasm, err := os.ReadFile("testdata/script.wasm")
	if err != nil {
		log.Fatal(err)
	}
	m, err := h.Compile(ctx, "script", wasm)
	if err != nil {
		log.Fatal(err)
	}
	stage, err := h.NewStage(ctx, m, host.StageConfig{Name: "script", Pipeline: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	p := host.NewPipeline("orders", stage)
	defer p.Close(ctx)

	batch := host.Batch{Topic: "orders", Records: []abi.Record{{Value: []byte("kept")}, {Value: []byte("dropped")}, {Value: []byte("v")}}}
	var r host.Result
	if err := p.Process(ctx, &batch, &r); err != nil {
		log.Fatal(err)
	}
	for i, o := range r.Outcomes {
		fmt.Printf("%d %s %q\n", i, o.Op, o.Record.Value)
	}
	// Output:
	// 0 keep ""
	// 1 drop ""
	// 2 replace "V"
}
