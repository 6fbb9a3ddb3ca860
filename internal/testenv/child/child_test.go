package child

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLogAndExitCode(t *testing.T) {
	p, err := Start(Spec{Name: "sh", Args: []string{"sh", "-c", "echo one; echo two >&2; exit 3"}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err == nil || p.ExitCode() != 3 {
		t.Errorf("Wait = %v, exit code %d; want an error and 3", err, p.ExitCode())
	}
	if got := p.Tail(1); !strings.Contains(got, "two") || strings.Contains(got, "one") {
		t.Errorf("Tail(1) = %q, want the last line only", got)
	}
}

func TestReadyTellsWhyNot(t *testing.T) {
	p, err := Start(Spec{Name: "sh", Args: []string{"sh", "-c", "echo no such luck; exit 1"}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Ready(t.Context(), func(context.Context) error { return fmt.Errorf("port is closed") })
	for _, want := range []string{"ended before it was ready", "port is closed", "no such luck"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Ready = %v, want %q in it", err, want)
		}
	}
}

func TestKillEndsTheGroup(t *testing.T) {
	p, err := Start(Spec{Name: "sh", Args: []string{"sh", "-c", "sleep 100 & echo $!; wait"}, Pipes: true, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(p.Stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	waitGone(t, line)
}

// TestDeathWithParent starts this test binary as a parent that starts a child
// and is killed: the child must go with it.
func TestDeathWithParent(t *testing.T) {
	if os.Getenv("CHILD_TEST_PARENT") != "" {
		p, err := Start(Spec{Name: "sleep", Args: []string{"sleep", "100"}, Log: os.Getenv("CHILD_TEST_PARENT")})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("child=%d\n", p.PID())
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDeathWithParent$")
	cmd.Env = append(os.Environ(), "CHILD_TEST_PARENT="+filepath.Join(t.TempDir(), "log"))
	out, err := cmd.Output()
	if err == nil {
		t.Fatal("the parent was not killed")
	}
	_, pid, found := strings.Cut(string(out), "child=")
	if !found {
		t.Fatalf("the parent said %q, want a process id", out)
	}
	waitGone(t, strings.SplitN(pid, "\n", 2)[0])
}

// waitGone waits until a process does not exist or is a zombie.
func waitGone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(pid))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", n)
}
