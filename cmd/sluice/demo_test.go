package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestMakeKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "marker.key")
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil || len(key) != 32 {
			t.Errorf("the key is %q: %v", text, err)
		}
		return string(text)
	}
	// What an older version left when it was killed.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeKey(path); err != nil {
		t.Fatal(err)
	}
	first := read()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := makeKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if read() != first {
		t.Error("the key was replaced")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left, want 1", len(files))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		wg.Go(func() {
			if err := makeKey(path); err != nil {
				t.Error(err)
			}
			read()
		})
	}
	wg.Wait()
}
