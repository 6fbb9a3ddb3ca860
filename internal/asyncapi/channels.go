package asyncapi

import (
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/internal/jsonschema"
)

// message is one message of a channel.
type message struct {
	name string
	node *node // without references
}

// channel is one channel of the document.
type channel struct {
	name     string
	at       *node // where to report what is wrong
	item     *node // without references
	messages []message
}

// document interprets the main file.
func (l *loader) document(f *file) *Document {
	root := f.tree
	if root == nil {
		return nil
	}
	version := root.get("asyncapi")
	if version == nil || version.kind != text && version.kind != number {
		l.problem(f, 1, `not an AsyncAPI document: it does not begin with "asyncapi: 3.0.0"`)
		return nil
	}
	var channels []channel
	switch majorVersion(root) {
	case "2":
		channels = l.channels2(root)
	case "3":
		channels = l.channels3(root)
	default:
		l.wrong(version, "AsyncAPI %s is not supported: use 2.x or 3.x", version.text)
		return nil
	}
	b := builder{loader: l, root: root, byAddress: map[string]*topic{}}
	for _, c := range channels {
		b.channel(c)
	}
	doc := &Document{title: root.get("info").string("title"), topics: b.topics()}
	for _, t := range doc.topics.all { // the tree is not needed any more
		t.at = nil
		for i := range t.messages {
			t.messages[i].node = nil
		}
	}
	doc.warnings = l.sorted(l.warnings)
	for _, name := range l.order {
		doc.files = append(doc.files, l.path(name))
	}
	return doc
}

// majorVersion returns the document's version up to the first dot.
func majorVersion(root *node) string {
	major, _, _ := strings.Cut(root.get("asyncapi").text, ".")
	return major
}

// members calls f for the members of an object, each without references. A
// value that is not an object is reported.
func (l *loader) members(n *node, what string, f func(name string, at, value *node)) {
	if n == nil {
		return
	}
	if n = l.follow(n); n == nil {
		return
	}
	if n.kind != object {
		l.wrong(n, "%s must be an object, not %v", what, n.kind)
		return
	}
	for i, name := range n.names {
		if v := l.object(n.values[i], what+"."+name); v != nil {
			f(name, n.values[i], v)
		}
	}
}

// object returns n without references, nil if it is none or not an object,
// which is reported.
func (l *loader) object(n *node, what string) *node {
	if n = l.follow(n); n == nil {
		return nil
	}
	if n.kind != object {
		l.wrong(n, "%s must be an object, not %v", what, n.kind)
		return nil
	}
	return n
}

// channels2 reads the channels of a document in version 2.
func (l *loader) channels2(root *node) []channel {
	var channels []channel
	l.members(root.get("channels"), "channels", func(name string, at, item *node) {
		c := channel{name: name, at: at, item: item}
		for _, operation := range []string{"publish", "subscribe"} {
			what := fmt.Sprintf("channels.%s.%s", name, operation)
			op := item.get(operation)
			if op == nil {
				continue
			}
			if op = l.object(op, what); op == nil || op.get("message") == nil {
				continue
			}
			c.messages = l.messages2(op.get("message"), what+".message")
			break
		}
		channels = append(channels, c)
	})
	return channels
}

// messages2 reads a message or several with "oneOf".
func (l *loader) messages2(n *node, what string) []message {
	at := n
	if n = l.object(n, what); n == nil {
		return nil
	}
	oneOf := n.get("oneOf")
	if oneOf == nil {
		return []message{{messageName(at, n, "message"), n}}
	}
	if oneOf.kind != list {
		l.wrong(oneOf, "%s.oneOf must be a list, not %v", what, oneOf.kind)
		return nil
	}
	var messages []message
	for i, at := range oneOf.values {
		if m := l.object(at, fmt.Sprintf("%s.oneOf[%d]", what, i)); m != nil {
			messages = append(messages, message{messageName(at, m, fmt.Sprintf("message %d", i+1)), m})
		}
	}
	return messages
}

// messageName returns what a message is called: by itself, or by the
// reference that leads to it.
func messageName(at, m *node, otherwise string) string {
	for _, member := range []string{"messageId", "name"} {
		if name := m.string(member); name != "" {
			return name
		}
	}
	if ref := at.string("$ref"); ref != "" {
		return ref[strings.LastIndexByte(ref, '/')+1:]
	}
	return otherwise
}

// channels3 reads the channels of a document in version 3.
func (l *loader) channels3(root *node) []channel {
	var channels []channel
	l.members(root.get("channels"), "channels", func(name string, at, item *node) {
		c := channel{name: name, at: at, item: item}
		l.members(item.get("messages"), fmt.Sprintf("channels.%s.messages", name), func(name string, _, m *node) {
			c.messages = append(c.messages, message{name, m})
		})
		channels = append(channels, c)
	})
	l.narrow(channels, root)
	return channels
}

// narrow leaves each channel the messages that its operations list.
func (l *loader) narrow(channels []channel, root *node) {
	listed := map[*node][]*node{} // messages by channel
	whole := map[*node]bool{}     // channels with an operation for all messages
	l.members(root.get("operations"), "operations", func(name string, at, op *node) {
		what := "operations." + name
		ref := op.get("channel")
		if ref == nil {
			l.wrong(at, "%s has no channel", what)
			return
		}
		item := l.object(ref, what+".channel")
		if item == nil {
			return
		}
		messages := op.get("messages")
		if messages == nil {
			whole[item] = true
			return
		}
		if messages.kind != list {
			l.wrong(messages, "%s.messages must be a list, not %v", what, messages.kind)
			return
		}
		i := slices.IndexFunc(channels, func(c channel) bool { return c.item == item })
		for k, ref := range messages.values {
			m := l.object(ref, fmt.Sprintf("%s.messages[%d]", what, k))
			if m == nil {
				continue
			}
			if i >= 0 && !slices.ContainsFunc(channels[i].messages, func(c message) bool { return c.node == m }) {
				l.wrong(ref, "%s.messages[%d]: %q is not a message of channel %q", what, k, ref.string("$ref"), channels[i].name)
				continue
			}
			listed[item] = append(listed[item], m)
		}
	})
	for i, c := range channels {
		if keep, ok := listed[c.item]; ok && !whole[c.item] {
			channels[i].messages = slices.DeleteFunc(c.messages, func(m message) bool { return !slices.Contains(keep, m.node) })
		}
	}
}

// payload is the schema of a message's payload.
type payload struct {
	schema *node
	draft  jsonschema.Draft
	reason string // why there is none, if nothing is wrong
}

func unjudged(format string, args ...any) (payload, bool) {
	return payload{reason: fmt.Sprintf(format, args...)}, false
}

// payload finds the schema of a message. It is false if there is none, for a
// reason or because of a problem that has been reported.
func (l *loader) payload(root *node, m message) (payload, bool) {
	contentType := l.inherited(m.node, "contentType")
	if contentType == "" {
		contentType = root.string("defaultContentType")
	}
	if !isJSON(contentType) {
		return unjudged("content type %q is not JSON", contentType)
	}
	schema := m.node.get("payload")
	if schema == nil {
		return unjudged("it has no payload")
	}
	if schema = l.follow(schema); schema == nil {
		return payload{}, false
	}
	format := l.inherited(m.node, "schemaFormat")
	if multi := schema.get("schemaFormat"); multi != nil && schema.get("schema") != nil { // version 3
		format = multi.text
		if schema = l.follow(schema.get("schema")); schema == nil {
			return payload{}, false
		}
	}
	draft, ok := draftOf(format)
	if !ok {
		return unjudged("schema format %q is not supported", format)
	}
	if uri := schema.string("$schema"); uri != "" {
		if draft, ok = drafts[strings.TrimSuffix(uri, "#")]; !ok {
			return unjudged("$schema %q is not supported, only drafts 4, 6 and 7 are", uri)
		}
	}
	return payload{schema: schema, draft: draft}, true
}

// inherited returns the text of a message's member, its own or that of its
// first trait that has it.
func (l *loader) inherited(m *node, name string) string {
	if s := m.string(name); s != "" {
		return s
	}
	traits := m.get("traits")
	if traits == nil || traits.kind != list {
		return ""
	}
	for _, t := range traits.values {
		if s := l.follow(t).string(name); s != "" {
			return s
		}
	}
	return ""
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = strings.ToLower(contentType)
	}
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json") || strings.HasSuffix(media, "/*")
}

var drafts = map[string]jsonschema.Draft{
	"http://json-schema.org/draft-04/schema": jsonschema.Draft4,
	"http://json-schema.org/draft-06/schema": jsonschema.Draft6,
	"http://json-schema.org/draft-07/schema": jsonschema.Draft7,
}

// draftOf returns the draft of a schema format that can be judged. AsyncAPI's
// own, a superset of draft 7, has been written with keywords of draft 4 too.
func draftOf(format string) (jsonschema.Draft, bool) {
	if format == "" {
		return jsonschema.DraftAny, true
	}
	media, params, err := mime.ParseMediaType(format)
	if err != nil {
		return 0, false
	}
	switch media {
	case "application/vnd.aai.asyncapi", "application/vnd.aai.asyncapi+json", "application/vnd.aai.asyncapi+yaml":
		return jsonschema.DraftAny, true
	case "application/schema+json", "application/schema+yaml":
		switch strings.TrimPrefix(params["version"], "draft-") {
		case "":
			return jsonschema.DraftAny, true
		case "04", "4":
			return jsonschema.Draft4, true
		case "06", "6":
			return jsonschema.Draft6, true
		case "07", "7":
			return jsonschema.Draft7, true
		}
	}
	return 0, false
}
