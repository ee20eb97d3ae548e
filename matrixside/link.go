package matrixside

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"maunium.net/go/mautrix"

	"lockbridge/gateway"
)

const (
	// backTime is how long a delivery waits for a homeserver that is away, or a room that is being entered, before it is
	// put off: to begin at once saves the pause of whoever is put off.
	backTime = time.Second
	// longestWait is the longest pause of a lane that waits for the homeserver or for its room.
	longestWait = time.Minute
)

// link is whether the homeserver can be used, as far as we know.
type link struct {
	mu    sync.Mutex
	away  error         // why not; nil: it can
	since time.Time     // when it was lost
	back  chan struct{} // closed when it can be used again
}

// metrics are the side's own counters.
type metrics struct {
	reconnects, stale prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_reconnects_total",
			Help: "Times that a connection was lost and begun again.",
		}),
		stale: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_matrix_stale_total",
			Help: "Events that were missed in an absence and are older than catch_up allows; they were not carried.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.reconnects, m.stale} {
		if err := reg.Register(c); err != nil {
			return m, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// nudge wakes whoever waits at a channel of one place.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var errStarting = errors.New("the Matrix side is connecting")

// lost notes that the homeserver cannot be used, and has it asked until it can.
func (s *Side) lost(err error) {
	s.link.mu.Lock()
	news := s.link.away == nil
	if news {
		s.link.away, s.link.since, s.link.back = err, s.now(), make(chan struct{})
	}
	s.link.mu.Unlock()
	if news {
		s.log.Warn("the homeserver is away", "error", err)
		s.deps.Ready(err)
		nudge(s.probe)
	}
}

// found notes that the homeserver can be used, and reports whether it could not before.
func (s *Side) found() (news bool) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.link.away == nil {
		return false
	}
	s.link.away = nil
	close(s.link.back)
	return true
}

// possible ends the pauses of the lanes, when something can be said that could not before.
func (s *Side) possible() {
	s.link.mu.Lock()
	away := s.link.away
	s.link.mu.Unlock()
	if away == nil && s.begun.Load() {
		s.deps.Ready(nil)
	}
}

// isLinked reports whether the homeserver can be used, as far as we know.
func (s *Side) isLinked() bool {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return s.link.away == nil
}

// reachable waits a moment for the homeserver to come back, or says how long to wait for it.
func (s *Side) reachable(ctx context.Context) error {
	s.link.mu.Lock()
	away, since, back := s.link.away, s.link.since, s.link.back
	s.link.mu.Unlock()
	if away == nil || s.await(ctx, back) {
		return nil
	}
	return gateway.Later(s.patience(since), plainly(away))
}

// await waits backTime at most for a channel to be closed.
func (s *Side) await(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
	}
	timer := time.NewTimer(backTime)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// patience is how long a lane waits for something that has been away since a time: the longer, the longer.
func (s *Side) patience(since time.Time) time.Duration {
	return min(max(s.now().Sub(since)/4, time.Second), longestWait)
}

// connect asks the homeserver until it knows us, and makes the bot.
func (s *Side) connect(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.introduce(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			err = plainly(err)
			s.log.Warn("the homeserver cannot be used yet", "homeserver", s.cfg.Homeserver, "attempt", attempt, "error", err)
			s.deps.Ready(err)
		}
		s.sleep(ctx, min(attempt, 4), nil)
	}
}

// introduce asks the homeserver who we are, registers the bot, and has the homeserver try to reach us.
func (s *Side) introduce(ctx context.Context) error {
	bot := s.bot()
	who, err := bot.Whoami(ctx)
	switch {
	case isUnknown(err) || isForbidden(err):
		return fmt.Errorf("the homeserver does not know the registration: have it load %s and restart it: %w", s.cfg.Registration, err)
	case err != nil:
		return fmt.Errorf("ask the homeserver who we are: %w", err)
	case who.UserID != s.names.bot:
		return fmt.Errorf("the homeserver calls us %s and not %s: nick or domain differ from its registration", who.UserID, s.names.bot)
	}
	if err := s.prepare(ctx, s.names.bot, gateway.Person{}, s.cfg.Nick); err != nil {
		return err
	}
	if s.deps.Media != nil {
		if _, err := s.files.Limit(ctx); err != nil { // until it is known, every file is tried
			s.log.Warn("the homeserver does not say how large files may be", "error", err)
		}
	}
	return s.ping(ctx)
}

// ping has the homeserver try to reach us (Application Service API, "Pinging"). One that had given us up sends what it
// has kept at once then, and not after a pause that may have grown to minutes.
func (s *Side) ping(ctx context.Context) error {
	_, err := s.bot().AppservicePing(ctx, s.reg.ID, "")
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, mautrix.MUnrecognized):
	case isAway(err):
		return fmt.Errorf("ask the homeserver to reach us: %w", err)
	default:
		s.log.Error("the homeserver cannot reach us, so that nothing will arrive from Matrix", "url", s.reg.URL, "error", err)
	}
	return nil
}

// goOn does what is due when the homeserver has come back, or the journal after it refused something: what was missed is
// read before anything newer is taken, and what had to wait is done.
func (s *Side) goOn() {
	s.unsettled.begin(s.now())
	nudge(s.unsettledNow)
	s.doubtAll()
	s.wakeErrands()
}

// recall asks for what was refused while the journal could not be written, as soon as it can.
func (s *Side) recall(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		if s.put(ctx, "recall", []byte("1")) == nil { // any write shows it
			break
		}
		s.sleep(ctx, min(attempt, 2), nil)
	}
	if err := s.ping(ctx); err != nil && ctx.Err() == nil {
		s.lost(err)
	}
}
