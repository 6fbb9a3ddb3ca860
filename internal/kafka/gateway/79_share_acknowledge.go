package gateway

import "github.com/twmb/franz-go/pkg/kmsg"

// ShareAcknowledge: what became of records that a share group's member acquired.
//
//	v0  flexible, early access; v2 renewal, acquisition lock timeout
//
// The response has node endpoints like ShareFetch's.
func shareAcknowledgeRow() row {
	return row{key: 79, max: 2, respond: rewriting(kmsg.NewPtrShareAcknowledgeResponse, rewriteAcknowledged)}
}

func rewriteAcknowledged(c *conn, m *kmsg.ShareAcknowledgeResponse) {
	m.NodeEndpoints = keepPlaced(c, m.NodeEndpoints, func(n *kmsg.ShareAcknowledgeResponseNodeEndpoint) (int32, *string, *int32) {
		return n.NodeID, &n.Host, &n.Port
	})
}
