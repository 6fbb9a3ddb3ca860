package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// RequestHeader is the header of a request in any of its versions.
type RequestHeader struct {
	Key, Version  int16
	CorrelationID int32
	// ClientID is nil if the client sent null.
	ClientID *string
	// Size is the length of the header in bytes, tagged fields included: the
	// message begins at body[Size:]. For a key that is not Known it covers the
	// part that all header versions share, and where the message begins is
	// not known.
	Size int
	// Known says that Key is one whose header version is known. Its Version
	// may nevertheless be newer than any that is.
	Known bool
	// Flexible says that the header has tagged fields (version 2).
	Flexible bool
}

// Keys whose headers follow rules of their own.
const (
	keyControlledShutdown = 7  // version 0 has no client id
	keyApiVersions        = 18 // responses have header version 0 always
)

// headerRule says which versions of a key have flexible headers.
type headerRule struct {
	known    bool
	flexible int16 // first flexible version, never if there is none
	max      int16 // newest version that is known
}

const never = math.MaxInt16

// headerRules is indexed by key.
var headerRules = func() (rules [kmsg.MaxKey + 1]headerRule) {
	for key := range rules {
		req := kmsg.RequestForKey(int16(key))
		if req == nil {
			continue
		}
		rule := headerRule{known: true, flexible: never, max: req.MaxVersion()}
		for v := rule.max; v >= 0; v-- {
			if req.SetVersion(v); !req.IsFlexible() {
				break
			}
			rule.flexible = v
		}
		rules[key] = rule
	}
	return rules
}()

// flexible says whether a version of a key is flexible. A version newer than
// any that is known is flexible if its predecessor is: flexible APIs never
// went back. Otherwise it is not known.
func flexible(key, version int16) (flexible, known bool) {
	if key < 0 || int(key) >= len(headerRules) || version < 0 {
		return false, false
	}
	rule := headerRules[key]
	if !rule.known || version > rule.max && rule.flexible == never {
		return false, false
	}
	return version >= rule.flexible, true
}

// ParseRequestHeader parses the header at the beginning of a request's body;
// b may be a prefix of the body. Nothing returned refers to b. The error wraps
// [ErrHeader]; if b was a prefix, it may have been too short.
func ParseRequestHeader(b []byte) (RequestHeader, error) {
	h, id, err := parseRequestHeader(b)
	if err != nil {
		return h, err
	}
	if id != nil {
		s := string(id)
		h.ClientID = &s
	}
	return h, nil
}

// parseRequestHeader leaves ClientID to the caller and returns its bytes, nil
// for null.
func parseRequestHeader(b []byte) (h RequestHeader, id []byte, err error) {
	if len(b) < 8 {
		return h, nil, fmt.Errorf("parse request header: %w: %d bytes", ErrHeader, len(b))
	}
	h.Key = int16(binary.BigEndian.Uint16(b))
	h.Version = int16(binary.BigEndian.Uint16(b[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(b[4:]))
	h.Flexible, h.Known = flexible(h.Key, h.Version)
	h.Size = 8
	if h.Key == keyControlledShutdown && h.Version == 0 {
		return h, nil, nil
	}
	if len(b) < 10 {
		return h, nil, fmt.Errorf("parse request header: client id: %w: cut", ErrHeader)
	}
	n := int(int16(binary.BigEndian.Uint16(b[8:])))
	h.Size = 10
	switch {
	case n < -1:
		return h, nil, fmt.Errorf("parse request header: client id: %w: length %d", ErrHeader, n)
	case n > len(b)-10:
		return h, nil, fmt.Errorf("parse request header: client id: %w: cut", ErrHeader)
	case n >= 0:
		id = b[10 : 10+n : 10+n]
		h.Size += n
	}
	if h.Flexible {
		tags, ok := tagsSize(b[h.Size:])
		if !ok {
			return h, nil, fmt.Errorf("parse request header: tagged fields: %w", ErrHeader)
		}
		h.Size += tags
	}
	return h, id, nil
}

// tagsSize returns the length of the tagged fields at the beginning of b.
func tagsSize(b []byte) (size int, ok bool) {
	count, n := uvarint(b)
	if n == 0 {
		return 0, false
	}
	size = n
	for ; count > 0; count-- {
		if _, n = uvarint(b[size:]); n == 0 { // the tag
			return 0, false
		}
		size += n
		length, n := uvarint(b[size:])
		if n == 0 || uint64(length) > uint64(len(b)-size-n) {
			return 0, false
		}
		size += n + int(length)
	}
	return size, true
}

// uvarint reads an unsigned varint of at most 32 bits; n is 0 if there is none.
func uvarint(b []byte) (v uint32, n int) {
	for i := 0; i < len(b) && i < 5; i++ {
		if i == 4 && b[i] > 0x0f {
			return 0, 0
		}
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// AppendRequestHeader appends h in the version that h.Key and h.Version
// demand, without tagged fields, and ignores h.Size, h.Known and h.Flexible.
func AppendRequestHeader(dst []byte, h RequestHeader) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if h.Key == keyControlledShutdown && h.Version == 0 {
		return dst
	}
	if h.ClientID == nil {
		dst = append(dst, 0xff, 0xff)
	} else {
		id := *h.ClientID
		id = id[:min(len(id), math.MaxInt16)]
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(id)))
		dst = append(dst, id...)
	}
	if flexible, _ := flexible(h.Key, h.Version); flexible {
		dst = append(dst, 0)
	}
	return dst
}

// ResponseHeaderVersion returns the version of the header that precedes a
// response: 0 is the correlation id alone, 1 has tagged fields as well.
// Responses to ApiVersions have version 0 always, so that a client can read
// them before it knows anything about its peer. ok is false for a key that is
// not known.
func ResponseHeaderVersion(key, version int16) (v int16, ok bool) {
	flexible, known := flexible(key, version)
	if flexible && key != keyApiVersions {
		return 1, known
	}
	return 0, known
}

// ParseResponseHeader parses the header at the beginning of a response to a
// request of the given key and version. size is its length in bytes. For a
// key that is not known it is 4, the correlation id's. The error wraps
// [ErrHeader].
func ParseResponseHeader(b []byte, key, version int16) (correlationID int32, size int, err error) {
	if len(b) < 4 {
		return 0, 0, fmt.Errorf("parse response header: %w: %d bytes", ErrHeader, len(b))
	}
	correlationID, size = int32(binary.BigEndian.Uint32(b)), 4
	if v, _ := ResponseHeaderVersion(key, version); v == 0 {
		return correlationID, size, nil
	}
	tags, ok := tagsSize(b[4:])
	if !ok {
		return 0, 0, fmt.Errorf("parse response header: tagged fields: %w", ErrHeader)
	}
	return correlationID, size + tags, nil
}

// AppendResponseHeader appends the header of a response, without tagged
// fields. An unknown key gets version 0.
func AppendResponseHeader(dst []byte, key, version int16, correlationID int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if v, _ := ResponseHeaderVersion(key, version); v == 1 {
		dst = append(dst, 0)
	}
	return dst
}
