package host

import (
	"context"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/abi"
)

// hundred is a batch of 100 records of 1 KB each, with a key and two headers.
func hundred() *Batch {
	b := batch()
	for i := range 100 {
		b.Records = append(b.Records, abi.Record{
			Key: []byte("device-17"), Value: []byte(strings.Repeat("x", 1000)), Offset: int64(i), Timestamp: 1_700_000_000_000,
			Headers: []abi.Header{{Name: "trace", Value: []byte("0123456789abcdef")}, {Name: "source", Value: []byte("sensor")}},
		})
	}
	return b
}

func TestProcessAllocates(t *testing.T) {
	h := newHost(t, Config{})
	mixed := batch("k", "d", "v", "r", "l", "k", "v")
	for name, b := range map[string]*Batch{"nothing": hundred(), "readall": hundred(), "script": mixed} {
		p := pipeline(t, h, name, StageConfig{DeadLetterTopic: "dlq"})
		var r Result
		n := testing.AllocsPerRun(200, func() {
			if err := p.Process(context.Background(), b, &r); err != nil {
				t.Fatal(err)
			}
		})
		if n > 2 {
			t.Errorf("%s: %v allocations a batch, want at most 2", name, n)
		}
	}
}

// BenchmarkStage is a stage over 100 records of 1 KB: the guest reads nothing, and it reads all fields. ns/record is the time of all of it, which is the
// host's but for a few instructions; cpu-ns/record is what the process took of a processor, which on a busy machine is less.
func BenchmarkStage(b *testing.B) {
	h := newHost(b, Config{})
	for _, name := range []string{"nothing", "readall"} {
		b.Run(name, func(b *testing.B) {
			p := pipeline(b, h, name, StageConfig{})
			in := hundred()
			var r Result
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			for range b.N {
				if err := p.Process(context.Background(), in, &r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N)/100, "cpu-ns/record")
		})
	}
}
