package host

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of what a guest may log: lines a second with a burst for each stage, and bytes a line.
const (
	linesPerSecond = 10
	lineBurst      = 100
	maxLine        = 2 << 10
)

// outputLevel is the level of what guests write to standard output and standard error.
const outputLevel = slog.LevelInfo

// guestLog writes the log lines of one stage's guests, at a limited rate. It is for use by many goroutines at once.
type guestLog struct {
	to *slog.Logger

	mu      sync.Mutex
	tokens  float64
	last    time.Time
	dropped int // since the last line that went through
}

// guest logs one line of a guest.
func (l *guestLog) guest(s *Stage, level slog.Level, text string) {
	if !l.to.Enabled(context.Background(), level) {
		return
	}
	dropped, ok := l.take(s.clock())
	if !ok {
		s.observer.LogDropped(1)
		return
	}
	if dropped > 0 {
		l.to.Warn("guest logs too much", "dropped", dropped)
	}
	l.to.Log(context.Background(), level, cutLine(text), "from", "guest")
}

// take reports whether a line may be written at the time now, and how many were dropped before it.
func (l *guestLog) take(now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.tokens = lineBurst
	} else if d := now.Sub(l.last); d > 0 {
		l.tokens = min(lineBurst, l.tokens+d.Seconds()*linesPerSecond)
	}
	l.last = now
	if l.tokens < 1 {
		l.dropped++
		return 0, false
	}
	l.tokens--
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}

// lineBuffer cuts a stream of bytes into lines. A line longer than maxLine is cut there and its rest thrown away.
type lineBuffer struct {
	line []byte
	skip bool
}

// write calls f with each line that p completes. f must not keep it.
func (b *lineBuffer) write(p []byte, f func(line []byte)) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if !b.skip {
			b.line = append(b.line, part[:min(len(part), maxLine-len(b.line))]...)
			b.skip = len(b.line) == maxLine
		}
		if end < 0 {
			return
		}
		b.flush(f)
		b.skip = false
		p = p[end+1:]
	}
}

// flush calls f with what is left, if anything.
func (b *lineBuffer) flush(f func(line []byte)) {
	if len(b.line) > 0 {
		f(b.line)
	}
	b.line, b.skip = b.line[:0], false
}

// cutLine makes a guest's text fit for a log: valid UTF-8 of at most maxLine bytes.
func cutLine(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// maxErrorText bounds the text of a guest's failure, in bytes.
const maxErrorText = 1 << 10

// oneLine makes a guest's text fit for an error: one line of valid UTF-8 of at most maxErrorText bytes.
func oneLine(s string) string {
	if len(s) > maxErrorText {
		n := maxErrorText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return oneLine(line)
}
