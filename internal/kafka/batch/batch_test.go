package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sluicegate/sluice/abi"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// template is a batch of a producer with an id.
func template() kmsg.RecordBatch {
	return kmsg.RecordBatch{
		PartitionLeaderEpoch: 4, Magic: 2, FirstTimestamp: 1000, MaxTimestamp: 1000,
		ProducerID: 77, ProducerEpoch: 3, FirstSequence: 12,
	}
}

// build encodes recs with kmsg, in place of the batch's records. Timestamps and
// offsets are relative to the batch's.
func build(head kmsg.RecordBatch, codec Codec, recs []kmsg.Record) []byte {
	var plain []byte
	for _, r := range recs {
		r.Length = 0
		body := r.AppendTo(nil)
		r.Length = int32(len(body) - 1)
		plain = r.AppendTo(plain)
	}
	head.Records = plain
	if codec != None {
		out, _ := compressors[codec].Compress(new(bytes.Buffer), plain)
		head.Records = out
	}
	head.Attributes |= int16(codec)
	head.NumRecords = int32(len(recs))
	return seal(head)
}

// seal sets length and checksum.
func seal(head kmsg.RecordBatch) []byte {
	head.Length = int32(len(head.Records) + HeaderSize - logOverhead)
	raw := head.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[atCRC:], crc32.Checksum(raw[atAttributes:], castagnoli))
	return raw
}

// produced returns a batch whose last offset and time fit recs.
func produced(codec Codec, recs []kmsg.Record) []byte {
	head := template()
	head.LastOffsetDelta = int32(len(recs) - 1)
	for i := range recs {
		recs[i].OffsetDelta = int32(i)
		head.MaxTimestamp = max(head.MaxTimestamp, head.FirstTimestamp+recs[i].TimestampDelta64)
	}
	return build(head, codec, recs)
}

// sample has all kinds of nulls, empties, duplicates and sizes.
func sample() []kmsg.Record {
	return []kmsg.Record{
		{Key: []byte("k"), Value: []byte("v")},
		{TimestampDelta64: 5, Value: []byte{}},
		{TimestampDelta64: 3, Key: []byte{}},
		{TimestampDelta64: math.MaxInt32 + 1, Key: []byte("key"), Value: bytes.Repeat([]byte("x"), 9000), Headers: []kmsg.Header{
			{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}, {Key: strings.Repeat("h", 200), Value: []byte("2")},
		}},
		{TimestampDelta64: -7},
	}
}

// want is what sample decodes to in produced.
func want() []abi.Record {
	return []abi.Record{
		{Timestamp: 1000, Key: []byte("k"), Value: []byte("v")},
		{Offset: 1, Timestamp: 1005, Value: []byte{}},
		{Offset: 2, Timestamp: 1003, Key: []byte{}},
		{Offset: 3, Timestamp: 1000 + math.MaxInt32 + 1, Key: []byte("key"), Value: bytes.Repeat([]byte("x"), 9000), Headers: []abi.Header{
			{Name: "a", Value: []byte("1")}, {Name: "a"}, {Value: []byte{}}, {Name: strings.Repeat("h", 200), Value: []byte("2")},
		}},
		{Offset: 4, Timestamp: 993},
	}
}

func parse(t testing.TB, raw []byte) *Batch {
	t.Helper()
	b, rest, err := Next(raw)
	if err != nil || len(rest) > 0 {
		t.Fatalf("Next: %d bytes left, error %v", len(rest), err)
	}
	if err := b.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func records(t testing.TB, b *Batch) []abi.Record {
	t.Helper()
	recs, err := new(Decoder).Records(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

func TestRecords(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			b := parse(t, produced(codec, sample()))
			if err := b.CheckProduced(); err != nil {
				t.Error(err)
			}
			if got := b.Codec(); got != codec {
				t.Errorf("codec %v", got)
			}
			// cmp.Diff tells nil from empty.
			if diff := cmp.Diff(want(), records(t, b)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReuse decodes batches of all codecs with one Decoder, appending to records.
func TestReuse(t *testing.T) {
	var d Decoder
	recs := []abi.Record{{Offset: 42}}
	for range 3 {
		for _, codec := range codecs {
			b := parse(t, produced(codec, sample()))
			var err error
			if recs, err = d.Records(b, recs[:1]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]abi.Record{{Offset: 42}}, want()...), recs); diff != "" {
				t.Fatal(diff)
			}
		}
		d.Trim(0)
	}
}

func TestHeaderFields(t *testing.T) {
	head := template()
	head.FirstOffset, head.LastOffsetDelta, head.Attributes = 1<<40, 9, attrTransactional|attrDeleteHorizon
	b := parse(t, build(head, Gzip, sample()[:2]))
	wantBatch := Batch{
		BaseOffset: 1 << 40, PartitionLeaderEpoch: 4, CRC: b.CRC, Attributes: 0x51, LastOffsetDelta: 9, BaseTimestamp: 1000,
		MaxTimestamp: 1000, ProducerID: 77, ProducerEpoch: 3, BaseSequence: 12, NumRecords: 2, Raw: b.Raw,
	}
	if diff := cmp.Diff(wantBatch, *b); diff != "" {
		t.Error(diff)
	}
	if !b.IsTransactional() || !b.HasDeleteHorizon() || b.IsControl() || b.LogAppendTime() || b.LastOffset() != 1<<40+9 {
		t.Errorf("attributes of %+v", b)
	}
}

func TestLogAppendTime(t *testing.T) {
	head := template()
	head.Attributes, head.MaxTimestamp, head.LastOffsetDelta, head.FirstOffset = attrLogAppendTime, 5000, 4, 10
	b := parse(t, build(head, None, sample()))
	recs := records(t, b)
	for i, r := range recs {
		if r.Timestamp != 5000 || !r.LogAppendTime {
			t.Errorf("record %d has timestamp %d, log append time %t", i, r.Timestamp, r.LogAppendTime)
		}
	}
	out, err := new(Encoder).AppendFetched(nil, b, recs[:1])
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, out)
	if again.MaxTimestamp != 5000 || !again.LogAppendTime() {
		t.Errorf("max timestamp %d, want 5000", again.MaxTimestamp)
	}
	if diff := cmp.Diff(recs[:1], records(t, again)); diff != "" {
		t.Error(diff)
	}
}

func TestNext(t *testing.T) {
	whole := produced(None, sample())
	edit := func(at int, b ...byte) []byte {
		raw := bytes.Clone(whole)
		copy(raw[at:], b)
		return raw
	}
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"16 bytes", whole[:16], ErrTruncated},
		{"17 bytes", whole[:17], ErrTruncated},
		{"one byte less", whole[:len(whole)-1], ErrTruncated},
		{"negative length", edit(atLength, 0xff), ErrMalformed},
		{"zero length", edit(atLength, 0, 0, 0, 0), ErrMalformed},
		{"length of 48", edit(atLength, 0, 0, 0, 48), ErrMalformed},
		{"huge length", edit(atLength, 0x7f, 0xff, 0xff, 0xff), ErrTruncated},
		{"magic 0", edit(atMagic, 0), ErrLegacy},
		{"magic 1", edit(atMagic, 1), ErrLegacy},
		{"magic 3", edit(atMagic, 3), ErrMalformed},
		{"magic -1", edit(atMagic, 0xff), ErrMalformed},
		{"small legacy message", append(make([]byte, 8), 0, 0, 0, 14, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), ErrLegacy},
	}
	for _, test := range tests {
		_, _, err := Next(test.b)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.want)
		}
	}
	b := parse(t, whole)
	b.Raw = edit(len(whole)-1, 1)
	if err := b.CheckCRC(); !errors.Is(err, ErrCRC) {
		t.Errorf("changed record: error %v, want %v", err, ErrCRC)
	}
	b.Raw = edit(atLeaderEpoch, 9)
	if err := b.CheckCRC(); err != nil {
		t.Errorf("changed leader epoch: %v", err)
	}
}

func TestAll(t *testing.T) {
	one, two := produced(None, sample()), produced(Zstd, sample()[:2])
	legacy := bytes.Clone(one)
	legacy[atMagic] = 1
	tests := []struct {
		name string
		b    []byte
		n    int
		want error
	}{
		{"none", nil, 0, nil},
		{"two", slices.Concat(one, two), 2, nil},
		{"cut", slices.Concat(one, two[:len(two)-1]), 1, nil},
		{"cut in the header", slices.Concat(one, two[:5]), 1, nil},
		{"cut alone", one[:100], 0, nil},
		{"legacy", slices.Concat(two, legacy), 1, ErrLegacy},
		{"garbage", slices.Concat(two, make([]byte, 100)), 1, ErrMalformed},
	}
	for _, test := range tests {
		n := 0
		var last error
		for _, err := range All(test.b) {
			if last = err; err == nil {
				n++
			}
		}
		if n != test.n || !errors.Is(last, test.want) {
			t.Errorf("%s: %d batches, error %v; want %d, %v", test.name, n, last, test.n, test.want)
		}
	}
	for range All(slices.Concat(one, two)) {
		break
	}
}

func TestCheckProduced(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Batch)
	}{
		{"control", func(b *Batch) { b.Attributes |= attrControl }},
		{"base offset", func(b *Batch) { b.BaseOffset = 1 }},
		{"no records", func(b *Batch) { b.NumRecords, b.LastOffsetDelta = 0, -1 }},
		{"gap", func(b *Batch) { b.LastOffsetDelta++ }},
		{"no sequence", func(b *Batch) { b.BaseSequence = -1 }},
	}
	for _, test := range tests {
		b := parse(t, produced(None, sample()))
		test.edit(b)
		if err := b.CheckProduced(); !errors.Is(err, ErrShape) {
			t.Errorf("%s: error %v, want %v", test.name, err, ErrShape)
		}
	}
}

// TestRecordsMalformed edits the records of a batch with one record:
// length, attributes, timestamp, offset, key, value, headers.
func TestRecordsMalformed(t *testing.T) {
	tests := []struct {
		name    string
		count   int32
		records string
		ok      bool
	}{
		{"smallest", 1, "\x0c\x00\x00\x00\x01\x01\x00", true},
		{"header", 1, "\x10\x00\x00\x00\x01\x01\x02\x00\x01", true},
		{"no records", 0, "", true},
		{"no records but bytes", 0, "\x00", false},
		{"fewer records than said", 2, "\x0c\x00\x00\x00\x01\x01\x00", false},
		{"more records than said", 1, "\x0c\x00\x00\x00\x01\x01\x00\x0c\x00\x00\x00\x01\x01\x00", false},
		{"many records", math.MaxInt32, "\x0c\x00\x00\x00\x01\x01\x00", false},
		{"negative count", -1, "\x0c\x00\x00\x00\x01\x01\x00", false},
		{"length too large", 1, "\x0e\x00\x00\x00\x01\x01\x00", false},
		{"length too small", 1, "\x0a\x00\x00\x00\x01\x01\x00", false},
		{"negative length", 1, "\x0b\x00\x00\x00\x01\x01\x00", false},
		{"key of -2", 1, "\x0c\x00\x00\x00\x03\x01\x00", false},
		{"value of -2", 1, "\x0c\x00\x00\x00\x01\x03\x00", false},
		{"key beyond the record", 1, "\x0c\x00\x00\x00\x08\x01\x00", false},
		{"negative headers", 1, "\x0c\x00\x00\x00\x01\x01\x01", false},
		{"headers beyond the record", 1, "\x10\x00\x00\x00\x01\x01\x04\x00\x01", false},
		{"null header name", 1, "\x10\x00\x00\x00\x01\x01\x02\x01\x01", false},
		{"header value beyond the record", 1, "\x10\x00\x00\x00\x01\x01\x02\x00\x08", false},
		{"longest length", 1, "\x8c\x80\x80\x80\x00\x00\x00\x00\x01\x01\x00", true},
		{"length of 6 bytes", 1, "\x8c\x80\x80\x80\x80\x00\x00\x00\x00\x01\x01\x00", false},
		{"length above 32 bits", 1, "\x8c\x80\x80\x80\x10\x00\x00\x00\x01\x01\x00", false},
		{"longest timestamp", 1, "\x1e\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00\x01\x01\x00", true},
		{"timestamp above 64 bits", 1, "\x1e\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x00\x01\x01\x00", false},
		{"endless timestamp", 1, "\x20\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00\x01\x01\x00", false},
	}
	for _, test := range tests {
		head := template()
		head.NumRecords, head.Records = test.count, []byte(test.records)
		recs, err := new(Decoder).Records(parse(t, seal(head)), make([]abi.Record, 1))
		if test.ok != (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want one: %t", test.name, err, !test.ok)
		}
		if err != nil && len(recs) != 1 {
			t.Errorf("%s: %d records returned with an error, want those before", test.name, len(recs))
		}
	}
}

func TestUnknownCodec(t *testing.T) {
	for codec := Codec(5); codec < 8; codec++ {
		head := template()
		head.Attributes, head.NumRecords, head.Records = int16(codec), 1, []byte("x")
		b := parse(t, seal(head))
		if _, err := new(Decoder).Records(b, nil); !errors.Is(err, ErrCodec) {
			t.Errorf("%v: decode error %v", codec, err)
		}
		b.LastOffsetDelta = 0
		if _, err := new(Encoder).AppendProduced(nil, b, make([]abi.Record, 1)); !errors.Is(err, ErrCodec) {
			t.Errorf("%v: encode error %v", codec, err)
		}
	}
}

// TestIdentity: what kmsg encoded is encoded to the same bytes again.
func TestIdentity(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d Decoder
	var e Encoder
	for range 500 {
		recs := make([]kmsg.Record, 1+r.IntN(20))
		for i := range recs {
			recs[i] = randomRecord(r)
		}
		raw := produced(None, recs)
		b := parse(t, raw)
		if b.MaxTimestamp = maxTimestamp(b, recs); b.MaxTimestamp != int64(binary.BigEndian.Uint64(raw[atMaxTimestamp:])) {
			continue // produced starts from FirstTimestamp
		}
		got, err := d.Records(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, encode := range map[string]func([]byte, *Batch, []abi.Record) ([]byte, error){
			"produced": e.AppendProduced, "fetched": e.AppendFetched,
		} {
			out, err := encode([]byte("before"), b, got)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, append([]byte("before"), raw...)) {
				t.Fatalf("%s: % x\nwant % x", name, out, raw)
			}
		}
	}
}

func maxTimestamp(b *Batch, recs []kmsg.Record) int64 {
	m := int64(math.MinInt64)
	for _, r := range recs {
		m = max(m, b.BaseTimestamp+r.TimestampDelta64)
	}
	return m
}

func randomRecord(r *rand.Rand) kmsg.Record {
	random := func() []byte {
		switch r.IntN(6) {
		case 0:
			return nil
		case 1:
			return []byte{}
		case 2:
			return bytes.Repeat([]byte("ab"), r.IntN(10000))
		}
		return []byte(fmt.Sprint(r.Uint64()))
	}
	rec := kmsg.Record{Key: random(), Value: random(), TimestampDelta64: r.Int64N(1 << uint(1+r.IntN(40)))}
	for range r.IntN(4) {
		rec.Headers = append(rec.Headers, kmsg.Header{Key: string(random()), Value: random()})
	}
	return rec
}

// TestCodecsRoundTrip rebuilds batches of every codec.
func TestCodecsRoundTrip(t *testing.T) {
	for _, codec := range codecs {
		b := parse(t, produced(codec, sample()))
		recs := records(t, b)
		recs[1].Value = []byte("replaced")
		recs[0].Key = nil
		recs[3].Headers = recs[3].Headers[1:]
		out, err := new(Encoder).AppendProduced(nil, b, recs)
		if err != nil {
			t.Fatal(err)
		}
		again := parse(t, out)
		if diff := cmp.Diff(b, again, cmpopts.IgnoreFields(Batch{}, "CRC", "Raw")); diff != "" {
			t.Errorf("%v: header: %s", codec, diff)
		}
		if diff := cmp.Diff(recs, records(t, again)); diff != "" {
			t.Errorf("%v: %s", codec, diff)
		}
	}
}

func TestAppendProduced(t *testing.T) {
	b := parse(t, produced(None, sample()))
	recs := records(t, b)
	var e Encoder
	for _, n := range []int{0, 4} {
		if out, err := e.AppendProduced([]byte("x"), b, recs[:n]); !errors.Is(err, ErrShape) || string(out) != "x" {
			t.Errorf("%d of 5 records: %q, error %v, want %v", n, out, err, ErrShape)
		}
	}
	for i := range recs {
		recs[i].Offset = 99 // renumbered
	}
	recs[3].Timestamp = 1000
	out, err := e.AppendProduced(nil, b, recs)
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, out)
	if again.MaxTimestamp != 1005 || again.BaseTimestamp != 1000 {
		t.Errorf("base timestamp %d, max %d, want 1000, 1005", again.BaseTimestamp, again.MaxTimestamp)
	}
	for i, r := range records(t, again) {
		if r.Offset != int64(i) {
			t.Errorf("record %d has offset %d", i, r.Offset)
		}
	}
}

func TestAppendFetched(t *testing.T) {
	for _, codec := range codecs {
		// A compacted batch: records 3, 5 and 9 of 0 to 12 are left.
		head := template()
		head.FirstOffset, head.LastOffsetDelta = 100, 12
		head.MaxTimestamp = 9999 // of a record that is gone
		recs := sample()[:3]
		recs[0].OffsetDelta, recs[1].OffsetDelta, recs[2].OffsetDelta = 3, 5, 9
		b := parse(t, build(head, codec, recs))
		got := records(t, b)
		if offsets := [3]int64{got[0].Offset, got[1].Offset, got[2].Offset}; offsets != [3]int64{103, 105, 109} {
			t.Errorf("offsets %v", offsets)
		}
		var e Encoder
		for _, keep := range [][]int{{0, 1, 2}, {0, 2}, {1}, {}} {
			var left []abi.Record
			for _, i := range keep {
				left = append(left, got[i])
			}
			out, err := e.AppendFetched(nil, b, left)
			if err != nil {
				t.Fatal(err)
			}
			again := parse(t, out)
			if again.BaseOffset != 100 || again.LastOffset() != 112 || again.PartitionLeaderEpoch != 4 || int(again.NumRecords) != len(keep) {
				t.Errorf("%v %v: header %+v", codec, keep, again)
			}
			if len(keep) == 0 && (len(out) != HeaderSize || again.Codec() != None || again.MaxTimestamp != 9999) {
				t.Errorf("%v: empty shell of %d bytes: %+v", codec, len(out), again)
			}
			if len(keep) > 0 && again.Codec() != codec {
				t.Errorf("%v became %v", codec, again.Codec())
			}
			if diff := cmp.Diff(left, records(t, again), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%v %v: %s", codec, keep, diff)
			}
		}
		for _, offsets := range [][]int64{{99}, {113}, {105, 105}, {105, 103}} {
			bad := make([]abi.Record, len(offsets))
			for i, o := range offsets {
				bad[i].Offset = o
			}
			if _, err := e.AppendFetched(nil, b, bad); !errors.Is(err, ErrMalformed) {
				t.Errorf("offsets %v: error %v, want %v", offsets, err, ErrMalformed)
			}
		}
		e.Trim(0)
	}
}

// TestEmptyShell decodes a batch that compaction emptied, with any codec bits.
func TestEmptyShell(t *testing.T) {
	for _, codec := range codecs {
		head := template()
		head.Attributes, head.LastOffsetDelta = int16(codec), 5
		b := parse(t, seal(head))
		if recs := records(t, b); len(recs) != 0 {
			t.Errorf("%v: %d records", codec, len(recs))
		}
	}
}

// raceEnabled says that pools lose things at random.
func raceEnabled() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// TestAllocations: batch after batch, buffers are used again.
func TestAllocations(t *testing.T) {
	if raceEnabled() {
		return // the detector allocates
	}
	for _, codec := range codecs {
		b := parse(t, produced(codec, hundred()))
		var d Decoder
		var e Encoder
		var recs []abi.Record
		var out []byte
		n := testing.AllocsPerRun(50, func() {
			var err error
			if recs, err = d.Records(b, recs[:0]); err != nil {
				t.Fatal(err)
			}
			if out, err = e.AppendFetched(out[:0], b, recs); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%v: %v allocations", codec, n)
		if n > 4 {
			t.Errorf("%v: %v allocations per batch of 100, want at most 4", codec, n)
		}
	}
}

// hundred returns 100 records of 1 KB.
func hundred() []kmsg.Record {
	r := rand.New(rand.NewPCG(3, 4))
	recs := make([]kmsg.Record, 100)
	for i := range recs {
		value := []byte(`{"id":`)
		for len(value) < 1000 {
			value = fmt.Appendf(value, `%d,"lumens":%d,"sentAt":"2026-11-21T08:00:00Z",`, r.Uint32(), r.IntN(1000))
		}
		recs[i] = kmsg.Record{Key: fmt.Appendf(nil, "key-%d", i), Value: value[:1000],
			Headers: []kmsg.Header{{Key: "trace", Value: []byte("0123456789abcdef")}}}
	}
	return recs
}

func BenchmarkDecode(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			bat := parse(b, produced(codec, hundred()))
			var d Decoder
			var recs []abi.Record
			b.ReportAllocs()
			b.SetBytes(100 * 1000)
			for b.Loop() {
				var err error
				if recs, err = d.Records(bat, recs[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			bat := parse(b, produced(codec, hundred()))
			recs := records(b, bat)
			var e Encoder
			var out []byte
			b.ReportAllocs()
			b.SetBytes(100 * 1000)
			for b.Loop() {
				var err error
				if out, err = e.AppendProduced(out[:0], bat, recs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCRC(b *testing.B) {
	bat := parse(b, produced(None, hundred()))
	b.SetBytes(100 * 1000)
	for b.Loop() {
		if err := bat.CheckCRC(); err != nil {
			b.Fatal(err)
		}
	}
}
