package asyncapi

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// loader reads a document's files, follows references, and collects what is
// wrong.
type loader struct {
	dir   string // of the document, for the user
	root  fs.FS  // nil: there are no other files
	files map[string]*file
	order []string

	problems []Problem
	warnings []Problem
	reported map[Problem]bool
	followed map[*node]*reference
	nesting  int // of references that lead through references
}

// reference is an object with a "$ref" that is or was followed.
type reference struct {
	done   bool
	target *node // nil: there is nothing, which has been reported
}

// problem reports what is wrong, once.
func (l *loader) problem(f *file, line int, format string, args ...any) {
	p := Problem{l.path(f.name), line, fmt.Sprintf(format, args...)}
	if l.reported[p] || len(l.problems) >= MaxProblems {
		return
	}
	l.reported[p] = true
	l.problems = append(l.problems, p)
}

// wrong reports what is wrong at a node.
func (l *loader) wrong(n *node, format string, args ...any) {
	l.problem(n.file, n.line, format, args...)
}

func (l *loader) warn(n *node, format string, args ...any) {
	p := Problem{l.path(n.file.name), n.line, fmt.Sprintf(format, args...)}
	if len(l.warnings) < MaxProblems && !slices.Contains(l.warnings, p) {
		l.warnings = append(l.warnings, p)
	}
}

func (l *loader) err() error {
	if len(l.problems) == 0 {
		return nil
	}
	return &Error{l.sorted(l.problems)}
}

// sorted returns problems by file, in the order of reading, and line.
func (l *loader) sorted(problems []Problem) []Problem {
	order := map[string]int{}
	for i, name := range l.order {
		order[l.path(name)] = i
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return problems
}

// parseFile reads the text of a file. Its tree is nil if there is something
// wrong, which has been reported.
func (l *loader) parseFile(name string, data []byte) *file {
	f := &file{name: name}
	l.files[name] = f
	l.order = append(l.order, name)
	r := reader{loader: l, file: f}
	f.tree = r.read(data)
	return f
}

// open returns the file at a path in the root.
func (l *loader) open(name string) (*file, error) {
	if f := l.files[name]; f != nil {
		return f, nil
	}
	if l.root == nil {
		return nil, errors.New("leads to a file, but this document came without any")
	}
	if len(l.files) >= MaxFiles {
		return nil, fmt.Errorf("leads to one more file than the %d that are allowed", MaxFiles)
	}
	data, err := l.readBelow(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("leads nowhere: there is no file %s", l.path(name))
	case err != nil && strings.Contains(err.Error(), "escapes"): // os.Root, of a symbolic link
		return nil, fmt.Errorf("%w, by a symbolic link", errNotBelow)
	case err != nil:
		return nil, fmt.Errorf("leads to a file that cannot be read: %w", err)
	}
	return l.parseFile(name, data), nil
}

func (l *loader) readBelow(name string) ([]byte, error) {
	info, err := fs.Stat(l.root, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := l.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

// maxNesting bounds references that lead to, or through, references.
const maxNesting = 256

// follow returns what n stands for: n itself, or, if it is a reference, what
// that leads to in the end. nil means that there is nothing, which has been
// reported (or n is nil).
func (l *loader) follow(n *node) *node {
	ref := n.get("$ref")
	if ref == nil {
		return n
	}
	r := l.followed[n]
	switch {
	case r != nil && r.done:
		return r.target
	case r != nil || l.nesting >= maxNesting:
		l.wrong(ref, "reference %q leads back to itself, or through too many others", ref.text)
		return nil
	case ref.kind != text:
		l.wrong(ref, "$ref must be a text, not %v", ref.kind)
		return nil
	}
	r = &reference{}
	l.followed[n] = r
	l.nesting++
	target, err := l.target(ref)
	if err != nil {
		l.wrong(ref, "reference %q %v", ref.text, err)
	} else if target != nil {
		r.target = l.follow(target)
	}
	l.nesting--
	r.done = true
	return r.target
}

// scheme begins a URL.
var scheme = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9+.-]*:|//)`)

// target returns the node that a reference points to. It is nil without an
// error if that is in a file which has its own problems.
func (l *loader) target(ref *node) (*node, error) {
	where, fragment, _ := strings.Cut(ref.text, "#")
	f := ref.file
	if where != "" {
		name, err := below(f.name, where)
		if err != nil {
			return nil, err
		}
		if f, err = l.open(name); err != nil {
			return nil, err
		}
	}
	if f.tree == nil {
		return nil, nil
	}
	pointer, err := url.PathUnescape(fragment)
	if err != nil {
		return nil, fmt.Errorf("is malformed: %w", err)
	}
	return l.pointer(f.tree, pointer)
}

// below returns the path in the root of what a reference in the file from
// names.
func below(from, where string) (string, error) {
	if scheme.MatchString(where) {
		return "", fmt.Errorf("is a URL: only files in the document's directory are read; download it and refer to the copy")
	}
	where, err := url.PathUnescape(where)
	if err != nil {
		return "", fmt.Errorf("is malformed: %w", err)
	}
	if path.IsAbs(where) || strings.Contains(where, `\`) {
		return "", fmt.Errorf("%w: write a path relative to the file, with slashes", errNotBelow)
	}
	name := path.Join(path.Dir(from), where)
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", errNotBelow
	}
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("is malformed")
	}
	return name, nil
}

var unescapeToken = strings.NewReplacer("~1", "/", "~0", "~")

// pointer follows a JSON pointer, also through references.
func (l *loader) pointer(n *node, pointer string) (*node, error) {
	if pointer == "" {
		return n, nil
	}
	if pointer[0] != '/' {
		return nil, errors.New(`is not of the form "file#/path/to/it"`)
	}
	at := ""
	for token := range strings.SplitSeq(pointer[1:], "/") {
		name := unescapeToken.Replace(token)
		next := n.get(name)
		if next == nil && n.get("$ref") != nil {
			if n = l.follow(n); n == nil {
				return nil, nil // reported
			}
			next = n.get(name)
		}
		if i, err := strconv.Atoi(name); err == nil && n.kind == list && i >= 0 && i < len(n.values) {
			next = n.values[i]
		}
		if next == nil {
			return nil, fmt.Errorf("leads nowhere: there is no %q in %s", name, cmp.Or(at, "the document"))
		}
		n = next
		at += "/" + token
	}
	return n, nil
}

// path returns the path of a file for the user.
func (l *loader) path(name string) string { return filepath.Join(l.dir, name) }
