// Package asyncapi reads AsyncAPI documents (2.x and 3.x, in YAML or JSON) for
// what they say about Kafka topics: which schema a record's value must have.
//
// # Which messages a topic has
//
// A channel is a topic: its address (in 2.x its name) is the topic's name,
// unless the Kafka binding of the channel names another ("bindings.kafka.topic").
// An address may have parameters, "light.{room}.lumens"; each stands for one
// or more characters except "/", or for one of its enum. An address without
// parameters is preferred to one with; of several with, the one with the most
// characters outside of its parameters, then the first in the document.
//
// A document describes an application, records are the same for everyone who
// reads or writes the topic. So the direction of an operation does not matter
// for a record, on produce as on fetch, and only these rules choose among a
// channel's messages:
//
//   - 2.x: the messages of "publish", which is what others send to the
//     application; where there is no such operation, those of "subscribe".
//   - 3.x: the channel's messages. Operations, of either action, that list
//     messages narrow them: what remains is what any operation lists; one that
//     lists none stands for all.
//
// Several messages are one schema with "oneOf": a value must fit exactly one.
// Messages with the same payload schema count once. Channels with the same
// address share their messages.
//
// # What is judged
//
// Payload schemas in the AsyncAPI schema format and in JSON Schema (drafts 4, 6
// and 7). Of the keywords that AsyncAPI adds (discriminator, externalDocs,
// deprecated) and of annotations nothing is judged. A topic one of whose
// messages has no payload, another schema format or a content type other than
// JSON has no schema: nothing can be said of its records. This is a warning,
// as is an address that cannot be a topic. Message traits may give the schema
// format and the content type, never the payload.
//
// # References
//
// "$ref" is followed within the document and to files in the document's
// directory and below, never through "..", an absolute path, a symbolic link
// or a URL that leads out of it. Schemas may refer to themselves.
package asyncapi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluicegate/sluice/internal/jsonschema"
)

// Limits of documents.
const (
	// MaxFileBytes bounds each file.
	MaxFileBytes = 4 << 20
	// MaxFiles bounds the files of a document.
	MaxFiles = 256
	// MaxDepth bounds the nesting of a file, and that of a schema with all
	// that it refers to by YAML aliases.
	MaxDepth = 128
	// MaxNodes bounds the values of a file, and those of a schema written out
	// with its references. It is what stops aliases of aliases.
	MaxNodes = 200_000
	// MaxProblems bounds the problems of one document that are reported.
	MaxProblems = 100
)

// Problem is something wrong, or worth knowing, at a place in a document.
type Problem struct {
	File string // as it was named to Load or Parse, or below its directory
	Line int    // from 1; 0 if it is about the file
	Text string
}

// String returns "file:line: text".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Error is what is wrong with a document, all of it at once.
type Error struct{ Problems []Problem }

// Error returns one problem per line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Document is a document that was read. It may be used by several goroutines
// at once.
type Document struct {
	title    string
	topics   topics
	files    []string
	warnings []Problem
}

// Load reads the document in a file, and the files in its directory that it
// refers to. What is wrong with them is an [*Error].
func Load(path string) (*Document, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read AsyncAPI document: %w", err)
	}
	dir, base := filepath.Split(path)
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("read AsyncAPI document: %w", err)
	}
	defer root.Close()
	return load(dir, base, data, root.FS())
}

// readFile reads at most MaxFileBytes; a file that has more is an error.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

var errTooLarge = fmt.Errorf("is larger than the %d bytes that are allowed", MaxFileBytes)

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	if err == nil && len(data) > MaxFileBytes {
		err = errTooLarge
	}
	return data, err
}

// Parse reads a document from bytes. Name is what it is called in problems;
// as a path in root it is also what references to files are relative to. With
// a nil root, references to files are problems. Nothing of data is kept.
func Parse(name string, data []byte, root fs.FS) (*Document, error) {
	return load("", name, data, root)
}

func load(dir, base string, data []byte, root fs.FS) (_ *Document, err error) {
	defer func() {
		// The YAML library panics on what it does not expect of itself.
		if p := recover(); p != nil {
			err = fmt.Errorf("read AsyncAPI document %s: internal error: %v", filepath.Join(dir, base), p)
		}
	}()
	l := &loader{dir: dir, root: root, files: map[string]*file{}, reported: map[Problem]bool{}, followed: map[*node]*reference{}}
	if len(data) > MaxFileBytes {
		l.problem(&file{name: base}, 0, "%v", errTooLarge)
		return nil, l.err()
	}
	doc := l.document(l.parseFile(base, data))
	if err := l.err(); err != nil {
		return nil, err
	}
	return doc, nil
}

// Title returns what the document calls itself.
func (d *Document) Title() string { return d.title }

// Files returns the paths of the files that the document was read from, its
// own first.
func (d *Document) Files() []string { return d.files }

// Warnings returns what is not wrong but worth knowing: topics that have no
// schema, though they are described, and why.
func (d *Document) Warnings() []Problem { return d.warnings }

// Schema returns the schema of a topic's values as JSON, complete in itself;
// false if the document has none for it.
func (d *Document) Schema(topic string) ([]byte, bool) {
	t := d.topics.find(topic)
	if t == nil || t.schema == nil {
		return nil, false
	}
	return t.json, true
}

// find returns the compiled schema of a topic, nil if there is none.
func (d *Document) find(topic string) *jsonschema.Schema {
	if t := d.topics.find(topic); t != nil {
		return t.schema
	}
	return nil
}

// Channel is what a document says of one address.
type Channel struct {
	Address  string   // with its parameters in braces
	Messages []string // names
	Judged   bool     // there is a schema
}

// Channels returns what the document says of each address, in its order.
func (d *Document) Channels() []Channel {
	list := make([]Channel, 0, len(d.topics.all))
	for _, t := range d.topics.all {
		c := Channel{Address: t.address, Judged: t.schema != nil}
		for _, m := range t.messages {
			c.Messages = append(c.Messages, m.name)
		}
		list = append(list, c)
	}
	return list
}

var errNotBelow = errors.New("leads out of the document's directory")
