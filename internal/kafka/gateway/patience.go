package gateway

import "time"

// slowest is the least speed, in bytes per second, at which a client may send or take a frame that has memory of the budget, after some seconds of
// nothing at all. Whoever is slower is disconnected, because others wait for that memory.
const slowest = 64 << 10

var noDeadline time.Time

// patience returns when a frame of size bytes should be through.
func patience(size int32) time.Time {
	return time.Now().Add(10*time.Second + time.Duration(size)*time.Second/slowest)
}
