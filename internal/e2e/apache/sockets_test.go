package apache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// spy stands at the address that a broker advertises. Before it forwards a
// connection it looks up which process made it. On one host an address that
// the gateway forgot to rewrite works as well as any other: only this shows it.
type spy struct {
	addr   string
	target string

	mu       sync.Mutex
	listener net.Listener
	peers    map[string]int // connections by "pid name"
}

func newSpy(t *testing.T) *spy {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{addr: l.Addr().String(), peers: map[string]int{}}
	t.Cleanup(s.down)
	s.serve(l)
	return s
}

// down makes the spy refuse connections, as the host of a broker that is not
// there does.
func (s *spy) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.Close()
}

// up ends down.
func (s *spy) up(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp4", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.serve(l)
}

func (s *spy) serve(l net.Listener) {
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	go s.run(l)
}

func (s *spy) run(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go s.forward(c.(*net.TCPConn))
	}
}

func (s *spy) forward(c *net.TCPConn) {
	defer c.Close()
	peer := ownerOf(c.RemoteAddr().(*net.TCPAddr).Port, c.LocalAddr().(*net.TCPAddr).Port)
	s.mu.Lock()
	s.peers[peer]++
	s.mu.Unlock()
	up, err := net.Dial("tcp", s.target)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		io.Copy(up, c)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, up)
}

// ownerOf returns "pid command" of the process with a connection from one local
// port to another.
func ownerOf(from, to int) string {
	inode := ""
	want := [2]string{fmt.Sprintf(":%04X", from), fmt.Sprintf(":%04X", to)}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(file)
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], want[0]) && strings.HasSuffix(f[2], want[1]) {
				inode = f[9]
			}
		}
	}
	if inode == "" || inode == "0" {
		return "0 gone"
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if link, _ := os.Readlink(fd); link == "socket:["+inode+"]" {
			pid := strings.Split(fd, "/")[2]
			comm, _ := os.ReadFile("/proc/" + pid + "/comm")
			return pid + " " + strings.TrimSpace(string(comm))
		}
	}
	return "0 unknown"
}

// strangers are the connections of all but one process.
func (s *spy) strangers(pid int) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for peer, n := range s.peers {
		if !strings.HasPrefix(peer, strconv.Itoa(pid)+" ") && !strings.HasPrefix(peer, "0 gone") {
			out = append(out, fmt.Sprintf("%d connections of process %s", n, peer))
		}
	}
	return out
}

func (s *spy) count(pid int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for peer, k := range s.peers {
		if strings.HasPrefix(peer, strconv.Itoa(pid)+" ") {
			n += k
		}
	}
	return n
}

// TestNoClientReachesABroker runs all clients and the administrators' tools
// before a cluster of three, kills a leader, moves leaders, and asserts
// that only the gateway ever connected to a broker. What was acknowledged
// meanwhile is all there.
func TestNoClientReachesABroker(t *testing.T) {
	cs := allClients(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	spies := map[int]*spy{}
	for node := 1; node <= 3; node++ {
		spies[node] = newSpy(t)
	}
	cluster, err := apachekafka.Start(ctx, apachekafka.Config{Brokers: 3, Advertise: func(node int, addr string) string {
		spies[node].target = addr
		return spies[node].addr
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	g := ownGateway(t, gateway.Config{
		Bootstrap: []string{spies[1].addr, spies[2].addr, spies[3].addr},
		MaxNode:   3, Pipelines: scene.Pipelines, Files: scene.Files,
	})

	gwPort, _ := strconv.Atoi(g.Bootstrap[strings.LastIndexByte(g.Bootstrap, ':')+1:])
	var dialedMu sync.Mutex
	dialed := map[string]bool{}
	f := &clients.Franz{Dialed: func(addr string) {
		dialedMu.Lock()
		defer dialedMu.Unlock()
		dialed[addr] = true
	}}
	admin, err := kgo.NewClient(kgo.SeedBrokers(g.Bootstrap), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	adm := kadm.NewClient(admin)
	if _, err := adm.CreateTopics(ctx, 3, 3, nil, "annotate.sockets", "pass.sockets", "drop.sockets", "pass.stays"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopics(ctx, 1, 3, nil, scene.DeadLetters); err != nil {
		t.Fatal(err)
	}

	expects := map[string]*scene.Expect{}
	round := func(phase string, cs ...clients.Client) {
		t.Helper()
		for _, name := range []string{"annotate.sockets", "pass.sockets", "drop.sockets"} {
			e := expects[name]
			if e == nil {
				e = &scene.Expect{Topic: name}
				expects[name] = e
			}
			for _, c := range cs {
				var group clients.Group
				for p := range int32(3) {
					valid, bad := scene.Valid(fmt.Sprintf("%s-%s-%d", phase, c.Name(), p)), scene.Invalid(fmt.Sprintf("%s-%s-%d-bad", phase, c.Name(), p))
					if valid.Partition = p; c.Name() == "console" {
						valid.Partition = 0
					}
					bad.Partition = valid.Partition
					group.Records = append(group.Records, valid, bad)
				}
				results, err := c.Produce(ctx, clients.Produce{Bootstrap: g.Bootstrap, Topic: name, Mode: clients.Idempotent, Groups: []clients.Group{group}})
				if err != nil {
					t.Errorf("%s: %s produces to %s: %v", phase, c.Name(), name, err)
					continue
				}
				if err := e.Add(clients.Idempotent, group, results[0], c.Name() != "console"); err != nil {
					t.Errorf("%s: %s: %v", phase, c.Name(), err)
				}
			}
		}
	}
	consume := func(phase string, cs ...clients.Client) {
		t.Helper()
		for name, e := range expects {
			for _, c := range cs {
				seen, err := c.Consume(ctx, clients.Consume{Bootstrap: g.Bootstrap, Topic: name, Want: e.Visible()})
				if err != nil {
					t.Errorf("%s: %s consumes %s: %v", phase, c.Name(), name, err)
				} else if len(seen) != e.Visible() {
					t.Errorf("%s: %s consumes %d records of %s, want %d", phase, c.Name(), len(seen), name, e.Visible())
				}
			}
		}
	}
	// The console tools take seconds each: once is enough.
	quick := append([]clients.Client{f}, cs[1:4]...)
	round("start", append(quick, cs[4])...)
	consume("start", quick...)
	adminTools(t, ctx, g.Bootstrap, cluster.LibDir())

	// A client that stays connected while leaders move is told new addresses in
	// the answers to Produce and Fetch themselves.
	stays, err := kgo.NewClient(kgo.SeedBrokers(g.Bootstrap), kgo.MetadataMaxAge(time.Hour), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumeTopics("pass.stays", "drop.sockets"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			f.Dialed(addr)
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	produceStaying := func(phase string) {
		t.Helper()
		for p := range int32(3) {
			r := &kgo.Record{Topic: "pass.stays", Partition: p, Value: []byte("stays " + phase)}
			if err := stays.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Errorf("%s: %v", phase, err)
			}
		}
		poll, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		stays.PollFetches(poll)
		stop()
	}
	produceStaying("start")

	leaders := func() map[int32]int32 {
		t.Helper()
		// A broker that is away shows as a connection that is closed at once,
		// which franz-go passes on to whoever asks for metadata.
		for {
			m := map[int32]int32{}
			topics, err := adm.ListTopics(ctx, "pass.stays")
			for p, d := range topics["pass.stays"].Partitions {
				m[p] = d.Leader
			}
			if err == nil && len(m) == 3 {
				return m
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	before := leaders()
	victim := int(before[0])
	spies[victim].down()
	if err := cluster.Shutdown(victim); err != nil {
		t.Fatal(err)
	}
	produceStaying("moved")
	round("moved", quick...)
	if after := leaders(); after[0] == before[0] {
		t.Errorf("partition 0 is still led by broker %d, which was shut down", before[0])
	}
	if err := cluster.Restart(ctx, victim); err != nil {
		t.Fatal(err)
	}
	spies[victim].up(t)
	victim = victim%3 + 1
	spies[victim].down()
	cluster.Kill(victim)
	produceStaying("killed")
	round("killed", quick...)
	if err := cluster.Restart(ctx, victim); err != nil {
		t.Fatal(err)
	}
	spies[victim].up(t)
	for err := elect(ctx, admin); err != nil; err = elect(ctx, admin) {
		if ctx.Err() != nil {
			t.Fatalf("elect preferred leaders: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	produceStaying("back")
	round("back", quick...)
	consume("back", quick...)

	for node, s := range spies {
		for _, stranger := range s.strangers(g.PID()) {
			t.Errorf("broker %d: %s (this test is process %d)", node, stranger, os.Getpid())
		}
		if s.count(g.PID()) == 0 {
			t.Errorf("broker %d: no connection of the gateway was seen: the spy saw %v", node, s.peers)
		}
	}
	for addr := range dialed {
		host, port, _ := net.SplitHostPort(addr)
		if n, _ := strconv.Atoi(port); host != "127.0.0.1" || n < gwPort || n > gwPort+4 {
			t.Errorf("franz-go dialed %s, which is none of the gateway's", addr)
		}
	}
	// Last, because this reads at the brokers and the spies see it.
	for name, e := range expects {
		stored, err := clients.ReadAll(ctx, cluster.Bootstrap(), name, true)
		if err != nil {
			t.Errorf("read %s at the brokers: %v", name, err)
			continue
		}
		report(t, "stored in "+name, e.Stored(stored), stored)
	}
}

// elect makes the preferred replicas leaders again.
func elect(ctx context.Context, cl *kgo.Client) error {
	req := kmsg.NewPtrElectLeadersRequest()
	req.TimeoutMillis = 10000
	_, err := req.RequestWith(ctx, cl)
	return err
}

// adminTools runs Apache Kafka's tools that ask for addresses in other ways.
func adminTools(t *testing.T, ctx context.Context, bootstrap, libs string) {
	t.Helper()
	for _, tool := range [][]string{
		{"org.apache.kafka.tools.BrokerApiVersionsCommand", "--bootstrap-server", bootstrap},
		{"org.apache.kafka.tools.ClusterTool", "list-endpoints", "--bootstrap-server", bootstrap},
		{"org.apache.kafka.tools.MetadataQuorumCommand", "--bootstrap-server", bootstrap, "describe", "--status"},
		{"org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", bootstrap, "--topic", "pass.sockets"},
		{"kafka.admin.ConfigCommand", "--bootstrap-server", bootstrap, "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all"},
	} {
		line := apachekafka.Java(libs, apachekafka.QuickJVM, nil, tool[0], tool[1:]...)
		out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", tool[0], err, out)
		}
		if i := bytes.Index(out, []byte("listeners=")); i >= 0 && bytes.Contains(out, []byte("CLIENT://")) {
			t.Errorf("%s shows the brokers' listeners:\n%.300s", tool[0], out[i:])
		}
	}
}

// TestSpy shows that the spy tells processes apart.
func TestSpy(t *testing.T) {
	s := newSpy(t)
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 100 {
		if s.count(os.Getpid()) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := s.strangers(1); len(got) != 1 {
		t.Errorf("the spy saw %v, want one connection of this process, %d", s.peers, os.Getpid())
	}
}
