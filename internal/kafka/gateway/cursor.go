package gateway

import (
	"encoding/binary"
	"errors"
)

// errMalformed is a message whose bytes are not what its key and version demand.
var errMalformed = errors.New("malformed message")

// cursor goes through the bytes of a message without copying any. Its first failure is sticky: everything after it is zero, and ok is false.
type cursor struct {
	b        []byte
	at       int
	flexible bool // compact lengths, tagged fields
	bad      bool
}

func (c *cursor) ok() bool { return !c.bad }

// take moves over n bytes and returns them.
func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.b)-c.at {
		c.bad = true
		return nil
	}
	s := c.b[c.at : c.at+n : c.at+n]
	c.at += n
	return s
}

func (c *cursor) int8() int8 {
	if s := c.take(1); s != nil {
		return int8(s[0])
	}
	return 0
}

func (c *cursor) int16() int16 {
	if s := c.take(2); s != nil {
		return int16(binary.BigEndian.Uint16(s))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if s := c.take(4); s != nil {
		return int32(binary.BigEndian.Uint32(s))
	}
	return 0
}

func (c *cursor) id() (id topicID) {
	copy(id[:], c.take(len(id)))
	return id
}

func (c *cursor) uvarint() uint32 {
	if c.bad {
		return 0
	}
	v, n := binary.Uvarint(c.b[c.at:])
	if n <= 0 || n > 5 || v > 1<<32-1 {
		c.bad = true
		return 0
	}
	c.at += n
	return uint32(v)
}

// size reads the length of a string, of bytes or of an array; -1 is null. width is that of the length in messages that are not flexible.
func (c *cursor) size(width int) int {
	if c.flexible {
		return int(c.uvarint()) - 1
	}
	n := -1
	if width == 2 {
		n = int(c.int16())
	} else {
		n = int(c.int32())
	}
	if n < -1 {
		c.bad = true
	}
	return n
}

// string and bytes return a view; nil is null.
func (c *cursor) string() []byte { return c.sized(c.size(2)) }
func (c *cursor) bytes() []byte  { return c.sized(c.size(4)) }

func (c *cursor) sized(n int) []byte {
	if n == -1 {
		return nil
	}
	return c.take(n)
}

// array reads the number of an array's elements, each of which takes at least elem bytes; null counts as none.
func (c *cursor) array(elem int) int {
	n := max(0, c.size(4))
	if c.bad || n > (len(c.b)-c.at)/elem {
		c.bad = true
		return 0
	}
	return n
}

// tags moves over tagged fields and returns how many there are.
func (c *cursor) tags() int {
	if !c.flexible {
		return 0
	}
	n := c.uvarint()
	for range n {
		c.uvarint()
		c.take(int(c.uvarint()))
		if c.bad {
			return 0
		}
	}
	return int(n)
}

// appendSize appends the length that size reads; width is 4 where the message is not flexible.
func appendSize(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return binary.AppendUvarint(dst, uint64(n+1))
	}
	return binary.BigEndian.AppendUint32(dst, uint32(int32(n)))
}

// edit replaces body[start:end] by parts.
type edit struct {
	start, end int
	parts      [][]byte
}

// splice returns body with edits applied, as the parts of one frame that share body's memory. Edits ascend and do not overlap.
func splice(parts [][]byte, body []byte, edits []edit) [][]byte {
	at := 0
	for _, e := range edits {
		if e.start > at {
			parts = append(parts, body[at:e.start])
		}
		parts = append(parts, e.parts...)
		at = e.end
	}
	return append(parts, body[at:])
}
