package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Codec is a compression codec as numbered in a batch's attributes.
type Codec int8

// Codecs.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)

var codecNames = [...]string{"uncompressed", "gzip", "snappy", "lz4", "zstd"}

// String returns the codec's name.
func (c Codec) String() string {
	if c < 0 || int(c) >= len(codecNames) {
		return fmt.Sprintf("codec %d", int8(c))
	}
	return codecNames[c]
}

// compressors is indexed by codec. They may be used by several goroutines at
// once.
var compressors = [...]kgo.Compressor{
	Gzip:   compressor(kgo.GzipCompression()),
	Snappy: compressor(kgo.SnappyCompression()),
	LZ4:    compressor(kgo.Lz4Compression()),
	Zstd:   compressor(kgo.ZstdCompression()),
}

func compressor(c kgo.CompressionCodec) kgo.Compressor {
	comp, err := kgo.DefaultCompressor(c)
	if err != nil {
		panic("batch: " + err.Error())
	}
	return comp
}

// Decompression does not use kgo.DefaultDecompressor, whose output is
// bounded at 2 GiB only, but the same decoders.

// decompress returns what src decompresses to, at most limit bytes: src itself
// or d.buf.
func (d *Decoder) decompress(codec Codec, src []byte, limit int) (_ []byte, err error) {
	if len(src) == 0 { // an empty batch, whatever its codec
		return src, nil
	}
	switch codec {
	case None:
		return src, nil
	case Gzip:
		err = d.gunzip(src, limit)
	case Snappy:
		err = d.unsnappy(src, limit)
	case LZ4:
		err = d.unlz4(src, limit)
	case Zstd:
		err = d.unzstd(src, limit)
	default:
		return nil, ErrCodec
	}
	return d.buf, err
}

// malformed says that a codec did not like its input.
func malformed(err error) error { return fmt.Errorf("%w: %w", ErrMalformed, err) }

type gzipReader struct {
	gzip.Reader
	src bytes.Reader
}

var gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}

func (d *Decoder) gunzip(src []byte, limit int) error {
	r := gzipReaders.Get().(*gzipReader)
	defer gzipReaders.Put(r)
	r.src.Reset(src)
	defer r.src.Reset(nil)
	if err := r.Reset(&r.src); err != nil {
		return malformed(err)
	}
	return d.readAll(r, len(src), limit)
}

type lz4Reader struct {
	*lz4.Reader
	src bytes.Reader
}

var lz4Readers = sync.Pool{New: func() any { return &lz4Reader{Reader: lz4.NewReader(nil)} }}

// unlz4 needs memory for a block besides its output, at most 8 MiB, which is
// pooled.
func (d *Decoder) unlz4(src []byte, limit int) error {
	r := lz4Readers.Get().(*lz4Reader)
	defer lz4Readers.Put(r)
	r.src.Reset(src)
	defer r.src.Reset(nil)
	r.Reset(&r.src)
	return d.readAll(r, len(src), limit)
}

// readAll reads r to its end into d.buf. src is the length of its input.
func (d *Decoder) readAll(r io.Reader, src, limit int) error {
	buf := d.buf[:0]
	for {
		if len(buf) > limit {
			return ErrTooLarge
		}
		if len(buf) == cap(buf) {
			more := max(len(buf), 4*src, 4<<10)
			buf = slices.Grow(buf, min(more, limit+1-len(buf)))
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), limit+1)])
		buf = buf[:len(buf)+n]
		d.buf = buf
		switch {
		case err == io.EOF:
			if len(buf) > limit {
				return ErrTooLarge
			}
			return nil
		case err != nil:
			return malformed(err)
		}
	}
}

// xerial begins snappy data in the framing of the Java library: 8 bytes of
// magic, two versions of 4 bytes, then blocks preceded by their 4-byte length.
const (
	xerial       = "\x82SNAPPY\x00"
	xerialHeader = 16
)

var (
	errSnappyLength = errors.New("claims more bytes than its input can hold")
	errXerial       = errors.New("malformed framing")
)

func (d *Decoder) unsnappy(src []byte, limit int) error {
	d.buf = d.buf[:0]
	if len(src) < xerialHeader || string(src[:len(xerial)]) != xerial {
		return d.appendSnappy(src, limit)
	}
	for len(src) > 0 {
		// Streams may be concatenated: a header again.
		if len(src) >= xerialHeader && string(src[:len(xerial)]) == xerial {
			src = src[xerialHeader:]
			continue
		}
		if len(src) < 4 {
			return malformed(errXerial)
		}
		size := int64(binary.BigEndian.Uint32(src))
		if src = src[4:]; size > int64(len(src)) {
			return malformed(errXerial)
		}
		if err := d.appendSnappy(src[:size], limit); err != nil {
			return err
		}
		src = src[size:]
	}
	return nil
}

// snappyRatio is above the most bytes that one byte of snappy can stand for:
// a copy of 64 takes 3.
const snappyRatio = 32

// appendSnappy appends what one snappy block holds to d.buf.
func (d *Decoder) appendSnappy(src []byte, limit int) error {
	size, err := s2.DecodedLen(src)
	switch {
	case err != nil:
		return malformed(err)
	case size > snappyRatio*len(src):
		return malformed(errSnappyLength)
	case size > limit-len(d.buf):
		return ErrTooLarge
	}
	d.buf = slices.Grow(d.buf, size)
	n := len(d.buf)
	out, err := s2.Decode(d.buf[n:n+size], src)
	if err != nil {
		return malformed(err)
	}
	d.buf = d.buf[:n+len(out)]
	return nil
}

// unzstd looks at the blocks first. Where they cannot hold more than the limit,
// as nearly always, the decoder needs no limit of its own, and the window that a
// frame claims does not matter, because DecodeAll has none beside its output.
func (d *Decoder) unzstd(src []byte, limit int) error {
	bound, err := zstdBound(src, limit)
	if err != nil {
		return err
	}
	dec := zstdAny()
	if bound > int64(limit) {
		if dec, err = zstdLimited(limit); err != nil {
			return err
		}
	}
	guess := min(bound, int64(limit), 8*int64(len(src)))
	out, err := dec.DecodeAll(src, slices.Grow(d.buf[:0], int(guess)))
	if err == nil || cap(out) > cap(d.buf) {
		d.buf = out
	}
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case err != nil:
		return malformed(err)
	case len(out) > limit:
		return ErrTooLarge
	}
	return nil
}

// zstdBlock is the largest block, decompressed, in bytes.
const zstdBlock = 128 << 10

var (
	errZstdFrame   = errors.New("malformed frame")
	errZstdContent = errors.New("claims more bytes than its blocks can hold")
)

// zstdBound walks over the frames and blocks of src and returns the most that
// they can decompress to. What a frame claims must fit its blocks and the limit.
func zstdBound(src []byte, limit int) (bound int64, err error) {
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, malformed(err)
		}
		if h.Skippable || h.HeaderSize > len(src) {
			return 0, malformed(errZstdFrame)
		}
		blocks, size, ok := zstdBlocks(src[h.HeaderSize:])
		if !ok {
			return 0, malformed(errZstdFrame)
		}
		src = src[h.HeaderSize+size:]
		if h.HasCheckSum {
			if len(src) < 4 {
				return 0, malformed(errZstdFrame)
			}
			src = src[4:]
		}
		if h.HasFCS {
			if h.FrameContentSize > uint64(blocks) {
				return 0, malformed(errZstdContent)
			}
			blocks = int64(h.FrameContentSize)
			if bound+blocks > int64(limit) {
				return 0, ErrTooLarge
			}
		}
		bound += blocks
	}
	return bound, nil
}

// zstdBlocks returns the most that a frame's blocks can decompress to, and
// their length.
func zstdBlocks(b []byte) (bound int64, size int, ok bool) {
	for at := 0; len(b)-at >= 3; {
		head := uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16
		n := int(head >> 3)
		at += 3
		switch head >> 1 & 3 {
		case 0: // raw
			at += n
			bound += int64(n)
		case 1: // one byte, n times
			at++
			bound += int64(min(n, zstdBlock))
		case 2: // compressed
			at += n
			bound += zstdBlock
		default:
			return 0, 0, false
		}
		if at > len(b) {
			return 0, 0, false
		}
		if head&1 != 0 {
			return bound, at, true
		}
	}
	return 0, 0, false
}

// zstdAny returns a decoder for input whose output is known to be bounded.
var zstdAny = sync.OnceValue(func() *zstd.Decoder {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic("batch: " + err.Error())
	}
	return dec
})

// zstdLimits holds the decoders for the limits in use; a process has a few.
var zstdLimits struct {
	sync.Mutex
	decoders map[int]*zstd.Decoder
}

func zstdLimited(limit int) (*zstd.Decoder, error) {
	zstdLimits.Lock()
	defer zstdLimits.Unlock()
	if dec := zstdLimits.decoders[limit]; dec != nil {
		return dec, nil
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(uint64(limit)))
	if err != nil {
		return nil, err
	}
	if len(zstdLimits.decoders) >= 8 { // limits that vary
		clear(zstdLimits.decoders)
	}
	if zstdLimits.decoders == nil {
		zstdLimits.decoders = map[int]*zstd.Decoder{}
	}
	zstdLimits.decoders[limit] = dec
	return dec, nil
}
