package gateway

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator: the address of a group's, transaction's or share group's coordinator.
//
//	v0-3  one key, the coordinator in the top level of the response; v1 transactions, error message; v3 flexible
//	v4+   several keys, a list of coordinators; v5 TRANSACTION_ABORTABLE; v6 share groups
//
// Where there is no coordinator the node id is -1 and the host empty: nothing to rewrite.
func findCoordinatorRow() row {
	return row{key: 10, max: 6, respond: rewriting(kmsg.NewPtrFindCoordinatorResponse, rewriteCoordinators)}
}

func rewriteCoordinators(c *conn, m *kmsg.FindCoordinatorResponse) {
	if m.Version <= 3 {
		rewriteCoordinator(c, &m.NodeID, &m.Host, &m.Port, &m.ErrorCode)
	}
	for i := range m.Coordinators {
		co := &m.Coordinators[i]
		rewriteCoordinator(c, &co.NodeID, &co.Host, &co.Port, &co.ErrorCode)
	}
}

func rewriteCoordinator(c *conn, node *int32, host *string, port *int32, code *int16) {
	if *node < 0 && *host == "" {
		return
	}
	h, p, ok := c.place(*node, *host, *port)
	if !ok {
		*node, h, p = -1, "", -1
		if *code == 0 {
			*code = kerr.CoordinatorNotAvailable.Code
		}
	}
	*host, *port = h, p
}
