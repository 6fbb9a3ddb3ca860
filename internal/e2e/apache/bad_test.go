package apache

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/child"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// bystander produces to a topic over one connection, one record after the
// other, until it is stopped: what bad input does to others shows there.
func bystander(t *testing.T, bootstrap, topic string) (stop func()) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var (
		wg      sync.WaitGroup
		n       int
		slowest time.Duration
	)
	produce := func() error {
		start := time.Now()
		limited, stop := context.WithTimeout(context.Background(), 20*time.Second)
		defer stop()
		err := cl.ProduceSync(limited, &kgo.Record{Value: []byte(`{"lumens":1}`)}).FirstErr()
		slowest = max(slowest, time.Since(start))
		n++
		return err
	}
	if err := produce(); err != nil {
		t.Fatalf("bystander: %v", err)
	}
	slowest = 0 // the first one connects
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := produce(); err != nil {
				t.Errorf("bystander: record %d: %v", n, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		wg.Wait()
		if err := produce(); err != nil {
			t.Errorf("bystander: after it all: %v", err)
		}
		cl.Close()
		t.Logf("bystander: %d records, the slowest took %v", n, slowest.Round(time.Millisecond))
	}
}

// logs fails the test unless the gateway's log, from the given length on, says
// all the texts in one line.
func logs(t *testing.T, g *gateway.Gateway, from int, texts ...string) {
	t.Helper()
	var log string
	for range 50 {
		log = g.Log()[from:]
		for _, line := range strings.Split(log, "\n") {
			if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(strings.ToLower(line), strings.ToLower(s)) }) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("no line of the log says %q; it says\n%s", texts, log)
}

// TestBadFrames sends what is no Kafka request: the connection is closed, the
// log says what came, nobody else notices.
func TestBadFrames(t *testing.T) {
	g := ownGateway(t, gateway.Config{Pipelines: scene.Pipelines, Files: scene.Files})
	defer bystander(t, g.Bootstrap, topic(t, "annotate.bad-frames", 1))()
	addr := brokerOf(t, g.Bootstrap)
	clientHello := append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, bytes.Repeat([]byte{7}, 600)...)
	size := func(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	for _, tt := range []struct {
		name string
		send []byte
		log  []string
	}{
		{"over the limit", append(size(100<<20+1), 0, 3, 0, 9), []string{"limit"}},
		{"largest size", append(size(1<<31-1), 0, 3, 0, 9), []string{"limit"}},
		{"negative size", append(size(-1), 0, 3, 0, 9), []string{"size", "-1"}},
		{"smaller than a header", append(size(3), 0, 18, 0), []string{"header"}},
		{"TLS", clientHello, []string{"TLS"}},
		{"HTTP", []byte("GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n"), []string{"HTTP"}},
		{"unknown API key", frame(9999, 0, 7), []string{"9999"}},
		{"unknown version", frame(3, 999, 7), []string{"999"}},
		{"garbage in a body", append(size(14+5), append(frame(0, 9, 7)[4:], 0xff, 0xff, 0xff, 0xff, 0xff)...), []string{"produce"}},
	} {
		for _, at := range []string{g.Bootstrap, addr} {
			from := len(g.Log())
			c := dial(t, at)
			if _, err := c.Write(tt.send); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			answer, err := c.closed()
			if err != nil {
				t.Errorf("%s: %v; it answered %q", tt.name, err, answer)
			}
			if len(answer) > 0 && tt.name != "HTTP" && tt.name != "TLS" {
				t.Errorf("%s: answered with %d bytes %.60q, want none", tt.name, len(answer), answer)
			}
			logs(t, g, from, tt.log...)
		}
	}
}

// frame is a request with an empty body, client id "x".
func frame(key, version int16, correlation int32) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = append(b, 0, 1, 'x')
	if key == 0 && version >= 9 {
		b = append(b, 0) // tags of the header
	}
	for len(b) < 14 {
		b = append(b, 0)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// TestFutureApiVersions asks for versions in a version that nobody knows: the
// answer is in version 0, with the error that makes clients go down.
func TestFutureApiVersions(t *testing.T) {
	c := dial(t, theGateway(t).Bootstrap)
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := c.Write(frame(18, 99, 1)); err != nil {
		t.Fatal(err)
	}
	resp, err := c.receive(req, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.(*kmsg.ApiVersionsResponse); got.ErrorCode != kerr.UnsupportedVersion.Code || len(got.ApiKeys) == 0 {
		t.Errorf("error code %d and %d keys, want %d and at least the one for ApiVersions", got.ErrorCode, len(got.ApiKeys), kerr.UnsupportedVersion.Code)
	}
}

// TestBadBatches sends record batches that are broken, bombs, or not allowed.
func TestBadBatches(t *testing.T) {
	g := ownGateway(t, gateway.Config{Pipelines: scene.Pipelines, Files: scene.Files})
	name := topic(t, "reject.bad-batches", 1)
	defer bystander(t, g.Bootstrap, topic(t, "annotate.bad-batches", 1))()
	addr := brokerOf(t, g.Bootstrap)
	valid := batch(scene.Valid("v"))
	wrongCRC := slices.Clone(valid)
	wrongCRC[len(wrongCRC)-1] ^= 1
	legacy := slices.Clone(valid)
	legacy[16] = 1
	reserved := scene.Valid("reserved")
	reserved.Headers = []clients.Header{{Name: "sluice.dropped", Value: []byte("mine")}}
	number := clients.Record{Value: []byte(`{"lumens":1e1000000}`)}
	notJSON := clients.Record{Value: []byte(`not json`)}
	deep := clients.Record{Value: []byte(strings.Repeat(`[`, 100000))}
	for _, tt := range []struct {
		name    string
		records []byte
		want    *kerr.Error
		text    string // in the error message
	}{
		{"truncated", valid[:len(valid)-3], kerr.CorruptMessage, ""},
		{"only a header", valid[:40], kerr.CorruptMessage, ""},
		{"wrong CRC", wrongCRC, kerr.CorruptMessage, "checksum"},
		{"count too large", batchOf(0, 1000, valid[61:]), kerr.CorruptMessage, ""},
		{"records are garbage", batchOf(0, 1, bytes.Repeat([]byte{0xff}, 100)), kerr.CorruptMessage, ""},
		{"not gzip", batchOf(1, 1, []byte("this is not gzip")), kerr.CorruptMessage, ""},
		{"not snappy", batchOf(2, 1, []byte("this is not snappy")), kerr.CorruptMessage, ""},
		{"not lz4", batchOf(3, 1, []byte("this is not lz4")), kerr.CorruptMessage, ""},
		{"not zstd", batchOf(4, 1, []byte("this is not zstd")), kerr.CorruptMessage, ""},
		{"unknown codec", batchOf(7, 1, valid[61:]), nil, ""},
		{"legacy message set", legacy, kerr.InvalidRecord, ""},
		{"bomb", batchOf(1, 1, bomb(t)), kerr.MessageTooLarge, ""},
		{"zstd with a huge window", batchOf(4, 1, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0x00, 0x00, 0x00}), nil, ""},
		{"reserved header", batch(scene.Valid("a"), reserved), kerr.InvalidRecord, "sluice."},
		{"huge exponent", batch(number), kerr.InvalidRecord, ""},
		{"not JSON", batch(notJSON), kerr.InvalidRecord, "JSON"},
		{"deep JSON", batch(deep), kerr.InvalidRecord, ""},
		{"no batch", []byte{}, nil, ""},
		{"two batches", append(slices.Clone(valid), valid...), nil, ""},
	} {
		c := dial(t, addr)
		start := time.Now()
		resp := c.ask(produceRequest(9, -1, name, 0, tt.records)).(*kmsg.ProduceResponse)
		p := resp.Topics[0].Partitions[0]
		got := kerr.TypedErrorForCode(p.ErrorCode)
		switch {
		case got == nil:
			t.Errorf("%s: stored at %d, want an error", tt.name, p.BaseOffset)
		case tt.want != nil && got != tt.want:
			t.Errorf("%s: %s, want %s", tt.name, outcome(p), tt.want.Message)
		case tt.want == nil && got.Retriable && got != kerr.CorruptMessage:
			t.Errorf("%s: %s, which clients repeat for ever", tt.name, outcome(p))
		case tt.text != "" && (p.ErrorMessage == nil || !strings.Contains(*p.ErrorMessage, tt.text)):
			t.Errorf("%s: %s, want a message with %q", tt.name, outcome(p), tt.text)
		default:
			t.Logf("%s: %s", tt.name, outcome(p))
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s: took %v", tt.name, took)
		}
		// The same connection still works.
		resp = c.ask(produceRequest(9, -1, name, 0, batch(scene.Valid("after")))).(*kmsg.ProduceResponse)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 {
			t.Errorf("%s: the valid batch after it: %s", tt.name, outcome(p))
		}
	}
	for _, s := range readAll(t, name, false) {
		if string(s.Value) != string(scene.Valid("after").Value) {
			t.Errorf("stored: %v", s)
		}
	}
	if mib := peakMemory(t, g.PID()); mib > 700 {
		t.Errorf("the gateway needed %d MiB", mib)
	} else {
		t.Logf("the gateway needed %d MiB at most", mib)
	}
}

// bomb is 4 GiB of zeros, by gzip, of gzip's best kind: 4 MiB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var one bytes.Buffer
	w, _ := gzip.NewWriterLevel(&one, gzip.BestSpeed)
	zeros := make([]byte, 1<<20)
	for range 512 {
		w.Write(zeros)
	}
	w.Close()
	return one.Bytes()
}

// peakMemory is the most memory that a process had, in MiB.
func peakMemory(t *testing.T, pid int) (mib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fmt.Sscan(rest, &mib)
	return mib / 1024
}

// wasm assembles testdata/name.wat and returns the path of the module.
func wasm(t *testing.T, name string) string {
	t.Helper()
	assembler := testenv.Need(t, "wat2wasm")
	out := filepath.Join(t.TempDir(), name+".wasm")
	if text, err := exec.Command(assembler, filepath.Join("testdata", name+".wat"), "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("assemble %s: %v\n%s", name, err, text)
	}
	return out
}

// TestBadModules runs modules that misbehave beside well-behaved ones: their
// topics get errors, nothing is stored there, and others are unharmed.
func TestBadModules(t *testing.T) {
	testenv.NeedKafka(t)
	stage := func(name string) string {
		return fmt.Sprintf("  - name: %s\n    topics: [%s.*]\n    on: produce\n    stages:\n      - {plugin: %s, limits: {deadline: 300ms}}\n", name, name, wasm(t, name))
	}
	g := ownGateway(t, gateway.Config{
		Pipelines: scene.Pipelines + stage("loops") + stage("eats") + stage("traps") + stage("garbage"), Files: scene.Files,
	})
	stop := bystander(t, g.Bootstrap, topic(t, "annotate.bad-modules", 1))
	defer func() { stop() }()
	addr := brokerOf(t, g.Bootstrap)
	plain := func(value string) clients.Record { return clients.Record{Value: []byte(value)} }
	for _, tt := range []struct {
		module  string
		records []clients.Record
		want    []*kerr.Error // one of them
		indexes []int32
	}{
		{"traps", []clients.Record{plain("ok"), plain("Poison"), plain("ok")}, []*kerr.Error{kerr.InvalidRecord}, []int32{1}},
		{"loops", []clients.Record{plain("a"), plain("b")}, []*kerr.Error{kerr.NotEnoughReplicas, kerr.InvalidRecord}, nil},
		{"eats", []clients.Record{plain("a"), plain("b")}, []*kerr.Error{kerr.NotEnoughReplicas, kerr.InvalidRecord}, nil},
		{"garbage", []clients.Record{plain("a"), plain("b")}, []*kerr.Error{kerr.NotEnoughReplicas, kerr.InvalidRecord}, nil},
	} {
		name := topic(t, tt.module+".t", 1)
		from := len(g.Log())
		start := time.Now()
		resp := dial(t, addr).ask(produceRequest(9, -1, name, 0, batch(tt.records...))).(*kmsg.ProduceResponse)
		p := resp.Topics[0].Partitions[0]
		t.Logf("%s: %s, after %v", tt.module, outcome(p), time.Since(start).Round(time.Millisecond))
		if !slices.Contains(tt.want, kerr.TypedErrorForCode(p.ErrorCode)) {
			t.Errorf("%s: %s, want one of %v", tt.module, outcome(p), tt.want)
		}
		if p.ErrorMessage == nil || *p.ErrorMessage == "" {
			t.Errorf("%s: no error message", tt.module)
		}
		if tt.indexes != nil {
			var got []int32
			for _, e := range p.ErrorRecords {
				got = append(got, e.RelativeOffset)
			}
			if !slices.Equal(got, tt.indexes) {
				t.Errorf("%s: record errors %v, want %v", tt.module, got, tt.indexes)
			}
		}
		if stored := readAll(t, name, false); len(stored) > 0 {
			t.Errorf("%s: stored\n%s", tt.module, clients.List(stored))
		}
		logs(t, g, from, tt.module)
	}
	// A record that does not trap passes the module that trapped.
	resp := dial(t, addr).ask(produceRequest(9, -1, "traps.t", 0, batch(plain("fine")))).(*kmsg.ProduceResponse)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("traps: a good record: %s", outcome(p))
	}
}

// TestBadConfiguration starts gateways that must not start: exit code and error
// say what is wrong and where.
func TestBadConfiguration(t *testing.T) {
	testenv.NeedKafka(t)
	binary := testenv.Binary(t)
	stage := func(plugin string) string {
		return "pipelines:\n  - name: p\n    topics: [t]\n    on: produce\n    stages:\n      - {plugin: " + plugin + "}\n"
	}
	document := func(text string) (string, map[string]string) {
		return "documents:\n  - {name: d, file: d.yaml}\npipelines:\n  - name: p\n    topics: [t]\n    on: produce\n    stages:\n      - {plugin: validate, config: {document: d}}\n",
			map[string]string{"d.yaml": text}
	}
	asyncapi := func(payload string) string {
		return "asyncapi: 3.0.0\ninfo: {title: t, version: '1'}\nchannels:\n  t:\n    address: t\n    messages:\n      m: {payload: " + payload + "}\n"
	}
	missingRef, missingFiles := document(asyncapi("{$ref: '#/components/schemas/gone'}"))
	escaping, escapingFiles := document(asyncapi("{$ref: '../../../../../../etc/passwd'}"))
	remote, remoteFiles := document(asyncapi("{$ref: 'http://127.0.0.1:1/schema.json'}"))
	notAsync, notAsyncFiles := document("hello: world\n")
	badSchema, badSchemaFiles := document(asyncapi("{type: 7}"))
	for _, tt := range []struct {
		name      string
		pipelines string
		files     map[string]string
		want      []string
	}{
		{"unknown key", "pipelinez: []\n", nil, []string{"sluice.yaml:", "pipelinez"}},
		{"not YAML", "pipelines: [\n", nil, []string{"sluice.yaml:"}},
		{"unknown plugin", stage("nosuch"), nil, []string{"sluice.yaml:", "nosuch"}},
		{"no such module", stage("./gone.wasm"), nil, []string{"gone.wasm"}},
		{"not Wasm", stage("./text.wasm"), map[string]string{"text.wasm": "hello"}, []string{"text.wasm"}},
		{"no ABI marker", stage(wasm(t, "nomarker")), nil, []string{"sluice.yaml:", "nomarker", "sluice_abi_v1"}},
		{"unknown import", stage(wasm(t, "imports")), nil, []string{"sluice.yaml:", "imports", "launch_missiles"}},
		{"missing $ref", missingRef, missingFiles, []string{"d.yaml", "components/schemas/gone"}},
		{"escaping $ref", escaping, escapingFiles, []string{"d.yaml", "passwd"}},
		{"remote $ref", remote, remoteFiles, []string{"d.yaml", "http://127.0.0.1:1/schema.json"}},
		{"not AsyncAPI", notAsync, notAsyncFiles, []string{"d.yaml", "asyncapi"}},
		{"bad schema", badSchema, badSchemaFiles, []string{"d.yaml"}},
		{"plugin's configuration", strings.Replace(stage("validate"), "validate}", "validate, config: {documemt: d}}", 1), nil, []string{"sluice.yaml:", "documemt"}},
		{"drop without key", "markers: {}\n" + scene.Pipelines, scene.Files, []string{"markers.key", "urandom"}},
		{"two problems", "pipelinez: []\nmarkerz: {}\n", nil, []string{"pipelinez", "markerz"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := gateway.New(gateway.Config{Binary: binary, Dir: t.TempDir(), Bootstrap: strings.Split(kafka.Bootstrap(), ","), MaxNode: 1,
				Pipelines: tt.pipelines, Files: tt.files})
			if err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"run", "-c", g.Path}, {"config", "check", "-c", g.Path}} {
				p, err := child.Start(child.Spec{Name: "sluice " + args[0], Args: append([]string{binary}, args...), Log: filepath.Join(t.TempDir(), "log")})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				err = p.Wait(ctx)
				cancel()
				if ctx.Err() != nil && p.Running() {
					p.Kill()
					t.Fatalf("sluice %v runs with this configuration\n%s", args, p.Tail(20))
				}
				if err == nil {
					t.Errorf("sluice %v: exit code 0, want an error\n%s", args, p.Tail(20))
				}
				out := p.Tail(100)
				for _, want := range tt.want {
					if !strings.Contains(out, want) {
						t.Errorf("sluice %v does not say %q:\n%s", args, want, out)
					}
				}
				if strings.Contains(out, "goroutine ") {
					t.Errorf("sluice %v panics:\n%s", args, out)
				}
			}
		})
	}
}

// TestBadReload breaks the configuration of a running gateway: the old
// pipelines stay, and the log says why.
func TestBadReload(t *testing.T) {
	g := ownGateway(t, gateway.Config{Pipelines: scene.Pipelines, Files: scene.Files})
	name := topic(t, "annotate.bad-reload", 1)
	stop := bystander(t, g.Bootstrap, name)
	from := len(g.Log())
	if err := g.Configure(scene.Pipelines + "pipelinez: []\n"); err != nil {
		t.Fatal(err)
	}
	logs(t, g, from, "pipelinez")
	stop()
	e := &scene.Expect{Topic: name}
	group := clients.Group{Records: []clients.Record{scene.Invalid("i")}}
	results, err := (&clients.Franz{}).Produce(t.Context(), clients.Produce{Bootstrap: g.Bootstrap, Topic: name, Groups: []clients.Group{group}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(clients.Plain, group, results[0], true); err != nil {
		t.Error(err)
	}
	stored := readAll(t, name, false)
	last := stored[len(stored)-1]
	if _, ok := last.Header(scene.ErrorHeader); !ok {
		t.Errorf("the old pipeline does not work any more: stored %v", last)
	}
}

// TestUpstreamDownAtStart starts the gateway before its cluster: it says that it
// is not ready, refuses clients without crashing, and works once there is a cluster.
func TestUpstreamDownAtStart(t *testing.T) {
	testenv.NeedKafka(t)
	late := testenv.Ports(1)
	bootstrap := net.JoinHostPort("127.0.0.1", fmt.Sprint(late))
	g, err := gateway.New(gateway.Config{Binary: testenv.Binary(t), Dir: t.TempDir(), Bootstrap: []string{bootstrap}, MaxNode: 1,
		Pipelines: scene.Pipelines, Files: scene.Files})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Kill()
	if err := g.Launch(); err != nil {
		t.Fatal(err)
	}
	var notReady error
	for range 100 {
		if notReady = g.Ready(t.Context()); notReady != nil && strings.Contains(notReady.Error(), "main") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if notReady == nil || !strings.Contains(notReady.Error(), "503") || !strings.Contains(notReady.Error(), "main") {
		t.Errorf("/readyz says %v, want 503 and the name of the cluster that is not there", notReady)
	}
	t.Logf("/readyz: %v", notReady)
	if c, err := net.Dial("tcp", g.Bootstrap); err == nil {
		c.Write(frame(18, 0, 1))
		if answer, err := (&conn{t: t, Conn: c}).closed(); err != nil || len(answer) > 0 {
			t.Errorf("a client gets %q (%v), want its connection closed", answer, err)
		}
		c.Close()
	}
	// The cluster appears behind its bootstrap address.
	s := &spy{addr: bootstrap, target: kafka.Addr(1), peers: map[string]int{}}
	s.up(t)
	defer s.down()
	if err := g.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	bystander(t, g.Bootstrap, topic(t, "annotate.late", 1))()
}
