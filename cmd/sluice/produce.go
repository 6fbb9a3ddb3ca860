package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var produceCommand = &command{
	name: "produce", args: "-t TOPIC [flags] [VALUE...]", summary: "write records to a topic, from arguments or lines of standard input",
	help: `
Each VALUE is one record; without any, each line of standard input is one. It prints where each record was stored,
topic[partition]@offset, and the reason for each that was refused. It is for trying things: idempotent, acknowledged by all
replicas, one batch for what is there at once.

Examples:
  echo '{"lumens": 100}' | {sluice} produce -t event-gateway-demo
  {sluice} produce -t event-gateway-demo -k lamp-1 -H source=me '{"lumens": 100}' '{"lumens": true}'
  {sluice} produce -t orders -K : -z zstd -b gateway:19092 < orders.txt    # lines of key:value
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		p := new(producer)
		brokersFlag(fs, &p.brokers)
		fs.StringVar(&p.topic, "t", "", "the `topic`; needed")
		fs.Func("k", "the `key` of all records; without it they have none", func(s string) error { p.key = []byte(s); return nil })
		fs.StringVar(&p.separator, "K", "", "lines and values are key, `separator`, value")
		fs.Func("H", "a header, `name=value`, for all records; may be repeated", p.header)
		fs.IntVar(&p.partition, "p", -1, "the `partition`; -1 chooses by key")
		fs.StringVar(&p.acks, "acks", "all", "which `replicas` must have a record: all, 1 (the leader) or 0")
		fs.StringVar(&p.codec, "z", "none", "compress batches with `codec`: none, gzip, snappy, lz4 or zstd")
		fs.BoolVar(&p.null, "null", false, "an empty value is null (a tombstone)")
		fs.BoolVar(&p.plain, "no-idempotence", false, "send without a producer id")
		fs.BoolVar(&p.quiet, "q", false, "print nothing for stored records")
		fs.DurationVar(&p.timeout, "timeout", 30*time.Second, "give a record up after this `duration`")
		return p.run
	},
}

// defaultBrokers is where sluice demo serves clients.
const defaultBrokers = "127.0.0.1:9092"

func brokersFlag(fs *flag.FlagSet, brokers *string) {
	fs.StringVar(brokers, "b", defaultBrokers, "bootstrap `addresses` of the gateway or a broker, host:port, with commas between")
}

// producer is the state of one produce command.
type producer struct {
	brokers, topic, separator, acks, codec string
	key                                    []byte
	headers                                []kgo.RecordHeader
	partition                              int
	null, plain, quiet                     bool
	timeout                                time.Duration

	mu      sync.Mutex // guards what follows and the output: promises run beside the reader
	refused int
	failed  error
	reasons *reasons
}

func (p *producer) header(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("write name=value")
	}
	p.headers = append(p.headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	return nil
}

func (p *producer) run(ctx context.Context, e *env, args []string) error {
	opts, err := p.options()
	if err != nil {
		return err
	}
	cl, err := connect(ctx, p.brokers, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()

	n := 0
	for value, err := range values(ctx, e.in, args) {
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		n++
		r, err := p.record(value)
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		number := n
		cl.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) { p.done(e, number, r, err) })
	}
	// After Ctrl-C what was read is still stored; the records' own timeout bounds that.
	if err := cl.Flush(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failed != nil:
		return p.failed
	case p.refused > 0:
		return fmt.Errorf("%d of %d records were %w", p.refused, n, errRefused)
	}
	return nil
}

func (p *producer) options() ([]kgo.Opt, error) {
	if p.topic == "" {
		return nil, usage("which topic? Name it with -t")
	}
	if p.key != nil && p.separator != "" {
		return nil, usage("-k and -K exclude each other")
	}
	if p.partition > math.MaxInt32 {
		return nil, usage("-p %d is no partition", p.partition)
	}
	p.reasons = newReasons()
	opts := []kgo.Opt{
		kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(3), kgo.RecordDeliveryTimeout(p.timeout),
		kgo.Dialer(p.reasons.dial), kgo.ProducerLinger(0),
	}
	switch p.acks {
	case "all":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
		p.plain = true
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()))
		p.plain = true
	default:
		return nil, usage("--acks %s is not one of all, 1 and 0", p.acks)
	}
	if p.plain {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if p.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[p.codec]
	if !ok {
		return nil, usage("-z %s is not one of none, gzip, snappy, lz4 and zstd", p.codec)
	}
	return append(opts, kgo.ProducerBatchCompression(codec)), nil
}

// record makes a record of one line or argument.
func (p *producer) record(value []byte) (*kgo.Record, error) {
	r := &kgo.Record{Topic: p.topic, Partition: int32(p.partition), Key: p.key, Value: value, Headers: p.headers}
	if p.separator != "" {
		key, rest, ok := bytes.Cut(value, []byte(p.separator))
		if !ok {
			return nil, fmt.Errorf("there is no %q after a key in %q", p.separator, value)
		}
		r.Key, r.Value = key, rest
	}
	if p.null && len(r.Value) == 0 {
		r.Value = nil
	}
	return r, nil
}

// done reports what became of a record.
func (p *producer) done(e *env, number int, r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var code *kerr.Error
	switch {
	case err == nil && p.acks == "0":
		if !p.quiet {
			fmt.Fprintf(e.out, "%s[%d] sent\n", r.Topic, r.Partition)
		}
	case err == nil:
		if !p.quiet {
			fmt.Fprintf(e.out, "%s[%d]@%d\n", r.Topic, r.Partition, r.Offset)
		}
	case errors.As(err, &code) && !code.Retriable:
		p.refused++
		fmt.Fprintf(e.err, "record %d: refused: %s: %s\n", number, code.Message, p.reasons.of(r.Partition, code.Description))
	default:
		if p.failed == nil {
			p.failed = fmt.Errorf("record %d was not stored: %w", number, err)
		}
	}
}

// maxLine bounds a line of standard input.
const maxLine = 64 << 20

// values yields the arguments, or the lines of in if there are none, until ctx ends.
func values(ctx context.Context, in io.Reader, args []string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, a := range args {
			if !yield([]byte(a), nil) {
				return
			}
		}
		if len(args) > 0 {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		lines := make(chan line)
		go readLines(ctx, in, lines)
		for {
			select {
			case <-ctx.Done():
				return
			case l, ok := <-lines:
				if !ok || !yield(l.text, l.err) {
					return
				}
			}
		}
	}
}

type line struct {
	text []byte
	err  error
}

// readLines sends the lines of in until ctx ends. A read that blocks, as on a terminal, outlives ctx; the process ends it.
func readLines(ctx context.Context, in io.Reader, out chan<- line) {
	defer close(out)
	send := func(l line) bool {
		select {
		case out <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		if !send(line{text: bytes.Clone(lines.Bytes())}) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		send(line{err: err})
	}
}

// connect makes a client and finds out whether there is a broker behind the addresses.
func connect(ctx context.Context, brokers string, opts ...kgo.Opt) (*kgo.Client, error) {
	seeds := strings.Split(brokers, ",")
	for i := range seeds {
		seeds[i] = strings.TrimSpace(seeds[i])
	}
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...), kgo.ClientID("sluice"), kgo.RetryTimeout(10*time.Second))...)
	if err != nil {
		return nil, usage("%v", err)
	}
	ping, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := cl.Ping(ping); err != nil {
		cl.Close()
		return nil, fmt.Errorf("no Kafka broker answers at %s (is the gateway running? \"sluice demo\" starts one): %w", brokers, err)
	}
	return cl, nil
}
