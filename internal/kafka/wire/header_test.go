package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func ptr(s string) *string { return &s }

// TestRequestHeaders parses what kmsg formats for every key and version.
func TestRequestHeaders(t *testing.T) {
	for key := int16(0); key <= kmsg.MaxKey; key++ {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for v := int16(0); v <= req.MaxVersion(); v++ {
			req.SetVersion(v)
			for _, id := range []*string{nil, ptr(""), ptr("client-1")} {
				var opts []kmsg.RequestFormatterOpt
				if id != nil {
					opts = append(opts, kmsg.FormatterClientID(*id))
				}
				msg := kmsg.NewRequestFormatter(opts...).AppendRequest(nil, req, 77)[4:]
				want := RequestHeader{
					Key: key, Version: v, CorrelationID: 77, ClientID: id, Known: true,
					Flexible: req.IsFlexible(), Size: len(msg) - len(req.AppendTo(nil)),
				}
				if key == keyControlledShutdown && v == 0 {
					want.ClientID, want.Size = nil, 8 // and kmsg formats no body
				}
				got, err := ParseRequestHeader(msg)
				if err != nil {
					t.Fatalf("key %d v%d: %v", key, v, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("key %d v%d: %s", key, v, diff)
				}
				if b := AppendRequestHeader(nil, got); !bytes.Equal(b, msg[:got.Size]) {
					t.Errorf("key %d v%d: appended % x, want % x", key, v, b, msg[:got.Size])
				}
			}
			wantV := int16(0)
			if req.IsFlexible() && key != 18 {
				wantV = 1
			}
			if got, ok := ResponseHeaderVersion(key, v); got != wantV || !ok {
				t.Errorf("key %d v%d: response header version %d, %t; want %d", key, v, got, ok, wantV)
			}
			h := AppendResponseHeader(nil, key, v, 5)
			if id, size, err := ParseResponseHeader(h, key, v); id != 5 || size != len(h) || err != nil {
				t.Errorf("key %d v%d: response header % x parsed as %d, size %d, error %v", key, v, h, id, size, err)
			}
		}
	}
}

func TestParseRequestHeader(t *testing.T) {
	tests := []struct {
		name, b string
		want    RequestHeader
		err     error
	}{
		{"empty", "", RequestHeader{}, ErrHeader},
		{"cut client id length", "\x00\x03\x00\x01\x00\x00\x00\x09\x00", RequestHeader{}, ErrHeader},
		{"cut client id", "\x00\x03\x00\x01\x00\x00\x00\x09\x00\x02a", RequestHeader{}, ErrHeader},
		{"negative client id length", "\x00\x03\x00\x01\x00\x00\x00\x09\xff\xfea", RequestHeader{}, ErrHeader},
		{"null client id", "\x00\x03\x00\x01\x00\x00\x00\x09\xff\xffbody",
			RequestHeader{Key: 3, Version: 1, CorrelationID: 9, Size: 10, Known: true}, nil},
		{"unknown key", "\x03\xe8\x00\x01\x00\x00\x00\x09\x00\x01a\x00\x00",
			RequestHeader{Key: 1000, Version: 1, CorrelationID: 9, ClientID: ptr("a"), Size: 11}, nil},
		{"negative key", "\xff\xff\x00\x01\x00\x00\x00\x09\x00\x01a\x00\x00",
			RequestHeader{Key: -1, Version: 1, CorrelationID: 9, ClientID: ptr("a"), Size: 11}, nil},
		{"negative version", "\x00\x03\xff\xff\x00\x00\x00\x09\x00\x01a\x00\x00",
			RequestHeader{Key: 3, Version: -1, CorrelationID: 9, ClientID: ptr("a"), Size: 11}, nil},
		{"newer version of a flexible key", "\x00\x03\x00\x63\x00\x00\x00\x09\x00\x01a\x00",
			RequestHeader{Key: 3, Version: 99, CorrelationID: 9, ClientID: ptr("a"), Size: 12, Known: true, Flexible: true}, nil},
		{"newer version of SaslHandshake", "\x00\x11\x00\x09\x00\x00\x00\x09\x00\x01a\x00",
			RequestHeader{Key: 17, Version: 9, CorrelationID: 9, ClientID: ptr("a"), Size: 11}, nil},
		{"tagged fields", "\x00\x03\x00\x0c\x00\x00\x00\x09\xff\xff\x02\x00\x02ab\x85\x01\x00body",
			RequestHeader{Key: 3, Version: 12, CorrelationID: 9, Size: 18, Known: true, Flexible: true}, nil},
		{"cut tagged field", "\x00\x03\x00\x0c\x00\x00\x00\x09\xff\xff\x01\x00\x02a", RequestHeader{}, ErrHeader},
		{"many tagged fields", "\x00\x03\x00\x0c\x00\x00\x00\x09\xff\xff\xff\xff\xff\xff\x0f\x00\x02a", RequestHeader{}, ErrHeader},
		{"endless varint", "\x00\x03\x00\x0c\x00\x00\x00\x09\xff\xff\xff\xff\xff\xff\xff\xff", RequestHeader{}, ErrHeader},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseRequestHeader([]byte(test.b))
			if !errors.Is(err, test.err) || (test.err == nil) != (err == nil) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseResponseHeader(t *testing.T) {
	tests := []struct {
		name         string
		key, version int16
		b            string
		size         int
		ok           bool
	}{
		{"plain", 3, 1, "\x00\x00\x00\x07\x01", 4, true},
		{"flexible", 3, 9, "\x00\x00\x00\x07\x01\x00\x01a", 8, true},
		{"ApiVersions", 18, 3, "\x00\x00\x00\x07\x00\x23", 4, true},
		{"unknown key", 999, 3, "\x00\x00\x00\x07\x00\x23", 4, true},
		{"cut", 3, 9, "\x00\x00\x00", 0, false},
		{"no tags", 3, 9, "\x00\x00\x00\x07", 0, false},
		{"cut tags", 3, 9, "\x00\x00\x00\x07\x01\x00\x09a", 0, false},
	}
	for _, test := range tests {
		id, size, err := ParseResponseHeader([]byte(test.b), test.key, test.version)
		if (err == nil) != test.ok || size != test.size || err == nil && id != 7 || err != nil && !errors.Is(err, ErrHeader) {
			t.Errorf("%s: correlation id %d, size %d, error %v; want size %d", test.name, id, size, err, test.size)
		}
	}
}

func FuzzParseRequestHeader(f *testing.F) {
	f.Add([]byte("\x00\x03\x00\x0c\x00\x00\x00\x09\xff\xff\x02\x00\x02ab\x85\x01\x00body"))
	f.Add([]byte("\x00\x00\x00\x09\x00\x00\x00\x09\x00\x03abc\x00body"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseRequestHeader(b)
		if err != nil {
			return
		}
		if h.Size > len(b) {
			t.Fatalf("header of %d bytes in %d", h.Size, len(b))
		}
		again, err := ParseRequestHeader(AppendRequestHeader(nil, h))
		again.Size = h.Size // tagged fields are not kept
		if diff := cmp.Diff(h, again); err != nil || diff != "" {
			t.Fatalf("error %v, %s", err, diff)
		}
	})
}

// FuzzReader reads frames from hostile bytes.
func FuzzReader(f *testing.F) {
	f.Add(append(frame(3), frame(700)...), byte(0))
	f.Add([]byte("\x7f\xff\xff\xff"), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, mode byte) {
		a, c := pipePair(t)
		go func() { a.Write(b); a.Close() }()
		r, got := NewReader(c, 1<<20), []byte(nil)
		for {
			size, err := r.Next()
			if err != nil {
				break
			}
			r.Header()
			if mode%2 == 0 {
				if r.Skip() != nil {
					break
				}
				continue
			}
			body, err := r.Body(nil)
			if err != nil {
				break
			}
			if len(body) != int(size) {
				t.Fatalf("body of %d bytes, want %d", len(body), size)
			}
			got = append(append(got, byte(size>>24), byte(size>>16), byte(size>>8), byte(size)), body...)
		}
		if !bytes.HasPrefix(b, got) {
			t.Fatalf("read % x of % x", got, b)
		}
	})
}
