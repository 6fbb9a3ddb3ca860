package gateway

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/sluicegate/sluice/internal/kafka/emit"
)

// Config configures a Gateway. What it refers to must not be changed afterwards.
type Config struct {
	Clusters  []ClusterConfig
	Listeners []ListenerConfig
	Limits    LimitsConfig
	// Log gets one line for each thing that an operator should know. nil: nothing is logged.
	Log *slog.Logger
	// Observer is told what happens, for metrics. nil: nobody is.
	Observer Observer
}

// ClusterConfig is one Kafka cluster.
type ClusterConfig struct {
	Name string
	// Bootstrap are addresses of brokers, host:port, tried in turn.
	Bootstrap []string
	// ServiceAccount is who the gateway is for its own requests: Metadata at start, and dead letters. nil: nobody, which suits a cluster
	// that asks for no authentication. Clients' connections do not use it.
	ServiceAccount *emit.SASL
	// Dial opens connections to brokers, for clients' connections and the gateway's own. nil: plaintext TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Emitter writes dead letters. nil: the gateway makes an emit.Client from the fields above.
	Emitter Emitter
}

// ListenerConfig is one set of addresses at which clients find a cluster.
type ListenerConfig struct {
	Name    string
	Cluster string // name of a ClusterConfig
	// Bind is the address of the bootstrap listener, host:port; broker N is served at port+1+N of the same host. With port 0
	// the system chooses all ports, for tests.
	Bind string
	// Advertise is what clients are told to connect to: a host, with the ports as bound, or host:port where something
	// between client and gateway moves the ports, port being the bootstrap listener's. Empty: the host of Bind, or localhost if that is unspecified.
	Advertise string
	// TLS makes clients speak TLS, with this configuration. nil: plaintext.
	TLS *tls.Config
}

// LimitsConfig bounds what connections may cost. A zero field means the default.
type LimitsConfig struct {
	// MaxRequestBytes and MaxResponseBytes bound one frame; 100 MiB and 1 GiB. A larger one closes the connection.
	MaxRequestBytes, MaxResponseBytes int32
	// OpenedBytes bounds the memory of all requests that are opened at the same time in the process, and, separately, that of
	// all responses; 256 MiB. Connections wait for their share.
	OpenedBytes int64
	// BatchBytes bounds one batch after decompression; 64 MiB. A larger one is refused.
	BatchBytes int
	// FetchBytes and FetchPartitionBytes are the most that a client is allowed to ask for in a fetch that is opened; 8 MiB and 1 MiB.
	FetchBytes, FetchPartitionBytes int32
	// Pending is how many requests of a connection may be without answer before no more are read from it; 256.
	Pending int
	// Connections is how many client connections a listener set has at most; 10 000. More are closed at once.
	Connections int
	// DialTimeout bounds connecting to one broker; 10 s.
	DialTimeout time.Duration
	// EmitTimeout bounds the writing of the dead letters of one request or response; 10 s. It should be well below the clients' request timeout.
	EmitTimeout time.Duration
}

func (l LimitsConfig) withDefaults() LimitsConfig {
	setDefault(&l.MaxRequestBytes, 100<<20)
	setDefault(&l.MaxResponseBytes, 1<<30)
	setDefault(&l.OpenedBytes, 256<<20)
	setDefault(&l.BatchBytes, 64<<20)
	setDefault(&l.FetchBytes, 8<<20)
	setDefault(&l.FetchPartitionBytes, 1<<20)
	setDefault(&l.Pending, 256)
	setDefault(&l.Connections, 10_000)
	setDefault(&l.DialTimeout, 10*time.Second)
	setDefault(&l.EmitTimeout, 10*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Emitter writes records to topics of one cluster.
type Emitter interface {
	// Emit returns nil once the brokers have acknowledged all records. After an error some of them may have been written. It keeps
	// nothing of its arguments.
	Emit(ctx context.Context, records []emit.Record) error
}
