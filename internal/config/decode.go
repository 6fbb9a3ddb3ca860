package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A decoder fills the structs of this package from plain values. It goes on after a problem, so that all are found.
type decoder struct {
	src      *source
	dir      string // where relative paths start: the directory of the file
	lookup   func(name string) (string, bool)
	files    []string // what references were read from
	problems Problems
}

func (d *decoder) problem(path, format string, args ...any) {
	d.problems = append(d.problems, d.src.problem(path, format, args...))
}

// defaulter is a struct whose settings have defaults.
type defaulter interface{ setDefaults() }

var rawType = reflect.TypeFor[json.RawMessage]()

// value decodes in, found at path, into out.
func (d *decoder) value(path string, in any, out reflect.Value) {
	if in == nil && out.Type() != rawType {
		if def, ok := out.Addr().Interface().(defaulter); ok {
			def.setDefaults()
		}
		return // a key without a value is like no key
	}
	if out.Type() == rawType {
		d.raw(path, in, out)
		return
	}
	if u, ok := out.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(path, in, u)
		return
	}
	switch out.Kind() {
	case reflect.Pointer:
		v := reflect.New(out.Type().Elem())
		d.value(path, in, v.Elem())
		out.Set(v)
	case reflect.Struct:
		d.mapping(path, in, out)
	case reflect.Slice:
		d.list(path, in, out)
	case reflect.String:
		if s, ok := d.scalar(path, in); ok {
			out.SetString(s)
		}
	case reflect.Int, reflect.Int64, reflect.Uint32:
		d.number(path, in, out)
	default:
		panic(fmt.Sprintf("config: no decoder for %s", out.Type()))
	}
}

// raw keeps a value that a plugin will read, as JSON.
func (d *decoder) raw(path string, in any, out reflect.Value) {
	if in == nil {
		return
	}
	if _, ok := in.(map[string]any); !ok {
		d.problem(path, "must be a mapping, not %s", describe(in))
		return
	}
	b, err := json.Marshal(in)
	if err != nil {
		d.problem(path, "%v", err)
		return
	}
	out.SetBytes(b)
}

func (d *decoder) mapping(path string, in any, out reflect.Value) {
	if def, ok := out.Addr().Interface().(defaulter); ok {
		def.setDefaults()
	}
	m, ok := in.(map[string]any)
	if !ok {
		d.problem(path, "must be a mapping, not %s", describe(in))
		return
	}
	known := map[string]int{}
	names := []string{}
	for i := range out.NumField() {
		if name := out.Type().Field(i).Tag.Get("yaml"); name != "" {
			known[name] = i
			names = append(names, name)
		}
	}
	for _, key := range sortedKeys(m) {
		at := keyPath(path, key)
		if i, ok := known[key]; ok {
			d.value(at, m[key], out.Field(i))
			continue
		}
		d.problems = append(d.problems, d.src.keyProblem(at, "unknown key%s", suggest(key, names)))
	}
}

func (d *decoder) list(path string, in any, out reflect.Value) {
	list, ok := in.([]any)
	if text, isText := in.(string); !ok && isText && d.src.env[path] != "" && out.Type().Elem().Kind() == reflect.String {
		// In an environment variable a list of words is written with commas.
		for word := range strings.SplitSeq(text, ",") {
			list = append(list, strings.TrimSpace(word))
		}
		ok = true
	}
	if !ok {
		d.problem(path, "must be a list, not %s: write [...], or one \"- \" line for each", describe(in))
		return
	}
	s := reflect.MakeSlice(out.Type(), len(list), len(list))
	for i, e := range list {
		if e == nil {
			d.problem(indexPath(path, i), "is empty")
			continue
		}
		d.value(indexPath(path, i), e, s.Index(i))
	}
	out.Set(s)
}

func (d *decoder) number(path string, in any, out reflect.Value) {
	text, ok := d.scalar(path, in)
	if !ok {
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || out.CanInt() && out.OverflowInt(n) || out.CanUint() && (n < 0 || out.OverflowUint(uint64(n))) {
		d.problem(path, "must be a whole number, not %s", describe(in))
		return
	}
	if out.CanUint() {
		out.SetUint(uint64(n))
	} else {
		out.SetInt(n)
	}
}

func (d *decoder) text(path string, in any, out encoding.TextUnmarshaler) {
	if _, secret := out.(*Secret); secret && !isText(in) {
		d.problem(path, "must be text, and YAML reads it as something else: put it in quotes")
		return
	}
	s, ok := d.scalar(path, in)
	if !ok {
		return
	}
	if err := out.UnmarshalText([]byte(s)); err != nil {
		d.problem(path, "%v", err)
	}
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

// scalar returns a single value as text, with references resolved.
func (d *decoder) scalar(path string, in any) (string, bool) {
	switch v := in.(type) {
	case string:
		return d.expand(path, v)
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	d.problem(path, "must be a single value, not %s", describe(in))
	return "", false
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}?`)

// expand replaces ${env:NAME} by an environment variable and ${file:/path} by the contents of a file without the
// line break at its end. Problems name the reference, never what it stands for.
func (d *decoder) expand(path, text string) (string, bool) {
	ok := true
	text = reference.ReplaceAllStringFunc(text, func(ref string) string {
		kind, name, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(ref, "${"), "}"), ":")
		value, err := d.resolve(kind, name)
		if !strings.HasSuffix(ref, "}") {
			err = fmt.Errorf("the closing } is missing")
		}
		if err != nil {
			d.problem(path, "%s: %v", ref, err)
			ok = false
		}
		return value
	})
	return text, ok
}

func (d *decoder) resolve(kind, name string) (string, error) {
	switch kind {
	case "env":
		if value, ok := d.lookup(name); ok {
			return value, nil
		}
		return "", fmt.Errorf("the environment variable %s is not set", name)
	case "file":
		d.files = append(d.files, d.abs(name))
		text, err := os.ReadFile(d.abs(name))
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	return "", fmt.Errorf("write ${file:/path} or ${env:NAME}")
}

// abs makes a path from the file absolute: relative ones start at the file's own directory.
func (d *decoder) abs(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir, name)
}

// describe names a value in a message. Of text it gives the kind only: it may be a secret.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case string:
		return "text"
	case bool:
		return "true or false"
	}
	return fmt.Sprint("the number ", v)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// suggest proposes the known name that is closest to what was written, or lists all where none is close.
func suggest(written string, known []string) string {
	best, least := "", 3
	for _, name := range known {
		// A guess that changes more than half of a short word is none.
		if n := distance(strings.ToLower(written), name); n < least && 2*n <= len(name) {
			best, least = name, n
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	return ": the keys here are " + strings.Join(known, ", ")
}

// distance counts the letters to insert, delete or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
