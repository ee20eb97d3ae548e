package store

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"lockbridge/gateway"
)

// lendable makes Postgres connections that can be lent to a transaction.
type lendable struct{ driver.Connector }

// Connect implements driver.Connector.
func (l lendable) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &postgresConn{Conn: conn.(*stdlib.Conn), kept: map[string]*prepared{}, results: []int16{1}}, nil //nolint:forcetypeassert // what its connector makes
}

// postgresConn is a connection. Lent to a transaction, it begins one only where another store takes part (see DB): what
// was staged goes out as one batch, which is a transaction by itself, and so two of the round trips of a small
// transaction are spared. One goroutine uses it at a time.
type postgresConn struct {
	*stdlib.Conn
	lent  bool
	begun bool                 // a transaction of another store
	kept  map[string]*prepared // by their text
	due   time.Time            // the deadline of the socket

	// Buffers that are used again.
	buf     []byte
	values  [][]byte
	formats []int16
	results []int16 // of the columns of results: all are in binary
}

// prepared is a statement that the server knows by name.
type prepared struct {
	*pgconn.StatementDescription
	kinds []uint32 // of the elements of its arrays
}

func (c *postgresConn) wire() *pgconn.PgConn { return c.Conn.Conn().PgConn() }

func (c *postgresConn) closed() bool { return c.wire().IsClosed() }

// lend prepares for a transaction that may last until end. A deadline of the socket costs less than a ctx that can end,
// for which pgx starts a goroutine each time.
func (c *postgresConn) lend(end time.Time) {
	c.lent, c.begun = true, false
	if c.due.Before(end) {
		c.limit(end.Add(restTime)) // one is enough for many transactions
	}
}

// limit sets the socket's deadline; zero: none.
func (c *postgresConn) limit(end time.Time) {
	if !end.Equal(c.due) {
		c.due = end
		_ = c.wire().Conn().SetDeadline(end) // fails only on a closed connection, like what follows
	}
}

// end reports whether the connection can be used again.
func (c *postgresConn) end() bool {
	if c.begun { // the other store's ctx may have taken the deadline away
		c.limit(time.Time{})
	}
	c.lent, c.begun = false, false
	return !c.closed() && c.wire().TxStatus() == 'I'
}

// begin begins the transaction that the connection is lent for, for another store.
func (c *postgresConn) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !c.lent || c.begun {
		return nil
	}
	err := c.command("BEGIN", "BEGIN")
	c.begun = err == nil
	return err
}

var errRolledBack = errors.New("the server rolled back what had failed")

// command runs a statement that the server answers with tag.
func (c *postgresConn) command(sql, tag string) error {
	results, err := c.wire().Exec(context.Background(), sql).ReadAll()
	if err == nil && (len(results) != 1 || results[0].CommandTag.String() != tag) {
		err = errRolledBack
	}
	return err
}

func (c *postgresConn) commit() error {
	if !c.begun {
		return nil
	}
	return c.command("COMMIT", "COMMIT")
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *postgresConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.PrepareContext(ctx, query)
}

// ExecContext implements driver.ExecerContext.
func (c *postgresConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.ExecContext(ctx, query, args)
}

// QueryContext implements driver.QueryerContext.
func (c *postgresConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.QueryContext(ctx, query, args)
}

// prepare returns the kept statement of q, prepared if need be. There are as many as the program has texts.
func (c *postgresConn) prepare(q *query) (*prepared, error) {
	if p := c.kept[q.sql]; p != nil {
		return p, nil
	}
	p := &prepared{}
	text := q.sql
	if q.columns != "" {
		names, types := columnsOf(q.columns)
		for _, kind := range types {
			oid, ok := oids()[kind]
			if !ok {
				return nil, fmt.Errorf("%w: %s", errColumns, kind)
			}
			p.kinds = append(p.kinds, oid)
		}
		text = arraysHead(names, types, len(q.fixed)) + q.sql
	}
	var err error
	if p.StatementDescription, err = c.wire().Prepare(context.Background(), "lockbridge_"+strconv.Itoa(len(c.kept)), text, nil); err != nil {
		return nil, err
	}
	c.kept[q.sql] = p
	return p, nil
}

// oids are the kinds of our columns; catalog pg_type.
func oids() map[string]uint32 {
	return map[string]uint32{"boolean": 16, "bytea": 17, "bigint": 20, "text": 25}
}

// bind encodes the parameters of q into buffers that the next call uses again.
func (c *postgresConn) bind(p *prepared, q *query) (err error) {
	c.buf, c.values, c.formats = c.buf[:0], c.values[:0], c.formats[:0]
	for _, v := range q.fixed {
		start, format := len(c.buf), int16(0)
		switch v := v.(type) {
		case string:
			c.buf = append(c.buf, v...)
		case int64:
			c.buf = strconv.AppendInt(c.buf, v, 10)
		case []byte:
			c.buf, format = append(c.buf, v...), 1
		default:
			return fmt.Errorf("%w: %T", errColumns, v)
		}
		c.values, c.formats = append(c.values, c.buf[start:len(c.buf):len(c.buf)]), append(c.formats, format)
	}
	for i, kind := range p.kinds {
		start := len(c.buf)
		if c.buf, err = appendArray(c.buf, kind, q.rows, i); err != nil {
			return err
		}
		c.values, c.formats = append(c.values, c.buf[start:len(c.buf):len(c.buf)]), append(c.formats, 1)
	}
	return nil
}

// appendArray writes column i of rows as the server reads arrays: array_recv in its source, arrayfuncs.c.
func appendArray(buf []byte, kind uint32, rows [][]any, i int) ([]byte, error) {
	nulls := uint32(0)
	for _, row := range rows {
		if null(row[i]) {
			nulls = 1
		}
	}
	for _, word := range [...]uint32{1, nulls, kind, uint32(len(rows)), 1} { // dimensions; of the only one: length, first index
		buf = binary.BigEndian.AppendUint32(buf, word)
	}
	for _, row := range rows {
		switch v := row[i].(type) {
		case string:
			buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(v))), v...)
		case []byte:
			if v == nil {
				buf = binary.BigEndian.AppendUint32(buf, 1<<32-1)
				break
			}
			buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(v))), v...)
		case int64:
			buf = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(buf, 8), uint64(v))
		case bool:
			b := byte(0)
			if v {
				b = 1
			}
			buf = append(binary.BigEndian.AppendUint32(buf, 1), b)
		case nil:
			buf = binary.BigEndian.AppendUint32(buf, 1<<32-1)
		default:
			return nil, fmt.Errorf("%w: %T", errColumns, v)
		}
	}
	return buf, nil
}

func null(v any) bool {
	b, ok := v.([]byte)
	return v == nil || ok && b == nil
}

// read runs one statement and reads its rows.
func (c *postgresConn) read(q *query, scan func(scanner) error) error {
	p, err := c.prepare(q)
	if err != nil {
		return err
	}
	if err := c.bind(p, q); err != nil {
		return err
	}
	return readRows(c.wire().ExecPrepared(context.Background(), p.Name, c.values, c.formats, c.results), scan)
}

// readRows reads a result to its end. An error of scan stands behind one of the server.
func readRows(rows *pgconn.ResultReader, scan func(scanner) error) error {
	var bad error
	for rows.NextRow() {
		if scan != nil && bad == nil {
			bad = scan(postgresRow(rows.Values()))
		}
	}
	if _, err := rows.Close(); err != nil {
		return err
	}
	return bad
}

// send sends statements at once and then reads their results: one round trip. Unless a transaction has begun, they are
// one, which commits when all of them went well.
func (c *postgresConn) send(stmts []query) error {
	var batch pgconn.Batch
	for i := range stmts {
		p, err := c.prepare(&stmts[i])
		if err == nil {
			err = c.bind(p, &stmts[i])
		}
		if err != nil {
			return failed(stmts[i].doing, err)
		}
		batch.ExecStatement(p.StatementDescription, c.values, c.formats, c.results)
	}
	answer := c.wire().ExecBatch(context.Background(), &batch)
	n := 0
	var bad error
	for ; bad == nil && answer.NextResult(); n++ {
		if bad = readRows(answer.ResultReader(), stmts[n].scan); bad != nil {
			bad = stmts[n].failure(bad)
		}
	}
	err := answer.Close()
	switch {
	case bad != nil:
		return bad
	case err != nil && n < len(stmts):
		return stmts[n].failure(err)
	case err != nil:
		return failed("commit", err)
	}
	return nil
}

// failure is what an error of q means.
func (q *query) failure(err error) error {
	if q.fails != nil && divided(err) {
		return q.fails
	}
	return failed(q.doing, err)
}

// checkLease is the statement that fails when the network is not ours any more.
func checkLease(network string, epoch int64) query {
	return query{doing: "check lease", sql: sqlCheckLease, fixed: []any{network, epoch}, fails: gateway.ErrLeaseLost}
}

// postgresRow is a row in binary.
type postgresRow [][]byte

// Scan implements scanner.
func (r postgresRow) Scan(into ...any) error {
	if len(into) != len(r) {
		return errColumns
	}
	for i, value := range r {
		switch into := into[i].(type) {
		case *[]byte:
			*into = nil
			if value != nil {
				*into = append([]byte{}, value...)
			}
		case *string:
			*into = string(value)
		case **string:
			*into = nil
			if value != nil {
				text := string(value)
				*into = &text
			}
		case *int64:
			switch len(value) {
			case 4:
				*into = int64(int32(binary.BigEndian.Uint32(value)))
			case 8:
				*into = int64(binary.BigEndian.Uint64(value))
			default:
				return fmt.Errorf("%w: an integer of %d bytes", errColumns, len(value))
			}
		case *bool:
			*into = len(value) == 1 && value[0] != 0
		default:
			return fmt.Errorf("%w: %T", errColumns, into)
		}
	}
	return nil
}
