package store

import (
	"context"
	"fmt"
	"time"
)

const (
	// sweepBatch is how many rows one transaction of a sweep removes, so that it never holds up a message for long.
	sweepBatch = 50
	// sweepLook is how many of them are looked for at once; that holds up nobody.
	sweepLook = 5000
	// sweepTime bounds one statement of a sweep.
	sweepTime = time.Minute
)

// Sweep forgets what is older than the retention: events with their links and deliveries, and ids that were only marked
// as seen. An event for which a delivery still waits stays. Bodies whose time is over are wiped, and state of deliveries
// that have ended is removed. It returns how many events were forgotten.
//
// It works in small steps and rests after each for as long as that took, so that messages never wait for it and it takes
// half of what the database can do at most.
func (s *Store) Sweep(ctx context.Context) (forgotten int, err error) {
	now := s.now()
	old := now.Add(-s.retention).UnixMilli()
	const id = "id bytea"
	const bodies = `SELECT e.id FROM event e WHERE e.data IS NOT NULL AND e.keep_until <= $1
		AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id AND d.state = 0) ORDER BY e.accepted LIMIT $2`
	if _, err := s.sweep(ctx, bodies, now.UnixMilli(), 1, []query{{
		doing: "wipe bodies", columns: id,
		sql: `UPDATE event SET data = NULL WHERE id IN (SELECT id FROM q)
			AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 0)`,
	}}); err != nil {
		return 0, err
	}
	// Without a body nobody can have it delivered again.
	const events = `SELECT e.id FROM event e WHERE e.accepted < $1 AND e.data IS NULL
		AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id AND d.state = 0) ORDER BY e.accepted LIMIT $2`
	forgotten, err = s.sweep(ctx, events, old, 1, []query{
		{doing: "forget links", columns: id, sql: `DELETE FROM link WHERE event IN (SELECT id FROM q)`},
		{doing: "forget reactions", columns: id, sql: `DELETE FROM reaction WHERE target IN (SELECT id FROM q)`},
		{doing: "forget deliveries", columns: id, sql: `DELETE FROM delivery WHERE event IN (SELECT id FROM q)`},
		{doing: "forget events", columns: id, sql: `DELETE FROM event WHERE id IN (SELECT id FROM q)`},
	})
	if err != nil {
		return forgotten, err
	}
	const seen = `SELECT network, room, native FROM link WHERE event IS NULL AND accepted < $1 ORDER BY accepted LIMIT $2`
	if _, err := s.sweep(ctx, seen, old, 3, []query{{
		doing: "forget seen ids", columns: "network text, room bytea, native bytea",
		sql: `DELETE FROM link WHERE (network, room, native) IN (SELECT network, room, native FROM q)`,
	}}); err != nil {
		return forgotten, err
	}
	if err := s.sweepMedia(ctx, now); err != nil {
		return forgotten, err
	}
	return forgotten, s.sweepOuts(ctx)
}

// sweepMedia removes links that have expired and pictures that nobody uses any more.
func (s *Store) sweepMedia(ctx context.Context, now time.Time) error {
	const links, hash = "id bytea, event bytea", "hash bytea"
	if _, err := s.sweep(ctx, "SELECT id, event FROM media WHERE until <= $1 LIMIT $2", now.UnixMilli(), 2, []query{{
		doing: "remove links", columns: links,
		sql: `DELETE FROM media WHERE (id, event) IN (SELECT id, event FROM q)`,
	}}); err != nil {
		return err
	}
	_, err := s.sweep(ctx, "SELECT hash FROM image WHERE used <= $1 LIMIT $2", now.Add(-imageTime).UnixMilli(), 1, []query{{
		doing: "remove pictures", columns: hash,
		sql: `DELETE FROM image WHERE hash IN (SELECT hash FROM q)`,
	}})
	return err
}

// sweep looks for rows with find, whose parameters are arg and a limit, and has the statements remove them, until there
// are none left.
func (s *Store) sweep(ctx context.Context, find string, arg int64, columns int, remove []query) (removed int, err error) {
	for {
		rows, err := s.look(ctx, columns, find, arg, sweepLook)
		if err != nil {
			return removed, err
		}
		for at := 0; at < len(rows); at += sweepBatch {
			began := time.Now()
			batch := rows[at:min(at+sweepBatch, len(rows))]
			if err := s.remove(ctx, batch, remove); err != nil {
				return removed, err
			}
			removed += len(batch)
			if rest(ctx, time.Since(began)); ctx.Err() != nil {
				return removed, ctx.Err()
			}
		}
		if len(rows) < sweepLook {
			return removed, nil
		}
	}
}

// look reads rows of so many columns, without holding up anybody.
func (s *Store) look(ctx context.Context, columns int, find string, args ...any) (found [][]any, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	err = s.scan(ctx, s.readers, "look for what is old", find, args, func(rows scanner) error {
		row, into := make([]any, columns), make([]any, columns)
		for i := range row {
			into[i] = &row[i]
		}
		found = append(found, row)
		return rows.Scan(into...)
	})
	return found, err
}

// remove runs the statements over rows in one transaction. Two processes may sweep at once: what the other one removed is
// gone here, too.
func (s *Store) remove(ctx context.Context, rows [][]any, statements []query) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	err := s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		t := &tx{s: s, ctx: ctx}
		for i := range statements {
			statements[i].rows = rows
		}
		return t.write(statements)
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// sweepOuts removes the state of deliveries that have ended in another way than by Finish, which does so itself: an
// operator dropped them, or their event was forgotten.
func (s *Store) sweepOuts(ctx context.Context) error {
	found, err := s.look(ctx, 2, "SELECT network, key FROM state WHERE key >= $1 AND key < $2", []byte(outPrefix), afterPrefix(outPrefix))
	if err != nil {
		return err
	}
	for i, row := range found {
		key, _ := row[1].([]byte)
		found[i] = append(row, asText(outKey(string(key))))
	}
	for at := 0; at < len(found); at += sweepBatch {
		batch := found[at:min(at+sweepBatch, len(found))]
		if err := s.remove(ctx, batch, []query{{
			doing: "remove state of deliveries", columns: "network text, key bytea, delivery text",
			sql: `DELETE FROM state WHERE (network, key) IN (SELECT q.network, q.key FROM q
				WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.key = q.delivery AND d.state = 0))`,
		}}); err != nil {
			return err
		}
	}
	return nil
}
