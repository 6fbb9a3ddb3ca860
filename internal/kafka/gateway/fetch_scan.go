package gateway

import (
	"encoding/binary"
	"fmt"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// fetchRequest is what the gateway has to know of a fetch request.
type fetchRequest struct {
	session, epoch int32
	maxBytes       int   // where max_bytes is, 0 if the version has none
	partitionBytes []int // where each partition_max_bytes is
	topics         []fetchedTopic
}

type fetchedTopic struct {
	name []byte // a view; nil from v13 on
	id   topicID
}

// Epochs of a fetch session, beside those that count: a full request that begins a session, and one outside of any.
const (
	sessionBegins = 0
	sessionNone   = -1
)

// scanFetch finds the parts of a fetch request and leaves them in r, whose memory it uses again. It reads v0 to v15.
func scanFetch(r *fetchRequest, body []byte, h wire.RequestHeader) error {
	v := h.Version
	c := cursorAt(body, h.Size, v >= 12)
	if cap(r.partitionBytes) > keptPartitions {
		*r = fetchRequest{}
	}
	*r = fetchRequest{epoch: sessionNone, topics: r.topics[:0], partitionBytes: r.partitionBytes[:0]}
	if v <= 14 {
		c.int32() // replica id
	}
	c.take(4 + 4) // max wait, min bytes
	if v >= 3 {
		r.maxBytes = c.at
		c.int32()
	}
	if v >= 4 {
		c.int8() // isolation level
	}
	if v >= 7 {
		r.session, r.epoch = c.int32(), c.int32()
	}
	before := 4 + 8 // partition, fetch offset
	if v >= 9 {
		before += 4 // current leader epoch
	}
	if v >= 12 {
		before += 4 // last fetched epoch
	}
	if v >= 5 {
		before += 8 // log start offset
	}
	for range c.array(2) {
		var t fetchedTopic
		t.name, t.id = readTopic(&c, v >= 13)
		for range c.array(before + 4) {
			c.take(before)
			r.partitionBytes = append(r.partitionBytes, c.at)
			c.int32()
			c.tags()
		}
		c.tags()
		if len(r.topics)+len(r.partitionBytes) > maxFetched || !c.ok() {
			return fmt.Errorf("%w: fetch request v%d", errMalformed, v)
		}
		r.topics = append(r.topics, t)
	}
	// What follows (forgotten topics, rack) takes nothing from the broker's answer that would have to be looked at. It is read so that a request
	// is known to be understood as a whole.
	if v >= 7 {
		for range c.array(2) {
			readTopic(&c, v >= 13)
			for range c.array(4) {
				c.int32()
			}
			c.tags()
		}
	}
	if v >= 11 {
		c.string()
	}
	c.tags()
	if !c.ok() {
		return fmt.Errorf("%w: fetch request v%d", errMalformed, v)
	}
	return nil
}

// keptPartitions is the largest fetchRequest, in partitions, whose memory a connection keeps.
const keptPartitions = 1000

// maxFetched bounds the topics and partitions of a fetch request that is looked at.
const maxFetched = 1 << 20

// lower makes a fetch request ask for less, in place.
func (r *fetchRequest) lower(body []byte, most, mostPerPartition int32) {
	if r.maxBytes > 0 {
		lowerInt32(body[r.maxBytes:], most)
	}
	for _, at := range r.partitionBytes {
		lowerInt32(body[at:], mostPerPartition)
	}
}

func lowerInt32(b []byte, most int32) {
	if int32(binary.BigEndian.Uint32(b)) > most {
		binary.BigEndian.PutUint32(b, uint32(most))
	}
}

// fetchedPartition is one partition of a fetch response; numbers are offsets in the body.
type fetchedPartition struct {
	index   int32
	errorAt int
	records span // with its length field
	data    []byte
}

// fetchedOutline is what surrounds the partitions of a fetch response.
type fetchedOutline struct {
	session int32
	tags    span // the tagged fields at the end; empty in versions that have none
	tagged  bool // there are some
}

// scanFetchResponse goes through a fetch response, v0 to v15, and calls visit for each partition. name is nil from v13 on.
func scanFetchResponse(body []byte, head int, v int16, visit func(name []byte, id topicID, p fetchedPartition) error) (out fetchedOutline, err error) {
	c := cursorAt(body, head, v >= 12)
	if v >= 1 {
		c.int32() // throttle time
	}
	if v >= 7 {
		c.int16() // error code
		out.session = c.int32()
	}
	fixed := 8 // high watermark
	if v >= 4 {
		fixed += 8 // last stable offset
	}
	if v >= 5 {
		fixed += 8 // log start offset
	}
	for range c.array(2) {
		name, id := readTopic(&c, v >= 13)
		for range c.array(4 + 2 + fixed) {
			p := fetchedPartition{index: c.int32()}
			p.errorAt = c.at
			c.int16()
			c.take(fixed)
			if v >= 4 {
				for range c.array(16) { // aborted transactions
					c.take(16)
					c.tags()
				}
			}
			if v >= 11 {
				c.int32() // preferred read replica
			}
			p.records.start = c.at
			p.data = c.bytes()
			p.records.end = c.at
			c.tags()
			if !c.ok() {
				break
			}
			if err := visit(name, id, p); err != nil {
				return out, err
			}
		}
		c.tags()
		if !c.ok() {
			break
		}
	}
	out.tags.start = c.at
	out.tagged = c.tags() > 0
	out.tags.end = c.at
	if !c.ok() || c.at != len(body) {
		return out, fmt.Errorf("%w: fetch response v%d", errMalformed, v)
	}
	return out, nil
}

// withoutTag returns tagged fields without one of them. b is such fields as cursor.tags has accepted them.
func withoutTag(b []byte, tag uint32) []byte {
	c := cursor{b: b, flexible: true}
	count, left := c.uvarint(), uint32(0)
	var fields []byte
	for range count {
		start := c.at
		t := c.uvarint()
		c.take(int(c.uvarint()))
		if t != tag {
			left++
			fields = append(fields, b[start:c.at]...)
		}
	}
	return append(binary.AppendUvarint(nil, uint64(left)), fields...)
}
