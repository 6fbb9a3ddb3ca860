// Package emit is the gateway's own client of a cluster: it writes dead letters, acknowledged by all in-sync replicas, and asks for
// Metadata.
//
// One [Client] serves a cluster. It is an idempotent producer. Records from one partition go to one partition of the target topic, in order;
// they are delivered at least once: after a failure that the gateway's client repeats, a record may be there twice, and
// [HeaderSource] tells which ones are the same.
//
// Behind its own headers a record has, in this order:
//
//	sluice.source  {"cluster":"main","topic":"orders","partition":3,"producer_id":4,"epoch":0,"sequence":17,"index":2}
//	sluice.reason  the text that the stage gave
//	sluice.stage   pipeline/stage
//
// with producer_id, epoch and sequence -1 for producers that are not idempotent, and with "offset" in place of these three for a record that was diverted on
// fetch. Key, value, headers and timestamp are the original's. A target topic that does not exist is made if the brokers are set to do so
// (auto.create.topics.enable).
package emit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/sluicegate/sluice/abi"
)

// Headers of an emitted record.
const (
	HeaderSource = abi.ReservedHeaderPrefix + "source"
	HeaderReason = abi.ReservedHeaderPrefix + "reason"
	HeaderStage  = abi.ReservedHeaderPrefix + "stage"
)

// SASL is how the client authenticates.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	Username  string
	Password  string `json:"-"`
}

// String leaves the password out, as every way of printing does.
func (s SASL) String() string { return s.Mechanism + " " + s.Username }

// GoString is String.
func (s SASL) GoString() string { return s.String() }

// Config configures a Client.
type Config struct {
	Cluster   string // its name, for HeaderSource
	Bootstrap []string
	SASL      *SASL // nil: none
	// Timeout bounds one Emit, and one Metadata; 0 means 10 s.
	Timeout time.Duration
	// Dial opens connections; nil: plaintext TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger // nil: nothing is logged
}

// Source is where a record came from.
type Source struct {
	Topic     string
	Partition int32
	// ProducerID, Epoch and Sequence are -1 where there is none. Sequence is this record's.
	ProducerID int64
	Epoch      int16
	Sequence   int32
	// Index is the record's position in its batch.
	Index int32
	// Offset is the record's offset if it was diverted on fetch, otherwise -1.
	Offset int64
}

// Record is one record to emit.
type Record struct {
	Topic         string // the target
	Source        Source
	Stage, Reason string
	Record        abi.Record
}

// Client is a client of one cluster. It may be used by several goroutines at once.
type Client struct {
	cfg Config
	kgo *kgo.Client
	// large writes records that are larger than a batch of kgo is by default, one at a time: whoever sends to alone. How large a record may be is the brokers' business,
	// but many in one batch of that size would be refused.
	large *kgo.Client
	alone chan struct{}
}

// largeRecord is the size, in bytes, from which a record is written by Client.large; largestBatch is what that takes.
const (
	largeRecord  = 512 << 10
	largestBatch = 96 << 20
)

// New returns a Client. It connects when it is first used.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Bootstrap...),
		kgo.ClientID("sluice"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProduceRequestTimeout(cfg.Timeout),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitionOf)),
		kgo.AllowAutoTopicCreation(),
		kgo.RetryTimeout(cfg.Timeout),
		// A missing topic is asked for again soon: the client of the gateway waits.
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.UnknownTopicRetries(4),
	}
	if cfg.Dial != nil {
		opts = append(opts, kgo.Dialer(cfg.Dial))
	}
	if cfg.SASL != nil {
		mechanism, err := mechanismOf(*cfg.SASL)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("the gateway's own client: %w", err)
	}
	large, err := kgo.NewClient(append(opts, kgo.ProducerBatchMaxBytes(largestBatch))...)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("the gateway's own client: %w", err)
	}
	return &Client{cfg: cfg, kgo: client, large: large, alone: make(chan struct{}, 1)}, nil
}

func mechanismOf(s SASL) (sasl.Mechanism, error) {
	switch strings.ToUpper(s.Mechanism) {
	case "PLAIN":
		return plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("service account: mechanism %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}

// partitionOf chooses the target's partition by the source's, which Emit leaves in the record, so that order is kept.
func partitionOf(string) func(r *kgo.Record, n int) int {
	return func(r *kgo.Record, n int) int { return int(max(0, r.Partition)) % n }
}

// Emit writes records and returns nil once all of them are acknowledged; after an error some of them may have been written. It keeps nothing of its
// arguments.
func (c *Client) Emit(ctx context.Context, records []Record) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	for rest := records; len(rest) > 0; {
		n := 0
		for n < len(rest) && !rest[n].isLarge() {
			n++
		}
		if n > 0 {
			if err := c.write(ctx, c.kgo, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
			continue
		}
		if err := c.writeLarge(ctx, &rest[0]); err != nil {
			return err
		}
		rest = rest[1:]
	}
	return nil
}

func (r *Record) isLarge() bool {
	n := len(r.Record.Key) + len(r.Record.Value) + len(r.Reason)
	for _, h := range r.Record.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n >= largeRecord
}

func (c *Client) writeLarge(ctx context.Context, r *Record) error {
	select {
	case c.alone <- struct{}{}:
	case <-ctx.Done():
		return explain(r.Topic, fmt.Errorf("no acknowledgement in time: %w", ctx.Err()))
	}
	defer func() { <-c.alone }()
	return c.write(ctx, c.large, []Record{*r})
}

// write writes records with one client and waits until they are acknowledged, or ctx ends.
func (c *Client) write(ctx context.Context, client *kgo.Client, records []Record) error {
	// Room for all: a callback that comes after Emit has returned must not wait.
	done := make(chan error, len(records))
	for i := range records {
		r, err := c.record(&records[i])
		if err != nil {
			return err
		}
		// ctx bounds the waiting, not RecordDeliveryTimeout, which counts from a record's timestamp: that is the original's and may be old.
		client.Produce(ctx, r, func(_ *kgo.Record, err error) { done <- err })
	}
	var first error
	for range records {
		select {
		case err := <-done:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			// Records that were sent and not answered cannot be called back.
			return explain(records[0].Topic, fmt.Errorf("no acknowledgement in time: %w", ctx.Err()))
		}
	}
	if first == nil {
		return nil
	}
	return explain(records[0].Topic, first)
}

// explain says what to do, where something can be done.
func explain(topic string, err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %s: %w: create it", topic, err)
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("topic %s: %w: raise its max.message.bytes above that of the topics that records come from, because they have more headers here", topic, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("topic %s: %w: allow the cluster's service_account to write to it", topic, err)
	}
	return fmt.Errorf("topic %s: %w", topic, err)
}

// source is the JSON of HeaderSource.
type source struct {
	Cluster    string `json:"cluster"`
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	ProducerID *int64 `json:"producer_id,omitempty"`
	Epoch      *int16 `json:"epoch,omitempty"`
	Sequence   *int32 `json:"sequence,omitempty"`
	Offset     *int64 `json:"offset,omitempty"`
	Index      int32  `json:"index"`
}

// record copies r: kgo may still hold what it was given when Emit has returned because time was up.
func (c *Client) record(r *Record) (*kgo.Record, error) {
	s := r.Source
	src := source{Cluster: c.cfg.Cluster, Topic: s.Topic, Partition: s.Partition, Index: s.Index}
	if s.Offset >= 0 {
		src.Offset = &s.Offset
	} else {
		src.ProducerID, src.Epoch, src.Sequence = &s.ProducerID, &s.Epoch, &s.Sequence
	}
	origin, err := json.Marshal(src)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", HeaderSource, err)
	}
	out := &kgo.Record{
		Topic: strings.Clone(r.Topic), Partition: s.Partition,
		Key: bytes.Clone(r.Record.Key), Value: bytes.Clone(r.Record.Value),
		Headers: make([]kgo.RecordHeader, 0, len(r.Record.Headers)+3),
	}
	if r.Record.Timestamp >= 0 {
		out.Timestamp = time.UnixMilli(r.Record.Timestamp)
	}
	for _, h := range r.Record.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: strings.Clone(h.Name), Value: bytes.Clone(h.Value)})
	}
	out.Headers = append(out.Headers,
		kgo.RecordHeader{Key: HeaderSource, Value: origin},
		kgo.RecordHeader{Key: HeaderReason, Value: []byte(r.Reason)},
		kgo.RecordHeader{Key: HeaderStage, Value: []byte(r.Stage)},
	)
	return out, nil
}

// Metadata asks any broker for the brokers of the cluster. No topics are asked for.
func (c *Client) Metadata(ctx context.Context) (*kmsg.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none; null would be all
	resp, err := req.RequestWith(ctx, c.kgo)
	if err != nil {
		return nil, fmt.Errorf("ask for metadata: %w", err)
	}
	return resp, nil
}

// Close gives up what is under way and closes all connections.
func (c *Client) Close() {
	c.kgo.Close()
	c.large.Close()
}
