package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

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

// errTaken: another process owns the network.
var errTaken = errors.New("it was taken over")

// exec runs one statement within a time.
func (l *lease) exec(ctx context.Context, within time.Duration, sql string, args ...any) (rows int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tag, err := l.conn.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

// ask reads one row within askTime.
func (l *lease) ask(ctx context.Context, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return l.conn.QueryRow(ctx, sql, args...).Scan(into...)
}

// connect begins the session.
func (l *lease) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if l.conn, err = pgx.ConnectConfig(ctx, l.s.postgres); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire = l.conn.PgConn().Conn()
	return nil
}

// acquire connects and waits until it gets the lease or ctx ends.
func (l *lease) acquire(ctx context.Context) error {
	if err := l.connect(ctx); err != nil {
		return err
	}
	if _, err := l.exec(ctx, askTime, sqlMakeLease, l.network); err != nil {
		return fmt.Errorf("make lease: %w", err)
	}
	for {
		var (
			epoch int64
			left  int64 // ms
			free  bool
		)
		if err := l.ask(ctx, sqlLook, []any{l.network}, &epoch, &left); err != nil {
			return fmt.Errorf("look at lease: %w", err)
		}
		if err := l.ask(ctx, sqlTryLock, []any{l.network, int32(epoch)}, &free); err != nil {
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
		taken, err := l.take(ctx, takeTime, epoch, func(now, left int64) bool { return now == epoch && (free || left <= 0) })
		if err != nil {
			return err
		}
		if free {
			if _, err := l.exec(ctx, askTime, sqlUnlock, l.network, int32(epoch)); err != nil {
				return fmt.Errorf("free the old lock: %w", err)
			}
		}
		if taken {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			return l.s.openKeyCheck(ctx) // another key while we stood by would make everything unreadable
		}
	}
}

// await waits for the holder's lock, in the database and not by asking again and again. False: not within the time.
func (l *lease) await(ctx context.Context, epoch int64, wait time.Duration) (bool, error) {
	wait = max(wait, 100*time.Millisecond)
	if err := l.limit(ctx, wait); err != nil {
		return false, err
	}
	_, err := l.exec(ctx, wait+askTime, sqlLock, l.network, int32(epoch))
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "55P03": // lock_not_available: the time is over
		return false, nil
	case err != nil:
		return false, fmt.Errorf("wait for the lock: %w", err)
	}
	return true, nil
}

// limit bounds the session's waits for locks.
func (l *lease) limit(ctx context.Context, wait time.Duration) error {
	if _, err := l.exec(ctx, askTime, "SELECT set_config('lock_timeout', $1, false)", strconv.FormatInt(wait.Milliseconds(), 10)); err != nil {
		return fmt.Errorf("bound the wait for locks: %w", err)
	}
	return nil
}

// take raises the epoch on the lease's own session, if may still allows it then, and takes the new epoch's lock.
func (l *lease) take(ctx context.Context, within time.Duration, epoch int64, may func(now, left int64) bool) (taken bool, err error) {
	if err := l.limit(ctx, within); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var sent time.Time
	err = pgx.BeginFunc(ctx, l.conn, func(tx pgx.Tx) error {
		var now, left int64
		if err := tx.QueryRow(ctx, sqlLook+" FOR UPDATE", l.network).Scan(&now, &left); err != nil {
			return err
		}
		if !may(now, left) {
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
	if taken {
		// What was written under the old epoch, by a predecessor or by a commit of ours that nobody answered for, comes
		// before what is written under this one.
		l.s.recent.doubtAll()
		l.hold(epoch+1, sent.Add(leaseTime))
	}
	return taken, nil
}
