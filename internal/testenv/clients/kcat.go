package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// Kcat is the kcat command line tool. Every group is a run of its own, or one
// per partition if the records name several. Keys and values are text without
// tabs and line ends; it cannot produce headers per record.
type Kcat struct {
	Path string
}

// Name is "kcat".
func (k *Kcat) Name() string { return "kcat" }

// Cannot returns "": kcat makes a transaction of each run. It commits what it
// read at the end of its input and cannot abort; a refused record makes the
// commit fail and kcat exit.
func (k *Kcat) Cannot(Mode) string { return "" }

var (
	kcatDelivered = regexp.MustCompile(`^% Message delivered to partition (\d+) \(offset (\d+)\)`)
	kcatFailed    = regexp.MustCompile(`^% Delivery failed for message: (.*)`)
)

// Produce implements Client.
func (k *Kcat) Produce(ctx context.Context, p Produce) ([]GroupResult, error) {
	var results []GroupResult
	for _, g := range p.Groups {
		if g.Abort {
			return results, errors.New("kcat cannot abort a transaction")
		}
		r, err := k.group(ctx, p, g)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

func (k *Kcat) group(ctx context.Context, p Produce, g Group) (GroupResult, error) {
	byPartition := map[int32][]Record{}
	var order []int32
	for _, r := range g.Records {
		if byPartition[r.Partition] == nil {
			order = append(order, r.Partition)
		}
		byPartition[r.Partition] = append(byPartition[r.Partition], r)
	}
	if p.Mode == Transactional && len(order) > 1 {
		return GroupResult{}, errors.New("kcat cannot address several partitions in one transaction")
	}
	var result GroupResult
	for _, partition := range order {
		r, err := k.run(ctx, p, partition, byPartition[partition])
		if err != nil {
			return result, err
		}
		result.Acks = append(result.Acks, r.Acks...)
		result.Transaction = r.Transaction
	}
	return result, nil
}

func (k *Kcat) run(ctx context.Context, p Produce, partition int32, records []Record) (GroupResult, error) {
	args := []string{"-P", "-b", p.Bootstrap, "-t", p.Topic, "-p", strconv.Itoa(int(partition)), "-K", "\t", "-Z", "-vvv",
		"-X", "linger.ms=50", "-X", "acks=all"}
	if p.Codec != "" && p.Codec != "none" {
		// Not -z: that refuses zstd.
		args = append(args, "-X", "compression.codec="+p.Codec)
	}
	switch p.Mode {
	case Idempotent:
		args = append(args, "-X", "enable.idempotence=true")
	case Transactional:
		// What kcat cannot commit stays open until the broker aborts it.
		args = append(args, "-X", "transactional.id="+newTransactionalID(), "-X", "transaction.timeout.ms=5000")
	}
	var input bytes.Buffer
	for _, r := range records {
		if len(r.Headers) > 0 {
			return GroupResult{}, errors.New("kcat cannot set headers per record")
		}
		if r.Key != nil {
			input.Write(append(r.Key, '\t'))
		}
		input.Write(append(r.Value, '\n'))
	}
	stderr, err := k.exec(ctx, &input, nil, args...)

	var result GroupResult
	for _, line := range strings.Split(stderr, "\n") {
		if len(result.Acks) == len(records) {
			break
		}
		id := records[len(result.Acks)].ID
		if m := kcatDelivered.FindStringSubmatch(line); m != nil {
			at, _ := strconv.Atoi(m[1])
			offset, _ := strconv.ParseInt(m[2], 10, 64)
			result.Acks = append(result.Acks, Ack{ID: id, Partition: int32(at), Offset: offset})
		} else if m := kcatFailed.FindStringSubmatch(line); m != nil {
			result.Acks = append(result.Acks, Ack{ID: id, Error: m[1]})
		}
	}
	if len(result.Acks) != len(records) {
		return result, fmt.Errorf("kcat told of %d of %d records (%v):\n%s", len(result.Acks), len(records), err, stderr)
	}
	if p.Mode == Transactional {
		switch {
		case strings.Contains(stderr, "Transaction successfully committed"):
			result.Transaction = "committed"
		default:
			result.Transaction = "failed: " + lastLine(stderr)
		}
	}
	return result, nil
}

// Consume implements Client.
func (k *Kcat) Consume(ctx context.Context, c Consume) ([]Stored, error) {
	isolation := "read_uncommitted"
	if c.Committed {
		isolation = "read_committed"
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	var out bytes.Buffer
	stderr, err := k.exec(ctx, nil, &out, "-C", "-b", c.Bootstrap, "-t", c.Topic, "-o", "beginning", "-e", "-q", "-J",
		"-X", "isolation.level="+isolation, "-X", "fetch.wait.max.ms=200")
	if err != nil {
		return nil, fmt.Errorf("kcat: %w\n%s", err, stderr)
	}
	var records []Stored
	decoder := json.NewDecoder(&out)
	for decoder.More() {
		var m struct {
			Partition int32
			Offset    int64
			TS        int64
			Key       *string
			Payload   *string
			Headers   []*string
		}
		if err := decoder.Decode(&m); err != nil {
			return records, fmt.Errorf("kcat's output: %w", err)
		}
		s := Stored{Partition: m.Partition, Offset: m.Offset, Timestamp: m.TS, Key: optional(m.Key), Value: optional(m.Payload)}
		for i := 0; i+1 < len(m.Headers); i += 2 {
			s.Headers = append(s.Headers, Header{Name: *m.Headers[i], Value: optional(m.Headers[i+1])})
		}
		records = append(records, s)
	}
	Sort(records)
	return records, nil
}

func optional(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

func (k *Kcat) exec(ctx context.Context, in, out *bytes.Buffer, args ...string) (stderr string, err error) {
	cmd := exec.CommandContext(ctx, k.Path, args...)
	if in != nil {
		cmd.Stdin = in
	}
	if out != nil {
		cmd.Stdout = out
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return errs.String(), err
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndex(s, "\n")+1:]
}
