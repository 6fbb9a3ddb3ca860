package gateway

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// budget bounds the memory of what is opened, for the whole process. Three shares, taken in a fixed order, so that nobody waits for
// something that waits for him:
//
//   - a request takes its share of requests before it is read, and gives it back when it was forwarded or answered;
//   - a response does the same with responses. They are apart because a broker may accept no request before its last response was taken;
//   - one batch at a time takes its growth, in one piece, while it is decoded and judged. Who holds growth waits for pipelines and for dead letters,
//     never for a share, so that growth always comes back.
type budget struct {
	requests, responses, growth share
}

type share struct {
	sem   *semaphore.Weighted
	total int64
}

func newShare(total int64) share { return share{semaphore.NewWeighted(total), total} }

func newBudget(limits LimitsConfig) *budget {
	return &budget{
		requests:  newShare(limits.OpenedBytes),
		responses: newShare(limits.OpenedBytes),
		growth:    newShare(max(limits.OpenedBytes/2, int64(limits.BatchBytes))),
	}
}

// take waits for n bytes and returns how many it took, for give. More than there is counts as all there is: then nothing else is opened.
func (s share) take(ctx context.Context, n int64) (int64, error) {
	n = max(1, min(n, s.total))
	if err := s.sem.Acquire(ctx, n); err != nil {
		return 0, err
	}
	return n, nil
}

func (s share) give(n int64) {
	if n > 0 {
		s.sem.Release(n)
	}
}

// openedWeight is what a frame that is opened costs: itself, and as much again for what is built from it.
func openedWeight(size int32) int64 { return 2 * int64(size) }
