package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// anyNode is the node id of a bootstrap listener.
const anyNode int32 = -1

// listenerSet is the addresses of one ListenerConfig: a bootstrap listener and one for each known broker.
type listenerSet struct {
	cfg     ListenerConfig
	cluster *cluster
	log     *slog.Logger
	accept  func(*listenerSet, int32, net.Conn) // takes over the connection

	bindHost      string
	bindPort      int // as bound; brokers' ports count from it unless anyPorts
	anyPorts      bool
	advertiseHost string
	advertisePort int // of the bootstrap listener, 0: as bound

	mu     sync.Mutex
	bound  map[int32]net.Listener
	failed map[int32]error
	closed bool
	wait   sync.WaitGroup // accept loops
}

func newListenerSet(cfg ListenerConfig, c *cluster, log *slog.Logger, accept func(*listenerSet, int32, net.Conn)) (*listenerSet, error) {
	l := &listenerSet{
		cfg: cfg, cluster: c, log: log.With("cluster", cfg.Cluster, "listener", cfg.Name), accept: accept,
		bound: map[int32]net.Listener{}, failed: map[int32]error{},
	}
	host, port, err := net.SplitHostPort(cfg.Bind)
	if err != nil {
		return nil, fmt.Errorf("listener %s: bind %q: want host:port", cfg.Name, cfg.Bind)
	}
	if l.bindPort, err = parsePort(port); err != nil {
		return nil, fmt.Errorf("listener %s: bind %q: %w", cfg.Name, cfg.Bind, err)
	}
	l.bindHost, l.anyPorts = host, l.bindPort == 0
	l.advertiseHost = cfg.Advertise
	if h, p, err := net.SplitHostPort(cfg.Advertise); err == nil {
		l.advertiseHost = h
		if l.advertisePort, err = parsePort(p); err != nil {
			return nil, fmt.Errorf("listener %s: advertise %q: %w", cfg.Name, cfg.Advertise, err)
		}
	}
	if l.advertiseHost == "" {
		l.advertiseHost = host
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			l.advertiseHost = "localhost"
		}
	}
	return l, nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q: want a number from 0 to 65535", s)
	}
	return int(n), nil
}

// start binds the bootstrap listener.
func (l *listenerSet) start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.bindLocked(anyNode); err != nil {
		return fmt.Errorf("listener %s: %w", l.cfg.Name, err)
	}
	l.bindPort = l.bound[anyNode].Addr().(*net.TCPAddr).Port
	return nil
}

// open sees to it that each node has a listener, where that can be. Failures are logged once and tried again when it is next called.
func (l *listenerSet) open(nodes []int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bound[anyNode] == nil {
		return
	}
	for _, node := range nodes {
		if l.bound[node] != nil {
			continue
		}
		err := l.bindLocked(node)
		if err != nil && l.failed[node] == nil {
			l.log.Error("broker has no listener: clients are not told about it", "node", node, "error", err)
		}
		if err != nil {
			l.failed[node] = err
			continue
		}
		delete(l.failed, node)
		l.log.Info("broker listener open", "node", node, "address", l.bound[node].Addr().String())
	}
}

func (l *listenerSet) bindLocked(node int32) error {
	port := l.bindPort
	if node != anyNode {
		port = l.bindPort + 1 + int(node)
		if l.anyPorts {
			port = 0
		}
	}
	if port > 65535 {
		return fmt.Errorf("its port would be %d: choose a lower port to bind, or lower node ids", port)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(l.bindHost, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	l.bound[node] = ln
	l.wait.Go(func() { l.serve(node, ln) })
	return nil
}

func (l *listenerSet) serve(node int32, ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.log.Warn("accept", "error", err)
			time.Sleep(50 * time.Millisecond) // such as too many open files: they become fewer
			continue
		}
		if l.cfg.TLS != nil {
			conn = tls.Server(conn, l.cfg.TLS) // the handshake is part of the first read
		}
		l.accept(l, node, conn)
	}
}

// address returns where clients find a node. ok is false for a node without listener.
func (l *listenerSet) address(node int32) (host string, port int32, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.bound[node]
	if ln == nil || l.closed {
		return "", 0, false
	}
	p := ln.Addr().(*net.TCPAddr).Port
	if l.advertisePort != 0 && !l.anyPorts {
		p += l.advertisePort - l.bindPort
	}
	if p < 1 || p > 65535 {
		return "", 0, false
	}
	return l.advertiseHost, int32(p), true
}

// ready returns why a broker has no listener.
func (l *listenerSet) ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bound[anyNode] == nil {
		return fmt.Errorf("listener %s: not bound", l.cfg.Name)
	}
	for node, err := range l.failed {
		return fmt.Errorf("listener %s: broker %d has no listener: %w", l.cfg.Name, node, err)
	}
	return nil
}

// close closes all listeners and waits for their goroutines. It does not touch connections.
func (l *listenerSet) close() {
	l.mu.Lock()
	l.closed = true
	for _, ln := range l.bound {
		_ = ln.Close()
	}
	l.mu.Unlock()
	l.wait.Wait()
}
