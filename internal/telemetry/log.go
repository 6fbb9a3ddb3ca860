package telemetry

import (
	"io"
	"log/slog"
)

// NewLog returns a log that writes to w, as JSON objects or as key=value text. level may be changed while it is used.
func NewLog(w io.Writer, json bool, level *slog.LevelVar) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
