package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/emit"
)

// cluster is what the gateway knows about one Kafka cluster: its brokers, and the names of its topics' ids.
type cluster struct {
	cfg     ClusterConfig
	log     *slog.Logger
	emitter Emitter
	client  *emit.Client
	next    atomic.Uint32 // the bootstrap address to begin with

	warned atomic.Int64 // when a connection's failure was last logged as a warning, in Unix nanoseconds

	mu sync.RWMutex
	// brokers are addresses by node id. Nodes that disappear stay: they come back.
	brokers   map[int32]string
	learned   bool  // brokers is the answer of a broker
	lastErr   error // why the last own request failed; nil after a success
	listeners []*listenerSet
	topics    map[topicID]string
}

type topicID = [16]byte

const (
	maxTopicIDs = 1 << 20 // bounds cluster.topics; when it is reached, it starts anew
	maxBrokers  = 4096    // of a cluster: more is a broken answer
)

func newCluster(cfg ClusterConfig, limits LimitsConfig, log *slog.Logger) (*cluster, error) {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	c := &cluster{cfg: cfg, log: log.With("cluster", cfg.Name), brokers: map[int32]string{}, topics: map[topicID]string{}}
	client, err := emit.New(emit.Config{
		Cluster: cfg.Name, Bootstrap: cfg.Bootstrap, SASL: cfg.ServiceAccount, Timeout: limits.EmitTimeout, Dial: cfg.Dial, Log: c.log,
	})
	if err != nil {
		return nil, err
	}
	c.client, c.emitter = client, cfg.Emitter
	if c.emitter == nil {
		c.emitter = client
	}
	return c, nil
}

// watch asks for the cluster's brokers until ctx ends: soon again after a failure, now and then after a success.
func (c *cluster) watch(ctx context.Context) {
	const soonest, latest, refresh = 250 * time.Millisecond, 10 * time.Second, time.Minute
	wait := soonest
	for {
		err := c.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			wait = refresh
		case wait == refresh:
			wait = soonest
		default:
			wait = min(2*wait, latest)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (c *cluster) ask(ctx context.Context) error {
	resp, err := c.client.Metadata(ctx)
	c.mu.Lock()
	first := err != nil && c.lastErr == nil
	c.lastErr = err
	c.mu.Unlock()
	if err != nil {
		if first && ctx.Err() == nil {
			c.log.Warn("cannot learn the cluster's brokers; trying again in the background", "bootstrap", c.cfg.Bootstrap, "error", err)
		}
		return err
	}
	c.learn(resp)
	return nil
}

// learn takes brokers and topic ids from a Metadata response with the brokers' own addresses, and sees to it that each broker has its listeners.
func (c *cluster) learn(resp *kmsg.MetadataResponse) {
	c.learnTopics(resp)
	if len(resp.Brokers) == 0 || !c.news(resp) {
		return
	}
	c.mu.Lock()
	for i := range resp.Brokers {
		b := &resp.Brokers[i]
		if _, known := c.brokers[b.NodeID]; b.NodeID < 0 || b.Host == "" || !known && len(c.brokers) >= maxBrokers {
			continue
		}
		c.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	c.learned = true
	nodes := make([]int32, 0, len(c.brokers))
	for n := range c.brokers {
		nodes = append(nodes, n)
	}
	listeners := c.listeners
	c.mu.Unlock()
	for _, l := range listeners {
		l.open(nodes)
	}
}

// news says that resp has a broker that is unknown or moved, the usual answer being no.
func (c *cluster) news(resp *kmsg.MetadataResponse) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.learned {
		return true
	}
	for i := range resp.Brokers {
		b := &resp.Brokers[i]
		if c.brokers[b.NodeID] != net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) {
			return true
		}
	}
	return false
}

func (c *cluster) learnTopics(resp *kmsg.MetadataResponse) {
	if resp.Version < 10 {
		return
	}
	c.mu.RLock()
	known := true
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic != nil && t.TopicID != (topicID{}) && c.topics[t.TopicID] != *t.Topic {
			known = false
			break
		}
	}
	c.mu.RUnlock()
	if known {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil || t.TopicID == (topicID{}) || t.ErrorCode != 0 {
			continue
		}
		if len(c.topics) >= maxTopicIDs {
			c.topics = map[topicID]string{}
		}
		c.topics[t.TopicID] = *t.Topic
	}
}

// topic returns the name of a topic id. An id never comes to stand for another name.
func (c *cluster) topic(id topicID) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	name, ok := c.topics[id]
	return name, ok
}

// dial connects to the broker with a node id, or to any bootstrap broker if node is anyNode.
func (c *cluster) dial(ctx context.Context, node int32, timeout time.Duration) (net.Conn, error) {
	addresses := c.cfg.Bootstrap
	start := 0
	if node == anyNode {
		start = int(c.next.Add(1)-1) % len(addresses)
	} else {
		c.mu.RLock()
		addresses = []string{c.brokers[node]}
		c.mu.RUnlock()
	}
	var last error
	for i := range addresses {
		address := addresses[(start+i)%len(addresses)]
		one, cancel := context.WithTimeout(ctx, timeout)
		conn, err := c.cfg.Dial(one, "tcp", address)
		cancel()
		if err == nil {
			return conn, nil
		}
		last = fmt.Errorf("connect to broker %s: %w", address, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// ready returns what is missing for the cluster to be served.
func (c *cluster) ready() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.learned {
		if c.lastErr != nil {
			return fmt.Errorf("cluster %s: not reached yet: %w", c.cfg.Name, c.lastErr)
		}
		return fmt.Errorf("cluster %s: not reached yet", c.cfg.Name)
	}
	return nil
}

// mayWarn says once in a second that a connection's failure deserves a warning.
func (c *cluster) mayWarn(now time.Time) bool {
	last := c.warned.Load()
	return now.UnixNano()-last >= int64(time.Second) && c.warned.CompareAndSwap(last, now.UnixNano())
}
