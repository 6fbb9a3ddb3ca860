// Package marker makes and recognises markers: the records that stand in a
// partition for records that a pipeline dropped.
//
// A batch may not lose records on its way to the broker, because their number
// is what producers compute offsets and sequences from. A dropped record
// is therefore replaced by a marker: a null value, the dropped record's timestamp, a
// key of its own, and one header, [Header], whose value is
//
//	HMAC-SHA256(secret, "sluice.dropped" 0x00 topic 0x00 key)[:16]
//
// Gateways that have the same secret hide markers from consumers. Nobody
// without it can make a record that gateways would hide, and a marker
// moved to another topic or another key is none. The timestamp is not covered:
// topics with log append time rewrite it.
package marker

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/sluicegate/sluice/abi"
)

// Header is the name of the one header of a marker.
const Header = abi.ReservedHeaderPrefix + "dropped"

// MinKeySize is the length of the shortest secret that is accepted, in bytes.
const MinKeySize = 16

// ErrKeySize is a secret shorter than [MinKeySize].
var ErrKeySize = errors.New("marker key too short")

// KeyMode says which key a marker gets.
type KeyMode int

// Unique is a random key of 16 bytes, so that a marker never stands for, nor
// deletes, any other record of a compacted topic.
const Unique KeyMode = 0

const (
	uniqueSize = 16 // of a Unique key, in bytes
	macSize    = 16 // of the code, in bytes
)

// Maker makes and recognises the markers of one secret. It may be used by
// several goroutines at once.
type Maker struct {
	macs sync.Pool // of *mac, keyed
}

// mac is the state of one computation.
type mac struct {
	hash hash.Hash
	buf  []byte // what is authenticated
	sum  [sha256.Size]byte
}

// New returns a Maker. key is the secret, at least [MinKeySize] bytes; it is
// copied.
func New(key []byte) (*Maker, error) {
	if len(key) < MinKeySize {
		return nil, fmt.Errorf("make marker key: %w: %d bytes, want at least %d: generate one with head -c 32 /dev/urandom | base64",
			ErrKeySize, len(key), MinKeySize)
	}
	key = slices.Clone(key)
	m := new(Maker)
	m.macs.New = func() any { return &mac{hash: hmac.New(sha256.New, key)} }
	return m, nil
}

// body is the memory of one marker, so that it takes one allocation.
type body struct {
	key    [uniqueSize]byte
	code   [macSize]byte
	header [1]abi.Header
}

// Make turns *r, a record of topic, into its marker: key, value and headers
// are replaced, timestamp and offset stay. The marker refers to nothing of the
// old record.
func (m *Maker) Make(topic string, r *abi.Record) {
	b := new(body)
	rand.Read(b.key[:]) // never fails
	r.Key, r.Value = b.key[:], nil
	m.code(topic, r.Key, &b.code)
	b.header[0] = abi.Header{Name: Header, Value: b.code[:]}
	r.Headers = b.header[:]
}

// Is says whether r, a record of topic, is a marker made with the same secret.
// It costs next to nothing for records that do not look like one, and takes
// the same time for a right and a wrong code.
func (m *Maker) Is(topic string, r *abi.Record) bool {
	if r.Value != nil || len(r.Headers) != 1 {
		return false
	}
	h := &r.Headers[0]
	if h.Name != Header || len(h.Value) != macSize {
		return false
	}
	var want [macSize]byte
	m.code(topic, r.Key, &want)
	return hmac.Equal(want[:], h.Value)
}

// code computes the code of the marker with this key. A null key counts as
// empty. Topics have no 0x00 in their names.
func (m *Maker) code(topic string, key []byte, code *[macSize]byte) {
	c := m.macs.Get().(*mac)
	defer m.macs.Put(c)
	c.buf = append(c.buf[:0], Header...)
	c.buf = append(c.buf, 0)
	c.buf = append(c.buf, topic...)
	c.buf = append(c.buf, 0)
	c.buf = append(c.buf, key...)
	c.hash.Reset()
	c.hash.Write(c.buf)
	copy(code[:], c.hash.Sum(c.sum[:0]))
	if cap(c.buf) > maxKept {
		c.buf = nil
	}
}

// maxKept bounds the buffer of a pooled mac, in bytes.
const maxKept = 4 << 10
