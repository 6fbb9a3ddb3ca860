package apache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// conn is a connection on which a test writes its own bytes.
type conn struct {
	t *testing.T
	net.Conn
	correlation int32
}

func dial(t *testing.T, addr string) *conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &conn{t: t, Conn: c}
}

// brokerOf returns the address at which the only broker of the cluster is
// served according to metadata from addr.
func brokerOf(t *testing.T, addr string) string {
	t.Helper()
	c := dial(t, addr)
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 1
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp := c.ask(req).(*kmsg.MetadataResponse)
	if len(resp.Brokers) != 1 {
		t.Fatalf("metadata names %d brokers, want 1", len(resp.Brokers))
	}
	return net.JoinHostPort(resp.Brokers[0].Host, fmt.Sprint(resp.Brokers[0].Port))
}

// send writes a request.
func (c *conn) send(req kmsg.Request) {
	c.t.Helper()
	c.correlation++
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))
	if _, err := c.Write(f.AppendRequest(nil, req, c.correlation)); err != nil {
		c.t.Fatalf("write %s: %v", kmsg.NameForKey(req.Key()), err)
	}
}

// receive reads the answer to req, which must be the next one on the connection.
func (c *conn) receive(req kmsg.Request, correlation int32) (kmsg.Response, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != correlation {
		return nil, fmt.Errorf("the answer has correlation id %d, want %d", got, correlation)
	}
	body = body[4:]
	resp := req.ResponseKind()
	if req.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		body = body[1:] // no tags
	}
	return resp, resp.ReadFrom(body)
}

// ask sends a request and waits for its answer.
func (c *conn) ask(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(req)
	resp, err := c.receive(req, c.correlation)
	if err != nil {
		c.t.Fatalf("answer to %s v%d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp
}

// closed waits until the other side closes the connection. Bytes that come
// before are returned.
func (c *conn) closed() (before []byte, err error) {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	before, err = io.ReadAll(c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return before, errors.New("the connection was not closed within 10 s")
	}
	return before, nil
}

// batch encodes records as one batch of a producer without id.
func batch(records ...clients.Record) []byte {
	var body []byte
	for i, r := range records {
		var rec []byte
		rec = append(rec, 0)                                  // attributes
		rec = binary.AppendVarint(rec, 0)                     // timestamp delta
		rec = binary.AppendVarint(rec, int64(i))              // offset delta
		rec = appendBytes(appendBytes(rec, r.Key), r.Value)   // -1 for null
		rec = binary.AppendVarint(rec, int64(len(r.Headers))) // count
		for _, h := range r.Headers {
			rec = append(binary.AppendVarint(rec, int64(len(h.Name))), h.Name...)
			rec = appendBytes(rec, h.Value)
		}
		body = append(binary.AppendVarint(body, int64(len(rec))), rec...)
	}
	return batchOf(0, len(records), body)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// batchOf makes a batch around records that are encoded and, with a codec in
// attributes, compressed.
func batchOf(attributes int16, count int, records []byte) []byte {
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes, LastOffsetDelta: int32(count - 1),
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(count), Records: records,
	}
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-12))
	return seal(out)
}

// seal puts the right checksum into a batch.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// produce makes a request for one partition.
func produceRequest(version int16, acks int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 5000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: records}}}}
	return req
}

// outcome shows an answer to a produce request in one line per partition.
func outcome(p kmsg.ProduceResponseTopicPartition) string {
	err := "ok"
	if e := kerr.TypedErrorForCode(p.ErrorCode); e != nil {
		err = e.Message
	}
	message := ""
	if p.ErrorMessage != nil {
		message = *p.ErrorMessage
	}
	return fmt.Sprintf("partition %d: %s, base offset %d, %d record errors, message %q", p.Partition, err, p.BaseOffset, len(p.ErrorRecords), message)
}
