package apache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// TestMergedAnswer sends one request for four partitions of three topics, of
// which one partition is rejected: the others are stored, and the answer names
// exactly what was asked for.
func TestMergedAnswer(t *testing.T) {
	t.Parallel()
	g := theGateway(t)
	addr := brokerOf(t, g.Bootstrap)
	for _, version := range []int16{3, 5, 7, 8, 9, 10, 11, 12, 13} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			rejecting := topic(t, fmt.Sprintf("reject.merged-%d", version), 2)
			annotating := topic(t, fmt.Sprintf("annotate.merged-%d", version), 1)
			unmatched := topic(t, fmt.Sprintf("pass.merged-%d", version), 1)
			c := dial(t, addr)
			ids := topicIDs(c, rejecting, annotating, unmatched)

			req := produceRequest(version, -1, rejecting, 0, batch(scene.Valid("v1")))
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{
				Partition: 1, Records: batch(scene.Valid("v2"), scene.Invalid("i1"), scene.Valid("v3"), scene.Invalid("i2"))})
			for name, records := range map[string][]byte{annotating: batch(scene.Invalid("i3")), unmatched: batch(scene.Invalid("i4"))} {
				req.Topics = append(req.Topics, kmsg.ProduceRequestTopic{Topic: name,
					Partitions: []kmsg.ProduceRequestTopicPartition{{Records: records}}})
			}
			names := map[[16]byte]string{}
			for i := range req.Topics {
				req.Topics[i].TopicID = ids[req.Topics[i].Topic]
				names[req.Topics[i].TopicID] = req.Topics[i].Topic
			}
			resp := c.ask(req).(*kmsg.ProduceResponse)

			got := map[string]string{}
			for _, rt := range resp.Topics {
				name := rt.Topic
				if version >= 13 {
					name = names[rt.TopicID]
				}
				for _, p := range rt.Partitions {
					code := "ok"
					if e := kerr.TypedErrorForCode(p.ErrorCode); e != nil {
						code = e.Message
					}
					got[fmt.Sprintf("%s/%d", name, p.Partition)] = code
					if name == rejecting && p.Partition == 1 {
						checkRejected(t, version, p)
					}
				}
			}
			want := map[string]string{rejecting + "/0": "ok", rejecting + "/1": "INVALID_RECORD", annotating + "/0": "ok", unmatched + "/0": "ok"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			for name, n := range map[string]int{rejecting: 1, annotating: 1, unmatched: 1} {
				if stored := readAll(t, name, false); len(stored) != n {
					t.Errorf("%s holds %d records, want %d:\n%s", name, len(stored), n, clients.List(stored))
				}
			}
		})
	}
}

// checkRejected judges the answer for the batch with invalid records at 1 and 3.
func checkRejected(t *testing.T, version int16, p kmsg.ProduceResponseTopicPartition) {
	t.Helper()
	if p.BaseOffset != -1 || version >= 5 && p.LogStartOffset != -1 {
		t.Errorf("rejected: base offset %d, log start offset %d, want -1", p.BaseOffset, p.LogStartOffset)
	}
	if version < 8 {
		return
	}
	if p.ErrorMessage == nil || !strings.Contains(*p.ErrorMessage, "lumens") {
		t.Errorf("rejected: %s, want a message about lumens", outcome(p))
	}
	var indexes []int32
	for _, e := range p.ErrorRecords {
		indexes = append(indexes, e.RelativeOffset)
		if e.ErrorMessage == nil || !strings.Contains(*e.ErrorMessage, "lumens") {
			t.Errorf("record error %d has no message about lumens", e.RelativeOffset)
		}
	}
	if diff := cmp.Diff([]int32{1, 3}, indexes); diff != "" {
		t.Errorf("record errors (-want +got):\n%s", diff)
	}
}

// topicIDs asks for the ids of topics.
func topicIDs(c *conn, topics ...string) map[string][16]byte {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, name := range topics {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr(name)})
	}
	ids := map[string][16]byte{}
	for _, rt := range c.ask(req).(*kmsg.MetadataResponse).Topics {
		ids[*rt.Topic] = rt.TopicID
	}
	return ids
}

// TestAcksNone produces without acknowledgement: what is kept is stored, nothing
// is answered, and a rejected batch closes the connection, as brokers do.
func TestAcksNone(t *testing.T) {
	t.Parallel()
	g := theGateway(t)
	addr := brokerOf(t, g.Bootstrap)
	name := topic(t, "reject.acks-none", 1)
	dropping := topic(t, "drop.acks-none", 1)
	c := dial(t, addr)
	for i := range 3 {
		c.send(produceRequest(9, 0, name, 0, batch(scene.Valid(fmt.Sprintf("v%d", i)))))
		c.send(produceRequest(9, 0, dropping, 0, batch(scene.Valid("v"), scene.Invalid("i"))))
		// The answer to this must be the next that comes.
		if resp := c.ask(kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
			t.Fatalf("ApiVersions: error %d", resp.ErrorCode)
		}
	}
	// Answered with acknowledgement on the same connection: all before is stored.
	resp := c.ask(produceRequest(9, -1, name, 0, batch(scene.Valid("last")))).(*kmsg.ProduceResponse)
	if got := resp.Topics[0].Partitions[0]; got.ErrorCode != 0 || got.BaseOffset != 3 {
		t.Errorf("produce after three without acknowledgement: %s, want base offset 3", outcome(got))
	}
	if stored := readAll(t, dropping, false); len(stored) != 6 {
		t.Errorf("%s holds %d records, want 6 (3 of them markers):\n%s", dropping, len(stored), clients.List(stored))
	}
	c.send(produceRequest(9, 0, name, 0, batch(scene.Invalid("bad"))))
	if before, err := c.closed(); err != nil || len(before) > 0 {
		t.Errorf("after a rejected batch: %v, %d bytes; want the connection closed without an answer", err, len(before))
	}
	if stored := readAll(t, name, false); len(stored) != 4 {
		t.Errorf("%s holds %d records, want 4:\n%s", name, len(stored), clients.List(stored))
	}
}
