package gateway

import "context"

// Gateway serves clients of Kafka clusters. Its methods may be called from any goroutine.
type Gateway struct{}

// New checks cfg and returns a Gateway without routes: every record passes. Nothing is bound yet.
func New(cfg Config) (*Gateway, error) { return &Gateway{}, nil }

// Start binds the bootstrap listeners and begins to serve; an address that cannot be bound is an error. Clusters need not
// be reachable: they are tried in the background until ctx ends or the Gateway is closed. Start returns at once; ctx ending is like Close.
func (g *Gateway) Start(ctx context.Context) error { return nil }

// SetRoutes makes routes the ones for all that arrives from now on, on new and on old connections, and waits until nothing uses the routes
// before them, or ctx ends (its error is returned, the new routes hold all the same). Then the old pipelines may be closed. A Routes is
// set once, in one Gateway.
func (g *Gateway) SetRoutes(ctx context.Context, routes *Routes) error { return nil }

// Ready returns nil if each cluster was reached and its brokers have their listeners, otherwise what is missing.
func (g *Gateway) Ready() error { return nil }

// Addr returns the bound address of a listener's bootstrap port, host:port, and "" if there is no such listener.
func (g *Gateway) Addr(listener string) string { return "" }

// Drain closes the listeners, lets each connection finish the requests that it has read, and closes it. It returns when
// none is left or ctx ends, with ctx's error.
func (g *Gateway) Drain(ctx context.Context) error { return nil }

// Close closes everything at once and waits for all goroutines. It may be called more than once.
func (g *Gateway) Close() error { return nil }
