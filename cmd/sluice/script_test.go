package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluicegate/sluice/catalog"
	"github.com/sluicegate/sluice/internal/embedded"
	"github.com/sluicegate/sluice/internal/testenv"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice": main})
}

// TestScripts runs testdata/script. Beside testscript's own commands there are those of commands below. $PORT0 to $PORT5 are
// free ports, $ROOT is the checkout. [modules] says whether the built-in modules are there.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", testenv.Root())
			port := testenv.Ports(6)
			for i := range 6 {
				e.Setenv("PORT"+strconv.Itoa(i), strconv.Itoa(port+i))
			}
			// Modules are compiled once for all tests, and for the next run.
			e.Setenv("SLUICE_CACHE_DIR", filepath.Join(testenv.CacheDir(), "modules"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			// The smallest module that there is.
			return os.WriteFile(filepath.Join(e.WorkDir, "empty.wasm"), []byte("\x00asm\x01\x00\x00\x00"), 0o600)
		},
		Condition: func(cond string) (bool, error) {
			if cond != "modules" {
				return false, fmt.Errorf("unknown condition")
			}
			_, err := catalog.List()
			if err != nil && testenv.RequireAll() {
				return false, fmt.Errorf("%w (a failure because SLUICE_REQUIRE_ALL=1)", err)
			}
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "broker": broker, "get": get, "metric": metric, "unready": unready, "sub": sub, "signal": sendSignal,
		},
	})
}

// exits runs a program and wants an exit code: exits 2 sluice nonsense.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}

// broker starts an embedded broker with the topics named, and sets $BROKER.
func broker(ts *testscript.TestScript, _ bool, args []string) {
	var topics []embedded.Topic
	for _, name := range args {
		topics = append(topics, embedded.Topic{Name: name})
	}
	c, err := embedded.Start(embedded.Config{Topics: topics})
	ts.Check(err)
	ts.Defer(c.Close)
	ts.Setenv("BROKER", c.Addrs()[0])
}

// patience bounds the waiting for something that should happen.
const patience = 60 * time.Second

// get waits until a URL answers with 200 and writes the body to a file, if one is named.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: get URL [FILE]")
	}
	body := poll(ts, args[0], func(status int, _ string) bool { return status == http.StatusOK })
	if len(args) > 1 {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(body), 0o600))
	}
}

// metric waits until /metrics of an admin port has a line: metric 127.0.0.1:9642 sluice_reload_ok 1.
func metric(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: metric ADDRESS NAME VALUE")
	}
	line := args[1] + " " + args[2] + "\n"
	poll(ts, "http://"+args[0]+"/metrics", func(_ int, body string) bool { return strings.Contains(body, line) })
}

// unready waits until /readyz of an admin port says no, with a reason: unready 127.0.0.1:9642 REGEXP.
func unready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unready ADDRESS REGEXP")
	}
	reason := regexp.MustCompile(args[1])
	poll(ts, "http://"+args[0]+"/readyz", func(status int, body string) bool {
		return status == http.StatusServiceUnavailable && reason.MatchString(body)
	})
}

func poll(ts *testscript.TestScript, url string, good func(status int, body string) bool) string {
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && good(res.StatusCode, string(body)) {
			return string(body)
		}
		last = fmt.Sprintf("%s\n%s", res.Status, body)
	}
	ts.Fatalf("%s: not what was waited for; the last answer was %s", url, last)
	return ""
}

// sub replaces text in a file in one step, as editors do: sub FILE OLD NEW.
func sub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: sub FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	text, err := os.ReadFile(path)
	ts.Check(err)
	if !strings.Contains(string(text), args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	next := strings.ReplaceAll(string(text), args[1], args[2])
	ts.Check(os.WriteFile(path+".new", []byte(next), 0o600))
	ts.Check(os.Rename(path+".new", path))
}

// sendSignal sends a signal to all programs in the background: signal HUP.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	if neg || len(args) != 1 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal HUP|TERM|INT")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}
