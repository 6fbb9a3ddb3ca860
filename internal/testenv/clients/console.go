package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
)

// Console is Apache Kafka's console tools: kafka-console-producer and
// kafka-console-consumer, from the jars. Every group is a run of its own. It
// does not report which records were acknowledged, only those that were
// refused, without telling them apart.
type Console struct {
	Libs string // directory of the jars
	Dir  string // for its log configuration
}

// Name is "console tools".
func (c *Console) Name() string { return "console" }

// Cannot says that the console producer knows no transactions.
func (c *Console) Cannot(m Mode) string {
	if m == Transactional {
		return "kafka-console-producer has no transactions; Driver.java stands in"
	}
	return ""
}

// Produce implements Client.
func (c *Console) Produce(ctx context.Context, p Produce) ([]GroupResult, error) {
	if why := c.Cannot(p.Mode); why != "" {
		return nil, errors.New(why)
	}
	var results []GroupResult
	for _, g := range p.Groups {
		codec := p.Codec
		if codec == "" {
			codec = "none"
		}
		var input bytes.Buffer
		for _, r := range g.Records {
			if len(r.Headers) > 0 || r.Value == nil || r.Partition > 0 {
				return results, errors.New("kafka-console-producer: records must be plain and for partition 0")
			}
			if r.Key != nil {
				input.Write(append(r.Key, '\t'))
			}
			input.Write(append(r.Value, '\n'))
		}
		out, err := c.run(ctx, &input, "org.apache.kafka.tools.ConsoleProducer",
			"--bootstrap-server", p.Bootstrap, "--topic", p.Topic, "--compression-codec", codec,
			"--reader-property", "parse.key=true", "--reader-property", "ignore.error=true",
			"--command-property", "linger.ms=200", "--command-property", "acks=all",
			"--command-property", "enable.idempotence="+strconv.FormatBool(p.Mode == Idempotent))
		if err != nil {
			return results, fmt.Errorf("kafka-console-producer: %w\n%s", err, out)
		}
		var result GroupResult
		lines := strings.Split(out, "\n")
		for i, line := range lines {
			if strings.Contains(line, "Error when sending message to topic") && i+1 < len(lines) {
				result.Acks = append(result.Acks, Ack{Error: lines[i+1]})
			}
		}
		results = append(results, result)
	}
	return results, nil
}

// Consume implements Client.
func (c *Console) Consume(ctx context.Context, spec Consume) ([]Stored, error) {
	isolation := "read_uncommitted"
	if spec.Committed {
		isolation = "read_committed"
	}
	ctx, cancel := context.WithTimeout(ctx, spec.timeout())
	defer cancel()
	const null = "\x02NULL"
	args := []string{"--bootstrap-server", spec.Bootstrap, "--topic", spec.Topic, "--from-beginning",
		"--isolation-level", isolation}
	if spec.Want > 0 {
		// It cannot see the end of a partition. What would come after the last
		// record wanted, other clients show.
		args = append(args, "--max-messages", strconv.Itoa(spec.Want), "--timeout-ms", strconv.Itoa(int(spec.timeout().Milliseconds())*3/4))
	} else {
		args = append(args, "--timeout-ms", "3000")
	}
	for _, property := range []string{
		"print.partition=true", "print.offset=true", "print.headers=true", "print.key=true", "print.timestamp=false",
		"key.separator=\x01", "headers.separator=\x03", "null.literal=" + null,
	} {
		args = append(args, "--formatter-property", property)
	}
	out, err := c.run(ctx, nil, "org.apache.kafka.tools.consumer.ConsoleConsumer", args...)
	// It ends with 0 or with 1 on its own timeout; what matters is the count.
	if ctx.Err() != nil || err != nil && !strings.Contains(out, "Processed a total of") {
		return nil, fmt.Errorf("kafka-console-consumer: %w %w\n%s", err, ctx.Err(), out)
	}
	var records []Stored
	for _, line := range strings.Split(out, "\n") {
		fields := strings.Split(line, "\x01")
		if len(fields) < 5 || !strings.HasPrefix(fields[0], "Partition:") {
			continue
		}
		partition, _ := strconv.Atoi(strings.TrimPrefix(fields[0], "Partition:"))
		offset, _ := strconv.ParseInt(strings.TrimPrefix(fields[1], "Offset:"), 10, 64)
		s := Stored{Partition: int32(partition), Offset: offset, Key: literal(fields[3], null), Value: literal(fields[4], null)}
		for _, h := range strings.Split(fields[2], "\x03") {
			if name, value, ok := strings.Cut(h, ":"); ok {
				s.Headers = append(s.Headers, Header{Name: name, Value: literal(value, null)})
			}
		}
		records = append(records, s)
	}
	Sort(records)
	return records, nil
}

func literal(s, null string) []byte {
	if s == null {
		return nil
	}
	return []byte(s)
}

func (c *Console) run(ctx context.Context, in *bytes.Buffer, class string, args ...string) (string, error) {
	logging, err := apachekafka.LogConfig(c.Dir, "error")
	if err != nil {
		return "", err
	}
	line := apachekafka.Java(c.Libs, append([]string{"-Xmx128m", logging}, apachekafka.QuickJVM...), nil, class, args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	if in != nil {
		cmd.Stdin = in
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
