package config

import (
	"strconv"
	"strings"
)

// A path names a setting as a person would write it: pipelines[0].stages[1].plugin. A key that is not a plain word
// is quoted in brackets, config["a.b"], so that a path always has one meaning.

// keyPath is the path of key inside the mapping at parent.
func keyPath(parent, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\"") {
		return parent + "[" + strconv.Quote(key) + "]"
	}
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// indexPath is the path of element i of the list at parent.
func indexPath(parent string, i int) string {
	return parent + "[" + strconv.Itoa(i) + "]"
}

// parentPath is the path of what holds path, "" for a key of the top level.
func parentPath(path string) string {
	last := 0 // where the step that is the last so far begins
	for i := 0; i < len(path); {
		last = i
		if quoted, err := strconv.QuotedPrefix(path[min(i+1, len(path)):]); err == nil && path[i] == '[' {
			i += len(`[`) + len(quoted) + len(`]`)
			continue
		}
		next := strings.IndexAny(path[i+1:], ".[")
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return path[:last]
}
