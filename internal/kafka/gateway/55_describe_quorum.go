package gateway

import "github.com/twmb/franz-go/pkg/kmsg"

// DescribeQuorum: the state of the controllers' quorum.
//
//	v0  flexible; v1 fetch timestamps
//	v2  error messages, directory ids, and for each controller its listeners' addresses
//
// No listener of the gateway stands for a controller: their addresses are left out, the nodes stay.
func describeQuorumRow() row {
	return row{key: 55, max: 2, respond: rewriting(kmsg.NewPtrDescribeQuorumResponse, hideControllers)}
}

func hideControllers(_ *conn, m *kmsg.DescribeQuorumResponse) {
	for i := range m.Nodes {
		m.Nodes[i].Listeners = nil
	}
}
