package gateway

import (
	"fmt"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// produceHead is the beginning of a produce request, up to the name of its first topic.
type produceHead struct {
	acks   int16
	topics int
	// name and id are those of the first topic, if there is one; name is a view, nil from v13 on.
	name []byte
	id   topicID
}

// cursorAt returns a cursor of a request or response body behind its header.
func cursorAt(body []byte, header int, flexible bool) cursor {
	return cursor{b: body, at: min(header, len(body)), flexible: flexible}
}

// readProduceStart reads what precedes the topics.
func readProduceStart(c *cursor, version int16) (acks int16) {
	if version >= 3 {
		c.string() // transactional id
	}
	acks = c.int16()
	c.int32() // timeout
	return acks
}

// scanProduceHead reads the beginning of a produce request from a prefix of its body.
func scanProduceHead(prefix []byte, h wire.RequestHeader) (head produceHead, ok bool) {
	c := cursorAt(prefix, h.Size, h.Version >= 9)
	head.acks = readProduceStart(&c, h.Version)
	if head.topics = max(0, c.size(4)); head.topics > 0 {
		head.name, head.id = readTopic(&c, h.Version >= 13)
	}
	return head, c.ok()
}

// readTopic reads a topic's name, or its id.
func readTopic(c *cursor, byID bool) (name []byte, id topicID) {
	if byID {
		return nil, c.id()
	}
	return c.string(), id
}

// produceRequest is a produce request with the places of its parts; all numbers are offsets in the body.
type produceRequest struct {
	acks     int16
	flexible bool
	countAt  span // the number of topics
	topics   []producedTopic
}

type span struct{ start, end int }

type producedTopic struct {
	span
	name       []byte // a view; nil from v13 on
	id         topicID
	countAt    span // the number of partitions
	partitions []producedPartition
}

type producedPartition struct {
	span
	index   int32
	records span // with its length field
	data    []byte
}

// maxPartitions bounds the partitions of one request that is opened: a frame could claim a hundred million.
const maxPartitions = 1 << 16

// scanProduce finds the parts of a produce request.
func scanProduce(body []byte, h wire.RequestHeader) (*produceRequest, error) {
	c := cursorAt(body, h.Size, h.Version >= 9)
	r := &produceRequest{flexible: c.flexible, acks: readProduceStart(&c, h.Version)}
	total := 0
	r.countAt.start = c.at
	topics := c.array(2)
	r.countAt.end = c.at
	for range topics {
		t := producedTopic{span: span{start: c.at}}
		t.name, t.id = readTopic(&c, h.Version >= 13)
		t.countAt.start = c.at
		n := c.array(8)
		t.countAt.end = c.at
		if total += 1 + n; total > maxPartitions {
			return nil, fmt.Errorf("%w: more than %d topics and partitions in a produce request", errMalformed, maxPartitions)
		}
		for range n {
			p := producedPartition{span: span{start: c.at}}
			p.index = c.int32()
			p.records.start = c.at
			p.data = c.bytes()
			p.records.end = c.at
			c.tags()
			p.end = c.at
			if !c.ok() {
				break
			}
			t.partitions = append(t.partitions, p)
		}
		c.tags()
		t.end = c.at
		if !c.ok() {
			break
		}
		r.topics = append(r.topics, t)
	}
	c.tags()
	if !c.ok() {
		return nil, fmt.Errorf("%w: produce request v%d", errMalformed, h.Version)
	}
	return r, nil
}
