package wire

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

// ParseRequestHeader parses the header at the beginning of a request's body;
// b may be a prefix of the body. Nothing returned refers to b. The error wraps
// [ErrHeader]; if b was a prefix, it may have been too short.
func ParseRequestHeader(b []byte) (RequestHeader, error) { panic("todo") }

// AppendRequestHeader appends h in the version that h.Key and h.Version
// demand, without tagged fields, and ignores h.Size, h.Known and h.Flexible.
func AppendRequestHeader(dst []byte, h RequestHeader) []byte { panic("todo") }

// ResponseHeaderVersion returns the version of the header that precedes a
// response: 0 is the correlation id alone, 1 has tagged fields as well.
// Responses to ApiVersions have version 0 always, so that a client can read
// them before it knows anything about its peer. ok is false for a key that is
// not known.
func ResponseHeaderVersion(key, version int16) (v int16, ok bool) { panic("todo") }

// ParseResponseHeader parses the header at the beginning of a response to a
// request of the given key and version. size is its length in bytes. For a
// key that is not known it is 4, the correlation id's. The error wraps
// [ErrHeader].
func ParseResponseHeader(b []byte, key, version int16) (correlationID int32, size int, err error) {
	panic("todo")
}

// AppendResponseHeader appends the header of a response, without tagged
// fields. An unknown key gets version 0.
func AppendResponseHeader(dst []byte, key, version int16, correlationID int32) []byte {
	panic("todo")
}
