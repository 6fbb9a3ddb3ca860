package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/gateway"
)

// Gateway returns the observer for the Kafka core.
func (m *Metrics) Gateway() gateway.Observer { return m.gateway }

type gatewayMetrics struct {
	connections   *prometheus.GaugeVec
	accepted      *prometheus.CounterVec
	requests      *prometheus.CounterVec
	requestBytes  *prometheus.CounterVec
	responses     *prometheus.CounterVec
	responseBytes *prometheus.CounterVec
	moved         *prometheus.CounterVec
	failures      *prometheus.CounterVec
	made, hidden  *prometheus.CounterVec

	// clusters is read on every frame and replaced, under mu, when a cluster is seen first.
	clusters atomic.Pointer[map[string]*clusterMetrics]
	mu       sync.Mutex
}

func newGatewayMetrics(r *prometheus.Registry) *gatewayMetrics {
	g := &gatewayMetrics{
		connections:   gauges(r, "sluice_connections", "Client connections that are open.", "cluster", "listener"),
		accepted:      counters(r, "sluice_connections_total", "Client connections accepted.", "cluster", "listener"),
		requests:      counters(r, "sluice_requests_total", "Requests read from clients, by API key.", "cluster", "api"),
		requestBytes:  counters(r, "sluice_request_bytes_total", "Bytes of requests read from clients, size prefixes included.", "cluster", "api"),
		responses:     counters(r, "sluice_responses_total", "Responses read from brokers, by API key.", "cluster", "api"),
		responseBytes: counters(r, "sluice_response_bytes_total", "Bytes of responses read from brokers, size prefixes included.", "cluster", "api"),
		moved:         counters(r, "sluice_moved_bytes_total", "Bytes moved, by way: spliced in the kernel, copied, or opened for a pipeline.", "cluster", "way"),
		failures:      counters(r, "sluice_failures_total", "What went wrong, by cause.", "cluster", "cause"),
		made:          counters(r, "sluice_markers_made_total", "Markers stored in the place of dropped records.", "cluster"),
		hidden:        counters(r, "sluice_markers_hidden_total", "Markers kept from consumers.", "cluster"),
	}
	g.clusters.Store(&map[string]*clusterMetrics{})
	return g
}

// clusterMetrics are the metrics of one cluster with their labels looked up.
type clusterMetrics struct {
	all          *gatewayMetrics
	name         string
	apis         [kmsg.MaxKey + 2]atomic.Pointer[apiMetrics] // the last one is for keys that are not known
	moved        map[gateway.Path]prometheus.Counter
	made, hidden prometheus.Counter
}

type apiMetrics struct{ requests, requestBytes, responses, responseBytes prometheus.Counter }

func (g *gatewayMetrics) cluster(name string) *clusterMetrics {
	if c, ok := (*g.clusters.Load())[name]; ok {
		return c
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c, ok := (*g.clusters.Load())[name]; ok {
		return c
	}
	c := &clusterMetrics{
		all: g, name: name, made: g.made.WithLabelValues(name), hidden: g.hidden.WithLabelValues(name),
		moved: map[gateway.Path]prometheus.Counter{},
	}
	for _, way := range []gateway.Path{gateway.PathCopied, gateway.PathSpliced, gateway.PathOpened} {
		c.moved[way] = g.moved.WithLabelValues(name, string(way))
	}
	next := maps.Clone(*g.clusters.Load())
	next[name] = c
	g.clusters.Store(&next)
	return c
}

func (c *clusterMetrics) api(key int16) *apiMetrics {
	i := int(key)
	if i < 0 || i > kmsg.MaxKey {
		i = kmsg.MaxKey + 1
	}
	if a := c.apis[i].Load(); a != nil {
		return a
	}
	name := kmsg.NameForKey(int16(i)) // "Unknown" for the last
	a := &apiMetrics{
		requests:      c.all.requests.WithLabelValues(c.name, name),
		requestBytes:  c.all.requestBytes.WithLabelValues(c.name, name),
		responses:     c.all.responses.WithLabelValues(c.name, name),
		responseBytes: c.all.responseBytes.WithLabelValues(c.name, name),
	}
	c.apis[i].Store(a) // a second one made at the same time holds the same counters
	return a
}

func (g *gatewayMetrics) Connection(cluster, listener string, delta int) {
	g.connections.WithLabelValues(cluster, listener).Add(float64(delta))
	if delta > 0 {
		g.accepted.WithLabelValues(cluster, listener).Add(float64(delta))
	}
}

func (g *gatewayMetrics) Request(cluster string, key int16, bytes int) {
	a := g.cluster(cluster).api(key)
	a.requests.Inc()
	a.requestBytes.Add(float64(bytes))
}

func (g *gatewayMetrics) Response(cluster string, key int16, bytes int) {
	a := g.cluster(cluster).api(key)
	a.responses.Inc()
	a.responseBytes.Add(float64(bytes))
}

func (g *gatewayMetrics) Moved(cluster string, how gateway.Path, bytes int) {
	if c, ok := g.cluster(cluster).moved[how]; ok {
		c.Add(float64(bytes))
	}
}

func (g *gatewayMetrics) Failure(cluster string, cause gateway.Cause) {
	g.failures.WithLabelValues(cluster, string(cause)).Inc()
}

func (g *gatewayMetrics) Markers(cluster string, made, hidden int) {
	c := g.cluster(cluster)
	c.made.Add(float64(made))
	c.hidden.Add(float64(hidden))
}
