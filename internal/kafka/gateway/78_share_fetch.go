package gateway

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// ShareFetch: records of a share group (KIP-932), acquired by this member. Topics are named by id in all versions.
//
//	v0  flexible, early access; v1 max records and batch size, acquisition lock timeout
//	v2  acquire mode, renewal
//
// Node endpoints are an ordinary field of the response. Topics that a fetch pipeline matches or that may hold markers are refused before the broker acquires their
// records: TOPIC_AUTHORIZATION_FAILED for each of their partitions, which clients tell the application. A session that the gateway has not seen from its start is
// answered SHARE_SESSION_NOT_FOUND; clients then begin a new one.
func shareFetchRow() row {
	return row{key: 78, max: 2, request: shareFetch}
}

var respondShareFetch = rewriting(kmsg.NewPtrShareFetchResponse, func(c *conn, m *kmsg.ShareFetchResponse) {
	m.NodeEndpoints = keepPlaced(c, m.NodeEndpoints, func(n *kmsg.ShareFetchResponseNodeEndpoint) (int32, *string, *int32) {
		return n.NodeID, &n.Host, &n.Port
	})
})

// maxShareFetch is the size of the largest request that is decoded, in bytes: what a frame claims to hold may take a hundred times its size in memory. A
// request for 10 000 partitions with an acknowledgement each is a quarter of it.
const maxShareFetch = 1 << 20

func shareFetch(c *conn, h wire.RequestHeader) error {
	generation := c.g.routes.generation.Load()
	routes := c.g.routes.peek()
	if !routes.opensFetch() {
		c.shares.forget()
		return c.pass(h, respondShareFetch)
	}
	if c.size > maxShareFetch {
		return fmt.Errorf("%w: a share fetch request of %d bytes, at most %d are read", errMalformed, c.size, maxShareFetch)
	}
	return c.openRequest(func(body []byte) error {
		req := kmsg.NewPtrShareFetchRequest()
		req.Version = h.Version
		if err := req.ReadFrom(body[h.Size:]); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		member := shareMember{value(req.GroupID), value(req.MemberID)}
		if req.ShareSessionEpoch > 0 && !c.shares.known(member, generation) {
			resp := kmsg.NewPtrShareFetchResponse()
			resp.ErrorCode = kerr.ShareSessionNotFound.Code
			return c.reply(h, resp)
		}
		refused, err := c.refuseShared(req, routes)
		if err != nil {
			return err
		}
		if refused != nil {
			return c.reply(h, refused)
		}
		// A broker that does not begin the session refuses the next request of it.
		if req.ShareSessionEpoch == 0 {
			c.shares.begin(shareAnswer{member, generation})
		}
		if err := c.expect(entry{key: h.Key, version: h.Version, correlation: h.CorrelationID, respond: respondShareFetch}); err != nil {
			return err
		}
		return c.send(body)
	})
}

// refuseShared returns the answer to a request that names a topic which has to be opened, nil if none does.
func (c *conn) refuseShared(req *kmsg.ShareFetchRequest, routes *Routes) (*kmsg.ShareFetchResponse, error) {
	ids := make([]topicID, len(req.Topics))
	for i := range req.Topics {
		ids[i] = req.Topics[i].TopicID
	}
	if err := c.resolve(ids); err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrShareFetchResponse()
	for _, t := range req.Topics {
		code, text := kerr.TopicAuthorizationFailed.Code, "this gateway has a fetch pipeline, or markers, for the topic: share groups cannot read it here"
		name, known := c.cluster.topic(t.TopicID)
		if known && !routes.match(c.cluster.cfg.Name, name).opensFetch() {
			continue
		}
		if !known {
			code, text = kerr.UnknownTopicID.Code, "the topic id is not known to this broker"
		}
		rt := kmsg.NewShareFetchResponseTopic()
		rt.TopicID = t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewShareFetchResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.ErrorMessage = p.Partition, code, &text
			rp.Records = []byte{} // Java refuses null here, and with it the whole answer
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(resp.Topics) == 0 {
		return nil, nil
	}
	return resp, nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
