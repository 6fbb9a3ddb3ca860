package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Host runs guests. A process needs one. It is for use by many goroutines at once.
type Host struct {
	cfg     Config
	cache   wazero.CompilationCache
	runtime wazero.Runtime
	slots   *slots
	secret  [32]byte // keys the guests' random numbers

	mu     sync.Mutex
	codes  map[[32]byte]*code  // by digest of the module
	stages map[*Stage]struct{} // open ones, for the sweep of idle instances
	closed bool

	sweeper struct {
		stop chan struct{}
		done chan struct{}
	}
}

// New makes a host. ctx is not kept.
func New(ctx context.Context, cfg Config) (*Host, error) {
	h := &Host{cfg: cfg.withDefaults(), codes: map[[32]byte]*code{}, stages: map[*Stage]struct{}{}}
	if _, err := rand.Read(h.secret[:]); err != nil {
		return nil, fmt.Errorf("new host: read random secret: %w", err)
	}
	h.slots = newSlots(h.cfg.Slots)
	if err := h.openCache(); err != nil {
		return nil, fmt.Errorf("new host: %w", err)
	}
	h.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(MaxMemory/pageSize).
		WithCompilationCache(h.cache))
	if err := h.link(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("new host: %w", err), h.runtime.Close(ctx), h.cache.Close(ctx))
	}
	h.sweeper.stop, h.sweeper.done = make(chan struct{}), make(chan struct{})
	go h.sweepIdle()
	return h, nil
}

// pageSize is WebAssembly's, in bytes.
const pageSize = 64 << 10

func (c Config) withDefaults() Config {
	if c.Slots <= 0 {
		c.Slots = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.IdleAfter <= 0 {
		c.IdleAfter = time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (h *Host) openCache() error {
	if h.cfg.CacheDir == "" {
		h.cache = wazero.NewCompilationCache()
		return nil
	}
	if err := privateDir(h.cfg.CacheDir); err != nil {
		return fmt.Errorf("cache of compiled code: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(h.cfg.CacheDir)
	if err != nil {
		return fmt.Errorf("cache of compiled code: %w", err)
	}
	h.cache = cache
	return nil
}

// privateDir makes dir with mode 0700. One that others may write to is refused, not mended: what is in it already may be theirs.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	switch mode := info.Mode().Perm(); {
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a directory")}
	case runtime.GOOS == "windows": // has no such modes
		return nil
	case !ownedByUs(info):
		return fmt.Errorf("%s: it belongs to another user, and code from it is run as it stands: name a directory of your own", dir)
	case mode&0o022 != 0:
		return fmt.Errorf("%s: others may write to it (mode %04o) and code from it is run as it stands: remove it, or empty it and chmod 700 it", dir, mode)
	case mode != 0o700:
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// link makes the import modules, once for all guests.
func (h *Host) link(ctx context.Context) error {
	for _, m := range importModules {
		b := h.runtime.NewHostModuleBuilder(m.name)
		for i := range m.functions {
			f := &m.functions[i]
			b = b.NewFunctionBuilder().WithGoModuleFunction(f.adapt(m.name), f.params, f.results).Export(f.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("link %s: %w", m.name, err)
		}
	}
	return nil
}

// Close ends the host and frees compiled code. Pipelines must have been closed before. A second Close does nothing.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	if closed {
		return nil
	}
	close(h.sweeper.stop)
	<-h.sweeper.done
	return errors.Join(h.runtime.Close(ctx), h.cache.Close(ctx))
}

// sweepIdle closes idle instances until the host is closed.
func (h *Host) sweepIdle() {
	defer close(h.sweeper.done)
	t := time.NewTicker(max(h.cfg.IdleAfter/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-h.sweeper.stop:
			return
		case <-t.C:
			h.sweep(h.cfg.Now())
		}
	}
}

// sweep closes the instances that have been idle for IdleAfter at the time now.
func (h *Host) sweep(now time.Time) {
	h.mu.Lock()
	stages := make([]*Stage, 0, len(h.stages))
	for s := range h.stages {
		stages = append(stages, s)
	}
	h.mu.Unlock()
	for _, s := range stages {
		s.closeIdle(now.Add(-h.cfg.IdleAfter))
	}
}
