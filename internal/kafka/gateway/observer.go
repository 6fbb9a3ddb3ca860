package gateway

// Observer is told what happens, for metrics. Methods are called from many goroutines at once, on the data path: they must be
// quick and must not block. Names are those of the configuration.
type Observer interface {
	// Connection is called with 1 when a client connection was accepted and with -1 when it was closed.
	Connection(cluster, listener string, delta int)
	// Request and Response are called for each frame that was read from a client and from a broker. key is the request's API key, bytes
	// the frame's size with its prefix.
	Request(cluster string, key int16, bytes int)
	Response(cluster string, key int16, bytes int)
	// Moved is called from time to time with the number of bytes that connections moved since.
	Moved(cluster string, how Path, bytes int)
	// Failure is called for each thing that went wrong.
	Failure(cluster string, cause Cause)
	// Markers is called with the number of markers made instead of dropped records (on produce) and hidden (on fetch).
	Markers(cluster string, made, hidden int)
}

// Path is how bytes went through the gateway.
type Path string

// Paths. Opened bytes are counted as copied as well when they are written.
const (
	PathCopied  Path = "copied"
	PathSpliced Path = "spliced"
	PathOpened  Path = "opened"
)

// Cause is a kind of failure.
type Cause string

// Causes.
const (
	CauseFrameSize   Cause = "frame_size"         // a size out of bounds
	CauseTLS         Cause = "tls_on_plaintext"   // a TLS hello on a Kafka port
	CauseHTTP        Cause = "http_on_kafka"      // an HTTP request on a Kafka port
	CauseMalformed   Cause = "malformed"          // bytes that are no Kafka message, from either side
	CauseUnsupported Cause = "unsupported"        // an API key or version that is refused
	CauseUpstream    Cause = "upstream"           // a broker that cannot be reached, or broke off
	CauseNoListener  Cause = "broker_no_listener" // a broker that has no listener
	CauseRejected    Cause = "rejected"           // a partition of a produce request refused by policy
	CauseStage       Cause = "stage"              // a pipeline failed, or is stopped
	CauseEmit        Cause = "emit"               // dead letters could not be written
	CauseBatch       Cause = "batch"              // a batch that is truncated, corrupt, too large or of an old format
	CauseLimit       Cause = "limit"              // too many connections
	CauseTimeout     Cause = "timeout"            // a client that says nothing, or an end too slow with an opened frame
)

type noObserver struct{}

func (noObserver) Connection(string, string, int) {}
func (noObserver) Request(string, int16, int)     {}
func (noObserver) Response(string, int16, int)    {}
func (noObserver) Moved(string, Path, int)        {}
func (noObserver) Failure(string, Cause)          {}
func (noObserver) Markers(string, int, int)       {}
