//go:build unix

package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// relayEnv makes the test binary a relay: "kind upstream-address".
const relayEnv = "WIRE_TEST_RELAY"

// relayKinds are ways to move bytes between two connections. forward is the
// floor: it parses nothing and splices all.
var relayKinds = map[string]func(in, out net.Conn){
	"forward": func(in, out net.Conn) { io.Copy(out, in) },
	"relay":   func(in, out net.Conn) { relayOf(NewReader(in, testMax), NewWriter(out)) },
	"copy": func(in, out net.Conn) {
		SetMaxPipes(0)
		relayOf(NewReader(in, testMax), NewWriter(out))
	},
}

// TestRelayProcess is the relay that BenchmarkRelay measures, in a process of
// its own. It prints its address, and its CPU time in microseconds for each line
// that it is sent.
func TestRelayProcess(t *testing.T) {
	kind, upstream, ok := strings.Cut(os.Getenv(relayEnv), " ")
	if !ok {
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", upstream)
			if err != nil {
				return
			}
			go relayKinds[kind](in, out)
			go relayKinds[kind](out, in)
		}
	}()
	fmt.Println(ln.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var use syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
			t.Fatal(err)
		}
		fmt.Println((use.Utime.Nano() + use.Stime.Nano()) / 1000)
	}
	os.Exit(0)
}

// relayProcess is the parent's side of TestRelayProcess.
type relayProcess struct {
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

func startRelay(b *testing.B, kind, upstream string) *relayProcess {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestRelayProcess$")
	cmd.Env = append(os.Environ(), relayEnv+"="+kind+" "+upstream)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	p := &relayProcess{in: in, out: bufio.NewReader(out)}
	p.addr = p.line(b)
	return p
}

func (p *relayProcess) line(b *testing.B) string {
	line, err := p.out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func (p *relayProcess) cpu(b *testing.B) (microseconds int) {
	fmt.Fprintln(p.in)
	fmt.Sscan(p.line(b), &microseconds)
	return microseconds
}

// serveFrames answers every frame with one of the size that its first 4 bytes
// say.
func serveFrames(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			r, answer := bufio.NewReaderSize(c, 256<<10), make([]byte, 4+2<<20)
			var head [8]byte
			for {
				if _, err := io.ReadFull(r, head[:]); err != nil {
					return
				}
				r.Discard(int(binary.BigEndian.Uint32(head[:])) - 4)
				n := binary.BigEndian.Uint32(head[4:])
				binary.BigEndian.PutUint32(answer, n)
				if _, err := c.Write(answer[:4+n]); err != nil {
					return
				}
			}
		}()
	}
}

// exchange sends requests of size request and waits for their answers, with
// inFlight under way.
func exchange(b *testing.B, addr string, request, answer, count int) {
	const inFlight = 5
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	msg := make([]byte, 4+request)
	binary.BigEndian.PutUint32(msg, uint32(request))
	binary.BigEndian.PutUint32(msg[4:], uint32(answer))
	slots := make(chan struct{}, inFlight)
	go func() {
		for range count {
			slots <- struct{}{}
			if _, err := c.Write(msg); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 256<<10)
	for got, done := 0, 0; done < count; {
		n, err := c.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		for got += n; got >= 4+answer && done < count; got -= 4 + answer {
			done++
			<-slots
		}
	}
}

// BenchmarkRelay reports what a relay costs in CPU seconds per GB, in its own
// process, in rounds that interleave the kinds: run it with -benchtime 9x. The median
// of the rounds is reported.
func BenchmarkRelay(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go serveFrames(ln)
	kinds := []string{"forward", "relay", "copy"}
	for _, direction := range []string{"fetch", "produce"} {
		for _, size := range []int{1000, 10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", direction, size), func(b *testing.B) {
				procs := map[string]*relayProcess{}
				for _, kind := range kinds {
					procs[kind] = startRelay(b, kind, ln.Addr().String())
				}
				request, answer := 100, size
				if direction == "produce" {
					request, answer = size, 60
				}
				volume := max(min(size*20000, 1<<30), 64<<20)
				costs, rates := map[string][]float64{}, map[string][]float64{}
				for b.Loop() {
					for _, kind := range kinds {
						p := procs[kind]
						before, start := p.cpu(b), time.Now()
						exchange(b, p.addr, request, answer, volume/size)
						gb := float64(volume) / 1e9
						costs[kind] = append(costs[kind], float64(p.cpu(b)-before)/1e6/gb)
						rates[kind] = append(rates[kind], gb*1000/time.Since(start).Seconds())
					}
				}
				b.ReportMetric(0, "ns/op")
				for _, kind := range kinds {
					b.ReportMetric(median(costs[kind]), kind+"-s/GB")
					b.ReportMetric(median(rates[kind]), kind+"-MB/s")
				}
			})
		}
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
