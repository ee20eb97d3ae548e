package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mau.fi/util/dbutil"
)

// keptWriters is how many connections to Postgres are kept for the next transactions, past the pool of database/sql;
// restTime is how long one may rest and still be trusted to be there.
const (
	keptWriters = 4
	restTime    = time.Second
)

// writer is a connection in the hands of one transaction. The transaction's own statements go to the driver, since
// database/sql costs more than they do; it is there for other stores that take part (see DB).
type writer struct {
	conn     dbutil.Conn
	sql      *sql.Conn
	postgres *postgresConn
	sqlite   *keepingConn
	used     time.Time
	broken   bool // it is not used again
}

// takeWriter returns a connection on which a transaction has begun, which is given back by putWriter. On SQLite there
// is only one. end bounds the wait; zero: nothing does.
func (s *Store) takeWriter(end time.Time) (*writer, error) {
	w := s.restingWriter()
	if w == nil {
		var err error
		if w, err = s.newWriter(end); err != nil {
			return nil, failed("connect", err)
		}
	}
	if err := w.begin(end); err != nil {
		w.broken = true
		s.putWriter(w)
		return nil, failed("begin", err)
	}
	return w, nil
}

func (s *Store) restingWriter() *writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.writers); n > 0; n = len(s.writers) {
		w := s.writers[n-1]
		s.writers = s.writers[:n-1]
		if time.Since(w.used) < restTime && !w.postgres.closed() {
			return w
		}
		s.dropWriter(w) // the pool looks whether it is still there
	}
	return nil
}

func (s *Store) newWriter(end time.Time) (*writer, error) {
	ctx := context.Background()
	if !end.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	conn, err := s.db.AcquireConn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn, sql: conn.(*dbutil.LoggingExecable).UnderlyingExecable.(*sql.Conn)} //nolint:forcetypeassert // what dbutil makes
	err = w.sql.Raw(func(c any) error {
		switch c := c.(type) {
		case *postgresConn:
			w.postgres = c
		case *keepingConn:
			w.sqlite = c
		default:
			return fmt.Errorf("a connection is a %T", c)
		}
		return nil
	})
	if err != nil {
		w.broken = true
		s.dropWriter(w)
		return nil, err
	}
	return w, nil
}

// putWriter takes a connection back whose transaction has ended.
func (s *Store) putWriter(w *writer) {
	if w.postgres != nil && w.postgres.end() && !w.broken {
		w.used = time.Now()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.writers) < keptWriters {
			s.writers = append(s.writers, w)
			return
		}
	}
	s.dropWriter(w)
}

// dropWriter gives a connection back to the pool.
func (s *Store) dropWriter(w *writer) {
	if w.postgres != nil && !w.postgres.closed() { // the driver has its own way with a closed one
		w.postgres.limit(time.Time{})
	}
	if w.broken {
		_ = w.sql.Raw(func(any) error { return driver.ErrBadConn })
	}
	if err := w.sql.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		s.log.Debug("a connection did not close cleanly", "err", err)
	}
}

// dropWriters gives those that rest back to the pool.
func (s *Store) dropWriters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writers {
		s.dropWriter(w)
	}
	s.writers = nil
}

func (w *writer) begin(end time.Time) error {
	if w.postgres != nil {
		w.postgres.lend(end)
		return nil
	}
	return w.sqlite.run("BEGIN IMMEDIATE")
}

func (w *writer) commit() error {
	if w.postgres != nil {
		return w.postgres.commit()
	}
	return w.sqlite.run("COMMIT")
}

// rollback ends a failed transaction. A connection to Postgres is not used again then, as its statements may have
// failed for good; nor is one to SQLite where it fails, since that has rolled back by itself, or is still in the
// transaction: what is written outside of transactions must not end up there.
func (w *writer) rollback() {
	if w.postgres != nil {
		w.broken = true
		return
	}
	w.broken = w.sqlite.run("ROLLBACK") != nil
}

// within is the ctx of a transaction's functions: the transaction's end and values, and the caller's values behind them.
// A caller whose ctx ends while its function runs must not cut off a statement, as that would fail the transaction for
// all others. What can end costs a timer, which is made when somebody asks for it.
type within struct {
	caller context.Context //nolint:containedctx // a context made of two
	v      view
}

// Deadline implements context.Context.
func (c *within) Deadline() (time.Time, bool) { return c.v.until, !c.v.until.IsZero() }

// Done implements context.Context.
func (c *within) Done() <-chan struct{} {
	if c.v.until.IsZero() {
		return nil
	}
	return c.v.limited(true).Done()
}

// Err implements context.Context.
func (c *within) Err() error {
	if limited := c.v.limited(false); limited != nil {
		return limited.Err()
	}
	if end := c.v.until; !end.IsZero() && time.Now().After(end) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (c *within) Value(key any) any {
	switch key {
	case viewKey{c.v.s}:
		return &c.v
	case c.v.s.takesPart:
		return &partner{c.v.tx}
	}
	if limited := c.v.limited(false); limited != nil {
		if value := limited.Value(key); value != nil { // the ctx package asks for itself
			return value
		}
	}
	return c.caller.Value(key)
}

// end is the end of a transaction's functions, for those that ask.
type end struct {
	mu     sync.Mutex
	until  time.Time       // zero: there is none
	ctx    context.Context //nolint:containedctx // see limited
	cancel context.CancelFunc
}

// limited returns a ctx that ends with the transaction; nil: nobody has asked to make one.
func (e *end) limited(needed bool) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil && needed {
		e.ctx, e.cancel = context.WithDeadline(context.Background(), e.until)
	}
	return e.ctx
}

func (e *end) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cancel != nil {
		e.cancel()
	}
}

// partner is how another store takes part in a transaction; see DB.
type partner struct{ t *tx }

var errNotYours = errors.New("the transaction is ended by whoever began it")

// ExecContext implements dbutil.Execable.
func (p *partner) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.t.enter(); err != nil {
		return nil, err
	}
	defer p.t.mu.Unlock()
	result, err := p.t.w.conn.ExecContext(ctx, query, args...)
	p.failed(err)
	return result, err
}

// QueryContext implements dbutil.Execable.
func (p *partner) QueryContext(ctx context.Context, query string, args ...any) (dbutil.Rows, error) {
	if err := p.t.enter(); err != nil {
		return nil, err
	}
	defer p.t.mu.Unlock()
	rows, err := p.t.w.conn.QueryContext(ctx, query, args...)
	p.failed(err)
	return rows, err
}

// QueryRowContext implements dbutil.Execable.
func (p *partner) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := p.t.enter(); err != nil {
		over, cancel := context.WithCancelCause(ctx)
		cancel(err)
		return p.t.s.db.RawDB.QueryRowContext(over, query, args...) // the writer may have gone to others; the pool gives nothing out then
	}
	defer p.t.mu.Unlock()
	row := p.t.w.conn.QueryRowContext(ctx, query, args...)
	p.failed(row.Err())
	return row
}

// failed keeps the transaction from being committed once a statement has failed in it: Postgres would refuse to, and
// SQLite may have rolled back what came before and would commit what comes next statement by statement. p.t.mu is held.
func (p *partner) failed(err error) {
	if err != nil && p.t.err == nil {
		p.t.err = failed("run a statement of another store", err)
	}
}

// Commit implements dbutil.Transaction.
func (p *partner) Commit() error { return errNotYours }

// Rollback implements dbutil.Transaction.
func (p *partner) Rollback() error { return errNotYours }

// keyProbe learns the key under which dbutil looks for a transaction in a ctx.
type keyProbe struct {
	context.Context
	key any
}

// Value implements context.Context.
func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

// transactionKey returns the key under which db looks for a transaction.
func transactionKey(db *dbutil.Database) any {
	p := keyProbe{Context: context.Background()}
	db.Execable(&p)
	return p.key
}

// scanner is a row of either database.
type scanner interface{ Scan(into ...any) error }

// errColumns: a statement and what reads it do not fit together.
var errColumns = errors.New("a row has another number of columns, or columns of another kind")
