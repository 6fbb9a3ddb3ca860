package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var consumeCommand = &command{
	name: "consume", args: "-t TOPIC [flags]", summary: "print the records of a topic, with their headers",
	help: `
Prints each record's value on a line, and below it, indented, its key and headers if it has any. With --json each record
is one JSON object on a line, with topic, partition, offset and timestamp; what is not UTF-8 is base64 in a member whose
name ends in _base64.

It reads from the beginning and goes on until Ctrl-C, unless -n or -e say otherwise. No consumer group is involved.

Examples:
  {sluice} consume -t event-gateway-demo -e             # everything that is there now
  {sluice} consume -t event-gateway-demo -o end         # what arrives from now on
  {sluice} consume -t orders -p 2 -o -10 -n 10 --json   # the last ten of a partition
`,
	setup: func(fs *flag.FlagSet) func(context.Context, *env, []string) error {
		c := new(consumer)
		brokersFlag(fs, &c.brokers)
		fs.StringVar(&c.topic, "t", "", "the `topic`; needed")
		fs.IntVar(&c.partition, "p", -1, "only this `partition`")
		fs.StringVar(&c.offset, "o", "beginning", "the `position` to begin at: beginning, end, an offset, or -N for N before the end")
		fs.IntVar(&c.count, "n", 0, "end after this `number` of records")
		fs.BoolVar(&c.toEnd, "e", false, "end at what is the end of the topic when the command starts")
		fs.BoolVar(&c.json, "json", false, "one JSON object a record")
		fs.BoolVar(&c.committed, "committed", false, "leave out records of transactions that are not committed")
		fs.DurationVar(&c.timeout, "timeout", 0, "fail if -n or -e are not reached after this `duration`")
		return c.run
	},
}

// consumer is the state of one consume command.
type consumer struct {
	brokers, topic, offset string
	partition, count       int
	toEnd, json, committed bool
	timeout                time.Duration

	ends map[int32]int64 // with toEnd: the offsets to reach, of partitions that did not yet
}

func (c *consumer) run(ctx context.Context, e *env, args []string) error {
	if err := c.check(args); err != nil {
		return err
	}
	start, err := parseOffset(c.offset)
	if err != nil {
		return err
	}
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("the end was not reached within %v", c.timeout))
		defer cancel()
	}
	opts := []kgo.Opt{kgo.KeepControlRecords(), kgo.FetchMaxWait(500 * time.Millisecond)}
	if c.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := connect(ctx, c.brokers, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := c.assign(ctx, cl, start); err != nil {
		return err
	}
	out := bufio.NewWriter(e.out)
	err = c.loop(ctx, cl, out)
	return errors.Join(err, out.Flush())
}

func (c *consumer) check(args []string) error {
	switch {
	case len(args) > 0:
		return usage("it takes no arguments: name the topic with -t %s", args[0])
	case c.topic == "":
		return usage("which topic? Name it with -t")
	case c.count < 0:
		return usage("-n %d is no number of records", c.count)
	}
	return nil
}

func parseOffset(s string) (kgo.Offset, error) {
	switch s {
	case "beginning", "start":
		return kgo.NewOffset().AtStart(), nil
	case "end":
		return kgo.NewOffset().AtEnd(), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return kgo.Offset{}, usage("-o %s is not one of beginning, end, an offset, and -N", s)
	}
	if n < 0 {
		return kgo.NewOffset().AtEnd().Relative(n), nil
	}
	return kgo.NewOffset().At(n), nil
}

// assign makes cl consume the partitions, and notes their ends.
func (c *consumer) assign(ctx context.Context, cl *kgo.Client, start kgo.Offset) error {
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	if !topics.Has(c.topic) {
		return fmt.Errorf("there is no topic %q%s", c.topic, listed(topics.Names()))
	}
	ends, err := adm.ListEndOffsets(ctx, c.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("find the end of %s: %w", c.topic, err)
	}
	starts, err := adm.ListStartOffsets(ctx, c.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("find the start of %s: %w", c.topic, err)
	}
	c.ends = map[int32]int64{}
	parts := map[int32]kgo.Offset{}
	for id := range topics[c.topic].Partitions {
		if c.partition >= 0 && id != int32(c.partition) {
			continue
		}
		parts[id] = start
		end, _ := ends.Lookup(c.topic, id)
		first, _ := starts.Lookup(c.topic, id)
		if end.Offset > first.Offset {
			c.ends[id] = end.Offset
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("topic %s has no partition %d: it has %d", c.topic, c.partition, len(topics[c.topic].Partitions))
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: parts})
	return nil
}

func listed(names []string) string {
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "__") })
	if len(names) == 0 || len(names) > 20 {
		return ""
	}
	return ": there are " + strings.Join(names, ", ")
}

// quiet is how long nothing must arrive for the end to count as reached although the last offsets did not: the records there
// may be hidden from clients.
const quiet = 2 * time.Second

func (c *consumer) loop(ctx context.Context, cl *kgo.Client, out *bufio.Writer) error {
	for n := 0; !c.toEnd || len(c.ends) > 0; {
		fetches, idle := c.poll(ctx, cl)
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return cause
			}
			return nil // Ctrl-C
		}
		if idle {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("fetch from %s: %w", c.topic, err)
		}
		for _, r := range fetches.Records() {
			if c.done(r) {
				continue
			}
			if err := c.print(out, r); err != nil {
				return err
			}
			if n++; n == c.count {
				return nil
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// poll waits for records; idle says that with -e none came for a while.
func (c *consumer) poll(ctx context.Context, cl *kgo.Client) (fetches kgo.Fetches, idle bool) {
	if !c.toEnd {
		return cl.PollFetches(ctx), false
	}
	wait, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	fetches = cl.PollFetches(wait)
	return fetches, ctx.Err() == nil && wait.Err() != nil && fetches.NumRecords() == 0
}

// done notes how far a partition is and reports whether a record is not one to print: a transaction's marker, or
// one that came after the end.
func (c *consumer) done(r *kgo.Record) bool {
	end, open := c.ends[r.Partition]
	if open && r.Offset >= end-1 {
		delete(c.ends, r.Partition)
	}
	return r.Attrs.IsControl() || c.toEnd && (!open || r.Offset >= end)
}

func (c *consumer) print(out io.Writer, r *kgo.Record) error {
	if c.json {
		return printJSON(out, r)
	}
	value := string(r.Value)
	if r.Value == nil {
		value = "(null)"
	}
	fmt.Fprintln(out, value)
	if r.Key != nil {
		fmt.Fprintf(out, "    key: %s\n", r.Key)
	}
	for _, h := range r.Headers {
		value := string(h.Value)
		if h.Value == nil {
			value = "(null)"
		}
		fmt.Fprintf(out, "    %s: %s\n", h.Key, value)
	}
	return nil // a broken pipe shows when the buffer is flushed
}

type jsonRecord struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp string       `json:"timestamp"`
	Key       *string      `json:"key"`
	KeyRaw    *string      `json:"key_base64,omitempty"`
	Value     *string      `json:"value"`
	ValueRaw  *string      `json:"value_base64,omitempty"`
	Headers   []jsonHeader `json:"headers"`
}

type jsonHeader struct {
	Name     string  `json:"name"`
	Value    *string `json:"value"`
	ValueRaw *string `json:"value_base64,omitempty"`
}

func printJSON(out io.Writer, r *kgo.Record) error {
	j := jsonRecord{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Headers: []jsonHeader{},
		Timestamp: r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
	j.Key, j.KeyRaw = textOrBase64(r.Key)
	j.Value, j.ValueRaw = textOrBase64(r.Value)
	for _, h := range r.Headers {
		jh := jsonHeader{Name: h.Key}
		jh.Value, jh.ValueRaw = textOrBase64(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(j)
}

// textOrBase64 returns b as text if it is UTF-8, otherwise as base64; neither if it is null.
func textOrBase64(b []byte) (text, raw *string) {
	if b == nil {
		return nil, nil
	}
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}
