package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluicegate/sluice/internal/app"
	"github.com/sluicegate/sluice/internal/asyncapi"
	"github.com/sluicegate/sluice/internal/config"
	"github.com/sluicegate/sluice/internal/embedded"
)

var demoCommand = &command{
	name: "demo", args: "[flags]", summary: "try it: a broker, the gateway and a validation pipeline in one process",
	help: `
Starts an embedded Kafka broker, the gateway before it, and a pipeline that checks the records of the topic
event-gateway-demo against an AsyncAPI document: "lumens" must be a whole number of at least 0. A record that is
not valid is stored with a header that says why. It prints what to paste in a second terminal. Ctrl-C ends it; the records
are there again the next time.

The configuration is written into the data directory at each start. Edits take effect at once while the demo runs; copy
it to keep them.

Examples:
  {sluice} demo
  {sluice} demo --bind 127.0.0.1:19092 --admin 127.0.0.1:19642
  {sluice} demo --broker localhost:29092       # before a Kafka cluster of your own
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		d := new(demo)
		fs.StringVar(&d.bind, "bind", defaultBrokers, "the `address` for Kafka clients; the broker gets the port after it")
		fs.StringVar(&d.admin, "admin", config.DefaultAdminBind, "the `address` of the admin port")
		fs.StringVar(&d.dir, "data-dir", "", "the `directory` for records and configuration (default: sluice/demo in the user's cache directory)")
		fs.StringVar(&d.broker, "broker", "", "`addresses` of an existing cluster, host:port with commas between, in place of the embedded broker")
		return d.run
	},
}

// demo is the state of one demo command.
type demo struct {
	bind, admin, dir, broker string
	began                    time.Time
}

// Names in the demo.
const (
	demoTopic    = "event-gateway-demo"
	demoDocument = "asyncapi.yaml"
	demoConfig   = "sluice.yaml"
	demoKey      = "marker.key"
)

func (d *demo) run(ctx context.Context, e *env, args []string) error {
	if len(args) > 0 {
		return usage("it takes no arguments, and %q is one", args[0])
	}
	d.began = time.Now()
	if err := d.prepare(); err != nil {
		return err
	}
	brokers := strings.Split(d.broker, ",")
	if d.broker == "" {
		fmt.Fprintf(e.err, "starting the embedded broker, data in %s\n", d.dir)
		cluster, err := embedded.Start(embedded.Config{Dir: d.dir, Topics: []embedded.Topic{{Name: demoTopic}}})
		if errors.Is(err, embedded.ErrInUse) {
			return fmt.Errorf("%w: another demo is running? Give this one its own --data-dir, --bind and --admin", err)
		}
		if err != nil {
			return err
		}
		defer cluster.Close()
		brokers = cluster.Addrs()
	} else if err := d.createTopic(ctx); err != nil {
		return err
	}
	path := filepath.Join(d.dir, demoConfig)
	if err := os.WriteFile(path, d.configuration(brokers), 0o600); err != nil {
		return err
	}
	err := serve(ctx, e, app.Options{
		Load:         func() (*config.Config, error) { return config.Load(path, os.Environ()) },
		LogTo:        e.err,
		Version:      fullVersion(),
		Progress:     func(text string) { fmt.Fprintf(e.err, "%s (some seconds the first time)\n", text) },
		DrainTimeout: 5 * time.Second,
	}, func(ctx context.Context, a *app.App) error { return d.ready(ctx, e, a) })
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: choose other addresses, such as --bind 127.0.0.1:19092 --admin 127.0.0.1:19642", err)
	}
	return err
}

// prepare makes the data directory and what the configuration refers to.
func (d *demo) prepare() error {
	if d.dir == "" {
		cache, err := config.DefaultCacheDir()
		if err != nil {
			return fmt.Errorf("%w: name a directory with --data-dir", err)
		}
		d.dir = filepath.Join(cache, "demo")
	}
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return err
	}
	d.dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, demoDocument), asyncapi.Demo, 0o600); err != nil {
		return err
	}
	return makeKey(filepath.Join(dir, demoKey))
}

// makeKey writes a new key for markers unless there is one. Markers that were stored before must stay recognisable, so it is
// never replaced. It appears as a whole or not at all, whenever the process is killed.
func makeKey(path string) (err error) {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Of two demos that start at once the first one's key holds; a file without a key in it is no key.
	err = os.Link(f.Name(), path)
	if info, statErr := os.Stat(path); statErr == nil && info.Size() == 0 {
		err = os.Rename(f.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return err
}

// createTopic creates the demo's topic in an existing cluster.
func (d *demo) createTopic(ctx context.Context) error {
	cl, err := connect(ctx, d.broker)
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).CreateTopic(ctx, 1, -1, nil, demoTopic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", demoTopic, err)
	}
	return nil
}

// configuration is the text of sluice.yaml.
func (d *demo) configuration(brokers []string) []byte {
	quoted := make([]string, len(brokers))
	for i, b := range brokers {
		quoted[i] = strconv.Quote(strings.TrimSpace(b))
	}
	return fmt.Appendf(nil, `# Written by "sluice demo" at each start. Edit it while the demo runs: changes take effect at once. Copy it to keep them.
clusters:
  - name: main
    bootstrap: [%s]
listeners:
  - name: public
    cluster: main
    bind: %q                  # bootstrap; the broker with node id N is at this port + 1 + N
documents:
  - name: lights
    file: %s                 # an AsyncAPI document, 2.x or 3.0
pipelines:
  - name: measurements
    topics: [%s]
    on: produce                              # produce or fetch
    stages:
      - plugin: validate                     # built in; a .wasm file works as well
        config:
          document: lights
          on_invalid: annotate               # try reject, or dead-letter
        dead_letter: %[4]s-invalid
markers:
  key: ${file:%s}
admin:
  bind: %q                  # /metrics /livez /readyz
`, strings.Join(quoted, ", "), d.bind, demoDocument, demoTopic, demoKey, d.admin)
}

// startTimeout is how long the gateway may take to learn the brokers before the demo says what is missing.
const startTimeout = 10 * time.Second

// ready waits until clients can be served and prints what to do next.
func (d *demo) ready(ctx context.Context, e *env, a *app.App) error {
	deadline := time.Now().Add(startTimeout)
	for err := a.Ready(); err != nil; err = a.Ready() {
		if ctx.Err() != nil {
			return nil
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(e.err, "still not ready: %v\n", err)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	addr := a.Addr("public")
	flags := ""
	if addr != defaultBrokers {
		flags = " -b " + addr
	}
	broker := "embedded; records are kept in " + d.dir
	if d.broker != "" {
		broker = d.broker
	}
	_, err := fmt.Fprintf(e.out, `
Sluice is ready after %[1]s.

  Kafka clients   %[2]s
  Broker          %[3]s
  Metrics         http://%[4]s/metrics
  Configuration   %[5]s   (edits take effect at once)

Topic %[6]s: "lumens" must be a whole number of at least 0. In a second terminal:

  echo '{"lumens": 100}'  | %[7]s produce%[8]s -t %[6]s
  echo '{"lumens": true}' | %[7]s produce%[8]s -t %[6]s
  %[7]s consume%[8]s -t %[6]s -e

The same with kcat:

  echo '{"lumens": true}' | kcat -b %[2]s -P -t %[6]s
  kcat -b %[2]s -C -t %[6]s -e -f '%%s %%h\n'

Ctrl-C ends it.
`, time.Since(d.began).Round(10*time.Millisecond), addr, broker, a.AdminAddr(), filepath.Join(d.dir, demoConfig), demoTopic, e.program, flags)
	return err
}
