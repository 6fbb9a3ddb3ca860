package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestServer(t *testing.T) {
	var gatewayErr error
	s, err := Start(Config{
		Bind:    "127.0.0.1:0",
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, "sluice_build_info 1\n") }),
		Checks: map[string]func() error{
			"gateway":   func() error { return gatewayErr },
			"pipelines": func() error { return nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+s.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	down := errors.New(`cluster main: "b:9092" cannot be reached`)
	for _, tt := range []struct {
		method, path string
		gateway      error
		status       int
		body         string
	}{
		{"GET", "/", nil, 200, index},
		{"GET", "/livez", down, 200, "ok\n"},
		{"GET", "/metrics", nil, 200, "sluice_build_info 1\n"},
		{"GET", "/readyz", nil, 200, `{"ready":true,"checks":{"gateway":"ok","pipelines":"ok"}}` + "\n"},
		{"GET", "/readyz", down, 503, `{"ready":false,"checks":{"gateway":"cluster main: \"b:9092\" cannot be reached","pipelines":"ok"}}` + "\n"},
		{"POST", "/readyz", nil, 405, "Method Not Allowed\n"},
		{"GET", "/debug/pprof/", nil, 404, "404 page not found\n"},
	} {
		gatewayErr = tt.gateway
		if status, body := get(tt.method, tt.path); status != tt.status || body != tt.body {
			t.Errorf("%s %s = %d %s, want %d %s", tt.method, tt.path, status, body, tt.status, tt.body)
		}
	}

	for range 2 {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("the port is still open after Close")
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Start(Config{Bind: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Start = %v, want that the address is in use", err)
	}
}
