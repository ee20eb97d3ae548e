package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// channel carries the names of networks that have new deliveries (Postgres: NOTIFY, section "SQL Commands").
	channel = "lockbridge"
	// pollPause is how long a wake-up that got lost stays lost.
	pollPause = 5 * time.Second
	// sweepPause is the time between two sweeps.
	sweepPause = time.Hour
	// firstReconnect and lastReconnect bound the pause before the listener connects again; it doubles in between.
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// Run does what has to be done in the background until ctx ends: it hears the wake-ups of other processes and operators'
// commands, polls behind them, and sweeps. Without it everything works, but wake-ups come from this process only and
// nothing is ever forgotten.
func (s *Store) Run(ctx context.Context) error {
	if s.postgres == nil { // only commands write beside us; what is not heard of them, the polls find
		s.recent.listen(true)
		defer s.recent.listen(false)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		s.every(ctx, pollPause, func() { s.wakeEverybody() })
	})
	wg.Go(func() {
		s.every(ctx, sweepPause, func() {
			if _, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("cannot sweep the journal", "err", err)
			}
		})
	})
	if s.postgres != nil {
		wg.Go(func() { s.hear(ctx) })
	} else {
		wg.Go(func() { s.hearCommands(ctx) })
	}
	return nil
}

// every calls f now and then once a pause, until ctx ends.
func (s *Store) every(ctx context.Context, pause time.Duration, f func()) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hear listens for other processes' wake-ups and reconnects while ctx lasts.
func (s *Store) hear(ctx context.Context) {
	var complained time.Time
	for pause := firstReconnect; ; pause = min(2*pause, lastReconnect) {
		began := time.Now()
		err := s.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastReconnect {
			pause = firstReconnect
		}
		if time.Since(complained) > complainPause {
			complained = time.Now()
			s.log.Warn("the database does not tell of new deliveries; polling meanwhile, and trying on", "err", err)
		}
		rest(ctx, pause)
	}
}

func (s *Store) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.postgres)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := conn.Close(closing); err != nil {
			s.log.Debug("listening connection did not close cleanly", "err", err)
		}
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.recent.listen(true)
	defer s.recent.listen(false)
	s.wakeEverybody() // for what was missed until now
	for {
		note, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait for a notification: %w", err)
		}
		s.recent.doubt(note.Payload)
		s.wake(note.Payload)
	}
}

// Wake implements gateway.Journal. The channel holds one value: several notices become one.
func (s *Store) Wake(network string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.wakes[network]
	if c == nil {
		c = make(chan struct{}, 1)
		s.wakes[network] = c
	}
	return c
}

func (s *Store) wake(network string) {
	s.mu.Lock()
	c := s.wakes[network]
	s.mu.Unlock()
	if c == nil { // nobody waits for it here
		return
	}
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Store) wakeAll(networks iter.Seq[string]) {
	for network := range networks {
		s.wake(network)
	}
}

func (s *Store) wakeEverybody() {
	s.mu.Lock()
	all := maps.Clone(s.wakes)
	s.mu.Unlock()
	for network := range all {
		s.recent.doubt(network)
	}
	s.wakeAll(maps.Keys(all))
}

// notifyRows tell other processes about new deliveries when the transaction commits. Networks that this process owns
// itself need no notice, and a NOTIFY makes its commit wait for all others that notify.
func (t *tx) notifyRows() query {
	if len(t.base.wakes) == 0 {
		return query{}
	}
	q := query{
		doing: "notify", columns: "network text", fixed: []any{channel}, postgresOnly: true,
		sql: "SELECT pg_notify($1, network) FROM q",
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for network := range t.base.wakes {
		if t.s.held[network] == nil {
			q.rows = append(q.rows, []any{network})
		}
	}
	return q
}
