//go:build !unix

package host

import "time"

var started = time.Now()

// cpuTime returns the time since the start, for want of better.
func cpuTime() time.Duration { return time.Since(started) }
