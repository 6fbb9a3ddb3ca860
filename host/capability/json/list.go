// Package json reads values out of JSON texts by path, for the capability sluice:json/1.
//
// A [List] is compiled from paths once, when a guest is configured. [Reader.Get] then walks over a text once, whatever the number of
// paths, validates all of it, and returns what stands at each path as views of the text. Nothing is allocated for what no path
// leads to. A text is accepted exactly if it is UTF-8 and encoding/json accepts it.
//
// A path is a singular query of RFC 9535, so that it leads to one value at most. Where an object repeats a name the last member counts, as
// in encoding/json and in JavaScript.
package json

import (
	"fmt"
	"slices"
)

// MaxPaths bounds the paths of a list.
const MaxPaths = 1024

// List is a compiled list of paths. It does not change and may be used from several goroutines at once.
type List struct {
	root  *node
	paths int
	nodes int
	// fromEnd counts the negative indexes.
	fromEnd int
}

// node is a place in the tree that the paths of a list make.
type node struct {
	id      int
	ends    []int // paths that end here
	all     []int // paths that end here or below
	names   []named
	indexes []indexed
	// fromEnd says that there is a negative index, for which the array's length must be known first.
	fromEnd bool
}

type named struct {
	name string
	to   *node
}

type indexed struct {
	index int64
	to    *node
}

// Compile makes a list of paths. An error names the path and says where it is wrong.
func Compile(paths []string) (*List, error) {
	if len(paths) > MaxPaths {
		return nil, fmt.Errorf("%d paths, at most %d in one list", len(paths), MaxPaths)
	}
	l := &List{paths: len(paths)}
	l.root = l.node()
	for i, path := range paths {
		segments, err := parsePath(path)
		if err != nil {
			return nil, err
		}
		n := l.root
		n.all = append(n.all, i)
		for _, s := range segments {
			n = l.child(n, s)
			n.all = append(n.all, i)
		}
		n.ends = append(n.ends, i)
	}
	return l, nil
}

// Len returns the number of paths.
func (l *List) Len() int { return l.paths }

// Passes returns how often a byte of a text may be looked at, at most: once, and twice more for each negative index, as an array must be
// counted for it and the element may have been asked for from the front too.
func (l *List) Passes() int { return 1 + 2*l.fromEnd }

func (l *List) node() *node {
	l.nodes++
	return &node{id: l.nodes - 1}
}

// child returns the node that a segment leads to, which it makes if need be.
func (l *List) child(n *node, s segment) *node {
	if s.isIndex {
		i := slices.IndexFunc(n.indexes, func(c indexed) bool { return c.index == s.index })
		if i < 0 {
			i = len(n.indexes)
			n.indexes = append(n.indexes, indexed{s.index, l.node()})
			if s.index < 0 {
				n.fromEnd = true
				l.fromEnd++
			}
		}
		return n.indexes[i].to
	}
	i := slices.IndexFunc(n.names, func(c named) bool { return c.name == s.name })
	if i < 0 {
		i = len(n.names)
		n.names = append(n.names, named{s.name, l.node()})
	}
	return n.names[i].to
}
