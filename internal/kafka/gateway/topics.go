package gateway

import (
	"fmt"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// topicName returns a topic's name from a request that has it, or has its id. It is a view of name, or "" for an id that this broker does not
// know either.
func (c *conn) topicName(byID bool, name []byte, id topicID) (string, error) {
	if !byID {
		return unsafe.String(unsafe.SliceData(name), len(name)), nil
	}
	if known, ok := c.cluster.topic(id); ok {
		return known, nil
	}
	if err := c.resolve([]topicID{id}); err != nil {
		return "", err
	}
	known, _ := c.cluster.topic(id)
	return known, nil
}

// resolve asks the broker for the names of those ids that are not known, as the client's principal, and waits for the answer. Ids that the broker does not
// tell stay unknown.
func (c *conn) resolve(ids []topicID) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12 // the first that takes ids; brokers that have topic ids in Fetch or Produce have it
	for _, id := range ids {
		if _, ok := c.cluster.topic(id); ok || id == (topicID{}) {
			continue
		}
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = id
		req.Topics = append(req.Topics, t)
	}
	if len(req.Topics) == 0 {
		return nil
	}
	body, err := c.ask(req)
	if err != nil {
		return fmt.Errorf("look up topic ids: %w", err)
	}
	_, head, err := wire.ParseResponseHeader(body, req.Key(), req.Version)
	if err != nil {
		return fmt.Errorf("look up topic ids: %w", err)
	}
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = req.Version
	if err := resp.ReadFrom(body[head:]); err != nil {
		return fmt.Errorf("look up topic ids: %w: %w", errMalformed, err)
	}
	c.cluster.learn(resp)
	return nil
}

// openRequest waits for memory, reads the current request and calls use with its body. The bytes are use's until it returns.
func (c *conn) openRequest(use func(body []byte) error) error {
	if err := c.uw.Flush(); err != nil { // earlier requests do not wait for this one
		return upstreamError{err}
	}
	// Nor does memory wait for room in the queue, which comes when the client takes its answers.
	if !c.queue.await() {
		return errClosed
	}
	n, err := c.g.budget.requests.take(c.ctx, openedWeight(c.size))
	if err != nil {
		return errClosed
	}
	c.opening = true
	defer func() {
		c.opening = false
		c.g.budget.requests.give(n)
	}()
	buf := buffers.get()
	defer buffers.put(buf)
	if !c.cr.Ready() { // some of it has to be waited for
		_ = c.client.SetReadDeadline(c.g.patience.until(int(c.size), c.g.patience.client))
		defer c.client.SetReadDeadline(noDeadline)
	}
	body, err := c.cr.Body(*buf)
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	*buf = body
	c.g.observer.Moved(c.cluster.cfg.Name, PathOpened, len(body))
	return use(body)
}
