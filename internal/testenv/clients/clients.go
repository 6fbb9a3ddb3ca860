// Package clients drives unmodified Kafka clients for tests, all through the
// same few calls: franz-go in this process, kcat and confluent-kafka
// (librdkafka), Apache Kafka's Java client and its console tools.
//
// A test describes records and how to produce them; each client says for every
// record what it was told: acknowledged at which offset, or refused why. What a
// tool cannot do, Cannot names. No client is configured for the gateway in any
// way but its bootstrap address.
package clients

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mode is how a producer is set up.
type Mode int

// The producers' modes. All ask for acknowledgement by all in-sync replicas.
const (
	Plain         Mode = iota // no producer id
	Idempotent                // producer id and sequence numbers
	Transactional             // each group of records is one transaction
)

func (m Mode) String() string { return [...]string{"plain", "idempotent", "transactional"}[m] }

// Modes are all modes.
var Modes = []Mode{Plain, Idempotent, Transactional}

// Codecs are all codecs, by the names that every client understands.
var Codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Header is one record header. A nil value is null.
type Header struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// Record is a record to produce. A nil key or value is null.
type Record struct {
	ID        string   `json:"id"`              // the test's name for it; not sent
	Topic     string   `json:"topic,omitempty"` // only for Flood
	Partition int32    `json:"partition"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers,omitempty"`
}

// Stored is a record that was fetched. Key, Value and header values are nil for
// null, empty for empty.
type Stored struct {
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers"`

	// Codec is the name of the codec of its batch; only ReadAll knows it.
	Codec string `json:"-"`
}

// Header returns the value of the first header of that name.
func (s Stored) Header(name string) (value []byte, ok bool) {
	for _, h := range s.Headers {
		if h.Name == name {
			return h.Value, true
		}
	}
	return nil, false
}

// Ack is what a producer was told about a record.
type Ack struct {
	ID        string `json:"id"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Error     string `json:"error,omitempty"` // empty: acknowledged
}

// Group is records that are handed over together and waited for before the next
// group: one batch per partition if they fit, and in transactional mode one
// transaction, which is committed if all were acknowledged and Abort is not set.
type Group struct {
	Records []Record `json:"records"`
	Abort   bool     `json:"abort"`
}

// Produce is a producer's life: one client that produces groups.
type Produce struct {
	Bootstrap string
	Topic     string
	Mode      Mode
	Codec     string // empty for none
	Groups    []Group
}

// GroupResult is what became of a group.
type GroupResult struct {
	// Acks holds one entry per record, in no particular order. A client that
	// does not tell records apart (the console producer) reports no entries for
	// those acknowledged, and entries without ID for those refused.
	Acks []Ack `json:"acks"`

	// Transaction is "committed", "aborted", or "failed: " and why.
	Transaction string `json:"transaction"`
}

// Refused returns the entries with an error.
func (g GroupResult) Refused() []Ack {
	return slices.DeleteFunc(slices.Clone(g.Acks), func(a Ack) bool { return a.Error == "" })
}

// ByID returns the entry of a record.
func (g GroupResult) ByID(id string) (Ack, bool) {
	for _, a := range g.Acks {
		if a.ID == id {
			return a, true
		}
	}
	return Ack{}, false
}

// Consume reads a topic from the beginning of all partitions to their end.
type Consume struct {
	Bootstrap string
	Topic     string
	Committed bool // isolation level read_committed

	// Want is the number of records expected: clients that cannot see the end
	// of a partition wait for so many and then a little longer for more.
	Want int

	Timeout time.Duration // 20 s if zero
}

func (c Consume) timeout() time.Duration {
	if c.Timeout == 0 {
		return 20 * time.Second
	}
	return c.Timeout
}

// Client is one Kafka client. Its methods may be called concurrently.
type Client interface {
	Name() string

	// Cannot says why this client cannot produce in the mode, or "".
	Cannot(Mode) string

	// Produce returns one result per group. The error is a failure to run the
	// client; a refused record is none.
	Produce(context.Context, Produce) ([]GroupResult, error)

	// Consume returns the records by partition and offset. The error is a
	// failure to run, an error the client reported, or a timeout.
	Consume(context.Context, Consume) ([]Stored, error)
}

// PIDs is implemented by clients that run as other processes and stay: their
// process ids, so that a test can watch their sockets.
type PIDs interface{ PIDs() []int }

// Flood is a long run of one producer whose every acknowledgement is written to
// a file as it comes.
type Flood struct {
	Bootstrap   string
	Mode        Mode   // Plain or Idempotent
	RecordsFile string // one Record as JSON a line, with Topic
	AcksFile    string // receives one Ack as JSON a line
	Window      int    // records that may wait for an answer
	BatchBytes  int    // largest batch; small ones make more requests
}

// Flooder is a client that can run a Flood.
type Flooder interface {
	Client
	Flood(context.Context, Flood) (FloodResult, error)
}

// FloodResult counts a Flood's records.
type FloodResult struct {
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
}

// Sort orders records by partition and offset.
func Sort(records []Stored) {
	slices.SortFunc(records, func(a, b Stored) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
}

// String shows a record in one line.
func (s Stored) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d/%d key=%s value=%s", s.Partition, s.Offset, text(s.Key), text(s.Value))
	for _, h := range s.Headers {
		fmt.Fprintf(&b, " %s=%s", h.Name, text(h.Value))
	}
	return b.String()
}

func text(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 120:
		return fmt.Sprintf("%q... (%d bytes)", b[:100], len(b))
	default:
		return fmt.Sprintf("%q", b)
	}
}

// List shows records, one a line.
func List(records []Stored) string {
	if len(records) == 0 {
		return "  (none)"
	}
	var b strings.Builder
	for i, r := range records {
		if i == 50 {
			fmt.Fprintf(&b, "  ... and %d more\n", len(records)-i)
			break
		}
		fmt.Fprintf(&b, "  %v\n", r)
	}
	return strings.TrimRight(b.String(), "\n")
}
