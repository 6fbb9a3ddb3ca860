package gateway

import "sync"

// entry is a request whose answer is outstanding.
type entry struct {
	key, version int16
	correlation  int32
	// local is the body of an answer that the gateway gives itself, response header included. The broker knows nothing of
	// this request.
	local []byte
	// own takes the body of the answer to a request of the gateway's own. It has room for one. The client knows nothing of this request.
	own chan<- []byte
	// respond rewrites the broker's answer. nil: it passes unread.
	respond responder
	// produce and fetch are what respond has to know.
	produce *produceAnswer
	fetch   *fetchAnswer
}

// fromBroker says that the answer is one that the broker gives.
func (e *entry) fromBroker() bool { return e.local == nil }

// queue is the FIFO of a connection's outstanding answers. One goroutine pushes, another looks at the head and pops it after it has
// dealt with it: so an empty queue means that every answer was written.
type queue struct {
	mu     sync.Mutex
	space  sync.Cond // on mu: there is room, or the queue is closed
	ring   []entry
	first  int
	n      int
	limit  int
	closed bool // nothing more is taken: the connection is at its end
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit, ring: make([]entry, 4)}
	q.space.L = &q.mu
	return q
}

// full says that push would wait.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n >= q.limit
}

// await waits for room: the next push does not, as far as one goroutine pushes. It returns false if the queue was closed.
func (q *queue) await() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.n >= q.limit && !q.closed {
		q.space.Wait()
	}
	return !q.closed
}

// push appends an entry, after it has waited for room. It returns false if the queue was closed.
func (q *queue) push(e entry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.n >= q.limit && !q.closed {
		q.space.Wait()
	}
	if q.closed {
		return false
	}
	q.pushLocked(e)
	return true
}

// pushUnlessEmpty is push, but leaves an empty queue alone and returns pushed = false then.
func (q *queue) pushUnlessEmpty(e entry) (pushed, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.n >= q.limit && !q.closed {
		q.space.Wait()
	}
	if q.closed {
		return false, false
	}
	if q.n == 0 {
		return false, true
	}
	q.pushLocked(e)
	return true, true
}

func (q *queue) pushLocked(e entry) {
	if q.n == len(q.ring) {
		grown := make([]entry, 2*len(q.ring))
		for i := range q.n {
			grown[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.n)%len(q.ring)] = e
	q.n++
}

// head returns the first entry, which stays.
func (q *queue) head() (entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return entry{}, false
	}
	return q.ring[q.first], true
}

// pop removes the first entry and returns the one after it, if there is one.
func (q *queue) pop() (next entry, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ring[q.first] = entry{}
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	q.space.Signal()
	if q.n == 0 {
		return entry{}, false
	}
	return q.ring[q.first], true
}

// close wakes who waits in push, and lets nobody push again. Entries stay.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.space.Broadcast()
}

// drained says that the queue was closed and that all answers were given.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.n == 0
}

// owes says that answers are outstanding.
func (q *queue) owes() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n > 0
}
