// Package app makes a running gateway out of a configuration: it loads documents and modules, builds the pipelines,
// hands them to the Kafka core, and does it again when something changes.
//
// # A reload
//
// A changed file, [App.Reload], or a signal that leads to it: the configuration is loaded and everything that it names is
// built, first in a WebAssembly host of its own that nothing depends on. If anything is wrong all problems are logged and
// what runs stays as it is, untouched. Otherwise the pipelines are built beside the old ones and swapped under
// the connections; the old ones are closed when their last batch is through. Settings that need a restart are
// named in the log.
//
// # The end
//
// When the context of [App.Run] ends, /readyz turns to 503, listeners close, requests under way are answered, and Run returns.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/admin"
	"github.com/sluicegate/sluice/internal/config"
	"github.com/sluicegate/sluice/internal/jsonschema"
	"github.com/sluicegate/sluice/internal/kafka/emit"
	"github.com/sluicegate/sluice/internal/kafka/gateway"
	"github.com/sluicegate/sluice/internal/telemetry"
)

// Options say what to run.
type Options struct {
	// Load reads the configuration, at start and for each reload.
	Load func() (*config.Config, error)
	// LogTo gets the log.
	LogTo io.Writer
	// Version is the binary's, for metrics.
	Version string
	// Progress, if not nil, is told what takes long at the start, in words for a person: "compiling validate". Where it is set, the log does
	// not repeat what runs where.
	Progress func(text string)
	// DrainTimeout is how long requests under way may take when the gateway ends; 0 means 30 s.
	DrainTimeout time.Duration
}

// App is a running gateway. Its methods may be called from any goroutine.
type App struct {
	opts     Options
	progress func(string) // Options.Progress until the start is over
	log      *slog.Logger
	level    slog.LevelVar
	metrics  *telemetry.Metrics
	stats    jsonschema.Stats
	schemas  liveSchemas
	host     *host.Host
	gateway  *gateway.Gateway
	admin    *admin.Server
	started  *config.Config // what needs a restart to change

	draining atomic.Bool
	built    atomic.Bool

	mu      sync.Mutex // held while a configuration is built and swapped in
	current *build     // what runs
	failure string     // why the latest reload failed, "" if it did not
	watch   atomic.Pointer[[]string]
	loaded  map[string]digest // of the files as they were when Start loaded them
}

// Start loads the configuration, builds everything and serves clients. On an error nothing is left running; problems of
// the configuration are [config.Problems]. The clusters need not be reachable. ctx bounds the start only.
func Start(ctx context.Context, opts Options) (*App, error) {
	cfg, err := opts.Load()
	if err != nil {
		return nil, err
	}
	a := &App{opts: opts, progress: opts.Progress, started: cfg, metrics: telemetry.New(opts.Version), loaded: digests(cfg.Files)}
	a.level.Set(slog.Level(cfg.Log.Level))
	a.log = telemetry.NewLog(opts.LogTo, cfg.Log.Format == config.JSON, &a.level)
	a.metrics.Schemas(&a.stats)
	if err := a.start(ctx, cfg); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *App) start(ctx context.Context, cfg *config.Config) (err error) {
	// The admin port first: whoever watches it sees that the process lives while modules are compiled.
	a.admin, err = admin.Start(admin.Config{
		Bind: cfg.Admin.Bind, Metrics: a.metrics.Handler(), Log: a.log,
		Checks: map[string]func() error{"gateway": a.ready, "configuration": a.configured},
	})
	if err != nil {
		return err
	}
	if a.host, err = host.New(ctx, a.hostConfig(cfg, &a.schemas, a.metrics.Host())); err != nil {
		return err
	}
	if a.current, err = a.build(ctx, cfg, a.host, &a.schemas); err != nil {
		return err
	}
	gwConfig, err := a.gatewayConfig(cfg)
	if err != nil {
		return err
	}
	gw, err := gateway.New(gwConfig)
	if err != nil {
		return err
	}
	if err := gw.SetRoutes(ctx, a.current.routes); err != nil {
		return errors.Join(err, gw.Close())
	}
	// Start's context must outlive this function: Close ends the gateway.
	if err := gw.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(err, gw.Close())
	}
	a.gateway = gw
	a.progress = nil // nobody waits for a reload
	a.watch.Store(&a.current.files)
	a.built.Store(true)
	a.metrics.Started(time.Now())
	a.logStarted(cfg)
	return nil
}

func (a *App) logStarted(cfg *config.Config) {
	a.logWarnings(cfg)
	if a.opts.Progress != nil {
		return
	}
	for _, l := range cfg.Listeners {
		a.log.Info("listening", "listener", l.Name, "cluster", l.Cluster, "addr", a.gateway.Addr(l.Name))
	}
	a.log.Info("admin port", "addr", a.admin.Addr())
}

func (a *App) logWarnings(cfg *config.Config) {
	for _, w := range slices.Concat(cfg.Warnings, a.current.warnings) {
		a.log.Warn(w.String())
	}
}

// compiled is where compiled code is kept below the cache directory.
const compiled = "compiled"

func (a *App) hostConfig(cfg *config.Config, schemas host.Schemas, observer host.Observer) host.Config {
	return host.Config{
		CacheDir: filepath.Join(cfg.CacheDir, compiled),
		Log:      a.log, Observer: observer, Schemas: schemas,
	}
}

func (a *App) gatewayConfig(cfg *config.Config) (gateway.Config, error) {
	out := gateway.Config{
		Log: a.log, Observer: a.metrics.Gateway(),
		Limits: gateway.LimitsConfig{
			MaxRequestBytes: int32(cfg.Limits.RequestBytes), MaxResponseBytes: int32(cfg.Limits.ResponseBytes),
			OpenedBytes: int64(cfg.Limits.OpenedBytes), Pending: cfg.Limits.InFlight, Connections: cfg.Limits.Connections,
		},
	}
	for _, c := range cfg.Clusters {
		cluster := gateway.ClusterConfig{Name: c.Name, Bootstrap: c.Bootstrap}
		if sa := c.ServiceAccount; sa != nil {
			cluster.ServiceAccount = &emit.SASL{Mechanism: sa.Mechanism, Username: sa.Username, Password: sa.Password.Reveal()}
		}
		out.Clusters = append(out.Clusters, cluster)
	}
	for _, l := range cfg.Listeners {
		listener := gateway.ListenerConfig{Name: l.Name, Cluster: l.Cluster, Bind: l.Bind, Advertise: l.Advertise}
		if l.TLS != nil {
			var err error
			if listener.TLS, err = l.TLS.Config(); err != nil {
				return out, fmt.Errorf("listener %s: %w", l.Name, err)
			}
		}
		out.Listeners = append(out.Listeners, listener)
	}
	return out, nil
}

// ready is the readiness of the Kafka side.
func (a *App) ready() error {
	switch {
	case a.draining.Load():
		return errors.New("the gateway is shutting down")
	case !a.built.Load():
		return errors.New("the gateway is starting")
	}
	return a.gateway.Ready()
}

// configured is the readiness of the pipelines. A failed reload is no reason to send clients elsewhere: the old ones work.
func (a *App) configured() error {
	if !a.built.Load() {
		return errors.New("pipelines are being built")
	}
	return nil
}

// Ready returns nil if clients can be served, otherwise what is missing.
func (a *App) Ready() error { return errors.Join(a.configured(), a.ready()) }

// Addr is the bound address of a listener's bootstrap port.
func (a *App) Addr(listener string) string { return a.gateway.Addr(listener) }

// AdminAddr is the bound address of the admin port.
func (a *App) AdminAddr() string { return a.admin.Addr() }

// Log is the log of the gateway.
func (a *App) Log() *slog.Logger { return a.log }

// Reload loads the configuration again and swaps the pipelines. On an error everything runs on as before; it is logged,
// problems one by one, and returned.
func (a *App) Reload(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.reload(ctx)
	if ctx.Err() != nil {
		return ctx.Err() // the end of the gateway, no failure
	}
	a.metrics.Reloaded(err == nil, time.Now())
	if err != nil {
		a.logFailure(err)
		return err
	}
	a.failure = ""
	a.log.Info("configuration loaded", "pipelines", len(a.current.pipelines))
	return nil
}

// logFailure logs why a reload failed, unless it is what was logged last.
func (a *App) logFailure(err error) {
	if a.failure == err.Error() {
		return
	}
	a.failure = err.Error()
	var problems config.Problems
	if !errors.As(err, &problems) {
		a.log.Error("configuration not loaded, the one before stays", "err", err)
		return
	}
	for _, p := range problems {
		a.log.Error(p.String())
	}
	a.log.Error("configuration not loaded, the one before stays", "problems", len(problems))
}

func (a *App) reload(ctx context.Context) error {
	cfg, err := a.opts.Load()
	if err != nil {
		return err
	}
	if err := a.try(ctx, cfg); err != nil {
		return err
	}
	if keys := config.NeedsRestart(a.started, cfg); len(keys) > 0 {
		a.log.Warn("settings have changed that need a restart: until then the old ones hold", "settings", strings.Join(keys, ", "))
	}
	next, err := a.build(ctx, cfg, a.host, &a.schemas)
	if err != nil {
		return err
	}
	a.level.Set(slog.Level(cfg.Log.Level))
	old := a.current
	a.current = next
	a.logWarnings(cfg)
	a.watch.Store(&next.files)
	a.swap(ctx, next, old)
	return nil
}

// swapTimeout is how long a reload waits for batches in the old pipelines.
const swapTimeout = 30 * time.Second

// swap makes next the pipelines for all that arrives from now on, and closes old when nothing uses them any more. A batch that
// takes longer than swapTimeout gets an answer that its client repeats.
func (a *App) swap(ctx context.Context, next, old *build) {
	ctx, cancel := context.WithTimeout(ctx, swapTimeout)
	defer cancel()
	if err := a.gateway.SetRoutes(ctx, next.routes); err != nil {
		a.log.Warn("the new pipelines hold, but batches are left in the old ones", "err", err)
	}
	if err := old.close(ctx); err != nil {
		a.log.Warn("close old pipelines", "err", err)
	}
}

// Check builds everything that cfg names, in a host of its own, and closes it again. The error is config.Problems where
// the configuration is to blame; warnings are what works but may not be meant.
func Check(ctx context.Context, cfg *config.Config, progress func(string)) (warnings config.Problems, err error) {
	a := &App{progress: progress, log: slog.New(slog.DiscardHandler)}
	h, err := host.New(ctx, a.hostConfig(cfg, &a.schemas, nil))
	if err != nil {
		return nil, err
	}
	b, err := a.build(ctx, cfg, h, &a.schemas)
	if err == nil {
		warnings = slices.Concat(cfg.Warnings, b.warnings, b.notes)
		err = b.close(ctx)
	}
	return warnings, errors.Join(err, h.Close(ctx))
}

// try builds cfg in a host of its own, so that the running one never sees a configuration with mistakes: its
// stages ask for schemas whenever they start an instance, and must not meet those of a refused document.
func (a *App) try(ctx context.Context, cfg *config.Config) error {
	_, err := Check(ctx, cfg, nil)
	return err
}

// Run serves until ctx ends, reloading when a file of the configuration changes. Then it drains and closes; the error says
// what could not be ended in time.
func (a *App) Run(ctx context.Context) error {
	w, err := newWatcher(a)
	if err != nil {
		a.log.Warn("changed files are not noticed: send SIGHUP to load the configuration again", "err", err)
		<-ctx.Done()
	} else {
		w.run(ctx)
	}
	return a.drain()
}

func (a *App) drain() error {
	a.draining.Store(true)
	timeout := a.opts.DrainTimeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	a.log.Info("shutting down: requests under way are answered", "timeout", timeout)
	err := a.gateway.Drain(ctx)
	if err != nil {
		err = fmt.Errorf("drain: some connections did not end within %v: %w", timeout, err)
	}
	a.Close()
	a.log.Info("stopped")
	return err
}

// closeTimeout bounds the end of what has nothing left to do.
const closeTimeout = 5 * time.Second

// Close ends everything at once. It may be called more than once, and after Run.
func (a *App) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if a.gateway != nil {
		errs = append(errs, a.gateway.Close())
	}
	if a.current != nil {
		errs = append(errs, a.current.close(ctx))
		a.current = nil
	}
	if a.host != nil {
		errs = append(errs, a.host.Close(ctx))
		a.host = nil
	}
	if a.admin != nil {
		errs = append(errs, a.admin.Close(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		a.log.Warn("shutting down", "err", err)
	}
}
