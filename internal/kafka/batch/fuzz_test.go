package batch

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluicegate/sluice/abi"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzBatches decodes hostile bytes as a fetched partition. What decodes is
// encoded again and must decode to the same records.
func FuzzBatches(f *testing.F) {
	for _, codec := range codecs {
		f.Add(produced(codec, sample()[:3]))
	}
	f.Add(append(produced(None, sample()[:2]), produced(Gzip, sample()[:1])...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, e := Decoder{Limit: 1 << 20}, Encoder{}
		for batch, err := range All(b) {
			if err != nil {
				return
			}
			batch.CheckCRC()
			roundTrip(t, &d, &e, batch)
		}
	})
}

// FuzzRecords decodes hostile bytes as the records of a batch of any codec.
func FuzzRecords(f *testing.F) {
	for _, codec := range codecs {
		f.Add(produced(codec, sample()[:3])[HeaderSize:], byte(codec), int32(3))
	}
	f.Add([]byte("\x10\x00\x00\x00\x01\x01\x02\x00\x01"), byte(0), int32(1))
	f.Add([]byte(xerial+"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00"), byte(2), int32(1))
	f.Fuzz(func(t *testing.T, records []byte, attributes byte, count int32) {
		head := template()
		head.Attributes, head.NumRecords, head.Records, head.LastOffsetDelta = int16(attributes), count, records, count-1
		d, e := Decoder{Limit: 1 << 20}, Encoder{}
		roundTrip(t, &d, &e, parse(t, seal(head)))
	})
}

func roundTrip(t *testing.T, d *Decoder, e *Encoder, b *Batch) {
	recs, err := d.Records(b, nil)
	if err != nil {
		return
	}
	if n := len(d.buf); n > d.Limit {
		t.Fatalf("decompressed %d bytes", n)
	}
	if len(recs) != int(b.NumRecords) {
		t.Fatalf("%d records, want %d", len(recs), b.NumRecords)
	}
	out, err := e.AppendFetched(nil, b, recs)
	if err != nil {
		return // offsets do not ascend
	}
	again, rest, err := Next(out)
	if err != nil || len(rest) > 0 {
		t.Fatalf("encoded batch: %d bytes left, error %v", len(rest), err)
	}
	if err := again.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	got, err := new(Decoder).Records(&again, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recs, got); diff != "" && len(recs) > 0 {
		t.Fatal(diff)
	}
	if b.Codec() != None {
		return
	}
	// Uncompressed, the encoding is canonical: a second time it is the same.
	twice, err := e.AppendFetched(nil, &again, got)
	if err != nil || !bytes.Equal(out, twice) {
		t.Fatalf("encoded again: error %v\n% x\n% x", err, out, twice)
	}
}

// FuzzEncode encodes a record with any content and compares with kmsg.
func FuzzEncode(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), "h", []byte("hv"), int64(5), int64(1000))
	f.Add([]byte(nil), []byte(""), "", []byte(nil), int64(-1), int64(1)<<62)
	f.Fuzz(func(t *testing.T, key, value []byte, name string, headerValue []byte, base, timestamp int64) {
		head := template()
		head.FirstTimestamp, head.MaxTimestamp = base, timestamp
		raw := build(head, None, []kmsg.Record{{
			TimestampDelta64: timestamp - base, Key: key, Value: value,
			Headers: []kmsg.Header{{Key: name, Value: headerValue}},
		}})
		out, err := new(Encoder).AppendProduced(nil, parse(t, raw), []abi.Record{{
			Key: key, Value: value, Timestamp: timestamp, Headers: []abi.Header{{Name: name, Value: headerValue}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(raw, out) {
			t.Fatalf("encoded % x\nwant    % x", out, raw)
		}
	})
}
