// Package config reads sluice.yaml: which clusters there are, where clients connect, and which stages their records
// pass.
//
// # From file to values
//
// [Load] reads the file, puts the environment variables that begin with SLUICE_ over it, fills in defaults and checks
// everything that can be checked without starting anything. All that is wrong is reported at once, each problem with
// its place: "sluice.yaml:12:5: pipelines[0].stages[1].plugin: ...". What only shows when the parts are built, such as
// an unknown plugin, is reported in the same form with [Config.Problem].
//
//	SLUICE_ADMIN__BIND=0.0.0.0:9642          admin.bind
//	SLUICE_CLUSTERS__0__NAME=main            clusters[0].name
//	SLUICE_CLUSTERS__0__BOOTSTRAP=a:1,b:2    a list of words may be written with commas
//	SLUICE_CACHE_DIR=/var/cache/sluice       cache_dir
//
// A value may refer to a file or a variable, ${file:/run/secrets/sluice} or ${env:PASSWORD}; a relative path starts at
// the directory of the configuration file. References inside a stage's config are left alone: a plugin does not get to
// see secrets by accident.
//
// # Secrets
//
// Settings of type [Secret] print as "[hidden]" in every form, and no problem ever quotes one.
//
// What may change while the gateway runs is decided here too: see [NeedsRestart].
package config

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/host"
)

// Config is a configuration that has passed all checks of this package. It is never changed after Load.
type Config struct {
	Clusters  []Cluster  `yaml:"clusters"`
	Listeners []Listener `yaml:"listeners"`
	Documents []Document `yaml:"documents"`
	Pipelines []Pipeline `yaml:"pipelines"`
	Markers   Markers    `yaml:"markers"`
	Admin     Admin      `yaml:"admin"`
	Limits    Limits     `yaml:"limits"`
	Log       Log        `yaml:"log"`
	// CacheDir holds compiled modules; it is created with mode 0700. Default: "sluice" under the user's cache directory.
	CacheDir string `yaml:"cache_dir"`

	// Files are the absolute paths of all files that this configuration is made of: the file itself, those that references
	// read, documents and modules. When one changes, it is time to load it again.
	Files []string
	// Warnings are things that work but may not be what was meant. They are shown by "sluice config check".
	Warnings Problems

	src *source
}

// A Cluster is an Apache Kafka cluster that clients are led to.
type Cluster struct {
	// Name is what listeners call it.
	Name string `yaml:"name"`
	// Bootstrap is one or more addresses, host:port, to ask for the brokers.
	Bootstrap []string `yaml:"bootstrap"`
	// ServiceAccount is who the gateway is when it connects for itself: to learn the brokers and to write dead-lettered
	// records. Clients keep their own identities. Nil means that the cluster does not ask.
	ServiceAccount *ServiceAccount `yaml:"service_account"`
}

// A ServiceAccount is how the gateway authenticates.
type ServiceAccount struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string `yaml:"mechanism"`
	Username  string `yaml:"username"`
	Password  Secret `yaml:"password"`
}

// Mechanisms are the values of ServiceAccount.Mechanism.
var Mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// A Listener is a bootstrap address for clients. The brokers behind it get the ports after it: the broker with node id
// N is at the port of Bind plus 1 plus N.
type Listener struct {
	Name string `yaml:"name"`
	// Cluster names the cluster. It may be left out where there is only one.
	Cluster string `yaml:"cluster"`
	// Bind is host:port to listen at; with port 0 the system chooses all ports.
	Bind string `yaml:"bind"`
	// Advertise is the host that clients are told to connect to, or host:port where something on the way moves the ports,
	// port being the bootstrap's. Default: the host of Bind, which must then be one that clients can reach.
	Advertise string `yaml:"advertise"`
	// TLS makes clients speak TLS. Nil means plaintext.
	TLS *ListenerTLS `yaml:"tls"`
}

// ListenerTLS is how a listener proves who it is. Both files are PEM, and absolute after Load.
type ListenerTLS struct {
	// Cert holds the certificate, followed by those that lead to its authority.
	Cert string `yaml:"cert"`
	// Key holds the private key.
	Key string `yaml:"key"`
}

// Config reads the files. TLS 1.2 is the oldest version accepted.
func (t *ListenerTLS) Config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// A Document is an AsyncAPI document that stages refer to by name.
type Document struct {
	Name string `yaml:"name"`
	// File is absolute after Load.
	File string `yaml:"file"`
}

// Direction says which requests a pipeline is for.
type Direction string

// The directions.
const (
	Produce Direction = "produce"
	Fetch   Direction = "fetch"
)

// UnmarshalText reads a direction.
func (d *Direction) UnmarshalText(text []byte) error {
	if string(text) == "stream" {
		return fmt.Errorf("stream pipelines are not there yet: use produce or fetch")
	}
	return oneOf(d, text, Produce, Fetch)
}

// A Pipeline is a chain of stages for the records of some topics.
type Pipeline struct {
	Name string `yaml:"name"`
	// Topics are names or globs, in which * stands for any text and ? for one character. Globs do not match internal
	// topics (which begin with __) unless they begin with __ themselves. Where several pipelines match a topic, they run in
	// the order of the file.
	Topics []string  `yaml:"topics"`
	On     Direction `yaml:"on"`
	Stages []Stage   `yaml:"stages"`
}

// A Stage is one WebAssembly module with its settings.
type Stage struct {
	// Plugin is a built-in name such as validate, or the path of a .wasm file (absolute after Load; what holds a slash or
	// ends in .wasm is a path). Either may be pinned to its bytes: validate@sha256:9f86d0...
	Plugin string `yaml:"plugin"`
	// Name is how metrics, logs and headers call the stage. It is unique in the pipeline. Default: the plugin's name.
	Name string `yaml:"name"`
	// Config is what the plugin gets, as JSON; nil where there is none.
	Config json.RawMessage `yaml:"config"`
	// Mode is enforce (the default) or observe: verdicts are counted, not applied.
	Mode host.Mode `yaml:"mode"`
	// OnPoison says what happens to a record that makes the stage fail whatever is around it: reject (the default on
	// produce, where only it is allowed), dead-letter, pass, or stop (the default on fetch).
	OnPoison host.Action `yaml:"on_poison"`
	// OnOversize says what happens to a record of more than a quarter of the stage's memory; values and default as for
	// OnPoison.
	OnOversize host.Action `yaml:"on_oversize"`
	// OnFailure says what happens to a batch that the stage cannot judge for reasons that are not in the records: retry (the
	// default: clients get an error that they retry) or pass.
	OnFailure host.OnFailure `yaml:"on_failure"`
	// DeadLetter is the topic that dead-lettered records go to; needed by what uses it.
	DeadLetter string `yaml:"dead_letter"`
	// Grants are the capabilities that the stage may use beside those that every stage has.
	Grants []string    `yaml:"grants"`
	Limits StageLimits `yaml:"limits"`
}

// StageLimits bound one stage. Zero means the host's default.
type StageLimits struct {
	// Memory is the most that one instance may use.
	Memory Bytes `yaml:"memory"`
	// Deadline is the most wall-clock time for one call.
	Deadline Duration `yaml:"deadline"`
	// Fuel for one call is FuelBase + FuelPerRecord*records + FuelPerByte*bytes; one unit is about one loop turn or
	// function call.
	FuelBase      int64 `yaml:"fuel_base"`
	FuelPerRecord int64 `yaml:"fuel_per_record"`
	FuelPerByte   int64 `yaml:"fuel_per_byte"`
}

// Markers are the settings of the records that take the place of dropped ones.
type Markers struct {
	// Key proves that a marker was written by a gateway: base64 of at least 16 random bytes, the same for all gateways
	// of a cluster. It is needed as soon as a stage can drop records.
	Key Secret `yaml:"key"`
	// Topics are names or globs of topics that may hold markers of pipelines which are gone: consumers still do not see
	// them.
	Topics []string `yaml:"topics"`
}

// Admin is the HTTP side for operators.
type Admin struct {
	// Bind is host:port for /metrics, /livez and /readyz. Default: 127.0.0.1:9642.
	Bind string `yaml:"bind"`
}

func (a *Admin) setDefaults() { a.Bind = DefaultAdminBind }

// DefaultAdminBind is where the admin port is unless the file says otherwise.
const DefaultAdminBind = "127.0.0.1:9642"

// Limits protect the process.
type Limits struct {
	// RequestBytes is the largest frame accepted from a client. Default: 100MiB, as in brokers.
	RequestBytes Bytes `yaml:"request_bytes"`
	// ResponseBytes is the largest frame accepted from a broker. Default: 1GiB.
	ResponseBytes Bytes `yaml:"response_bytes"`
	// OpenedBytes is the memory for requests that are opened for stages, over all connections, and as much again for
	// responses. Connections wait for their share. Default: 256MiB.
	OpenedBytes Bytes `yaml:"opened_bytes"`
	// Connections is the largest number of client connections at a time. Default: 10000.
	Connections int `yaml:"connections"`
	// InFlight is the largest number of requests of one connection that wait for an answer. Default: 256.
	InFlight int `yaml:"in_flight"`
}

func (l *Limits) setDefaults() {
	*l = Limits{RequestBytes: 100 << 20, ResponseBytes: 1 << 30, OpenedBytes: 256 << 20, Connections: 10_000, InFlight: 256}
}

// Log says how much is logged, and how.
type Log struct {
	// Level is debug, info, warn or error. Default: info.
	Level Level `yaml:"level"`
	// Format is text or json. Default: text.
	Format Format `yaml:"format"`
}

func (l *Log) setDefaults() { l.Format = Text }

// Level is how important a message must be to be logged.
type Level slog.Level

// UnmarshalText reads a level.
func (l *Level) UnmarshalText(text []byte) error {
	name := string(text)
	if err := oneOf(&name, text, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return (*slog.Level)(l).UnmarshalText(text)
}

// Format is how a log line is written.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// UnmarshalText reads a format.
func (f *Format) UnmarshalText(text []byte) error { return oneOf(f, text, Text, JSON) }

// oneOf sets out to text if it is one of the values.
func oneOf[T ~string](out *T, text []byte, values ...T) error {
	if slices.Contains(values, T(text)) {
		*out = T(text)
		return nil
	}
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	last := len(names) - 1
	return fmt.Errorf("%q is not one of %s and %s", text, strings.Join(names[:last], ", "), names[last])
}

func (c *Config) setDefaults() {
	c.Admin.setDefaults()
	c.Limits.setDefaults()
	c.Log.setDefaults()
}

// Problem reports something that shows only when the parts of the configuration are built. path is as in the file:
// pipelines[0].stages[1].plugin. The place is that of the setting, or of the nearest one that holds it.
func (c *Config) Problem(path, format string, args ...any) Problem {
	return c.src.problem(path, format, args...)
}

// Shown returns how to name a file in a message: one beside the configuration, or below, as the user named the
// configuration itself.
func (c *Config) Shown(path string) string {
	if rel, err := filepath.Rel(c.src.dir, path); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(filepath.Dir(c.src.file), rel)
	}
	return path
}

// PipelinePath is the path of pipeline i, for Problem.
func PipelinePath(i int) string { return indexPath("pipelines", i) }

// StagePath is the path of stage j of pipeline i, for Problem.
func StagePath(i, j int) string { return indexPath(PipelinePath(i)+".stages", j) }

// DocumentPath is the path of document i, for Problem.
func DocumentPath(i int) string { return indexPath("documents", i) }
