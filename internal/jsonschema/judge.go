package jsonschema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xeipuuv/gojsonschema"
)

// metaSchemas are the "$schema" values that the judge knows, without their
// empty fragment. It serves their text from memory.
var metaSchemas = map[string]Draft{
	"http://json-schema.org/draft-04/schema": Draft4,
	"http://json-schema.org/draft-06/schema": Draft6,
	"http://json-schema.org/draft-07/schema": Draft7,
}

// draftOf returns the draft that a schema is judged by: the one that it
// names in "$schema", else the given one.
func draftOf(doc any, draft Draft) (Draft, error) {
	switch draft {
	case DraftAny, Draft4, Draft6, Draft7:
	default:
		return 0, fmt.Errorf("draft %d is not supported: use draft 4, 6 or 7", draft)
	}
	m, _ := doc.(map[string]any)
	uri, ok := m["$schema"]
	if !ok {
		return draft, nil
	}
	text, ok := uri.(string)
	if !ok {
		return 0, errors.New("$schema: must be a string")
	}
	named, ok := metaSchemas[strings.TrimSuffix(text, "#")]
	if !ok {
		return 0, fmt.Errorf("$schema: %q is not supported: use draft 4, 6 or 7 of JSON Schema", clip(text))
	}
	return named, nil
}

// judge is a schema as compiled by gojsonschema.
type judge struct {
	schema *gojsonschema.Schema
}

// newJudge compiles a schema that was decoded by parse and has passed
// checkReferences. It takes ownership of doc.
func newJudge(doc any, draft Draft) (_ *judge, err error) {
	defer func() {
		// Some malformed schemas ("definitions": true) are a failed type
		// assertion in the judge.
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed schema: %v", p)
		}
	}()
	loader := gojsonschema.NewSchemaLoader()
	loader.AutoDetect = false // draftOf has decided
	loader.Draft = gojsonschema.Hybrid
	if draft != DraftAny {
		loader.Draft = gojsonschema.Draft(draft)
	}
	schema, err := loader.Compile(offline{gojsonschema.NewRawLoader(doc)})
	if err != nil {
		return nil, err
	}
	return &judge{schema}, nil
}

// check returns what is wrong with a decoded value, nil if nothing is.
func (j *judge) check(doc any) (errs []string) {
	defer func() {
		// enum, const and uniqueItems compare by way of float64; the judge
		// panics on a number that does not fit one.
		if p := recover(); p != nil {
			errs = []string{fmt.Sprintf("(root): cannot be judged: a number is beyond the range of a double, or: %v", p)}
		}
	}()
	result, err := j.schema.Validate(gojsonschema.NewRawLoader(doc))
	if err != nil {
		return []string{"(root): cannot be judged: " + err.Error()}
	}
	if result.Valid() {
		return nil
	}
	return texts(result.Errors())
}

// texts formats errors as ResultError.String does, which is "field:
// description" (but would also marshal the value at fault, every time).
func texts(found []gojsonschema.ResultError) []string {
	type entry struct{ field, description string }
	entries := make([]entry, len(found))
	for i, e := range found {
		entries[i] = entry{e.Field(), e.Description()}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.field, b.field), cmp.Compare(a.description, b.description))
	})
	shown := entries[:min(len(entries), MaxErrors)]
	errs := make([]string, 0, len(shown))
	for _, e := range shown {
		errs = append(errs, clip(e.field+": "+e.description))
	}
	if more := len(entries) - len(shown); more > 0 {
		errs[len(errs)-1] = fmt.Sprintf("(root): %d more errors", more+1)
	}
	return errs
}

// clip shortens a text to MaxErrorBytes, between characters.
func clip(s string) string {
	if len(s) <= MaxErrorBytes {
		return s
	}
	end := MaxErrorBytes - len("...")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// offline is a loader whose references lead nowhere but to the meta-schemas.
// The judge's own loaders follow a "$ref" to files and URLs.
type offline struct{ gojsonschema.JSONLoader }

func (offline) LoaderFactory() gojsonschema.JSONLoaderFactory { return offlineFactory{} }

type offlineFactory struct{}

func (offlineFactory) New(source string) gojsonschema.JSONLoader {
	uri, _, _ := strings.Cut(source, "#")
	if _, ok := metaSchemas[uri]; ok {
		return gojsonschema.NewReferenceLoader(uri)
	}
	return refused{gojsonschema.NewRawLoader(nil), source}
}

type refused struct {
	gojsonschema.JSONLoader
	source string
}

func (r refused) LoadJSON() (any, error) {
	return nil, fmt.Errorf("$ref: %q is outside of the schema", clip(r.source))
}
