package gateway

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Failpoints are places at which the process kills itself, for tests of what survives. They do nothing unless the environment has
//
//	SLUICE_FAILPOINT=name:n
//
// when the process starts: then the n-th pass (default: the first) through that place ends it with SIGKILL. All but the first concern produce requests that
// a pipeline matches.
const (
	failAfterEmit          = "after-emit"           // dead letters are acknowledged, the batch is not forwarded
	failBeforeForward      = "before-forward"       // the batch was judged and is not forwarded
	failAfterBrokerAnswer  = "after-broker-answer"  // the broker has answered, nothing was done with it
	failBeforeClientAnswer = "before-client-answer" // the answer is complete, the client does not have it
)

var failpointName, failpointPasses = parseFailpoint(os.Getenv("SLUICE_FAILPOINT"))

func parseFailpoint(s string) (string, *atomic.Int64) {
	name, count, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	left := new(atomic.Int64)
	left.Store(n)
	return name, left
}

func failpoint(name string) {
	if failpointName != name || failpointPasses.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // until the signal arrives
}
