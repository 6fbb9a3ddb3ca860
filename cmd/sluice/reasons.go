package main

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// reasons listens to the answers of a client's Produce requests, because they say why records were refused and the client
// library does not pass that on. What it cannot read it ignores.
type reasons struct {
	mu   sync.Mutex
	last map[int32]string // newest message for a partition; the client has one topic
}

func newReasons() *reasons { return &reasons{last: map[int32]string{}} }

// of returns the newest reason for a partition in place of what the client library says.
func (r *reasons) of(partition int32, otherwise string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := r.last[partition]; text != "" {
		return text
	}
	return otherwise
}

func (r *reasons) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &listeningConn{Conn: c, reasons: r, versions: map[int32]int16{}}, nil
}

// listeningConn keeps what it needs to read Produce responses. The client writes each request with one Write.
type listeningConn struct {
	net.Conn
	reasons *reasons

	mu       sync.Mutex
	versions map[int32]int16 // of Produce requests, by correlation id
	frame    []byte          // what was read of the current response
}

func (c *listeningConn) Write(b []byte) (int, error) {
	const produce = 0
	if len(b) >= 12 && binary.BigEndian.Uint16(b[4:]) == produce {
		c.mu.Lock()
		c.versions[int32(binary.BigEndian.Uint32(b[8:]))] = int16(binary.BigEndian.Uint16(b[6:]))
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *listeningConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frame = append(c.frame, b[:n]...)
	for len(c.frame) >= 4 {
		size := int(binary.BigEndian.Uint32(c.frame)) + 4
		if len(c.frame) < size {
			break
		}
		c.response(c.frame[4:size])
		c.frame = c.frame[size:]
	}
	return n, err
}

// response notes the messages of one response, if it is one to a Produce request.
func (c *listeningConn) response(b []byte) {
	if len(b) < 5 {
		return
	}
	id := int32(binary.BigEndian.Uint32(b))
	version, ok := c.versions[id]
	if !ok {
		return
	}
	delete(c.versions, id)
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(version)
	body := b[4:]
	if resp.IsFlexible() {
		body = body[1:] // no tagged fields in the header
	}
	if resp.ReadFrom(body) != nil {
		return
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			c.reasons.note(p)
		}
	}
}

func (r *reasons) note(p kmsg.ProduceResponseTopicPartition) {
	text := ""
	if p.ErrorMessage != nil {
		text = *p.ErrorMessage
	}
	for _, e := range p.ErrorRecords {
		if e.ErrorMessage != nil {
			text = *e.ErrorMessage
			break
		}
	}
	r.mu.Lock()
	r.last[p.Partition] = text
	r.mu.Unlock()
}
