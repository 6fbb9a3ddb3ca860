package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bomb is compressed data that claims, or expands to, a lot.
type bomb struct {
	name  string
	codec Codec
	data  []byte
	want  error
}

const bombSize = 64 << 20

func bombs(t testing.TB) []bomb {
	zeros := make([]byte, bombSize)
	var gz, gz2, lz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(zeros)
	w.Close()
	for range 20 { // members, each within a limit of 16 MiB
		w = gzip.NewWriter(&gz2)
		w.Write(zeros[:10<<20])
		w.Close()
	}
	l := lz4.NewWriter(&lz)
	l.Write(zeros)
	l.Close()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	sized := enc.EncodeAll(zeros, nil)
	var stream bytes.Buffer
	enc.Reset(&stream)
	enc.Write(zeros)
	enc.Close()
	frames := bytes.Repeat(enc.EncodeAll(zeros[:10<<20], nil), 20)

	xerialBlock := s2.EncodeSnappy(nil, zeros[:10<<20])
	xer := append([]byte(xerial), 0, 0, 0, 1, 0, 0, 0, 1)
	for range 20 {
		xer = binary.BigEndian.AppendUint32(xer, uint32(len(xerialBlock)))
		xer = append(xer, xerialBlock...)
	}
	zframe := func(descriptor byte, rest ...byte) []byte {
		return append([]byte{0x28, 0xb5, 0x2f, 0xfd, descriptor}, rest...)
	}
	return []bomb{
		{"gzip", Gzip, gz.Bytes(), ErrTooLarge},
		{"gzip of many members", Gzip, gz2.Bytes(), ErrTooLarge},
		{"snappy", Snappy, s2.EncodeSnappy(nil, zeros), ErrTooLarge},
		{"snappy claiming 4 GiB", Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, ErrMalformed},
		{"snappy claiming 15 MiB", Snappy, []byte{0x80, 0x80, 0xc0, 0x07, 0}, ErrMalformed},
		{"xerial of many blocks", Snappy, xer, ErrTooLarge},
		{"xerial claiming 4 GiB", Snappy, append([]byte(xerial), 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0), ErrMalformed},
		{"lz4", LZ4, lz.Bytes(), ErrTooLarge},
		{"lz4 with blocks of 4 MiB and nothing in it", LZ4, []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 1, 0, 0, 0}, ErrMalformed},
		{"zstd with its size", Zstd, sized, ErrTooLarge},
		{"zstd stream", Zstd, stream.Bytes(), ErrTooLarge},
		{"zstd of many frames", Zstd, frames, ErrTooLarge},
		{"zstd window of 512 MiB", Zstd, zframe(0, 19<<3, 1, 0, 0), ErrMalformed},
		{"zstd window of 3.75 TiB", Zstd, zframe(0, 0xff, 1, 0, 0), ErrTooLarge},
		{"zstd claiming 15 MiB", Zstd, zframe(0xa0, 0, 0, 0xf0, 0, 1, 0, 0), ErrMalformed},
		{"zstd claiming 4 GiB", Zstd, zframe(0xa0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0), ErrMalformed},
		{"zstd of one byte blocks", Zstd, append(zframe(0, 10<<3), bytes.Repeat([]byte{0x02, 0x00, 0x10, 0}, 1000)...), ErrMalformed},
		{"zstd of one byte blocks, ended", Zstd, append(append(zframe(0, 10<<3), bytes.Repeat([]byte{0x02, 0x00, 0x10, 0}, 1000)...), 1, 0, 0), ErrTooLarge},
	}
}

// TestBombs: nothing makes a Decoder allocate much more than its limit.
func TestBombs(t *testing.T) {
	const limit = 16 << 20
	for _, bomb := range bombs(t) {
		head := template()
		head.Attributes, head.NumRecords, head.Records = int16(bomb.codec), 1, bomb.data
		b := parse(t, seal(head))
		d := Decoder{Limit: limit}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := d.Records(b, nil)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, bomb.want) {
			t.Errorf("%s: error %v, want %v", bomb.name, err, bomb.want)
		}
		// This counts what was given up while growing, which is up to five
		// times the limit in steps of a quarter.
		if got := after.TotalAlloc - before.TotalAlloc; got > 6*limit {
			t.Errorf("%s: allocated %d MiB with a limit of %d", bomb.name, got>>20, limit>>20)
		}
	}
}

// TestWindow decodes small data from an encoder with a large window, which the
// highest levels of some producers have.
func TestWindow(t *testing.T) {
	raw := produced(None, sample())
	var buf bytes.Buffer
	enc, err := zstd.NewWriter(&buf, zstd.WithWindowSize(128<<20))
	if err != nil {
		t.Fatal(err)
	}
	enc.Write(raw[HeaderSize:])
	enc.Close()
	head := template()
	head.Attributes, head.NumRecords, head.Records = int16(Zstd), int32(len(sample())), buf.Bytes()
	d := Decoder{Limit: 1 << 20}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	recs, err := d.Records(parse(t, seal(head)), nil)
	runtime.ReadMemStats(&after)
	if err != nil || len(recs) != len(sample()) {
		t.Errorf("%d records, error %v", len(recs), err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("allocated %d MiB for a window of 128 MiB", got>>20)
	}
}

// TestStructureBombs has few bytes that describe many records or headers.
func TestStructureBombs(t *testing.T) {
	const limit = 4 << 20
	records := bytes.Repeat([]byte("\x0c\x00\x00\x00\x01\x01\x00"), 200000)
	headers := kmsg.Record{Headers: make([]kmsg.Header, 500000)}
	many := headers.AppendTo(nil)
	headers.Length = int32(len(many) - 1)
	many = headers.AppendTo(nil)
	for name, test := range map[string]struct {
		count int32
		data  []byte
	}{"records": {200000, records}, "headers": {1, many}} {
		for _, codec := range codecs {
			head := template()
			head.Attributes, head.NumRecords, head.Records = int16(codec), test.count, test.data
			if codec != None {
				head.Records, _ = compressors[codec].Compress(new(bytes.Buffer), test.data)
			}
			b := parse(t, seal(head))
			d := Decoder{Limit: limit}
			if _, err := d.Records(b, nil); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s, %v: error %v, want %v", name, codec, err, ErrTooLarge)
			}
			d.Limit = 0
			if recs, err := d.Records(b, nil); err != nil || len(recs) != int(test.count) {
				t.Errorf("%s, %v: %d records, error %v without a limit", name, codec, len(recs), err)
			}
		}
	}
}

// TestLimitExact decodes at the limit and one below it.
func TestLimitExact(t *testing.T) {
	for _, codec := range codecs[1:] {
		b := parse(t, produced(codec, sample()))
		size := len(produced(None, sample())) - HeaderSize + 5*recordBytes + 4*headerBytes
		if _, err := (&Decoder{Limit: size}).Records(b, nil); err != nil {
			t.Errorf("%v: at the limit: %v", codec, err)
		}
		if _, err := (&Decoder{Limit: size - 1}).Records(b, nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: below: error %v, want %v", codec, err, ErrTooLarge)
		}
	}
}

// TestXerial decodes snappy in the framing of the Java library.
func TestXerial(t *testing.T) {
	plain := produced(None, sample())[HeaderSize:]
	header := append([]byte(xerial), 0, 0, 0, 1, 0, 0, 0, 1)
	frame := func(parts ...[]byte) []byte {
		var out []byte
		for _, p := range parts {
			if p == nil {
				out = append(out, header...)
				continue
			}
			block := s2.EncodeSnappy(nil, p)
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
		}
		return out
	}
	for name, data := range map[string][]byte{
		"one block":            frame(nil, plain),
		"blocks":               frame(nil, plain[:100], plain[100:5000], plain[5000:]),
		"concatenated streams": frame(nil, plain[:100], nil, plain[100:]),
	} {
		head := template()
		head.Attributes, head.NumRecords, head.Records = int16(Snappy), int32(len(sample())), data
		if recs := records(t, parse(t, seal(head))); len(recs) != len(sample()) || string(recs[0].Value) != "v" {
			t.Errorf("%s: %d records", name, len(recs))
		}
		for n := range data {
			head.Records = data[:n]
			if n > 0 && n%97 == 0 {
				if _, err := new(Decoder).Records(parse(t, seal(head)), nil); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%s cut after %d bytes: error %v", name, n, err)
				}
			}
		}
	}
}
