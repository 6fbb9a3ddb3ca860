package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

func apiVersions(version int16) *kmsg.ApiVersionsRequest {
	r := kmsg.NewPtrApiVersionsRequest()
	r.Version, r.ClientSoftwareName, r.ClientSoftwareVersion = version, "test", "1"
	return r
}

func fetchOf(version int16, topic string, wait int32) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.Version, r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = version, wait, 1, 50<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 50 << 20
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

func fetchResponse(version int16) *kmsg.FetchResponse {
	r := kmsg.NewPtrFetchResponse()
	r.Version = version
	return r
}

// body encodes a response's body without its correlation id.
func body(resp kmsg.Response) []byte {
	return resp.AppendTo(wire.AppendResponseHeader(nil, resp.Key(), resp.GetVersion(), 0))[4:]
}

// TestAddresses gives every response that names brokers, with unknown tags in it, in every version, and checks that it arrives as it was but for the addresses.
func TestAddresses(t *testing.T) {
	var answer []byte
	s := newStub(t, func(stubRequest) []byte { return answer })
	r := start(t, s.addr()).awaitReady()
	b := s.broker(1)
	host, port, ok := r.listeners[0].address(1)
	if !ok {
		t.Fatal("broker 1 has no listener")
	}
	tests := []struct {
		req  kmsg.Request
		from int16
		// make returns the response with broker 1 at an address.
		make func(host string, port int32) kmsg.Response
	}{
		{kmsg.NewPtrMetadataRequest(), 0, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrMetadataResponse()
			m.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: h, Port: p, Rack: ptr("r"), UnknownTags: tags()}}
			m.ControllerID, m.ClusterID, m.UnknownTags = 1, ptr("c"), tags()
			m.Topics = []kmsg.MetadataResponseTopic{
				{Topic: ptr("t"), TopicID: topicID{7}, UnknownTags: tags(), Partitions: []kmsg.MetadataResponseTopicPartition{
					{Leader: 1, Replicas: []int32{1, 2}, ISR: []int32{1}, OfflineReplicas: []int32{2}, UnknownTags: tags()}, {Partition: 1, Leader: -1, ErrorCode: 5},
				}},
			}
			return m
		}},
		{kmsg.NewPtrFindCoordinatorRequest(), 0, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrFindCoordinatorResponse()
			m.NodeID, m.Host, m.Port, m.UnknownTags = 1, h, p, tags()
			m.Coordinators = []kmsg.FindCoordinatorResponseCoordinator{
				{Key: "a", NodeID: 1, Host: h, Port: p, UnknownTags: tags()},
				{Key: "b", NodeID: -1, Host: "", Port: -1, ErrorCode: 15, ErrorMessage: ptr("none")},
			}
			return m
		}},
		{kmsg.NewPtrFindCoordinatorRequest(), 0, func(string, int32) kmsg.Response {
			m := kmsg.NewPtrFindCoordinatorResponse()
			m.NodeID, m.Port, m.ErrorCode = -1, -1, 15
			return m
		}},
		{kmsg.NewPtrDescribeClusterRequest(), 0, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrDescribeClusterResponse()
			m.EndpointType, m.ControllerID, m.ClusterID, m.UnknownTags = 1, 1, "c", tags()
			m.Brokers = []kmsg.DescribeClusterResponseBroker{{NodeID: 1, Host: h, Port: p, Rack: nil, UnknownTags: tags()}}
			return m
		}},
		{kmsg.NewPtrProduceRequest(), 9, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrProduceResponse()
			m.Brokers = []kmsg.ProduceResponseBroker{{NodeID: 1, Host: h, Port: p, UnknownTags: tags()}}
			m.UnknownTags = tags()
			m.Topics = []kmsg.ProduceResponseTopic{{Topic: "t", TopicID: topicID{7}, UnknownTags: tags(), Partitions: []kmsg.ProduceResponseTopicPartition{
				{ErrorCode: 6, BaseOffset: -1, ErrorRecords: []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: 3, ErrorMessage: ptr("m")}}, ErrorMessage: ptr("x"), CurrentLeader: kmsg.ProduceResponseTopicPartitionCurrentLeader{LeaderID: 1, LeaderEpoch: 4}, UnknownTags: tags()},
			}}}
			return m
		}},
		{kmsg.NewPtrShareFetchRequest(), 1, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrShareFetchResponse()
			m.NodeEndpoints = []kmsg.ShareFetchResponseNodeEndpoint{{NodeID: 1, Host: h, Port: p, UnknownTags: tags()}}
			m.Topics = []kmsg.ShareFetchResponseTopic{{TopicID: topicID{7}, Partitions: []kmsg.ShareFetchResponseTopicPartition{{Records: []byte("r"), UnknownTags: tags()}}}}
			m.UnknownTags = tags()
			return m
		}},
		{kmsg.NewPtrShareAcknowledgeRequest(), 1, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrShareAcknowledgeResponse()
			m.NodeEndpoints = []kmsg.ShareAcknowledgeResponseNodeEndpoint{{NodeID: 1, Host: h, Port: p, UnknownTags: tags()}}
			m.UnknownTags = tags()
			return m
		}},
		{kmsg.NewPtrDescribeQuorumRequest(), 0, func(h string, p int32) kmsg.Response {
			m := kmsg.NewPtrDescribeQuorumResponse()
			node := kmsg.DescribeQuorumResponseNode{NodeID: 3, UnknownTags: tags()}
			if h == b.Host && p == b.Port { // the gateway's answer has none
				node.Listeners = []kmsg.DescribeQuorumResponseNodeListener{{Name: "CONTROLLER", Host: h, Port: uint16(p)}}
			}
			m.Nodes = []kmsg.DescribeQuorumResponseNode{node}
			m.UnknownTags = tags()
			return m
		}},
	}
	for _, tt := range tests {
		for v := tt.from; v <= table[tt.req.Key()].max; v++ {
			tt.req.SetVersion(v)
			sent := tt.make(b.Host, b.Port)
			sent.SetVersion(v)
			answer = body(sent)
			want := tt.make(host, port)
			want.SetVersion(v)
			c := r.raw()
			if p, ok := tt.req.(*kmsg.ProduceRequest); ok {
				p.Acks = 1
			}
			c.send(tt.req, 3)
			got, err := readFrame(c)
			if err != nil {
				t.Fatalf("%T v%d: %v", tt.req, v, err)
			}
			if !bytes.Equal(got[4:], body(want)) {
				t.Errorf("%T v%d: got\n%q, want\n%q", tt.req, v, got[4:], body(want))
			}
		}
	}
}

// TestBrokerWithoutListener checks that a broker that cannot be served is not shown.
func TestBrokerWithoutListener(t *testing.T) {
	answer := kmsg.NewPtrMetadataResponse()
	s := newStub(t, func(stubRequest) []byte { return body(answer) })
	r := start(t, s.addr()).awaitReady()
	answer.Version, answer.ControllerID = 9, 60000
	answer.Brokers = []kmsg.MetadataResponseBroker{s.broker(1), {NodeID: 60000, Host: "broker60000", Port: 9092}}
	answer.Topics = []kmsg.MetadataResponseTopic{{Topic: ptr("t"), Partitions: []kmsg.MetadataResponseTopicPartition{
		{Partition: 0, Leader: 1}, {Partition: 1, Leader: 60000, Replicas: []int32{60000, 1}},
	}}}
	l := r.listeners[0]
	l.mu.Lock()
	l.anyPorts = false // port + 1 + 60000 is too much
	l.bindPort = 30000
	l.mu.Unlock()
	c := r.raw()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	c.send(req, 1)
	got := kmsg.NewPtrMetadataResponse()
	got.Version = 9
	c.receive(got, 1)
	p := got.Topics[0].Partitions
	if len(got.Brokers) != 1 || got.Brokers[0].NodeID != 1 || got.ControllerID != -1 || p[0].Leader != 1 || p[1].Leader != -1 || p[1].ErrorCode != kerr.LeaderNotAvailable.Code {
		t.Errorf("got %+v", got)
	}
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "port would be") {
		t.Errorf("ready: %v", err)
	}
}

func versionsOf(extra ...kmsg.ApiVersionsResponseApiKey) *kmsg.ApiVersionsResponse {
	m := kmsg.NewPtrApiVersionsResponse()
	m.Version = 3
	for key := range kmsg.MaxKey + 1 {
		if req := kmsg.RequestForKey(int16(key)); req != nil {
			m.ApiKeys = append(m.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(key), MaxVersion: req.MaxVersion() + 1})
		}
	}
	m.ApiKeys = append(m.ApiKeys, extra...)
	m.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{{Name: "transaction.version", MaxVersion: 2}, {Name: "group.version", MaxVersion: 1}}
	m.FinalizedFeaturesEpoch = 5
	m.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{{Name: "transaction.version", MaxVersionLevel: 2, MinVersionLevel: 2}, {Name: "group.version", MaxVersionLevel: 1, MinVersionLevel: 1}}
	m.UnknownTags = tags()
	return m
}

// TestApiVersions has a broker that offers one version more of everything, and keys that nobody knows.
func TestApiVersions(t *testing.T) {
	answer := versionsOf(kmsg.ApiVersionsResponseApiKey{ApiKey: 2000, MaxVersion: 4})
	s := newStub(t, func(r stubRequest) []byte {
		if r.Key == 18 {
			return body(answer)
		}
		return []byte("unread")
	})
	r := start(t, s.addr()).awaitReady()
	c := r.raw()
	c.send(apiVersions(3), 1)
	got := kmsg.NewPtrApiVersionsResponse()
	got.Version = 3
	c.receive(got, 1)
	offered := map[int16]kmsg.ApiVersionsResponseApiKey{}
	for _, k := range got.ApiKeys {
		offered[k.ApiKey] = k
	}
	for _, k := range answer.ApiKeys {
		row, listed := table[k.ApiKey]
		o, ok := offered[k.ApiKey]
		switch {
		case listed && row.refused != "":
			if ok {
				t.Errorf("key %d is offered, and refused", k.ApiKey)
			}
		case listed && (o.MaxVersion != row.max || o.MinVersion != row.min):
			t.Errorf("key %d is offered in v%d to v%d, read in v%d to v%d", k.ApiKey, o.MinVersion, o.MaxVersion, row.min, row.max)
		case !listed && o.MaxVersion != k.MaxVersion:
			t.Errorf("key %d is offered to v%d, and passes to v%d", k.ApiKey, o.MaxVersion, k.MaxVersion)
		}
	}
	if offered[1].MaxVersion != 15 || offered[0].MinVersion != 0 {
		t.Errorf("fetch %+v, produce %+v", offered[1], offered[0])
	}
	if !slices.ContainsFunc(got.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
		return f.Name == "transaction.version" && f.MaxVersionLevel == 2
	}) || got.FinalizedFeaturesEpoch != 5 || got.UnknownTags.Len() != 1 {
		t.Errorf("features %+v, tags %v", got.FinalizedFeatures, got.UnknownTags)
	}

	t.Run("offered key passes", func(t *testing.T) {
		frame := binary.BigEndian.AppendUint64(nil, 2000<<48|4<<32|77)
		writeFrame(c, frame, []byte("\xff\xffanything"))
		got, err := readFrame(c)
		if err != nil || string(got[4:]) != "unread" {
			t.Errorf("%q %v", got, err)
		}
	})
	t.Run("known key in a version from the future passes", func(t *testing.T) {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version = req.MaxVersion() + 1
		c.send(req, 5)
		got, err := readFrame(c)
		if err != nil || string(got[4:]) != "unread" {
			t.Errorf("%q %v", got, err)
		}
	})
	t.Run("old broker", func(t *testing.T) {
		for i := range answer.ApiKeys {
			if answer.ApiKeys[i].ApiKey == 0 {
				answer.ApiKeys[i].MaxVersion = 11
			}
		}
		c := r.raw()
		c.send(apiVersions(3), 1)
		got := kmsg.NewPtrApiVersionsResponse()
		got.Version = 3
		c.receive(got, 1)
		if len(got.FinalizedFeatures) != 1 || got.FinalizedFeatures[0].Name != "group.version" || got.SupportedFeatures[0].MaxVersion != 1 {
			t.Errorf("with Produce v11: finalized %+v, supported %+v", got.FinalizedFeatures, got.SupportedFeatures)
		}
	})
	t.Run("too new for the gateway", func(t *testing.T) {
		c := r.raw()
		c.send(apiVersions(6), 1)
		got := kmsg.NewPtrApiVersionsResponse()
		c.receive(got, 1)
		if got.ErrorCode != 35 || len(got.ApiKeys) != 1 || got.ApiKeys[0].ApiKey != 18 || got.ApiKeys[0].MaxVersion != 5 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("too new for the broker", func(t *testing.T) {
		old := kmsg.NewPtrApiVersionsResponse()
		old.ErrorCode = 35
		old.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 18, MaxVersion: 2}}
		s := newStub(t, func(stubRequest) []byte { return body(old) })
		c := start(t, s.addr()).raw()
		c.send(apiVersions(4), 1)
		got, err := readFrame(c)
		if err != nil || !bytes.Equal(got[4:], body(old)) {
			t.Errorf("%q %v", got, err)
		}
	})
}

// TestUnsupported sends what the gateway must not pass on.
func TestUnsupported(t *testing.T) {
	s := newStub(t, func(stubRequest) []byte { return []byte("must not be asked") })
	r := start(t, s.addr()).awaitReady()
	for _, key := range []int16{0, 1, 3, 10, 32, 55, 60, 78, 79} {
		req := kmsg.RequestForKey(key)
		req.SetVersion(table[key].max + 1)
		c := r.raw()
		c.send(req, 1)
		c.ended()
	}
	for _, head := range []uint64{58 << 48, 52 << 48, 2000 << 48, 0xffff << 48, 3<<48 | 0xffff<<32} {
		c := r.raw()
		writeFrame(c, binary.BigEndian.AppendUint64(nil, head|1), []byte{0xff, 0xff, 0, 0, 0})
		c.ended()
	}
	t.Run("handshake v0", func(t *testing.T) {
		c := r.raw()
		req := kmsg.NewPtrSASLHandshakeRequest()
		c.send(req, 9)
		got := kmsg.NewPtrSASLHandshakeResponse()
		c.receive(got, 9)
		if got.ErrorCode != 35 || len(got.SupportedMechanisms) != 0 {
			t.Errorf("got %+v", got)
		}
	})
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests reached the broker", n)
	}
}

// TestNoKafka sends what is no Kafka frame, beside a connection that must not notice.
func TestNoKafka(t *testing.T) {
	s := newStub(t, func(stubRequest) []byte { return []byte("pong") })
	r := start(t, s.addr(), func(c *Config) { c.Limits.MaxRequestBytes = 1 << 20 }).awaitReady()
	good := r.raw()
	ping := func() {
		t.Helper()
		req := kmsg.NewPtrListGroupsRequest()
		good.send(req, 1)
		if b, err := readFrame(good); err != nil || string(b[4:]) != "pong" {
			t.Fatalf("the other connection got %q, %v", b, err)
		}
	}
	ping()
	for name, first := range map[string]string{
		"TLS":                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"negative size":      "\xff\xff\xff\xff\x00\x00",
		"size over limit":    "\x00\x10\x00\x01\x00\x00\x00\x00",
		"zero size":          "\x00\x00\x00\x00",
		"truncated header":   "\x00\x00\x00\x06\x00\x03\x00\x00\x00\x00",
		"client id too long": "\x00\x00\x00\x0a\x00\x03\x00\x00\x00\x00\x00\x01\x7f\xff",
		"produce, cut":       "\x00\x00\x00\x0b\x00\x00\x00\x03\x00\x00\x00\x01\xff\xff\x00",
	} {
		t.Run(name, func(t *testing.T) {
			c := r.raw()
			_, _ = c.Write([]byte(first))
			c.ended()
			ping()
		})
	}
	t.Run("HTTP", func(t *testing.T) {
		c := r.raw()
		_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), "Kafka") {
			t.Errorf("got %q, %v", got, err)
		}
		ping()
	})
	t.Run("disconnected in the middle", func(t *testing.T) {
		c := r.raw()
		_, _ = c.Write([]byte("\x00\x00\x10\x00\x00\x03"))
		_ = c.Close()
		ping()
	})
}

// TestHostileBroker has a broker that answers what it must not.
func TestHostileBroker(t *testing.T) {
	for name, reply := range map[string]func(c stubRequest) []byte{
		"wrong correlation": func(r stubRequest) []byte {
			writeFrame(r.conn, []byte{1, 2, 3, 4}, []byte("answer"))
			return nil
		},
		"short": func(r stubRequest) []byte {
			writeFrame(r.conn, []byte{0, 0})
			return nil
		},
		"two answers": func(r stubRequest) []byte {
			writeFrame(r.conn, []byte{0, 0, 0, 9}, []byte("unasked"))
			return []byte("x")
		},
		"not a metadata response": func(stubRequest) []byte { return []byte{0, 0, 0, 1, 0, 0} },
		"huge array":              func(stubRequest) []byte { return []byte{0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff} },
		"huge frame": func(r stubRequest) []byte {
			_, _ = r.conn.Write([]byte{0x7f, 0xff, 0xff, 0xff})
			return nil
		},
		"negative frame": func(r stubRequest) []byte {
			_, _ = r.conn.Write([]byte{0xff, 0xff, 0xff, 0xff})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t, reply)
			r := start(t, s.addr(), func(c *Config) { c.Limits.MaxResponseBytes = 1 << 20 }).awaitReady()
			c := r.raw()
			req := kmsg.NewPtrMetadataRequest()
			req.Version = 3
			c.send(req, 1)
			c.send(req, 2)
			c.ended()
		})
	}
}

// TestOrder sends many requests at once, some of which the gateway answers itself while those before them are outstanding: answers come in order.
func TestOrder(t *testing.T) {
	s := newStub(t, func(r stubRequest) []byte {
		if r.CorrelationID%7 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
		return fmt.Append(nil, "answer ", r.CorrelationID)
	})
	r := start(t, s.addr(), func(c *Config) { c.Limits.Pending = 8 }).awaitReady()
	c := r.raw()
	const n = 500
	local := func(i int) bool { return i%3 == 1 || i%11 == 0 }
	go func() {
		for i := range n {
			if local(i) {
				c.send(kmsg.NewPtrSASLHandshakeRequest(), int32(i)) // v0: refused here
			} else {
				c.send(kmsg.NewPtrListGroupsRequest(), int32(i))
			}
		}
	}()
	for i := range n {
		b, err := readFrame(c)
		if err != nil {
			t.Fatal(err)
		}
		if id := binary.BigEndian.Uint32(b); id != uint32(i) {
			t.Fatalf("answer %d is to request %d", i, id)
		}
		if want := fmt.Sprint("answer ", i); !local(i) && string(b[4:]) != want {
			t.Fatalf("got %q, want %q", b[4:], want)
		}
	}
}

// TestNoAnswerForZeroAcks sends produce requests with acks=0 among others, in every version, with and without ids.
func TestNoAnswerForZeroAcks(t *testing.T) {
	s := newStub(t, func(r stubRequest) []byte {
		if r.Key == 0 {
			return nil
		}
		return fmt.Append(nil, r.CorrelationID)
	})
	r := start(t, s.addr()).awaitReady()
	for v := int16(0); v <= 13; v++ {
		for _, txn := range []*string{nil, ptr("id")} {
			c := r.raw()
			for i := range int32(20) {
				p := produceOf(v, txn)
				p.Acks = 0
				c.send(p, 1000+i)
				c.send(kmsg.NewPtrListGroupsRequest(), i)
			}
			for i := range int32(20) {
				b, err := readFrame(c)
				if err != nil || string(b[4:]) != fmt.Sprint(i) {
					t.Fatalf("v%d: answer %d: %q, %v", v, i, b, err)
				}
			}
		}
	}
	if n := len(s.requests()); n != 14*2*40 {
		t.Errorf("the broker got %d requests", n)
	}
}

// TestBackPressure has a client that reads nothing: the gateway stops reading from it and from the broker, and goes on when it reads.
func TestBackPressure(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 1<<20)
	s := newStub(t, func(stubRequest) []byte { return big })
	r := start(t, s.addr(), func(c *Config) { c.Limits.Pending = 4 }).awaitReady()
	c := r.raw()
	const n = 64
	go func() {
		for i := range int32(n) {
			c.send(kmsg.NewPtrListGroupsRequest(), i)
		}
	}()
	time.Sleep(300 * time.Millisecond)
	if got := len(s.requests()); got > 40 {
		t.Errorf("%d requests reached the broker while nobody read answers", got)
	}
	for i := range n {
		b, err := readFrame(c)
		if err != nil || len(b) != len(big)+4 || binary.BigEndian.Uint32(b) != uint32(i) {
			t.Fatalf("answer %d: %d bytes, %v", i, len(b), err)
		}
	}
}

// TestFetchEndpoints has a broker that sends node endpoints below v16: they are left out of what is looked at, and other tags stay.
func TestFetchEndpoints(t *testing.T) {
	for _, opened := range []bool{false, true} {
		for v := int16(12); v <= 15; v++ {
			sent := fetchResponseOf(v, []byte{})
			sent.SessionID = 0
			want := body(sent)
			sent.Brokers = []kmsg.FetchResponseBroker{{NodeID: 1, Host: "broker", Port: 1}}
			s := newStub(t, func(stubRequest) []byte { return body(sent) })
			r := start(t, s.addr()).awaitReady()
			r.cluster().learnTopics(&kmsg.MetadataResponse{Version: 12, Topics: []kmsg.MetadataResponseTopic{{Topic: ptr("topic0"), TopicID: topicID{1}}, {Topic: ptr("topic1"), TopicID: topicID{2}}}})
			if opened {
				r.setRoutes(onFetch(&fake{judge: byValue}, "topic1"))
			}
			req := fetchOf(v, "topic1", 0)
			req.Topics[0].TopicID = topicID{2}
			c := r.raw()
			c.send(req, 1)
			got, err := readFrame(c)
			if err != nil || !bytes.Equal(got[4:], want) {
				t.Errorf("v%d, opened %v: got\n%q, %v, want\n%q", v, opened, got, err, want)
			}
		}
	}
}
