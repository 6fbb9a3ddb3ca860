package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Versions that every peer of the comparison speaks and that carry topic
// names, so that one prepared request serves all targets.
const (
	produceVersion = 9
	fetchVersion   = 12
	inFlight       = 5
)

// client is a raw Kafka client: it sends prepared requests and reads answers
// without decoding more than it has to, so that what is measured is the path
// and not the client. One goroutine at a time.
type client struct {
	conn net.Conn
	buf  []byte // unread bytes are buf[r:w]
	r, w int
	corr uint32
}

func dial(addr string, wrap func(net.Conn) net.Conn) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if wrap != nil {
		conn = wrap(conn)
	}
	return &client{conn: conn, buf: make([]byte, 512<<10)}, nil
}

func (c *client) close() { c.conn.Close() }

// send writes a prepared request under the next correlation id.
func (c *client) send(req []byte) error {
	c.corr++
	binary.BigEndian.PutUint32(req[8:], c.corr)
	_, err := c.conn.Write(req)
	return err
}

// receive reads one answer and returns its length and, where it fits the
// buffer, its bytes, which are valid until the next call.
func (c *client) receive() (int, []byte, error) {
	if err := c.fill(4); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(c.buf[c.r:]))
	c.r += 4
	if size <= len(c.buf) {
		if err := c.fill(size); err != nil {
			return 0, nil, err
		}
		body := c.buf[c.r : c.r+size]
		c.r += size
		return size, body, nil
	}
	rest := size - (c.w - c.r)
	c.r, c.w = 0, 0
	for rest > 0 {
		n, err := c.conn.Read(c.buf[:min(rest, len(c.buf))])
		if err != nil {
			return 0, nil, err
		}
		rest -= n
	}
	return size, nil, nil
}

// fill reads until n bytes are buffered.
func (c *client) fill(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	if len(c.buf)-c.r < n {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	got, err := io.ReadAtLeast(c.conn, c.buf[c.w:], n-(c.w-c.r))
	c.w += got
	return err
}

// sample is what one leg did in one round.
type sample struct {
	bytes, requests int64
	elapsed         time.Duration
	latencies       []time.Duration // only from paced runs
}

func (s sample) mbps() float64 { return float64(s.bytes) / 1e6 / s.elapsed.Seconds() }

// run keeps inFlight requests under way for d. next prepares each request;
// check judges each answer. payload is the number of record bytes a request
// stands for.
func (c *client) run(d time.Duration, payload int, next func() []byte, check func(size int, body []byte) error) (sample, error) {
	c.conn.SetDeadline(time.Now().Add(d + 30*time.Second))
	var s sample
	start := time.Now()
	for range inFlight {
		if err := c.send(next()); err != nil {
			return s, err
		}
	}
	for open := inFlight; open > 0; {
		size, body, err := c.receive()
		if err == nil {
			err = check(size, body)
		}
		if err != nil {
			return s, err
		}
		s.requests++
		s.bytes += int64(payload)
		open--
		if time.Since(start) < d {
			if err := c.send(next()); err != nil {
				return s, err
			}
			open++
		}
	}
	s.elapsed = time.Since(start)
	return s, nil
}

// pace sends rate requests a second, one at a time, and measures each from the
// moment it was due, so that a stall is counted for all that it delayed.
func (c *client) pace(d time.Duration, rate int, next func() []byte, check func(size int, body []byte) error) (sample, error) {
	c.conn.SetDeadline(time.Now().Add(d + 30*time.Second))
	var s sample
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if due.Sub(start) >= d {
			break
		}
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		// The sleep's own lateness belongs to the client, not to the path.
		begin := time.Now()
		if late := begin.Sub(due); late > 2*time.Second/time.Duration(rate) {
			begin = due
		}
		if err := c.send(next()); err != nil {
			return s, err
		}
		size, body, err := c.receive()
		if err == nil {
			err = check(size, body)
		}
		if err != nil {
			return s, err
		}
		s.latencies = append(s.latencies, time.Since(begin))
		s.requests++
	}
	s.elapsed = time.Since(start)
	return s, nil
}

// recordBatch encodes n records with the given value, uncompressed.
func recordBatch(n int, value func(i int) []byte) []byte {
	var records []byte
	for i := range n {
		r := kmsg.Record{OffsetDelta: int32(i), Value: value(i)}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(n - 1),
		FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(n), Records: records,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// plainBatch is n records of size bytes that compress like text.
func plainBatch(n, size int) []byte {
	value := make([]byte, size)
	for i := range value {
		value[i] = 'a' + byte(i*7%26)
	}
	return recordBatch(n, func(int) []byte { return value })
}

func format(req kmsg.Request, version int16) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 0)
}

func produceRequest(topic string, batch []byte) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = 20000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return format(req, produceVersion)
}

// produceOK reads the one error code of an answer to [produceRequest].
func produceOK(_ int, body []byte) error {
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(produceVersion)
	if err := resp.ReadFrom(body[5:]); err != nil { // correlation id, empty tags
		return err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return fmt.Errorf("produce answer for %d topics", len(resp.Topics))
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("produce answer with error code %d", code)
	}
	return nil
}

// fetchRequest asks for exactly one batch: brokers always give the first.
func fetchRequest(topic string, offset int64) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 500
	req.MinBytes = 1
	req.MaxBytes = 1 << 30
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset = offset
	p.PartitionMaxBytes = 1
	p.CurrentLeaderEpoch = -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return format(req, fetchVersion)
}

// fetchRequests asks for every batch of perBatch records below end, in turn.
func fetchRequests(topic string, perBatch int, end int64) func() []byte {
	var reqs [][]byte
	for offset := int64(0); offset+int64(perBatch) <= end; offset += int64(perBatch) {
		reqs = append(reqs, fetchRequest(topic, offset))
	}
	i := 0
	return func() []byte {
		i++
		return reqs[i%len(reqs)]
	}
}

func atLeast(payload int) func(int, []byte) error {
	return func(size int, _ []byte) error {
		if size < payload {
			return fmt.Errorf("fetch answer of %d bytes, want at least %d", size, payload)
		}
		return nil
	}
}

// percentile of unsorted durations, p in 0..100.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*p/100))]
}
