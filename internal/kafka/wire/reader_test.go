package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testMax = 16 << 20

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

var testCert = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func tlsPair(t testing.TB) (a, b net.Conn) {
	a, b = tcpPair(t)
	return tls.Client(a, &tls.Config{InsecureSkipVerify: true}),
		tls.Server(b, &tls.Config{Certificates: []tls.Certificate{testCert()}})
}

func pipePair(t testing.TB) (a, b net.Conn) {
	a, b = net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

var pairs = []struct {
	name string
	make func(testing.TB) (a, b net.Conn)
}{{"tcp", tcpPair}, {"tls", tlsPair}, {"pipe", pipePair}}

// frame returns a frame with a body of n bytes that are its own.
func frame(n int) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+n), uint32(n))
	r := mrand.New(mrand.NewPCG(uint64(n), 7))
	for len(b) < 4+n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:4+n]
}

// TestForward sends frames of sizes around every boundary through a relay and
// compares the bytes, in several ways of cutting them and of looking at them.
func TestForward(t *testing.T) {
	sizes := []int{0, 1, 3, 4, 5, 100, 511, 512, 513, 1000, 1000, 1000, 40000,
		MaxPeek - 1, MaxPeek, MaxPeek + 1, bufferSize, bufferSize + 1, bufferSize + spliceTestMin,
		2 * bufferSize, 300000, 7, 1 << 20, 3<<20 + 17, 8}
	var sent []byte
	for _, n := range sizes {
		sent = append(sent, frame(n)...)
	}
	for _, pair := range pairs {
		for _, cut := range []int{1 << 30, 100000, 65536, 4097} {
			for _, mode := range []string{"forward", "peek", "header", "body", "mixed"} {
				t.Run(fmt.Sprintf("%s/%d/%s", pair.name, cut, mode), func(t *testing.T) {
					client, in := pair.make(t)
					out, broker := pair.make(t)
					go writeCut(client, sent, cut)
					go relay(in, out, mode)
					got := make([]byte, len(sent))
					if _, err := io.ReadFull(broker, got); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, sent) {
						t.Error("bytes differ")
					}
				})
			}
		}
	}
}

const spliceTestMin = 32 << 10

func writeCut(c net.Conn, b []byte, cut int) {
	for len(b) > 0 {
		n := min(cut, len(b))
		c.Write(b[:n])
		b = b[n:]
	}
}

// relay forwards frames until an error, and closes out.
func relay(in, out net.Conn, mode string) (err error) {
	defer out.Close()
	r, w := NewReader(in, testMax), NewWriter(out)
	var body []byte
	for i := 0; ; i++ {
		size, err := r.Next()
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		m := mode
		if m == "mixed" {
			m = []string{"forward", "body", "peek"}[i%3]
		}
		switch m {
		case "peek":
			b, err := r.Peek(100)
			if err != nil {
				return err
			}
			if want := frame(int(size))[4:][:min(100, size)]; !bytes.Equal(b, want) {
				panic("Peek shows other bytes")
			}
		case "header":
			r.Header()
		case "body":
			if body, err = r.Body(body); err != nil {
				return err
			}
			half := len(body) / 2
			if err := w.WriteFrame(body[:half], nil, body[half:]); err != nil {
				return err
			}
			if !r.Ready() {
				if err := w.Flush(); err != nil {
					return err
				}
			}
			continue
		}
		if err := r.Forward(w); err != nil {
			return err
		}
	}
}

// TestSlowDestination forwards large frames to a peer that reads with pauses,
// so that pipes are drained into memory.
func TestSlowDestination(t *testing.T) {
	client, in := tcpPair(t)
	out, broker := tcpPair(t)
	out.(*net.TCPConn).SetWriteBuffer(64 << 10)
	broker.(*net.TCPConn).SetReadBuffer(64 << 10)
	sent := bytes.Repeat(frame(5<<20), 4)
	go writeCut(client, sent, len(sent))
	go relay(in, out, "forward")
	got := make([]byte, 0, len(sent))
	for len(got) < len(sent) {
		n, err := broker.Read(got[len(got):min(cap(got), len(got)+200000)])
		if err != nil {
			t.Fatal(err)
		}
		got = got[:len(got)+n]
		if len(got)%7 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if !bytes.Equal(got, sent) {
		t.Error("bytes differ")
	}
}

// TestPipesShort has more connections than pipes, some of which are stuck.
func TestPipesShort(t *testing.T) {
	SetMaxPipes(2)
	defer SetMaxPipes(DefaultMaxPipes)
	for range 4 { // peers that never read
		client, in := tcpPair(t)
		out, _ := tcpPair(t)
		go client.Write(frame(15 << 20))
		go relay(in, out, "forward")
	}
	sent := bytes.Repeat(frame(1<<20), 5)
	var wg sync.WaitGroup
	for range 6 {
		client, in := tcpPair(t)
		out, broker := tcpPair(t)
		go client.Write(sent)
		go relay(in, out, "forward")
		wg.Go(func() {
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(broker, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("bytes differ, error %v", err)
			}
		})
	}
	wg.Wait()
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	if pipes.open > 2 {
		t.Errorf("%d pipes open, want at most 2", pipes.open)
	}
}

func TestCounters(t *testing.T) {
	client, in := tcpPair(t)
	out, broker := tcpPair(t)
	go client.Write(frame(4 << 20))
	r, w := NewReader(in, testMax), NewWriter(out)
	go io.Copy(io.Discard, broker)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if err := r.Forward(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := w.Copied() + w.Spliced(); got != 4<<20+4 {
		t.Errorf("copied and spliced %d bytes, want %d", got, 4<<20+4)
	}
	if got := r.BytesRead(); got != 4<<20+4 {
		t.Errorf("read %d bytes, want %d", got, 4<<20+4)
	}
	if runtime.GOOS == "linux" && w.Spliced() < 2<<20 {
		t.Errorf("spliced %d bytes of a frame of 4 MiB", w.Spliced())
	}
}

func TestNextErrors(t *testing.T) {
	size := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	tests := []struct {
		name, sent string
		want       error
		text       string
	}{
		{"nothing", "", io.EOF, ""},
		{"half a size", "\x00\x00", io.ErrUnexpectedEOF, ""},
		{"at the limit", size(testMax), io.ErrUnexpectedEOF, ""},
		{"above the limit", size(testMax + 1), ErrFrameSize, "16777217"},
		{"largest", size(1<<31 - 1), ErrFrameSize, "limit"},
		{"negative", size(1<<32 - 1), ErrFrameSize, "-1"},
		{"most negative", size(1 << 31), ErrFrameSize, ""},
		{"TLS 1.0 hello", "\x16\x03\x01\x02\x00\x01\x00\x01", ErrTLS, "security.protocol"},
		{"TLS 1.2 hello", "\x16\x03\x03\x00\xf0", ErrTLS, ""},
		{"TLS alert", "\x15\x03\x03\x00\x02\x02\x28", ErrTLS, "alert"},
		{"GET", "GET / HTTP/1.1\r\n", ErrHTTP, `"GET "`},
		{"POST", "POST /x HTTP/1.1\r\n", ErrHTTP, ""},
		{"HTTP/2", "PRI * HTTP/2.0", ErrHTTP, ""},
	}
	for _, pair := range pairs[:1] {
		for _, test := range tests {
			t.Run(pair.name+"/"+test.name, func(t *testing.T) {
				a, b := pair.make(t)
				io.WriteString(a, test.sent)
				a.Close()
				r := NewReader(b, testMax)
				_, err := r.Next()
				if err == nil {
					_, err = r.Peek(1)
				}
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("error %v, want %v with %q", err, test.want, test.text)
				}
			})
		}
	}
}

// TestSniffOnce has a second frame whose size looks like HTTP's beginning.
func TestSniffOnce(t *testing.T) {
	a, b := tcpPair(t)
	a.Write(append(frame(3), "GET / HTTP/1.1"...))
	r := NewReader(b, testMax)
	r.Next()
	if err := r.Skip(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, ErrFrameSize) || errors.Is(err, ErrHTTP) {
		t.Errorf("error %v, want ErrFrameSize alone", err)
	}
}

// TestInterrupted breaks what a Reader waits for, everywhere it may wait.
func TestInterrupted(t *testing.T) {
	large := frame(8 << 20)
	waits := []struct {
		name string
		sent []byte
		do   func(r *Reader, w *Writer) error
	}{
		{"next", nil, func(r *Reader, w *Writer) error { return nil }},
		{"next cut", large[:3], func(r *Reader, w *Writer) error { return nil }},
		{"peek", large[:10], func(r *Reader, w *Writer) error { _, err := r.Peek(100); return err }},
		{"header", large[:9], func(r *Reader, w *Writer) error { _, err := r.Header(); return err }},
		{"forward", large[:5<<20], func(r *Reader, w *Writer) error { return r.Forward(w) }},
		{"body", large[:5<<20], func(r *Reader, w *Writer) error { _, err := r.Body(nil); return err }},
		{"skip", large[:5<<20], func(r *Reader, w *Writer) error { return r.Skip() }},
	}
	breaks := []struct {
		name string
		do   func(c net.Conn)
		want error
	}{
		{"close", func(c net.Conn) { c.Close() }, net.ErrClosed},
		{"deadline", func(c net.Conn) { c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	}
	for _, wait := range waits {
		for _, brk := range breaks {
			t.Run(wait.name+"/"+brk.name, func(t *testing.T) {
				client, in := tcpPair(t)
				out, broker := tcpPair(t)
				go io.Copy(io.Discard, broker)
				go client.Write(wait.sent)
				r, w := NewReader(in, testMax), NewWriter(out)
				done := make(chan error)
				go func() {
					var err error
					for err == nil {
						if _, err = r.Next(); err == nil {
							err = wait.do(r, w)
						}
					}
					r.Ready()
					done <- err
				}()
				time.Sleep(15 * time.Millisecond)
				brk.do(in)
				if err := <-done; !errors.Is(err, brk.want) {
					t.Errorf("error %v, want %v", err, brk.want)
				}
			})
		}
	}
}

// TestInterruptedWrite closes the destination while it takes nothing.
func TestInterruptedWrite(t *testing.T) {
	client, in := tcpPair(t)
	out, _ := tcpPair(t)
	go client.Write(frame(15 << 20))
	done := make(chan error)
	go func() { done <- relay(in, out, "forward") }()
	time.Sleep(20 * time.Millisecond)
	out.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want %v", err, net.ErrClosed)
	}
}

// TestDeadlineKeepsBytes continues a Reader after a deadline.
func TestDeadlineKeepsBytes(t *testing.T) {
	for _, n := range []int{2, 10, 600} {
		a, b := tcpPair(t)
		sent := frame(1000)
		a.Write(sent[:n])
		r := NewReader(b, testMax)
		b.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		var err error
		for err == nil {
			if _, err = r.Next(); err == nil {
				_, err = r.Peek(1000)
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		b.SetReadDeadline(time.Time{})
		a.Write(sent[n:])
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		got, err := r.Body(nil)
		if err != nil || !bytes.Equal(got, sent[4:]) {
			t.Errorf("after %d bytes and a deadline: error %v, bytes equal: %t", n, err, bytes.Equal(got, sent[4:]))
		}
	}
}

// TestPendingLeavesBeforeWaiting forwards a frame and waits for the next one
// without a flush of its own.
func TestPendingLeavesBeforeWaiting(t *testing.T) {
	client, in := tcpPair(t)
	out, broker := tcpPair(t)
	go relay(in, out, "forward")
	for i := range 5 {
		sent := frame(10 + i)
		client.Write(sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(broker, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReady(t *testing.T) {
	a, b := tcpPair(t)
	a.Write(append(append(frame(5), frame(6)...), 0, 0, 0, 9, 1))
	time.Sleep(10 * time.Millisecond)
	r := NewReader(b, testMax)
	var got []bool
	for i := range 3 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Ready())
		if i < 2 {
			r.Skip()
		}
		got = append(got, r.Ready())
	}
	if diff := cmp.Diff([]bool{true, true, true, false, false, false}, got); diff != "" {
		t.Error(diff)
	}
}

// TestIdleMemory says what a connection costs on which nothing happens.
func TestIdleMemory(t *testing.T) {
	const n = 500
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	var ins, outs []net.Conn
	for range n {
		client, in := tcpPair(t)
		out, broker := tcpPair(t)
		go io.Copy(io.Discard, broker)
		go client.Write(append(append(frame(100), frame(200000)...), 0, 0))
		ins, outs = append(ins, in), append(outs, out)
	}
	time.Sleep(50 * time.Millisecond)
	before := measure()
	var relays []*Reader
	for i := range ins {
		up, down := NewReader(ins[i], testMax), NewReader(outs[i], testMax)
		go relayOf(up, NewWriter(outs[i]))
		go relayOf(down, NewWriter(ins[i]))
		relays = append(relays, up, down)
	}
	for relays[len(relays)-2].BytesRead() < 200110 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	each := (int64(measure()) - int64(before)) / n
	t.Logf("an idle connection, both directions, costs %d bytes", each)
	if each > 40<<10 { // the race detector doubles it
		t.Errorf("want less than 40 KiB: buffers are held")
	}
	runtime.KeepAlive(relays)
}

func relayOf(r *Reader, w *Writer) {
	for {
		if _, err := r.Next(); err != nil {
			return
		}
		if err := r.Forward(w); err != nil {
			return
		}
	}
}

func TestMisuse(t *testing.T) {
	_, b := tcpPair(t)
	r := NewReader(b, testMax)
	if _, err := r.Peek(1); !errors.Is(err, errNoFrame) {
		t.Errorf("Peek without Next: %v", err)
	}
	if err := r.Forward(NewWriter(b)); !errors.Is(err, errNoFrame) {
		t.Errorf("Forward without Next: %v", err)
	}
}

// TestAllocations: a relay of small frames allocates nothing.
func TestAllocations(t *testing.T) {
	client, in := tcpPair(t)
	out, broker := tcpPair(t)
	go io.Copy(io.Discard, broker)
	id := "client"
	msg := AppendRequestHeader(make([]byte, 4), RequestHeader{Key: 0, Version: 9, ClientID: &id})
	msg = append(msg, make([]byte, 1000)...)
	binary.BigEndian.PutUint32(msg, uint32(len(msg)-4))
	r, w := NewReader(in, testMax), NewWriter(out)
	step := func() {
		client.Write(msg)
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if h, err := r.Header(); err != nil || *h.ClientID != id {
			t.Fatal(h, err)
		}
		if err := r.Forward(w); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if n := testing.AllocsPerRun(200, step); n > 0 {
		t.Errorf("%v allocations per frame, want none", n)
	}
}
