package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
)

// broker is a Kafka cluster of one broker in a process of its own.
type broker struct {
	name string // in tables
	addr string
	node int32
	adm  *kadm.Client
	stop func()
	// kafka says that it is Apache Kafka.
	kafka bool
}

// startEmbedded runs the embedded broker in a child process of this program,
// in memory.
func startEmbedded(dir string) (*broker, error) {
	port := testenv.Ports(1)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	proc, err := start(dir, "embedded", self, "-child", "broker", "-port", strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	b := &broker{name: "the embedded broker", addr: fmt.Sprintf("127.0.0.1:%d", port), stop: proc.stop}
	return b, b.ready(10 * time.Second)
}

// startKafka runs Apache Kafka. Its Java compiles fully and deleted topics
// leave the disk soon, because legs are measured on new ones.
func startKafka(dir string) (*broker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := apachekafka.Start(ctx, apachekafka.Config{
		Brokers:    1,
		Dir:        filepath.Join(dir, "kafka"),
		JVM:        []string{"-Xmx1g", "-XX:+UseG1GC"},
		Properties: map[string]string{"log.segment.delete.delay.ms": "1000", "log.cleaner.enable": "false"},
	})
	if err != nil {
		return nil, err
	}
	b := &broker{name: "Apache Kafka " + apachekafka.Version, addr: c.Addr(1), stop: c.Close, kafka: true}
	return b, b.ready(time.Minute)
}

// warm runs a JVM's code paths hot: a cold one gives false results.
func (b *broker) warm() error {
	batch := plainBatch(100, 1000)
	if err := b.fresh("warm"); err != nil {
		return err
	}
	end, err := b.fill("warm", batch, 100, 2<<30)
	if err != nil {
		return err
	}
	c, err := dial(b.addr, nil)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.run(5*time.Second, 100_000, fetchRequests("warm", 100, min(end, 100_000)), atLeast(100_000)); err != nil {
		return err
	}
	_, err = b.adm.DeleteTopics(context.Background(), "warm")
	return err
}

// serveEmbedded is the child's side.
func serveEmbedded(port int) error {
	c, err := kfake.NewCluster(kfake.Ports(port), kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "10485760"}))
	if err != nil {
		return err
	}
	defer c.Close()
	select {}
}

// ready waits for the broker and learns its node id.
func (b *broker) ready(patience time.Duration) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		return err
	}
	b.adm = kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	meta, err := b.adm.BrokerMetadata(ctx)
	for ; err != nil && ctx.Err() == nil; meta, err = b.adm.BrokerMetadata(ctx) {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("metadata of %s: %w", b.name, err)
	}
	if len(meta.Brokers) != 1 {
		return fmt.Errorf("metadata of %s: %d brokers, want 1", b.name, len(meta.Brokers))
	}
	b.node = meta.Brokers[0].NodeID
	return nil
}

// fresh deletes and creates topics of one partition, so that what earlier
// legs produced takes neither memory nor disk.
func (b *broker) fresh(topics ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b.adm.DeleteTopics(ctx, topics...)
	for _, topic := range topics {
		if err := b.create(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

func (b *broker) create(ctx context.Context, topic string) error {
	for {
		resp, err := b.adm.CreateTopic(ctx, 1, 1, nil, topic)
		if err == nil {
			err = resp.Err
		}
		if err == nil {
			return b.awaitLeader(ctx, topic)
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) || ctx.Err() != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
		time.Sleep(20 * time.Millisecond) // being deleted
	}
}

// awaitLeader waits until the broker serves a new topic, which is some time
// after its metadata lists it.
func (b *broker) awaitLeader(ctx context.Context, topic string) error {
	for {
		ends, err := b.adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if end, ok := ends.Lookup(topic, 0); err == nil && ok && end.Offset == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for topic %s: %w", topic, errors.Join(err, ctx.Err()))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// fill writes at least size bytes of batches to a topic, directly, and returns its end
// offset.
func (b *broker) fill(topic string, batch []byte, records int, size int) (int64, error) {
	c, err := dial(b.addr, nil)
	if err != nil {
		return 0, err
	}
	defer c.close()
	req := produceRequest(topic, batch)
	var end int64
	for done := 0; done < size; done += len(batch) {
		if err := c.send(req); err != nil {
			return 0, err
		}
		n, body, err := c.receive()
		if err == nil {
			err = produceOK(n, body)
		}
		if err != nil {
			return 0, fmt.Errorf("fill %s: %w", topic, err)
		}
		end += int64(records)
	}
	return end, nil
}
