package store

import (
	"context"
	"time"

	"go.mau.fi/util/dbutil"

	"lockbridge/gateway"
)

const (
	// imageTime is how long a picture is kept after it was used last.
	imageTime = 90 * 24 * time.Hour
	// imageStep is how exactly it is noted when that was.
	imageStep = 24 * time.Hour
)

// PutLink keeps what lies behind the link id, sealed, until a time, or until one of events is retracted or forgotten. It
// returns that time. If the id is there already nothing changes, and its own time is returned. Where one of events was
// taken back already, or is not known, there is to be no link: the time is zero.
//
// Like all methods about links and pictures it must not be called in a transaction, whose end it would wait for.
func (s *Store) PutLink(ctx context.Context, id [8]byte, events []gateway.ID, data []byte, until time.Time) (time.Time, error) {
	sealed, err := s.seal.seal(data, colMedia, string(id[:]))
	if err != nil {
		return time.Time{}, err
	}
	rows, ids := make([][]any, 0, len(events)), distinct(events)
	for i, row := range ids {
		rows = append(rows, []any{id[:], row[0], any(nil), until.UnixMilli()})
		if i == 0 {
			rows[0][2] = sealed
		}
	}
	if len(rows) == 0 {
		return time.Time{}, nil
	}
	var there time.Time
	err = s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		const column = "id bytea"
		if err := s.lockEvents(ctx, column, ids, "SELECT id FROM q"); err != nil { // whoever retracts one waits
			return err
		}
		if _, there, err = s.link(ctx, s.db, id); err != nil || !there.IsZero() {
			return err
		}
		whole := 0
		q := query{
			doing: "look for events", columns: column, rows: ids,
			sql: `SELECT e.id FROM q CROSS JOIN event e WHERE e.id = q.id AND e.excerpt IS NOT NULL`,
		}
		if err := s.query(ctx, s.db, q, func(row scanner) error {
			whole++
			var found []byte
			return row.Scan(&found)
		}); err != nil || whole < len(ids) {
			return err
		}
		there = time.UnixMilli(until.UnixMilli())
		_, err := s.exec(ctx, query{
			doing: "write link", columns: "id bytea, event bytea, data bytea, until bigint", rows: rows,
			sql: `INSERT INTO media (id, event, data, until) SELECT id, event, data, until FROM q WHERE true ON CONFLICT DO NOTHING`,
		})
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	return there, nil
}

// Link returns what lies behind a link, and until when; nil where there is nothing, or nothing any more.
func (s *Store) Link(ctx context.Context, id [8]byte) (data []byte, until time.Time, err error) {
	sealed, until, err := s.link(ctx, s.readers, id)
	if err != nil || sealed == nil || !until.After(s.now()) {
		return nil, time.Time{}, err
	}
	data, err = s.seal.open(sealed, colMedia, string(id[:]))
	return data, until, err
}

func (s *Store) link(ctx context.Context, db *dbutil.Database, id [8]byte) (sealed []byte, until time.Time, err error) {
	err = s.scan(ctx, db, "read link", "SELECT data, until FROM media WHERE id = $1 AND data IS NOT NULL", []any{id[:]}, func(row scanner) error {
		var ms int64
		err := row.Scan(&sealed, &ms)
		until = time.UnixMilli(ms)
		return err
	})
	return sealed, until, err
}

// PutImage keeps a picture, sealed, as long as it is used.
func (s *Store) PutImage(ctx context.Context, hash [32]byte, mime string, data []byte) error {
	sealed, err := s.seal.seal(data, colImage, string(hash[:]))
	if err != nil {
		return err
	}
	const q = `INSERT INTO image (hash, mime, data, used) VALUES ($1, $2, $3, $4)
		ON CONFLICT (hash) DO UPDATE SET mime = excluded.mime, data = excluded.data, used = excluded.used`
	if _, err := s.db.Exec(ctx, q, hash[:], asText(mime), sealed, s.now().UnixMilli()); err != nil {
		return failed("write picture", err)
	}
	return nil
}

// Image returns a picture; nil: there is none.
func (s *Store) Image(ctx context.Context, hash [32]byte) (data []byte, mime string, err error) {
	var (
		sealed []byte
		used   int64
	)
	err = s.scan(ctx, s.readers, "read picture", "SELECT mime, data, used FROM image WHERE hash = $1", []any{hash[:]}, func(row scanner) error {
		return row.Scan(&mime, &sealed, &used)
	})
	if err != nil || sealed == nil {
		return nil, "", err
	}
	if now := s.now(); now.Sub(time.UnixMilli(used)) > imageStep {
		if _, err := s.db.Exec(ctx, "UPDATE image SET used = $2 WHERE hash = $1", hash[:], now.UnixMilli()); err != nil {
			return nil, "", failed("note that a picture is used", err)
		}
	}
	data, err = s.seal.open(sealed, colImage, string(hash[:]))
	return data, mime, err
}
