// Package schemas holds JSON Schemas by document and topic, for middlewares
// that run outside of a gateway. It judges as a gateway does, but slowly.
package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/xeipuuv/gojsonschema"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/sdk/go/internal/fake"
)

// AnyTopic stands for all topics of a document that are not in Set.
const AnyTopic = "*"

// Set holds schemas by document and topic. It implements fake.Schemas.
type Set map[string]map[string]fake.Schema

// Add compiles a schema for a topic of a document. compile is nil for
// [Compile].
func (s Set) Add(document, topic string, schema []byte, compile func([]byte) (fake.Schema, error)) error {
	if compile == nil {
		compile = Compile
	}
	c, err := compile(schema)
	if err != nil {
		return fmt.Errorf("schema of document %q, topic %q: %w", document, topic, err)
	}
	if s[document] == nil {
		s[document] = map[string]fake.Schema{}
	}
	s[document][topic] = c
	return nil
}

// Find returns the schema, nil where the document has none for the topic.
func (s Set) Find(document, topic string) (fake.Schema, error) {
	topics, ok := s[document]
	if !ok {
		return nil, fmt.Errorf("document %q is not configured", document)
	}
	if c, ok := topics[topic]; ok {
		return c, nil
	}
	if c, ok := topics[AnyTopic]; ok {
		return c, nil
	}
	return nil, nil
}

// schema judges with gojsonschema.
type schema struct{ compiled *gojsonschema.Schema }

// Compile compiles a JSON Schema.
func Compile(text []byte) (fake.Schema, error) {
	c, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(text))
	if err != nil {
		return nil, err
	}
	return schema{c}, nil
}

// Check judges one value.
func (s schema) Check(value []byte) (abi.Status, []string) {
	switch {
	case value == nil:
		return abi.StatusNull, nil
	case len(value) >= 5 && value[0] == 0:
		return abi.StatusFramed, nil
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return abi.StatusInvalid, []string{"not valid JSON: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return abi.StatusInvalid, []string{"not valid JSON: text after the value"}
	}
	result, err := s.compiled.Validate(gojsonschema.NewGoLoader(v))
	if err != nil {
		return abi.StatusInvalid, []string{err.Error()}
	}
	if result.Valid() {
		return abi.StatusValid, nil
	}
	texts := []string{}
	for _, e := range result.Errors() {
		texts = append(texts, e.String())
	}
	slices.Sort(texts) // the judge's own order changes from run to run
	return abi.StatusInvalid, texts
}
