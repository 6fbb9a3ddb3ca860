package gateway

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestFailpoint runs itself in a process of its own, which passes a failpoint that it has set, and one that it has not.
func TestFailpoint(t *testing.T) {
	if os.Getenv("SLUICE_FAILPOINT") != "" {
		for i := range 3 {
			failpoint(failAfterEmit)
			failpoint(failBeforeForward)
			_, _ = os.Stdout.WriteString([]string{"one\n", "two\n", "three\n"}[i])
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFailpoint$")
	cmd.Env = append(os.Environ(), "SLUICE_FAILPOINT="+failBeforeForward+":2")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || string(out) != "one\n" {
		t.Errorf("got %v after %q, want SIGKILL after the first pass", err, out)
	}
	name, left := parseFailpoint("after-emit")
	if name != failAfterEmit || left.Load() != 1 {
		t.Errorf("got %s:%d", name, left.Load())
	}
}
