package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// benchIsolation measures what an endlessly looping stage and a busy one do to
// a connection that has nothing to do with them.
func benchIsolation(opts options, dir string) ([]*table, error) {
	b, err := startEmbedded(dir)
	if err != nil {
		return nil, err
	}
	n, err := startNetwork(dir, opts.sluice, b)
	if err != nil {
		return nil, err
	}
	defer n.stop()
	if err := b.fresh("pass-produce-quiet", "pass-produce-noise", "loop-produce-noise", "change-produce-noise"); err != nil {
		return nil, err
	}

	req := produceRequest("pass-produce-quiet", plainBatch(1, 1000))
	quiet := func() (sample, error) {
		c, err := dial(n.plain.addr, nil)
		if err != nil {
			return sample{}, err
		}
		defer c.close()
		return c.pace(opts.leg, 200, func() []byte { return req }, produceOK)
	}
	outs, err := interleave(opts.rounds, []leg{
		{name: "alone", proc: n.gateway, run: quiet},
		{name: "beside a busy connection without stages", proc: n.gateway, run: func() (sample, error) {
			stop := n.noise("pass-produce-noise")
			defer stop()
			return quiet()
		}},
		{name: "beside one endless and one busy stage", proc: n.gateway, run: func() (sample, error) {
			stop := n.noise("loop-produce-noise", "change-produce-noise")
			defer stop()
			return quiet()
		}},
	})
	if err != nil {
		return nil, err
	}
	t := &table{title: "Isolation: latency of an unrelated connection, 200/s, ms"}
	t.note("A busy connection keeps client, gateway and broker busy on the same cores: what it adds without stages is the machine's, not the guests'.")
	t.add("", "p50", "p99", "p50 added", "p99 added")
	base50, base99 := outs[0].quantiles()
	for i, o := range outs {
		p50, p99 := o.quantiles()
		cells := []string{o.name, spread(p50), spread(p99), "-", "-"}
		if i > 0 {
			cells[3], cells[4] = added(p50, base50), added(p99, base99)
		}
		t.add(cells...)
	}
	return []*table{t}, nil
}

// noise keeps a connection per topic producing whatever comes back, until the
// returned function is called, which waits for the connections to end.
func (n *network) noise(topics ...string) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, topic := range topics {
		req := produceRequest(topic, plainBatch(100, 1000))
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := dial(n.plain.addr, nil)
				if err != nil {
					fmt.Fprintln(os.Stderr, "noise:", err)
					time.Sleep(10 * time.Millisecond)
					continue
				}
				ended := make(chan struct{})
				go func() {
					select {
					case <-done:
						c.close()
					case <-ended:
					}
				}()
				c.run(time.Minute, 1, func() []byte { return req }, func(int, []byte) error { return nil })
				close(ended)
				c.close()
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // let both be under way
	return func() { close(done); wg.Wait() }
}
