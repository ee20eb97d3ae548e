package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.mau.fi/util/dbutil"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
)

// maxConns bounds the connections of a pool: one writer a network and what reads beside them.
const maxConns = 12

// openSQLite takes a file for this process and opens it.
func (s *Store) openSQLite(file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("find the database file: %w", err)
	}
	if err := s.lockFile(file); err != nil {
		return err
	}
	// Made here, so that nobody else may read it; SQLite gives its side files the same mode.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("create the database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("create the database file: %w", err)
	}
	return s.openFile(file)
}

// openFile opens a SQLite file that is there, whoever else has it open.
func (s *Store) openFile(file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("find the database file: %w", err)
	}
	if s.db, err = sqlitePool(file, "_txlock=immediate", 1); err != nil {
		return err
	}
	s.file = file
	s.readers, err = sqlitePool(file, "_query_only=1", 4)
	return err
}

func sqlitePool(file, option string, conns int) (*dbutil.Database, error) {
	dsn := url.URL{Scheme: "file", Path: file, RawQuery: "_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_dqs=0&" + option}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	raw := sql.OpenDB(keeper{connector})
	raw.SetMaxOpenConns(conns)
	raw.SetMaxIdleConns(conns)
	return dbutil.NewWithDB(raw, "sqlite")
}

// lockFile takes the file for this process. The lock lies beside the database: SQLite's own locks are on the database.
func (s *Store) lockFile(file string) error {
	name := file + ".lock"
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("create the lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another process uses the database %s (it holds %s); stop it first, or use Postgres to have one stand by", file, name)
		}
		return fmt.Errorf("lock %s: %w", name, err)
	}
	s.lock = f
	return nil
}

// chunk is how many rows one statement takes on SQLite, whose parameters are limited (32,766) and cost more the more
// there are. Postgres takes any number as arrays.
const chunk = 250

// source writes the head of a statement, "WITH q(columns) AS (rows)", in the database's own way. This and the writers
// are the only places where the SQL of the two differs. columns are "name type, name type"; fixed are the statement's $1,
// $2, …; the rows' parameters follow.
func (s *Store) source(columns string, fixed []any, rows [][]any) (with string, args []any) {
	if s.postgres != nil {
		names, types := columnsOf(columns)
		args = append(make([]any, 0, len(fixed)+len(names)), fixed...)
		for i := range types {
			column := make([]any, len(rows))
			for j, row := range rows {
				column[j] = row[i]
			}
			args = append(args, column)
		}
		return arraysHead(names, types, len(fixed)), args
	}
	args = append(make([]any, 0, len(fixed)+len(rows)*(1+strings.Count(columns, ","))), fixed...)
	for _, row := range rows {
		args = append(args, row...)
	}
	return tuplesHead(columns, len(fixed), len(rows)), args
}

func columnsOf(list string) (names, types []string) {
	for c := range strings.SplitSeq(list, ", ") {
		name, kind, _ := strings.Cut(c, " ")
		names, types = append(names, name), append(types, kind)
	}
	return names, types
}

// arraysHead takes each column as one array, behind so many fixed parameters.
func arraysHead(names, types []string, fixed int) string {
	arrays := make([]string, len(types))
	for i, kind := range types {
		arrays[i] = "$" + strconv.Itoa(fixed+i+1) + "::" + kind + "[]"
	}
	return "WITH q(" + strings.Join(names, ",") + ") AS (SELECT * FROM unnest(" + strings.Join(arrays, ",") + ")) "
}

// tuplesHead takes each value as a parameter. They have no numbers, since SQLite and its driver look each number up in a
// list; a plain "?" counts on from the highest number before it, for which the first, unused table stands there.
func tuplesHead(columns string, fixed, rows int) string {
	var b strings.Builder
	b.WriteString("WITH ")
	if fixed > 0 {
		b.WriteString("fixed AS (SELECT $" + strconv.Itoa(fixed) + "), ")
	}
	names, _ := columnsOf(columns)
	tuple := "(?" + strings.Repeat(",?", len(names)-1) + ")"
	b.WriteString("q(" + strings.Join(names, ",") + ") AS (VALUES " + tuple)
	for range rows - 1 {
		b.WriteString("," + tuple)
	}
	b.WriteString(") ")
	return b.String()
}

// chunks cuts rows into what one statement takes.
func (s *Store) chunks(rows [][]any) [][][]any {
	if s.postgres != nil || len(rows) <= chunk {
		return [][][]any{rows}
	}
	var out [][][]any
	for len(rows) > chunk {
		out, rows = append(out, rows[:chunk]), rows[chunk:]
	}
	return append(out, rows)
}
