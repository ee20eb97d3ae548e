package store

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Contents says what a backup holds.
type Contents struct {
	Schema int       `json:"schema"` // the version of the tables
	Made   time.Time `json:"made"`
	Tables []table   `json:"tables"`
}

// Rows is how many rows the backup has.
func (c Contents) Rows() (n int64) {
	for _, t := range c.Tables {
		n += t.Rows
	}
	return n
}

// Counts returns the number of rows of each table.
func (c Contents) Counts() map[string]int64 {
	n := map[string]int64{}
	for _, t := range c.Tables {
		n[t.Name] = t.Rows
	}
	return n
}

// Progress is told now and then how many rows of how many are done.
type Progress func(done, total int64)

// progressStep is how many rows are done between two reports.
const progressStep = 500

// step reports every progressStep-th row, and the last one.
func (p Progress) step(done, total int64) {
	if p != nil && (done%progressStep == 0 || done == total) {
		p(done, total)
	}
}

// Backup writes everything to w as it is committed at one moment, while a gateway may run: it holds up nobody. It is the
// same on both databases and can be restored into either. Values stay sealed with the store's key, under which the whole
// is sealed once more; see archive.go. It needs little memory, however large the database is.
func (b *Beside) Backup(ctx context.Context, w io.Writer, p Progress) (Contents, error) {
	c, err := b.s.backup(ctx, w, b.key, p)
	if err != nil {
		return Contents{}, fmt.Errorf("back up: %w", err)
	}
	return c, nil
}

func (s *Store) backup(ctx context.Context, w io.Writer, key []byte, p Progress) (c Contents, err error) {
	// SQLite: a read transaction sees one moment, and WAL lets others write meanwhile.
	options := &sql.TxOptions{ReadOnly: true}
	if s.postgres != nil {
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := s.readers.RawDB.BeginTx(ctx, options)
	if err != nil {
		return c, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	if err := s.patient(ctx, tx); err != nil {
		return c, err
	}
	if c, err = s.contents(ctx, tx); err != nil {
		return c, err
	}
	sealed, err := newArchiveWriter(w, key, rand.Reader)
	if err != nil {
		return c, err
	}
	out := bufio.NewWriterSize(sealed, archiveChunk)
	head, err := json.Marshal(c)
	if err != nil {
		return c, fmt.Errorf("encode the head: %w", err)
	}
	if _, err = out.Write(append(binary.AppendUvarint(nil, uint64(len(head))), head...)); err != nil {
		return c, err
	}
	done, total := int64(0), c.Rows()
	for _, t := range c.Tables {
		if err := s.backupTable(ctx, tx, out, t, func() { done++; p.step(done, total) }); err != nil {
			return c, err
		}
	}
	return c, errors.Join(out.Flush(), sealed.Close())
}

// patient lets a transaction wait for whoever reads or brings a backup, and read whole tables.
func (s *Store) patient(ctx context.Context, tx execer) error {
	if s.postgres == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL enable_seqscan = on")
	return err
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// contents looks at the database as tx sees it.
func (s *Store) contents(ctx context.Context, tx *sql.Tx) (c Contents, err error) {
	c.Made = s.now().UTC().Truncate(time.Second)
	if err := tx.QueryRowContext(ctx, "SELECT version FROM "+s.db.VersionTable).Scan(&c.Schema); err != nil {
		return c, fmt.Errorf("read the schema's version: %w", err)
	}
	all, err := s.tables(ctx, tx)
	if err != nil {
		return c, err
	}
	last, err := s.last(ctx, tx)
	if err != nil {
		return c, err
	}
	for _, t := range all {
		if !t.inBackup() {
			continue
		}
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+t.Name).Scan(&t.Rows); err != nil {
			return c, fmt.Errorf("count the rows of %s: %w", t.Name, err)
		}
		t.Last = last[t.Name]
		c.Tables = append(c.Tables, t)
	}
	return c, nil
}

func (s *Store) backupTable(ctx context.Context, tx *sql.Tx, w io.Writer, t table, wrote func()) error {
	rows, err := tx.QueryContext(ctx, "SELECT "+t.names()+" FROM "+t.Name)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	defer rows.Close()
	values, into := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for i := range into {
		into[i] = &values[i]
	}
	var b []byte
	n := int64(0)
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read %s: %w", t.Name, err)
		}
		b = b[:0]
		for i, v := range values {
			if b, err = appendValue(b, v, t.Columns[i]); err != nil {
				return fmt.Errorf("read %s: %w", t.Name, err)
			}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		wrote()
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	if n != t.Rows {
		return fmt.Errorf("read %s: %d rows instead of %d", t.Name, n, t.Rows)
	}
	return nil
}
