package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func benchEmbedded(opts options, dir string) ([]*table, error) {
	b, err := startEmbedded(dir)
	if err != nil {
		return nil, err
	}
	return benchNetwork(opts, dir, b)
}

func benchKafka(opts options, dir string) ([]*table, error) {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return []*table{{title: "Apache Kafka", notes: []string{"Left out: " + tool + " is not installed."}}}, nil
		}
	}
	b, err := startKafka(dir)
	if err != nil {
		return nil, err
	}
	if err := b.warm(); err != nil {
		b.stop()
		return nil, fmt.Errorf("warm up: %w", err)
	}
	return benchNetwork(opts, dir, b)
}

// benchNetwork measures one broker through every path.
func benchNetwork(opts options, dir string, b *broker) ([]*table, error) {
	n, err := startNetwork(dir, opts.sluice, b)
	if err != nil {
		return nil, err
	}
	defer n.stop()

	t := &table{title: "Throughput against " + b.name, front: b.kafka}
	t.add("", "MB/s", "of direct", "CPU s/GB")
	for _, s := range shapes {
		paths := []path{n.direct, n.floor, n.plain}
		if s.records == 100 && s.size == 1000 {
			paths = append(paths, n.tls, n.kept, n.changed)
		}
		if err := n.produce(opts, t, s, paths...); err != nil {
			return nil, err
		}
		if err := n.fetch(opts, t, s, paths...); err != nil {
			return nil, err
		}
	}

	lat := &table{title: "Latency of produce against " + b.name + ", one record of 1 KB, ms"}
	lat.add("", "p50", "p99", "p50 added", "p99 added")
	for _, rate := range []int{200, 2000} {
		if err := n.latency(opts, lat, rate, n.direct, n.floor, n.plain, n.kept); err != nil {
			return nil, err
		}
	}
	return []*table{t, lat}, nil
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(dir string) (cert, key string, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)
}
