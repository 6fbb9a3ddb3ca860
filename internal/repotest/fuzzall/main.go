// Command fuzzall runs every fuzz target of the module for a short time, one
// after the other, because `go test -fuzz` takes one target at a time.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var target = regexp.MustCompile(`^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

func main() {
	fuzztime := flag.Duration("fuzztime", 10*time.Second, "how long each target runs")
	flag.Parse()
	if err := run(*fuzztime); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(1)
	}
}

func run(fuzztime time.Duration) error {
	n := 0
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		names, err := targets(path)
		if err != nil {
			return err
		}
		for _, name := range names {
			n++
			if err := fuzz(filepath.Dir(path), name, fuzztime); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && n == 0 {
		return fmt.Errorf("no fuzz target found: run it from the module's root")
	}
	return err
}

// targets lists the fuzz functions that a test file declares.
func targets(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := target.FindStringSubmatch(lines.Text()); m != nil {
			names = append(names, m[1])
		}
	}
	return names, lines.Err()
}

func fuzz(dir, name string, d time.Duration) error {
	fmt.Printf("fuzz    %s %s\n", dir, name)
	cmd := exec.Command("go", "test", "./"+dir, "-run", "^$", "-fuzz", "^"+name+"$", "-fuzztime", d.String(), "-parallel", "2")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", dir, name, err, out)
	}
	return nil
}
