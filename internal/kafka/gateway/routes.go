package gateway

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/marker"
)

// Pipeline judges batches. *host.Pipeline is one.
type Pipeline interface {
	// Process is called from many goroutines at once. Its errors are failures of ours, never of the records.
	Process(ctx context.Context, b *host.Batch, r *host.Result) error
	// CanDrop says that outcomes may be OpDrop or OpDeadLetter.
	CanDrop() bool
}

var _ Pipeline = (*host.Pipeline)(nil)

// Route sends the records of some topics through a pipeline.
type Route struct {
	// Name is the pipeline's, for logs, errors and the header sluice.stage.
	Name string
	// Cluster limits the route to one cluster; empty: all.
	Cluster string
	// Topics are globs: * stands for any number of any characters, ? for one, [a-z] for one of a range. A glob matches an internal topic
	// (__*) only if it begins with __ itself.
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

// ErrMarkerKey is returned by NewRoutes if markers are needed and have no key.
var ErrMarkerKey = errors.New("markers need a key")

// Routes is an immutable set of routes.
type Routes struct {
	produce, fetch []Route
	markerTopics   []Route // those without a Pipeline: only Cluster and Topics count
	marker         *marker.Maker

	cache sync.Map // routeKey -> *match: answers for topics asked about, bounded by cached
	// cached counts the entries of cache. Topic names come from clients, so that there is no other bound.
	cached atomic.Int64

	// uses counts those who work with these routes, plus one until they are replaced. idle is closed when it falls to 0.
	uses atomic.Int64
	idle chan struct{}
	once sync.Once // has NewRoutes' one use been taken back
	set  atomic.Bool
}

type routeKey struct{ cluster, topic string }

// match is what applies to one topic.
type match struct {
	produce, fetch []Route
	markers        bool // the topic may hold markers
}

// opensFetch says that fetched records of the topic have to be looked at.
func (m *match) opensFetch() bool { return len(m.fetch) > 0 || m.markers }

// maxCachedMatches bounds Routes.cache.
const maxCachedMatches = 10_000

// NewRoutes checks and compiles routes. Several routes that match a topic apply in their order.
func NewRoutes(markers Markers, routes []Route) (*Routes, error) {
	r := &Routes{idle: make(chan struct{})}
	r.uses.Store(1)
	var errs []error
	if len(markers.Key) > 0 {
		m, err := marker.New(markers.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("markers: %w", err))
		}
		r.marker = m
	}
	if len(markers.Topics) > 0 {
		if len(markers.Key) == 0 {
			errs = append(errs, fmt.Errorf("%w to find them in the topics %q", ErrMarkerKey, markers.Topics))
		}
		if err := checkGlobs(markers.Topics); err != nil {
			errs = append(errs, fmt.Errorf("markers: %w", err))
		}
		r.markerTopics = append(r.markerTopics, Route{Topics: markers.Topics})
	}
	for _, route := range routes {
		if err := r.add(route); err != nil {
			errs = append(errs, fmt.Errorf("pipeline %s: %w", route.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Routes) add(route Route) error {
	if route.Pipeline == nil {
		return errors.New("no pipeline")
	}
	if len(route.Topics) == 0 {
		return errors.New("no topics")
	}
	if err := checkGlobs(route.Topics); err != nil {
		return err
	}
	switch route.On {
	case host.Fetch:
		r.fetch = append(r.fetch, route)
		return nil
	case host.Produce:
	default:
		return fmt.Errorf("unknown %v", route.On)
	}
	r.produce = append(r.produce, route)
	if !route.Pipeline.CanDrop() {
		return nil
	}
	if r.marker == nil {
		return fmt.Errorf("it can drop records, and %w: make one with `head -c 32 /dev/urandom | base64`", ErrMarkerKey)
	}
	r.markerTopics = append(r.markerTopics, route)
	return nil
}

func checkGlobs(globs []string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil || g == "" {
			return fmt.Errorf("topic pattern %q: want a name with *, ? or [a-z] in it", g)
		}
	}
	return nil
}

// matches says whether the route applies to a topic.
func (r *Route) matches(cluster, topic string) bool {
	if r.Cluster != "" && r.Cluster != cluster {
		return false
	}
	for _, g := range r.Topics {
		if strings.HasPrefix(topic, "__") && !strings.HasPrefix(g, "__") {
			continue
		}
		// Topic names have no slash, the one character that * of path.Match stops at; a name that has one exists on no broker.
		if ok, _ := path.Match(g, topic); ok {
			return true
		}
	}
	return false
}

// nothing is the match of topics that no route is for.
var nothing = new(match)

// match returns what applies to a topic of a cluster.
func (r *Routes) match(cluster, topic string) *match {
	if len(r.produce) == 0 && len(r.fetch) == 0 && len(r.markerTopics) == 0 {
		return nothing
	}
	if m, ok := r.cache.Load(routeKey{cluster, topic}); ok {
		return m.(*match)
	}
	m := new(match)
	for _, route := range r.produce {
		if route.matches(cluster, topic) {
			m.produce = append(m.produce, route)
		}
	}
	for _, route := range r.fetch {
		if route.matches(cluster, topic) {
			m.fetch = append(m.fetch, route)
		}
	}
	for _, route := range r.markerTopics {
		m.markers = m.markers || route.matches(cluster, topic)
	}
	if r.cached.Add(1) <= maxCachedMatches {
		r.cache.Store(routeKey{strings.Clone(cluster), strings.Clone(topic)}, m)
	}
	return m
}

// opensProduce and opensFetch say whether there is any topic whose records have to be looked at.
func (r *Routes) opensProduce() bool { return len(r.produce) > 0 }
func (r *Routes) opensFetch() bool   { return len(r.fetch) > 0 || len(r.markerTopics) > 0 }

// routeTable holds the current routes. Who uses routes acquires and releases them, so that old pipelines are closed after their last batch.
type routeTable struct {
	current    atomic.Pointer[Routes]
	generation atomic.Int64 // goes up when the current routes change
}

// peek returns the current routes for a look at what they match; their pipelines may be closed.
func (t *routeTable) peek() *Routes { return t.current.Load() }

// acquire returns the current routes for use until release.
func (t *routeTable) acquire() *Routes {
	for {
		r := t.current.Load()
		r.uses.Add(1)
		if t.current.Load() == r {
			return r
		}
		r.release() // it was replaced in between, and may be idle already
	}
}

func (r *Routes) release() {
	if r.uses.Add(-1) == 0 {
		// A late acquire that finds them replaced may bring the count to 0 once more.
		r.once.Do(func() { close(r.idle) })
	}
}

// replace makes routes the current ones and waits for the last use of those before them.
func (t *routeTable) replace(ctx context.Context, routes *Routes) error {
	if routes.set.Swap(true) {
		return errors.New("set routes: these routes were set before; make new ones")
	}
	old := t.current.Swap(routes)
	t.generation.Add(1)
	if old == nil {
		return nil
	}
	old.release()
	select {
	case <-old.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for batches in flight: %w", ctx.Err())
	}
}
