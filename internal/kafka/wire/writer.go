package wire

import "net"

// Writer writes frames to a connection. It is used by one goroutine at a time;
// closing the connection or setting a deadline on it from another one
// interrupts a write. Its first error is final: all later calls return it.
type Writer struct{ c net.Conn }

// NewWriter returns a Writer to c.
func NewWriter(c net.Conn) *Writer { panic("todo") }

// WriteFrame writes one frame whose body is the concatenation of parts. Small
// frames may stay pending until [Writer.Flush]; parts are copied or written
// when it returns, and belong to the caller again. Frames that are pending
// leave first: order is the order of the calls of Forward and WriteFrame.
func (w *Writer) WriteFrame(parts ...[]byte) error { panic("todo") }

// Flush writes all that is pending, from WriteFrame and from the Forward
// of any Reader. A caller flushes before it waits for anything else than the
// Reader that it forwards from.
func (w *Writer) Flush() error { panic("todo") }

// Pending returns the number of bytes that Flush would write.
func (w *Writer) Pending() int { panic("todo") }

// Copied returns the number of bytes that were written from memory, and
// Spliced the number that never left the kernel. Both may be called at any
// time from any goroutine.
func (w *Writer) Copied() uint64 { panic("todo") }

// Spliced is described at [Writer.Copied].
func (w *Writer) Spliced() uint64 { panic("todo") }
