// Package embedded runs a Kafka broker inside the process, for trying Sluice out and for fast tests. It is
// [github.com/twmb/franz-go/pkg/kfake] with a data directory: what a producer got acknowledged is on disk and is there
// again after a restart.
//
// It listens on loopback only and must stay behind the gateway: it trusts frame sizes and does not survive an API key that it
// does not know. It is lenient where Apache Kafka is not, so that a batch which it takes proves nothing.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Config configures a Cluster.
type Config struct {
	// Dir keeps the data; it is created with mode 0700 and used by one process at a time. Empty: data is kept in memory.
	Dir string
	// Brokers is how many there are; 0 means 1. The same Dir must be started with the same number.
	Brokers int
	// Topics are created where they do not exist. Others are created when a client asks for them, with one partition.
	Topics []Topic
	Log    *slog.Logger // nil: nothing is logged
}

// A Topic is one to create.
type Topic struct {
	Name       string
	Partitions int32             // 0 means 1
	Configs    map[string]string // as for Kafka's CreateTopics
}

// Cluster is a running cluster.
type Cluster struct {
	kfake *kfake.Cluster
	lock  *os.File // held while the directory is used; nil without one
}

// ErrInUse is returned by Start for a directory that another process uses.
var ErrInUse = errors.New("the data directory is in use by another process")

// Start starts a cluster.
func Start(cfg Config) (*Cluster, error) {
	opts := []kfake.Opt{
		kfake.NumBrokers(max(cfg.Brokers, 1)),
		kfake.ClusterID("sluice-embedded"),
		kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(1),
	}
	if cfg.Log != nil {
		opts = append(opts, kfake.WithLogger(logger{cfg.Log}))
	}
	c := new(Cluster)
	if cfg.Dir != "" {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("start embedded broker: %w", err)
		}
		lock, err := lockFile(filepath.Join(cfg.Dir, "lock"))
		if err != nil {
			return nil, fmt.Errorf("start embedded broker: %s: %w", cfg.Dir, err)
		}
		c.lock = lock
		opts = append(opts, kfake.DataDir(filepath.Join(cfg.Dir, "kafka")), kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		c.unlock()
		return nil, fmt.Errorf("start embedded broker: %w", err)
	}
	c.kfake = cluster
	for _, t := range cfg.Topics {
		err := cluster.CreateTopic(t.Name, max(t.Partitions, 1), t.Configs)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			c.Close()
			return nil, fmt.Errorf("create topic %s: %w", t.Name, err)
		}
	}
	return c, nil
}

// Addrs are the brokers' addresses, host:port, in the order of their node ids from 0 on.
func (c *Cluster) Addrs() []string { return c.kfake.ListenAddrs() }

// Close stops the brokers and writes what is left to disk. It may be called more than once.
func (c *Cluster) Close() {
	c.kfake.Close()
	c.unlock()
}

func (c *Cluster) unlock() {
	if c.lock != nil {
		_ = c.lock.Close()
		c.lock = nil
	}
}

// logger passes kfake's messages on. What kfake calls info is one line for each request.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	switch level {
	case kfake.LogLevelError:
		l.log.Error(text, "part", "embedded broker")
	case kfake.LogLevelWarn:
		l.log.Warn(text, "part", "embedded broker")
	default:
		l.log.Debug(text, "part", "embedded broker")
	}
}
