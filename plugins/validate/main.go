// Validate judges records by the schema that an AsyncAPI document has for
// their topic. The gateway does the judging; this module decides what
// happens to records that are invalid. README.md tells its configuration.
package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluicegate/sluice/abi"
	sluice "github.com/sluicegate/sluice/sdk/go"
)

// errorHeader carries the verdict of on_invalid: annotate.
const errorHeader = "_asyncapi_eg_validation_error"

// maxErrors bounds the texts about one record in a header, in bytes of
// JSON. A record of a thousand mistakes must not outgrow its broker's limit.
const maxErrors = 8 << 10

func init() { sluice.RegisterNew(newValidate) }

func main() { sluice.Main() }

// config is the stage's configuration.
type config struct {
	Document  string `json:"document"`
	OnInvalid string `json:"on_invalid"`
}

// validate is one configured instance.
type validate struct {
	document *sluice.Document
	act      func(b *sluice.Batch, s sluice.Schema, statuses []sluice.Status, invalid int)

	annotation []byte // reused
}

func newValidate(s *sluice.Setup) (sluice.Process, error) {
	c := config{OnInvalid: "annotate"}
	if err := s.Decode(&c); err != nil {
		return nil, err
	}
	if c.Document == "" {
		return nil, fmt.Errorf("config: document is missing: name one of the gateway's documents")
	}
	v := &validate{}
	switch c.OnInvalid {
	case "annotate":
		s.Verdicts(abi.OpReplace)
		v.act = v.annotate
	case "reject":
		if s.Fetch {
			return nil, fmt.Errorf("config: on_invalid: reject works on produce only; records that are stored can be annotated or dead-lettered")
		}
		s.Verdicts(abi.OpReject)
		v.act = reject
	case "dead-letter":
		s.Verdicts(abi.OpDeadLetter)
		v.act = deadLetter
	default:
		return nil, fmt.Errorf("config: on_invalid: %q is none of annotate, reject, dead-letter", c.OnInvalid)
	}
	v.document = s.Document(c.Document)
	return v.process, nil
}

func (v *validate) process(b *sluice.Batch) error {
	schema, ok := v.document.Schema(b.Topic())
	if !ok {
		return nil
	}
	statuses, invalid := schema.Check(b)
	v.act(b, schema, statuses, invalid)
	return nil
}

func reject(b *sluice.Batch, s sluice.Schema, statuses []sluice.Status, invalid int) {
	each(statuses, invalid, func(i int) { b.Reject(i, reason(s, b, i)) })
}

func deadLetter(b *sluice.Batch, s sluice.Schema, statuses []sluice.Status, invalid int) {
	each(statuses, invalid, func(i int) { b.DeadLetter(i, reason(s, b, i)) })
}

// each calls f with the index of each of the invalid records.
func each(statuses []sluice.Status, invalid int, f func(i int)) {
	for i := 0; invalid > 0; i++ {
		if statuses[i] == sluice.StatusInvalid {
			f(i)
			invalid--
		}
	}
}

func reason(s sluice.Schema, b *sluice.Batch, i int) string {
	return strings.Join(s.Errors(b, i), "; ")
}

// annotate adds the header to invalid records and takes it from the others:
// behind this stage the header is the stage's word and nobody else's.
func (v *validate) annotate(b *sluice.Batch, s sluice.Schema, statuses []sluice.Status, invalid int) {
	forged := b.HasHeaders() // most producers send none
	if forged {
		for r := range b.Records(sluice.FieldHeaders) {
			if statuses[r.Index] != sluice.StatusInvalid && hasErrorHeader(r.Headers) {
				r.RemoveHeader(errorHeader)
			}
		}
	}
	each(statuses, invalid, func(i int) {
		if forged {
			b.RemoveHeader(i, errorHeader)
		}
		b.AddHeader(i, errorHeader, v.errorValue(s, b, i))
	})
}

func hasErrorHeader(headers []sluice.Header) bool {
	for i := range headers {
		if headers[i].Name == errorHeader {
			return true
		}
	}
	return false
}

// errorValue returns {"ts": ..., "errors": [...]}, valid until the next call.
// The time is the batch's, so that a batch that is sent again gets the same
// bytes.
func (v *validate) errorValue(s sluice.Schema, b *sluice.Batch, i int) []byte {
	out := append(v.annotation[:0], `{"ts":"`...)
	out = b.Now().UTC().AppendFormat(out, time.RFC3339Nano)
	out = append(out, `","errors":`...)
	if errors := s.ErrorsJSON(b, i); len(errors) <= maxErrors {
		out = append(out, errors...)
	} else {
		out = append(out, shorten(s.Errors(b, i))...)
	}
	v.annotation = append(out, '}')
	return v.annotation
}

// shorten returns as many texts as fit into maxErrors as a JSON array, with
// a last one that says how many are left out.
func shorten(texts []string) []byte {
	size, n := 0, 0
	for n < len(texts) && size+2*len(texts[n]) < maxErrors { // escaped, a text may be longer
		size += 2*len(texts[n]) + 3
		n++
	}
	texts = append(texts[:n:n], fmt.Sprintf("and %d more", len(texts)-n))
	b, err := json.Marshal(texts)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}
