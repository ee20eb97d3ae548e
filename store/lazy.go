package store

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5/stdlib"
)

// lazily makes Postgres connections whose transactions begin with their first statement. Ours have one only where
// another store takes part (see DB): what was staged goes out as one batch, which is a transaction by itself, and so
// two of the round trips of a small transaction are spared.
type lazily struct{ driver.Connector }

// Connect implements driver.Connector.
func (l lazily) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &lazyConn{Conn: conn.(*stdlib.Conn)}, nil //nolint:forcetypeassert // what its connector makes
}

// lazyConn is a connection. As database/sql has it, one goroutine uses it at a time.
type lazyConn struct {
	*stdlib.Conn
	tx *lazyTx // the one that was asked for; nil: none
}

type beforehandKey struct{}

// beforehand marks a read of what was committed before the transaction: it does not begin it.
func beforehand(ctx context.Context) context.Context {
	return context.WithValue(ctx, beforehandKey{}, true)
}

// BeginTx implements driver.ConnBeginTx.
func (c *lazyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.Conn.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	c.tx = &lazyTx{conn: c, ctx: ctx, opts: opts}
	return c.tx, nil
}

// begin begins the transaction that was asked for, unless it has begun.
func (c *lazyConn) begin(ctx context.Context) (err error) {
	if c.tx == nil || c.tx.begun != nil || ctx.Value(beforehandKey{}) != nil {
		return nil
	}
	c.tx.begun, err = c.Conn.BeginTx(c.tx.ctx, c.tx.opts)
	return err
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *lazyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.PrepareContext(ctx, query)
}

// ExecContext implements driver.ExecerContext.
func (c *lazyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.ExecContext(ctx, query, args)
}

// QueryContext implements driver.QueryerContext.
func (c *lazyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.QueryContext(ctx, query, args)
}

// lazyTx is a transaction that may never have begun.
type lazyTx struct {
	conn  *lazyConn
	ctx   context.Context //nolint:containedctx // of BeginTx, for when it begins
	opts  driver.TxOptions
	begun driver.Tx // nil: not yet
}

// Commit implements driver.Tx.
func (t *lazyTx) Commit() error {
	t.conn.tx = nil
	if t.begun == nil {
		return nil
	}
	return t.begun.Commit()
}

// Rollback implements driver.Tx.
func (t *lazyTx) Rollback() error {
	t.conn.tx = nil
	if t.begun == nil {
		return nil
	}
	return t.begun.Rollback()
}
