package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/internal/testenv"
)

// shape is a size of request: records of size bytes each.
type shape struct {
	label         string
	records, size int
}

var shapes = []shape{
	{"1 KB x 100", 100, 1000},
	{"100 B x 100", 100, 100},
	{"1 KB x 1", 1, 1000},
}

func (s shape) payload() int { return s.records * s.size }

// path is one way from the client to the broker.
type path struct {
	name string
	addr string
	proc *process
	wrap func(net.Conn) net.Conn
	// topic prefix: which pipeline the gateway applies
	topic string
}

// network is everything started for one broker.
type network struct {
	broker  *broker
	gateway *process
	forward *process
	direct  path
	floor   path
	plain   path // topics that no pipeline matches
	tls     path // the same over TLS from the client
	kept    path // opened, every record kept
	changed path // opened, every record rewritten
}

// startNetwork starts the gateway and the forwarder before a broker, which is
// the network's from then on: it is stopped with it, or if the start fails.
func startNetwork(dir, sluice string, b *broker) (n *network, err error) {
	n = &network{broker: b}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	guests, err := buildGuests(dir)
	if err != nil {
		return n, err
	}
	self, err := os.Executable()
	if err != nil {
		return n, err
	}
	port := testenv.Ports(1)
	n.forward, err = start(dir, "forward", self, "-child", "forward", "-port", strconv.Itoa(port), "-to", b.addr)
	if err != nil {
		return n, err
	}
	floor := fmt.Sprintf("127.0.0.1:%d", port)
	if err := n.forward.waitPort(floor, 5*time.Second); err != nil {
		return n, err
	}
	span := int(b.node) + 4
	base := testenv.Ports(2*span + 1)
	secure := base + span
	cfg, err := writeConfig(dir, b.addr, base, secure, base+2*span, guests)
	if err != nil {
		return n, err
	}
	n.gateway, err = start(dir, "sluice", sluice, "run", "-c", cfg)
	if err != nil {
		return n, err
	}
	// The node's own listener, which is bound once the broker is known.
	addr := func(base int) string { return fmt.Sprintf("127.0.0.1:%d", base+1+int(b.node)) }
	if err := n.gateway.waitPort(addr(base), 60*time.Second); err != nil {
		return n, err
	}
	wrap := func(c net.Conn) net.Conn { return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) }
	n.direct = path{name: "direct", addr: b.addr, topic: "pass"}
	n.floor = path{name: "bare forwarder", addr: floor, proc: n.forward, topic: "pass"}
	n.plain = path{name: "Sluice, unread", addr: addr(base), proc: n.gateway, topic: "pass"}
	n.tls = path{name: "Sluice, unread, TLS from the client", addr: addr(secure), proc: n.gateway, wrap: wrap, topic: "pass"}
	n.kept = path{name: "Sluice, opened and kept", addr: addr(base), proc: n.gateway, topic: "keep"}
	n.changed = path{name: "Sluice, opened and rewritten", addr: addr(base), proc: n.gateway, topic: "change"}
	return n, nil
}

func (n *network) stop() {
	if n.gateway != nil {
		n.gateway.stop()
	}
	if n.forward != nil {
		n.forward.stop()
	}
	n.broker.stop()
}

// writeConfig writes the gateway's configuration: topics named keep-* and change-*
// pass a stage, in both directions; all others pass unread.
func writeConfig(dir, bootstrap string, base, secure, admin int, guests guestFiles) (string, error) {
	cert, key, err := selfSigned(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `clusters:
  - {name: main, bootstrap: [%q]}
listeners:
  - {name: plain, cluster: main, bind: "127.0.0.1:%d", advertise: 127.0.0.1}
  - {name: secure, cluster: main, bind: "127.0.0.1:%d", advertise: 127.0.0.1, tls: {cert: %q, key: %q}}
cache_dir: %q
admin: {bind: "127.0.0.1:%d"}
markers: {key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=} # of a benchmark: the guests say nothing about what they may drop
pipelines:
`, bootstrap, base, secure, cert, key, filepath.Join(dir, "cache"), admin)
	stage := func(name, topic, on, module string) {
		fmt.Fprintf(&b, "  - {name: %s-%s, topics: [%q], on: %s, stages: [{plugin: %q}]}\n", name, on, topic, on, module)
	}
	for _, on := range []string{"produce", "fetch"} {
		stage("keep", "keep-"+on+"*", on, guests.touch)
		stage("change", "change-"+on+"*", on, guests.upper)
		stage("loop", "loop-"+on+"*", on, guests.loop)
	}
	file := filepath.Join(dir, "sluice.yaml")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// produce compares the paths on produce for one shape.
func (n *network) produce(opts options, t *table, s shape, paths ...path) error {
	batch := plainBatch(s.records, s.size)
	var legs []leg
	for _, p := range paths {
		topic := p.topic + "-produce-" + strings.ReplaceAll(s.label, " ", "")
		req := produceRequest(topic, batch)
		legs = append(legs, leg{name: p.name, proc: p.proc, run: func() (sample, error) {
			if err := n.broker.fresh(topic); err != nil {
				return sample{}, err
			}
			c, err := dial(p.addr, p.wrap)
			if err != nil {
				return sample{}, err
			}
			defer c.close()
			return c.run(opts.leg, s.payload(), func() []byte { return req }, produceOK)
		}})
	}
	outs, err := interleave(opts.rounds, legs)
	if err != nil {
		return fmt.Errorf("produce %s: %w", s.label, err)
	}
	throughput(t, "produce "+s.label, outs)
	return nil
}

// fetch compares the paths on fetch for one shape.
func (n *network) fetch(opts options, t *table, s shape, paths ...path) error {
	batch := plainBatch(s.records, s.size)
	var legs []leg
	filled := map[string]int64{}
	for _, p := range paths {
		topic := p.topic + "-fetch-" + strings.ReplaceAll(s.label, " ", "")
		end, ok := filled[topic]
		if !ok {
			if err := n.broker.fresh(topic); err != nil {
				return err
			}
			var err error
			if end, err = n.broker.fill(topic, batch, s.records, min(64<<20, 2000*len(batch))); err != nil {
				return err
			}
			filled[topic] = end
		}
		next := fetchRequests(topic, s.records, end)
		legs = append(legs, leg{name: p.name, proc: p.proc, run: func() (sample, error) {
			c, err := dial(p.addr, p.wrap)
			if err != nil {
				return sample{}, err
			}
			defer c.close()
			return c.run(opts.leg, s.payload(), next, atLeast(s.payload()))
		}})
	}
	outs, err := interleave(opts.rounds, legs)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", s.label, err)
	}
	throughput(t, "fetch "+s.label, outs)
	for topic := range filled {
		if err := n.broker.fresh(topic); err != nil {
			return err
		}
	}
	return nil
}

// latency compares paced produce requests of one record of 1 KB.
func (n *network) latency(opts options, t *table, rate int, paths ...path) error {
	batch := plainBatch(1, 1000)
	var legs []leg
	for _, p := range paths {
		topic := p.topic + "-produce-latency"
		if err := n.broker.fresh(topic); err != nil {
			return err
		}
		req := produceRequest(topic, batch)
		legs = append(legs, leg{name: p.name, proc: p.proc, run: func() (sample, error) {
			c, err := dial(p.addr, p.wrap)
			if err != nil {
				return sample{}, err
			}
			defer c.close()
			return c.pace(opts.leg, rate, func() []byte { return req }, produceOK)
		}})
	}
	outs, err := interleave(opts.rounds, legs)
	if err != nil {
		return fmt.Errorf("latency at %d/s: %w", rate, err)
	}
	base := outs[0]
	for i, o := range outs {
		p50, p99 := o.quantiles()
		cells := []string{fmt.Sprintf("%d/s, %s", rate, o.name), ms(median(p50)), ms(median(p99)), "-", "-"}
		if i > 0 {
			b50, b99 := base.quantiles()
			cells[3], cells[4] = added(p50, b50), added(p99, b99)
		}
		t.add(cells...)
	}
	return nil
}

// quantiles are the p50 and p99 of each round, in milliseconds.
func (o outcome) quantiles() (p50, p99 []float64) {
	for _, s := range o.samples {
		p50 = append(p50, percentile(s.latencies, 50).Seconds()*1e3)
		p99 = append(p99, percentile(s.latencies, 99).Seconds()*1e3)
	}
	return p50, p99
}

func ms(v float64) string { return fmt.Sprintf("%.2f", v) }

// added is the difference round by round: median and spread.
func added(v, base []float64) string {
	var d []float64
	for i := range v {
		d = append(d, v[i]-base[i])
	}
	return spread(d)
}
