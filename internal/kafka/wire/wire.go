// Package wire moves Kafka frames between two connections: it finds where
// frames begin and end, lets the caller look at the first bytes of one, and
// forwards what nobody has to read as cheaply as the system allows.
//
// A frame is a 4-byte big-endian size and as many bytes of body. A [Reader]
// goes through the frames of one connection, a [Writer] writes frames to
// another. The loop of a relay is
//
//	for {
//		size, err := r.Next()           // flushes w before it blocks
//		head, err := r.Header()         // looks, consumes nothing
//		if pass(head) {
//			err = r.Forward(w)          // unread
//			continue
//		}
//		body, err = r.Body(body)        // opened
//		err = w.WriteFrame(rewritten)
//		if !r.Ready() {
//			err = w.Flush()
//		}
//	}
//
// # Cost
//
// Bytes are read into a pooled buffer of 64 KiB. All complete frames in it
// that are forwarded leave with one write, without being copied in user
// space. On Linux and plaintext TCP the remainder of a frame that does not
// fit moves through a pipe inside the kernel (splice). Pipes are taken from a
// small pool for the time between two readiness waits only; when none is free
// bytes are copied. Connections of other kinds, TLS among them, and other
// systems copy always. A connection on which nothing arrives holds no buffer
// and no pipe.
//
// # Limits
//
// Sizes are checked before anything is allocated for them. What does not
// speak Kafka at all, TLS on a plaintext port or HTTP, is recognised by the
// first bytes of the connection and named in the error.
//
// The package knows request and response headers, not the messages behind
// them.
package wire

import "errors"

// Errors of a [Reader]. All of them are final for the connection.
var (
	// ErrFrameSize is a size that is negative or above the Reader's limit.
	ErrFrameSize = errors.New("frame size out of bounds")
	// ErrTLS is a TLS record at the beginning of a plaintext connection.
	ErrTLS = errors.New("peer speaks TLS on a plaintext connection")
	// ErrHTTP is an HTTP request at the beginning of a connection.
	ErrHTTP = errors.New("peer speaks HTTP on a Kafka connection")
)

// ErrHeader is a request or response header that is cut or malformed.
var ErrHeader = errors.New("malformed header")

// MaxPeek is the most that [Reader.Peek] shows of a frame, in bytes.
const MaxPeek = bufferSize - prefixSize

const (
	bufferSize = 64 << 10
	prefixSize = 4 // of a frame's size
)
