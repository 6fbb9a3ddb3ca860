package jsonschema

// refutes reports that the value from i to end, whose syntax and UTF-8 are
// known to be right, is surely invalid. False means nothing. It is what makes
// the one-pass check sure of oneOf and not, and looks for what tells messages
// of one channel apart: types, constants, missing and unknown members.
func (r *run) refutes(n *node, i, end, depth int) bool {
	for n.ref != nil {
		n = n.ref
	}
	if n.any || r.budget < 0 || depth > MaxDepth {
		return false
	}
	r.budget -= end - i
	if r.refutesOwn(n, i, depth) {
		return true
	}
	for _, s := range n.allOf {
		if r.refutes(s, i, end, depth) {
			return true
		}
	}
	return r.refutesAll(n.anyOf, i, end, depth) || r.refutesAll(n.oneOf, i, end, depth)
}

// refutesAll reports that none of the schemas, of which there is at least one,
// can accept the value.
func (r *run) refutesAll(schemas []*node, i, end, depth int) bool {
	for _, s := range schemas {
		if !r.refutes(s, i, end, depth) {
			return false
		}
	}
	return len(schemas) > 0
}

func (r *run) refutesOwn(n *node, i, depth int) bool {
	switch c := r.b[i]; c {
	case '"':
		return n.may&tString == 0 || r.refutesString(n, i)
	case '{':
		return n.may&tObject == 0 || r.refutesObject(n, i, depth+1)
	case '[':
		return n.may&tArray == 0
	case 't', 'f', 'n':
		t := tBool
		if c == 'n' {
			t = tNull
		}
		if n.may&t == 0 {
			return true
		}
		for k := range n.sets {
			if !n.sets[k].word(c) {
				return true
			}
		}
		return false
	}
	if n.may&(tInteger|tNumber) == 0 {
		return true
	}
	num, ok := scanNumber(r.b, i)
	return ok && n.bounded && num.known && (num.hi < n.lo || num.lo > n.hi)
}

func (r *run) refutesString(n *node, i int) bool {
	end, plain, _ := scanString(r.b, i)
	if end < 0 || !plain {
		return false
	}
	for k := range n.sets {
		if !n.sets[k].string(r.b[i+1 : end-1]) {
			return true
		}
	}
	return false
}

// refutesObject looks at all members, since one that is wrong may be replaced
// by a later one of the same name.
func (r *run) refutesObject(n *node, i, depth int) bool {
	b := r.b
	var seen [maxProps / 64]uint64
	wrong := false
	i = skipSpace(b, i+1)
	for i < len(b) && b[i] != '}' {
		name, value := scanName(b, i)
		if value < 0 {
			return false
		}
		end := r.skip(value, depth)
		if end < 0 {
			return false
		}
		if at := n.find(name, 0); at >= 0 {
			if seen[at/64]&(1<<(at%64)) != 0 {
				return false
			}
			seen[at/64] |= 1 << (at % 64)
			if !n.open && !wrong {
				wrong = r.refutes(n.props[at].value, value, end, depth)
			}
		} else if n.closed && !n.open {
			wrong = true
		}
		if i = skipSpace(b, end); i < len(b) && b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	for k := range seen {
		if n.required[k]&^seen[k] != 0 {
			return true
		}
	}
	return wrong
}
