package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// table is a table as a backup holds it. Columns are "name type", with the types bigint, text, bytea and boolean.
type table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Rows    int64    `json:"rows"`
	// Last is the newest number that the table's sequence gave.
	Last int64 `json:"last,omitempty"`
}

// inBackup tells the tables of the schema that a backup holds. The leases belong to running processes, and tables of
// other programs, where they share the database, are none of our business.
func (t table) inBackup() bool {
	switch t.Name {
	case "meta", "event", "delivery", "link", "state", "forget", "reaction", "media", "image":
		return true
	}
	return false
}

// names returns the columns' names.
func (t table) names() string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i], _, _ = strings.Cut(c, " ")
	}
	return strings.Join(names, ", ")
}

// index finds a column; -1: there is none.
func (t table) index(column string) int {
	return slices.IndexFunc(t.Columns, func(c string) bool { return strings.HasPrefix(c, column+" ") })
}

// columnTypes are the types that the schema uses, as both databases call them.
func columnType(declared string) (string, error) {
	switch t := strings.ToLower(declared); t {
	case "bigint", "integer":
		return "bigint", nil
	case "text", "bytea", "boolean":
		return t, nil
	default:
		return "", fmt.Errorf("a backup cannot hold columns of type %q", declared)
	}
}

var (
	tableName  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	columnName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62} (bigint|text|bytea|boolean)$`)
)

// check refuses what is no table of ours: its names become part of statements.
func (t table) check() error {
	if !tableName.MatchString(t.Name) || len(t.Columns) == 0 || len(t.Columns) > 100 || t.Rows < 0 || t.Last < 0 {
		return fmt.Errorf("%w: a table is called %.100q", errDamaged, t.Name)
	}
	for _, c := range t.Columns {
		if !columnName.MatchString(c) {
			return fmt.Errorf("%w: a column is called %.100q", errDamaged, c)
		}
	}
	return nil
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tables lists the database's tables by name.
func (s *Store) tables(ctx context.Context, db querier) (tables []table, err error) {
	query := `SELECT m.name, p.name, p.type FROM sqlite_schema m JOIN pragma_table_info(m.name) p
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY m.name, p.cid`
	if s.postgres != nil {
		query = `SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
			WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position`
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, column, declared string
		if err := rows.Scan(&name, &column, &declared); err != nil {
			return nil, fmt.Errorf("list the tables: %w", err)
		}
		if len(tables) == 0 || tables[len(tables)-1].Name != name {
			tables = append(tables, table{Name: name})
		}
		kind, err := columnType(declared)
		if err != nil {
			return nil, err
		}
		t := &tables[len(tables)-1]
		t.Columns = append(t.Columns, column+" "+kind)
	}
	return tables, rows.Err()
}

// last reads the newest number of each table's sequence.
func (s *Store) last(ctx context.Context, db querier) (map[string]int64, error) {
	query := "SELECT name, seq FROM sqlite_sequence"
	if s.postgres != nil {
		query = `SELECT table_name, coalesce(pg_sequence_last_value(pg_get_serial_sequence(quote_ident(table_name), column_name)::regclass), 0)
			FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES'`
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read the sequences: %w", err)
	}
	defer rows.Close()
	last := map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("read the sequences: %w", err)
		}
		last[name] = n
	}
	return last, rows.Err()
}

// The kinds of values in a backup.
const (
	isNull byte = iota
	isInt
	isString
	isBytes
	isFalse
	isTrue
)

// maxValue bounds one value of a backup, in bytes: larger ones are never stored.
const maxValue = 64 << 20

// appendValue encodes a value as the drivers return it.
func appendValue(b []byte, v any, column string) ([]byte, error) {
	_, kind, _ := strings.Cut(column, " ")
	text := func(tag byte, s string) []byte {
		return append(binary.AppendUvarint(append(b, tag), uint64(len(s))), s...)
	}
	switch v := v.(type) {
	case nil:
		return append(b, isNull), nil
	case int64:
		if kind == "boolean" {
			return appendBool(b, v != 0), nil
		}
		return binary.AppendVarint(append(b, isInt), v), nil
	case bool:
		return appendBool(b, v), nil
	case string:
		if kind == "text" {
			return text(isString, v), nil
		}
	case []byte:
		if kind == "text" {
			return text(isString, string(v)), nil
		}
		return text(isBytes, string(v)), nil
	}
	return nil, fmt.Errorf("column %s holds a %T", column, v)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, isTrue)
	}
	return append(b, isFalse)
}

// byteReader is what values are read from.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// readValue reads what appendValue wrote; a value that does not fit the column is an error.
func readValue(r byteReader, column string) (any, error) {
	tag, err := r.ReadByte()
	if err != nil {
		return nil, cutOff(err)
	}
	_, kind, _ := strings.Cut(column, " ")
	switch {
	case tag == isNull:
		return nil, nil //nolint:nilnil // NULL
	case tag == isInt && kind == "bigint":
		n, err := binary.ReadVarint(r)
		return n, cutOff(err)
	case (tag == isFalse || tag == isTrue) && kind == "boolean":
		return tag == isTrue, nil
	case tag == isString && kind == "text":
		b, err := readBytes(r)
		return string(b), err
	case tag == isBytes && kind == "bytea":
		return readBytes(r)
	}
	return nil, fmt.Errorf("%w: column %s holds a value of kind %d", errDamaged, column, tag)
}

// readBytes reads a length and as many bytes. What is claimed costs memory only as it arrives.
func readBytes(r byteReader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, cutOff(err)
	}
	if n > maxValue {
		return nil, fmt.Errorf("%w: a value of %d bytes", errDamaged, n)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && uint64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, cutOff(err)
}

// cutOff makes an end in the middle of something an error.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errDamaged
	}
	return err
}
