package host

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// poisonMemory remembers records that were proven poisonous, so that a batch that comes again is not taken apart from the start: a batch with more
// of them than one recovery's budget finds is settled after a few tries of its client instead of never, and a partition that was stopped does not cost a recovery with
// each fetch. It holds hashes only, for a limited time. It is for use by many goroutines at once.
type poisonMemory struct {
	n atomic.Int32 // size of proven, for a look without the lock

	mu     sync.Mutex
	proven map[uint64]proof
}

// proof is why a record is poisonous, and until when that is believed.
type proof struct {
	err   *GuestError
	until time.Time
}

const (
	poisonKept = 4096
	poisonTime = 5 * time.Minute
)

// poisonSeed keeps clients from choosing records whose hashes collide.
var poisonSeed = maphash.MakeSeed()

// known returns why a record that is remembered failed, nil for any other.
func (m *poisonMemory) known(info *abi.Info, r *abi.Record, s *Stage) error {
	if m.n.Load() == 0 {
		return nil
	}
	key, now := poisonKey(info, r), s.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.proven[key]
	if !ok {
		return nil
	}
	if now.After(p.until) {
		delete(m.proven, key)
		m.n.Store(int32(len(m.proven)))
		return nil
	}
	return p.err
}

// add remembers a record.
func (m *poisonMemory) add(info *abi.Info, r *abi.Record, err *GuestError, s *Stage) {
	key, now := poisonKey(info, r), s.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proven == nil {
		m.proven = map[uint64]proof{}
	}
	for old := range m.proven { // any of them makes room
		if len(m.proven) < poisonKept {
			break
		}
		delete(m.proven, old)
	}
	m.proven[key] = proof{err, now.Add(poisonTime)}
	m.n.Store(int32(len(m.proven)))
}

// poisonKey is a hash of all that a guest may see of a record and of where it comes from, except for its offset: a record that a guest cannot
// process in one topic or from one client may be a good one elsewhere.
func poisonKey(info *abi.Info, r *abi.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(poisonSeed)
	sized := func(b []byte) {
		maphash.WriteComparable(&h, len(b))
		maphash.WriteComparable(&h, b == nil)
		_, _ = h.Write(b)
	}
	maphash.WriteComparable(&h, *info)
	maphash.WriteComparable(&h, r.Timestamp)
	maphash.WriteComparable(&h, r.LogAppendTime)
	sized(r.Key)
	sized(r.Value)
	for i := range r.Headers {
		sized([]byte(r.Headers[i].Name))
		sized(r.Headers[i].Value)
	}
	return h.Sum64()
}
