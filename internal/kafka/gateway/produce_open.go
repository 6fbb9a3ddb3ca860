package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/batch"
	"github.com/sluicegate/sluice/internal/kafka/emit"
	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// produceAnswer is what the client has to hear about a request of which something was not forwarded: all topics and
// partitions as requested, in order.
type produceAnswer struct {
	topics []answerTopic
}

type answerTopic struct {
	name       string
	id         topicID
	partitions []answerPartition
}

type answerPartition struct {
	index   int32
	refusal *refusal // nil: the partition was forwarded, and the broker says
}

// refusal is the answer for a partition that is not forwarded.
type refusal struct {
	code    int16
	message string
	records []kmsg.ProduceResponseTopicPartitionErrorRecord
	cause   Cause
}

func refuse(err *kerr.Error, cause Cause, format string, args ...any) *refusal {
	return &refusal{code: err.Code, cause: cause, message: abi.Reason(fmt.Sprintf(format, args...))}
}

// openProduce opens the current request: what pipelines match is judged, then the request is forwarded without the partitions that are
// refused, and with changed batches in place of those that were changed.
func (c *conn) openProduce(h wire.RequestHeader) error {
	return c.openRequest(func(body []byte) error {
		// From here on, not from when a slow client began to send: these routes hold for all of the request.
		routes := c.g.routes.acquire()
		defer routes.release()
		req, err := scanProduce(body, h)
		if err != nil {
			return err
		}
		o := getOpener()
		defer o.put()
		p := producing{conn: c, header: h, routes: routes, opener: o, built: buffers.get()}
		defer buffers.put(p.built)
		if err := p.judge(req); err != nil {
			return err
		}
		return p.finish(body, req)
	})
}

// producing is the work on one produce request.
type producing struct {
	*conn
	emitting
	header wire.RequestHeader
	routes *Routes
	opener *opener
	built  *[]byte // memory of rebuilt batches
	// answer has a partition for each of the request's; changed has the new record set of those that were changed.
	answer   produceAnswer
	changed  map[*producedPartition][]byte
	refused  int
	forwards int
}

// judge decides about every partition.
func (p *producing) judge(req *produceRequest) error {
	byID := p.header.Version >= 13
	if byID {
		ids := make([]topicID, len(req.topics))
		for i := range req.topics {
			ids[i] = req.topics[i].id
		}
		if err := p.resolve(ids); err != nil {
			return err
		}
	}
	for i := range req.topics {
		t := &req.topics[i]
		name := string(t.name)
		known := true
		if byID {
			name, known = p.cluster.topic(t.id)
		}
		m := p.routes.match(p.cluster.cfg.Name, name)
		at := answerTopic{name: name, id: t.id, partitions: make([]answerPartition, 0, len(t.partitions))}
		for j := range t.partitions {
			part := &t.partitions[j]
			var r *refusal
			key := gapKey{name, part.index}
			if byID {
				key.topic = string(t.id[:])
			}
			switch {
			case !known:
				r = refuse(kerr.UnknownTopicID, CauseRejected, "the topic id is not known to this broker")
				if b, _, err := batch.Next(part.data); err == nil {
					p.gaps.refused(key, &b)
				}
			case len(m.produce) > 0:
				var err error
				if r, err = p.inOrder(key, name, part, m.produce); err != nil {
					return err
				}
			}
			if r != nil {
				p.refused++
				p.note(name, part.index, r)
			} else {
				p.forwards++
			}
			at.partitions = append(at.partitions, answerPartition{index: part.index, refusal: r})
		}
		p.answer.topics = append(p.answer.topics, at)
	}
	return nil
}

func (p *producing) note(topic string, partition int32, r *refusal) {
	p.g.observer.Failure(p.cluster.cfg.Name, r.cause)
	if r.cause != CauseRejected && p.refusals.allows(time.Now()) {
		p.logger().Warn("produce: partition refused", "topic", topic, "partition", partition, "cause", string(r.cause), "answer", kerr.ErrorForCode(r.code).Error(), "error", r.message)
	}
}

// inOrder judges one record set, unless its producer has to send another one first.
func (p *producing) inOrder(key gapKey, topic string, part *producedPartition, routes []Route) (*refusal, error) {
	b, _, bad := batch.Next(part.data)
	if bad == nil && p.gaps.before(key, &b) {
		return refuse(kerr.OutOfOrderSequenceNumber, CauseRejected, "a batch of this producer with an earlier sequence was refused"), nil
	}
	r, err := p.partition(topic, part, routes)
	if bad == nil && r != nil {
		p.gaps.refused(key, &b)
	} else if bad == nil {
		p.gaps.passed(key, &b)
	}
	return r, err
}

// partition judges one record set. A refusal is for the client; an error ends the connection.
func (p *producing) partition(topic string, part *producedPartition, routes []Route) (*refusal, error) {
	if len(part.data) == 0 {
		return nil, nil // nothing to see; the broker says what it thinks of it
	}
	b, rest, err := batch.Next(part.data)
	switch {
	case err != nil:
		return refuseBatch(err, p.header.Version), nil
	case len(rest) > 0:
		return refuse(kerr.InvalidRecord, CauseBatch, "more than one batch for a partition"), nil
	}
	if err := b.CheckProduced(); err != nil {
		return refuseBatch(err, p.header.Version), nil
	}
	recs, give, err := p.opener.decode(p.ctx, p.g, &b)
	defer give()
	if p.ctx.Err() != nil {
		return nil, errClosed
	}
	if err != nil {
		return refuseBatch(err, p.header.Version), nil
	}
	if r := refuseReserved(recs); r != nil {
		return r, nil
	}
	decisions, err := p.opener.judge(p.ctx, routes, &host.Batch{
		Topic: topic, Partition: part.index, ClientID: p.header.ClientID, ProducerID: b.ProducerID,
		Transactional: b.IsTransactional(), On: host.Produce, Records: recs,
	})
	switch {
	case p.ctx.Err() != nil:
		return nil, errClosed
	case err != nil:
		return refuse(kerr.NotEnoughReplicas, CauseStage, "the gateway could not judge the batch: %v", err), nil
	case decisions == nil:
		return nil, nil
	}
	if r := refuseRejected(decisions); r != nil {
		return r, nil
	}
	if r := p.divert(topic, part.index, &b, decisions); r != nil {
		return r, nil
	}
	return p.rebuild(topic, part, &b, recs, decisions), nil
}

// refuseBatch translates what is wrong with a batch.
func refuseBatch(err error, version int16) *refusal {
	code := kerr.CorruptMessage
	switch {
	case errors.Is(err, batch.ErrLegacy):
		if code = kerr.InvalidRecord; version < 3 {
			code = kerr.UnsupportedForMessageFormat
		}
	case errors.Is(err, batch.ErrShape):
		code = kerr.InvalidRecord
	case errors.Is(err, batch.ErrCodec):
		code = kerr.UnsupportedCompressionType
	case errors.Is(err, batch.ErrTooLarge):
		code = kerr.MessageTooLarge
	}
	return refuse(code, CauseBatch, "%v", err)
}

// refuseReserved refuses a batch in which a client has set headers of the gateway's.
func refuseReserved(recs []abi.Record) *refusal {
	var r *refusal
	for i := range recs {
		for _, hd := range recs[i].Headers {
			if !strings.HasPrefix(hd.Name, abi.ReservedHeaderPrefix) {
				continue
			}
			if r == nil {
				r = refuse(kerr.InvalidRecord, CauseRejected, "record headers that begin with %q belong to the gateway", abi.ReservedHeaderPrefix)
			}
			r.add(i, "reserved header "+fmt.Sprintf("%.60q", hd.Name))
			break
		}
	}
	return r
}

// refuseRejected refuses a batch of which a pipeline rejects a record. All of it is refused: the client sends what is left again if it
// wants to, and its sequences stay its own.
func refuseRejected(decisions []decision) *refusal {
	var r *refusal
	more := 0
	for i := range decisions {
		d := &decisions[i]
		if d.op != abi.OpReject {
			continue
		}
		if r == nil {
			r = refuse(kerr.InvalidRecord, CauseRejected, "rejected by %s: %s", d.stage, d.reason)
		} else {
			more++
		}
		r.add(i, d.reason)
	}
	if more > 0 {
		r.message += fmt.Sprintf(" (and %d more records)", more)
	}
	return r
}

// maxRecordErrors bounds the reasons in one answer, in bytes: records beyond it are listed without.
const maxRecordErrors = 256 << 10

// add lists a record; calls come in ascending order, because clients walk the list with one cursor.
func (r *refusal) add(index int, reason string) {
	e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
	e.RelativeOffset = int32(index)
	if len(r.records)*64 < maxRecordErrors && len(reason)*len(r.records) < maxRecordErrors {
		reason = strings.Clone(reason)
		e.ErrorMessage = &reason
	}
	r.records = append(r.records, e)
}

// divert writes dead letters, and waits until they are acknowledged.
func (p *producing) divert(topic string, partition int32, b *batch.Batch, decisions []decision) *refusal {
	letters := p.opener.deadLetters(decisions, func(i int) emit.Source {
		return emit.Source{
			Topic: topic, Partition: partition, ProducerID: b.ProducerID, Epoch: b.ProducerEpoch,
			Sequence: sequence(b, i), Index: int32(i), Offset: -1,
		}
	})
	if len(letters) == 0 {
		return nil
	}
	if err := p.emit(p.ctx, p.conn, letters); err != nil {
		return refuse(kerr.NotEnoughReplicas, CauseEmit, "dead letters could not be written: %v", err)
	}
	failpoint(failAfterEmit)
	return nil
}

// sequence returns a record's sequence number, which starts again at 0 after the largest one.
func sequence(b *batch.Batch, index int) int32 {
	if b.ProducerID < 0 || b.BaseSequence < 0 {
		return -1
	}
	return int32((int64(b.BaseSequence) + int64(index)) & 0x7fffffff)
}

// emitting is the time that the dead letters of one request or response may take.
type emitting struct{ until time.Time }

// emit writes dead letters. All of a frame have one time limit, so that the client hears of a failure before it gives up and sends the
// same again on another connection.
func (e *emitting) emit(ctx context.Context, c *conn, letters []emit.Record) error {
	if e.until.IsZero() {
		e.until = time.Now().Add(c.g.cfg.Limits.EmitTimeout)
	}
	ctx, cancel := context.WithDeadline(ctx, e.until)
	defer cancel()
	return c.cluster.emitter.Emit(ctx, letters)
}

// rebuild makes the batch that goes to the broker. Records that go no further become markers.
func (p *producing) rebuild(topic string, part *producedPartition, b *batch.Batch, recs []abi.Record, decisions []decision) *refusal {
	made := 0
	for i := range recs {
		switch d := &decisions[i]; d.op {
		case abi.OpReplace:
			recs[i] = d.record
		case abi.OpDrop, abi.OpDeadLetter:
			if p.routes.marker == nil {
				return refuse(kerr.NotEnoughReplicas, CauseStage, "pipeline %s dropped a record, which it had not announced", d.pipeline)
			}
			p.routes.marker.Make(topic, &recs[i])
			made++
		}
	}
	start := len(*p.built)
	out, err := p.opener.enc.AppendProduced(*p.built, b, recs)
	if err != nil {
		return refuse(kerr.NotEnoughReplicas, CauseStage, "rebuild batch: %v", err)
	}
	*p.built = out
	if made > 0 {
		p.g.observer.Markers(p.cluster.cfg.Name, made, 0)
	}
	if p.changed == nil {
		p.changed = map[*producedPartition][]byte{}
	}
	p.changed[part] = out[start:len(out):len(out)]
	return nil
}

// finish forwards what is left of the request and sees to its answer.
func (p *producing) finish(body []byte, req *produceRequest) error {
	empty := p.refused > 0 && p.forwards == 0
	if req.acks == 0 {
		if !empty {
			failpoint(failBeforeForward)
			if err := p.send(splice(nil, body, p.edits(req))...); err != nil {
				return err
			}
		}
		if p.refused > 0 {
			return errZeroAcks
		}
		return nil
	}
	if empty {
		failpoint(failBeforeClientAnswer)
		resp := kmsg.NewPtrProduceResponse()
		p.answer.merge(resp, nil, p.header.Version)
		return p.reply(p.header, resp)
	}
	e := entry{key: p.header.Key, version: p.header.Version, correlation: p.header.CorrelationID, respond: respondOpened}
	if p.refused > 0 {
		e.produce = &p.answer
	}
	failpoint(failBeforeForward)
	if err := p.expect(e); err != nil {
		return err
	}
	return p.send(splice(nil, body, p.edits(req))...)
}

// edits returns the changes that make body what is forwarded.
func (p *producing) edits(req *produceRequest) []edit {
	var edits []edit
	left := func(i int) (n int) {
		for _, a := range p.answer.topics[i].partitions {
			if a.refusal == nil {
				n++
			}
		}
		return n
	}
	topics := 0
	for i := range req.topics {
		if left(i) > 0 || len(req.topics[i].partitions) == 0 {
			topics++
		}
	}
	count := func(at span, before, after int) {
		if before != after {
			edits = append(edits, edit{at.start, at.end, [][]byte{appendSize(nil, req.flexible, after)}})
		}
	}
	count(req.countAt, len(req.topics), topics)
	for i := range req.topics {
		t := &req.topics[i]
		n := left(i)
		if n == 0 && len(t.partitions) > 0 {
			edits = append(edits, edit{start: t.start, end: t.end})
			continue
		}
		count(t.countAt, len(t.partitions), n)
		for j := range t.partitions {
			part := &t.partitions[j]
			if p.answer.topics[i].partitions[j].refusal != nil {
				edits = append(edits, edit{start: part.start, end: part.end})
			} else if built, ok := p.changed[part]; ok {
				edits = append(edits, edit{part.records.start, part.records.end, [][]byte{appendSize(nil, req.flexible, len(built)), built}})
			}
		}
	}
	return edits
}

// respondOpened answers a request that was opened.
func respondOpened(c *conn, e *entry, size int32) error {
	failpoint(failAfterBrokerAnswer)
	defer failpoint(failBeforeClientAnswer) // the answer is not flushed yet
	if e.produce != nil {
		return mergeProduceAnswer(c, e, size)
	}
	if respond := produceResponder(e.version); respond != nil {
		return respond(c, e, size)
	}
	return c.relayAnswer()
}

func mergeProduceAnswer(c *conn, e *entry, size int32) error {
	return rewriting(kmsg.NewPtrProduceResponse, func(c *conn, m *kmsg.ProduceResponse) {
		rewriteEndpoints(c, m)
		e.produce.merge(m, m.Topics, e.version)
	})(c, e, size)
}

// merge makes resp's topics what was requested: refusals of the gateway, and what the broker said about the rest.
func (a *produceAnswer) merge(resp *kmsg.ProduceResponse, broker []kmsg.ProduceResponseTopic, version int16) {
	type key struct {
		name      string
		id        topicID
		partition int32
	}
	said := map[key]*kmsg.ProduceResponseTopicPartition{}
	for i := range broker {
		t := &broker[i]
		for j := range t.Partitions {
			k := key{t.Topic, t.TopicID, t.Partitions[j].Partition}
			if said[k] == nil {
				said[k] = &t.Partitions[j]
			}
		}
	}
	topics := make([]kmsg.ProduceResponseTopic, 0, len(a.topics))
	for _, at := range a.topics {
		t := kmsg.NewProduceResponseTopic()
		k := key{}
		if version >= 13 {
			t.TopicID, k.id = at.id, at.id
		} else {
			t.Topic, k.name = at.name, at.name
		}
		for _, ap := range at.partitions {
			k.partition = ap.index
			t.Partitions = append(t.Partitions, ap.merged(said[k]))
		}
		topics = append(topics, t)
	}
	resp.Topics = topics
}

func (a answerPartition) merged(broker *kmsg.ProduceResponseTopicPartition) kmsg.ProduceResponseTopicPartition {
	if a.refusal == nil && broker != nil {
		return *broker
	}
	p := kmsg.NewProduceResponseTopicPartition()
	p.Partition, p.BaseOffset, p.LogAppendTime, p.LogStartOffset = a.index, -1, -1, -1
	if a.refusal == nil { // the broker is silent about it: whether it has the batch is not known
		p.ErrorCode = kerr.RequestTimedOut.Code
		return p
	}
	p.ErrorCode, p.ErrorRecords, p.ErrorMessage = a.refusal.code, a.refusal.records, &a.refusal.message
	return p
}
