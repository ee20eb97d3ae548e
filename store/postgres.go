package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"go.mau.fi/util/dbutil"
)

const (
	// idleInTransaction is how long a transaction may stand still before the server ends it: one of a process that hangs
	// or is cut off must not hold up the process that takes its networks over.
	idleInTransaction = 5 * time.Second
	// deadPeer is after how long without an acknowledgement a connection counts as cut.
	deadPeer = 8 * time.Second
	// connectTime bounds one attempt to connect.
	connectTime = 5 * time.Second
)

func (s *Store) openPostgres(dsn string) error {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	setDefault := func(name, value string) {
		if _, ok := cfg.RuntimeParams[name]; !ok {
			cfg.RuntimeParams[name] = value
		}
	}
	setDefault("application_name", "lockbridge")
	setDefault("idle_in_transaction_session_timeout", strconv.FormatInt(idleInTransaction.Milliseconds(), 10))
	setDefault("jit", "off") // its compile time exceeds all of our queries
	// Every one of our statements has its index, and the same plan whatever its parameters: planning it again takes longer
	// than running it, and statistics of a young database speak for reading whole tables.
	setDefault("plan_cache_mode", "force_generic_plan")
	setDefault("enable_seqscan", "off")
	// Sessions that nobody is left to end. A lease's time is long over by then.
	setDefault("tcp_keepalives_idle", "30")
	setDefault("tcp_keepalives_interval", "10")
	setDefault("tcp_keepalives_count", "3")
	cfg.DialFunc = (&net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadPeer / 2, Interval: deadPeer / 8, Count: 4},
		Control:         giveUpDeadPeers,
	}).DialContext
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTime
	}
	cfg.StatementCacheCapacity = 128 // we have fewer; pgx makes room for 512 on each connection
	s.postgres = cfg
	raw := sql.OpenDB(lendable{stdlib.GetConnector(*cfg, stdlib.OptionAfterConnect(durable))})
	raw.SetMaxOpenConns(maxConns)
	raw.SetMaxIdleConns(maxConns)
	if s.db, err = dbutil.NewWithDB(raw, "pgx"); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	s.readers = s.db
	return nil
}

// durable overrules a server whose default is to lose the last commits in a crash.
func durable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	return err
}

// dropIdle closes the connections that nobody uses at the moment. After a cut they would be found out one by one, each by
// somebody who waits.
func (s *Store) dropIdle() {
	s.dropWriters()
	s.db.RawDB.SetMaxIdleConns(-1)
	s.db.RawDB.SetMaxIdleConns(maxConns)
}

// alone runs fn while no other process runs one: two that start together must not both bring the schema up to date. While
// the server is away it tries again until ctx ends.
func (s *Store) alone(ctx context.Context, fn func(context.Context) error) error {
	if s.postgres == nil {
		return fn(ctx)
	}
	conn, err := s.reach(ctx)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('lockbridge schema'))"); err != nil {
		return fmt.Errorf("wait for another process that prepares the database (it starts, restores a backup or changes the key): %w", err)
	}
	return fn(ctx)
}

// reach connects; while the server is away it tries again until ctx ends.
func (s *Store) reach(ctx context.Context) (*pgx.Conn, error) {
	var last error
	for pause, began := firstPause, time.Now(); ; pause = min(2*pause, lastPause) {
		conn, err := pgx.ConnectConfig(ctx, s.postgres)
		if err == nil || !away(err) {
			return conn, err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w (tried for %v)", last, time.Since(began).Round(time.Second))
		}
		if pause == firstPause {
			s.log.Warn("the database does not answer yet; trying on", "err", err)
		}
		rest(ctx, pause)
	}
}

// away tells whether the server may be there later: it does not answer, or is just starting, stopping or full. Appendix A
// of the PostgreSQL manual, "Error Codes".
func away(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Code {
	case "57P01", "57P02", "57P03", "53300", "53200", "53100":
		return true
	}
	return false
}
