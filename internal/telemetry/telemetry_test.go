package telemetry

import (
	"flag"
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/jsonschema"
	"github.com/sluicegate/sluice/internal/kafka/gateway"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

// scrape returns the lines of /metrics that are Sluice's own.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("scrape: %d, %v", w.Code, err)
	}
	var own strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(strings.TrimLeft(line, "# HELPTY"), "sluice_") {
			own.WriteString(line)
		}
	}
	return regexp.MustCompile(`goversion="[^"]*"`).ReplaceAllString(own.String(), `goversion="go"`)
}

// exercise calls everything once or more.
func exercise(m *Metrics) {
	m.Started(time.Unix(1e9, 0))
	m.Reloaded(true, time.Unix(1e9, 5e8))
	m.Reloaded(false, time.Unix(2e9, 0))
	stats := new(jsonschema.Stats)
	stats.Fast.Add(90)
	stats.Judged.Add(7)
	stats.Framed.Add(2)
	m.Schemas(stats)

	g := m.Gateway()
	g.Connection("main", "public", 1)
	g.Connection("main", "public", 1)
	g.Connection("main", "public", -1)
	g.Request("main", 0, 100)
	g.Request("main", 0, 11)
	g.Request("main", 1, 50)
	g.Request("main", 4711, 5)
	g.Request("main", -1, 5)
	g.Response("main", 1, 7000)
	g.Moved("main", gateway.PathSpliced, 1<<20)
	g.Moved("main", gateway.PathOpened, 10)
	g.Failure("main", gateway.CauseTLS)
	g.Markers("main", 3, 0)
	g.Markers("main", 0, 2)

	s := m.Host().Stage("measurements", "validate")
	s.Instances(2)
	s.Instances(-1)
	s.Batch(80*time.Microsecond, 12345)
	s.Records(abi.OpKeep, 99)
	s.Records(abi.OpReplace, 1)
	s.Records(abi.OpEmit, 1) // not one that there is
	s.Poison(1)
	s.Failure(host.CauseTrap)
	s.LogDropped(4)
}

func TestNames(t *testing.T) {
	m := New("v1.2.3")
	exercise(m)
	got := scrape(t, m)
	if *update {
		if err := os.WriteFile("testdata/metrics.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got (run with -update to accept):\n%s", diff)
	}
}

// TestDocumented holds README.md to what there is.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := New("v1")
	exercise(m)
	names := regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(scrape(t, m), -1)
	exist := map[string]bool{}
	for _, n := range names {
		exist[n[1]] = true
		if !strings.Contains(string(readme), "`"+n[1]+"`") {
			t.Errorf("README.md does not mention %s", n[1])
		}
	}
	for _, n := range regexp.MustCompile("`(sluice_[a-z_]+)`").FindAllStringSubmatch(string(readme), -1) {
		if !exist[n[1]] {
			t.Errorf("README.md mentions %s, which is not there", n[1])
		}
	}
}

func TestConcurrent(t *testing.T) {
	m := New("v1")
	g := m.Gateway()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				g.Request([]string{"a", "b", "c"}[i%3], int16(i%100), 1)
			}
		})
	}
	wg.Wait()
	if got := scrape(t, m); !strings.Contains(got, `sluice_requests_total{api="Produce",cluster="a"} 32`) {
		t.Errorf("requests are missing:\n%s", got)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	m := New("v1")
	g, s := m.Gateway(), m.Host().Stage("p", "s")
	g.Request("main", 0, 1)
	n := testing.AllocsPerRun(100, func() {
		g.Request("main", 0, 100)
		g.Response("main", 0, 100)
		g.Moved("main", gateway.PathCopied, 1)
		g.Markers("main", 1, 1)
		s.Batch(time.Millisecond, 1)
		s.Records(abi.OpKeep, 1)
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	g := New("v1").Gateway()
	for b.Loop() {
		g.Request("main", 0, 100)
	}
}
