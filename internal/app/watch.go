package app

import (
	"context"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long files must have been quiet before they are read: editors and tools write in several steps.
const settle = 200 * time.Millisecond

// again is how long a directory that is not there is left alone.
const again = 2 * time.Second

// A watcher reloads an App when the contents of a file change that its configuration is made of. It watches directories,
// since files are replaced more often than they are written to, and compares contents, since a mounted Kubernetes
// volume changes by a link beside the files.
type watcher struct {
	app    *App
	fs     *fsnotify.Watcher
	warned map[string]bool   // directories that cannot be watched, and that the log knows of
	seen   map[string]digest // of the files as they were loaded last
	bad    bool              // the last reload failed: whatever changes is reason to try again
}

type digest [sha256.Size]byte

func newWatcher(a *App) (*watcher, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{app: a, fs: n, warned: map[string]bool{}}
	w.follow()
	w.seen = digests(w.files())
	maps.Copy(w.seen, a.loaded) // what has changed since the start is new
	maps.DeleteFunc(w.seen, func(f string, _ digest) bool { return !slices.Contains(w.files(), f) })
	return w, nil
}

// files are those that the running configuration is made of.
func (w *watcher) files() []string { return *w.app.watch.Load() }

// follow watches the directories of all files, and of what they are links to. It returns false if one of them cannot be watched now.
func (w *watcher) follow() bool {
	want := map[string]bool{}
	for _, f := range w.files() {
		want[filepath.Dir(f)] = true
		if target, err := filepath.EvalSymlinks(f); err == nil {
			want[filepath.Dir(target)] = true
		}
	}
	// A directory that was removed or renamed is no longer in this list, whatever has its name now.
	watched := w.fs.WatchList()
	for _, dir := range watched {
		if !want[dir] {
			_ = w.fs.Remove(dir) // an error says that it is gone
		}
	}
	all := true
	for dir := range want {
		if slices.Contains(watched, dir) {
			continue
		}
		err := w.fs.Add(dir)
		if err != nil && !w.warned[dir] {
			w.app.log.Warn("changes in a directory are not noticed until it can be watched: send SIGHUP to load the configuration again", "dir", dir, "err", err)
		}
		w.warned[dir] = err != nil
		all = all && err == nil
	}
	return all
}

// digests are those of the contents of files. A file that cannot be read has one too.
func digests(files []string) map[string]digest {
	sums := map[string]digest{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			text = []byte("\x00" + err.Error())
		}
		sums[f] = sha256.Sum256(text)
	}
	return sums
}

// run reloads on changes until ctx ends.
func (w *watcher) run(ctx context.Context) {
	defer w.fs.Close()
	timer := time.NewTimer(settle) // what has changed before it watched
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.fs.Events:
			if !ok {
				return
			}
			timer.Reset(settle)
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			// Events may be lost: look.
			w.app.log.Warn("watching files", "err", err)
			timer.Reset(settle)
		case <-timer.C:
			w.changed(ctx)
			if !w.follow() {
				timer.Reset(again)
			}
		}
	}
}

// changed reloads if there is something new.
func (w *watcher) changed(ctx context.Context) {
	before := digests(w.files())
	if maps.Equal(before, w.seen) && !w.bad {
		return
	}
	w.bad = w.app.Reload(ctx) != nil
	// Files may have changed again since they were read: what was seen is what was there before.
	w.seen = digests(w.files())
	maps.Copy(w.seen, before)
	maps.DeleteFunc(w.seen, func(f string, _ digest) bool { return !slices.Contains(w.files(), f) })
}
