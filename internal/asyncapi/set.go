package asyncapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/jsonschema"
)

// Set is documents by name. It is what answers guests that import
// sluice:schema/1. It does not change and may be used by several goroutines at
// once.
type Set struct {
	docs    map[string]*Document
	schemas map[*jsonschema.Schema]*jsonschema.Schema // by the document's own: counting
}

var _ host.Schemas = (*Set)(nil)

// NewSet returns a set of documents. Values that are checked by way of it are
// counted in stats if that is not nil. The map is not kept.
func NewSet(docs map[string]*Document, stats *jsonschema.Stats) *Set {
	s := &Set{docs: maps.Clone(docs), schemas: map[*jsonschema.Schema]*jsonschema.Schema{}}
	for _, d := range docs {
		for _, t := range d.topics.all {
			if t.schema != nil && stats != nil {
				s.schemas[t.schema] = t.schema.WithStats(stats)
			}
		}
	}
	return s
}

// Find implements [host.Schemas].
func (s *Set) Find(document, topic string) (host.Schema, error) {
	d, ok := s.docs[document]
	if !ok {
		return nil, fmt.Errorf("%w: %q; there are: %s", host.ErrNoDocument, document, s.names())
	}
	schema := d.find(topic)
	if schema == nil {
		return nil, nil
	}
	if counting, ok := s.schemas[schema]; ok {
		schema = counting
	}
	return schema, nil
}

func (s *Set) names() string {
	if len(s.docs) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(s.docs)), ", ")
}
