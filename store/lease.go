package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lockbridge/gateway"
)

const (
	// leaseTime is how long a lease holds after its last renewal; renewPause is the time between two of them.
	leaseTime  = 15 * time.Second
	renewPause = 5 * time.Second
	// leaseMargin is how long before its end a holder gives a lease up that it could not renew.
	leaseMargin = 2 * time.Second
)

// Acquire implements gateway.Leases. On SQLite the file belongs to this process, so that it is immediate.
//
// On Postgres the holder of epoch n holds the session advisory lock (network, n) on a connection of its own. A lease is
// free when that lock is free (the holder's session has ended, however it ended) or when its time has passed by the
// database's clock (the holder hangs). The taker raises the epoch, which waits for the commits of transactions that
// checked the old one and shuts out all later ones.
func (s *Store) Acquire(ctx context.Context, network string) (gateway.Lease, error) {
	if s.postgres == nil {
		return fileLease{}, nil
	}
	conn, err := pgx.ConnectConfig(ctx, s.postgres)
	if err != nil {
		return nil, failed("acquire lease of "+network, err)
	}
	l := &lease{s: s, network: network, conn: conn}
	if err := l.acquire(ctx); err != nil {
		l.close()
		return nil, failed("acquire lease of "+network, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[network] = l
	return l, nil
}

// leaseOf returns the lease that this process holds; nil: none.
func (s *Store) leaseOf(network string) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[network]
}

// sqlCheckLease finds nothing when the network is not ours any more. It runs with the writes at the end of each
// transaction and locks the row until the commit, so that nobody takes the network over in between; what was read
// before was not stale then, as only an owner writes. Renewals do not change the row's key and are not held up.
const sqlCheckLease = "SELECT 1 FROM lease WHERE network = $1 AND epoch = $2 FOR KEY SHARE"

// fileLease is a lease on SQLite.
type fileLease struct{}

func (fileLease) Keep(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (fileLease) Release(context.Context) error { return nil }

// lease is a lease on Postgres.
type lease struct {
	s       *Store
	network string
	conn    *pgx.Conn // holds the session's advisory lock
	epoch   int64
	until   time.Time // by our clock, counted from before the renewal was sent: never later than by the database's
}

// lockKey makes advisory locks of the network: two databases on one server, or two schemas, do not meet.
const lockKey = "hashtext(current_schema() || '/lockbridge lease/' || $1)"

const (
	dbClock      = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
	sqlMakeLease = "INSERT INTO lease (network, epoch, until) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING"
	sqlLook      = "SELECT epoch, until - " + dbClock + " FROM lease WHERE network = $1"
	sqlTryLock   = "SELECT pg_try_advisory_lock(" + lockKey + ", $2)"
	sqlLock      = "SELECT pg_advisory_lock(" + lockKey + ", $2)"
	sqlUnlock    = "SELECT pg_advisory_unlock(" + lockKey + ", $2)"
	sqlTake      = "UPDATE lease SET epoch = $2, until = " + dbClock + " + $3 WHERE network = $1"
	sqlRenew     = "UPDATE lease SET until = " + dbClock + " + $3 WHERE network = $1 AND epoch = $2"
	sqlGiveUp    = "UPDATE lease SET until = 0 WHERE network = $1 AND epoch = $2"
)

// acquire tries until it gets the lease or ctx ends.
func (l *lease) acquire(ctx context.Context) error {
	if _, err := l.conn.Exec(ctx, sqlMakeLease, l.network); err != nil {
		return fmt.Errorf("make lease: %w", err)
	}
	for {
		var (
			epoch int64
			left  int64 // ms
			free  bool
		)
		if err := l.conn.QueryRow(ctx, sqlLook, l.network).Scan(&epoch, &left); err != nil {
			return fmt.Errorf("look at lease: %w", err)
		}
		if err := l.conn.QueryRow(ctx, sqlTryLock, l.network, int32(epoch)).Scan(&free); err != nil {
			return fmt.Errorf("try the lock: %w", err)
		}
		if !free && left > 0 {
			var err error
			if free, err = l.await(ctx, epoch, time.Duration(left)*time.Millisecond); err != nil {
				return err
			}
			if !free { // renewed meanwhile, or over now
				continue
			}
		}
		taken, err := l.take(ctx, epoch, free)
		if err != nil {
			return err
		}
		if free {
			if _, err := l.conn.Exec(ctx, sqlUnlock, l.network, int32(epoch)); err != nil {
				return fmt.Errorf("free the old lock: %w", err)
			}
		}
		if taken {
			return nil
		}
	}
}

// await waits for the holder's lock, in the database and not by asking again and again. False: not within the time.
func (l *lease) await(ctx context.Context, epoch int64, wait time.Duration) (bool, error) {
	limit := strconv.FormatInt(max(wait.Milliseconds(), 100), 10)
	if _, err := l.conn.Exec(ctx, "SELECT set_config('lock_timeout', $1, false)", limit); err != nil {
		return false, fmt.Errorf("bound the wait: %w", err)
	}
	_, err := l.conn.Exec(ctx, sqlLock, l.network, int32(epoch))
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "55P03": // lock_not_available: the time is over
		return false, nil
	case err != nil:
		return false, fmt.Errorf("wait for the lock: %w", err)
	}
	return true, nil
}

// take raises the epoch, if it is still the one that was seen and its holder is gone or late.
func (l *lease) take(ctx context.Context, epoch int64, free bool) (taken bool, err error) {
	if _, err := l.conn.Exec(ctx, "SELECT set_config('lock_timeout', '0', false)"); err != nil {
		return false, fmt.Errorf("unbound the wait: %w", err)
	}
	sent := time.Now()
	err = pgx.BeginFunc(ctx, l.conn, func(tx pgx.Tx) error {
		var now, left int64
		if err := tx.QueryRow(ctx, sqlLook+" FOR UPDATE", l.network).Scan(&now, &left); err != nil {
			return err
		}
		if now != epoch || !free && left > 0 {
			return nil
		}
		if err := tx.QueryRow(ctx, sqlTryLock, l.network, int32(epoch+1)).Scan(&taken); err != nil || !taken {
			return err
		}
		sent = time.Now() // FOR UPDATE may have waited
		_, err := tx.Exec(ctx, sqlTake, l.network, epoch+1, leaseTime.Milliseconds())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("take the lease: %w", err)
	}
	l.epoch, l.until = epoch+1, sent.Add(leaseTime)
	return taken, nil
}

// Keep implements gateway.Lease. It listens on the lease's connection, so that it ends at once when the connection is
// cut: the lock is gone then.
func (l *lease) Keep(ctx context.Context) error {
	for {
		deadline := l.until.Add(-leaseMargin)
		wait, cancel := context.WithDeadline(ctx, time.Now().Add(min(renewPause, time.Until(deadline))))
		_, err := l.conn.WaitForNotification(wait)
		timeout := wait.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			continue
		}
		if !timeout || l.conn.IsClosed() {
			return l.lost(err)
		}
		if err := l.renew(ctx, deadline); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return l.lost(err)
		}
	}
}

func (l *lease) renew(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	sent := time.Now()
	tag, err := l.conn.Exec(ctx, sqlRenew, l.network, l.epoch, leaseTime.Milliseconds())
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return errors.New("it was taken over")
	}
	l.until = sent.Add(leaseTime)
	return nil
}

// lost shuts out later transactions of this process.
func (l *lease) lost(err error) error {
	l.forget()
	return fmt.Errorf("%w: %s: %w", gateway.ErrLeaseLost, l.network, err)
}

func (l *lease) forget() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.held[l.network] == l {
		delete(l.s.held, l.network)
	}
}

// Release implements gateway.Lease. It must not be called while Keep runs.
func (l *lease) Release(ctx context.Context) error {
	l.forget()
	defer l.close()
	if l.conn.IsClosed() {
		return nil
	}
	if _, err := l.conn.Exec(ctx, sqlGiveUp, l.network, l.epoch); err != nil {
		return failed("release lease of "+l.network, err)
	}
	return nil
}

// close ends the session, and with it the advisory lock.
func (l *lease) close() {
	ctx, cancel := context.WithTimeout(context.Background(), leaseMargin)
	defer cancel()
	if err := l.conn.Close(ctx); err != nil {
		l.s.log.Debug("lease connection did not close cleanly", "network", l.network, "err", err)
	}
}
