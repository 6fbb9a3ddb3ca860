package host

import (
	"context"
	"sync"
	"sync/atomic"
)

// slots is a counting semaphore that serves its waiters strictly in the order in which they came. A holder can give way in
// the middle of its work with [slots.pass], so that short calls do not wait for long ones.
type slots struct {
	waiting atomic.Int32 // length of the queue, for a look without the lock

	mu         sync.Mutex
	free       int // below zero where somebody would not wait
	head, tail *waiter
}

// waiter is one place in the queue.
type waiter struct {
	ready   chan struct{} // capacity 1; filled when the slot is the waiter's
	next    *waiter
	granted bool
	gone    bool // the waiter stopped waiting; skip it
}

var waiters = sync.Pool{New: func() any { return &waiter{ready: make(chan struct{}, 1)} }}

func newSlots(n int) *slots { return &slots{free: n} }

// acquire takes a slot, waiting its turn until ctx ends.
func (s *slots) acquire(ctx context.Context) error {
	s.mu.Lock()
	if s.free > 0 && s.head == nil {
		s.free--
		s.mu.Unlock()
		return nil
	}
	w := s.enqueueLocked()
	s.mu.Unlock()
	return s.wait(ctx, w)
}

// release gives a slot back, to the first in the queue if there is one.
func (s *slots) release() {
	s.mu.Lock()
	if s.free < 0 || !s.grantLocked() {
		s.free++
	}
	s.mu.Unlock()
}

// pass lets the others who wait go first and returns when the slot is the caller's again; at once if nobody waits. If ctx ends
// while it waits it returns the error at once and the caller has a slot all the same, one more than there are, so that whoever
// acquired releases.
func (s *slots) pass(ctx context.Context) error {
	if s.waiting.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	if !s.grantLocked() {
		s.mu.Unlock()
		return nil
	}
	w := s.enqueueLocked()
	s.mu.Unlock()
	if err := s.wait(ctx, w); err != nil {
		s.mu.Lock()
		s.free--
		s.mu.Unlock()
		return err
	}
	return nil
}

// grantLocked hands a slot to the first waiter and reports whether there was one.
func (s *slots) grantLocked() bool {
	for w := s.head; w != nil; w = s.head {
		s.head = w.next
		if s.head == nil {
			s.tail = nil
		}
		w.next = nil
		if w.gone {
			continue
		}
		s.waiting.Add(-1)
		w.granted = true
		w.ready <- struct{}{}
		return true
	}
	return false
}

func (s *slots) enqueueLocked() *waiter {
	w := waiters.Get().(*waiter)
	w.next, w.granted, w.gone = nil, false, false
	if s.tail == nil {
		s.head = w
	} else {
		s.tail.next = w
	}
	s.tail = w
	s.waiting.Add(1)
	return w
}

func (s *slots) wait(ctx context.Context, w *waiter) error {
	select {
	case <-w.ready:
		waiters.Put(w)
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	if !w.granted {
		w.gone = true // it stays in the queue until its turn; grantLocked drops it
		s.waiting.Add(-1)
		s.mu.Unlock()
		return ctx.Err()
	}
	s.mu.Unlock()
	<-w.ready
	waiters.Put(w)
	s.release() // it came too late
	return ctx.Err()
}
