package wire

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// spliceMin is the remainder of a frame, in bytes, from which it is spliced.
// BenchmarkRelay makes no difference between 16 and 64 KiB; below, copying costs
// less.
const spliceMin = 32 << 10

// rawConn gives access to a connection's descriptor. Waiting is the runtime
// poller's business, so that deadlines and Close work as ever.
type rawConn struct {
	ok bool
	rc syscall.RawConn

	// Reading. The functions are kept because a closure for each call would
	// have to be allocated.
	more func(fd uintptr) bool
	into func(fd uintptr) bool
	r    *Reader
	p    []byte
	n    int
	err  error

	s        *splicer // made when first needed
	noSplice bool     // the system refuses to
}

// init finds out whether c is a plain socket.
func (c *rawConn) init(conn net.Conn) {
	var err error
	switch conn := conn.(type) {
	case *net.TCPConn:
		c.rc, err = conn.SyscallConn()
	case *net.UnixConn:
		c.rc, err = conn.SyscallConn()
	default:
		return
	}
	c.ok = err == nil
}

// read waits for bytes and reads them to r.buf[r.hi:]. While it waits for the
// first ones, r holds no buffer.
func (c *rawConn) read(r *Reader) (int, error) {
	if c.more == nil {
		c.r, c.more = r, c.tryMore
	}
	n, err := c.result("read", c.rc.Read(c.more))
	if r.buf == nil && r.hi > 0 {
		r.restore() // interrupted while waiting
	}
	return n, err
}

func (c *rawConn) tryMore(fd uintptr) bool {
	r := c.r
	if r.buf == nil {
		r.restore()
	}
	if c.tryRead(fd, r.buf[r.hi:r.readTo()]) {
		return true
	}
	if r.hi <= stashSize {
		r.stash = append(r.stash[:0], r.buf[:r.hi]...)
		putBuffer(r.buf)
		r.buf = nil
	}
	return false
}

// restore fetches a buffer and puts into it what was set aside.
func (r *Reader) restore() {
	r.buf = getBuffer()
	copy(r.buf[:r.hi], r.stash)
}

// stashSize is the most that is copied aside to give the buffer back while
// waiting for the rest of a frame, in bytes.
const stashSize = 512

// readInto waits for bytes and reads them to p.
func (c *rawConn) readInto(p []byte) (int, error) {
	if c.into == nil {
		c.into = func(fd uintptr) bool { return c.tryRead(fd, c.p) }
	}
	c.p = p
	defer func() { c.p = nil }()
	return c.result("read", c.rc.Read(c.into))
}

// tryRead reads once; false means that nothing is there.
func (c *rawConn) tryRead(fd uintptr, p []byte) bool {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		c.n, c.err = max(n, 0), err
		return true
	}
}

// result returns what tryRead left. waited is the poller's error.
func (c *rawConn) result(op string, waited error) (int, error) {
	n, err := c.n, c.err
	c.n, c.err = 0, nil
	switch {
	case waited != nil:
		return 0, waited
	case err == nil || err == io.EOF:
		return n, err
	}
	return n, os.NewSyscallError(op, err)
}

// pipe is a pipe of the kernel.
type pipe struct{ r, w int }

func newPipe(size int) (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	p := &pipe{fds[0], fds[1]}
	got, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, size)
	if err == nil && got < size {
		err = fmt.Errorf("pipe has %d bytes", got)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// splicer moves bytes from one socket to another through a pipe. Its
// functions are run by the poller with a descriptor; they use the fields.
type splicer struct {
	in, out, room func(fd uintptr) bool

	w     *Writer
	pipe  *pipe
	want  int // bytes that in may take
	head  int // bytes in the pipe that came from memory, before the others
	taken int // bytes in the pipe that came from the socket
	held  int // bytes that are left in the pipe
	err   error
}

// maxHead is the most that is pending in memory before what is spliced and goes
// through the pipe with it, which saves a write of its own, in bytes.
const maxHead = 4 << 10

// splice moves rest bytes from the connection to w and returns how many it
// left to be copied. Nothing is in the buffer, except for what is pending.
//
// A pipe is taken when bytes are there and given back before anything waits:
// what the destination does not accept at once is read back into memory. Then
// the destination is slow; its chunk shrinks to what it accepted and its room is
// waited for, without a pipe, before bytes are taken for it.
func (r *Reader) splice(w *Writer, rest int) (int, error) {
	if !r.raw.ok || !w.raw.ok || r.raw.noSplice || w.raw.noSplice {
		return rest, nil
	}
	if r.raw.s == nil {
		r.raw.s = newSplicer()
	}
	s := r.raw.s
	s.w = w
	for rest > 0 {
		if w.size > maxHead || w.chunk < maxChunk {
			if err := r.flush(); err != nil {
				return rest, err
			}
		}
		if w.chunk < maxChunk {
			if err := w.raw.rc.Write(s.room); err != nil {
				return rest, w.fail(err)
			}
		}
		s.want = min(rest, w.chunk)
		if err := s.take(r); err != nil {
			return rest, err
		}
		if s.pipe == nil { // none is free, or this is no socket to splice from
			r.large = false
			return rest, nil
		}
		r.large = r.size >= largeFrame
		r.drop()
		rest -= s.taken
		r.read.Add(uint64(s.taken))
		if err := s.give(w); err != nil {
			return rest, err
		}
	}
	return rest, nil
}

// drop gives the buffer back. All in it is consumed and written.
func (r *Reader) drop() {
	r.lo, r.hi, r.out = 0, 0, nil
	if r.buf != nil {
		putBuffer(r.buf)
		r.buf = nil
	}
}

func newSplicer() *splicer {
	s := new(splicer)
	s.in, s.out, s.room = s.tryIn, s.tryOut, hasRoom
	return s
}

// take moves what is pending in w and then bytes of the connection to a pipe; if there are
// neither, it waits. pipe is nil if this must be done by copying.
func (s *splicer) take(r *Reader) error {
	s.head, s.taken, s.held, s.err = 0, 0, 0, nil
	if err := r.raw.rc.Read(s.in); err != nil {
		return readError(err)
	}
	switch s.err {
	case nil:
		return nil
	case io.EOF:
		return readError(io.EOF)
	case unix.EINVAL, unix.ENOSYS:
		r.raw.noSplice = true
		return nil
	}
	return readError(os.NewSyscallError("splice", s.err))
}

func (s *splicer) tryIn(fd uintptr) bool {
	if s.pipe = pipes.get(); s.pipe == nil {
		return true
	}
	if s.err = s.takePending(); s.err != nil {
		pipes.put(s.pipe, s.head == 0)
		s.pipe = nil
		return true
	}
	n, err := splice(int(fd), s.pipe.w, s.want)
	s.taken = max(n, 0)
	s.held = s.head + s.taken
	if s.held > 0 {
		return true // an error will come again
	}
	pipes.put(s.pipe, true)
	s.pipe = nil
	if err == unix.EAGAIN {
		return false
	}
	if err == nil {
		err = io.EOF
	}
	s.err = err
	return true
}

// takePending writes what is pending to the pipe, which is empty and has room
// for it.
func (s *splicer) takePending() error {
	for len(s.w.pending) > 0 {
		n, err := unix.Write(s.pipe.w, s.w.pending[0])
		if err == unix.EINTR {
			continue
		}
		s.head += max(n, 0)
		if err == nil && n < len(s.w.pending[0]) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
		s.w.pending = s.w.pending[1:]
	}
	s.w.reset()
	return nil
}

// give moves what is in the pipe to w's connection and gives the pipe back.
func (s *splicer) give(w *Writer) error {
	s.err = nil
	held := s.held
	err := w.raw.rc.Write(s.out)
	accepted := held - s.held
	w.copied.Add(uint64(min(accepted, s.head)))
	w.spliced.Add(uint64(max(accepted-s.head, 0)))
	switch {
	case err != nil:
	case s.held == 0:
		w.chunk = min(w.chunk+minChunk, maxChunk)
		pipes.put(s.pipe, true)
		s.pipe = nil
		return nil
	case s.err == unix.EAGAIN:
		w.chunk = max(accepted, minChunk)
		return s.drain(w)
	case s.err == unix.EINVAL:
		w.raw.noSplice = true
		return s.drain(w)
	default:
		err = os.NewSyscallError("splice", s.err)
	}
	pipes.put(s.pipe, false)
	s.pipe = nil
	return w.fail(err)
}

func (s *splicer) tryOut(fd uintptr) bool {
	for s.held > 0 {
		n, err := splice(s.pipe.r, int(fd), s.held)
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			s.err = err
			break
		}
		s.held -= n
	}
	return true
}

// minChunk is the least that is spliced at once to a slow destination, in
// bytes, and the step by which it is trusted with more.
const minChunk = 64 << 10

// drain reads the rest of the pipe into memory, gives the pipe back, and then
// writes the rest, which may wait.
func (s *splicer) drain(w *Writer) error {
	var bufs [maxChunk / bufferSize]*buffer
	for i := 0; s.held > 0; i++ {
		bufs[i] = getBuffer()
		defer putBuffer(bufs[i])
		b := bufs[i][:min(s.held, bufferSize)]
		if err := readPipe(s.pipe.r, b); err != nil {
			pipes.put(s.pipe, false)
			s.pipe = nil
			return w.fail(os.NewSyscallError("read pipe", err))
		}
		s.held -= len(b)
		if err := w.view(b); err != nil {
			pipes.put(s.pipe, false)
			s.pipe = nil
			return err
		}
	}
	pipes.put(s.pipe, true)
	s.pipe = nil
	return w.Flush()
}

// readPipe fills b from a pipe that holds at least as much.
func readPipe(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// hasRoom says whether a socket takes bytes. If it does not, the kernel was
// told to signal when it does, which makes it right to wait for the poller.
func hasRoom(fd uintptr) bool {
	for {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds[:], 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}

// splice moves at most n bytes and does not wait.
func splice(from, to, n int) (int, error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return int(moved), err
		}
	}
}
