package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"lockbridge/gateway"
)

const (
	// leaseTime is how long a lease holds after its last renewal; renewPause is the time between two of them. A holder
	// that is cut off is replaced after leaseTime at most.
	leaseTime  = 8 * time.Second
	renewPause = 2 * time.Second
	// leaseMargin is how long before its end a holder gives a lease up that it could not renew.
	leaseMargin = 2 * time.Second
	// askTime bounds one question about a lease, so that a connection that hangs leaves time for another one.
	askTime = 2 * time.Second
	// takeTime bounds the wait for the commits of the old holder's transactions; the server ends those that hang after
	// idleInTransaction.
	takeTime = 10 * time.Second
	// closeTime bounds the goodbye of a session.
	closeTime = 100 * time.Millisecond
	// firstPause and lastPause bound the pause before the database is asked again; it doubles in between.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// complainPause is the time between two complaints about the same trouble.
	complainPause = time.Minute
)

// Acquire implements gateway.Leases. On SQLite the file belongs to this process, so that it is immediate. While the
// database is away it tries again; it fails when ctx ends, and with ErrKey when the database was given another key while
// this process stood by.
//
// On Postgres the holder of epoch n holds the session advisory lock (network, n) on a connection of its own. A lease is
// free when that lock is free (the holder's session has ended, however it ended) or when its time has passed by the
// database's clock (the holder hangs). The taker raises the epoch, which waits for the commits of transactions that
// checked the old one and shuts out all later ones.
func (s *Store) Acquire(ctx context.Context, network string) (gateway.Lease, error) {
	if s.postgres == nil {
		return fileLease{}, nil
	}
	l := &lease{s: s, network: network}
	var complained time.Time
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := l.acquire(ctx)
		if err == nil {
			break
		}
		l.close()
		if ctx.Err() != nil || errors.Is(err, ErrKey) {
			return nil, failed("acquire lease of "+network, err)
		}
		if time.Since(complained) > complainPause {
			complained = time.Now()
			s.log.Warn("cannot get the network's lease yet; trying on", "network", network, "err", err)
		}
		rest(ctx, pause)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[network] = l
	return l, nil
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// leaseOf returns the lease that this process holds; nil: none.
func (s *Store) leaseOf(network string) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[network]
}

// sqlCheckLease fails, by dividing by zero, when the network is not ours any more. It runs with the writes at the end of each
// transaction and locks the row until the commit, so that nobody takes the network over in between; what was read
// before was not stale then, as only an owner writes. Renewals do not change the row's key and are not held up.
const sqlCheckLease = "SELECT 1 / count(*) FROM (SELECT 1 FROM lease WHERE network = $1 AND epoch = $2 FOR KEY SHARE) AS ours"

// fileLease is a lease on SQLite.
type fileLease struct{}

func (fileLease) Keep(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (fileLease) Held() bool { return true }

func (fileLease) Release(context.Context) error { return nil }

// lease is a lease on Postgres.
type lease struct {
	s       *Store
	network string
	conn    *pgx.Conn // holds the session's advisory lock; only Acquire, Keep and Release use it, one after the other

	mu    sync.Mutex
	wire  net.Conn // of conn
	epoch int64
	until time.Time     // by our clock, counted from before the renewal was sent: never later than by the database's
	cut   chan struct{} // the session was lost; closed when there is a new one or the lease is lost; nil: it is there
}

// terms returns the epoch, and when the lease is to be given up.
func (l *lease) terms() (epoch int64, deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch, l.until.Add(-leaseMargin)
}

func (l *lease) hold(epoch int64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.until = epoch, until
	l.settle()
}

// settle ends the wait for a new session; l.mu is held.
func (l *lease) settle() {
	if l.cut != nil {
		close(l.cut)
		l.cut = nil
	}
}

// doubt ends the session, so that the lease is held under a new epoch or not at all: when it is unknown what became of a
// transaction, nothing else may be written until it has ended, or can no longer be committed.
func (l *lease) doubt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == nil {
		l.cut = make(chan struct{})
	}
	l.wire.Close()
}

// renewed reports whether the lease is still ours, under another epoch than that.
func (l *lease) renewed(epoch int64) bool {
	if l.whole() != nil || l.s.leaseOf(l.network) != l {
		return false
	}
	now, _ := l.terms()
	return now != epoch
}

// whole waits until the lease has its session. ErrLeaseLost: it will have none any more.
func (l *lease) whole() error {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut == nil {
		return nil
	}
	timer := time.NewTimer(leaseTime)
	defer timer.Stop()
	select {
	case <-cut:
	case <-timer.C: // nobody keeps it
	}
	if l.s.leaseOf(l.network) != l {
		return gateway.ErrLeaseLost
	}
	return nil
}

// Held implements gateway.Lease. It goes by the clock, so that it is right in the first moment after this process was
// suspended. A session that was lost may have been a free lock to others: until there is a new one nothing is ours.
func (l *lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut == nil && time.Now().Before(l.until.Add(-leaseMargin))
}

// Keep implements gateway.Lease. It listens on the lease's connection, so that it sees at once when that is cut; then it
// connects again and goes on, unless somebody else was faster.
func (l *lease) Keep(ctx context.Context) error {
	for {
		err := l.pause(ctx)
		if err == nil {
			err = l.renew(ctx)
		}
		if err != nil && !errors.Is(err, errTaken) && ctx.Err() == nil {
			err = l.reattach(ctx, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return l.lost(err)
		}
	}
}

// pause waits until it is time to renew; its error is that the connection is cut.
func (l *lease) pause(ctx context.Context) error {
	_, deadline := l.terms()
	wait, cancel := context.WithDeadline(ctx, time.Now().Add(min(renewPause, time.Until(deadline))))
	defer cancel()
	for {
		switch _, err := l.conn.WaitForNotification(wait); {
		case err == nil: // nobody notifies here, but it would do no harm
		case wait.Err() != nil && !l.conn.IsClosed():
			return nil
		default:
			return err
		}
	}
}

func (l *lease) renew(ctx context.Context) error {
	epoch, deadline := l.terms()
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	sent := time.Now()
	rows, err := l.exec(ctx, askTime, sqlRenew, l.network, epoch, leaseTime.Milliseconds())
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	if rows != 1 {
		return errTaken
	}
	l.hold(epoch, sent.Add(leaseTime))
	return nil
}

// reattach begins another session for a lease whose own one was lost because of why, as long as its time allows. The old
// session may live on at the server, so the new one gets an epoch and a lock of its own. Transactions that began
// before are still ours.
func (l *lease) reattach(ctx context.Context, why error) error {
	epoch, deadline := l.terms()
	l.mu.Lock()
	if l.cut == nil {
		l.cut = make(chan struct{})
	}
	l.mu.Unlock()
	l.s.log.Warn("the session of a lease is cut; connecting again", "network", l.network, "err", why)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause/2) { // there is little time
		l.close()
		err := l.connect(ctx)
		if err == nil {
			l.s.dropIdle() // they are most likely cut, too, and whoever waits for the lease would take one
			var taken bool
			taken, err = l.take(ctx, time.Until(deadline), epoch, func(now, _ int64) bool { return now == epoch })
			if err == nil && !taken {
				return errTaken
			}
		}
		if err == nil {
			return nil
		}
		rest(ctx, pause)
		if ctx.Err() != nil {
			return fmt.Errorf("%w; and no other session: %w", why, err)
		}
	}
}

// lost shuts out later transactions of this process.
func (l *lease) lost(err error) error {
	l.forget()
	l.s.dropIdle()
	return fmt.Errorf("%w: %s: %w", gateway.ErrLeaseLost, l.network, err)
}

func (l *lease) forget() {
	l.s.mu.Lock()
	if l.s.held[l.network] == l {
		delete(l.s.held, l.network)
	}
	l.s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
	l.until = time.Time{}
}

// Release implements gateway.Lease. It must not be called while Keep runs.
func (l *lease) Release(ctx context.Context) error {
	l.forget()
	defer l.close()
	if l.conn == nil || l.conn.IsClosed() {
		return nil
	}
	epoch, _ := l.terms()
	if _, err := l.conn.Exec(ctx, sqlGiveUp, l.network, epoch); err != nil {
		return failed("release lease of "+l.network, err)
	}
	if _, err := l.conn.Exec(ctx, sqlUnlock, l.network, int32(epoch)); err != nil { // the session may end a moment later
		return failed("release lease of "+l.network, err)
	}
	return nil
}

// close ends the session, and with it the advisory lock.
func (l *lease) close() {
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := l.conn.Close(ctx); err != nil {
		l.s.log.Debug("lease connection did not close cleanly", "network", l.network, "err", err)
	}
}
