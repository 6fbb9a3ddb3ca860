// Package admin is the HTTP side for operators: metrics for Prometheus, and whether the process lives and is ready.
//
//	/metrics   Prometheus text format
//	/livez     200 while the process serves; a supervisor restarts what does not answer
//	/readyz    200 when clients can be served, else 503; in both cases JSON with the reasons
//
// A body of /readyz is {"ready":false,"checks":{"gateway":"cluster main: dial tcp ...","pipelines":"ok"}}.
//
// There is no authentication: bind it where only operators are. Requests are bounded in time and size, so that a slow
// client costs little.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Config configures a Server.
type Config struct {
	// Bind is host:port; port 0 lets the system choose.
	Bind string
	// Metrics serves /metrics.
	Metrics http.Handler
	// Checks are asked for each /readyz, by the name that it shows: nil means ready. They must be quick.
	Checks map[string]func() error
	Log    *slog.Logger // nil: nothing is logged
}

// Server is a running HTTP server.
type Server struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{} // closed when the server no longer serves
	err      error         // why it stopped, after done
}

// Start binds the address and begins to serve.
func Start(cfg Config) (*Server, error) {
	l, err := net.Listen("tcp", cfg.Bind)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		http: &http.Server{
			Handler:           handler(cfg),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		listener: l,
		done:     make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = fmt.Errorf("admin: %w", err)
			log.Error("the admin port is gone", "err", err)
		}
	}()
	return s, nil
}

// Addr is the address that is served, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close stops serving. Requests under way may finish until ctx ends. It may be called more than once.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	<-s.done
	return errors.Join(err, s.err)
}

// index is what the root says.
const index = `Sluice admin port
/metrics  Prometheus metrics
/livez    200 while the process serves
/readyz   200 when clients can be served, with the reasons as JSON
`

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, cfg.Checks) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { text(w, index) })
	return mux
}

func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(s))
}

// readiness is the body of /readyz.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
}

func ready(w http.ResponseWriter, checks map[string]func() error) {
	body := readiness{Ready: true, Checks: map[string]string{}}
	for name, check := range checks {
		body.Checks[name] = "ok"
		if err := check(); err != nil {
			body.Ready = false
			body.Checks[name] = err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !body.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body)
}
