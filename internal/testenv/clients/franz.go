package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Franz is franz-go, in this process.
type Franz struct {
	// Opts are added to every client's.
	Opts []kgo.Opt

	// Dialed, if set, is called with every address that a client connects to.
	Dialed func(addr string)
}

// Name is "franz-go".
func (f *Franz) Name() string { return "franz-go" }

// Cannot returns "": it can do all.
func (f *Franz) Cannot(Mode) string { return "" }

func (f *Franz) client(bootstrap string, opts ...kgo.Opt) (*kgo.Client, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	all := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if f.Dialed != nil {
				f.Dialed(addr)
			}
			return dialer.DialContext(ctx, network, addr)
		}),
	}
	return kgo.NewClient(append(append(all, opts...), f.Opts...)...)
}

var kgoCodecs = map[string]kgo.CompressionCodec{
	"":       kgo.NoCompression(),
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var transactionalIDs atomic.Int64

// newTransactionalID returns an id that no other producer of this run uses.
func newTransactionalID() string {
	return fmt.Sprintf("e2e-%d-%d", os.Getpid(), transactionalIDs.Add(1))
}

func producerOpts(mode Mode, codec string) []kgo.Opt {
	opts := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgoCodecs[codec]),
		kgo.ProducerLinger(30 * time.Millisecond),
	}
	switch mode {
	case Plain:
		opts = append(opts, kgo.DisableIdempotentWrite())
	case Transactional:
		opts = append(opts, kgo.TransactionalID(newTransactionalID()))
	}
	return opts
}

// Produce implements Client.
func (f *Franz) Produce(ctx context.Context, p Produce) ([]GroupResult, error) {
	cl, err := f.client(p.Bootstrap, producerOpts(p.Mode, p.Codec)...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var results []GroupResult
	for _, g := range p.Groups {
		r, err := produceGroup(ctx, cl, p, g)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

func produceGroup(ctx context.Context, cl *kgo.Client, p Produce, g Group) (GroupResult, error) {
	if p.Mode == Transactional {
		if err := cl.BeginTransaction(); err != nil {
			return GroupResult{}, fmt.Errorf("begin transaction: %w", err)
		}
	}
	var (
		mu     sync.Mutex
		result GroupResult
		failed bool
	)
	for _, r := range g.Records {
		cl.Produce(ctx, kgoRecord(p.Topic, r), func(out *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = failed || err != nil
			result.Acks = append(result.Acks, kgoAck(r.ID, out, err))
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return result, fmt.Errorf("flush: %w", err)
	}
	if p.Mode != Transactional {
		return result, nil
	}
	mu.Lock()
	commit := kgo.TransactionEndTry(!failed && !g.Abort)
	mu.Unlock()
	err := cl.EndTransaction(ctx, commit)
	switch {
	case err != nil:
		result.Transaction = "failed: " + err.Error()
	case commit == kgo.TryCommit:
		result.Transaction = "committed"
	default:
		result.Transaction = "aborted"
	}
	return result, nil
}

func kgoRecord(topic string, r Record) *kgo.Record {
	out := &kgo.Record{Topic: topic, Partition: max(r.Partition, 0), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return out
}

func kgoAck(id string, r *kgo.Record, err error) Ack {
	if err != nil {
		return Ack{ID: id, Error: err.Error()}
	}
	return Ack{ID: id, Partition: r.Partition, Offset: r.Offset}
}

// Flood implements Flooder.
func (f *Franz) Flood(ctx context.Context, spec Flood) (FloodResult, error) {
	opts := append(producerOpts(spec.Mode, ""),
		kgo.ProducerLinger(2*time.Millisecond), kgo.ProducerBatchMaxBytes(int32(spec.BatchBytes)),
		kgo.MaxBufferedRecords(spec.Window), kgo.RecordDeliveryTimeout(3*time.Minute), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
		// Without this an idempotent producer gives a record up after
		// its retries, and with it everything buffered.
		kgo.RecordRetries(1<<30), kgo.RetryTimeout(3*time.Minute))
	cl, err := f.client(spec.Bootstrap, opts...)
	if err != nil {
		return FloodResult{}, err
	}
	defer cl.Close()
	in, err := os.Open(spec.RecordsFile)
	if err != nil {
		return FloodResult{}, err
	}
	defer in.Close()
	file, err := os.Create(spec.AcksFile)
	if err != nil {
		return FloodResult{}, err
	}
	defer file.Close()

	var (
		mu     sync.Mutex
		out    = bufio.NewWriter(file)
		acks   = json.NewEncoder(out)
		result FloodResult
		broken error
	)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return result, err
		}
		result.Sent++
		cl.Produce(ctx, kgoRecord(r.Topic, r), func(stored *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.Failed++
			}
			broken = errors.Join(broken, acks.Encode(kgoAck(r.ID, stored, err)))
		})
	}
	if err := errors.Join(lines.Err(), cl.Flush(ctx)); err != nil {
		return result, err
	}
	mu.Lock()
	defer mu.Unlock()
	return result, errors.Join(broken, out.Flush())
}

// Consume implements Client. franz-go does not tell where a partition ends if
// the last records are hidden, so it waits for the records wanted and half a
// second more.
func (f *Franz) Consume(ctx context.Context, c Consume) ([]Stored, error) {
	opts := []kgo.Opt{
		kgo.ConsumeTopics(c.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(200 * time.Millisecond),
	}
	if c.Committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := f.client(c.Bootstrap, opts...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	var records []Stored
	for {
		wait := c.timeout()
		if len(records) >= c.Want {
			wait = 500 * time.Millisecond
		}
		pollCtx, stop := context.WithTimeout(ctx, wait)
		fetches := cl.PollFetches(pollCtx)
		quiet := pollCtx.Err() != nil
		stop()
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
				continue
			}
			return records, fmt.Errorf("fetch %s[%d]: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) { records = append(records, kgoStored(r)) })
		if quiet {
			Sort(records)
			if len(records) < c.Want {
				return records, fmt.Errorf("franz-go got %d of %d records within %v", len(records), c.Want, c.timeout())
			}
			return records, nil
		}
	}
}

func kgoStored(r *kgo.Record) Stored {
	s := Stored{Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		s.Headers = append(s.Headers, Header{Name: h.Key, Value: h.Value})
	}
	return s
}

// ReadAll reads what a topic holds, markers and all, from brokers: to the high
// watermark, or with committed to the last stable offset, skipping aborted
// records.
func ReadAll(ctx context.Context, bootstrap, topic string, committed bool) ([]Stored, error) {
	f := &Franz{}
	opts := []kgo.Opt{kgo.FetchMaxWait(100 * time.Millisecond), kgo.KeepControlRecords()}
	if committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	adm, err := f.client(bootstrap)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	list := kadm.NewClient(adm).ListEndOffsets
	if committed {
		list = kadm.NewClient(adm).ListCommittedOffsets
	}
	ends, err := list(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	starts := map[int32]kgo.Offset{}
	waiting := map[int32]int64{}
	for p, o := range ends[topic] {
		if o.Err != nil {
			return nil, fmt.Errorf("list offsets of %s[%d]: %w", topic, p, o.Err)
		}
		if o.Offset > 0 {
			starts[p], waiting[p] = kgo.NewOffset().AtStart(), o.Offset
		}
	}
	if len(waiting) == 0 {
		return nil, nil
	}
	cl, err := f.client(bootstrap, append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var records []Stored
	quiet := 0
	for len(waiting) > 0 {
		pollCtx, stop := context.WithTimeout(ctx, time.Second)
		fetches := cl.PollFetches(pollCtx)
		stop()
		if ctx.Err() != nil {
			return records, fmt.Errorf("read %s: partitions %v not read to their ends: %w", topic, waiting, ctx.Err())
		}
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, context.DeadlineExceeded) {
				continue
			}
			return records, fmt.Errorf("read %s[%d]: %w", topic, e.Partition, e.Err)
		}
		if fetches.NumRecords() == 0 {
			// Compaction may have taken the last records, and aborted ones are
			// not shown: two quiet seconds are the end.
			if quiet++; quiet == 2 {
				break
			}
			continue
		}
		quiet = 0
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				s := kgoStored(r)
				s.Codec = Codecs[r.Attrs.CompressionType()]
				records = append(records, s)
			}
			if r.Offset+1 >= waiting[r.Partition] {
				delete(waiting, r.Partition)
			}
		})
	}
	Sort(records)
	return records, nil
}
