package gateway

import "time"

// patience bounds how long others are waited for while a connection has memory of the budget, which the rest of the process waits for, or nothing to show yet.
type patience struct {
	silence        time.Duration // with a client that has connected and said nothing
	least          time.Duration // with a frame of any size
	lookup         time.Duration // with the answer to a request of the gateway's own that a small request waits for
	client, broker int           // the least speed at which a large frame must come, or be taken, in bytes per second
}

// usualPatience is what all but tests have. A broker that throttles a client leaves its requests unread for some seconds.
var usualPatience = patience{silence: time.Minute, least: 20 * time.Second, lookup: 5 * time.Minute, client: 64 << 10, broker: 1 << 20}

var noDeadline time.Time

// until returns when a frame of size bytes should be through at a speed.
func (p *patience) until(size, speed int) time.Time {
	return time.Now().Add(p.least + time.Duration(size)*time.Second/time.Duration(speed))
}
