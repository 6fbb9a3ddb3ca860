package abi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/*.json")

// The vectors are for implementations in other languages too: see
// testdata/README.md. A vector without "error" decodes to what it says, and
// that encodes to its bytes; one with "error" is refused by decoders.

type vector[T any] struct {
	Name    string `json:"name"`
	Fields  Fields `json:"fields,omitempty"`  // entries: the set asked for
	Records int    `json:"records,omitempty"` // verdicts: size of the batch
	Paths   int    `json:"paths,omitempty"`   // json: length of the list
	Hex     string `json:"hex"`
	Decoded *T     `json:"decoded,omitempty"`
	Error   string `json:"error,omitempty"`
}

// hexBytes is null or a string of hexadecimal digits in JSON.
type hexBytes []byte

func (h hexBytes) MarshalJSON() ([]byte, error) {
	if h == nil {
		return []byte("null"), nil
	}
	return json.Marshal(hex.EncodeToString(h))
}

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		*h = nil
		return err
	}
	d, err := hex.DecodeString(*s)
	*h = append(hexBytes{}, d...)
	return err
}

type vectorHeader struct {
	Name  string   `json:"name"`
	Value hexBytes `json:"value"`
}

type vectorInfo struct {
	Topic         string  `json:"topic"`
	Partition     int32   `json:"partition"`
	ProducerID    int64   `json:"producer_id"`
	Transactional bool    `json:"transactional"`
	Fetch         bool    `json:"fetch"`
	ClientID      *string `json:"client_id"`
	Principal     *string `json:"principal"`
}

type vectorEntry struct {
	KeyLen        int32          `json:"key_length"`
	ValueLen      int32          `json:"value_length"`
	NumHeaders    uint32         `json:"number_of_headers"`
	Timestamp     int64          `json:"timestamp"`
	Offset        int64          `json:"offset"`
	LogAppendTime bool           `json:"log_append_time"`
	Key           hexBytes       `json:"key"`
	Value         hexBytes       `json:"value"`
	Headers       []vectorHeader `json:"headers"`
}

type vectorVerdict struct {
	Op       Op             `json:"op"`
	Critical bool           `json:"critical"`
	First    uint32         `json:"first"`
	Count    uint32         `json:"count"`
	Reason   *string        `json:"reason,omitempty"`
	Mask     Fields         `json:"mask,omitempty"`
	Key      hexBytes       `json:"key,omitzero"`
	Value    hexBytes       `json:"value,omitzero"`
	Headers  []vectorHeader `json:"headers,omitzero"`
	Remove   []string       `json:"remove,omitzero"`
	Add      []vectorHeader `json:"add,omitzero"`
	Payload  hexBytes       `json:"payload,omitzero"`
}

type vectorJSON struct {
	Status JSONStatus    `json:"status"`
	Values []vectorValue `json:"values"`
}

type vectorValue struct {
	Kind   JSONKind `json:"kind"`
	Number string   `json:"number,omitempty"`
	Text   hexBytes `json:"text,omitzero"`
}

// checkVectors compares the cases with the file, and each case with the
// codec: encode makes the bytes of a case, decode reads them.
func checkVectors[T any](t *testing.T, file string, cases []vector[T], encode func(vector[T]) []byte, decode func(vector[T], []byte) (*T, error)) {
	t.Helper()
	for i := range cases {
		if c := &cases[i]; c.Hex == "" {
			c.Hex = hex.EncodeToString(encode(*c))
		}
	}
	path := filepath.Join("testdata", file)
	want := encodeVectors(t, cases)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs from the codec (-codec +file); run go test ./abi -update if the codec is right:\n%s", path, diff)
	}
	var stored []vector[T]
	if err := json.Unmarshal(got, &stored); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, c := range stored {
		b, err := hex.DecodeString(c.Hex)
		if err != nil {
			t.Errorf("%s: %s: %v", file, c.Name, err)
			continue
		}
		decoded, err := decode(c, b)
		if c.Error != "" {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %s: got error %v, want one that wraps ErrMalformed", file, c.Name, err)
			} else if err.Error() != c.Error {
				t.Errorf("%s: %s: got error %q, want %q", file, c.Name, err, c.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %s: decode: %v", file, c.Name, err)
			continue
		}
		if diff := cmp.Diff(c.Decoded, decoded); diff != "" {
			t.Errorf("%s: %s: decoded differently (-want +got):\n%s", file, c.Name, diff)
		}
		if again := encode(c); !bytes.Equal(again, b) {
			t.Errorf("%s: %s: encoded again as %x, want %x", file, c.Name, again, b)
		}
	}
}

func encodeVectors[T any](t *testing.T, cases []vector[T]) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(cases); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func headersOf(in []vectorHeader) []Header {
	var out []Header
	for _, h := range in {
		out = append(out, Header{Name: h.Name, Value: h.Value})
	}
	return out
}

func vectorHeaders(in []Header) []vectorHeader {
	out := make([]vectorHeader, 0, len(in))
	for _, h := range in {
		out = append(out, vectorHeader{Name: h.Name, Value: h.Value})
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func nullString(s *string) NullString {
	if s == nil {
		return NullString{}
	}
	return NullString{*s, true}
}

func (s NullString) pointer() *string {
	if !s.Valid {
		return nil
	}
	return &s.String
}

func TestInfoVectors(t *testing.T) {
	cases := []vector[vectorInfo]{
		{Name: "produce, nothing known", Decoded: &vectorInfo{Topic: "t", Partition: -1, ProducerID: -1}},
		{Name: "fetch, all known", Decoded: &vectorInfo{Topic: "light.measured", Partition: 3, ProducerID: 4001, Transactional: true, Fetch: true, ClientID: ptr("app-1"), Principal: ptr("User:alice")}},
		{Name: "empty is not unknown", Decoded: &vectorInfo{Topic: "é", ProducerID: -1, ClientID: ptr(""), Principal: ptr("")}},
		{Name: "wrong size", Hex: "21000000" + "ffffffff" + "ffffffffffffffff" + "00000000" + "00000000" + "ffffffff" + "ffffffff", Error: "decode info of 32 bytes: malformed"},
		{Name: "unknown flag", Hex: "20000000" + "ffffffff" + "ffffffffffffffff" + "04000000" + "00000000" + "ffffffff" + "ffffffff", Error: "decode info of 32 bytes: malformed"},
		{Name: "length -2", Hex: "20000000" + "ffffffff" + "ffffffffffffffff" + "00000000" + "00000000" + "feffffff" + "ffffffff", Error: "decode info of 32 bytes: malformed"},
		{Name: "cut", Hex: "1f000000" + "ffffffff" + "ffffffffffffffff" + "00000000" + "00000000" + "ffffffff" + "ffffff", Error: "decode info of 31 bytes: malformed"},
	}
	checkVectors(t, "info.json", cases, func(c vector[vectorInfo]) []byte {
		d := c.Decoded
		return AppendInfo(nil, &Info{d.Topic, d.Partition, d.ProducerID, d.Transactional, d.Fetch, nullString(d.ClientID), nullString(d.Principal)})
	}, func(_ vector[vectorInfo], b []byte) (*vectorInfo, error) {
		var i Info
		err := DecodeInfo(b, &i)
		return &vectorInfo{i.Topic, i.Partition, i.ProducerID, i.Transactional, i.Fetch, i.ClientID.pointer(), i.Principal.pointer()}, err
	})
}

func TestEntryVectors(t *testing.T) {
	both := []vectorHeader{{"a", hexBytes("1")}, {"a", nil}, {"", hexBytes{}}}
	cases := []vector[[]vectorEntry]{
		{Name: "all fields", Fields: FieldsAll, Decoded: &[]vectorEntry{
			{KeyLen: 1, ValueLen: 2, NumHeaders: 3, Timestamp: 1700000000123, Offset: 7, Key: hexBytes("k"), Value: hexBytes("{}"), Headers: both},
			{KeyLen: -1, ValueLen: -1, Timestamp: -1, Offset: 8, LogAppendTime: true, Headers: []vectorHeader{}},
		}},
		{Name: "null is not empty", Fields: FieldKey | FieldValue, Decoded: &[]vectorEntry{
			{KeyLen: 0, ValueLen: -1, Key: hexBytes{}, Headers: []vectorHeader{}},
			{KeyLen: -1, ValueLen: 0, Value: hexBytes{}, Headers: []vectorHeader{}},
		}},
		{Name: "no fields: lengths only", Decoded: &[]vectorEntry{{KeyLen: 10, ValueLen: 1 << 30, NumHeaders: 5, Headers: []vectorHeader{}}}},
		{Name: "meta only", Fields: FieldMeta, Decoded: &[]vectorEntry{{KeyLen: -1, ValueLen: 3, Timestamp: 1, Offset: 1 << 40, Headers: []vectorHeader{}}}},
		{Name: "headers only", Fields: FieldHeaders, Decoded: &[]vectorEntry{{KeyLen: 4, ValueLen: 4, NumHeaders: 3, Headers: both}}},
		{Name: "eight bytes need no padding", Fields: FieldValue, Decoded: &[]vectorEntry{{KeyLen: -1, ValueLen: 8, Value: hexBytes("12345678"), Headers: []vectorHeader{}}}},
		{Name: "no records", Fields: FieldsAll, Decoded: &[]vectorEntry{}},
		{Name: "size is no multiple of 8", Hex: "11000000ffffffffffffffff0000000000", Error: "decode entry: size 17, 17 bytes left: malformed"},
		{Name: "size past the end", Hex: "18000000ffffffffffffffff00000000", Error: "decode entry: size 24, 16 bytes left: malformed"},
		{Name: "size 0", Hex: "00000000ffffffffffffffff00000000", Error: "decode entry: size 0, 16 bytes left: malformed"},
		{Name: "length -2", Hex: "10000000feffffffffffffff00000000", Error: "decode entry: size 16, 16 bytes left: malformed"},
		{Name: "padding is not zero", Fields: FieldKey, Hex: "1800000001000000ffffffff000000006b00000000000001", Error: "decode entry: size 24, 24 bytes left: malformed"},
		{Name: "eight bytes of padding", Hex: "18000000ffffffffffffffff000000000000000000000000", Error: "decode entry: size 24, 24 bytes left: malformed"},
		{Name: "key past the entry", Fields: FieldKey, Hex: "1800000009000000ffffffff000000006b00000000000000", Error: "decode entry: size 24, 24 bytes left: malformed"},
		{Name: "more headers than bytes", Fields: FieldHeaders, Hex: "18000000ffffffffffffffffffffffff0000000000000000", Error: "decode entry: size 24, 24 bytes left: malformed"},
		{Name: "unknown flag", Fields: FieldMeta, Hex: "28000000ffffffffffffffff00000000" + "00000000000000000000000000000000" + "0200000000000000", Error: "decode entry: size 40, 40 bytes left: malformed"},
		{Name: "reserved word is not zero", Fields: FieldMeta, Hex: "28000000ffffffffffffffff00000000" + "00000000000000000000000000000000" + "0000000001000000", Error: "decode entry: size 40, 40 bytes left: malformed"},
	}
	for i := range cases {
		if c := &cases[i]; c.Decoded != nil && len(*c.Decoded) == 0 {
			c.Hex = "" // no records are no bytes
		}
	}
	checkVectors(t, "entries.json", cases, func(c vector[[]vectorEntry]) []byte {
		var b []byte
		for _, d := range *c.Decoded {
			e := Entry{Record: Record{Key: d.Key, Value: d.Value, Headers: headersOf(d.Headers), Timestamp: d.Timestamp, Offset: d.Offset, LogAppendTime: d.LogAppendTime}, KeyLen: d.KeyLen, ValueLen: d.ValueLen, NumHeaders: d.NumHeaders}
			b = e.AppendTo(b, c.Fields)
		}
		return b
	}, func(c vector[[]vectorEntry], b []byte) (*[]vectorEntry, error) {
		out := []vectorEntry{}
		for len(b) > 0 {
			var e Entry
			var err error
			if b, err = NextEntry(b, c.Fields, &e); err != nil {
				return nil, err
			}
			out = append(out, vectorEntry{e.KeyLen, e.ValueLen, e.NumHeaders, e.Timestamp, e.Offset, e.LogAppendTime, e.Key, e.Value, vectorHeaders(e.Headers)})
		}
		return &out, nil
	})
}

func TestVerdictVectors(t *testing.T) {
	cases := []vector[[]vectorVerdict]{
		{Name: "every operation", Records: 100, Decoded: &[]vectorVerdict{
			{Op: OpDrop, Critical: true, First: 0, Count: 10},
			{Op: OpReplace, Critical: true, First: 12, Count: 1, Mask: FieldValue, Value: hexBytes("new")},
			{Op: OpReject, Critical: true, First: 13, Count: 2, Reason: ptr("price: must be positive")},
			{Op: OpDeadLetter, Critical: true, First: 99, Count: 1, Reason: ptr("")},
		}},
		{Name: "replace: all parts but headers", Records: 1, Decoded: &[]vectorVerdict{{Op: OpReplace, Count: 1,
			Mask: FieldKey | FieldValue | FieldRemove | FieldAdd, Key: nil, Value: hexBytes("v"),
			Remove: []string{"old", ""}, Add: []vectorHeader{{"new", hexBytes("1")}, {"null", nil}}}}},
		{Name: "replace: all headers", Records: 1, Decoded: &[]vectorVerdict{{Op: OpReplace, Critical: true, Count: 1,
			Mask: FieldHeaders, Headers: []vectorHeader{{"a", hexBytes("1")}, {"a", hexBytes{}}}}}},
		{Name: "unknown operation, not critical", Records: 9, Decoded: &[]vectorVerdict{{Op: 4711, First: 3, Count: 2, Payload: hexBytes("xyz")}, {Op: OpDrop, Critical: true, First: 5, Count: 1}}},
		{Name: "the flag does not matter to known operations", Records: 1, Decoded: &[]vectorVerdict{{Op: OpDrop, Count: 1}}},
	}
	drop := func(flags, size, first, count string) string {
		return "0100" + flags + size + first + count
	}
	replace := func(size, payload string) string {
		return "02000100" + size + "00000000" + "01000000" + payload
	}
	for _, bad := range []struct{ name, hex, err string }{
		{"cut", "01000100100000000000000001", "verdict 0: 13 bytes left, an entry begins with 16"},
		{"unknown flag", drop("0300", "10000000", "00000000", "01000000"), "verdict 0: unknown flags 0x3"},
		{"size below 16", drop("0100", "0f000000", "00000000", "01000000"), "verdict 0: size 15, 16 bytes left"},
		{"size past the end", drop("0100", "11000000", "00000000", "01000000"), "verdict 0: size 17, 16 bytes left"},
		{"no records", drop("0100", "10000000", "00000000", "00000000"), "verdict 0: no records"},
		{"past the batch", drop("0100", "10000000", "09000000", "02000000"), "verdict 0: records 9 to 10 of a batch of 10"},
		{"count that overflows", drop("0100", "10000000", "01000000", "ffffffff"), "verdict 0: records 1 to 4294967295 of a batch of 10"},
		{"overlap", drop("0100", "10000000", "00000000", "02000000") + drop("0100", "10000000", "01000000", "01000000"), "verdict 1: index 1 after 1: not in ascending order"},
		{"drop with a payload", drop("0100", "14000000", "00000000", "01000000") + "00000000", "verdict 0: drop with a payload of 4 bytes"},
		{"unknown operation, critical", "05000100" + "10000000" + "00000000" + "01000000", "verdict 0: unknown operation 5 is marked critical"},
		{"operation 0", "00000100" + "10000000" + "00000000" + "01000000", "verdict 0: unknown operation 0 is marked critical"},
		{"reject without a text", "03000100" + "10000000" + "00000000" + "01000000", "verdict 0: reject: payload of 0 bytes is not a length and a text of that length"},
		{"reject with bytes left over", "03000100" + "16000000" + "00000000" + "01000000" + "01000000" + "6161", "verdict 0: reject: payload of 6 bytes is not a length and a text of that length"},
		{"reject with a text that is not UTF-8", "03000100" + "15000000" + "00000000" + "01000000" + "01000000" + "ff", "verdict 0: reject: text is not UTF-8"},
		{"replace of two records", "02000100" + "18000000" + "00000000" + "02000000" + "02000000" + "ffffffff", "verdict 0: replace of 2 records, want 1"},
		{"replace without a mask", replace("10000000", ""), "verdict 0: replace: payload of 0 bytes has no mask"},
		{"replace with mask 0", replace("14000000", "00000000"), "verdict 0: replace: mask 0x0"},
		{"replace with meta", replace("14000000", "01000000"), "verdict 0: replace: mask 0x1"},
		{"replace that sets and adds headers", replace("14000000", "28000000"), "verdict 0: replace: mask 0x28 sets all headers and also removes or adds some"},
		{"replace with key length -2", replace("18000000", "02000000"+"feffffff"), "verdict 0: replace: parts do not fit into 8 bytes"},
		{"replace with bytes left over", replace("19000000", "02000000"+"ffffffff"+"00"), "verdict 0: replace: 1 bytes after the parts"},
		{"replace with more headers than bytes", replace("18000000", "20000000"+"ffffffff"), "verdict 0: replace: parts do not fit into 8 bytes"},
		{"add of a reserved header", replace("27000000", "20000000"+"01000000"+"07000000"+"ffffffff"+"736c756963652e"), `verdict 0: replace: header "sluice.": names that begin with "sluice." belong to the gateway`},
	} {
		cases = append(cases, vector[[]vectorVerdict]{Name: bad.name, Records: 10, Hex: bad.hex, Error: bad.err + ": malformed"})
	}
	checkVectors(t, "verdicts.json", cases, encodeVerdicts, decodeVerdicts)
}

func encodeVerdicts(c vector[[]vectorVerdict]) []byte {
	var b []byte
	for _, d := range *c.Decoded {
		v := Verdict{Op: d.Op, Critical: d.Critical, First: d.First, Count: d.Count, Payload: d.Payload}
		if d.Reason != nil {
			v.Reason = *d.Reason
		}
		v.Patch = Patch{Mask: d.Mask, Key: d.Key, Value: d.Value, Headers: headersOf(d.Headers), Remove: d.Remove, Add: headersOf(d.Add)}
		b = AppendVerdict(b, &v)
	}
	return b
}

func decodeVerdicts(c vector[[]vectorVerdict], b []byte) (*[]vectorVerdict, error) {
	if err := CheckVerdicts(b, c.Records); err != nil {
		return nil, err
	}
	out := []vectorVerdict{}
	r := NewVerdictReader(b, c.Records)
	for {
		var v Verdict
		if !r.Next(&v) {
			return &out, r.Err()
		}
		d := vectorVerdict{Op: v.Op, Critical: v.Critical, First: v.First, Count: v.Count, Mask: v.Patch.Mask, Key: v.Patch.Key, Value: v.Patch.Value, Remove: v.Patch.Remove}
		switch v.Op {
		case OpReject, OpDeadLetter:
			d.Reason = &v.Reason
		case OpDrop, OpReplace:
		default:
			d.Payload = v.Payload
		}
		if v.Patch.Mask&FieldHeaders != 0 {
			d.Headers = vectorHeaders(v.Patch.Headers)
		}
		if v.Patch.Mask&FieldAdd != 0 {
			d.Add = vectorHeaders(v.Patch.Add)
		}
		out = append(out, d)
	}
}

func TestPathVectors(t *testing.T) {
	cases := []vector[[]string]{
		{Name: "two paths", Decoded: &[]string{"$.a.b", "$['a b'][0]"}},
		{Name: "none", Decoded: &[]string{}},
		{Name: "more than the bytes hold", Hex: "ffffffff00000000", Error: "decode paths of 8 bytes: malformed"},
		{Name: "bytes left over", Hex: "0000000000", Error: "decode paths of 5 bytes: malformed"},
		{Name: "cut", Hex: "01000000020000002e", Error: "decode paths of 9 bytes: malformed"},
	}
	checkVectors(t, "paths.json", cases, func(c vector[[]string]) []byte {
		return AppendPaths(nil, *c.Decoded)
	}, func(_ vector[[]string], b []byte) (*[]string, error) {
		paths, err := DecodePaths(b)
		return &paths, err
	})
}

func TestJSONVectors(t *testing.T) {
	cases := []vector[[]vectorJSON]{
		{Name: "every kind", Paths: 8, Decoded: &[]vectorJSON{{Status: JSONOK, Values: []vectorValue{
			{Kind: KindNothing}, {Kind: KindNull}, {Kind: KindFalse}, {Kind: KindTrue},
			{Kind: KindNumber, Number: "1.5", Text: hexBytes("1.50")},
			{Kind: KindString, Text: hexBytes("\u00e9")},
			{Kind: KindObject, Text: hexBytes(`{"a": 1}`)},
			{Kind: KindArray, Text: hexBytes("[]")},
		}}}},
		{Name: "three records", Paths: 1, Decoded: &[]vectorJSON{
			{Status: JSONBad},
			{Status: JSONNull},
			{Status: JSONOK, Values: []vectorValue{{Kind: KindNumber, Number: "+Inf", Text: hexBytes("1e999")}}},
		}},
		{Name: "the empty string", Paths: 1, Decoded: &[]vectorJSON{{Status: JSONOK, Values: []vectorValue{{Kind: KindString, Text: hexBytes{}}}}}},
		{Name: "unknown status", Hex: "0300000008000000", Error: "decode json entry: status 3, size 8 of 8 bytes: malformed"},
		{Name: "size below 8", Hex: "0100000007000000", Error: "decode json entry: status 1, size 7 of 8 bytes: malformed"},
		{Name: "values with status 1", Paths: 1, Hex: "01000000100000000000000000000000", Error: "decode json entry of 16 bytes: malformed"},
		{Name: "unknown kind", Paths: 1, Hex: "00000000100000000800000000000000", Error: "decode json entry of 16 bytes: malformed"},
		{Name: "true with bytes", Paths: 1, Hex: "000000001800000003000000010000006100000000000000", Error: "decode json entry of 24 bytes: malformed"},
		{Name: "number that is not a number", Paths: 1, Hex: "00000000180000000400000008000000" + "000000000000f87f", Error: "decode json entry of 24 bytes: malformed"},
		{Name: "padding is not zero", Paths: 1, Hex: "000000001800000005000000010000006100000000000001", Error: "decode json entry of 24 bytes: malformed"},
		{Name: "fewer values than paths", Paths: 2, Hex: "00000000100000000000000000000000", Error: "decode json entry of 16 bytes: malformed"},
	}
	checkVectors(t, "json.json", cases, func(c vector[[]vectorJSON]) []byte {
		var b []byte
		for _, d := range *c.Decoded {
			var values []JSONValue
			for _, v := range d.Values {
				n, _ := strconv.ParseFloat(v.Number, 64)
				values = append(values, JSONValue{v.Kind, n, v.Text})
			}
			b = AppendJSON(b, d.Status, values)
		}
		return b
	}, func(c vector[[]vectorJSON], b []byte) (*[]vectorJSON, error) {
		out := []vectorJSON{}
		for len(b) > 0 {
			values := make([]JSONValue, c.Paths)
			s, rest, err := NextJSON(b, values)
			if err != nil {
				return nil, err
			}
			d := vectorJSON{Status: s}
			for _, v := range values {
				if s != JSONOK {
					break
				}
				w := vectorValue{Kind: v.Kind, Text: v.Text}
				if v.Kind == KindNumber {
					w.Number = strconv.FormatFloat(v.Number, 'g', -1, 64)
				}
				d.Values = append(d.Values, w)
			}
			out, b = append(out, d), rest
		}
		return &out, nil
	})
}

// Bytes that were written by hand from the specification, so that a mistake
// which encoder and decoder share is seen.
func TestBytesBySpecification(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"entry", AppendEntry(nil, &Record{Key: []byte("k"), Headers: []Header{{Name: "h"}}, Timestamp: 2, Offset: 3, LogAppendTime: true}, FieldsAll),
			"38000000" + "01000000" + "ffffffff" + "01000000" + "0200000000000000" + "0300000000000000" + "01000000" + "00000000" +
				"6b" + "01000000" + "ffffffff" + "68" + "000000000000"},
		{"drop", AppendDrop(nil, 1, 2), "0100" + "0100" + "10000000" + "01000000" + "02000000"},
		{"reject", AppendReject(nil, 1, 1, "no"), "0300" + "0100" + "16000000" + "01000000" + "01000000" + "02000000" + "6e6f"},
		{"replace", AppendReplace(nil, 5, &Patch{Mask: FieldValue | FieldAdd, Value: []byte{}, Add: []Header{{Name: "h", Value: []byte("v")}}}),
			"0200" + "0100" + "26000000" + "05000000" + "01000000" + "24000000" + "00000000" + "01000000" + "01000000" + "01000000" + "68" + "76"},
		{"paths", AppendPaths(nil, []string{"$"}), "01000000" + "01000000" + "24"},
		{"json", AppendJSON(nil, JSONOK, []JSONValue{{Kind: KindNumber, Number: 1, Text: []byte("1")}}),
			"00000000" + "20000000" + "04000000" + "09000000" + "000000000000f03f" + "31" + "00000000000000"},
		{"info", AppendInfo(nil, &Info{Topic: "t", Partition: 1, ProducerID: -1, Fetch: true, Principal: NullString{"p", true}}),
			"22000000" + "01000000" + "ffffffffffffffff" + "02000000" + "01000000" + "ffffffff" + "01000000" + "74" + "70"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestCopyHeaders(t *testing.T) {
	headers := []Header{{"a", []byte("12")}, {"", nil}, {"bcd", []byte{}}}
	whole := AppendHeaders(nil, headers)
	for offset := 0; offset <= len(whole)+1; offset++ {
		for size := 0; size <= len(whole)+1; size++ {
			dst := make([]byte, size)
			n := CopyHeaders(dst, headers, offset)
			from := min(offset, len(whole))
			if want := whole[from:min(from+size, len(whole))]; !bytes.Equal(dst[:n], want) {
				t.Fatalf("offset %d, size %d: got %x, want %x", offset, size, dst[:n], want)
			}
		}
	}
	if n := CopyHeaders(make([]byte, 8), headers, math.MinInt); n != 0 {
		t.Errorf("negative offset: copied %d bytes, want 0", n)
	}
}

func TestPatchApply(t *testing.T) {
	record := Record{Key: []byte("k"), Value: []byte("v"), Offset: 5, Headers: []Header{{"a", []byte("1")}, {"b", nil}, {"a", []byte("2")}}}
	for _, c := range []struct {
		name  string
		patch Patch
		want  Record
	}{
		{"key to null", Patch{Mask: FieldKey}, Record{Value: []byte("v"), Offset: 5, Headers: record.Headers}},
		{"parts outside the mask do nothing", Patch{Mask: FieldValue, Value: []byte("w"), Key: []byte("x"), Add: record.Headers}, Record{Key: []byte("k"), Value: []byte("w"), Offset: 5, Headers: record.Headers}},
		{"remove every one of a name, then add", Patch{Mask: FieldRemove | FieldAdd, Remove: []string{"a"}, Add: []Header{{"a", []byte("3")}}},
			Record{Key: []byte("k"), Value: []byte("v"), Offset: 5, Headers: []Header{{"b", nil}, {"a", []byte("3")}}}},
		{"all headers", Patch{Mask: FieldHeaders, Headers: []Header{{"z", nil}}}, Record{Key: []byte("k"), Value: []byte("v"), Offset: 5, Headers: []Header{{"z", nil}}}},
	} {
		buf := []Header{{"earlier", nil}}
		got, buf := c.patch.Apply(record, buf)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if buf[0].Name != "earlier" {
			t.Errorf("%s: the buffer's content is gone", c.name)
		}
	}
}

// Many headers and many names to remove, which a guest and a client can make
// at once: comparing each with each would take minutes, without an end that
// anybody can bring about.
func TestPatchRemovesManyQuickly(t *testing.T) {
	const n = 1 << 18
	patch := Patch{Mask: FieldRemove, Remove: make([]string, n)}
	record := Record{Headers: make([]Header, n)}
	for i := range n {
		patch.Remove[i] = fmt.Sprintf("remove-%d", i)
		record.Headers[i].Name = fmt.Sprintf("keep-%d", i)
	}
	record.Headers[n/2].Name = patch.Remove[n-1]
	start := time.Now()
	got, _ := patch.Apply(record, nil)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if len(got.Headers) != n-1 || got.Headers[n/2].Name != fmt.Sprintf("keep-%d", n/2+1) {
		t.Errorf("%d headers are left, want all but one", len(got.Headers))
	}
}

func TestReason(t *testing.T) {
	long := bytes.Repeat([]byte("é"), MaxReasonBytes)
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"ok", "ok"},
		{"a\xffb", "a\uFFFDb"},
		{"x" + string(long), "x" + string(long[:MaxReasonBytes-2])},
		{string(long), string(long[:MaxReasonBytes])},
	} {
		if got := Reason(c.in); got != c.want {
			t.Errorf("Reason of %d bytes: got %d bytes, want %d", len(c.in), len(got), len(c.want))
		}
	}
}

func TestVerdictHeaderLimit(t *testing.T) {
	p := Patch{Mask: FieldAdd, Add: make([]Header, MaxVerdictHeaders)}
	stream := AppendReplace(nil, 0, &p)
	if err := CheckVerdicts(stream, 2); err != nil {
		t.Fatalf("as many headers as allowed: %v", err)
	}
	stream = AppendReplace(stream, 1, &Patch{Mask: FieldRemove, Remove: []string{"a"}})
	if err := CheckVerdicts(stream, 2); !errors.Is(err, ErrMalformed) {
		t.Errorf("one header more: got error %v, want one that wraps ErrMalformed", err)
	}
}
