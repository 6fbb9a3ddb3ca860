package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/host"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		glob, topic string
		want        bool
	}{
		{"*", "orders", true},
		{"*", "__consumer_offsets", false},
		{"_*", "__consumer_offsets", false},
		{"__*", "__consumer_offsets", true},
		{"__*", "_schemas", false},
		{"_*", "_schemas", true},
		{"light.*", "light.measured", true},
		{"light.*", "light.", true},
		{"light.*", "lightXmeasured", false},
		{"a?c", "abc", true},
		{"a?c", "abbc", false},
		{"a[bc]d", "acd", true},
		{"orders", "orders2", false},
		{"Orders", "orders", false},
		{"*", "", true},
	}
	for _, tt := range tests {
		r, err := NewRoutes(Markers{}, []Route{{Name: "p", Topics: []string{"nothing", tt.glob}, On: host.Produce, Pipeline: &fake{}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from the cache
			if got := len(r.match("main", tt.topic).produce) == 1; got != tt.want {
				t.Errorf("%q matches %q: %v, want %v", tt.glob, tt.topic, got, tt.want)
			}
		}
	}
}

func TestMatchOrder(t *testing.T) {
	r, err := NewRoutes(Markers{Key: secret, Topics: []string{"old.*"}}, []Route{
		{Name: "1", Topics: []string{"a*"}, On: host.Produce, Pipeline: &fake{}},
		{Name: "2", Topics: []string{"*"}, On: host.Fetch, Cluster: "other", Pipeline: &fake{}},
		{Name: "3", Topics: []string{"*b"}, On: host.Produce, Cluster: "main", Pipeline: &fake{drops: true}},
		{Name: "4", Topics: []string{"ab"}, On: host.Fetch, Pipeline: &fake{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	show := func(cluster, topic string) string {
		m := r.match(cluster, topic)
		var s []string
		for _, r := range append(append([]Route(nil), m.produce...), m.fetch...) {
			s = append(s, r.Name)
		}
		return fmt.Sprint(s, m.markers)
	}
	for _, tt := range [][3]string{
		{"main", "ab", "[1 3 4] true"}, {"other", "ab", "[1 2 4] false"}, {"main", "a", "[1] false"}, {"main", "cb", "[3] true"}, {"main", "old.x", "[] true"}, {"other", "x", "[2] false"},
	} {
		if got := show(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s in %s: got %s, want %s", tt[1], tt[0], got, tt[2])
		}
	}
	for i := range 3 * maxCachedMatches {
		r.match("main", fmt.Sprint(i))
	}
	n := 0
	r.cache.Range(func(any, any) bool { n++; return true })
	if n > maxCachedMatches {
		t.Errorf("%d names are cached", n)
	}
}

func TestNewRoutesErrors(t *testing.T) {
	tests := []struct {
		markers Markers
		route   Route
		want    string
	}{
		{Markers{}, Route{Topics: []string{"a"}, Pipeline: &fake{drops: true}}, "pipeline x: it can drop records, and markers need a key"},
		{Markers{Key: []byte("short")}, Route{Topics: []string{"a"}, Pipeline: &fake{}}, "markers: "},
		{Markers{Topics: []string{"a"}}, Route{Topics: []string{"a"}, Pipeline: &fake{}}, "markers need a key"},
		{Markers{}, Route{Topics: []string{"a["}, Pipeline: &fake{}}, `topic pattern "a["`},
		{Markers{}, Route{Topics: []string{""}, Pipeline: &fake{}}, `topic pattern ""`},
		{Markers{}, Route{Pipeline: &fake{}}, "no topics"},
		{Markers{}, Route{Topics: []string{"a"}}, "no pipeline"},
	}
	for _, tt := range tests {
		tt.route.Name = "x"
		if _, err := NewRoutes(tt.markers, []Route{tt.route}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// TestReplaceWaits checks that routes are idle only after their last user.
func TestReplaceWaits(t *testing.T) {
	fresh := func() *Routes {
		r, _ := NewRoutes(Markers{}, nil)
		return r
	}
	var table routeTable
	first := fresh()
	if err := table.replace(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	used := table.acquire()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := table.replace(ctx, fresh()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v while the old routes are used", err)
	}
	if table.peek() == first {
		t.Error("the new routes do not hold")
	}
	used.release()
	select {
	case <-first.idle:
	case <-time.After(time.Second):
		t.Error("the old routes are not idle")
	}
	if err := table.replace(t.Context(), first); err == nil {
		t.Error("routes were set twice")
	}
	if err := table.replace(t.Context(), fresh()); err != nil {
		t.Error(err)
	}
}
