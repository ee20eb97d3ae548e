package store

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"lockbridge/gateway"
)

// maxHead bounds a backup's head, in bytes.
const maxHead = 1 << 20

// backupReader reads a backup: its head, then the rows of its tables one by one.
type backupReader struct {
	Contents
	r     *bufio.Reader
	table int // of the next row
	row   int64
}

// openBackup reads the head. A backup of a schema that this program does not know yet is an error.
func openBackup(r io.Reader, key []byte) (*backupReader, error) {
	opened, err := newArchiveReader(r, key)
	if err != nil {
		return nil, err
	}
	b := &backupReader{r: bufio.NewReaderSize(opened, archiveChunk)}
	head, err := readBytes(b.r)
	if err != nil {
		return nil, err
	}
	if len(head) > maxHead {
		return nil, fmt.Errorf("%w: its head has %d bytes", errDamaged, len(head))
	}
	if err := json.Unmarshal(head, &b.Contents); err != nil {
		return nil, fmt.Errorf("%w: its head: %w", errDamaged, err)
	}
	if known := len(upgrades()); b.Schema < 1 || b.Schema > known {
		return nil, fmt.Errorf("the backup was written by a newer version of lockbridge (schema %d, this program knows up to %d); use that version or a later one", b.Schema, known)
	}
	for i, t := range b.Tables {
		if err := t.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(b.Tables[:i], func(o table) bool { return o.Name == t.Name }) {
			return nil, fmt.Errorf("%w: table %s is there twice", errDamaged, t.Name)
		}
	}
	return b, nil
}

// next returns the next row and its table; io.EOF comes after the last row of a backup that is whole.
func (b *backupReader) next() (t table, row []any, err error) {
	for b.table < len(b.Tables) && b.row == b.Tables[b.table].Rows {
		b.table, b.row = b.table+1, 0
	}
	if b.table == len(b.Tables) {
		if _, err := b.r.ReadByte(); err == nil {
			return t, nil, fmt.Errorf("%w: something follows the last row", errDamaged)
		} else if !errors.Is(err, io.EOF) {
			return t, nil, err
		}
		return t, nil, io.EOF
	}
	t = b.Tables[b.table]
	row = make([]any, len(t.Columns))
	for i, c := range t.Columns {
		if row[i], err = readValue(b.r, c); err != nil {
			return t, nil, err
		}
	}
	b.row++
	return t, row, nil
}

// CheckBackup reads a backup to its end, which finds every kind of damage, and says what it holds.
func CheckBackup(r io.Reader, key []byte, p Progress) (Contents, error) {
	b, err := openBackup(r, key)
	if err != nil {
		return Contents{}, fmt.Errorf("read the backup: %w", err)
	}
	for done, total := int64(0), b.Rows(); ; {
		_, _, err := b.next()
		if errors.Is(err, io.EOF) {
			return b.Contents, nil
		}
		if err != nil {
			return Contents{}, fmt.Errorf("read the backup: %w", err)
		}
		done++
		p.step(done, total)
	}
}

// Restore fills an empty database with a backup, whichever of the two databases that was made on. The database may be one
// that no gateway has used yet, or one that holds nothing; anything else is an error, as is a gateway that runs on it.
// Sequences go on where they were, and each network finds gateway.StateRestored in its State. When it fails, the database is as empty as it was.
func Restore(ctx context.Context, cfg Config, r io.Reader, p Progress) (c Contents, err error) {
	b, err := openBackup(r, cfg.Key)
	if err != nil {
		return c, fmt.Errorf("restore: %w", err)
	}
	s, err := newStore(cfg)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.connect(cfg.URL); err != nil {
		return c, fmt.Errorf("restore: %w", err)
	}
	err = s.alone(ctx, func(ctx context.Context) error {
		if err := s.empty(ctx, b.Schema); err != nil {
			return err
		}
		if err := s.db.DoTxn(ctx, nil, func(ctx context.Context) error { return s.load(ctx, b, p) }); err != nil {
			return err
		}
		if err := s.prepare(ctx); err != nil { // up to date, and the key fits
			return err
		}
		_, err := s.db.Exec(ctx, "ANALYZE") // else Postgres would plan for empty tables until it does so itself
		return err
	})
	if err != nil {
		return c, fmt.Errorf("restore: %w", err)
	}
	return b.Contents, nil
}

// empty makes sure that the database holds nothing, and gives it the tables of a version of the schema.
func (s *Store) empty(ctx context.Context, version int) error {
	if err := s.upgrade(ctx, len(upgrades())); err != nil { // which sees that it is ours
		return err
	}
	if err := s.unused(ctx); err != nil {
		return err
	}
	tables, err := s.tables(ctx, s.db.RawDB)
	if err != nil {
		return err
	}
	drop := []string{"DROP TABLE lease", "DROP TABLE " + s.db.VersionTable}
	for _, t := range tables {
		if !t.inBackup() {
			continue
		}
		drop = append(drop, "DROP TABLE "+t.Name)
		if t.Name == "meta" { // which says only what key the database was made with
			continue
		}
		var rows int64
		if err := s.db.QueryRow(ctx, "SELECT count(*) FROM "+t.Name).Scan(&rows); err != nil {
			return fmt.Errorf("count the rows of %s: %w", t.Name, err)
		}
		if rows > 0 {
			return fmt.Errorf("the database is not empty (its table %s has rows): restore into a new one, and change store.url if it has another name", t.Name)
		}
	}
	err = s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		_, err := s.db.Exec(ctx, strings.Join(drop, ";"))
		return err
	})
	if err != nil {
		return fmt.Errorf("make room: %w", err)
	}
	return s.upgrade(ctx, version)
}

// unused fails if a gateway owns a network. SQLite's file is locked by whoever asks.
func (s *Store) unused(ctx context.Context) error {
	if s.postgres == nil {
		return nil
	}
	const query = "SELECT network FROM lease WHERE NOT pg_try_advisory_xact_lock(hashtext(current_schema() || '/lockbridge lease/' || network), epoch::int) LIMIT 1"
	var network string
	switch err := s.db.QueryRow(ctx, query).Scan(&network); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look for running gateways: %w", err)
	}
	return fmt.Errorf("a gateway is running on this database (it has network %s): stop every `lockbridge run` that uses it", network)
}

const (
	// loadRows and loadBytes bound what one statement of a restore takes.
	loadRows  = chunk
	loadBytes = 1 << 20
)

// load writes a backup's rows into empty tables, and the marks.
func (s *Store) load(ctx context.Context, b *backupReader, p Progress) error {
	if err := s.patient(ctx, s.db.Execable(ctx)); err != nil {
		return err
	}
	if _, err := s.db.Exec(ctx, "DELETE FROM meta"); err != nil {
		return fmt.Errorf("make room: %w", err)
	}
	var (
		now      table
		rows     [][]any
		size     int
		networks = map[string]bool{}
	)
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := s.insert(ctx, now, rows)
		rows, size = nil, 0
		return err
	}
	for done, total := int64(0), b.Rows(); ; {
		t, row, err := b.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if t.Name != now.Name || len(rows) == loadRows || size > loadBytes {
			if err := flush(); err != nil {
				return err
			}
			now = t
		}
		for _, v := range row {
			if v, ok := v.([]byte); ok {
				size += len(v)
			}
		}
		if i := t.index("network"); t.Name == "state" && i >= 0 {
			if network, ok := row[i].(string); ok {
				networks[network] = true
			}
		}
		rows = append(rows, row)
		done++
		p.step(done, total)
	}
	if err := flush(); err != nil {
		return err
	}
	if err := s.goOn(ctx, b.Tables); err != nil {
		return err
	}
	return s.mark(ctx, networks)
}

func (s *Store) insert(ctx context.Context, t table, rows [][]any) error {
	with, args := s.source(strings.Join(t.Columns, ", "), nil, rows)
	overriding := ""
	if s.postgres != nil {
		overriding = " OVERRIDING SYSTEM VALUE"
	}
	if _, err := s.db.Exec(ctx, with+"INSERT INTO "+t.Name+" ("+t.names()+")"+overriding+" SELECT "+t.names()+" FROM q", args...); err != nil {
		return fmt.Errorf("fill %s: %w", t.Name, err)
	}
	return nil
}

// goOn lets the sequences go on where they were: the newest rows may have been swept when the backup was made.
func (s *Store) goOn(ctx context.Context, tables []table) error {
	for _, t := range tables {
		if t.Last == 0 {
			continue
		}
		query := "INSERT INTO sqlite_sequence (name, seq) SELECT $1, $2"
		if s.postgres != nil {
			query = `SELECT setval(pg_get_serial_sequence(quote_ident($1), column_name), $2) FROM information_schema.columns
				WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'`
		} else if _, err := s.db.Exec(ctx, "DELETE FROM sqlite_sequence WHERE name = $1", t.Name); err != nil {
			return fmt.Errorf("set the sequence of %s: %w", t.Name, err)
		}
		if _, err := s.db.Exec(ctx, query, t.Name, t.Last); err != nil {
			return fmt.Errorf("set the sequence of %s: %w", t.Name, err)
		}
	}
	return nil
}

// mark tells each network's side that the database was restored.
func (s *Store) mark(ctx context.Context, networks map[string]bool) error {
	for network := range networks {
		value := []byte(strconv.FormatInt(s.now().UnixMilli(), 10))
		t := &tx{s: s, network: network, ctx: ctx, base: &layer{values: map[string][]byte{gateway.StateRestored: value}}}
		if err := t.flush(); err != nil {
			return fmt.Errorf("mark the state of %s: %w", network, err)
		}
	}
	return nil
}
