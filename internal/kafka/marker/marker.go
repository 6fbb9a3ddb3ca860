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
	"errors"

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

// Maker makes and recognises the markers of one secret. It may be used by
// several goroutines at once.
type Maker struct{}

// New returns a Maker. key is the secret, at least [MinKeySize] bytes; it is
// copied.
func New(key []byte) (*Maker, error) { panic("todo") }

// Make turns *r, a record of topic, into its marker: key, value and headers
// are replaced, timestamp and offset stay. The marker refers to nothing of the
// old record.
func (m *Maker) Make(topic string, r *abi.Record) { panic("todo") }

// Is says whether r, a record of topic, is a marker made with the same secret.
// It costs next to nothing for records that do not look like one, and takes
// the same time for a right and a wrong code.
func (m *Maker) Is(topic string, r *abi.Record) bool { panic("todo") }
