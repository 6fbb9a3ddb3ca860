package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/internal/app"
	"github.com/sluicegate/sluice/internal/config"
)

var runCommand = &command{
	name: "run", args: "-c sluice.yaml", summary: "run the gateway",
	help: `
Serves Kafka clients as the configuration says, until SIGTERM or Ctrl-C. Then listeners close, requests under way are
answered (for at most --drain), and it ends; a second Ctrl-C ends it at once.

When the configuration, a document or a module changes, or on SIGHUP, pipelines are built anew beside the old
ones and swapped; no connection is dropped. If there is a problem it is logged, and the old ones stay. Changed clusters,
listeners, limits and admin settings need a restart, and the log says so.

The log goes to standard error. /metrics, /livez and /readyz are on the admin port (127.0.0.1:9642 by default).

Examples:
  {sluice} run -c sluice.yaml
  SLUICE_LOG__LEVEL=debug {sluice} run -c sluice.yaml
  kill -HUP $(pidof sluice)
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		path := configFlag(fs)
		drain := fs.Duration("drain", 30*time.Second, "how long requests under way may take at the end, as a `duration`")
		return func(ctx context.Context, e *env, args []string) error {
			if len(args) > 0 {
				return usage("it takes no arguments, and %q is one", args[0])
			}
			return serve(ctx, e, app.Options{
				Load:         func() (*config.Config, error) { return config.Load(*path, os.Environ()) },
				LogTo:        e.err,
				Version:      fullVersion(),
				DrainTimeout: *drain,
			}, nil)
		}
	},
}

func configFlag(fs *flag.FlagSet) *string {
	return fs.String("c", "sluice.yaml", "the configuration `file`")
}

// serve runs a gateway until ctx ends. started, if not nil, is called when it listens.
func serve(ctx context.Context, e *env, opts app.Options, started func(context.Context, *app.App) error) error {
	a, err := app.Start(ctx, opts)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it began
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if started != nil {
		if err := started(ctx, a); err != nil {
			a.Close()
			return err
		}
	}
	reloads := make(chan struct{})
	go func() {
		defer close(reloads)
		for {
			select {
			case <-ctx.Done():
				return
			case <-e.hangup:
				_ = a.Reload(ctx) // what is wrong is in the log
			}
		}
	}()
	err = a.Run(ctx)
	cancel()
	<-reloads
	return err
}

var configCheckCommand = &command{
	name: "config check", args: "[-c sluice.yaml]", summary: "find everything that is wrong with a configuration",
	help: `
Loads the configuration with the environment over it, its documents and modules, and starts every stage once, as run
would; nothing is served and no cluster is asked. All problems are printed at once, one a line:

  sluice.yaml:12:5: pipelines[0].stages[1].plugin: what is wrong and what to do

Warnings are about what works and may not be meant. Exit code 3 says that there are problems.

Examples:
  {sluice} config check -c sluice.yaml
  SLUICE_CLUSTERS__0__NAME=other {sluice} config check
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		path := configFlag(fs)
		return func(ctx context.Context, e *env, args []string) error {
			if len(args) > 0 {
				return usage("it takes no arguments: name the file with -c %s", args[0])
			}
			cfg, err := config.Load(*path, os.Environ())
			if err != nil {
				return err
			}
			warnings, err := app.Check(ctx, cfg, nil)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintf(e.err, "warning: %s\n", w)
			}
			fmt.Fprintf(e.out, "%s: ok (clusters: %d, listeners: %d, documents: %d, pipelines: %d)\n",
				*path, len(cfg.Clusters), len(cfg.Listeners), len(cfg.Documents), len(cfg.Pipelines))
			return nil
		}
	},
}

var versionCommand = &command{
	name: "version", summary: "print the version",
	help: "Prints the version of the binary, of the plugin ABI, of Go, and the platform.",
	setup: func(*flag.FlagSet) func(context.Context, *env, []string) error {
		return func(_ context.Context, e *env, _ []string) error {
			_, err := fmt.Fprintf(e.out, "sluice %s (abi %d, %s, %s/%s)\n", fullVersion(), abi.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}
	},
}

// fullVersion is the version that the linker was given, or what the Go command knows about the source.
func fullVersion() string {
	if version != "dev" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return version + "-" + s.Value[:12]
		}
	}
	return version
}
