// Package e2e tests the built binary from outside, with unmodified Kafka
// clients.
//
// The tests of this package run against the embedded broker and need Go only;
// those with kcat are skipped where there is none. They are part of "make test"
// and take seconds. What the embedded broker cannot prove (batch shapes,
// sequence numbers, compaction, transactions) is proved on Apache Kafka by the
// packages below, which .ci/run and SLUICE_KAFKA=1 ask for:
//
//	e2e/apache  verdicts, codecs, transactions, compaction, sockets, bad input
//	e2e/crash   100 000 records per client while the gateway is killed
//
// e2e/scene describes what all of them play: topics, pipelines, records, and
// what must become of each record.
package e2e
