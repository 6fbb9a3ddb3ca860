package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run runs the fixture until the test ends.
func (f *fixture) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// loads waits until the configuration was loaded n times since the start.
func (f *fixture) loads(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := strings.Count(f.log.String(), "configuration loaded")
		if got == n {
			return
		}
		if got > n || time.Now().After(end) {
			t.Fatalf("the configuration was loaded %d times, want %d", got, n)
		}
	}
}

// fill makes dir with the fixture's files in it, of which the document has another type.
func (f *fixture) fill(t *testing.T, dir, kind string) {
	t.Helper()
	text, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sluice.yaml"), string(text))
	write(t, filepath.Join(dir, "lights.yaml"), strings.Replace(document, "integer", kind, 1))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWatch replaces files in the ways that editors, deployments and Kubernetes do.
func TestWatch(t *testing.T) {
	f := start(t)
	dir := filepath.Dir(f.path)

	// Before anybody watched.
	doc := filepath.Join(dir, "lights.yaml")
	write(t, doc, strings.Replace(document, "integer", "number", 1))
	f.run(t)
	f.loads(t, 1)

	// A file that takes another's name, and one that is written in place.
	write(t, doc, strings.Replace(document, "integer", "string", 1))
	f.loads(t, 2)
	must(t, os.WriteFile(doc, []byte(document), 0o600))
	f.loads(t, 3)

	// A directory that takes another's name, then one that is gone for a while.
	f.fill(t, dir+".next", "string")
	must(t, os.Rename(dir, dir+".old"))
	must(t, os.Rename(dir+".next", dir))
	f.loads(t, 4)
	f.fill(t, dir+".next", "integer")
	must(t, os.RemoveAll(dir))
	time.Sleep(2 * settle)
	must(t, os.Rename(dir+".next", dir))
	f.loads(t, 5)
	write(t, doc, strings.Replace(document, "integer", "number", 1))
	f.loads(t, 6)

	// A mounted volume of Kubernetes: the files are links through a link.
	f.fill(t, filepath.Join(dir, "..1"), "number")
	must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
	for _, name := range []string{"sluice.yaml", "lights.yaml"} {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name+".new")))
		must(t, os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)))
	}
	for i, kind := range []string{"string", "integer"} {
		time.Sleep(2 * settle)
		next := filepath.Join(dir, "..next"+kind)
		f.fill(t, next, kind)
		must(t, os.Symlink(filepath.Base(next), filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		f.loads(t, 7+i)
	}
}
