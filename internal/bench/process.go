package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/internal/testenv/child"
)

// process is a child whose processor time is measured.
type process struct {
	pid  int
	tail func(lines int) string
	stop func()
}

// start runs a program that ends with this process, its output in dir.
func start(dir, name string, args ...string) (*process, error) {
	c, err := child.Start(child.Spec{Name: name, Args: args, Log: filepath.Join(dir, name+".log")})
	if err != nil {
		return nil, err
	}
	return &process{pid: c.PID(), tail: c.Tail, stop: c.Kill}, nil
}

// cpu is the processor time that the process's living threads have used. It
// is read from schedstat, in nanoseconds, because the ticks of stat are 10 ms.
func (p *process) cpu() time.Duration {
	var sum time.Duration
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// waitPort waits until addr accepts connections.
func (p *process) waitPort(addr string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("nothing listens at %s after %v; the output ends with:\n%s", addr, patience, p.tail(20))
}
