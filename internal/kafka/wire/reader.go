package wire

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync/atomic"
)

// Reader goes through the frames that arrive on a connection. It is used by
// one goroutine at a time; closing the connection or setting a deadline on it
// from another one interrupts whatever it waits for. After an error the
// connection is of no more use, except that Next may be called again after a
// deadline was exceeded.
//
// Frames that were forwarded but not yet written stay in the Reader's buffer:
// from [Reader.Forward] until the Writer's Flush, the Writer belongs to the
// goroutine that uses the Reader. Next, Peek, Header, Body and Skip flush that
// Writer before they wait for the connection or need the room.
type Reader struct {
	c   net.Conn
	raw rawConn // direct access to the connection's descriptor, if there is
	max int32

	// buf[lo:hi] has arrived and is not consumed. buf is nil while nothing
	// is there. Views of what lies before lo may be pending in out.
	buf    *buffer
	lo, hi int
	want   int    // bytes that fill waits for
	stash  []byte // a few bytes, instead of a buffer, while waiting
	first  [prefixSize]byte
	out    *Writer // nil or the Writer that has views of buf

	size    int32 // of the current frame's body
	open    bool  // the current frame was not taken; lo is at its prefix
	large   bool  // the last frames were, and were spliced
	inside  bool  // between Next and the next Next, rather than between two frames
	started bool  // the first bytes of the connection have been looked at

	clientID *string // of the last request header
	read     atomic.Uint64
}

// NewReader returns a Reader of c, which nobody else may read from. A frame
// whose body is longer than maxFrame bytes is refused with [ErrFrameSize]. A
// *net.TCPConn or *net.UnixConn that is wrapped in another type works, but
// copies, and holds a buffer while a frame arrives.
func NewReader(c net.Conn, maxFrame int32) *Reader {
	r := &Reader{c: c, max: min(maxFrame, math.MaxInt32-prefixSize)}
	r.raw.init(c)
	return r
}

// Next waits for the next frame and returns the size of its body in bytes.
// The frame before it must have been taken by Forward, Body or Skip; if it was
// not, Next returns the same frame again. At the end of the connection, between two
// frames, the error is io.EOF; inside of a frame every method returns
// io.ErrUnexpectedEOF. Errors wrap [ErrFrameSize], [ErrTLS] or [ErrHTTP] where
// one of these applies.
func (r *Reader) Next() (size int32, err error) {
	if r.open {
		return r.size, nil
	}
	r.inside = false
	if err := r.fill(prefixSize); err != nil {
		if err == io.EOF && r.Buffered() == 0 {
			return 0, io.EOF
		}
		return 0, readError(err)
	}
	prefix := r.buf[r.lo : r.lo+prefixSize]
	if !r.started {
		if err := sniff(prefix); err != nil {
			return 0, readError(err)
		}
		r.started = true
	}
	if r.size, err = frameSize(prefix, r.max); err != nil {
		return 0, readError(err)
	}
	r.open, r.inside = true, true
	r.large = r.large && r.size >= largeFrame
	return r.size, nil
}

// Peek returns the first min(n, size) bytes of the current frame's body and
// consumes nothing; n is at most [MaxPeek]. The slice is valid until the next
// call of any method of the Reader.
func (r *Reader) Peek(n int) ([]byte, error) {
	if err := r.checkOpen(); err != nil {
		return nil, err
	}
	n = min(n, int(r.size), MaxPeek)
	if err := r.fill(prefixSize + n); err != nil {
		return nil, readError(err)
	}
	body := r.buf[r.lo+prefixSize:]
	return body[:n:n], nil
}

// Header parses the current frame's request header and consumes nothing. It
// allocates nothing as long as the connection's client id stays the same.
func (r *Reader) Header() (RequestHeader, error) {
	for {
		want := min(int(r.size), MaxPeek)
		have := min(want, r.Buffered()-prefixSize)
		b, err := r.Peek(max(have, min(want, 1)))
		if err != nil {
			return RequestHeader{}, err
		}
		h, id, err := parseRequestHeader(b)
		if err == nil {
			h.ClientID = r.intern(id)
			return h, nil
		}
		if len(b) >= want {
			return h, err
		}
		if _, err := r.Peek(len(b) + 1); err != nil {
			return h, err
		}
	}
}

// intern returns id as a string that is shared by the connection's requests.
func (r *Reader) intern(id []byte) *string {
	if id == nil {
		return nil
	}
	if r.clientID == nil || *r.clientID != string(id) {
		s := string(id)
		r.clientID = &s
	}
	return r.clientID
}

// Forward hands the current frame over to w, unread, its size included. A
// frame that is in the buffer as a whole stays pending (see [Writer.Flush]),
// so that all pending frames leave with one write. Otherwise Forward returns
// when w's connection has accepted the frame, except for an end that is
// pending.
func (r *Reader) Forward(w *Writer) error {
	if err := r.checkOpen(); err != nil {
		return err
	}
	total := prefixSize + int(r.size)
	// A write is not worth it for the first few bytes of a frame.
	if err := r.fill(min(total, minPart)); err != nil {
		return readError(err)
	}
	rest, err := r.lend(w, total)
	if err != nil {
		return err
	}
	r.open = false
	if rest >= spliceMin {
		if rest, err = r.splice(w, rest); err != nil {
			return err
		}
	}
	for rest > 0 {
		if err := r.fill(1); err != nil {
			return readError(err)
		}
		if rest, err = r.lend(w, rest); err != nil {
			return err
		}
	}
	return nil
}

// minPart is the least of a frame that is forwarded before the rest arrived,
// in bytes.
const minPart = 512

// lend makes at most n of the bytes in the buffer pending in w and returns how
// many of n were not there.
func (r *Reader) lend(w *Writer, n int) (rest int, err error) {
	if r.out != w {
		if err := r.flush(); err != nil {
			return 0, err
		}
		r.out = w
	}
	have := min(n, r.hi-r.lo)
	if have > 0 {
		if err := w.view(r.buf[r.lo : r.lo+have]); err != nil {
			return 0, err
		}
		r.lo += have
	}
	return n - have, nil
}

// firstBody is what Body allocates at once for a frame of any size.
const firstBody = 1 << 20

// Body appends the whole body of the current frame to dst[:0], which it grows
// as needed, and returns it; it belongs to the caller. The size of the
// frame, which Next returned, is what it allocates; memory beyond 1 MiB only
// once 1 MiB has arrived.
func (r *Reader) Body(dst []byte) ([]byte, error) {
	if err := r.checkOpen(); err != nil {
		return dst, err
	}
	size := int(r.size)
	r.open = false
	r.lo += prefixSize
	if dst = dst[:0]; cap(dst) < size {
		dst = make([]byte, 0, min(size, firstBody))
	}
	for len(dst) < size {
		if r.lo == r.hi && size-len(dst) <= bufferSize/2 {
			// The end, and with it what follows.
			if err := r.fill(1); err != nil {
				return dst, readError(err)
			}
		}
		if n := min(size-len(dst), r.hi-r.lo, cap(dst)-len(dst)); n > 0 {
			dst = append(dst, r.buf[r.lo:r.lo+n]...)
			r.lo += n
			continue
		}
		if len(dst) == cap(dst) {
			grown := make([]byte, len(dst), size)
			copy(grown, dst)
			dst = grown
		}
		if r.hi > r.lo || size-len(dst) <= bufferSize/2 {
			continue
		}
		n, err := r.readInto(dst[len(dst):min(size, cap(dst))])
		dst = dst[:len(dst)+n]
		if err != nil {
			return dst, readError(err)
		}
	}
	return dst, nil
}

// Skip discards the current frame.
func (r *Reader) Skip() error {
	if err := r.checkOpen(); err != nil {
		return err
	}
	r.open = false
	for rest := prefixSize + int(r.size); ; {
		n := min(rest, r.hi-r.lo)
		r.lo += n
		if rest -= n; rest == 0 {
			return nil
		}
		if err := r.fill(1); err != nil {
			return readError(err)
		}
	}
}

// Buffered returns the number of bytes that have arrived and were neither
// forwarded, returned by Body, nor skipped.
func (r *Reader) Buffered() int { return r.hi - r.lo }

// Ready says that the frame after the current one (or the current one, if it
// was not taken) has arrived as a whole, so that nothing would wait for it.
// Callers that write frames themselves flush when it is false.
func (r *Reader) Ready() bool {
	if r.Buffered() < prefixSize {
		return false
	}
	size, err := frameSize(r.buf[r.lo:r.lo+prefixSize], r.max)
	return err == nil && r.Buffered()-prefixSize >= int(size)
}

// BytesRead returns the number of bytes taken from the connection, copied or
// spliced. It may be called at any time from any goroutine.
func (r *Reader) BytesRead() uint64 { return r.read.Load() }

// After a frame of largeFrame bytes that was spliced the next one is expected to be as large, so
// that only its head is read, and the rest is left to splice.
const (
	largeFrame = 64 << 10
	headSize   = 1 << 10
)

// readTo returns where in the buffer a read ends.
func (r *Reader) readTo() int {
	if r.large {
		return min(max(r.want, r.hi+headSize), bufferSize)
	}
	return bufferSize
}

// fill reads until n bytes, at most a buffer, are there. The error is io.EOF
// if the connection ended, even if some bytes are there.
func (r *Reader) fill(n int) error {
	for r.hi-r.lo < n {
		if err := r.flush(); err != nil {
			return err
		}
		if r.lo > 0 {
			r.hi = copy(r.buf[:], r.buf[r.lo:r.hi])
			r.lo = 0
		}
		r.want = n
		if err := r.readMore(); err != nil {
			return err
		}
	}
	return nil
}

// readMore waits for bytes and appends them at hi; lo is 0.
func (r *Reader) readMore() error {
	var n int
	var err error
	switch {
	case r.raw.ok:
		n, err = r.raw.read(r)
	case r.hi == 0 && !r.inside:
		// Between frames, wait with a few bytes of room and fetch a buffer
		// for the rest.
		if r.buf != nil {
			putBuffer(r.buf)
			r.buf = nil
		}
		if n, err = r.c.Read(r.first[:]); n > 0 {
			r.buf = getBuffer()
			copy(r.buf[:], r.first[:n])
		}
	default:
		if r.buf == nil {
			r.buf = getBuffer()
		}
		n, err = r.c.Read(r.buf[r.hi:])
	}
	r.hi += n
	r.read.Add(uint64(n))
	if n > 0 {
		return nil // an error will come again
	}
	return err
}

// readInto reads at least one byte straight into p. Nothing is in the buffer.
func (r *Reader) readInto(p []byte) (n int, err error) {
	if err := r.flush(); err != nil {
		return 0, err
	}
	r.lo, r.hi = 0, 0
	if r.buf != nil {
		putBuffer(r.buf)
		r.buf = nil
	}
	if r.raw.ok {
		n, err = r.raw.readInto(p)
	} else {
		n, err = r.c.Read(p)
	}
	r.read.Add(uint64(n))
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// flush writes what is pending of the buffer.
func (r *Reader) flush() error {
	if r.out == nil {
		return nil
	}
	w := r.out
	r.out = nil
	return w.Flush()
}

// errNoFrame is a misuse of a Reader.
var errNoFrame = errors.New("no current frame: call Next first")

func (r *Reader) checkOpen() error {
	if !r.open {
		return readError(errNoFrame)
	}
	return nil
}

// readError names the operation. The end of a connection is unexpected here.
func readError(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read frame: %w", err)
}
