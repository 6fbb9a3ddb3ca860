// Package repotest holds the rules of the repository as tests. A failure
// says how to mend it.
package repotest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sluicegate/sluice/"

// topLevel is all that may stand at the root of the repository.
var topLevel = []string{
	"abi", "catalog", "cmd", "examples", "host", "internal", "plugins", "sdk",
	"go.mod", "go.sum", "LICENSE", "Makefile", "README.md",
	".ci", ".git", ".github", ".gitignore",
	"bin", ".cache", // written by builds and tests, ignored by git
}

// layers says what each part may import of this project. The longest prefix
// that matches a package decides; "" stands for nothing.
var layers = map[string][]string{
	"abi":                    {},
	"abi/abitest":            {"abi", "host"},
	"host":                   {"abi", "host"},
	"host/meter":             {},
	"catalog":                {"abi"},
	"sdk":                    {"abi", "sdk"},
	"plugins":                {"abi", "sdk"},
	"examples":               {"abi", "host", "sdk", "catalog", "plugins"},
	"internal/kafka":         {"abi", "host", "internal/kafka"},
	"internal/kafka/wire":    {},
	"internal/kafka/batch":   {"abi"},
	"internal/kafka/marker":  {"abi"},
	"internal/kafka/emit":    {"abi", "host", "internal/kafka"},
	"internal/kafka/gateway": {"abi", "host", "internal/kafka"},
	"internal":               {"abi", "host", "catalog", "internal"},
	"cmd":                    {"abi", "host", "catalog", "internal", "sdk"},
}

// goFiles calls f with every Go file of the module, by slash-separated path.
func goFiles(t *testing.T, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("../..", path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(rel, ".go") {
			f(rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLayers(t *testing.T) {
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return // tests may use the real parts next door
		}
		dir := path[:strings.LastIndex(path, "/")]
		allowed, rule := allowedFor(dir)
		file, err := parser.ParseFile(token.NewFileSet(), "../../"+path, nil, parser.ImportsOnly)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			imported, ours := strings.CutPrefix(name, module)
			if !ours || imported == dir {
				continue
			}
			if strings.HasPrefix(imported, "cmd/") {
				t.Errorf("%s imports %s: nothing imports commands", path, imported)
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return under(imported, a) }) {
				t.Errorf("%s imports %s, but %s may import only %v of this project: declare the methods you call as an interface instead",
					path, imported, rule, allowed)
			}
		}
	})
}

func allowedFor(dir string) (allowed []string, rule string) {
	for prefix, a := range layers {
		if under(dir, prefix) && len(prefix) > len(rule) {
			allowed, rule = a, prefix
		}
	}
	return allowed, rule
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func TestEveryPackageHasALayer(t *testing.T) {
	goFiles(t, func(path string) {
		dir := path[:strings.LastIndex(path, "/")]
		if _, rule := allowedFor(dir); rule == "" {
			t.Errorf("%s: no rule in layers says what this package may import", path)
		}
	})
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s stands at the root: move it beside what it belongs to", e.Name())
		}
	}
}

// TestPackageComments asks for a comment that says what each package is for.
func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "internal/repotest/") {
			return
		}
		dir := path[:strings.LastIndex(path, "/")]
		file, err := parser.ParseFile(token.NewFileSet(), "../../"+path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		documented[dir] = documented[dir] || file.Doc != nil
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment: say what it is for, what it promises and what it leaves to others", dir)
		}
	}
}

// TestModFile refuses replace directives: they would not hold for those who
// import the module.
func TestModFile(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(mod), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod:%d: %s: remove the replace directive", i+1, line)
		}
	}
}
