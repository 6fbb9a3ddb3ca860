package testenv

import (
	"path/filepath"
	"testing"
)

func TestPortsAreNotGivenTwice(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		first := Ports(4)
		for p := first; p < first+4; p++ {
			if seen[p] {
				t.Fatalf("port %d was given twice", p)
			}
			seen[p] = true
		}
	}
}

func TestRoot(t *testing.T) {
	if got, err := filepath.Rel(Root(), "."); err == nil && got == "." {
		t.Errorf("Root = %s, want a directory above this package", Root())
	}
	if got := filepath.Base(filepath.Dir(CacheDir())); got != filepath.Base(Root()) {
		t.Errorf("CacheDir = %s, want it in %s", CacheDir(), Root())
	}
}
