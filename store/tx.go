package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.mau.fi/util/dbutil"

	"lockbridge/gateway"
)

// maxTransaction bounds a transaction, so that a database that hangs is an error: longer than the lease, which is lost
// then, nothing has to wait. SQLite waits on the disk only, and there a ctx that can end costs a goroutine for each
// statement.
const maxTransaction = leaseTime

var (
	errNoTx  = errors.New("the call belongs in a transaction: use the ctx that Do or Update gives")
	errEnded = errors.New("the transaction of this ctx has ended")
)

// tx is one database transaction, shared by a group of callers. Nothing is written before its end: what the callers
// stage lies in layers, which makes it cheap to drop and lets it go out in a few statements.
type tx struct {
	s       *Store
	network string
	base    *layer
	w       *writer         // nil: ctx carries the database's transaction, as dbutil has it
	ctx     context.Context //nolint:containedctx // see w
	end
	lease *lease           // Postgres: ours when the transaction began
	epoch int64            // of the lease, as the transaction checks it
	seqs  map[string]int64 // the numbers of new deliveries, by key

	mu        sync.Mutex // a function may share its ctx with goroutines of its own
	err       error      // the first error of the database: the transaction never commits
	ended     bool
	announced bool // flush has begun
	// hopes: what Seen is asked about is taken for new, and checked with the writes.
	hopes  bool
	unseen [][]any
	known  map[string][]byte // State that was read; nil: there is none
}

// view is what a ctx carries: a transaction and the layer that is written to.
type view struct {
	*tx
	top *layer
}

type viewKey struct{ s *Store }

// view returns what ctx carries; nil: no transaction.
func (s *Store) view(ctx context.Context) *view {
	v, _ := ctx.Value(viewKey{s}).(*view)
	return v
}

// Do implements gateway.Journal. Inside a transaction of the same network it joins it, as Stage does.
//
// fn may run on the goroutine of another caller, with the values of ctx but not its end. A panic in it is its error. On
// Postgres the network's lease must have been acquired.
func (s *Store) Do(ctx context.Context, network string, fn func(ctx context.Context) error) error {
	if v := s.view(ctx); v != nil {
		if v.network != network {
			return fmt.Errorf("a transaction of %s cannot be opened inside one of %s", network, v.network)
		}
		return v.run(ctx, v.top, fn)
	}
	return s.group(network).do(ctx, fn)
}

// Stage implements gateway.Journal. What fn appends or finishes is staged as well, and a panic is its error.
func (s *Store) Stage(ctx context.Context, fn func(ctx context.Context) error) error {
	v := s.view(ctx)
	if v == nil {
		return errNoTx
	}
	return v.run(ctx, v.top, fn)
}

func (s *Store) group(network string) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[network]
	if g == nil {
		g = &group{transact: func(calls []*call) error { return s.transact(network, calls) }}
		s.groups[network] = g
	}
	return g
}

// carefulTime is for how long a network's transactions ask what was seen after something was: then more of it may come,
// from a history that is read again.
const carefulTime = 30 * time.Second

// maxTries bounds how often a transaction is run again.
const maxTries = 5

// errRenewed ends a transaction that asked for an epoch of our lease which is not the newest one any more.
var errRenewed = fmt.Errorf("%w: it has another epoch", gateway.ErrLeaseLost)

// transact runs the calls in one transaction, or again in another one if the first hoped in vain, or if the lease was
// renewed meanwhile.
func (s *Store) transact(network string, calls []*call) error {
	s.mu.Lock()
	hopes := s.postgres != nil && s.now().After(s.careful[network])
	s.mu.Unlock()
	for try := 1; ; try++ {
		err := s.tryTransact(network, calls, hopes)
		switch {
		case errors.Is(err, errSeen):
			hopes = false
			s.mu.Lock()
			s.careful[network] = s.now().Add(carefulTime)
			s.mu.Unlock()
		case !errors.Is(err, errRenewed) || try == maxTries:
			return err
		}
	}
}

func (s *Store) tryTransact(network string, calls []*call, hopes bool) error {
	t := &tx{s: s, network: network, base: &layer{}, hopes: hopes}
	if s.postgres != nil {
		if t.lease = s.leaseOf(network); t.lease == nil {
			return gateway.ErrLeaseLost
		}
		if err := t.lease.whole(); err != nil {
			return err
		}
		t.until = time.Now().Add(maxTransaction)
	}
	err := t.carryOut(calls)
	if t.announced {
		s.recent.settle(t, err)
	}
	if t.lease != nil && t.announced && unanswered(err) {
		t.lease.doubt()
	}
	switch {
	case err == nil:
		s.wakeAll(maps.Keys(t.base.wakes))
	case errors.Is(err, gateway.ErrLeaseLost) && t.lease.renewed(t.epoch):
		err = errRenewed
	case !errors.Is(err, gateway.ErrStore) && !errors.Is(err, gateway.ErrLeaseLost) && !errors.Is(err, errSeen):
		err = failed("transaction", err) // begin or commit; a commit whose result is unknown is an error, too
	}
	return err
}

// carryOut runs the calls on a writer and commits what they staged.
func (t *tx) carryOut(calls []*call) (err error) {
	if t.w, err = t.s.takeWriter(t.until); err != nil {
		return err
	}
	committed := false
	defer func() { // deferred, since a function may end its goroutine
		t.close()
		if !committed {
			t.w.rollback()
		}
		t.s.putWriter(t.w)
	}()
	for _, c := range calls {
		c.err = t.run(c.ctx, t.base, c.fn)
		if err := t.failure(); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	t.close()
	if err := t.w.commit(); err != nil {
		return failed("commit", err) // one whose result is unknown is an error, too
	}
	committed = true
	return nil
}

// run calls fn with a layer of its own and keeps what it staged if it returns nil.
func (t *tx) run(ctx context.Context, below *layer, fn func(ctx context.Context) error) (err error) {
	top := &layer{below: below}
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			t.s.log.Error("panic in a transaction", "network", t.network, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in a transaction of %s: %T", t.network, p) // the value may quote a message
			return
		}
		t.poison(errAbandoned) // fn ends its goroutine
	}()
	err = fn(t.with(ctx, top))
	returned = true
	if errors.Is(err, gateway.ErrStore) {
		t.poison(err)
	}
	if bad := t.failure(); bad != nil {
		return bad
	}
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		top.settle(below)
	}
	return err
}

// with returns ctx for functions that stage in top.
func (t *tx) with(ctx context.Context, top *layer) context.Context {
	if outer, ok := ctx.(*within); ok && outer.v.tx == t {
		ctx = outer.caller
	} else if t.w == nil || t.s.view(ctx) != nil {
		return context.WithValue(ctx, viewKey{t.s}, &view{t, top})
	}
	return &within{caller: ctx, v: view{t, top}}
}

func (t *tx) poison(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

func (t *tx) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// close ends what functions can do.
func (t *tx) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.release()
}

// enter locks the transaction for one call of its ctx. The caller unlocks t.mu if there is no error.
func (t *tx) enter() error {
	t.mu.Lock()
	err := t.err
	if err == nil && t.ended {
		err = errEnded
	}
	if err != nil {
		t.mu.Unlock()
	}
	return err
}

// query reads with a statement that begins with a source of rows; t.mu is held.
func (t *tx) query(q query, scan func(scanner) error) error {
	var err error
	switch {
	case t.w == nil:
		err = t.s.query(t.ctx, t.s.db, q, scan)
	case t.w.postgres != nil:
		err = t.w.postgres.read(&q, scan)
	default:
		err = t.each(&q, scan)
	}
	if err == nil {
		return nil
	}
	if t.w != nil {
		err = failed(q.doing, err)
	}
	if t.err == nil {
		t.err = err
	}
	return err
}

// each runs a statement on SQLite, in as many parts as its rows need.
func (t *tx) each(q *query, scan func(scanner) error) error {
	if len(q.rows) <= chunk {
		return t.w.sqlite.over(q, q.rows, scan)
	}
	for _, part := range t.s.chunks(q.rows) {
		if err := t.w.sqlite.over(q, part, scan); err != nil {
			return err
		}
	}
	return nil
}

// query is a statement over rows of parameters; see source.
type query struct {
	doing   string
	sql     string
	columns string // "name type, name type"; see source
	fixed   []any
	rows    [][]any
	// postgresOnly: SQLite, which has one writer, needs no such statement.
	postgresOnly bool
	// fails is what the statement means by dividing by zero, which ends a batch.
	fails error
	// numbered is told, on SQLite, the number that the first of the rows got as they were inserted.
	numbered func(first int64, rows [][]any)
	// scan reads a row that a writing statement returns; nil: it returns none.
	scan func(row scanner) error
}

func (s *Store) query(ctx context.Context, db *dbutil.Database, q query, scan func(scanner) error) error {
	for _, part := range s.chunks(q.rows) {
		with, args := s.source(q.columns, q.fixed, part)
		if err := s.scan(ctx, db, q.doing, with+q.sql, args, scan); err != nil {
			return err
		}
	}
	return nil
}

// scan reads all rows of one statement.
func (s *Store) scan(ctx context.Context, db *dbutil.Database, doing, sql string, args []any, scan func(scanner) error) error {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return failed(doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return failed(doing, err)
		}
	}
	if err := rows.Err(); err != nil {
		return failed(doing, err)
	}
	return nil
}

// write runs statements over rows; t.mu is held. On Postgres they all go out together, behind the check of the lease.
func (t *tx) write(stmts []query) (err error) {
	switch {
	case t.w == nil:
		err = t.writeSlowly(stmts)
	case t.w.postgres == nil:
		for i := 0; i < len(stmts) && err == nil; i++ {
			if err = t.each(&stmts[i], stmts[i].scan); err != nil {
				err = failed(stmts[i].doing, err)
			}
		}
	case len(stmts) > 1 || t.w.postgres.begun: // more than the check of the lease
		err = t.w.postgres.send(stmts)
	}
	if err != nil {
		t.err = err
	}
	return err
}

// writeSlowly writes in a transaction of dbutil.
func (t *tx) writeSlowly(stmts []query) error {
	for _, q := range stmts {
		if q.scan == nil {
			q.scan = func(scanner) error { return nil }
		}
		if err := t.s.query(t.ctx, t.s.db, q, q.scan); err != nil {
			return err
		}
	}
	return nil
}

// unanswered reports whether err leaves open what became of a transaction: the server did not say.
func unanswered(err error) bool {
	var answer *pgconn.PgError
	return err != nil && !errors.As(err, &answer) && !errors.Is(err, gateway.ErrLeaseLost) && !errors.Is(err, errSeen)
}

// divided reports whether a statement divided by zero: the one way in which a check can fail a whole batch.
func divided(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "22012"
}
