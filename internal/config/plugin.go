package config

import (
	"regexp"
	"strings"
)

// PluginProblems turns what the schema of a plugin says about a stage's config into problems at the lines concerned.
// stage is the path of the stage; each error is as gojsonschema words it, "conditions.0.path: text" or "(root): text".
func (c *Config) PluginProblems(stage string, errors []string) Problems {
	var ps Problems
	for _, e := range errors {
		field, message, ok := strings.Cut(e, ": ")
		if !ok {
			field, message = "", e
		}
		at := c.field(keyPath(stage, "config"), field)
		if m := additional.FindStringSubmatch(message); m != nil {
			ps = append(ps, c.src.keyProblem(keyPath(at, m[1]), "the plugin does not know this key"))
			continue
		}
		ps = append(ps, c.Problem(at, "%s", message))
	}
	return ps
}

var additional = regexp.MustCompile(`^Additional property (.+) is not allowed$`)

// field finds the path of a dotted field below at, or of the nearest thing that holds it.
func (c *Config) field(at, field string) string {
	if field == "" || field == "(root)" {
		return at
	}
	for rest := strings.Split(field, "."); len(rest) > 0; {
		next, used := c.child(at, rest)
		if used == 0 {
			break
		}
		at, rest = next, rest[used:]
	}
	return at
}

// child goes one step down from at along parts, of which a key with dots in it uses several.
func (c *Config) child(at string, parts []string) (path string, used int) {
	for n := 1; n <= len(parts); n++ {
		name := strings.Join(parts[:n], ".")
		for _, p := range []string{keyPath(at, name), at + "[" + name + "]"} {
			if c.written(p) {
				return p, n
			}
		}
	}
	return at, 0
}

func (c *Config) written(path string) bool {
	_, file := c.src.values[path]
	_, env := c.src.env[path]
	return file || env
}
