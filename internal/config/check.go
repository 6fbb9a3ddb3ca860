package config

import (
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicegate/sluice/host"
)

// A checker finds what no single setting shows: names that are missing or used twice, references to nothing, ports that
// collide. It also fills in the defaults that depend on other settings.
type checker struct {
	*decoder
	cfg *Config
}

func (c *checker) warn(path, format string, args ...any) {
	c.cfg.Warnings = append(c.cfg.Warnings, c.src.problem(path, format, args...))
}

func (c *checker) check() {
	c.clusters()
	c.listeners()
	c.documents()
	c.pipelines()
	c.markers()
	c.limits()
	c.ports()
	c.cacheDir()
}

// missing reports a setting that must be there; the place is what should hold it.
func (c *checker) missing(path, advice string) {
	if c.reported(path) || c.reported(parentPath(path)) {
		return
	}
	c.problem(path, "is missing: %s", advice)
}

// reported says whether there already is a problem with a setting, so that a value that could not be read is not called
// missing as well.
func (c *checker) reported(path string) bool {
	return path != "" && slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Path == path })
}

var goodName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// names checks the names of a list: they stand in metrics, logs and headers.
func (c *checker) names(list string, n int, name func(int) string) {
	first := map[string]int{}
	for i := range n {
		at := indexPath(list, i) + ".name"
		switch v := name(i); {
		case v == "":
			c.missing(at, "give it a name")
		case !goodName.MatchString(v):
			c.problem(at, "%q is not a name: use up to 64 letters, digits, dots, dashes and underscores", v)
		case hasIndex(first, v):
			c.problem(at, "%q is the name of %s already", v, indexPath(list, first[v]))
		default:
			first[v] = i
		}
	}
}

func hasIndex(m map[string]int, key string) bool {
	_, ok := m[key]
	return ok
}

func (c *checker) clusters() {
	if len(c.cfg.Clusters) == 0 {
		c.missing("clusters", "name at least one cluster with its bootstrap addresses")
	}
	c.names("clusters", len(c.cfg.Clusters), func(i int) string { return c.cfg.Clusters[i].Name })
	for i := range c.cfg.Clusters {
		c.cluster(indexPath("clusters", i), &c.cfg.Clusters[i])
	}
}

func (c *checker) cluster(at string, cl *Cluster) {
	if len(cl.Bootstrap) == 0 {
		c.missing(at+".bootstrap", "list the addresses of one or more brokers, as host:port")
	}
	for i, addr := range cl.Bootstrap {
		if host, _, err := splitAddr(addr, 1); err != nil {
			c.problem(indexPath(at+".bootstrap", i), "%v", err)
		} else if host == "" {
			c.problem(indexPath(at+".bootstrap", i), "%q has no host", addr)
		}
	}
	if cl.ServiceAccount != nil {
		c.serviceAccount(at+".service_account", cl.ServiceAccount)
	}
}

func (c *checker) serviceAccount(at string, sa *ServiceAccount) {
	if !slices.Contains(Mechanisms, sa.Mechanism) && !c.reported(at+".mechanism") {
		c.problem(at+".mechanism", "%q is not one of %s", sa.Mechanism, strings.Join(Mechanisms, ", "))
	}
	if sa.Username == "" {
		c.missing(at+".username", "who is the gateway in this cluster?")
	}
	if sa.Password.IsZero() {
		c.missing(at+".password", "write ${file:/path/to/password} or ${env:NAME}, so that it does not stand here")
	}
}

func (c *checker) listeners() {
	if len(c.cfg.Listeners) == 0 {
		c.missing("listeners", "clients need an address to connect to")
	}
	c.names("listeners", len(c.cfg.Listeners), func(i int) string { return c.cfg.Listeners[i].Name })
	for i := range c.cfg.Listeners {
		c.listener(indexPath("listeners", i), &c.cfg.Listeners[i])
	}
}

func (c *checker) listener(at string, l *Listener) {
	known := make([]string, len(c.cfg.Clusters))
	for i, cl := range c.cfg.Clusters {
		known[i] = cl.Name
	}
	switch {
	case l.Cluster == "" && len(known) == 1:
		l.Cluster = known[0]
	case l.Cluster == "":
		c.missing(at+".cluster", "which cluster do its clients get?")
	case !slices.Contains(known, l.Cluster):
		c.problem(at+".cluster", "there is no cluster %q%s", l.Cluster, suggest(l.Cluster, known))
	}
	if l.TLS != nil {
		c.listenerTLS(at+".tls", l.TLS)
	}
	if l.Bind == "" {
		c.missing(at+".bind", "say host:port, such as 0.0.0.0:19092")
		return
	}
	bound, _, err := splitAddr(l.Bind, 0)
	if err != nil {
		c.problem(at+".bind", "%v", err)
		return
	}
	if l.Advertise == "" {
		if everywhere(bound) {
			c.missing(at+".advertise", fmt.Sprintf("clients cannot connect to %q: name the host that they reach this gateway by", bound))
		}
		l.Advertise = bound
		return
	}
	host, _, err := splitAddr(l.Advertise, 1)
	if err != nil {
		host = l.Advertise // without a port
	}
	if host == "" || strings.ContainsAny(host, ":/ ") && net.ParseIP(host) == nil {
		c.problem(at+".advertise", "%q is not a host: write a name or an address, without a scheme", l.Advertise)
	}
}

func (c *checker) listenerTLS(at string, t *ListenerTLS) {
	switch {
	case t.Cert == "":
		c.missing(at+".cert", "which PEM file holds the certificate?")
	case t.Key == "":
		c.missing(at+".key", "which PEM file holds the private key?")
	default:
		t.Cert, t.Key = c.abs(t.Cert), c.abs(t.Key)
		if _, err := t.Config(); err != nil {
			c.problem(at, "%v", err)
		}
	}
}

func (c *checker) documents() {
	c.names("documents", len(c.cfg.Documents), func(i int) string { return c.cfg.Documents[i].Name })
	for i := range c.cfg.Documents {
		doc, at := &c.cfg.Documents[i], indexPath("documents", i)+".file"
		if doc.File == "" {
			c.missing(at, "which file holds the AsyncAPI document?")
			continue
		}
		doc.File = c.abs(doc.File)
		c.fileExists(at, doc.File)
	}
}

func (c *checker) fileExists(at, path string) {
	switch info, err := os.Stat(path); {
	case err != nil:
		c.problem(at, "%v", err)
	case !info.Mode().IsRegular():
		c.problem(at, "%s is not a file", path)
	}
}

func (c *checker) pipelines() {
	c.names("pipelines", len(c.cfg.Pipelines), func(i int) string { return c.cfg.Pipelines[i].Name })
	if len(c.cfg.Pipelines) == 0 && len(c.problems) == 0 {
		c.warn("", "there are no pipelines: all records pass as they are")
	}
	for i := range c.cfg.Pipelines {
		c.pipeline(PipelinePath(i), &c.cfg.Pipelines[i])
	}
}

func (c *checker) pipeline(at string, p *Pipeline) {
	if len(p.Topics) == 0 {
		c.missing(at+".topics", "name topics, or globs such as orders.*")
	}
	for i, topic := range p.Topics {
		c.topicPattern(indexPath(at+".topics", i), topic)
	}
	if p.On == "" {
		c.missing(at+".on", "write produce or fetch")
	}
	if len(p.Stages) == 0 {
		c.missing(at+".stages", "name at least one plugin")
	}
	for i := range p.Stages {
		c.stage(indexPath(at+".stages", i), p.On, &p.Stages[i])
	}
	c.stageNames(at+".stages", p.Stages)
}

var goodTopic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// topicPattern checks a name or glob. What is left of a glob without its wildcards must be possible in a topic.
func (c *checker) topicPattern(at, pattern string) {
	if letters := strings.NewReplacer("*", "x", "?", "x").Replace(pattern); !goodTopic.MatchString(letters) {
		c.problem(at, "%q is not a topic or glob: topics have letters, digits, dots, dashes and underscores; * stands for any text, ? for one character", pattern)
	}
}

func (c *checker) stageNames(list string, stages []Stage) {
	first := map[string]int{}
	for i, s := range stages {
		at := indexPath(list, i)
		if s.Name == "" {
			continue // reported with the plugin
		}
		if !goodName.MatchString(s.Name) {
			c.problem(at+".name", "%q is not a name: use up to 64 letters, digits, dots, dashes and underscores", s.Name)
		} else if hasIndex(first, s.Name) {
			c.problem(at, "%s is called %q already: give one of them another name", indexPath(list, first[s.Name]), s.Name)
		}
		first[s.Name] = i
	}
}

// SplitPlugin splits what a stage calls its plugin, name@sha256:digest, into the name and the rest, which may be empty, and
// reports whether the name is a path.
func SplitPlugin(plugin string) (name, pin string, isFile bool) {
	name = plugin
	if i := strings.LastIndex(plugin, "@sha256:"); i >= 0 {
		name, pin = plugin[:i], plugin[i:]
	}
	return name, pin, strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".wasm")
}

func (c *checker) stage(at string, on Direction, s *Stage) {
	name, pin, isFile := SplitPlugin(s.Plugin)
	if name == "" {
		c.missing(at+".plugin", "name a built-in such as validate, or a .wasm file")
	} else if s.Name == "" {
		s.Name = strings.TrimSuffix(filepath.Base(filepath.ToSlash(name)), ".wasm")
	}
	if isFile {
		s.Plugin = c.abs(name) + pin
		c.fileExists(at+".plugin", c.abs(name))
	}
	for _, policy := range []struct {
		key    string
		action host.Action
	}{{".on_poison", s.OnPoison}, {".on_oversize", s.OnOversize}} {
		switch {
		case on == Fetch && policy.action == host.ActionReject:
			c.problem(at+policy.key, "a record that is fetched cannot be refused: use dead-letter, pass or stop")
		case policy.action == host.ActionDeadLetter && s.DeadLetter == "":
			c.problem(at+policy.key, "dead-letter needs a topic: set dead_letter beside it")
		}
	}
	if s.DeadLetter != "" && !goodTopic.MatchString(s.DeadLetter) {
		c.problem(at+".dead_letter", "%q is not a topic", s.DeadLetter)
	}
	c.stageLimits(at+".limits", s.Limits)
}

// wasmPage is the unit of a guest's memory.
const wasmPage = 64 << 10

func (c *checker) stageLimits(at string, l StageLimits) {
	if l.Memory != 0 && (l.Memory < wasmPage || l.Memory > host.MaxMemory) {
		c.problem(at+".memory", "must be between 64KiB and %s", Bytes(host.MaxMemory))
	}
	for _, fuel := range []struct {
		key   string
		value int64
	}{{".fuel_base", l.FuelBase}, {".fuel_per_record", l.FuelPerRecord}, {".fuel_per_byte", l.FuelPerByte}} {
		if fuel.value < 0 {
			c.problem(at+fuel.key, "must not be negative")
		}
	}
}

// minKey is the least number of random bytes in markers.key.
const minKey = 16

// KeyAdvice is how to make a key for markers.
const KeyAdvice = "make one with: head -c 32 /dev/urandom | base64 > marker.key, and set markers.key to ${file:marker.key}"

// Bytes returns the key of the markers, nil where none is set.
func (m Markers) Bytes() []byte {
	key, err := base64.StdEncoding.DecodeString(m.Key.Reveal())
	if err != nil || len(key) < minKey {
		return nil
	}
	return key
}

func (c *checker) markers() {
	m := c.cfg.Markers
	if !m.Key.IsZero() && m.Bytes() == nil {
		c.problem("markers.key", "must be base64 of at least %d random bytes: %s", minKey, KeyAdvice)
	}
	for i, topic := range m.Topics {
		c.topicPattern(indexPath("markers.topics", i), topic)
	}
	if len(m.Topics) > 0 && m.Key.IsZero() && !c.reported("markers.key") {
		c.problem("markers.topics", "markers cannot be recognised without markers.key: set the key that they were written with")
	}
}

func (c *checker) limits() {
	l := c.cfg.Limits
	for _, size := range []struct {
		key        string
		value      Bytes
		least, max Bytes
	}{
		{"limits.request_bytes", l.RequestBytes, 1 << 10, math.MaxInt32},
		{"limits.response_bytes", l.ResponseBytes, 1 << 10, math.MaxInt32},
		{"limits.opened_bytes", l.OpenedBytes, 1 << 20, 1 << 50},
	} {
		if (size.value < size.least || size.value > size.max) && !c.reported(size.key) {
			c.problem(size.key, "must be between %s and %s", size.least, size.max)
		}
	}
	if l.Connections < 1 {
		c.problem("limits.connections", "must be at least 1")
	}
	if l.InFlight < 1 || l.InFlight > 100_000 {
		c.problem("limits.in_flight", "must be between 1 and 100000")
	}
}

// reach is how many ports after its own a listener most likely needs for brokers.
const reach = 16

// ports finds two servers at one address, and warns about one among the ports that a listener gives to brokers.
func (c *checker) ports() {
	type bound struct {
		at, host string
		port     int
		listener bool
	}
	var all []bound
	add := func(at, addr string, listener bool) {
		if host, port, err := splitAddr(addr, 0); err == nil && port != 0 {
			all = append(all, bound{at, host, port, listener})
		}
	}
	for i, l := range c.cfg.Listeners {
		add(indexPath("listeners", i)+".bind", l.Bind, true)
	}
	if _, _, err := splitAddr(c.cfg.Admin.Bind, 0); err != nil {
		c.problem("admin.bind", "%v", err)
	}
	add("admin.bind", c.cfg.Admin.Bind, false)
	for i, a := range all {
		for _, b := range all[:i] {
			if a.host != b.host && !everywhere(a.host) && !everywhere(b.host) {
				continue
			}
			low, high := a, b
			if a.port > b.port {
				low, high = b, a
			}
			switch {
			case a.port == b.port:
				c.problem(a.at, "port %d is taken by %s", a.port, b.at)
			case low.listener && high.port-low.port <= reach:
				c.warn(high.at, "port %d is the one that %s gives to the broker with node id %d: leave more room after port %d",
					high.port, low.at, high.port-low.port-1, low.port)
			}
		}
	}
}

func (c *checker) cacheDir() {
	if c.cfg.CacheDir != "" {
		c.cfg.CacheDir = c.abs(c.cfg.CacheDir)
		return
	}
	dir, err := DefaultCacheDir()
	if err != nil {
		c.problem("cache_dir", "%v: set cache_dir", err)
	}
	c.cfg.CacheDir = dir
}

// DefaultCacheDir is where compiled modules are kept unless the file says otherwise.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "sluice"), nil
}

// splitAddr splits host:port and checks that the port is a number from least to 65535.
func splitAddr(addr string, least int) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not an address: write host:port", addr)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < least || port > 65535 {
		return "", 0, fmt.Errorf("%q is not an address: the port must be a number from %d to 65535", addr, least)
	}
	return host, port, nil
}

// everywhere reports whether a host to bind means all addresses of the machine.
func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
