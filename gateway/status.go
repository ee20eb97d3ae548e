package gateway

import (
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
)

// errStarting is the state of a network that has not reported yet.
var errStarting = errors.New("starting")

// Status remembers which networks are up, and logs when that changes.
type Status struct {
	log *slog.Logger

	mu    sync.Mutex
	away  map[string]error // nil: up
	ready map[string]*readiness
}

// readiness tells of every time that a network said that it can do what it could not do before.
type readiness struct {
	times atomic.Int64
	news  chan struct{} // gets a value then
}

// NewStatus starts with every network away.
func NewStatus(networks []string, log *slog.Logger) *Status {
	s := &Status{log: log, away: map[string]error{}, ready: map[string]*readiness{}}
	for _, n := range networks {
		s.away[n] = errStarting
	}
	return s
}

func (s *Status) readiness(network string) *readiness {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ready[network]
	if r == nil {
		r = &readiness{news: make(chan struct{}, 1)}
		s.ready[network] = r
	}
	return r
}

// For returns network's Deps.Ready.
func (s *Status) For(network string) func(away error) {
	ready := s.readiness(network)
	return func(away error) {
		if away == nil {
			ready.times.Add(1)
			select {
			case ready.news <- struct{}{}:
			default:
			}
		}
		s.mu.Lock()
		before := s.away[network]
		s.away[network] = away
		s.mu.Unlock()
		switch {
		case away == nil && before != nil:
			s.log.Info("network ready", "network", network)
		case away != nil && (before == nil || before.Error() != away.Error()):
			s.log.Warn("network away", "network", network, "err", away)
		}
	}
}

// Networks returns for each network nil when it is up, else why it is away.
func (s *Status) Networks() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.away)
}
