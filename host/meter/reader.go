package meter

import "unicode/utf8"

// reader reads the primitives of the binary format from a slice. The first violation sticks: from then on ok is false
// and every method returns zero without moving, so that callers check once.
type reader struct {
	b   []byte // the module up to the end of what may be read here
	pos int
	bad bool
}

// left returns the number of unread bytes.
func (r *reader) left() int { return len(r.b) - r.pos }

// byte reads one byte.
func (r *reader) byte() byte {
	if r.bad || r.pos >= len(r.b) {
		r.bad = true
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

// bytes reads n bytes. The result is a view.
func (r *reader) bytes(n uint32) []byte {
	if r.bad || uint64(n) > uint64(r.left()) {
		r.bad = true
		return nil
	}
	r.pos += int(n)
	return r.b[r.pos-int(n) : r.pos]
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	if r.pos < len(r.b) && r.b[r.pos] < 0x80 && !r.bad {
		r.pos++
		return uint32(r.b[r.pos-1])
	}
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			break
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

// signed reads a signed LEB128 number of at most bits bits.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if shift+7 < 64 {
			v = v << (64 - shift - 7) >> (64 - shift - 7)
		}
		if rest := bits - shift; rest < 7 && int8(c<<1)>>rest != 0 && int8(c<<1)>>rest != -1 {
			break // unused bits that are not the sign
		}
		return v
	}
	r.bad = true
	return 0
}

// count reads the length of a vector whose entries take at least one byte each: it never exceeds what is left.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(r.left()) {
		r.bad = true
		return 0
	}
	return int(n)
}

// name reads a UTF-8 name. The result is a view.
func (r *reader) name() []byte {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.bad = true
	}
	return b
}

// sub returns a reader for the next n bytes and skips them here. Positions stay those of the whole module.
func (r *reader) sub(n uint32) reader {
	start := r.pos
	r.bytes(n)
	if r.bad {
		return reader{bad: true}
	}
	return reader{b: r.b[:r.pos], pos: start}
}

// appendU32 appends v in unsigned LEB128.
func appendU32(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// appendS64 appends v in signed LEB128.
func appendS64(dst []byte, v int64) []byte {
	for {
		c := byte(v) & 0x7f
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(dst, c)
		}
		dst = append(dst, c|0x80)
	}
}

// appendName appends a length and the bytes of s.
func appendName(dst []byte, s string) []byte {
	return append(appendU32(dst, uint32(len(s))), s...)
}

// maxAmount is the largest amount that fits the three bytes of a padded constant.
const maxAmount = 1<<20 - 1

// putAmount writes 0 <= v <= maxAmount over the first three bytes of dst as signed LEB128 of fixed width.
func putAmount(dst []byte, v int) {
	dst[0], dst[1], dst[2] = byte(v)|0x80, byte(v>>7)|0x80, byte(v>>14)&0x7f
}
