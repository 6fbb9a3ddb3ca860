package meter

import (
	"strings"
	"unicode/utf8"
)

// Subsections of the name section that are kept.
const (
	nameModule   = 0
	nameFunction = 1
	nameLocal    = 2
)

// nameSection appends the name section, if the module has one that is well formed: it is for people to read, so a broken
// one is left out and is no error.
func (m *module) nameSection() {
	r, ok := customSection(m.in, "name")
	if !ok {
		return
	}
	dst := appendName(nil, "name")
	next := byte(0)
	for r.left() > 0 && !r.bad {
		id := r.byte()
		body := r.sub(r.u32())
		if r.bad || id < next {
			return
		}
		next = id + 1
		switch id {
		case nameModule:
			from := body.pos
			if body.name(); !body.bad && body.left() == 0 {
				dst = section(dst, id, body.b[from:])
			}
		case nameFunction:
			names, ok := m.functionNames(body)
			if !ok {
				return
			}
			dst = section(dst, id, names)
		case nameLocal:
			names, ok := m.localNames(body)
			if !ok {
				return
			}
			dst = section(dst, id, names)
		}
	}
	if !r.bad {
		m.out = section(m.out, secCustom, dst)
	}
}

// functionNames returns a function name subsection with the indices shifted and with our own functions named.
func (m *module) functionNames(r reader) ([]byte, bool) {
	var dst []byte
	ours, total, next := false, 1+len(helpers), uint32(0)
	yield := func() {
		ours = true
		dst = appendName(appendU32(dst, m.info.Yield), ImportModule+"."+YieldFunction)
	}
	n := r.count()
	for range n {
		index, name := r.u32(), r.name()
		if r.bad || index < next || index >= uint32(len(m.funcs)) {
			return nil, false
		}
		next = index + 1
		if index >= uint32(m.imports) && !ours {
			yield()
		}
		dst = appendName(appendU32(dst, m.funcIndex(index, secCustom, r.pos)), string(name))
	}
	if r.left() != 0 {
		return nil, false
	}
	if !ours {
		yield()
	}
	for i, h := range helpers {
		dst = appendName(appendU32(dst, m.helpers+uint32(i)), ImportModule+"."+h.name)
	}
	return append(appendU32(nil, uint32(n+total)), dst...), true
}

// localNames returns a local name subsection with the function indices shifted.
func (m *module) localNames(r reader) ([]byte, bool) {
	n := r.count()
	dst := appendU32(nil, uint32(n))
	for range n {
		index := r.u32()
		from := r.pos
		for range r.count() {
			r.u32()
			if r.name(); r.bad {
				break
			}
		}
		if r.bad || index >= uint32(len(m.funcs)) {
			return nil, false
		}
		dst = appendU32(dst, m.funcIndex(index, secCustom, from))
		dst = append(dst, r.b[from:r.pos]...)
	}
	return dst, !r.bad && r.left() == 0
}

// customSection returns the contents of the first custom section with the given name.
func customSection(wasm []byte, name string) (reader, bool) {
	r := reader{b: wasm, pos: 8}
	for r.left() > 0 {
		id := r.byte()
		body := r.sub(r.u32())
		if r.bad {
			break
		}
		if id == secCustom && string(body.name()) == name {
			return body, true
		}
	}
	return reader{}, false
}

// functionName looks up the name of function f in the name section, for messages; "" if it has none.
func functionName(wasm []byte, f int) string {
	r, _ := customSection(wasm, "name")
	for r.left() > 0 {
		id := r.byte()
		body := r.sub(r.u32())
		if r.bad {
			return ""
		}
		if id != nameFunction {
			continue
		}
		for range body.count() {
			index, name := body.u32(), body.name()
			if body.bad {
				return ""
			}
			if index == uint32(f) {
				return clip(string(name))
			}
		}
	}
	return ""
}

// clip shortens a name from a module to what a message can bear.
func clip(name string) string {
	const most = 120
	if len(name) <= most {
		return name
	}
	name = name[:most]
	for !utf8.ValidString(name) {
		name = name[:len(name)-1]
	}
	return strings.TrimSpace(name) + "..."
}
