package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
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
	return &keepingConn{sqliteConn: c, kept: map[string]*statement{}, texts: map[shape]string{}}, nil
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
	kept  map[string]*statement
	texts map[shape]string    // of statements over rows, which are the same for the same number of them
	args  []driver.NamedValue // a buffer that is used again
}

// shape is what the text of a statement over rows depends on.
type shape struct {
	sql  string
	rows int
}

// maxTexts is up to how many rows a text is kept.
const maxTexts = 16

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
	case "SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "ROLLBACK":
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

// run runs a statement without parameters.
func (c *keepingConn) run(text string) error {
	_, err := c.ExecContext(context.Background(), text, nil)
	return err
}

// over runs a statement over rows, and reads what it returns if there is scan.
func (c *keepingConn) over(q *query, rows [][]any, scan func(scanner) error) error {
	text, ok := c.texts[shape{q.sql, len(rows)}]
	if !ok {
		text = q.sql
		if q.columns != "" {
			text = tuplesHead(q.columns, len(q.fixed), len(rows)) + q.sql
		}
		if len(rows) <= maxTexts {
			c.texts[shape{q.sql, len(rows)}] = text
		}
	}
	args := c.args[:0]
	for _, v := range q.fixed {
		args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
	}
	for _, row := range rows {
		for _, v := range row {
			args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
		}
	}
	defer func() {
		clear(args)
		c.args = args
	}()
	if scan == nil {
		result, err := c.ExecContext(context.Background(), text, args)
		if err != nil || q.numbered == nil {
			return err
		}
		last, err := result.LastInsertId()
		q.numbered(last-int64(len(rows))+1, rows)
		return err
	}
	found, err := c.QueryContext(context.Background(), text, args)
	if err != nil {
		return err
	}
	err = scanAll(found, scan)
	if bad := found.Close(); err == nil {
		err = bad
	}
	return err
}

func scanAll(rows driver.Rows, scan func(scanner) error) error {
	row := make(sqliteRow, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := scan(row); err != nil {
			return err
		}
	}
}

// sqliteRow is a row as the driver gives it.
type sqliteRow []driver.Value

// Scan implements scanner. It keeps the driver's bytes, which makes new ones for each row.
func (r sqliteRow) Scan(into ...any) error {
	if len(into) != len(r) {
		return errColumns
	}
	for i, value := range r {
		var ok bool
		switch into := into[i].(type) {
		case *[]byte:
			*into, ok = value.([]byte)
		case *string:
			*into, ok = value.(string)
		case **string:
			var text string
			if text, ok = value.(string); ok {
				*into = &text
			}
		case *int64:
			*into, ok = value.(int64)
		case *bool:
			var n int64
			if *into, ok = value.(bool); !ok {
				n, ok = value.(int64)
				*into = n != 0
			}
		}
		if !ok && value != nil {
			return fmt.Errorf("%w: %T for %T", errColumns, value, into[i])
		}
	}
	return nil
}
