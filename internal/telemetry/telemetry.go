// Package telemetry counts what the gateway does, for Prometheus, and sets up its log.
//
// [Metrics] owns a registry of its own. It is handed to the parts as the observer that they ask for: [Metrics.Gateway]
// for the Kafka core, [Metrics.Host] for the stages. Every name begins with sluice_, but for the Go runtime's and the
// process's own; README.md beside this file lists them.
//
// What is called for each frame or batch costs one or two atomic additions and allocates nothing. Labels come from the
// configuration and from tables of Kafka's, never from clients, so that no client can make the number of series grow.
package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicegate/sluice/internal/jsonschema"
)

// Metrics are all metrics of one process. Its methods may be called from several goroutines at once.
type Metrics struct {
	registry *prometheus.Registry
	gateway  *gatewayMetrics
	host     *hostMetrics

	reloads    *prometheus.CounterVec
	reloadGood prometheus.Gauge
	reloadTime prometheus.Gauge
}

// New returns metrics that all begin at zero. version is the binary's.
func New(version string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m := &Metrics{registry: r, gateway: newGatewayMetrics(r), host: newHostMetrics(r)}

	build := gauges(r, "sluice_build_info", "Always 1; the labels say what is running.", "version", "goversion")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.reloads = counters(r, "sluice_reloads_total", "Attempts to load the configuration after start.", "result")
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("failed")
	m.reloadGood = gauges(r, "sluice_reload_ok", "1 if the latest attempt to load the configuration worked, else 0: what runs is older than the file.").WithLabelValues()
	m.reloadTime = gauges(r, "sluice_config_loaded_timestamp_seconds", "When the configuration that runs was loaded, as Unix time.").WithLabelValues()
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Started records that the first configuration was loaded at now.
func (m *Metrics) Started(now time.Time) {
	m.reloadGood.Set(1)
	m.reloadTime.Set(float64(now.UnixMilli()) / 1e3)
}

// Reloaded records that loading the configuration again worked or failed at now.
func (m *Metrics) Reloaded(ok bool, now time.Time) {
	if !ok {
		m.reloads.WithLabelValues("failed").Inc()
		m.reloadGood.Set(0)
		return
	}
	m.reloads.WithLabelValues("ok").Inc()
	m.Started(now)
}

// Schemas exports the counters of the schema checks. It is called at most once.
func (m *Metrics) Schemas(stats *jsonschema.Stats) {
	for _, way := range []struct {
		label string
		value interface{ Load() uint64 }
	}{
		{"fast", &stats.Fast}, {"judge", &stats.Judged}, {"refused", &stats.Refused},
		{"framed", &stats.Framed}, {"null", &stats.Null},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "sluice_schema_values_total",
			Help: "Values checked against a schema, by how: accepted by the fast check, decided by the judge, " +
				"refused before it (not JSON, or beyond a limit), or not judged (Schema Registry framing, null).",
			ConstLabels: prometheus.Labels{"way": way.label},
		}, func() float64 { return float64(way.value.Load()) }))
	}
}

func counters(r *prometheus.Registry, name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func gauges(r *prometheus.Registry, name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}
