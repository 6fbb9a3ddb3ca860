package gateway

import "sync"

// fetchSessions are the incremental fetch sessions (KIP-227) that this connection has seen from their first request on. A session's topics are known to the broker, not
// from its requests; what is remembered is whether any of them has to be opened. Topics that a client takes out of a session are not
// taken into account: the session is opened a little longer than needed.
//
// An incremental request of another session, or of one that began under other routes, is answered FETCH_SESSION_ID_NOT_FOUND, and
// clients then begin a new session with a full request. So routes that are added cannot be gone around by an old session.
type fetchSessions struct {
	mu   sync.Mutex
	byID map[int32]fetchSession
}

type fetchSession struct {
	generation int64 // of the routes
	opened     bool
}

// maxSessions bounds the sessions of one connection. Clients have one.
const maxSessions = 16

func (s *fetchSessions) begin(id int32, session fetchSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[int32]fetchSession{}
	}
	if len(s.byID) >= maxSessions {
		clear(s.byID)
	}
	s.byID[id] = session
}

func (s *fetchSessions) get(id int32) (fetchSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.byID[id]
	return session, ok
}

// end forgets a session.
func (s *fetchSessions) end(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// forget forgets all sessions: their requests are not looked at for a while.
func (s *fetchSessions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.byID)
}
