package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

func isSyscallReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func ptr[T any](v T) *T { return &v }

// tags returns tagged fields that no version has.
func tags() (t kmsg.Tags) {
	t.Set(99, []byte("a tag from the future"))
	return t
}

func produceOf(version int16, txn *string) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TransactionID, req.UnknownTags = version, -1, txn, tags()
	for i := range 3 {
		t := kmsg.NewProduceRequestTopic()
		t.Topic, t.TopicID, t.UnknownTags = fmt.Sprint("topic", i), topicID{byte(i + 1)}, tags()
		for j := range 2 {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.UnknownTags = int32(j), tags()
			if i != 1 || j != 1 {
				p.Records = bytes.Repeat([]byte{byte(i), byte(j)}, 10*(i+j))
			}
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// TestScanProduce compares the places found with what kmsg encoded, in every version, and removes and replaces parts.
func TestScanProduce(t *testing.T) {
	for version := int16(0); version <= 13; version++ {
		for _, txn := range []*string{nil, ptr(""), ptr("a transaction")} {
			want := produceOf(version, txn)
			body := request(want, 5)
			h, err := wire.ParseRequestHeader(body)
			if err != nil {
				t.Fatal(err)
			}
			head, ok := scanProduceHead(body, h)
			if !ok || head.acks != -1 || head.topics != 3 {
				t.Fatalf("v%d: head %+v %v", version, head, ok)
			}
			got, err := scanProduce(body, h)
			if err != nil {
				t.Fatalf("v%d: %v", version, err)
			}
			for i, topic := range want.Topics {
				g := got.topics[i]
				if version < 13 && string(g.name) != topic.Topic || version >= 13 && g.id != topic.TopicID {
					t.Errorf("v%d: topic %d is %q %x", version, i, g.name, g.id)
				}
				for j, p := range topic.Partitions {
					gp := g.partitions[j]
					if gp.index != p.Partition || !bytes.Equal(gp.data, p.Records) {
						t.Errorf("v%d: partition %d is %d with %x", version, j, gp.index, gp.data)
					}
				}
			}
			checkProduceEdits(t, body, h, got, want)
		}
	}
}

// checkProduceEdits removes topic 0, removes partition 0 of topic 1, and replaces the records of partition 1 of topic 2.
func checkProduceEdits(t *testing.T, body []byte, h wire.RequestHeader, got *produceRequest, want *kmsg.ProduceRequest) {
	t.Helper()
	no := &refusal{}
	p := producing{header: h, changed: map[*producedPartition][]byte{&got.topics[2].partitions[1]: []byte("new records")}}
	p.answer.topics = []answerTopic{
		{partitions: []answerPartition{{refusal: no}, {refusal: no}}},
		{partitions: []answerPartition{{refusal: no}, {}}},
		{partitions: []answerPartition{{}, {}}},
	}
	edited := bytes.Join(splice(nil, body, p.edits(got)), nil)
	want.Topics = want.Topics[1:]
	want.Topics[0].Partitions = want.Topics[0].Partitions[1:]
	want.Topics[1].Partitions[1].Records = []byte("new records")
	if w := request(want, 5); !bytes.Equal(edited, w) {
		t.Errorf("v%d: edited request\n%x, want\n%x", h.Version, edited, w)
	}
}

func TestScanFetch(t *testing.T) {
	for version := int16(0); version <= 15; version++ {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.SessionID, req.SessionEpoch, req.Rack, req.UnknownTags = version, 50<<20, 7, 3, "r", tags()
		for i := range 2 {
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID, topic.UnknownTags = fmt.Sprint("topic", i), topicID{byte(i + 1)}, tags()
			for j := range 3 {
				p := kmsg.NewFetchRequestTopicPartition()
				p.Partition, p.PartitionMaxBytes, p.FetchOffset = int32(j), int32(100<<(10*j)), 77
				topic.Partitions = append(topic.Partitions, p)
			}
			req.Topics = append(req.Topics, topic)
			req.ForgottenTopics = append(req.ForgottenTopics, kmsg.FetchRequestForgottenTopic{Topic: "f", TopicID: topicID{9}, Partitions: []int32{1, 2}})
		}
		body := request(req, 1)
		h, _ := wire.ParseRequestHeader(body)
		var got fetchRequest
		if err := scanFetch(&got, body, h); err != nil {
			t.Fatalf("v%d: %v", version, err)
		}
		if version >= 7 && (got.session != 7 || got.epoch != 3) || len(got.topics) != 2 || len(got.partitionBytes) != 6 {
			t.Errorf("v%d: got %+v", version, got)
		}
		got.lower(body, 8<<20, 1<<20)
		req.MaxBytes = 8 << 20
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				p.PartitionMaxBytes = min(p.PartitionMaxBytes, 1<<20)
			}
		}
		if want := request(req, 1); !bytes.Equal(body, want) {
			t.Errorf("v%d: lowered\n%x, want\n%x", version, body, want)
		}
	}
}

func fetchResponseOf(version int16, records []byte) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version, resp.ThrottleMillis, resp.SessionID, resp.UnknownTags = version, 3, 42, tags()
	for i := range 2 {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID, topic.UnknownTags = fmt.Sprint("topic", i), topicID{byte(i + 1)}, tags()
		for j := range 2 {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.HighWatermark, p.LogStartOffset, p.PreferredReadReplica, p.UnknownTags = int32(j), 1000, 1, -1, tags()
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = 2, 3
			if j == 1 {
				p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 5, FirstOffset: 6}}
			}
			if i == 1 || j == 1 {
				p.RecordBatches = records
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func TestScanFetchResponse(t *testing.T) {
	for version := int16(0); version <= 15; version++ {
		resp := fetchResponseOf(version, []byte("some records"))
		body := resp.AppendTo(wire.AppendResponseHeader(nil, 1, version, 9))
		_, head, err := wire.ParseResponseHeader(body, 1, version)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		out, err := scanFetchResponse(body, head, version, func(name []byte, id topicID, p fetchedPartition) error {
			topic := resp.Topics[n/2]
			want := topic.Partitions[n%2]
			if p.index != want.Partition || !bytes.Equal(p.data, want.RecordBatches) || version < 13 && string(name) != topic.Topic || version >= 13 && id != topic.TopicID {
				t.Errorf("v%d: partition %d: %q %x %+v", version, n, name, id, p)
			}
			n++
			return nil
		})
		if err != nil || n != 4 || version >= 7 && out.session != 42 {
			t.Errorf("v%d: %d partitions, %+v, %v", version, n, out, err)
		}
	}
}

func FuzzScan(f *testing.F) {
	for version := int16(0); version <= 13; version++ {
		f.Add(request(produceOf(version, ptr("t")), 1), version)
		f.Add(fetchResponseOf(version, []byte("records")).AppendTo(wire.AppendResponseHeader(nil, 1, version, 9)), version)
	}
	f.Fuzz(func(t *testing.T, body []byte, version int16) {
		if h, err := wire.ParseRequestHeader(body); err == nil {
			if r, err := scanProduce(body, h); err == nil {
				p := producing{header: h}
				for _, topic := range r.topics {
					p.answer.topics = append(p.answer.topics, answerTopic{partitions: make([]answerPartition, len(topic.partitions))})
				}
				if got := bytes.Join(splice(nil, body, p.edits(r)), nil); !bytes.Equal(got, body) {
					t.Errorf("a request that nothing was changed in changed")
				}
			}
			var r fetchRequest
			if err := scanFetch(&r, body, h); err == nil {
				r.lower(bytes.Clone(body), 1, 1)
			}
		}
		if out, err := scanFetchResponse(body, 4, version, func([]byte, topicID, fetchedPartition) error { return nil }); err == nil {
			splice(nil, body, out.withoutEndpoints(body))
		}
		namesBrokers(body, &entry{key: 0, version: version})
	})
}
