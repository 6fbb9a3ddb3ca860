package jsonschema

// The judge looks at a value once for every way through the schema that leads
// to it. Where schemas meet again on the same value, level after level, that is
// exponential in the value's depth:
//
//	{"oneOf": [{"properties": {"and": {"$ref": "#"}, "or": {"$ref": "#"}}},
//	           {"properties": {"and": {"$ref": "#"}, "not": {"$ref": "#"}}}]}
//
// And a value of megabytes may have a million parts, each of which is an error
// of half a kilobyte, while nothing can stop the judge once it has begun. So
// its visits are counted before it is asked, unless the value is too small to
// matter.

const (
	// MaxVisits bounds how often the judge may look at the parts of one
	// value, each by one schema. A value that needs more is invalid.
	MaxVisits = 200_000
	// maxUnfolded is the size, with references written out, beyond which
	// schemas are not told apart from endless ones.
	maxUnfolded = 2_000
)

// shape is what of a schema decides where the judge goes.
type shape struct {
	same  []*shape          // applied to the value itself
	props map[string]*shape // to members of a name
	each  []*shape          // to any member
	items []*shape          // to any element
}

// shape returns the shape of a schema that has passed checkReferences.
func (r *refs) shape(node any) *shape {
	m, ok := node.(map[string]any)
	if !ok {
		return &shape{}
	}
	at := address(m)
	if s := r.shapes[at]; s != nil {
		return s
	}
	s := &shape{}
	r.shapes[at] = s
	same, _, err := r.next(m)
	if err != nil {
		return s // checkReferences has refused it
	}
	s.same = r.shapeList(same)
	if _, ok := m["$ref"].(string); ok {
		return s
	}
	if props, ok := m["properties"].(map[string]any); ok {
		s.props = make(map[string]*shape, len(props))
		for name, v := range props {
			s.props[name] = r.shape(v)
		}
	}
	s.each = append(r.shapeList(values(m["patternProperties"])), r.shapeIf(m, "additionalProperties", "propertyNames")...)
	s.items = append(r.shapeList(list(m["items"])), r.shapeIf(m, "items", "additionalItems", "contains")...)
	return s
}

func (r *refs) shapeList(nodes []any) []*shape {
	var shapes []*shape
	for _, n := range nodes {
		shapes = append(shapes, r.shape(n))
	}
	return shapes
}

// shapeIf returns the shapes of those keywords whose value is a schema. A
// boolean is one: false makes an error of each part.
func (r *refs) shapeIf(m map[string]any, keywords ...string) []*shape {
	var shapes []*shape
	for _, k := range keywords {
		switch m[k].(type) {
		case map[string]any, bool:
			shapes = append(shapes, r.shape(m[k]))
		}
	}
	return shapes
}

// size returns the number of ways through s, whatever the value; more than
// maxUnfolded if they are many.
func (s *shape) size() int { return s.unfold(map[*shape]int{}) }

// unfold returns the size of s with everything written out, more than
// maxUnfolded if it has no end.
func (s *shape) unfold(done map[*shape]int) int {
	if n, ok := done[s]; ok {
		return n // of one that is being counted: endless
	}
	done[s] = maxUnfolded + 1
	n := 1
	count := func(c *shape) { n = min(n+c.unfold(done), maxUnfolded+1) }
	for _, c := range s.same {
		count(c)
	}
	for _, c := range s.props {
		count(c)
	}
	for _, c := range s.each {
		count(c)
	}
	for _, c := range s.items {
		count(c)
	}
	done[s] = n
	return n
}

// visits subtracts from budget how often the judge would look at a decoded
// value and its parts, until it is below zero.
func (s *shape) visits(v any, budget *int) {
	if *budget--; *budget < 0 {
		return
	}
	for _, c := range s.same {
		c.visits(v, budget)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, c := range s.props {
			if member, ok := v[name]; ok {
				c.visits(member, budget)
			}
		}
		for _, c := range s.each {
			for _, member := range v {
				c.visits(member, budget)
			}
		}
	case []any:
		for _, c := range s.items {
			for _, element := range v {
				c.visits(element, budget)
			}
		}
	}
}
