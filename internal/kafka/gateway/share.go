package gateway

import "sync"

// shareSessions are the share sessions that this connection has seen from their first request on, under the current routes. No topic with a fetch pipeline, and
// none that may hold markers, is in any of them: requests that name one are refused.
type shareSessions struct {
	mu       sync.Mutex
	byMember map[shareMember]int64 // the generation of the routes
}

type shareMember struct{ group, member string }

// shareAnswer is what the response to a request that begins a share session has to be looked at for.
type shareAnswer struct {
	member     shareMember
	generation int64
}

func (s *shareSessions) begin(a shareAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byMember == nil || len(s.byMember) >= maxSessions {
		s.byMember = map[shareMember]int64{}
	}
	s.byMember[a.member] = a.generation
}

func (s *shareSessions) known(m shareMember, generation int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.byMember[m]
	return ok && g == generation
}

func (s *shareSessions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.byMember)
}
