package store

import (
	"context"
	"database/sql/driver"
	"strings"
)

// maxStatements is how many prepared statements a SQLite connection keeps.
const maxStatements = 128

// keeper makes connections that keep their prepared statements: on SQLite reading an SQL text takes as long as running
// it, and ours are few. (pgx keeps them by itself.)
type keeper struct{ driver.Connector }

// Connect implements driver.Connector.
func (k keeper) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(sqliteConn)
	if !ok {
		return conn, nil
	}
	return &keepingConn{sqliteConn: c, kept: map[string]*statement{}}, nil
}

// sqliteConn is what the driver's connections can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keepingConn is a connection with its statements. As database/sql has it, one goroutine uses it at a time.
type keepingConn struct {
	sqliteConn
	kept map[string]*statement
}

// statement is a prepared statement; busy: its rows are still being read.
type statement struct {
	driver.StmtQueryContext
	driver.StmtExecContext
	stmt driver.Stmt
	busy bool
}

// statement returns the kept statement of a text, prepared if need be; nil: it is for one use.
func (c *keepingConn) statement(ctx context.Context, query string) (*statement, error) {
	if s := c.kept[query]; s != nil {
		if s.busy {
			return nil, nil
		}
		return s, nil
	}
	if !keeps(query) {
		return nil, nil
	}
	stmt, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	reads, ok1 := stmt.(driver.StmtQueryContext)
	writes, ok2 := stmt.(driver.StmtExecContext)
	if !ok1 || !ok2 {
		return nil, stmt.Close()
	}
	for old, s := range c.kept { // any of them: there are hardly ever so many
		if len(c.kept) < maxStatements {
			break
		}
		if !s.busy {
			delete(c.kept, old)
			if err := s.stmt.Close(); err != nil {
				return nil, err
			}
		}
	}
	s := &statement{StmtQueryContext: reads, StmtExecContext: writes, stmt: stmt}
	c.kept[query] = s
	return s, nil
}

// keeps reports whether a text is likely to come again: not one that changes the schema, nor one with many rows of
// parameters, whose number varies.
func keeps(query string) bool {
	const longest = 4096
	word, _, _ := strings.Cut(query, " ")
	switch word {
	case "SELECT", "WITH", "INSERT", "UPDATE", "DELETE":
		return len(query) < longest
	}
	return false
}

// ExecContext implements driver.ExecerContext.
func (c *keepingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	return s.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *keepingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &keptRows{rows, s}, nil
}

// Close implements driver.Conn.
func (c *keepingConn) Close() error {
	for _, s := range c.kept {
		_ = s.stmt.Close() // what does not close now goes with the connection
	}
	c.kept = nil
	return c.sqliteConn.Close()
}

// keptRows free their statement when they are closed.
type keptRows struct {
	driver.Rows
	s *statement
}

// Close implements driver.Rows.
func (r *keptRows) Close() error {
	r.s.busy = false
	return r.Rows.Close()
}
