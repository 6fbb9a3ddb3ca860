package wire

import (
	"sync"
	"time"
)

// DefaultMaxPipes is the number of splice pipes that a process keeps unless
// [SetMaxPipes] says otherwise. Each is 1 MiB, and an unprivileged user may
// have 64 MiB in pipes by default (fs.pipe-user-pages-soft).
const DefaultMaxPipes = 32

// SetMaxPipes sets how many pipes the process uses for splicing at the same
// time; 0 turns splicing off. Connections that find none free copy instead.
func SetMaxPipes(n int) { pipes.setMax(n) }

// pipes are the process's pipes.
var pipes = pipePool{max: DefaultMaxPipes}

// maxChunk is the capacity of a pipe, and the most that is spliced at once, in bytes.
const maxChunk = 1 << 20

// retryPipe is how long everything copies after the system refused a pipe,
// because the user's budget for pipes or the process's for descriptors is spent.
const retryPipe = 5 * time.Second

// pipePool hands out empty pipes. A pipe is held between two readiness waits,
// never during one.
type pipePool struct {
	mu    sync.Mutex
	max   int
	open  int // pipes that exist
	idle  []*pipe
	retry time.Time // when to ask the system again, which had no pipe
}

// get returns a pipe, or nil if all are in use or the system has none.
func (p *pipePool) get() *pipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		pp := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return pp
	}
	if p.open >= p.max || !p.retry.IsZero() && time.Now().Before(p.retry) {
		return nil
	}
	pp, err := newPipe(maxChunk)
	if err != nil {
		p.retry = time.Now().Add(retryPipe)
		return nil
	}
	p.retry = time.Time{}
	p.open++
	return pp
}

// put takes back a pipe. One that is not empty is closed.
func (p *pipePool) put(pp *pipe, empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if empty && p.open <= p.max {
		p.idle = append(p.idle, pp)
		return
	}
	pp.close()
	p.open--
}

func (p *pipePool) setMax(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.max = n
	for len(p.idle) > 0 && p.open > n {
		last := len(p.idle) - 1
		p.idle[last].close()
		p.idle = p.idle[:last]
		p.open--
	}
}
