package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// TestClientsWaitOutFailures checks, with every client, that the codes for failures of the gateway's own mean what they are chosen for: producers send again what
// could not be judged, consumers ask again for what is withheld and skip nothing.
func TestClientsWaitOutFailures(t *testing.T) {
	testenv.NeedKafka(t)
	k, err := apachekafka.Start(t.Context(), apachekafka.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	r := start(t, strings.Split(k.Bootstrap(), ",")).awaitReady()
	var broken atomic.Bool
	var failures atomic.Int64
	failing := &fake{fail: func(b *host.Batch) error {
		for i := range b.Records {
			if broken.Load() && string(b.Records[i].Value) == "two" {
				if failures.Add(1) == 1 { // from when the client has got so far, which takes some a while
					time.AfterFunc(3*time.Second, func() { broken.Store(false) })
				}
				return &host.StoppedError{Stage: "s", Topic: b.Topic, Offset: b.Records[i].Offset, Err: errors.New("broken")}
			}
		}
		return nil
	}}
	r.setRoutes(onProduce(failing, "p.*"), onFetch(failing, "f.*"))
	adm := kadm.NewClient(r.client())
	damage := func() {
		failures.Store(0)
		broken.Store(true)
	}
	for _, c := range clients.All(t, k.LibDir()) {
		t.Run(c.Name(), func(t *testing.T) {
			for _, mode := range []clients.Mode{clients.Plain, clients.Idempotent, clients.Transactional} {
				if c.Cannot(mode) != "" {
					continue
				}
				topic := func(way string) string { return fmt.Sprint(way, ".", c.Name(), ".", mode) }
				if _, err := adm.CreateTopics(t.Context(), 1, 1, nil, topic("p"), topic("f")); err != nil {
					t.Fatal(err)
				}
				produce := func(topic string) {
					t.Helper()
					var groups []clients.Group
					for _, v := range []string{"one", "two", "three"} {
						groups = append(groups, clients.Group{Records: []clients.Record{{ID: v, Key: []byte("k"), Value: []byte(v)}}})
					}
					res, err := c.Produce(t.Context(), clients.Produce{Bootstrap: r.Addr("l"), Topic: topic, Mode: mode, Groups: groups})
					if err != nil {
						t.Fatal(err)
					}
					for _, g := range res {
						if len(g.Refused()) > 0 {
							t.Errorf("%v: refused: %+v", mode, g.Refused())
						}
					}
				}
				consume := func(topic string) {
					t.Helper()
					stored, err := c.Consume(t.Context(), clients.Consume{Bootstrap: r.Addr("l"), Topic: topic, Want: 3, Timeout: 40 * time.Second})
					if err != nil {
						t.Errorf("%v: %v", mode, err)
					}
					var got []string
					for _, s := range stored {
						got = append(got, string(s.Value))
					}
					if !slices.Equal(got, []string{"one", "two", "three"}) {
						t.Errorf("%v: %s: got %q: %v", mode, topic, got, clients.List(stored))
					}
				}
				if c.Name() != "console" { // the console producer gives up after three attempts, within half a second
					damage()
					produce(topic("p"))
					if n := failures.Load(); n == 0 {
						t.Errorf("%v: nothing failed", mode)
					} else {
						t.Logf("%v: produced after %d failures", mode, n)
					}
					consume(topic("p"))
				}
				broken.Store(false)
				produce(topic("f"))
				damage()
				consume(topic("f"))
				if n := failures.Load(); n == 0 {
					t.Errorf("%v: nothing failed", mode)
				} else {
					t.Logf("%v: consumed after %d failures", mode, n)
				}
			}
		})
	}
}
