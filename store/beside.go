package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// Beside is a database opened for an operator's command, whether or not a gateway runs on it at that time. It holds
// neither the file's lock nor a lease. What it may write is therefore limited to keys that the gateway reads and never
// writes: see State.
type Beside struct {
	s   *Store
	key []byte
}

// OpenBeside opens a database that a gateway has made. It makes and upgrades nothing: a database that is missing, that
// has another schema than this program's, or that was made with another key is an error. Of cfg it needs URL and Key.
func OpenBeside(ctx context.Context, cfg Config) (_ *Beside, err error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open store: %w", err), s.Close())
		}
	}()
	if file, isFile := strings.CutPrefix(cfg.URL, "sqlite:"); isFile {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s does not exist yet: `lockbridge run` makes it", file)
		} else if err != nil {
			return nil, fmt.Errorf("find the database file: %w", err)
		}
		err = s.openFile(file)
	} else {
		err = s.openPostgres(cfg.URL)
	}
	if err != nil {
		return nil, err
	}
	if err := s.fits(ctx); err != nil {
		return nil, err
	}
	return &Beside{s, cfg.Key}, nil
}

// fits checks schema and key, and changes neither.
func (s *Store) fits(ctx context.Context) error {
	made, err := s.db.TableExists(ctx, s.db.VersionTable)
	if err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	var version, compatible int
	if made {
		err := s.db.QueryRow(ctx, "SELECT version, compat FROM "+s.db.VersionTable).Scan(&version, &compatible)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read the schema's version: %w", err)
		}
	}
	switch want := len(upgrades()); {
	case version == 0:
		return errors.New("no gateway has used this database yet: `lockbridge run` prepares it")
	case version < want:
		return errors.New("the database was last used by an older version of lockbridge; start `lockbridge run` of this version once")
	case compatible > want:
		return errors.New("the database was written by a newer version of lockbridge; use that version or a later one")
	}
	if err := s.openKeyCheck(ctx); !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return errors.New("no gateway has used this database yet: `lockbridge run` prepares it")
}

// Close closes the database.
func (b *Beside) Close() error { return b.s.Close() }

// State returns a network's state as it is committed. Every key can be read; own names the keys that can be written,
// exactly those that only operators' commands write. The gateway sees what an Update wrote in every transaction that
// begins after it; Updates of several commands follow one another.
//
// An Update holds up the gateway's next commit on SQLite, which has one writer: keep it short.
func (b *Beside) State(network string, own ...string) gateway.State {
	return &besideState{&state{b.s, network}, own}
}

type besideState struct {
	*state
	own []string
}

// PutMany implements gateway.State.
func (st *besideState) PutMany(ctx context.Context, values map[string][]byte) error {
	for key := range values {
		if !slices.Contains(st.own, key) {
			return fmt.Errorf("put state of %s: %q belongs to the gateway", st.network, key)
		}
	}
	if st.s.view(ctx) == nil {
		return st.Update(ctx, func(ctx context.Context) error { return st.state.PutMany(ctx, values) })
	}
	return st.state.PutMany(ctx, values)
}

// Update implements gateway.State.
func (st *besideState) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	if v := st.s.view(ctx); v != nil {
		return v.run(ctx, v.top, fn)
	}
	return st.s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		if st.s.postgres != nil { // SQLite has one writer
			const one = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '/lockbridge operator/' || $1))"
			if _, err := st.s.db.Exec(ctx, one, st.network); err != nil {
				return failed("wait for other commands", err)
			}
		}
		if err := st.s.keepKey(ctx); err != nil {
			return err
		}
		t := &tx{s: st.s, network: st.network, ctx: ctx, base: &layer{}}
		defer t.close()
		if err := t.run(ctx, t.base, fn); err != nil {
			return err
		}
		return t.flush()
	})
}

// keepKey makes sure that the key is still the one that we seal with, and stays so until the transaction ends.
func (s *Store) keepKey(ctx context.Context) error {
	if s.postgres != nil { // SQLite has one writer
		if _, err := s.db.Exec(ctx, "SELECT 1 FROM meta WHERE key = $1 FOR SHARE", keyCheck); err != nil {
			return failed("wait for a change of the key", err)
		}
	}
	return s.openKeyCheck(ctx)
}
