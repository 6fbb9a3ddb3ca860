package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/kafka/batch"
	"github.com/sluicegate/sluice/internal/kafka/emit"
	"github.com/sluicegate/sluice/internal/kafka/marker"
)

// failureDelay is how long a response is held back that has nothing but partitions that failed here. Java clients ask again at once otherwise, and every time the
// stage would fail anew. It is not left to throttle_time_ms: a Java client that is throttled by its only broker while it wants metadata, as it does after such a
// failure, forgets all metadata and bootstraps again (seen with 4.3), whereupon a consumer group loses its positions since the last commit.
const failureDelay = 250 * time.Millisecond

// respondFetch answers a fetch with topics that have to be looked at: markers are hidden, pipelines judge what is left. All that is not changed is the broker's bytes.
func respondFetch(c *conn, e *entry, size int32) error {
	if err := c.cw.Flush(); err != nil { // earlier answers do not wait for this one
		return err
	}
	late, err := c.openFetch(e, size)
	if err != nil || late == nil {
		return err
	}
	select {
	case <-time.After(failureDelay):
	case <-c.ctx.Done():
	}
	return c.cw.WriteFrame(late)
}

// openFetch opens the current response and writes what is left of it. If it is to be held back, late is the response, not written; it has no records.
func (c *conn) openFetch(e *entry, size int32) (late []byte, err error) {
	n, err := c.g.budget.responses.take(c.ctx, openedWeight(size))
	if err != nil {
		return nil, errClosed
	}
	defer c.g.budget.responses.give(n)
	_ = c.upstream.SetReadDeadline(c.g.patience.until(int(size), c.g.patience.broker))
	err = c.opened(func(body []byte) error {
		_ = c.upstream.SetReadDeadline(noDeadline)
		f := fetching{conn: c, body: body, routes: c.g.routes.acquire(), opener: getOpener(), built: buffers.get()}
		defer f.routes.release()
		defer f.opener.put()
		defer buffers.put(f.built)
		if err := f.judge(e); err != nil {
			return err
		}
		parts := splice(nil, body, f.edits)
		if f.withheld && !f.records {
			late = bytes.Join(parts, nil)
			return nil
		}
		// The bytes are written, or few and copied, when this returns: who does not take them holds no memory of the budget.
		_ = c.client.SetWriteDeadline(c.g.patience.until(int(size), c.g.patience.client))
		defer c.client.SetWriteDeadline(noDeadline)
		return c.cw.WriteFrame(parts...)
	})
	return late, err
}

// fetching is the work on one fetch response.
type fetching struct {
	*conn
	emitting
	body   []byte
	routes *Routes
	opener *opener
	built  *[]byte // memory of rebuilt batches
	edits  []edit
	// withheld says that a partition is answered with an error of ours, records that another one has something for the client.
	withheld, records bool
	hidden            int
}

func (f *fetching) judge(e *entry) error {
	head, err := responseHead(f.body, e)
	if err != nil {
		return err
	}
	outline, err := scanFetchResponse(f.body, head, e.version, func(name []byte, id topicID, p fetchedPartition) error {
		topic, known := unsafe.String(unsafe.SliceData(name), len(name)), true
		if e.version >= 13 {
			topic, known = f.cluster.topic(id)
		}
		m := f.routes.match(f.cluster.cfg.Name, topic)
		if len(p.data) == 0 {
			return nil
		}
		if known && !m.opensFetch() {
			f.records = true
			return nil
		}
		code := kerr.UnknownTopicID.Code
		if known {
			var err error
			if code, err = f.partition(topic, p, m, e.version); err != nil {
				return err
			}
		}
		if code != 0 {
			f.withhold(p, code, e.version >= 12)
		} else {
			f.records = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.edits = append(f.edits, outline.withoutEndpoints(f.body)...)
	if e.fetch.begins && outline.session != 0 {
		f.fetches.begin(outline.session, e.fetch.session)
	}
	if f.hidden > 0 {
		f.g.observer.Markers(f.cluster.cfg.Name, 0, f.hidden)
	}
	return nil
}

// withhold replaces a partition's records by an error.
func (f *fetching) withhold(p fetchedPartition, code int16, flexible bool) {
	f.withheld = true
	binary.BigEndian.PutUint16(f.body[p.errorAt:], uint16(code))
	f.edits = append(f.edits, edit{p.records.start, p.records.end, [][]byte{appendSize(nil, flexible, 0)}})
}

// partition judges one record set, batch by batch. A batch that fails ends it: what precedes it is delivered, and the code says why nothing is if it is the
// first. An error ends the connection.
func (f *fetching) partition(topic string, p fetchedPartition, m *match, version int16) (code int16, err error) {
	var parts [][]byte
	size, whole, changed := 0, 0, false
	for b, err := range batch.All(p.data) {
		var out []byte
		if err == nil {
			out, err = f.batch(topic, p.index, b, m)
		}
		if f.ctx.Err() != nil {
			return 0, errClosed
		}
		if err != nil {
			f.note(topic, p.index, err)
			if size == 0 {
				return fetchCode(err, version), nil
			}
			changed = true
			break
		}
		whole += len(b.Raw)
		changed = changed || out != nil
		if out == nil {
			out = b.Raw
		}
		parts, size = append(parts, out), size+len(out)
	}
	// A cut batch at the end holds records that nobody has looked at.
	if !changed && whole == len(p.data) {
		return 0, nil
	}
	parts = append([][]byte{appendSize(nil, version >= 12, size)}, parts...)
	f.edits = append(f.edits, edit{p.records.start, p.records.end, parts})
	return 0, nil
}

// errDeadLetter is a dead letter that could not be written.
var errDeadLetter = errors.New("dead letters could not be written")

func (f *fetching) note(topic string, partition int32, err error) {
	cause := CauseStage
	switch {
	case isBatchError(err):
		cause = CauseBatch
	case errors.Is(err, errDeadLetter):
		cause = CauseEmit
	}
	f.g.observer.Failure(f.cluster.cfg.Name, cause)
	if !f.conn.withheld.allows(time.Now()) {
		return
	}
	f.logger().Error("fetch: records withheld; the consumer asks again until this is resolved", "topic", topic, "partition", partition, "cause", string(cause), "error", err)
}

func isBatchError(err error) bool {
	for _, e := range []error{batch.ErrCRC, batch.ErrMalformed, batch.ErrLegacy, batch.ErrCodec, batch.ErrTooLarge} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fetchCode returns what a consumer is told about a partition that failed here. KAFKA_STORAGE_ERROR makes Java, librdkafka and franz-go ask again without
// skipping anything and without bothering the application; it exists since v6.
func fetchCode(err error, version int16) int16 {
	switch {
	case errors.Is(err, batch.ErrCRC), errors.Is(err, batch.ErrMalformed):
		return kerr.CorruptMessage.Code
	case errors.Is(err, batch.ErrLegacy):
		return kerr.UnsupportedForMessageFormat.Code
	case version < 6:
		return kerr.NotLeaderForPartition.Code
	}
	return kerr.KafkaStorageError.Code
}

// batch judges one batch and returns the one to deliver in its place, nil if that is itself.
func (f *fetching) batch(topic string, partition int32, b *batch.Batch, m *match) ([]byte, error) {
	if b.IsControl() || b.NumRecords == 0 {
		return nil, nil
	}
	if len(m.fetch) == 0 && b.Codec() == batch.None && !bytes.Contains(b.Raw, []byte(marker.Header)) {
		return nil, nil
	}
	recs, give, err := f.opener.decode(f.ctx, f.g, b)
	defer give()
	if err != nil {
		return nil, err
	}
	left := f.hide(topic, recs, m)
	changed := len(left) < len(recs)
	if len(m.fetch) > 0 && len(left) > 0 {
		decisions, err := f.opener.judge(f.ctx, m.fetch, &host.Batch{
			Topic: topic, Partition: partition, ProducerID: b.ProducerID, Transactional: b.IsTransactional(), On: host.Fetch, Records: left,
		})
		if err != nil {
			return nil, err
		}
		if decisions != nil {
			changed = true
			if left, err = f.apply(topic, partition, b, left, decisions); err != nil {
				return nil, err
			}
		}
	}
	if !changed {
		return nil, nil
	}
	start := len(*f.built)
	out, err := f.opener.enc.AppendFetched(*f.built, b, left)
	if err != nil {
		return nil, fmt.Errorf("rebuild batch: %w", err)
	}
	*f.built = out
	return out[start:len(out):len(out)], nil
}

// hide returns the records without markers. It moves records in place.
func (f *fetching) hide(topic string, recs []abi.Record, m *match) []abi.Record {
	if !m.markers || f.routes.marker == nil {
		return recs
	}
	left := recs[:0]
	for i := range recs {
		if f.routes.marker.Is(topic, &recs[i]) {
			f.hidden++
			continue
		}
		left = append(left, recs[i])
	}
	return left
}

// apply returns the records that decisions leave, after dead letters were written. It moves records in place.
func (f *fetching) apply(topic string, partition int32, b *batch.Batch, recs []abi.Record, decisions []decision) ([]abi.Record, error) {
	for i := range decisions {
		if d := &decisions[i]; d.op == abi.OpReject {
			return nil, fmt.Errorf("%s rejects the record at offset %d, which is not possible on fetch: %s", d.stage, recs[i].Offset, d.reason)
		}
	}
	letters := f.opener.deadLetters(decisions, func(i int) emit.Source {
		return emit.Source{Topic: topic, Partition: partition, ProducerID: -1, Epoch: -1, Sequence: -1, Index: int32(recs[i].Offset - b.BaseOffset), Offset: recs[i].Offset}
	})
	if len(letters) > 0 {
		if err := f.emit(f.ctx, f.conn, letters); err != nil {
			return nil, fmt.Errorf("%w: %w", errDeadLetter, err)
		}
	}
	left := recs[:0]
	for i := range recs {
		switch d := &decisions[i]; d.op {
		case abi.OpKeep:
			left = append(left, recs[i])
		case abi.OpReplace:
			r := d.record
			r.Offset, r.Timestamp = recs[i].Offset, recs[i].Timestamp
			left = append(left, r)
		}
	}
	return left, nil
}
