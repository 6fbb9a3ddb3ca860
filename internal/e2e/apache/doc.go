// Package apache tests the gateway before Apache Kafka, with all clients. See
// package e2e.
package apache
