package wire

import "net"

// Reader goes through the frames that arrive on a connection. It is used by
// one goroutine at a time; closing the connection or setting a deadline on it
// from another one interrupts whatever it waits for. After an error the
// connection is of no more use.
//
// Frames that were forwarded but not yet written stay in the Reader's buffer:
// from [Reader.Forward] until the Writer's Flush, the Writer belongs to the
// goroutine that uses the Reader. Next, Peek, Header, Body and Skip flush that
// Writer before they wait for the connection or need the room.
type Reader struct{ c net.Conn }

// NewReader returns a Reader of c, which nobody else may read from. A frame
// whose body is longer than maxFrame bytes is refused with [ErrFrameSize].
func NewReader(c net.Conn, maxFrame int32) *Reader { panic("todo") }

// Next waits for the next frame and returns the size of its body in bytes.
// The frame before it must have been taken by Forward, Body or Skip; if it was
// not, Next returns the same frame again. At the end of the connection, between two
// frames, the error is io.EOF; inside of a frame every method returns
// io.ErrUnexpectedEOF. Errors wrap [ErrFrameSize], [ErrTLS] or [ErrHTTP] where
// one of these applies.
func (r *Reader) Next() (size int32, err error) { panic("todo") }

// Peek returns the first min(n, size) bytes of the current frame's body and
// consumes nothing; n is at most [MaxPeek]. The slice is valid until the next
// call of any method of the Reader.
func (r *Reader) Peek(n int) ([]byte, error) { panic("todo") }

// Header parses the current frame's request header and consumes nothing. It
// allocates nothing as long as the connection's client id stays the same.
func (r *Reader) Header() (RequestHeader, error) { panic("todo") }

// Forward hands the current frame over to w, unread, its size included. A
// frame that is in the buffer as a whole stays pending (see [Writer.Flush]),
// so that all pending frames leave with one write. Otherwise Forward returns
// when w's connection has accepted the frame, except for an end that is
// pending.
func (r *Reader) Forward(w *Writer) error { panic("todo") }

// Body appends the whole body of the current frame to dst[:0], which it grows
// as needed, and returns it; it belongs to the caller. The size of the
// frame, which Next returned, is what it allocates; memory beyond 1 MiB only
// once 1 MiB has arrived.
func (r *Reader) Body(dst []byte) ([]byte, error) { panic("todo") }

// Skip discards the current frame.
func (r *Reader) Skip() error { panic("todo") }

// Buffered returns the number of bytes that have arrived and were neither
// forwarded, returned by Body, nor skipped.
func (r *Reader) Buffered() int { panic("todo") }

// Ready says that the frame after the current one (or the current one, if it
// was not taken) has arrived as a whole, so that nothing would wait for it.
// Callers that write frames themselves flush when it is false.
func (r *Reader) Ready() bool { panic("todo") }

// BytesRead returns the number of bytes taken from the connection, copied or
// spliced. It may be called at any time from any goroutine.
func (r *Reader) BytesRead() uint64 { panic("todo") }
