package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"go.yaml.in/yaml/v3"
)

// Prefix is what the environment variables that override settings begin with.
const Prefix = "SLUICE_"

// delimiter separates the keys of a path inside koanf. It cannot occur in a key.
const delimiter = "\x00"

// overrides reads the variables that override settings: SLUICE_ADMIN__BIND is admin.bind, SLUICE_CLUSTERS__0__NAME is
// clusters[0].name. Variables without "__" count only where they name a setting of the top level that is a single
// value, because platforms set variables of their own with the name of a service in front (SLUICE_SERVICE_HOST).
func overrides(environ []string, single map[string]bool) *env.Env {
	return env.Provider(delimiter, env.Opt{
		Prefix:      Prefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ToLower(strings.TrimPrefix(name, Prefix))
			if !strings.Contains(key, "__") && !single[key] {
				return "", nil
			}
			return strings.ReplaceAll(key, "__", delimiter), override{name, value}
		},
	})
}

// An override is a value from the environment on its way into the tree.
type override struct{ variable, text string }

// merger puts overrides over the values of the file.
type merger struct {
	src      *source
	problems Problems
}

// merge is a koanf merge function: src comes from the environment, dest from the file.
func (m *merger) merge(src, dest map[string]any) error {
	m.mapping("", src, dest)
	return nil
}

func (m *merger) mapping(path string, src, dest map[string]any) {
	for _, key := range sortedKeys(src) {
		name := key
		for existing := range dest {
			if strings.EqualFold(existing, key) {
				name = existing // variables have no lower case: the file's spelling wins
			}
		}
		dest[name] = m.value(keyPath(path, name), src[key], dest[name])
	}
}

// value returns what stands at path after the overrides in src are applied to old.
func (m *merger) value(path string, src, old any) any {
	if o, ok := src.(override); ok {
		m.src.env[path] = o.variable
		return plain(o.text, path)
	}
	over, _ := src.(map[string]any)
	if old == nil {
		m.src.env[path] = firstVariable(src)
	}
	if list, ok := old.([]any); ok || old == nil && allIndexes(over) {
		return m.list(path, over, list)
	}
	dest, ok := old.(map[string]any)
	if !ok {
		dest = map[string]any{}
	}
	m.mapping(path, over, dest)
	return dest
}

func (m *merger) list(path string, src map[string]any, list []any) any {
	// Elements in their order, so that several can be added behind the last.
	for i := 0; len(src) > 0 && i <= len(list); i++ {
		key := strconv.Itoa(i)
		over, ok := src[key]
		if !ok {
			continue
		}
		if i == len(list) {
			list = append(list, nil)
		}
		list[i] = m.value(indexPath(path, i), over, list[i])
		delete(src, key)
	}
	for _, key := range sortedKeys(src) {
		m.problems = append(m.problems, Problem{
			Variable: firstVariable(src[key]), Path: path,
			Message: fmt.Sprintf("%q is not an element of this list, which has %d: count from 0, and add only behind the last", key, len(list)),
		})
	}
	return list
}

func firstVariable(v any) string {
	switch v := v.(type) {
	case override:
		return v.variable
	case map[string]any:
		for _, key := range sortedKeys(v) {
			return firstVariable(v[key])
		}
	}
	return ""
}

var digits = regexp.MustCompile(`^[0-9]+$`)

func allIndexes(m map[string]any) bool {
	for key := range m {
		if !digits.MatchString(key) {
			return false
		}
	}
	return len(m) > 0
}

var pluginConfig = regexp.MustCompile(`^pipelines\[\d+\]\.stages\[\d+\]\.config[.\[]`)

// plain turns the text of a variable into a value. The gateway's own settings know their types and take the text; what
// is inside a plugin's config is read like a YAML value, so that true and 5 are not text there.
func plain(text, path string) any {
	if !pluginConfig.MatchString(path) {
		return text
	}
	var v any
	if yaml.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	switch v := v.(type) {
	case int:
		return int64(v)
	case bool, float64, int64, uint64:
		return v
	}
	return text
}
