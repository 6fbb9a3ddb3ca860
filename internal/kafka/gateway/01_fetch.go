package gateway

import (
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// Fetch: record sets of partitions.
//
//	v0-3   may bring message sets of the formats before magic 2; v3 max bytes
//	v4     isolation level, aborted transactions; v5 log start offset
//	v7     incremental fetch sessions: the broker knows which partitions are wanted
//	v9     leader epochs; v10 zstd; v11 rack, preferred read replica
//	v12    flexible
//	v13    topic ids in place of names
//	v15    replica state in place of the replica id, for brokers
//	v16    node endpoints in a tagged field at the very end of the response, behind all records
//	v17-18 only for brokers
//
// Offered to v15: with v16 every response, however large, would have to be gone through for an address at its end, or held back whole, and clients lose nothing
// but one Metadata request when a leader moves. So a response that no pipeline is for is relayed unread. (Small ones from v12 on are looked at all the same: the fake
// cluster sends node endpoints in any flexible version, and clients built on kmsg read them. They are left out.)
//
// Responses are opened only if the request, or its session, has a topic that a fetch pipeline matches or that may hold markers (fetch_open.go).
func fetchRow() row {
	return row{key: 1, max: 15, request: fetch}
}

// fetchAnswer is what the response to a fetch request has to be looked at for.
type fetchAnswer struct {
	begins  bool // it may begin a session
	session fetchSession
}

func fetch(c *conn, h wire.RequestHeader) error {
	generation := c.g.routes.generation.Load() // before the routes: an older one than theirs only costs a session
	routes := c.g.routes.peek()
	if !routes.opensFetch() {
		c.fetches.forget()
		return c.pass(h, fetchResponder(h.Version))
	}
	if int(c.size) > wire.MaxPeek {
		return c.openRequest(func(body []byte) error { return c.planned(h, body, true, routes, generation) })
	}
	body, err := c.cr.Peek(int(c.size))
	if err != nil {
		return err
	}
	return c.planned(h, body, false, routes, generation)
}

// planned looks at a fetch request and forwards or answers it. taken says that its body was read from the connection, not only peeked at.
func (c *conn) planned(h wire.RequestHeader, body []byte, taken bool, routes *Routes, generation int64) error {
	req := &c.fetched
	if err := scanFetch(req, body, h); err != nil {
		return err
	}
	answer, ok, err := c.planFetch(h, req, routes, generation)
	if err != nil {
		return err
	}
	if !ok {
		if !taken {
			if err := c.cr.Skip(); err != nil {
				return err
			}
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.ErrorCode = kerr.FetchSessionIDNotFound.Code
		return c.reply(h, resp)
	}
	e := entry{key: h.Key, version: h.Version, correlation: h.CorrelationID, respond: fetchResponder(h.Version)}
	if answer.begins {
		e.respond = noteSession
	}
	if answer.session.opened {
		e.respond = respondFetch
	}
	if answer.begins || answer.session.opened {
		e.fetch = &answer
	}
	switch {
	case answer.session.opened && !taken:
		return c.openRequest(func(body []byte) error { return c.sendLowered(e, req, body) })
	case answer.session.opened:
		return c.sendLowered(e, req, body)
	case !taken:
		return c.forward(e)
	}
	if err := c.expect(e); err != nil {
		return err
	}
	return c.send(body)
}

// sendLowered forwards a request whose response is opened, with less asked for.
func (c *conn) sendLowered(e entry, req *fetchRequest, body []byte) error {
	req.lower(body, c.g.cfg.Limits.FetchBytes, c.g.cfg.Limits.FetchPartitionBytes)
	if err := c.expect(e); err != nil {
		return err
	}
	return c.send(body)
}

// planFetch decides whether the response to a request is opened. ok is false for a session that is not known.
func (c *conn) planFetch(h wire.RequestHeader, req *fetchRequest, routes *Routes, generation int64) (a fetchAnswer, ok bool, err error) {
	a.session = fetchSession{generation: generation}
	incremental := req.epoch > 0
	if incremental {
		known, found := c.fetches.get(req.session)
		if !found || known.generation != generation {
			c.fetches.end(req.session)
			return a, false, nil
		}
		a.session = known
	} else {
		a.begins = req.epoch == sessionBegins && h.Version >= 7
		c.fetches.end(req.session)
	}
	if a.session.opened {
		// It stays opened. Ids that are new have to be known when the response comes.
		return a, true, c.resolveFetched(h, req)
	}
	if err := c.resolveFetched(h, req); err != nil {
		return a, false, err
	}
	for _, t := range req.topics {
		name := unsafe.String(unsafe.SliceData(t.name), len(t.name))
		known := true
		if h.Version >= 13 {
			name, known = c.cluster.topic(t.id)
		}
		// A topic that is not known now may be known to the broker in a moment: its response is opened, and shows nothing.
		if !known || routes.match(c.cluster.cfg.Name, name).opensFetch() {
			a.session.opened = true
			break
		}
	}
	if incremental && a.session.opened {
		c.fetches.begin(req.session, a.session)
	}
	return a, true, nil
}

func (c *conn) resolveFetched(h wire.RequestHeader, req *fetchRequest) error {
	if h.Version < 13 {
		return nil
	}
	var ids []topicID
	for i := range req.topics {
		if _, ok := c.cluster.topic(req.topics[i].id); !ok {
			ids = append(ids, req.topics[i].id)
		}
	}
	return c.resolve(ids)
}

// fetchResponder returns what is done with a response that is not opened.
func fetchResponder(version int16) responder {
	if version < 12 {
		return nil
	}
	return relayFetchAnswer
}

// noteSession notes the id of the session that a response begins.
func noteSession(c *conn, e *entry, size int32) error {
	prefix, err := c.ur.Peek(64)
	if err != nil {
		return upstreamError{err}
	}
	head, err := responseHead(prefix, e)
	if err != nil {
		return err
	}
	r := cursorAt(prefix, head, false)
	r.take(4 + 2) // throttle time, error code
	if id := r.int32(); id != 0 {
		c.fetches.begin(id, e.fetch.session)
	}
	if e.version >= 12 {
		return relayFetchAnswer(c, e, size)
	}
	return c.relayAnswer()
}

// relayFetchAnswer forwards the response unread, but for node endpoints in a small one.
func relayFetchAnswer(c *conn, e *entry, size int32) error {
	if int(size) > wire.MaxPeek {
		return c.relayAnswer()
	}
	body, err := c.ur.Peek(int(size))
	if err != nil {
		return upstreamError{err}
	}
	head, err := responseHead(body, e)
	if err != nil {
		return err
	}
	outline, err := scanFetchResponse(body, head, e.version, func([]byte, topicID, fetchedPartition) error { return nil })
	if err != nil {
		return err
	}
	if !outline.tagged {
		return c.relayAnswer()
	}
	return c.opened(func(body []byte) error {
		return c.cw.WriteFrame(splice(nil, body, outline.withoutEndpoints(body))...)
	})
}

// withoutEndpoints returns the change that takes the node endpoints out of a response.
func (o fetchedOutline) withoutEndpoints(body []byte) []edit {
	if !o.tagged {
		return nil
	}
	const nodeEndpoints = 0
	return []edit{{o.tags.start, o.tags.end, [][]byte{withoutTag(body[o.tags.start:o.tags.end], nodeEndpoints)}}}
}
