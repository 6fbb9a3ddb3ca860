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

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of a [Reader]. All of them are final for the connection.
var (
	// ErrFrameSize is a size that is negative or above the Reader's limit.
	ErrFrameSize = errors.New("frame size out of bounds")
	// ErrTLS is a TLS record at the beginning of a plaintext connection.
	ErrTLS = errors.New("peer speaks TLS on a plaintext connection")
	// ErrHTTP is HTTP at the beginning of a connection.
	ErrHTTP = errors.New("peer speaks HTTP on a Kafka connection")
)

// ErrHeader is a request or response header that is cut or malformed.
var ErrHeader = errors.New("malformed header")

// MaxPeek is the most that [Reader.Peek] shows of a frame, in bytes.
const MaxPeek = bufferSize - prefixSize

const prefixSize = 4 // of a frame's size

// sniff recognises the first 4 bytes of a connection that is not Kafka's. They
// would be sizes above 300 MB otherwise, so that a first frame is never
// mistaken.
func sniff(b []byte) error {
	switch {
	case b[0] == 0x16 && b[1] == 0x03: // handshake record of any version
		return fmt.Errorf("%w: it sent a TLS handshake: set security.protocol to PLAINTEXT or SASL_PLAINTEXT in the client, or configure TLS on this listener", ErrTLS)
	case b[0] == 0x15 && b[1] == 0x03: // alert
		return fmt.Errorf("%w: it sent a TLS alert: configure TLS for this connection, or use the peer's plaintext port", ErrTLS)
	}
	switch string(b[:4]) {
	case "GET ", "POST", "PUT ", "HEAD", "DELE", "PATC", "OPTI", "CONN", "TRAC", "PRI ", "HTTP":
		return fmt.Errorf("%w: it sent %q: this address serves Kafka clients, use the HTTP listener's", ErrHTTP, b[:4])
	}
	return nil
}

// frameSize parses and checks a frame's size.
func frameSize(prefix []byte, limit int32) (int32, error) {
	size := int32(binary.BigEndian.Uint32(prefix))
	switch {
	case size < 0:
		return 0, fmt.Errorf("%w: %d", ErrFrameSize, size)
	case size > limit:
		return 0, fmt.Errorf("%w: %d bytes, the limit is %d: raise it if the peer is a Kafka client or broker", ErrFrameSize, size, limit)
	}
	return size, nil
}
