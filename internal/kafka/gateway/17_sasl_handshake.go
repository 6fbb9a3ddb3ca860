package gateway

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// SaslHandshake: the choice of a mechanism. The exchange itself, SaslAuthenticate, passes unread.
//
//	v0  is followed by raw tokens that have no request header: refused, because nothing could be told apart after it
//	v1  is followed by SaslAuthenticate requests
func saslHandshakeRow() row {
	return row{key: 17, min: 1, max: 1, unsupported: refuseHandshake}
}

// refuseHandshake answers in the shape of v0 and v1, which is the same. A version above is unlikely to have it.
func refuseHandshake(c *conn, h wire.RequestHeader) error {
	if err := c.cr.Skip(); err != nil {
		return err
	}
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	return c.reply(h, resp)
}
