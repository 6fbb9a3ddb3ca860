package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"sync/atomic"
)

// Writer writes frames to a connection. It is used by one goroutine at a time;
// closing the connection or setting a deadline on it from another one
// interrupts a write. Its first error is final: all later calls return it.
type Writer struct {
	c      net.Conn
	raw    rawConn
	vector bool // c takes several slices with one system call

	pending [][]byte // in order; views of Readers' buffers and of own
	size    int      // of pending
	own     *buffer  // nil or the bytes of small frames
	used    int      // of own
	segs    [maxPending][]byte
	vec     net.Buffers

	chunk           int // see splice
	err             error
	copied, spliced atomic.Uint64
}

const (
	maxPending = 32       // slices
	smallFrame = 16 << 10 // bytes; smaller ones wait for company
)

// NewWriter returns a Writer to c.
func NewWriter(c net.Conn) *Writer {
	w := &Writer{c: c, chunk: maxChunk}
	w.raw.init(c)
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.vector = true
	}
	w.pending = w.segs[:0]
	return w
}

// WriteFrame writes one frame whose body is the concatenation of parts. Small
// frames may stay pending until [Writer.Flush]; parts are copied or written
// when it returns, and belong to the caller again. Frames that are pending
// leave first: order is the order of the calls of Forward and WriteFrame.
func (w *Writer) WriteFrame(parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > math.MaxInt32 {
		return fmt.Errorf("write frame: %w: %d bytes", ErrFrameSize, size)
	}
	if size > smallFrame {
		return w.writeLarge(size, parts)
	}
	if err := w.reserve(prefixSize + size); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(w.own[w.used:w.used], uint32(size))
	for _, p := range parts {
		b = append(b, p...)
	}
	w.used += len(b)
	return w.view(b[:len(b):len(b)])
}

// writeLarge writes what is pending and the parts without copying them.
func (w *Writer) writeLarge(size int, parts [][]byte) error {
	if err := w.reserve(prefixSize); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(w.own[w.used:w.used], uint32(size))
	w.used += len(b)
	if err := w.view(b); err != nil {
		return err
	}
	for _, p := range parts {
		if err := w.view(p); err != nil {
			return err
		}
	}
	return w.Flush()
}

// reserve makes room for n bytes in own.
func (w *Writer) reserve(n int) error {
	if w.used+n > bufferSize || len(w.pending) == maxPending {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if w.own == nil {
		w.own = getBuffer()
	}
	return w.err
}

// view makes b pending. It must not change until it is flushed.
func (w *Writer) view(b []byte) error {
	if w.err != nil || len(b) == 0 {
		return w.err
	}
	if w.join(b) {
		return nil
	}
	if len(w.pending) == maxPending {
		if err := w.write(); err != nil {
			return err
		}
	}
	w.pending = append(w.pending, b)
	w.size += len(b)
	return nil
}

// join extends the last pending slice by b, if b follows it in memory.
func (w *Writer) join(b []byte) bool {
	if len(w.pending) == 0 {
		return false
	}
	last := &w.pending[len(w.pending)-1]
	n := len(*last)
	if cap(*last)-n < len(b) {
		return false
	}
	longer := (*last)[:n+len(b)]
	if &longer[n] != &b[0] {
		return false
	}
	*last = longer
	w.size += len(b)
	return true
}

// Flush writes all that is pending, from WriteFrame and from the Forward
// of any Reader. A caller flushes before it waits for anything else than the
// Reader that it forwards from.
func (w *Writer) Flush() error {
	err := w.write()
	w.reset()
	return err
}

// reset forgets what is pending.
func (w *Writer) reset() {
	clear(w.segs[:])
	w.pending, w.size = w.segs[:0], 0
	if w.own != nil {
		putBuffer(w.own)
		w.own, w.used = nil, 0
	}
}

// write writes the pending slices; own stays.
func (w *Writer) write() error {
	if w.err != nil || len(w.pending) == 0 {
		return w.err
	}
	var n int64
	var err error
	switch {
	case len(w.pending) == 1:
		var k int
		k, err = w.c.Write(w.pending[0])
		n = int64(k)
	case w.vector:
		w.vec = w.pending
		n, err = w.vec.WriteTo(w.c)
		w.vec = nil
	default:
		n, err = w.gather()
	}
	w.copied.Add(uint64(n))
	clear(w.segs[:])
	w.pending, w.size = w.segs[:0], 0
	return w.fail(err)
}

// gather writes the pending slices through one buffer, for connections that
// would send a packet, or a TLS record, for each.
func (w *Writer) gather() (n int64, err error) {
	buf := getBuffer()
	defer putBuffer(buf)
	b := buf[:0]
	for _, p := range w.pending {
		for len(p) > 0 {
			k := min(len(p), bufferSize-len(b))
			b, p = append(b, p[:k]...), p[k:]
			if len(b) < bufferSize {
				continue
			}
			k, err = w.c.Write(b)
			n += int64(k)
			if err != nil {
				return n, err
			}
			b = b[:0]
		}
	}
	k, err := w.c.Write(b)
	return n + int64(k), err
}

// fail keeps the first error.
func (w *Writer) fail(err error) error {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write frame: %w", err)
	}
	return w.err
}

// Pending returns the number of bytes that Flush would write.
func (w *Writer) Pending() int { return w.size }

// Copied returns the number of bytes that were written from memory, and
// Spliced the number that never left the kernel. Both may be called at any
// time from any goroutine.
func (w *Writer) Copied() uint64 { return w.copied.Load() }

// Spliced is described at [Writer.Copied].
func (w *Writer) Spliced() uint64 { return w.spliced.Load() }
