package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// hurry makes a gateway that has no connections yet impatient.
func (r *rig) hurry(p patience) {
	r.mu.Lock() // which accept takes
	defer r.mu.Unlock()
	r.patience = p
}

var impatient = patience{silence: 100 * time.Millisecond, least: 300 * time.Millisecond, lookup: 300 * time.Millisecond, client: 1 << 20, broker: 1 << 30}

func TestSilentClient(t *testing.T) {
	s := newStub(t, func(stubRequest) []byte { return []byte("pong") })
	r := start(t, s.addr()).awaitReady()
	r.hurry(impatient)
	c := r.raw()
	c.ended()
	c = r.raw()
	c.send(kmsg.NewPtrListGroupsRequest(), 1)
	if _, err := readFrame(c); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * impatient.silence) // idle, not silent
	c.send(kmsg.NewPtrListGroupsRequest(), 2)
	if _, err := readFrame(c); err != nil {
		t.Fatal(err)
	}
}

// TestBudgetComesBack has clients whose opened requests cannot go on. The memory that they hold returns to others all the same.
func TestBudgetComesBack(t *testing.T) {
	huge := strings.Repeat("x", 60<<20) // more than the sockets on the way take
	big := strings.Repeat("x", 2<<20)   // more than the budget
	for _, c := range []struct {
		name  string
		limit int // of requests in flight
		stall func(r *rig) *raw
	}{
		{"a broker that reads nothing", 256, func(r *rig) *raw {
			c := r.raw()
			c.send(kmsg.NewPtrListGroupsRequest(), 1) // the stub stops here
			go c.send(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, huge)}), 2)
			return c
		}},
		{"a queue that is full", 1, func(r *rig) *raw {
			c := r.raw()
			c.send(kmsg.NewPtrListGroupsRequest(), 1)
			go c.send(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, big)}), 2)
			return c
		}},
		{"a lookup without answer", 256, func(r *rig) *raw {
			c := r.raw()
			go c.send(produceTo(13, -1, set{id: topicID{1}, records: encoded(t, -1, big)}, set{id: topicID{2}, records: encoded(t, -1, "x")}), 2)
			return c
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			s := newStub(t, func(q stubRequest) []byte {
				if q.Key == 16 || q.Key == 3 {
					<-release
					return nil
				}
				resp := kmsg.NewPtrProduceResponse()
				resp.Version = 9
				return body(resp)
			})
			r := start(t, s.addr(), func(c2 *Config) { c2.Limits.OpenedBytes, c2.Limits.Pending = 1<<20, c.limit }).awaitReady()
			r.cluster().learnTopics(&kmsg.MetadataResponse{Version: 12, Topics: []kmsg.MetadataResponseTopic{{Topic: ptr("in"), TopicID: topicID{1}}}})
			r.setRoutes(onProduce(&fake{}, "in"))
			r.hurry(impatient)
			stalled := c.stall(r)
			eventually(t, "the request to be stuck", func() error { time.Sleep(100 * time.Millisecond); return nil })
			good := r.raw()
			_ = good.SetDeadline(time.Now().Add(10 * time.Second))
			good.send(produceTo(9, -1, set{topic: "in", records: encoded(t, -1, "x")}), 3)
			if _, err := readFrame(good); err != nil {
				t.Fatalf("another client waits: %v", err)
			}
			_ = stalled.Close()
		})
	}
}
