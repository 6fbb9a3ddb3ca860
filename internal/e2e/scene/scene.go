// Package scene is what the end-to-end tests play: one set of pipelines whose
// topics are named after the verdict that their invalid records get, records,
// and the judge of what must have become of them.
//
// The first part of a topic's name, up to the first dot, is its verdict:
// "reject.java-plain" is a topic whose invalid records are rejected.
package scene

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// Verdict is what a pipeline does with an invalid record.
type Verdict string

// The verdicts.
const (
	Pass       Verdict = "pass" // no pipeline matches
	Annotate   Verdict = "annotate"
	Reject     Verdict = "reject"
	Drop       Verdict = "drop"
	DeadLetter Verdict = "dead"
	FetchDrop  Verdict = "hide" // dropped on fetch, stored unchanged
)

// Verdicts are those of produce pipelines.
var Verdicts = []Verdict{Annotate, Reject, Drop, DeadLetter}

// VerdictOf is the verdict of a topic.
func VerdictOf(topic string) Verdict {
	v, _, _ := strings.Cut(topic, ".")
	return Verdict(v)
}

// DeadLetters is the topic that dead letters go to.
const DeadLetters = "dead-letters"

// ErrorHeader is the header that annotate adds.
const ErrorHeader = "_asyncapi_eg_validation_error"

// Pipelines is the configuration of all verdicts, from "documents:" on.
const Pipelines = `documents:
  - name: demo
    file: demo.yaml
pipelines:
  - name: annotated
    topics: ["annotate.*"]
    on: produce
    stages:
      - {plugin: validate, config: {document: demo, on_invalid: annotate}}
  - name: rejected
    topics: ["reject.*"]
    on: produce
    stages:
      - {plugin: validate, config: {document: demo, on_invalid: reject}}
  - name: dead
    topics: ["dead.*"]
    on: produce
    stages:
      - {plugin: validate, config: {document: demo, on_invalid: dead-letter}, dead_letter: dead-letters}
  - name: dropped
    topics: ["drop.*"]
    on: produce
    stages:
      - {plugin: filter, config: {when: {json: "$.drop", eq: true}, then: drop, else: keep}}
  - name: hidden
    topics: ["hide.*"]
    on: fetch
    stages:
      - {plugin: filter, config: {when: {json: "$.drop", eq: true}, then: drop, else: keep}}
`

// Document is demo.yaml, to which Pipelines refers.
const Document = `asyncapi: 3.0.0
info: {title: Lights, version: 1.0.0}
channels:
  annotate:
    address: annotate.{name}
    parameters: {name: {}}
    messages: {lightMeasured: {$ref: '#/components/messages/lightMeasured'}}
  reject:
    address: reject.{name}
    parameters: {name: {}}
    messages: {lightMeasured: {$ref: '#/components/messages/lightMeasured'}}
  dead:
    address: dead.{name}
    parameters: {name: {}}
    messages: {lightMeasured: {$ref: '#/components/messages/lightMeasured'}}
components:
  messages:
    lightMeasured:
      payload:
        type: object
        required: [lumens]
        properties:
          id: {type: string}
          lumens: {type: integer, minimum: 0}
          sentAt: {type: string, format: date-time}
`

// Files are the files that Pipelines needs beside it.
var Files = map[string]string{"demo.yaml": Document}

// Valid makes a record that every pipeline keeps.
func Valid(id string) clients.Record {
	return clients.Record{ID: id, Key: []byte("key-" + id), Value: fmt.Appendf(nil, `{"id":%q,"lumens":3}`, id)}
}

// Invalid makes a record that every pipeline passes its verdict on.
func Invalid(id string) clients.Record {
	return clients.Record{ID: id, Key: []byte("key-" + id), Value: fmt.Appendf(nil, `{"id":%q,"lumens":true,"drop":true}`, id)}
}

// invalid says which of the two a record is.
func invalid(r clients.Record) bool { return strings.Contains(string(r.Value), `"drop":true`) }

// Expect is what became of records according to their producer, and where
// they should be.
type Expect struct {
	Topic   string
	Records []clients.Record // those that were acknowledged, and committed if transactional
	Acks    []clients.Ack    // theirs, in the same order; nil if the client tells of none
}

// Add notes a group and its result. It returns an error if the group's answers
// themselves are wrong: an acknowledged record that must be rejected, a
// transaction that should have been committed.
func (e *Expect) Add(mode clients.Mode, g clients.Group, r clients.GroupResult, tellsAll bool) error {
	v := VerdictOf(e.Topic)
	bad := slices.ContainsFunc(g.Records, invalid)
	refused := r.Refused()
	if v != Reject || !bad {
		if len(refused) > 0 {
			return fmt.Errorf("%d of %d records were refused, want none: %v", len(refused), len(g.Records), refused)
		}
	} else if len(refused) == 0 {
		return fmt.Errorf("no record was refused, want the invalid ones to be: %v", r.Acks)
	}
	if mode == clients.Transactional {
		want := "committed"
		if g.Abort || len(refused) > 0 {
			want = "aborted"
		}
		if r.Transaction != want && !(want == "aborted" && strings.HasPrefix(r.Transaction, "failed: ")) {
			return fmt.Errorf("the transaction was %q, want it %s", r.Transaction, want)
		}
		if want == "aborted" {
			return nil
		}
	}
	for _, record := range g.Records {
		ack, told := r.ByID(record.ID)
		switch {
		case told && ack.Error == "" && v == Reject && invalid(record):
			return fmt.Errorf("record %s was acknowledged at %d/%d, want it rejected", record.ID, ack.Partition, ack.Offset)
		case told && ack.Error == "":
			e.Records, e.Acks = append(e.Records, record), append(e.Acks, ack)
		case !told && tellsAll:
			return fmt.Errorf("nothing was told about record %s", record.ID)
		case !told && len(refused) == 0:
			e.Records, e.Acks = append(e.Records, record), append(e.Acks, clients.Ack{ID: record.ID, Partition: -1})
		}
	}
	return nil
}

// Stored judges what the topic holds according to the brokers themselves: each
// acknowledged record at its offset in the form that its verdict demands, and
// nothing else.
func (e *Expect) Stored(stored []clients.Stored) (problems []string) {
	if len(stored) != len(e.Records) {
		problems = append(problems, fmt.Sprintf("%d records are stored, %d were acknowledged", len(stored), len(e.Records)))
	}
	for i, record := range e.Records {
		var at *clients.Stored
		if ack := e.Acks[i]; ack.Partition >= 0 {
			j := slices.IndexFunc(stored, func(s clients.Stored) bool { return s.Partition == ack.Partition && s.Offset == ack.Offset })
			if j < 0 {
				problems = append(problems, fmt.Sprintf("record %s: acknowledged at %d/%d, where nothing is", record.ID, ack.Partition, ack.Offset))
				continue
			}
			at = &stored[j]
		} else if i < len(stored) && e.told() == 0 {
			at = &stored[i]
		} else {
			continue
		}
		if err := e.form(record, *at); err != nil {
			problems = append(problems, fmt.Sprintf("record %s: %v\n      stored: %v", record.ID, err, *at))
		}
	}
	return problems
}

// told is the number of records whose offset is known.
func (e *Expect) told() (n int) {
	for _, a := range e.Acks {
		if a.Partition >= 0 {
			n++
		}
	}
	return n
}

// form says what is wrong with a stored record.
func (e *Expect) form(r clients.Record, s clients.Stored) error {
	v := VerdictOf(e.Topic)
	if invalid(r) && (v == Drop || v == DeadLetter) {
		return IsMarker(e.Topic, s)
	}
	if string(s.Key) != string(r.Key) || (s.Key == nil) != (r.Key == nil) {
		return fmt.Errorf("key %q, want %q", s.Key, r.Key)
	}
	if string(s.Value) != string(r.Value) || (s.Value == nil) != (r.Value == nil) {
		return fmt.Errorf("value %q, want %q", s.Value, r.Value)
	}
	headers := s.Headers
	if invalid(r) && v == Annotate {
		if len(headers) == 0 {
			return fmt.Errorf("no header %s", ErrorHeader)
		}
		if err := isErrorHeader(headers[len(headers)-1]); err != nil {
			return err
		}
		headers = headers[:len(headers)-1]
	}
	if got, want := fmt.Sprintf("%q", headers), fmt.Sprintf("%q", r.Headers); len(headers)+len(r.Headers) > 0 && got != want {
		return fmt.Errorf("headers %s, want %s", got, want)
	}
	return nil
}

func isErrorHeader(h clients.Header) error {
	var value struct {
		TS     string
		Errors []string
	}
	if h.Name != ErrorHeader {
		return fmt.Errorf("header %s, want %s", h.Name, ErrorHeader)
	}
	if err := json.Unmarshal(h.Value, &value); err != nil {
		return fmt.Errorf("header %s: %w: %q", h.Name, err, h.Value)
	}
	const want = "lumens: Invalid type. Expected: integer, given: boolean"
	if value.TS == "" || len(value.Errors) != 1 || value.Errors[0] != want {
		return fmt.Errorf("header %s: %s, want a ts and the error %q", h.Name, h.Value, want)
	}
	return nil
}

// IsMarker returns nil for a marker of the topic, or says what it is instead.
func IsMarker(topic string, s clients.Stored) error {
	switch code, ok := s.Header("sluice.dropped"); {
	case !ok || len(s.Headers) != 1:
		return fmt.Errorf("want a marker with the one header sluice.dropped")
	case s.Value != nil:
		return fmt.Errorf("a marker with a value")
	case len(s.Key) == 0:
		return fmt.Errorf("a marker without a key of its own")
	case !bytes.Equal(gateway.MarkerCode(topic, s.Key), code):
		return fmt.Errorf("a marker with a wrong code %s", base64.StdEncoding.EncodeToString(code))
	}
	return nil
}

// Seen judges what a consumer got through the gateway: every acknowledged
// record that was not dropped, in order, and no marker.
func (e *Expect) Seen(seen []clients.Stored) (problems []string) {
	v := VerdictOf(e.Topic)
	var want []clients.Record
	for _, r := range e.Records {
		if !invalid(r) || v != Drop && v != DeadLetter && v != FetchDrop {
			want = append(want, r)
		}
	}
	for _, s := range seen {
		if _, marker := s.Header("sluice.dropped"); marker {
			problems = append(problems, fmt.Sprintf("a marker is seen: %v", s))
		}
	}
	if len(seen) != len(want) {
		problems = append(problems, fmt.Sprintf("%d records are seen, want %d", len(seen), len(want)))
	}
	for _, r := range want {
		i := slices.IndexFunc(seen, func(s clients.Stored) bool {
			return string(s.Value) == string(r.Value) && string(s.Key) == string(r.Key)
		})
		if i < 0 {
			problems = append(problems, fmt.Sprintf("record %s is not seen", r.ID))
			continue
		}
		if err := e.form(r, seen[i]); err != nil {
			problems = append(problems, fmt.Sprintf("record %s: %v\n      seen: %v", r.ID, err, seen[i]))
		}
	}
	return problems
}

// Visible is the number of records that a consumer should see.
func (e *Expect) Visible() int {
	n := 0
	v := VerdictOf(e.Topic)
	for _, r := range e.Records {
		if !invalid(r) || v != Drop && v != DeadLetter && v != FetchDrop {
			n++
		}
	}
	return n
}

// Source is the value of the header sluice.source.
type Source struct {
	Cluster    string `json:"cluster"`
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	ProducerID int64  `json:"producer_id"`
	Epoch      int16  `json:"epoch"`
	Sequence   int32  `json:"sequence"`
	Index      int32  `json:"index"`
}

// SourceOf reads the header sluice.source of a dead letter.
func SourceOf(s clients.Stored) (src Source, err error) {
	value, ok := s.Header("sluice.source")
	if !ok {
		return src, fmt.Errorf("dead letter %v: no header sluice.source", s)
	}
	if err := json.Unmarshal(value, &src); err != nil {
		return src, fmt.Errorf("dead letter %v: sluice.source: %w", s, err)
	}
	return src, nil
}

// DeadLetters judges the dead letters of the topic among all that there are:
// each invalid record that was acknowledged has one with its key, value and a
// reason.
func (e *Expect) DeadLetters(letters []clients.Stored) (problems []string) {
	for _, r := range e.Records {
		if !invalid(r) {
			continue
		}
		found := false
		for _, l := range letters {
			if string(l.Value) != string(r.Value) || string(l.Key) != string(r.Key) {
				continue
			}
			src, err := SourceOf(l)
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
			if src.Topic != e.Topic {
				continue
			}
			found = true
			if reason, _ := l.Header("sluice.reason"); !strings.Contains(string(reason), "lumens") {
				problems = append(problems, fmt.Sprintf("record %s: its dead letter's reason is %q, want one about lumens", r.ID, reason))
			}
		}
		if !found {
			problems = append(problems, fmt.Sprintf("record %s: no dead letter", r.ID))
		}
	}
	return problems
}
