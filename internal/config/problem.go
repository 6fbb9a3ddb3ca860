package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with a configuration, at one place.
type Problem struct {
	// File is the configuration file as it was named by the user; empty for a problem with the environment.
	File string
	// Line and Column count from 1; 0 means that it is not known.
	Line, Column int
	// Variable is the environment variable that the value came from, empty for a value from the file.
	Variable string
	// Path says which setting it is: pipelines[0].stages[1].plugin. It is empty for the file as a whole.
	Path string
	// Message says what is wrong and what to do. It never holds a secret.
	Message string
}

// String formats p like a compiler does: "sluice.yaml:12:5: pipelines[0].stages[1].plugin: message".
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.Variable != "":
		fmt.Fprintf(&b, "environment variable %s: ", p.Variable)
	case p.Line > 0 && p.Column == 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is the error that Load and the checks return: everything that is wrong, in the order of the file.
// It is never empty when it is used as an error.
type Problems []Problem

// Error returns one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps in the order of the files as an error, nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(sorted)
}
