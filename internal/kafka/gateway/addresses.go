package gateway

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// place returns where this client finds a broker that a response names with its own address. A broker that was unknown becomes known and
// gets its listeners first. ok is false if it can have none: then the client must not hear of it.
func (c *conn) place(node int32, host string, port int32) (string, int32, bool) {
	if h, p, ok := c.listener.address(node); ok {
		return h, p, true
	}
	if node >= 0 && host != "" {
		c.cluster.learn(&kmsg.MetadataResponse{Brokers: []kmsg.MetadataResponseBroker{{NodeID: node, Host: host, Port: port}}})
		if h, p, ok := c.listener.address(node); ok {
			return h, p, true
		}
	}
	c.g.observer.Failure(c.cluster.cfg.Name, CauseNoListener)
	return "", 0, false
}

// keepPlaced rewrites the address of each element and keeps those that have one. broker returns where an element has its parts.
func keepPlaced[E any](c *conn, list []E, broker func(*E) (node int32, host *string, port *int32)) []E {
	kept := list[:0]
	for i := range list {
		node, host, port := broker(&list[i])
		h, p, ok := c.place(node, *host, *port)
		if !ok {
			continue
		}
		*host, *port = h, p
		kept = append(kept, list[i])
	}
	return kept
}
