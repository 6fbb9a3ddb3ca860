package lines

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluicegate/sluice/abi"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		want abi.Record
	}{
		{`{}`, abi.Record{Timestamp: -1}},
		{`{"key": null, "value": ""}`, abi.Record{Value: []byte{}, Timestamp: -1}},
		{`{"key": "k", "value": {"a":  1}}`, abi.Record{Key: []byte("k"), Value: []byte(`{"a":  1}`), Timestamp: -1}},
		{`{"key": 5, "value": "\"text\""}`, abi.Record{Key: []byte("5"), Value: []byte(`"text"`), Timestamp: -1}},
		{`{"value_hex": "00ff", "timestamp": 7, "offset": 2, "log_append_time": true}`, abi.Record{Value: []byte{0, 255}, Timestamp: 7, Offset: 2, LogAppendTime: true}},
		{`{"headers": [["a", "1"], ["a", null], ["b", null, "ff"]]}`, abi.Record{Timestamp: -1, Headers: []abi.Header{{Name: "a", Value: []byte("1")}, {Name: "a"}, {Name: "b", Value: []byte{255}}}}},
	} {
		got, err := Parse([]byte(c.line))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.line, diff)
		}
		again, err := Parse(Append(nil, &got))
		if err != nil {
			t.Errorf("%s was written as %s: %v", c.line, Append(nil, &got), err)
		} else if diff := cmp.Diff(c.want, again); diff != "" {
			t.Errorf("%s was written as %s (-want +got):\n%s", c.line, Append(nil, &got), diff)
		}
	}
	for _, bad := range []string{``, `[]`, `{"keys": 1}`, `{"key_hex": "x"}`, `{"headers": [["a"]]}`, `{} {}`, `{"timestamp": "now"}`} {
		if r, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, r)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte("k"), []byte(`{"a":1}`), "h", []byte{255}, int64(5))
	f.Add([]byte("null"), []byte(" 1\n"), "é", []byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, ts int64) {
		r := abi.Record{Key: key, Value: value, Headers: []abi.Header{{Name: strings.ToValidUTF8(name, "?"), Value: header}}, Timestamp: ts}
		line := Append(nil, &r)
		got, err := Parse(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	})
}
