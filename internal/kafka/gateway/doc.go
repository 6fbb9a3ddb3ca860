// Package gateway is the Kafka core: it stands between clients and the brokers of one or more clusters, passes what it
// does not have to read, and opens the records of topics that a pipeline matches.
//
// A [Gateway] is made from a [Config], started, and closed. What may change while it runs are its [Routes]: which
// pipelines see which topics. [Gateway.SetRoutes] swaps them under live connections.
//
//	g, err := gateway.New(cfg)
//	routes, err := gateway.NewRoutes(markers, []gateway.Route{{Topics: []string{"orders.*"}, On: host.Produce, Pipeline: p}})
//	err = g.SetRoutes(ctx, routes)
//	err = g.Start(ctx)
//	...
//	err = g.Drain(ctx)
//	err = g.Close()
//
// # Listeners
//
// A listener stands for one broker; a client connection to it has one connection to that broker. The bootstrap
// listener of a [ListenerConfig] is bound at its address, with port P, and uses any bootstrap broker; the broker with node id
// N is served at port P+1+N. Brokers become known from each Metadata response that passes and from the gateway's own
// request at start, which is repeated until it succeeds. A broker without a listener is never shown to clients.
//
// # Requests
//
// Each client connection has two goroutines, one per direction, and a queue of the requests whose answers are outstanding. Requests are
// forwarded in order; answers are given in order, the gateway's own among them. What is done with a request
// depends on its key: a table, built from one file per key (NN_name.go), says whether it passes, whether its response
// is rewritten, whether its records are opened, whether it is answered here or refused. The same table edits
// ApiVersions responses, so that clients are never offered what the gateway could not handle.
//
// # Failure
//
// A refusal by a pipeline is an answer that no client repeats (INVALID_RECORD). A failure of the gateway or of a stage is one that every
// client repeats (NOT_ENOUGH_REPLICAS on produce, KAFKA_STORAGE_ERROR on fetch). Bytes that cannot be understood, and an upstream
// that breaks off, close the one client connection concerned.
//
// DESIGN.md in the directory above has the way of a request and the invariants that are not obvious.
package gateway
