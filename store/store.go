// Package store keeps the journal, the lanes, the links between native ids, the networks' leases and the sides' state
// in SQL, on SQLite or on Postgres.
//
// Policy: one SQL text for both databases; whatever queued up during a commit shares the next one; nothing that people
// wrote or are called rests on disk unsealed (ids of rooms, people and messages do: the tables are keyed by them).
//
// Guarantees: when Do or Update returns nil its writes survive a crash of the machine. Transactions of one network
// never overlap, in this process or any other: on Postgres each one checks the network's lease, on SQLite the file
// belongs to one process. Operators' commands stand outside of that: see Beside. An error of a transaction's function
// discards what that function staged and nothing else; an error of the database discards the transaction for all that
// shared it.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.mau.fi/util/dbutil"

	"lockbridge/gateway"
)

//go:embed sql/*.sql
var schema embed.FS

// DefaultRetention is how long events are known after they were accepted: their links, authors and excerpts.
const DefaultRetention = 90 * 24 * time.Hour

// DefaultDeadLetters is how long the text of a delivery that was given up is kept.
const DefaultDeadLetters = 7 * 24 * time.Hour

// Config says which database to use.
type Config struct {
	// URL is "sqlite:FILE" or "postgres://…" (as libpq reads it). A SQLite file is created if it is missing. A pooler
	// in front of Postgres must be in session mode, since leases are session locks.
	URL string
	// Key seals values at rest: KeySize random bytes. Another key than the database was made with is an error.
	Key []byte
	Log *slog.Logger
	// Now is the clock; nil: time.Now. Leases go by the database's clock and by elapsed time instead.
	Now func() time.Time
	// Rand gives nonces; nil: crypto/rand. It must be safe for concurrent use.
	Rand io.Reader
	// Retention is how long events are known; 0: DefaultRetention.
	Retention time.Duration
	// DeadLetters is how long the text of a delivery that was given up is kept, so that an operator can have it tried
	// again; 0: DefaultDeadLetters, less: not at all.
	DeadLetters time.Duration
}

// Store is an open database. It implements gateway.Journal and gateway.Leases. It is safe for concurrent use.
type Store struct {
	db *dbutil.Database
	// readers serve what needs no transaction. On SQLite they are connections of their own, so that no reader waits
	// for the one writer; on Postgres the same as db.
	readers   *dbutil.Database
	takesPart any             // what db asks a ctx for, to take part in a transaction
	postgres  *pgx.ConnConfig // nil: SQLite
	lock      *os.File        // SQLite: held as long as the store is open
	file      string          // SQLite: where it is
	seal      *sealer
	log       *slog.Logger
	now       func() time.Time
	retention time.Duration
	dead      time.Duration // how long the text of what was given up is kept

	mu     sync.Mutex
	groups map[string]*group
	wakes  map[string]chan struct{}
	held   map[string]*lease // Postgres: the leases of this process
	// writers of Postgres that rest; the last one worked last.
	writers []*writer

	recent recent
	// careful says until when transactions of a network ask what was seen; see Seen.
	careful map[string]time.Time
}

var (
	_ gateway.Journal = (*Store)(nil)
	_ gateway.Leases  = (*Store)(nil)
)

// Open opens the database, brings its schema up to date and checks the key. While a Postgres server is away it tries
// again until ctx ends. It fails when the schema is newer than this program, when the key is another one (ErrKey), and on
// SQLite when another process has the file.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	err = s.connect(cfg.URL)
	if err == nil {
		s.takesPart = transactionKey(s.db)
		err = s.alone(ctx, s.prepare)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), s.Close())
	}
	return s, nil
}

// newStore makes a store that is not connected yet.
func newStore(cfg Config) (s *Store, err error) {
	s = &Store{
		log: cfg.Log, now: cfg.Now, retention: cfg.Retention, dead: max(cfg.DeadLetters, 0),
		groups: map[string]*group{}, wakes: map[string]chan struct{}{}, held: map[string]*lease{}, careful: map[string]time.Time{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.retention == 0 {
		s.retention = DefaultRetention
	}
	if cfg.DeadLetters == 0 {
		s.dead = DefaultDeadLetters
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	s.seal, err = newSealer(cfg.Key, cfg.Rand)
	return s, err
}

// connect opens the database for this process. On SQLite no other process can do so until it is closed.
func (s *Store) connect(url string) error {
	switch file, isFile := strings.CutPrefix(url, "sqlite:"); {
	case isFile:
		return s.openSQLite(file)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return s.openPostgres(url)
	}
	return errors.New(`the database must be "sqlite:FILE" or "postgres://…"`)
}

// prepare brings the schema up to date and checks the key.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.upgrade(ctx, len(upgrades())); err != nil {
		return err
	}
	return s.checkKey(ctx)
}

// upgrade brings the schema to a version.
func (s *Store) upgrade(ctx context.Context, version int) error {
	s.db.Owner = "lockbridge"
	s.db.IgnoreForeignTables = false
	s.db.UpgradeTable = upgrades()[:version]
	switch err := s.db.Upgrade(ctx); {
	case errors.Is(err, dbutil.ErrUnsupportedDatabaseVersion):
		return fmt.Errorf("the database was written by a newer version of lockbridge; run that version or a later one: %w", err)
	case errors.Is(err, dbutil.ErrNotOwned), errors.Is(err, dbutil.ErrForeignTables):
		return fmt.Errorf("the database belongs to another program; give lockbridge one of its own: %w", err)
	case err != nil:
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}

// upgrades leads from each version of the schema to the next.
func upgrades() dbutil.UpgradeTable {
	return dbutil.BuildUpgradeTable().WithFSPath(schema, "sql").Finish()
}

// ErrKey is what Open and Acquire fail with when the database was made with another key.
var ErrKey = errors.New("the key file does not fit the database: it was made with another key; restore that key file")

// keyCheck names the value that was sealed when the database was made.
const keyCheck = "key check"

// checkKey opens that value, or makes it.
func (s *Store) checkKey(ctx context.Context) error {
	if err := s.openKeyCheck(ctx); !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	sealed, err := s.seal.seal(nil, colCheck, keyCheck)
	if err != nil {
		return err
	}
	if _, err = s.db.Exec(ctx, "INSERT INTO meta (key, value) VALUES ($1, $2)", keyCheck, sealed); err != nil {
		return fmt.Errorf("record the key: %w", err)
	}
	return nil
}

// openKeyCheck fails with sql.ErrNoRows where there is no such value yet.
func (s *Store) openKeyCheck(ctx context.Context) error {
	var sealed []byte
	if err := s.db.QueryRow(ctx, "SELECT value FROM meta WHERE key = $1", keyCheck).Scan(&sealed); err != nil {
		return fmt.Errorf("check the key: %w", err)
	}
	if _, err := s.seal.open(sealed, colCheck, keyCheck); err != nil {
		return ErrKey
	}
	return nil
}

// Close closes the database. Leases should have been released and Run should have returned.
func (s *Store) Close() error {
	var errs []error
	s.dropWriters()
	if s.readers != nil && s.readers != s.db {
		errs = append(errs, s.readers.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// DB is the database itself, for other stores that live in it and bring tables of their own. Inside a transaction of
// Do or Update the ctx carries it, so what they do there commits with it. An error of the function does not undo what
// they wrote; one that wraps gateway.ErrStore does, with the whole transaction. A function that calls them with another
// ctx than its own waits for itself on SQLite, which has one writer.
func (s *Store) DB() *dbutil.Database { return s.db }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.readers.RawDB.PingContext(ctx); err != nil {
		return failed("ping", err)
	}
	return nil
}

// failed marks an error of the database.
func failed(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", gateway.ErrStore, doing, err)
}
