package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// Gateway serves clients of Kafka clusters. Its methods may be called from any goroutine.
type Gateway struct {
	cfg       Config
	log       *slog.Logger
	observer  Observer
	clusters  map[string]*cluster
	listeners []*listenerSet
	routes    routeTable
	budget    *budget

	patience patience

	// ctx ends when the Gateway is closed.
	ctx    context.Context
	cancel context.CancelFunc
	stop   func() bool    // takes back what Start asked of its context
	tasks  sync.WaitGroup // all goroutines except accept loops, which listenerSet.close waits for

	mu       sync.Mutex
	conns    map[*conn]struct{}
	perSet   map[*listenerSet]int
	draining bool // no connection is accepted any more
	started  bool
	closed   bool
	gone     chan struct{} // closed and made anew whenever a connection ends
}

// New checks cfg and returns a Gateway without routes: every record passes. Nothing is bound yet.
func New(cfg Config) (*Gateway, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	g := &Gateway{
		cfg: cfg, log: cfg.Log, observer: cfg.Observer,
		clusters: map[string]*cluster{}, conns: map[*conn]struct{}{}, perSet: map[*listenerSet]int{}, gone: make(chan struct{}),
		budget: newBudget(cfg.Limits), patience: usualPatience,
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.observer == nil {
		g.observer = noObserver{}
	}
	if err := g.build(); err != nil {
		for _, c := range g.clusters {
			c.client.Close()
		}
		return nil, err
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	none, _ := NewRoutes(Markers{}, nil)
	return g, g.routes.replace(g.ctx, none)
}

func (g *Gateway) build() error {
	for _, cfg := range g.cfg.Clusters {
		if g.clusters[cfg.Name] != nil {
			return fmt.Errorf("cluster %q: two clusters have this name", cfg.Name)
		}
		if len(cfg.Bootstrap) == 0 {
			return fmt.Errorf("cluster %q: no bootstrap address", cfg.Name)
		}
		c, err := newCluster(cfg, g.cfg.Limits, g.log)
		if err != nil {
			return fmt.Errorf("cluster %q: %w", cfg.Name, err)
		}
		g.clusters[cfg.Name] = c
	}
	for _, cfg := range g.cfg.Listeners {
		c := g.clusters[cfg.Cluster]
		if c == nil {
			return fmt.Errorf("listener %q: no cluster has the name %q", cfg.Name, cfg.Cluster)
		}
		l, err := newListenerSet(cfg, c, g.log, g.accept)
		if err != nil {
			return err
		}
		g.listeners = append(g.listeners, l)
		c.listeners = append(c.listeners, l)
	}
	return nil
}

// Start binds the bootstrap listeners and begins to serve; an address that cannot be bound is an error. Clusters need not
// be reachable: they are tried in the background until ctx ends or the Gateway is closed. Start returns at once; ctx ending is like Close.
func (g *Gateway) Start(ctx context.Context) error {
	g.mu.Lock()
	if g.started || g.closed {
		g.mu.Unlock()
		return errors.New("start: the gateway was started or closed before")
	}
	g.started = true
	g.mu.Unlock()
	for _, l := range g.listeners {
		if err := l.start(); err != nil {
			_ = g.Close()
			return err
		}
	}
	for _, c := range g.clusters {
		g.tasks.Go(func() { c.watch(g.ctx) })
	}
	stop := context.AfterFunc(ctx, func() { _ = g.Close() })
	g.mu.Lock()
	g.stop = stop
	g.mu.Unlock()
	return nil
}

// SetRoutes makes routes the ones for all that arrives from now on, on new and on old connections, and waits until nothing uses the routes
// before them, or ctx ends (its error is returned, the new routes hold all the same). Then the old pipelines may be closed. A Routes is
// set once, in one Gateway.
func (g *Gateway) SetRoutes(ctx context.Context, routes *Routes) error {
	return g.routes.replace(ctx, routes)
}

// Ready returns nil if each cluster was reached and its brokers have their listeners, otherwise what is missing.
func (g *Gateway) Ready() error {
	g.mu.Lock()
	started, draining := g.started, g.draining || g.closed
	g.mu.Unlock()
	if !started {
		return errors.New("not started")
	}
	if draining {
		return errors.New("shutting down")
	}
	var errs []error
	for _, c := range g.clusters {
		errs = append(errs, c.ready())
	}
	for _, l := range g.listeners {
		errs = append(errs, l.ready())
	}
	return errors.Join(errs...)
}

// Addr returns the bound address of a listener's bootstrap port, host:port, and "" if there is no such listener, or it is not bound.
func (g *Gateway) Addr(listener string) string {
	for _, l := range g.listeners {
		if l.cfg.Name != listener {
			continue
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if ln := l.bound[anyNode]; ln != nil {
			return ln.Addr().String()
		}
	}
	return ""
}

// accept takes over a connection from a listener.
func (g *Gateway) accept(l *listenerSet, node int32, nc net.Conn) {
	g.mu.Lock()
	refuse := g.draining || g.closed
	crowded := g.perSet[l] >= g.cfg.Limits.Connections
	if refuse || crowded {
		g.mu.Unlock()
		_ = nc.Close()
		if crowded && !refuse {
			l.log.Warn("connection refused: the listener has its limit of connections", "limit", g.cfg.Limits.Connections, "client", nc.RemoteAddr().String())
			g.observer.Failure(l.cfg.Cluster, CauseLimit)
		}
		return
	}
	c := newConn(g, l, node, nc)
	g.conns[c] = struct{}{}
	g.perSet[l]++
	g.tasks.Add(1) // under mu, so that Close, which waits for tasks, comes wholly before or after
	g.mu.Unlock()
	go func() {
		defer g.tasks.Done()
		g.observer.Connection(l.cfg.Cluster, l.cfg.Name, 1)
		defer g.observer.Connection(l.cfg.Cluster, l.cfg.Name, -1)
		defer g.forget(c)
		c.serve()
	}()
}

func (g *Gateway) forget(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	g.perSet[c.listener]--
	close(g.gone)
	g.gone = make(chan struct{})
}

// Drain closes the listeners, lets each connection finish the requests that it has read, and closes it. It returns when
// none is left or ctx ends, with ctx's error.
func (g *Gateway) Drain(ctx context.Context) error {
	g.mu.Lock()
	g.draining = true
	conns := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	for _, l := range g.listeners {
		l.close()
	}
	for _, c := range conns {
		c.drain()
	}
	for {
		g.mu.Lock()
		left, gone := len(g.conns), g.gone
		g.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return fmt.Errorf("drain: %d connections left: %w", left, ctx.Err())
		}
	}
}

// Close closes everything at once and waits for all goroutines. It may be called more than once.
func (g *Gateway) Close() error {
	g.mu.Lock()
	first := !g.closed
	g.closed, g.draining = true, true
	stop := g.stop
	conns := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	if stop != nil {
		stop()
	}
	g.cancel()
	for _, c := range conns {
		c.close()
	}
	for _, l := range g.listeners {
		l.close()
	}
	g.tasks.Wait()
	if first {
		for _, c := range g.clusters {
			c.client.Close()
		}
	}
	return nil
}
