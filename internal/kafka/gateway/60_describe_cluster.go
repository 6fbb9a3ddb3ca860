package gateway

import "github.com/twmb/franz-go/pkg/kmsg"

// DescribeCluster: every broker's address, or every controller's.
//
//	v0  flexible; v1 endpoint type: 1 brokers, 2 controllers
//	v2  fenced brokers may be included
//
// Controllers' addresses are left out: no listener of the gateway stands for a controller.
func describeClusterRow() row {
	return row{key: 60, max: 2, respond: rewriting(kmsg.NewPtrDescribeClusterResponse, rewriteCluster)}
}

func rewriteCluster(c *conn, m *kmsg.DescribeClusterResponse) {
	const brokers = 1
	if m.Version >= 1 && m.EndpointType != brokers {
		m.Brokers = nil
		return
	}
	m.Brokers = keepPlaced(c, m.Brokers, func(b *kmsg.DescribeClusterResponseBroker) (int32, *string, *int32) {
		return b.NodeID, &b.Host, &b.Port
	})
}
