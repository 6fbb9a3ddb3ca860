package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
)

// Host returns the observer for the stages.
func (m *Metrics) Host() host.Observer { return m.host }

type hostMetrics struct {
	records    *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	fuel       *prometheus.CounterVec
	poison     *prometheus.CounterVec
	failures   *prometheus.CounterVec
	instances  *prometheus.GaugeVec
	logDropped *prometheus.CounterVec
}

// latencies are bounds in seconds: a batch in a filter takes tens of microseconds, a deadline is a second by default.
var latencies = []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5}

func newHostMetrics(r *prometheus.Registry) *hostMetrics {
	h := &hostMetrics{
		records: counters(r, "sluice_stage_records_total", "Records by what the stage decided; for a stage that only observes, what it would have decided.",
			"pipeline", "stage", "verdict"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_stage_seconds", Help: "Time of a batch in a stage, waiting for a run slot included.", Buckets: latencies,
		}, []string{"pipeline", "stage"}),
		fuel:       counters(r, "sluice_stage_fuel_total", "Fuel that the stage's guest spent; one unit is about one instruction.", "pipeline", "stage"),
		poison:     counters(r, "sluice_stage_poison_records_total", "Records proven to make the stage fail.", "pipeline", "stage"),
		failures:   counters(r, "sluice_stage_failures_total", "Guest calls and starts of instances that failed, by cause.", "pipeline", "stage", "cause"),
		instances:  gauges(r, "sluice_stage_instances", "Instances of the stage's module that are alive.", "pipeline", "stage"),
		logDropped: counters(r, "sluice_stage_log_lines_dropped_total", "Lines of the guest's log that were over its rate.", "pipeline", "stage"),
	}
	r.MustRegister(h.seconds)
	return h
}

// verdicts are the operations that a record may get.
var verdicts = [...]abi.Op{abi.OpKeep, abi.OpDrop, abi.OpReplace, abi.OpReject, abi.OpDeadLetter}

// Stage implements host.Observer. All series of the stage exist from now on, at zero.
func (h *hostMetrics) Stage(pipeline, stage string) host.StageObserver {
	s := &stageMetrics{
		failures:   h.failures.MustCurryWith(prometheus.Labels{"pipeline": pipeline, "stage": stage}),
		seconds:    h.seconds.WithLabelValues(pipeline, stage),
		fuel:       h.fuel.WithLabelValues(pipeline, stage),
		poison:     h.poison.WithLabelValues(pipeline, stage),
		instances:  h.instances.WithLabelValues(pipeline, stage),
		logDropped: h.logDropped.WithLabelValues(pipeline, stage),
	}
	for _, op := range verdicts {
		s.records[op] = h.records.WithLabelValues(pipeline, stage, op.String())
	}
	return s
}

type stageMetrics struct {
	records    [len(verdicts)]prometheus.Counter // by abi.Op
	failures   *prometheus.CounterVec
	seconds    prometheus.Observer
	fuel       prometheus.Counter
	poison     prometheus.Counter
	instances  prometheus.Gauge
	logDropped prometheus.Counter
}

func (s *stageMetrics) Batch(elapsed time.Duration, fuel int64) {
	s.seconds.Observe(elapsed.Seconds())
	s.fuel.Add(float64(max(fuel, 0)))
}

func (s *stageMetrics) Records(op abi.Op, n int) {
	if int(op) < len(s.records) {
		s.records[op].Add(float64(n))
	}
}

func (s *stageMetrics) Poison(n int)             { s.poison.Add(float64(n)) }
func (s *stageMetrics) Failure(cause host.Cause) { s.failures.WithLabelValues(string(cause)).Inc() }
func (s *stageMetrics) Instances(delta int)      { s.instances.Add(float64(delta)) }
func (s *stageMetrics) LogDropped(n int)         { s.logDropped.Add(float64(n)) }
