package gateway

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Metadata: every broker's address, and the leaders, replicas and ids of topics.
//
//	v0   brokers, topics (an empty list asks for all; from v1 on null does)
//	v1   rack, controller id; v2 cluster id; v5 offline replicas; v7 leader epochs
//	v9   flexible
//	v10  topic ids in responses; v12 topics may be asked for by id, names may be null
//	v13  top-level error code
func metadataRow() row {
	return row{key: 3, max: 13, respond: rewriting(kmsg.NewPtrMetadataResponse, rewriteMetadata)}
}

func rewriteMetadata(c *conn, m *kmsg.MetadataResponse) {
	// What is learned outlives the frame that the response is a view of.
	c.cluster.learn(lasting(m))
	m.Brokers = keepPlaced(c, m.Brokers, func(b *kmsg.MetadataResponseBroker) (int32, *string, *int32) { return b.NodeID, &b.Host, &b.Port })
	shown := func(node int32) bool {
		return slices.ContainsFunc(m.Brokers, func(b kmsg.MetadataResponseBroker) bool { return b.NodeID == node })
	}
	if m.ControllerID >= 0 && !shown(m.ControllerID) {
		m.ControllerID = -1
	}
	for i := range m.Topics {
		for j := range m.Topics[i].Partitions {
			p := &m.Topics[i].Partitions[j]
			if p.Leader < 0 || shown(p.Leader) {
				continue
			}
			p.Leader = -1
			if p.ErrorCode == 0 {
				p.ErrorCode = kerr.LeaderNotAvailable.Code
			}
		}
	}
}

// lasting returns a copy of what cluster.learn keeps of a response.
func lasting(m *kmsg.MetadataResponse) *kmsg.MetadataResponse {
	l := &kmsg.MetadataResponse{Version: m.Version, Brokers: slices.Clone(m.Brokers), Topics: slices.Clone(m.Topics)}
	for i := range l.Brokers {
		l.Brokers[i].Host = strings.Clone(l.Brokers[i].Host)
	}
	for i := range l.Topics {
		if name := l.Topics[i].Topic; name != nil {
			l.Topics[i].Topic = new(string)
			*l.Topics[i].Topic = strings.Clone(*name)
		}
	}
	return l
}
