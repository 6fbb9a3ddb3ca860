package gateway

import (
	"io"
	"net"
	"time"
)

// httpAnswer is what a browser or a probe gets from a Kafka port.
const httpAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"This port speaks the Kafka protocol, not HTTP. Use a Kafka client here; metrics and health are on the admin address (admin.bind).\n"

// answerHTTP answers an HTTP request. What the client has sent is read away for a moment, so that closing the connection does not
// take the answer back.
func answerHTTP(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, httpAnswer); err != nil {
		return
	}
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c, 64<<10)
}
