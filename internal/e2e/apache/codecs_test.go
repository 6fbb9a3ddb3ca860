package apache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// TestCodecs has every client produce batches in every codec: those that are
// rebuilt keep it, and what comes back through the gateway is what was sent.
func TestCodecs(t *testing.T) {
	g := theGateway(t)
	for _, client := range allClients(t) {
		if client.Name() == "console" {
			continue // its producer is the Java client's
		}
		t.Run(client.Name(), func(t *testing.T) {
			t.Parallel()
			for i, codec := range clients.Codecs {
				verdict := []scene.Verdict{scene.Drop, scene.Annotate}[i%2]
				testCodec(t, g.Bootstrap, client, codec, verdict)
			}
		})
	}
}

func testCodec(t *testing.T, bootstrap string, client clients.Client, codec string, verdict scene.Verdict) {
	t.Helper()
	name := topic(t, fmt.Sprintf("%s.codec-%s-%s", verdict, codec, client.Name()), 1)
	var g clients.Group
	for i := range 60 {
		r := scene.Valid(fmt.Sprintf("v%d", i))
		if i%7 == 3 {
			r = scene.Invalid(fmt.Sprintf("i%d", i))
		}
		// Long enough that producers find compression worth it.
		r.Value = []byte(strings.Replace(string(r.Value), "{", `{"text":"`+strings.Repeat("all work and no play ", 10)+`",`, 1))
		g.Records = append(g.Records, r)
	}
	results, err := client.Produce(t.Context(), clients.Produce{Bootstrap: bootstrap, Topic: name, Mode: clients.Idempotent, Codec: codec, Groups: []clients.Group{g}})
	if err != nil {
		t.Errorf("%s: %v", codec, err)
		return
	}
	e := &scene.Expect{Topic: name}
	if err := e.Add(clients.Idempotent, g, results[0], true); err != nil {
		t.Errorf("%s: %v", codec, err)
	}
	stored := readAll(t, name, true)
	report(t, "stored in "+name, e.Stored(stored), stored)
	for _, s := range stored {
		if s.Codec != codec {
			t.Errorf("%s: offset %d is stored as %s", name, s.Offset, s.Codec)
			break
		}
	}
	seen, err := client.Consume(t.Context(), clients.Consume{Bootstrap: bootstrap, Topic: name, Want: e.Visible()})
	if err != nil {
		t.Errorf("%s: %v", codec, err)
		return
	}
	report(t, "seen in "+name, e.Seen(seen), seen)
}
