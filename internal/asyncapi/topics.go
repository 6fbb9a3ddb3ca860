package asyncapi

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/internal/jsonschema"
)

// topics finds what a document says of a topic.
type topics struct {
	all      []*topic // in the document's order
	literal  map[string]*topic
	patterns []*topic // best first
}

// topic is an address and its schema.
type topic struct {
	address  string
	at       *node // where to report what is wrong
	messages []message
	pattern  *regexp.Regexp // nil: the address has no parameters
	fixed    int            // characters outside of parameters

	json   []byte             // of the schema
	schema *jsonschema.Schema // nil: nothing is judged
}

// find returns the topic that name is an instance of, nil if there is none.
func (t *topics) find(name string) *topic {
	if found, ok := t.literal[name]; ok {
		return found
	}
	for _, p := range t.patterns {
		if p.pattern.MatchString(name) {
			return p
		}
	}
	return nil
}

// builder makes topics of channels.
type builder struct {
	loader    *loader
	root      *node
	order     []*topic
	byAddress map[string]*topic
}

// channel adds a channel to the topic of its address.
func (b *builder) channel(c channel) {
	address, at := b.address(c)
	if address == "" {
		return
	}
	t := &topic{address: address, at: at, messages: c.messages}
	key := address
	if strings.ContainsAny(address, "{}") {
		if !b.parameters(t, c) {
			return
		}
		key = "{" + t.pattern.String()
	}
	if !topicCharacters.MatchString(parameter.ReplaceAllString(address, "x")) {
		b.loader.warn(at, `channel %q: %q cannot be the name of a Kafka topic; if it has another name there, give it as "bindings.kafka.topic"`, c.name, address)
	}
	if before := b.byAddress[key]; before != nil {
		for _, m := range t.messages {
			if !slices.ContainsFunc(before.messages, func(o message) bool { return o.node == m.node }) {
				before.messages = append(before.messages, m)
			}
		}
		return
	}
	b.byAddress[key] = t
	b.order = append(b.order, t)
}

// address returns the topic's name, "" if there is none.
func (b *builder) address(c channel) (string, *node) {
	if kafka := b.loader.follow(b.loader.follow(c.item.get("bindings")).get("kafka")); kafka != nil {
		if name := kafka.get("topic"); name != nil && name.kind == text {
			return name.text, name
		}
	}
	if majorVersion(b.root) == "2" {
		return c.name, c.at
	}
	address := c.item.get("address")
	switch {
	case address == nil || address.kind == null:
		b.loader.warn(c.at, "channel %q has no address: there is no topic for it", c.name)
		return "", nil
	case address.kind != text || address.text == "":
		b.loader.wrong(address, "channel %q: the address must be a text", c.name)
		return "", nil
	}
	return address.text, address
}

var (
	parameter       = regexp.MustCompile(`\{([A-Za-z0-9_-]+)\}`)
	topicCharacters = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
)

// parameters compiles an address with parameters; false if it is malformed.
func (b *builder) parameters(t *topic, c channel) bool {
	declared := b.loader.follow(c.item.get("parameters"))
	var re strings.Builder
	re.WriteString(`\A`)
	rest := 0
	for _, at := range parameter.FindAllStringSubmatchIndex(t.address, -1) {
		re.WriteString(regexp.QuoteMeta(t.address[rest:at[0]]))
		t.fixed += at[0] - rest
		re.WriteString(b.values(declared.get(t.address[at[2]:at[3]])))
		rest = at[1]
	}
	tail := t.address[rest:]
	re.WriteString(regexp.QuoteMeta(tail) + `\z`)
	t.fixed += len(tail)
	if strings.ContainsAny(parameter.ReplaceAllString(t.address, ""), "{}") {
		b.loader.wrong(t.at, "channel %q: %q has a brace that does not belong to a parameter like {name}", c.name, t.address)
		return false
	}
	var err error
	if t.pattern, err = regexp.Compile(re.String()); err != nil {
		b.loader.wrong(t.at, "channel %q: the address %q is too complex: %v", c.name, t.address, err)
		return false
	}
	return true
}

// values returns the regular expression of a parameter's values.
func (b *builder) values(declared *node) string {
	p := b.loader.follow(declared)
	enum := p.get("enum")
	if schema := b.loader.follow(p.get("schema")); schema != nil { // version 2
		enum = schema.get("enum")
	}
	if enum == nil || enum.kind != list {
		return "[^/]+"
	}
	var values []string
	for _, v := range enum.values {
		values = append(values, regexp.QuoteMeta(v.text))
	}
	return "(?:" + strings.Join(values, "|") + ")"
}

// topics compiles the schemas of all topics.
func (b *builder) topics() topics {
	t := topics{all: b.order, literal: map[string]*topic{}}
	for _, o := range b.order {
		b.compile(o)
		if o.pattern == nil {
			t.literal[o.address] = o
		} else {
			t.patterns = append(t.patterns, o)
		}
	}
	slices.SortStableFunc(t.patterns, func(a, b *topic) int { return cmp.Compare(b.fixed, a.fixed) })
	return t
}

// compile makes the schema of a topic from those of its messages, if each has
// one.
func (b *builder) compile(t *topic) {
	if len(t.messages) == 0 {
		b.loader.warn(t.at, "topic %q has no messages: its records are not judged", t.address)
		return
	}
	problems := len(b.loader.problems)
	var schemas []*node
	seen := map[string]bool{}
	draft := jsonschema.DraftAny
	judged := true
	for _, m := range t.messages {
		p, ok := b.loader.payload(b.root, m)
		if p.reason != "" {
			b.loader.warn(m.node, "message %q: %s: the records of topic %q are not judged", m.name, p.reason, t.address)
		}
		if !ok {
			judged = false
			continue
		}
		text, err := b.loader.writeSchema(p.schema)
		if err != nil {
			b.loader.wrong(p.schema, "message %q: payload: %v", m.name, err)
			return
		}
		if seen[string(text)] {
			continue
		}
		seen[string(text)] = true
		schemas = append(schemas, p.schema)
		t.json = text
		if len(schemas) == 1 {
			draft = p.draft
		} else if draft != p.draft {
			draft = jsonschema.DraftAny
		}
	}
	if !judged {
		t.json = nil
		return
	}
	at, what := schemas[0], fmt.Sprintf("message %q: payload", t.messages[0].name)
	if len(schemas) > 1 {
		at, what = t.at, fmt.Sprintf("topic %q", t.address)
		var err error
		if t.json, err = b.loader.writeSchema(schemas...); err != nil {
			b.loader.wrong(at, "%s: %v", what, err)
			return
		}
	}
	if len(b.loader.problems) > problems {
		return // the schema is incomplete
	}
	var err error
	if t.schema, err = jsonschema.Compile(t.json, jsonschema.Config{Draft: draft}); err != nil {
		b.loader.wrong(at, "%s: %s", what, strings.TrimPrefix(err.Error(), "compile schema: "))
	}
}
