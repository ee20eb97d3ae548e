package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lockbridge/gateway"
)

// pipeline sends the check of the lease and all statements at once and then reads their results: one round trip. Unless
// the transaction has begun otherwise, the batch is the transaction: it commits when all of it went well.
func (t *tx) pipeline(stmts []query) error {
	if len(stmts) == 0 {
		return nil
	}
	var batch pgx.Batch
	t.epoch, _ = t.lease.terms()
	batch.Queue(sqlCheckLease, t.network, t.epoch)
	for _, q := range stmts {
		with, args := t.s.source(q.columns, q.fixed, q.rows)
		batch.Queue(with+q.sql, args...)
	}
	err := t.conn.Raw(func(conn any) error {
		return t.send(conn.(*lazyConn).Conn.Conn(), &batch, stmts) //nolint:forcetypeassert // what openPostgres made
	})
	if err != nil {
		t.err = err
	}
	return err
}

func (t *tx) send(conn *pgx.Conn, batch *pgx.Batch, stmts []query) (err error) {
	// A ctx that can end costs pgx a goroutine for each batch; a deadline of the connection costs nothing.
	wire := conn.PgConn().Conn()
	if end, limited := t.ctx.Deadline(); limited {
		_ = wire.SetDeadline(end) // fails only on a closed connection, like what follows
		defer func() { _ = wire.SetDeadline(time.Time{}) }()
	}
	results := conn.SendBatch(context.WithoutCancel(t.ctx), batch)
	defer func() {
		if bad := results.Close(); bad != nil && err == nil {
			err = failed("commit", bad)
		}
	}()
	if _, err := results.Exec(); divided(err) {
		return gateway.ErrLeaseLost
	} else if err != nil {
		return failed("check lease", err)
	}
	for _, q := range stmts {
		if err := q.read(results); q.fails != nil && divided(err) {
			return q.fails
		} else if err != nil {
			return failed(q.doing, err)
		}
	}
	return nil
}

// read takes the result of a statement of a batch.
func (q *query) read(results pgx.BatchResults) error {
	if q.scan == nil {
		_, err := results.Exec()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := q.scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
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
