package gateway

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// Produce: batches for partitions.
//
//	v0-2  message sets of the formats before magic 2; v1 throttle time, v2 log append time
//	v3    transactional id first; exactly one batch of magic 2 for each partition
//	v5    log start offset; v7 zstd; v8 record errors and an error message
//	v9    flexible
//	v10   current leader, and node endpoints in a tagged field of the response
//	v12   transactions of version 2
//	v13   topic ids in place of names
//
// With acks=0 there is no response at all, and a broker that refuses something closes the connection.
//
// Only topics that a pipeline matches are opened (produce_open.go). A request with one topic is decided from its first bytes.
func produceRow() row {
	return row{key: 0, max: 13, request: produce}
}

// errZeroAcks ends a connection whose request with acks=0 was refused, in whole or in part: there is no other way to tell the client.
var errZeroAcks = errors.New("a request with acks=0 was refused")

func produce(c *conn, h wire.RequestHeader) error {
	head, err := c.peekProduce(h)
	if err != nil {
		return err
	}
	routes := c.g.routes.peek()
	if !routes.opensProduce() || head.topics == 0 {
		return c.passProduce(h, head.acks)
	}
	if head.topics == 1 {
		name, err := c.topicName(h.Version >= 13, head.name, head.id)
		if err != nil {
			return err
		}
		if name != "" && len(routes.match(c.cluster.cfg.Name, name).produce) == 0 {
			return c.passProduce(h, head.acks)
		}
	}
	return c.openProduce(h)
}

// peekProduce reads the beginning of the current request: a little of it first, because the rest may not have arrived.
func (c *conn) peekProduce(h wire.RequestHeader) (produceHead, error) {
	for _, n := range []int{h.Size + 512, wire.MaxPeek} {
		prefix, err := c.cr.Peek(min(n, wire.MaxPeek))
		if err != nil {
			return produceHead{}, err
		}
		if head, ok := scanProduceHead(prefix, h); ok {
			return head, nil
		}
	}
	return produceHead{}, fmt.Errorf("%w: produce request v%d", errMalformed, h.Version)
}

// passProduce forwards the current request unread.
func (c *conn) passProduce(h wire.RequestHeader, acks int16) error {
	if acks == 0 {
		return c.relay()
	}
	return c.pass(h, produceResponder(h.Version))
}

// produceResponder returns what is done with the response to a request that is forwarded as it is.
func produceResponder(version int16) responder {
	if version < 9 { // node endpoints are said to begin with v10; tagged fields do with v9
		return nil
	}
	return relayProduceAnswer
}

// relayProduceAnswer forwards the response unless it names brokers.
func relayProduceAnswer(c *conn, e *entry, size int32) error {
	if int(size) <= wire.MaxPeek {
		body, err := c.ur.Peek(int(size))
		if err != nil {
			return upstreamError{err}
		}
		if !namesBrokers(body, e) {
			return c.relayAnswer()
		}
	}
	return rewriteProduceAnswer(c, e, size)
}

var rewriteProduceAnswer = rewriting(kmsg.NewPtrProduceResponse, func(c *conn, m *kmsg.ProduceResponse) { rewriteEndpoints(c, m) })

// rewriteEndpoints rewrites the node endpoints of a produce response.
func rewriteEndpoints(c *conn, m *kmsg.ProduceResponse) {
	m.Brokers = keepPlaced(c, m.Brokers, func(b *kmsg.ProduceResponseBroker) (int32, *string, *int32) { return b.NodeID, &b.Host, &b.Port })
}

// namesBrokers says whether a flexible produce response has any tagged field at its end, which is where node endpoints are. It decodes nothing. Bytes
// that it does not understand may have one.
func namesBrokers(body []byte, e *entry) bool {
	head, err := responseHead(body, e)
	if err != nil {
		return true
	}
	c := cursorAt(body, head, true)
	for range c.array(2) {
		readTopic(&c, e.version >= 13)
		for range c.array(8) {
			c.take(4 + 2 + 8 + 8 + 8) // partition, error code, base offset, log append time, log start offset
			for range c.array(4) {    // record errors
				c.int32()
				c.string()
				c.tags()
			}
			c.string() // error message
			c.tags()
		}
		c.tags()
	}
	c.int32() // throttle time
	return c.tags() > 0 || !c.ok() || c.at != len(body)
}
