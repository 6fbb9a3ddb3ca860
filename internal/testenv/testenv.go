// Package testenv tells tests what the machine offers: tools, ports, the built
// binary.
//
// A test that needs more than Go asks for it by name and is skipped with a
// reason where it is missing. With SLUICE_REQUIRE_ALL=1 in the environment, as
// on the build server, every such skip is a failure, so that nothing is skipped
// unseen.
//
// Sub-packages start what tests run against: child supervises processes,
// apachekafka runs brokers, gateway runs the binary, clients drives Kafka's
// clients.
package testenv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// RequireAll says whether a missing tool is a failure.
func RequireAll() bool { return os.Getenv("SLUICE_REQUIRE_ALL") == "1" }

// Missing skips the test, or fails it where everything is required.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if RequireAll() {
		t.Fatalf("%s (a failure because SLUICE_REQUIRE_ALL=1)", reason)
	}
	t.Skip(reason)
}

// advice says how to get a tool.
var advice = map[string]string{
	"kcat":     "apt-get install kcat",
	"java":     "apt-get install openjdk-17-jdk-headless",
	"javac":    "apt-get install openjdk-17-jdk-headless",
	"mvn":      "apt-get install maven",
	"wat2wasm": "apt-get install wabt",
	"wasm-opt": "apt-get install binaryen",
}

// Need returns the path of a program, or skips the test if there is none.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		how := advice[program]
		if how == "" {
			how = "install it"
		}
		Missing(t, "needs %s: %s", program, how)
	}
	return path
}

// NeedKafka skips the test unless tests against Apache Kafka were asked for:
// they take minutes, Java and Maven, and 54 MB of downloads the first time.
func NeedKafka(t testing.TB) {
	t.Helper()
	if !WantKafka() {
		t.Skip("runs against Apache Kafka: set SLUICE_KAFKA=1 (needs Java 17 and Maven), or run .ci/run")
	}
	Need(t, "java")
	Need(t, "javac")
}

// WantKafka says whether tests against Apache Kafka were asked for.
func WantKafka() bool { return RequireAll() || os.Getenv("SLUICE_KAFKA") == "1" }

// NeedPython returns a Python interpreter that has confluent-kafka, from the
// checkout's virtual environment or the path, or skips the test.
func NeedPython(t testing.TB) string {
	t.Helper()
	for _, python := range []string{filepath.Join(CacheDir(), "venv", "bin", "python"), "python3"} {
		if exec.Command(python, "-c", "import confluent_kafka").Run() == nil {
			return python
		}
	}
	venv := filepath.Join(CacheDir(), "venv")
	Missing(t, "needs confluent-kafka: python3 -m venv %s && %s/bin/pip install confluent-kafka", venv, venv)
	return ""
}

// Root is the root of the checkout: the nearest directory above the working
// directory with a go.mod.
func Root() string {
	rootOnce.Do(func() {
		dir, err := os.Getwd()
		for err == nil {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				root = dir
				return
			}
			if dir == filepath.Dir(dir) {
				break
			}
			dir = filepath.Dir(dir)
		}
		panic("testenv: no go.mod above the working directory")
	})
	return root
}

var (
	rootOnce sync.Once
	root     string
)

// CacheDir is where tests keep what they download or build, in the checkout and
// ignored by git.
func CacheDir() string { return filepath.Join(Root(), ".cache") }

// Binary is the path of the sluice program of this checkout, built once per
// test binary, or what SLUICE_BINARY names.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := BuildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BuildBinary is Binary for TestMain.
func BuildBinary() (string, error) {
	binaryOnce.Do(func() { binary, binaryErr = buildBinary() })
	return binary, binaryErr
}

var (
	binaryOnce sync.Once
	binary     string
	binaryErr  error
)

func buildBinary() (string, error) {
	if path := os.Getenv("SLUICE_BINARY"); path != "" {
		return path, nil
	}
	if modules, _ := filepath.Glob(filepath.Join(Root(), "catalog", "builtin", "*.wasm")); len(modules) == 0 {
		if err := runAtRoot("make", "plugins"); err != nil {
			return "", err
		}
	}
	// One file per test binary: another may be running the one it built.
	path := filepath.Join(CacheDir(), "bin", filepath.Base(os.Args[0]), "sluice")
	if err := runAtRoot("go", "build", "-o", path, "./cmd/sluice"); err != nil {
		return "", err
	}
	return path, nil
}

func runAtRoot(args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = Root()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w\n%s", args, err, out.Bytes())
	}
	return nil
}

// Ports returns the first of n consecutive TCP ports that were free on the
// loopback address a moment ago. They lie below the range from which the system
// picks ports for outgoing connections, and the same process is never given a
// port twice.
func Ports(n int) int {
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		first := 12000 + rand.IntN(20000-n)
		if allFree(first, n) {
			for p := first; p < first+n; p++ {
				portsGiven[p] = true
			}
			return first
		}
	}
	panic("testenv: no free ports")
}

var (
	portsMu    sync.Mutex
	portsGiven = map[int]bool{}
)

func allFree(first, n int) bool {
	for p := first; p < first+n; p++ {
		if portsGiven[p] {
			return false
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
