package store

import (
	"context"
	"errors"
	"fmt"
)

// rekeyBatch is how many rows a rekey reads and writes at a time.
const rekeyBatch = 100

// Rekey seals everything in the database anew, with the key next instead of cfg.Key, in one transaction: when it fails,
// or the process dies, nothing has changed. The database must have no other user at that time: a gateway that runs, or
// another key than cfg.Key (ErrKey), is an error. A value that did not open before stays as it is.
func Rekey(ctx context.Context, cfg Config, next []byte, p Progress) error {
	s, err := newStore(cfg)
	if err != nil {
		return fmt.Errorf("change the key: %w", err)
	}
	into, err := newStore(Config{Key: next, Rand: cfg.Rand})
	if err != nil {
		return fmt.Errorf("change the key: %w", err)
	}
	err = s.connect(cfg.URL)
	if err == nil {
		err = s.alone(ctx, func(ctx context.Context) error {
			if err := s.fits(ctx); err != nil {
				return err
			}
			return s.db.DoTxn(ctx, nil, func(ctx context.Context) error { return s.rekey(ctx, into.seal, p) })
		})
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("change the key: %w", err)
	}
	return nil
}

func (s *Store) rekey(ctx context.Context, next *sealer, p Progress) error {
	if err := s.patient(ctx, s.db.Execable(ctx)); err != nil {
		return err
	}
	if s.postgres != nil { // from here on nobody gets a lease
		if _, err := s.db.Exec(ctx, "SET LOCAL lock_timeout = '10s'; LOCK TABLE lease IN ACCESS EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("lock the leases: %w", err)
		}
	}
	if err := s.unused(ctx); err != nil {
		return err
	}
	// First, so that commands beside us that check the key wait for us, or we for them.
	check, err := next.seal(nil, colCheck, keyCheck)
	if err != nil {
		return err
	}
	if _, err := s.db.Exec(ctx, "UPDATE meta SET value = $2 WHERE key = $1", keyCheck, check); err != nil {
		return fmt.Errorf("record the new key: %w", err)
	}
	r := &rekeying{s: s, next: next, progress: p}
	const count = `SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM state) + (SELECT count(*) FROM reaction WHERE emoji IS NOT NULL)
		+ (SELECT count(*) FROM media WHERE data IS NOT NULL) + (SELECT count(*) FROM image)`
	if err := s.db.QueryRow(ctx, count).Scan(&r.total); err != nil {
		return fmt.Errorf("count the rows: %w", err)
	}
	if err := r.events(ctx); err != nil {
		return fmt.Errorf("seal the events anew: %w", err)
	}
	if err := r.state(ctx); err != nil {
		return fmt.Errorf("seal the state anew: %w", err)
	}
	if err := r.reactions(ctx); err != nil {
		return fmt.Errorf("seal the reactions anew: %w", err)
	}
	if err := r.data(ctx, "media", "id", colMedia); err != nil {
		return fmt.Errorf("seal the links anew: %w", err)
	}
	if err := r.data(ctx, "image", "hash", colImage); err != nil {
		return fmt.Errorf("seal the pictures anew: %w", err)
	}
	return nil
}

// rekeying goes through the tables that have sealed columns.
type rekeying struct {
	s           *Store
	next        *sealer
	progress    Progress
	done, total int64
}

func (r *rekeying) events(ctx context.Context) error {
	for after := []byte{}; ; {
		var rows [][]any
		const read = "SELECT id, data, excerpt FROM event WHERE id > $1 ORDER BY id LIMIT $2"
		err := r.s.scan(ctx, r.s.db, "read events", read, []any{after, rekeyBatch}, func(row scanner) error {
			var id, data, excerpt []byte
			if err := row.Scan(&id, &data, &excerpt); err != nil {
				return err
			}
			dataNow, err := r.reseal(data, colData, string(id))
			if err != nil {
				return err
			}
			excerptNow, err := r.reseal(excerpt, colExcerpt, string(id))
			rows, after = append(rows, []any{id, dataNow, excerptNow}), id
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		const write = "UPDATE event SET data = q.data, excerpt = q.excerpt FROM q WHERE event.id = q.id"
		if err := r.write(ctx, write, "id bytea, data bytea, excerpt bytea", rows); err != nil {
			return err
		}
	}
}

func (r *rekeying) state(ctx context.Context) error {
	for afterNetwork, afterKey := "", []byte{}; ; {
		var rows [][]any
		const read = "SELECT network, key, value FROM state WHERE (network, key) > ($1, $2) ORDER BY network, key LIMIT $3"
		err := r.s.scan(ctx, r.s.db, "read state", read, []any{afterNetwork, afterKey, rekeyBatch}, func(row scanner) error {
			var key, value []byte
			if err := row.Scan(&afterNetwork, &key, &value); err != nil {
				return err
			}
			now, err := r.reseal(value, colState, afterNetwork, string(key))
			rows, afterKey = append(rows, []any{afterNetwork, key, now}), key
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		const write = "UPDATE state SET value = q.value FROM q WHERE state.network = q.network AND state.key = q.key"
		if err := r.write(ctx, write, "network text, key bytea, value bytea", rows); err != nil {
			return err
		}
	}
}

func (r *rekeying) reactions(ctx context.Context) error {
	for after := []byte{}; ; {
		var rows [][]any
		const read = "SELECT anchor, target, network, person, emoji FROM reaction WHERE anchor > $1 AND emoji IS NOT NULL ORDER BY anchor LIMIT $2"
		err := r.s.scan(ctx, r.s.db, "read reactions", read, []any{after, rekeyBatch}, func(row scanner) error {
			var (
				anchor, target, person, emoji []byte
				network                       string
			)
			if err := row.Scan(&anchor, &target, &network, &person, &emoji); err != nil {
				return err
			}
			now, err := r.reseal(emoji, colEmoji, string(target), network, string(person))
			rows, after = append(rows, []any{anchor, now}), anchor
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		const write = "UPDATE reaction SET emoji = q.emoji FROM q WHERE reaction.anchor = q.anchor"
		if err := r.write(ctx, write, "anchor bytea, emoji bytea", rows); err != nil {
			return err
		}
	}
}

// data goes through a table whose column data is sealed for what its column key says.
func (r *rekeying) data(ctx context.Context, table, key, column string) error {
	for after := []byte{}; ; {
		var rows [][]any
		read := fmt.Sprintf("SELECT %[2]s, data FROM %[1]s WHERE %[2]s > $1 AND data IS NOT NULL ORDER BY %[2]s LIMIT $2", table, key)
		err := r.s.scan(ctx, r.s.db, "read "+table, read, []any{after, rekeyBatch}, func(row scanner) error {
			var id, data []byte
			if err := row.Scan(&id, &data); err != nil {
				return err
			}
			now, err := r.reseal(data, column, string(id))
			rows, after = append(rows, []any{id, now}), id
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		write := fmt.Sprintf("UPDATE %[1]s SET data = q.data FROM q WHERE %[1]s.%[2]s = q.id AND %[1]s.data IS NOT NULL", table, key)
		if err := r.write(ctx, write, "id bytea, data bytea", rows); err != nil {
			return err
		}
	}
}

// reseal returns a value under the new key; one that does not open stays as it is.
func (r *rekeying) reseal(value []byte, column string, row ...string) (any, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	plain, err := r.s.seal.open(value, column, row...)
	if err != nil {
		r.s.log.Warn("a value did not open under the old key either and stays as it is", "column", column, "row", fmt.Sprintf("%q", row))
		return value, nil
	}
	return r.next.seal(plain, column, row...)
}

func (r *rekeying) write(ctx context.Context, write, columns string, rows [][]any) error {
	with, args := r.s.source(columns, nil, rows)
	if _, err := r.s.db.Exec(ctx, with+write, args...); err != nil {
		return err
	}
	for range rows {
		r.done++
		r.progress.step(r.done, r.total)
	}
	return nil
}
