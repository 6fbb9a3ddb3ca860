// Package apachekafka runs Apache Kafka for tests and benchmarks, from the jars
// on Maven Central.
//
// The jars are fetched once into .cache/kafka of the checkout (Maven, 54 MB).
// A cluster runs in KRaft mode on the loopback address, every node both broker
// and controller. Each broker has two listeners: one for clients and one for
// the other brokers. A broker is ready about two seconds after its start, and
// dies with this process.
package apachekafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/child"
)

// Version is the release that is run where none is named.
const Version = "4.3.0"

// Config says what cluster to start. The zero value is one broker of Version.
type Config struct {
	Version string // of Apache Kafka
	Brokers int    // node ids count from 1
	Dir     string // for data and logs; empty for a temporary one that Close removes

	// Properties are added to every broker's, and win.
	Properties map[string]string

	// JVM holds options for the brokers' Java; nil for those that suit tests: a
	// fast start and 512 MB. Benchmarks want the full compiler.
	JVM []string

	// Advertise changes the address that clients are told for a broker, for a
	// spy that stands in front of it. Given and returned as host:port.
	Advertise func(node int, addr string) string
}

// Cluster is a running cluster.
type Cluster struct {
	cfg      Config
	dir      string
	ownDir   bool
	libs     string
	brokers  []*broker
	closeOne sync.Once
}

type broker struct {
	node       int
	addr       string // clients'
	internal   string // brokers'
	controller string
	dir        string

	mu   sync.Mutex
	proc *child.Process
}

// Libs fetches the jars if they are not there and returns their directory.
func Libs(version string) (string, error) {
	if version == "" {
		version = Version
	}
	libsMu.Lock()
	defer libsMu.Unlock()
	dir := filepath.Join(testenv.CacheDir(), "kafka", version, "libs")
	if _, err := os.Stat(filepath.Join(dir, "kafka-clients-"+version+".jar")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("fetch Apache Kafka: %w", err)
	}
	// Into a directory of our own first: another test binary may do the same.
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return "", fmt.Errorf("fetch Apache Kafka: %w", err)
	}
	defer os.RemoveAll(tmp)
	pom := filepath.Join(testenv.Root(), "internal", "testenv", "apachekafka", "testdata", "pom.xml")
	cmd := exec.Command("mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies",
		"-Dkafka.version="+version, "-DoutputDirectory="+tmp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Apache Kafka %s with Maven: %w\n%s", version, err, out)
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("fetch Apache Kafka: %w", err)
	}
	return dir, nil
}

var libsMu sync.Mutex

// Java returns a command line that runs a class with Apache Kafka's jars, and
// the directories given, on its class path.
func Java(libs string, jvm, classpath []string, class string, args ...string) []string {
	cp := strings.Join(append(classpath, filepath.Join(libs, "*")), ":")
	line := append([]string{"java"}, jvm...)
	return append(append(line, "-cp", cp, class), args...)
}

// QuickJVM are options for Java programs that run for seconds.
var QuickJVM = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"}

const log4j = `status = error
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level = %LEVEL%
rootLogger.appenderRef.console.ref = console
`

// LogConfig writes a Log4j configuration that prints to standard error and
// returns the option that makes Java use it.
func LogConfig(dir, level string) (string, error) {
	path := filepath.Join(dir, "log4j2-"+level+".properties")
	err := os.WriteFile(path, []byte(strings.ReplaceAll(log4j, "%LEVEL%", level)), 0o644)
	return "-Dlog4j2.configurationFile=" + path, err
}

// Start starts a cluster and waits until all its brokers are registered.
func Start(ctx context.Context, cfg Config) (c *Cluster, err error) {
	if cfg.Brokers == 0 {
		cfg.Brokers = 1
	}
	if cfg.JVM == nil {
		cfg.JVM = append([]string{"-Xmx512m"}, QuickJVM...)
	}
	c = &Cluster{cfg: cfg, dir: cfg.Dir}
	defer func() {
		if err != nil {
			c.Close()
			c = nil
		}
	}()
	if c.libs, err = Libs(cfg.Version); err != nil {
		return c, err
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "sluice-kafka-"); err != nil {
			return c, fmt.Errorf("start Apache Kafka: %w", err)
		}
		c.ownDir = true
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return c, fmt.Errorf("start Apache Kafka: %w", err)
	}
	first := testenv.Ports(3 * cfg.Brokers)
	for i := range cfg.Brokers {
		at := func(k int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(first+3*i+k)) }
		c.brokers = append(c.brokers, &broker{
			node: i + 1, addr: at(0), internal: at(1), controller: at(2),
			dir: filepath.Join(c.dir, "node-"+strconv.Itoa(i+1)),
		})
	}
	logging, err := LogConfig(c.dir, "info")
	if err != nil {
		return c, fmt.Errorf("start Apache Kafka: %w", err)
	}
	c.cfg.JVM = append(c.cfg.JVM, logging)

	errs := make(chan error, len(c.brokers))
	for _, b := range c.brokers {
		go func() { errs <- c.format(ctx, b) }()
	}
	for range c.brokers {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return c, err
	}
	for _, b := range c.brokers {
		if err := c.launch(b); err != nil {
			return c, err
		}
	}
	return c, c.Ready(ctx)
}

// format writes a broker's configuration and formats its directory.
func (c *Cluster) format(ctx context.Context, b *broker) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return fmt.Errorf("format broker %d: %w", b.node, err)
	}
	config := filepath.Join(b.dir, "server.properties")
	if err := os.WriteFile(config, c.properties(b), 0o644); err != nil {
		return fmt.Errorf("format broker %d: %w", b.node, err)
	}
	line := Java(c.libs, c.cfg.JVM, nil, "kafka.tools.StorageTool", "format", "-t", "c2x1aWNlLXRlc3QtMDAwMQ", "-c", config)
	if out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("format broker %d: %w\n%s", b.node, err, out)
	}
	return nil
}

func (c *Cluster) properties(b *broker) []byte {
	var voters []string
	for _, v := range c.brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", v.node, v.controller))
	}
	advertised := b.addr
	if c.cfg.Advertise != nil {
		advertised = c.cfg.Advertise(b.node, b.addr)
	}
	replicas := strconv.Itoa(len(c.brokers))
	minISR := strconv.Itoa(len(c.brokers)/2 + 1)
	if len(c.brokers) == 1 {
		minISR = "1"
	}
	p := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(b.node),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"listeners":                      "CLIENT://" + b.addr + ",BROKER://" + b.internal + ",CONTROLLER://" + b.controller,
		"advertised.listeners":           "CLIENT://" + advertised + ",BROKER://" + b.internal,
		"listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     "BROKER",
		"log.dirs":                       filepath.Join(b.dir, "data"),

		"offsets.topic.num.partitions":                     "1",
		"offsets.topic.replication.factor":                 replicas,
		"transaction.state.log.num.partitions":             "3",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    minISR,
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            minISR,
		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              minISR,

		"auto.create.topics.enable":        "false",
		"group.initial.rebalance.delay.ms": "0",
		"controlled.shutdown.enable":       "true",
		"log.cleaner.backoff.ms":           "200",
		"log.cleaner.dedupe.buffer.size":   "4000000",
		"log.initial.task.delay.ms":        "500",
		"num.network.threads":              "2",
		"num.io.threads":                   "4",
		// A broker that died is replaced as leader within seconds, not nine.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
	}
	for k, v := range c.cfg.Properties {
		p[k] = v
	}
	var out bytes.Buffer
	for k, v := range p {
		fmt.Fprintf(&out, "%s=%s\n", k, v)
	}
	return out.Bytes()
}

func (c *Cluster) launch(b *broker) error {
	p, err := child.Start(child.Spec{
		Name: fmt.Sprintf("Apache Kafka broker %d", b.node),
		Args: Java(c.libs, c.cfg.JVM, nil, "kafka.Kafka", filepath.Join(b.dir, "server.properties")),
		Log:  filepath.Join(b.dir, "broker.log"),
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.proc = p
	b.mu.Unlock()
	return nil
}

// Ready waits until every running broker answers with all running brokers in
// its metadata.
func (c *Cluster) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	running := 0
	for _, b := range c.brokers {
		if b.process().Running() {
			running++
		}
	}
	for _, b := range c.brokers {
		if !b.process().Running() {
			continue
		}
		if err := b.process().Ready(ctx, func(ctx context.Context) error { return knows(ctx, b.addr, running) }); err != nil {
			return err
		}
	}
	return nil
}

// knows asks the broker at addr for metadata, over a connection of its own so
// that an advertised address does not matter.
func knows(ctx context.Context, addr string, brokers int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.RetryTimeout(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return err
	}
	if n := len(resp.(*kmsg.MetadataResponse).Brokers); n < brokers {
		return fmt.Errorf("broker at %s knows %d of %d brokers", addr, n, brokers)
	}
	return nil
}

func (b *broker) process() *child.Process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc
}

func (c *Cluster) broker(node int) *broker { return c.brokers[node-1] }

// Addr is the address at which a broker listens for clients, as host:port; with
// Config.Advertise not what it tells them.
func (c *Cluster) Addr(node int) string { return c.broker(node).addr }

// Bootstrap is the addresses of all brokers, separated by commas.
func (c *Cluster) Bootstrap() string {
	var addrs []string
	for _, b := range c.brokers {
		addrs = append(addrs, b.addr)
	}
	return strings.Join(addrs, ",")
}

// Nodes is the number of brokers, running or not.
func (c *Cluster) Nodes() int { return len(c.brokers) }

// LibDir is the directory with the jars of this cluster's release.
func (c *Cluster) LibDir() string { return c.libs }

// PID is a broker's process id.
func (c *Cluster) PID(node int) int { return c.broker(node).process().PID() }

// Kill ends a broker as a crash does.
func (c *Cluster) Kill(node int) { c.broker(node).process().Kill() }

// Shutdown ends a broker in order: it hands over what it leads first.
func (c *Cluster) Shutdown(node int) error { return c.broker(node).process().Stop(30 * time.Second) }

// Pause stops a broker in its tracks without closing its connections; Resume
// lets it go on.
func (c *Cluster) Pause(node int) error { return c.broker(node).process().Signal(sigStop) }

// Resume ends a Pause.
func (c *Cluster) Resume(node int) error { return c.broker(node).process().Signal(sigCont) }

// Restart starts a broker that was ended and waits until the cluster is whole.
func (c *Cluster) Restart(ctx context.Context, node int) error {
	if err := c.launch(c.broker(node)); err != nil {
		return err
	}
	return c.Ready(ctx)
}

// Tail is the end of every broker's log, for the messages of failing tests.
func (c *Cluster) Tail(n int) string {
	var out strings.Builder
	for _, b := range c.brokers {
		if p := b.process(); p != nil {
			out.WriteString(p.Tail(n) + "\n")
		}
	}
	return out.String()
}

// Close ends the cluster and removes its data if it chose the directory.
func (c *Cluster) Close() {
	c.closeOne.Do(func() {
		for _, b := range c.brokers {
			if p := b.process(); p != nil {
				p.Kill()
			}
		}
		if c.ownDir {
			os.RemoveAll(c.dir)
		}
	})
}
