package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/child"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// quick are the clients that need no JVM: franz-go always, kcat where it is.
func quick(t *testing.T, name string) clients.Client {
	t.Helper()
	if name == "kcat" {
		return &clients.Kcat{Path: testenv.Need(t, "kcat")}
	}
	return &clients.Franz{}
}

// TestVerdicts plays every verdict before a broker in this process: whether the
// parts fit together, in seconds. What the broker cannot prove, e2e/apache does.
func TestVerdicts(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary")
	}
	var topics []string
	for _, v := range append(scene.Verdicts, scene.Pass, scene.FetchDrop) {
		for _, client := range []string{"franz-go", "kcat"} {
			for _, mode := range clients.Modes {
				topics = append(topics, topicName(v, client, mode))
			}
		}
	}
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, append(topics, scene.DeadLetters)...))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	g, err := gateway.Start(t.Context(), gateway.Config{
		Binary: testenv.Binary(t), Dir: t.TempDir(), Bootstrap: broker.ListenAddrs(), MaxNode: 1, Pipelines: scene.Pipelines, Files: scene.Files,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(g.Tail(30))
		}
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	}()
	bootstrap := strings.Join(broker.ListenAddrs(), ",")
	// A group, because the gateway must outlive the parallel tests.
	t.Run("group", func(t *testing.T) {
		for _, v := range append(scene.Verdicts, scene.Pass, scene.FetchDrop) {
			for _, client := range []string{"franz-go", "kcat"} {
				for _, mode := range clients.Modes {
					t.Run(fmt.Sprintf("%s/%s/%v", v, client, mode), func(t *testing.T) {
						t.Parallel()
						play(t, g.Bootstrap, bootstrap, topicName(v, client, mode), quick(t, client), mode)
					})
				}
			}
		}
	})
	for _, verdict := range []string{"keep", "replace", "drop", "reject", "dead-letter"} {
		if n, err := g.Metric(t.Context(), "sluice_stage_records_total", fmt.Sprintf("verdict=%q", verdict)); err != nil || n == 0 {
			t.Errorf("sluice_stage_records_total counts %v records with verdict %s (%v), want some", n, verdict, err)
		}
	}
}

func topicName(v scene.Verdict, client string, mode clients.Mode) string {
	return fmt.Sprintf("%s.%s-%v", v, client, mode)
}

func play(t *testing.T, bootstrap, broker, topic string, c clients.Client, mode clients.Mode) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	groups := []clients.Group{
		{Records: []clients.Record{scene.Valid("v1"), scene.Invalid("i1"), scene.Valid("v2")}},
		{Records: []clients.Record{scene.Valid("v3")}},
	}
	results, err := c.Produce(ctx, clients.Produce{Bootstrap: bootstrap, Topic: topic, Mode: mode, Codec: "lz4", Groups: groups})
	if err != nil {
		t.Fatalf("produce: %v", err)
	}
	e := &scene.Expect{Topic: topic}
	for i, g := range groups {
		if err := e.Add(mode, g, results[i], true); err != nil {
			t.Errorf("group %d: %v", i+1, err)
		}
	}
	stored, err := clients.ReadAll(ctx, broker, topic, true)
	if err != nil {
		t.Fatal(err)
	}
	report(t, "stored", e.Stored(stored), stored)
	if scene.VerdictOf(topic) == scene.DeadLetter {
		letters, err := clients.ReadAll(ctx, broker, scene.DeadLetters, false)
		if err != nil {
			t.Fatal(err)
		}
		report(t, "dead letters", e.DeadLetters(letters), letters)
	}
	seen, err := c.Consume(ctx, clients.Consume{Bootstrap: bootstrap, Topic: topic, Committed: true, Want: e.Visible()})
	if err != nil {
		t.Fatalf("consume: %v", err)
	}
	report(t, "seen", e.Seen(seen), seen)
}

func report(t *testing.T, what string, problems []string, records []clients.Stored) {
	t.Helper()
	if len(problems) > 0 {
		t.Errorf("%s:\n    %s\n  the records:\n%s", what, strings.Join(problems, "\n    "), clients.List(records))
	}
}

// TestDemo is what the README says: the demo, records through its gateway with
// sluice's own commands and with Kafka's clients, and the records still there
// after a restart.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary")
	}
	binary, dir := testenv.Binary(t), t.TempDir()
	port := testenv.Ports(5)
	bind, admin := fmt.Sprintf("127.0.0.1:%d", port+1), fmt.Sprintf("127.0.0.1:%d", port)
	start := func() *child.Process {
		t.Helper()
		p, err := child.Start(child.Spec{Name: "sluice demo", Log: filepath.Join(dir, "demo.log"),
			// Compiled modules are kept where all tests keep them.
			Env:  []string{"SLUICE_CACHE_DIR=" + filepath.Join(testenv.CacheDir(), "modules")},
			Args: []string{binary, "demo", "--bind", bind, "--admin", admin, "--data-dir", filepath.Join(dir, "data")}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.LogContains(ctx, "event-gateway-demo"); err != nil {
			t.Fatal(err)
		}
		if err := p.Ready(ctx, func(ctx context.Context) error {
			c, err := net.Dial("tcp", bind)
			if err == nil {
				c.Close()
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := start()
	const topic = "event-gateway-demo"
	out := sluice(t, binary, `{"lumens": 3}`+"\n"+`{"lumens": true}`+"\n", "produce", "-b", bind, "-t", topic)
	t.Logf("sluice produce: %s", out)
	want := 2
	if _, err := exec.LookPath("kcat"); err == nil || testenv.RequireAll() {
		kcat := quick(t, "kcat")
		results, err := kcat.Produce(t.Context(), clients.Produce{Bootstrap: bind, Topic: topic, Groups: []clients.Group{{Records: []clients.Record{{ID: "k", Value: []byte(`{"lumens": -1}`)}}}}})
		if err != nil || len(results[0].Refused()) > 0 {
			t.Fatalf("kcat: %v %v", results, err)
		}
		want++
	}
	check := func() {
		t.Helper()
		seen, err := (&clients.Franz{}).Consume(t.Context(), clients.Consume{Bootstrap: bind, Topic: topic, Want: want})
		if err != nil {
			t.Fatal(err)
		}
		errors := map[string]string{}
		for _, s := range seen {
			header, _ := s.Header(scene.ErrorHeader)
			errors[string(s.Value)] = string(header)
		}
		if len(seen) != want || errors[`{"lumens": 3}`] != "" ||
			!strings.Contains(errors[`{"lumens": true}`], `"errors":["lumens: Invalid type. Expected: integer, given: boolean"]`) ||
			want == 3 && !strings.Contains(errors[`{"lumens": -1}`], "lumens: Must be greater than or equal to 0") {
			t.Errorf("the topic holds\n%s", clients.List(seen))
		}
		if out := sluice(t, binary, "", "consume", "-b", bind, "-t", topic, "-e", "-timeout", "20s"); strings.Count(out, "lumens\"") < want || !strings.Contains(out, scene.ErrorHeader) {
			t.Errorf("sluice consume prints\n%s", out)
		}
	}
	check()
	if err := p.Stop(15 * time.Second); err != nil {
		t.Fatal(err)
	}
	if code := p.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0\n%s", code, p.Tail(20))
	}
	os.Remove(filepath.Join(dir, "demo.log")) // so that its end is waited for again
	start()
	check()
}

// sluice runs a command of the binary.
func sluice(t *testing.T, binary, in string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdin = strings.NewReader(in)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("sluice %v: %v\n%s", args, err, out.Bytes())
	}
	return out.String()
}
