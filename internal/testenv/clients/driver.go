package clients

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/child"
)

// Driver is a client that runs in a program of its own, which stays between
// calls so that a test does not pay for its start: driver.py or Driver.java.
//
// The program reads a command a line and answers with a line, both JSON.
//
//	{"op": "produce", "bootstrap", "config", "topic", "transactional", "groups": [Group]} -> {"groups": [GroupResult]}
//	{"op": "consume", "bootstrap", "config", "topic", "timeout_ms"}                       -> {"records": [Stored]}
//	{"op": "flood", "bootstrap", "config", "records_file", "acks_file", "window"}         -> FloodResult
//
// An answer with a member "error" is a failure of the command. config is in the
// client's own terms.
type Driver struct {
	name   string
	config func(produce bool, mode Mode, codec string) map[string]any
	flood  map[string]any

	mu   sync.Mutex // one command at a time
	proc *child.Process
	out  *bufio.Reader
}

// NewPython starts a driver of confluent-kafka. Logs go to dir.
func NewPython(python, dir string) (*Driver, error) {
	d := &Driver{name: "confluent-kafka", config: pythonConfig, flood: map[string]any{
		"linger.ms": 2, "delivery.timeout.ms": 180000, "message.send.max.retries": 1 << 30, "reconnect.backoff.ms": 50,
		"reconnect.backoff.max.ms": 200, "retry.backoff.ms": 100,
	}}
	script := filepath.Join(testenv.Root(), "internal", "testenv", "clients", "driver", "driver.py")
	return d, d.start([]string{python, "-u", script}, filepath.Join(dir, "confluent-kafka.log"))
}

// NewJava compiles and starts a driver of Apache Kafka's Java client, with the
// jars in libs. Logs go to dir.
func NewJava(libs, dir string) (*Driver, error) {
	d := &Driver{name: "java", config: javaConfig, flood: map[string]any{
		"linger.ms": 2, "delivery.timeout.ms": 180000, "request.timeout.ms": 10000, "reconnect.backoff.ms": 50,
		"reconnect.backoff.max.ms": 200, "retry.backoff.ms": 100, "buffer.memory": 64 << 20,
	}}
	classes, err := compileDriver(libs)
	if err != nil {
		return nil, err
	}
	logging, err := apachekafka.LogConfig(dir, "warn")
	if err != nil {
		return nil, err
	}
	jvm := append([]string{"-Xmx256m", logging}, apachekafka.QuickJVM...)
	return d, d.start(apachekafka.Java(libs, jvm, []string{classes}, "Driver"), filepath.Join(dir, "java.log"))
}

// compileDriver compiles Driver.java into the cache, once per version of it.
func compileDriver(libs string) (string, error) {
	source := filepath.Join(testenv.Root(), "internal", "testenv", "clients", "driver", "Driver.java")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("compile Driver.java: %w", err)
	}
	sum := sha256.Sum256(append(text, libs...))
	dir := filepath.Join(testenv.CacheDir(), "java", fmt.Sprintf("%x", sum[:8]))
	if _, err := os.Stat(filepath.Join(dir, "Driver.class")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("compile Driver.java: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "compile-")
	if err != nil {
		return "", fmt.Errorf("compile Driver.java: %w", err)
	}
	defer os.RemoveAll(tmp)
	if out, err := exec.Command("javac", "-d", tmp, "-cp", filepath.Join(libs, "*"), source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile Driver.java: %w\n%s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, other := os.Stat(filepath.Join(dir, "Driver.class")); other != nil {
			return "", fmt.Errorf("compile Driver.java: %w", err)
		}
	}
	return dir, nil
}

func (d *Driver) start(args []string, log string) (err error) {
	d.proc, err = child.Start(child.Spec{Name: d.name + " driver", Args: args, Log: log, Pipes: true})
	if err != nil {
		return err
	}
	d.out = bufio.NewReaderSize(d.proc.Stdout, 1<<20)
	return nil
}

func pythonConfig(produce bool, mode Mode, codec string) map[string]any {
	if !produce {
		return map[string]any{"fetch.wait.max.ms": 200}
	}
	c := map[string]any{"acks": "all", "linger.ms": 50, "compression.type": codec, "topic.metadata.refresh.interval.ms": 5000}
	switch mode {
	case Idempotent:
		c["enable.idempotence"] = true
	case Transactional:
		c["transactional.id"] = newTransactionalID()
	}
	return c
}

func javaConfig(produce bool, mode Mode, codec string) map[string]any {
	if !produce {
		return map[string]any{"fetch.max.wait.ms": 200, "enable.auto.commit": false}
	}
	c := map[string]any{"acks": "all", "linger.ms": 50, "compression.type": codec, "enable.idempotence": mode != Plain}
	if mode == Transactional {
		c["transactional.id"] = newTransactionalID()
	}
	return c
}

// Name is the client's name.
func (d *Driver) Name() string { return d.name }

// Cannot returns "": both can do all.
func (d *Driver) Cannot(Mode) string { return "" }

// PIDs is the driver's process.
func (d *Driver) PIDs() []int { return []int{d.proc.PID()} }

// Close ends the driver.
func (d *Driver) Close() { d.proc.Kill() }

// do sends a command and decodes the answer. When ctx ends first, the driver is
// killed: its answer would be taken for the next command's.
func (d *Driver) do(ctx context.Context, command map[string]any, answer any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	line, err := json.Marshal(command)
	if err != nil {
		return fmt.Errorf("%s driver: %w", d.name, err)
	}
	stop := context.AfterFunc(ctx, d.proc.Kill)
	defer stop()
	if _, err := d.proc.Stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s driver: %w (%w)\n%s", d.name, err, ctx.Err(), d.proc.Tail(20))
	}
	line, err = d.out.ReadBytes('\n')
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s driver died during %v: %w (%v)\n%s", d.name, command["op"], err, ctx.Err(), d.proc.Tail(20))
	}
	var failure struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &failure); err != nil {
		return fmt.Errorf("%s driver: %w: %.200q", d.name, err, line)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return fmt.Errorf("%s driver: %w: %.200q", d.name, err, line)
	}
	if failure.Error != "" {
		return fmt.Errorf("%s: %s\n%s", d.name, failure.Error, d.proc.Tail(15))
	}
	return nil
}

// Produce implements Client.
func (d *Driver) Produce(ctx context.Context, p Produce) ([]GroupResult, error) {
	var answer struct{ Groups []GroupResult }
	codec := p.Codec
	if codec == "" {
		codec = "none"
	}
	err := d.do(ctx, map[string]any{
		"op": "produce", "bootstrap": p.Bootstrap, "config": d.config(true, p.Mode, codec), "topic": p.Topic,
		"transactional": p.Mode == Transactional, "groups": p.Groups,
	}, &answer)
	return answer.Groups, err
}

// Consume implements Client.
func (d *Driver) Consume(ctx context.Context, c Consume) ([]Stored, error) {
	config := d.config(false, Plain, "")
	// librdkafka's default is read_committed.
	config["isolation.level"] = "read_uncommitted"
	if c.Committed {
		config["isolation.level"] = "read_committed"
	}
	var answer struct{ Records []Stored }
	err := d.do(ctx, map[string]any{
		"op": "consume", "bootstrap": c.Bootstrap, "config": config, "topic": c.Topic, "timeout_ms": c.timeout().Milliseconds(),
	}, &answer)
	Sort(answer.Records)
	return answer.Records, err
}

// Flood implements Flooder.
func (d *Driver) Flood(ctx context.Context, f Flood) (FloodResult, error) {
	config := d.config(true, f.Mode, "none")
	for k, v := range d.flood {
		config[k] = v
	}
	config["batch.size"] = strconv.Itoa(f.BatchBytes)
	var result FloodResult
	err := d.do(ctx, map[string]any{
		"op": "flood", "bootstrap": f.Bootstrap, "config": config, "topic": "",
		"records_file": f.RecordsFile, "acks_file": f.AcksFile, "window": f.Window,
	}, &result)
	return result, err
}
