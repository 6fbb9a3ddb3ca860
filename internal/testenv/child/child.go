// Package child runs programs beside a test: brokers, gateways, clients.
//
// A child dies with the process that started it, however that ends: the kernel
// is asked to kill it (Linux, PR_SET_PDEATHSIG). Its output goes to a log file
// that a failing test can quote. Programs that a child starts itself are in its
// process group, and Kill ends the whole group.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name string    // for messages and the log file's name
	Args []string  // the program and its arguments
	Env  []string  // added to this process's environment
	Dir  string    // working directory; empty for this process's
	Log  string    // file that output is appended to; must not be empty
	In   io.Reader // standard input; nil for none

	// Out receives standard output in place of the log. Pipes that the caller
	// reads are made with Process.Pipes instead.
	Out io.Writer

	// Pipes gives the caller both ends: Process.Stdin and Process.Stdout.
	Pipes bool
}

// Process is a program that was started. Its methods are safe for concurrent use.
type Process struct {
	Name   string
	Log    string         // path of the log
	Stdin  io.WriteCloser // with Spec.Pipes
	Stdout io.Reader      // with Spec.Pipes

	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed
}

// Start runs a program.
func Start(s Spec) (*Process, error) {
	if s.Log == "" {
		return nil, fmt.Errorf("start %s: no log file", s.Name)
	}
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	defer log.Close()

	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Dir = s.Dir
	cmd.Stdin = s.In
	cmd.Stdout, cmd.Stderr = log, log
	if s.Out != nil {
		cmd.Stdout = s.Out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{Name: s.Name, Log: s.Log, cmd: cmd, done: make(chan struct{})}
	if s.Pipes {
		cmd.Stdout = nil
		if p.Stdin, err = cmd.StdinPipe(); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		// Not StdoutPipe: Wait would close it under the reader.
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		cmd.Stdout, p.Stdout = w, r
		defer w.Close()
	}
	if err := spawn(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// spawn starts cmd from one thread that lives as long as the process does: the
// kernel sends the death signal when the *thread* that forked ends.
func spawn(cmd *exec.Cmd) error {
	spawner.Do(func() {
		spawns = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range spawns {
				f()
			}
		}()
	})
	errc := make(chan error, 1)
	spawns <- func() { errc <- cmd.Start() }
	return <-errc
}

var (
	spawner sync.Once
	spawns  chan func()
)

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the program alone.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the program and all it started, at once, and waits for the program.
func (p *Process) Kill() {
	if p.Running() {
		syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.done
}

// Stop asks the program to end and kills it after the given time.
func (p *Process) Stop(patience time.Duration) error {
	if p.Running() {
		p.Signal(syscall.SIGTERM)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.Name, patience)
	}
}

// Wait waits until the program has ended and returns how: nil for exit code 0.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.Name, ctx.Err())
	}
}

// ExitCode is the program's exit code, -1 if it was ended by a signal. It may
// be called once Done is closed.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// WaitStatus is how the program ended: which exit code, which signal. ok is
// false while it runs.
func (p *Process) WaitStatus() (status syscall.WaitStatus, ok bool) {
	if p.Running() {
		return 0, false
	}
	status, ok = p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status, ok
}

// Ready waits until check returns nil. The error tells what check said last,
// and quotes the log; a program that ends meanwhile is an error at once.
func (p *Process) Ready(ctx context.Context, check func(context.Context) error) error {
	for {
		last := check(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%v): %w\n%s", p.Name, p.err, last, p.Tail(40))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w)\n%s", p.Name, last, ctx.Err(), p.Tail(40))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// LogContains waits until the log holds text.
func (p *Process) LogContains(ctx context.Context, text string) error {
	return p.Ready(ctx, func(context.Context) error {
		b, err := os.ReadFile(p.Log)
		if err != nil {
			return err
		}
		if !bytes.Contains(b, []byte(text)) {
			return fmt.Errorf("no %q in its log", text)
		}
		return nil
	})
}

// Tail is the end of the log, at most n lines, headed by the log's name.
func (p *Process) Tail(n int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return fmt.Sprintf("--- end of the log of %s (%s)\n%s\n---", p.Name, p.Log, strings.Join(lines, "\n"))
}
