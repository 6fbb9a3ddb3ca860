package apache

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/clients"
)

// fill produces valid and invalid records to a topic through the gateway.
func fill(t *testing.T, bootstrap, topic string, n int) *scene.Expect {
	t.Helper()
	var g clients.Group
	for i := range n {
		r := scene.Valid(fmt.Sprintf("v%d", i))
		if i%3 == 1 {
			r = scene.Invalid(fmt.Sprintf("i%d", i))
		}
		g.Records = append(g.Records, r)
	}
	results, err := (&clients.Franz{}).Produce(t.Context(), clients.Produce{Bootstrap: bootstrap, Topic: topic, Mode: clients.Idempotent, Groups: []clients.Group{g}})
	if err != nil {
		t.Fatal(err)
	}
	e := &scene.Expect{Topic: topic}
	if err := e.Add(clients.Idempotent, g, results[0], true); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestGroups reads with consumer groups: a first member commits and leaves, a
// second one goes on where it ended, past records that neither was shown.
func TestGroups(t *testing.T) {
	t.Parallel()
	g := theGateway(t)
	for _, verdict := range []scene.Verdict{scene.Drop, scene.FetchDrop} {
		name := topic(t, string(verdict)+".groups", 1)
		e := fill(t, g.Bootstrap, name, 30)
		seen := 0
		for member := range 2 {
			cl, err := kgo.NewClient(kgo.SeedBrokers(g.Bootstrap), kgo.ConsumeTopics(name), kgo.ConsumerGroup("groups-"+string(verdict)),
				kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			want := e.Visible() / 2
			if member == 1 {
				want = e.Visible()
			}
			for seen < want && ctx.Err() == nil {
				fetches := cl.PollRecords(ctx, want-seen)
				seen += fetches.NumRecords()
			}
			if seen != want {
				t.Errorf("%s: member %d: %d records in all, want %d", name, member+1, seen, want)
			}
			if err := cl.CommitUncommittedOffsets(ctx); err != nil {
				t.Errorf("%s: commit: %v", name, err)
			}
			cancel()
			cl.Close()
		}
	}
}

// TestConsumerProtocol reads with the group protocol of KIP-848.
func TestConsumerProtocol(t *testing.T) {
	t.Parallel()
	g := theGateway(t)
	allClients(t)
	name := topic(t, "drop.consumer-protocol", 1)
	e := fill(t, g.Bootstrap, name, 9)
	out, err := tool(t, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", g.Bootstrap, "--topic", name, "--from-beginning",
		"--max-messages", fmt.Sprint(e.Visible()), "--timeout-ms", "30000", "--command-property", "group.protocol=consumer")
	if n := strings.Count(out, `"lumens":3`); err != nil || n != e.Visible() {
		t.Errorf("%d records, want %d: %v\n%s", n, e.Visible(), err, out)
	}
}

// TestShareGroups reads with a share group: a topic that no pipeline matches as
// ever; one with a fetch pipeline, or with markers, never unfiltered.
func TestShareGroups(t *testing.T) {
	t.Parallel()
	g := theGateway(t)
	allClients(t)
	for _, verdict := range []scene.Verdict{scene.Pass, scene.Drop, scene.FetchDrop} {
		t.Run(string(verdict), func(t *testing.T) {
			t.Parallel()
			name, group := topic(t, string(verdict)+".share", 1), "share-"+string(verdict)
			// A new share group begins at the end unless it is told otherwise.
			if out, err := tool(t, "kafka.admin.ConfigCommand", "--bootstrap-server", g.Bootstrap, "--alter", "--entity-type", "groups",
				"--entity-name", group, "--add-config", "share.auto.offset.reset=earliest"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			e := fill(t, g.Bootstrap, name, 9)
			out, _ := tool(t, "org.apache.kafka.tools.consumer.ConsoleShareConsumer", "--bootstrap-server", g.Bootstrap, "--topic", name,
				"--group", group, "--max-messages", fmt.Sprint(e.Visible()), "--timeout-ms", "8000")
			switch n := strings.Count(out, `"lumens":3`); {
			case verdict == scene.Pass && n != 6:
				t.Errorf("%d valid records, want 6\n%s", n, out)
			case verdict != scene.Pass && (strings.Contains(out, `"drop":true`) || strings.Contains(out, "\nnull\n")):
				t.Errorf("a record that must not be seen, or a marker, is shown:\n%s", out)
			case strings.Contains(out, "RuntimeException"):
				t.Errorf("the consumer cannot read the answer:\n%s", out)
			case verdict != scene.Pass:
				t.Logf("%d records; the consumer says\n%s", n, out)
			}
		})
	}
}

// tool runs one of Apache Kafka's tools.
func tool(t *testing.T, class string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	logging, err := apachekafka.LogConfig(dir, "warn")
	if err != nil {
		t.Fatal(err)
	}
	line := apachekafka.Java(kafka.LibDir(), append([]string{"-Xmx128m", logging}, apachekafka.QuickJVM...), nil, class, args...)
	out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput()
	return string(out), err
}
