// Package gateway runs the built sluice binary for tests.
//
// A gateway gets a directory with its configuration, a cluster to stand before
// and ports of its own. It can be killed and started again at the same ports,
// with another environment.
package gateway

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/child"
)

// markerKey is the secret of all gateways of tests.
var markerKey = []byte("0123456789abcdef0123456789abcdef")

// MarkerCode is what the header of a marker with this key must hold. It is
// computed here from the description, not by the gateway's own code.
func MarkerCode(topic string, key []byte) []byte {
	mac := hmac.New(sha256.New, markerKey)
	io.WriteString(mac, "sluice.dropped\x00"+topic+"\x00")
	mac.Write(key)
	return mac.Sum(nil)[:16]
}

// Config says what gateway to start.
type Config struct {
	Binary    string   // path of sluice
	Dir       string   // for configuration and log
	Bootstrap []string // the cluster's
	MaxNode   int      // the highest node id of the cluster, which decides how many ports are needed

	// Pipelines is the configuration from "pipelines:" on, as YAML, with
	// whatever sections it needs beside clusters, listeners, admin, cache_dir
	// and markers' key.
	Pipelines string

	// Files are written beside the configuration, by name.
	Files map[string]string

	// Listener are further settings of the listener, as YAML lines.
	Listener string

	Env []string
}

// Gateway is a gateway that was started at least once.
type Gateway struct {
	Bootstrap string // for clients
	Admin     string // host:port
	Path      string // of sluice.yaml

	cfg  Config
	proc *child.Process
}

// New writes the configuration and chooses ports; nothing runs yet.
func New(cfg Config) (*Gateway, error) {
	admin := testenv.Ports(cfg.MaxNode + 3) // and the bootstrap port, and one for each node id from 0
	port := admin + 1
	local := func(p int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p)) }
	g := &Gateway{cfg: cfg, Bootstrap: local(port), Admin: local(admin), Path: filepath.Join(cfg.Dir, "sluice.yaml")}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	for name, text := range cfg.Files {
		path := filepath.Join(cfg.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
	}
	if err := g.Configure(cfg.Pipelines); err != nil {
		return nil, err
	}
	return g, nil
}

// Configure rewrites the configuration with other pipelines.
func (g *Gateway) Configure(pipelines string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "clusters:\n  - name: main\n    bootstrap: [%s]\n", strings.Join(g.cfg.Bootstrap, ", "))
	fmt.Fprintf(&b, "listeners:\n  - name: test\n    bind: %s\n%s", g.Bootstrap, g.cfg.Listener)
	fmt.Fprintf(&b, "admin:\n  bind: %s\n", g.Admin)
	// Shared by all gateways of tests, so that modules are compiled once.
	fmt.Fprintf(&b, "cache_dir: %s\n", filepath.Join(testenv.CacheDir(), "modules"))
	if !strings.Contains(pipelines, "markers:") {
		fmt.Fprintf(&b, "markers:\n  key: %s\n", base64.StdEncoding.EncodeToString(markerKey))
	}
	b.WriteString(pipelines)
	// Atomically, as one should: the gateway may be watching.
	tmp := g.Path + ".new"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if err := os.Rename(tmp, g.Path); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// Start is New and Run.
func Start(ctx context.Context, cfg Config) (*Gateway, error) {
	g, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return g, g.Run(ctx)
}

// Run starts the gateway, with env added to its environment, and waits until it
// is ready.
func (g *Gateway) Run(ctx context.Context, env ...string) error {
	if err := g.Launch(env...); err != nil {
		return err
	}
	return g.WaitReady(ctx)
}

// Launch starts the gateway and does not wait.
func (g *Gateway) Launch(env ...string) (err error) {
	g.proc, err = child.Start(child.Spec{
		Name: "sluice",
		Args: []string{g.cfg.Binary, "run", "-c", g.Path},
		Env:  append(g.cfg.Env, env...),
		Log:  filepath.Join(g.cfg.Dir, "sluice.log"),
	})
	return err
}

// WaitReady waits until /readyz says yes.
func (g *Gateway) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return g.proc.Ready(ctx, g.Ready)
}

// Ready asks /readyz once.
func (g *Gateway) Ready(ctx context.Context) error {
	_, err := g.get(ctx, "/readyz")
	return err
}

func (g *Gateway) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.Admin+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, resp.Status, bytes.TrimSpace(body))
	}
	return string(body), err
}

// Metric sums the samples of a metric whose labels contain all the given texts,
// such as `verdict="drop"`.
func (g *Gateway) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	body, err := g.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0.0
lines:
	for _, line := range strings.Split(body, "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum += v
	}
	return sum, nil
}

// PID is the process id.
func (g *Gateway) PID() int { return g.proc.PID() }

// Process is the running or last process.
func (g *Gateway) Process() *child.Process { return g.proc }

// Kill ends the gateway with SIGKILL.
func (g *Gateway) Kill() {
	if g.proc != nil {
		g.proc.Kill()
	}
}

// Stop ends the gateway with SIGTERM and returns an error if it does not end in
// time or not with exit code 0.
func (g *Gateway) Stop() error {
	if err := g.proc.Stop(30 * time.Second); err != nil {
		return err
	}
	if code := g.proc.ExitCode(); code != 0 {
		return fmt.Errorf("sluice ended with exit code %d after SIGTERM\n%s", code, g.proc.Tail(20))
	}
	return nil
}

// Tail is the end of the log.
func (g *Gateway) Tail(n int) string {
	if g.proc == nil {
		return "the gateway was never started"
	}
	return g.proc.Tail(n)
}

// Log is the whole log.
func (g *Gateway) Log() string {
	b, err := os.ReadFile(filepath.Join(g.cfg.Dir, "sluice.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
