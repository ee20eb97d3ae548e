package store

import (
	"context"

	"go.mau.fi/util/dbutil"
)

// sweepBatch is how many rows one transaction of a sweep removes, so that it never holds up a message for long.
const sweepBatch = 200

// Sweep forgets what is older than the retention: events with their links and deliveries, and ids that were only marked
// as seen. An event for which a delivery still waits stays. Bodies whose time is over are wiped. It returns how many
// events were forgotten.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	now := s.now()
	old := now.Add(-s.retention).UnixMilli()
	if err := s.sweepBodies(ctx, now.UnixMilli()); err != nil {
		return 0, err
	}
	total := 0
	for {
		n, err := s.sweepEvents(ctx, old)
		total += n
		if err != nil {
			return total, err
		}
		if n < sweepBatch {
			break
		}
	}
	const seen = `DELETE FROM link WHERE seq IN (SELECT seq FROM link WHERE event IS NULL AND accepted < $1 ORDER BY accepted LIMIT $2)`
	return total, s.inBatches(ctx, "forget seen ids", seen, old)
}

// sweepBodies wipes what keep_until kept after the last delivery.
func (s *Store) sweepBodies(ctx context.Context, now int64) error {
	const q = `UPDATE event SET data = NULL WHERE id IN (
		SELECT e.id FROM event e WHERE e.data IS NOT NULL AND e.keep_until <= $1
		AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id AND d.state = 0) ORDER BY e.accepted LIMIT $2)
		AND keep_until <= $1` // again, for an operator who has just had a delivery retried
	return s.inBatches(ctx, "wipe bodies", q, now)
}

// inBatches repeats a statement with ($1, batch) until it finds less than a batch.
func (s *Store) inBatches(ctx context.Context, doing, statement string, arg int64) error {
	for {
		res, err := s.db.Exec(ctx, statement, arg, sweepBatch)
		if err != nil {
			return failed(doing, err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return failed(doing, err)
		}
		if n < sweepBatch {
			return nil
		}
	}
}

// sweepEvents forgets one batch. Two processes may sweep at once: what the other one deletes is gone here, too.
func (s *Store) sweepEvents(ctx context.Context, old int64) (int, error) {
	const find = `SELECT e.id FROM event e WHERE e.accepted < $1
		AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id AND d.state = 0) ORDER BY e.accepted LIMIT $2`
	var ids [][]any
	err := s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		ids = nil
		err := s.scan(ctx, s.db, "find old events", find, []any{old, sweepBatch}, func(rows dbutil.Rows) error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, []any{id})
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		t := &tx{s: s, ctx: ctx}
		columns := []string{"id bytea"}
		return t.write([]query{
			{doing: "forget links", columns: columns, rows: ids, sql: `DELETE FROM link WHERE event IN (SELECT id FROM q)`},
			{doing: "forget deliveries", columns: columns, rows: ids, sql: `DELETE FROM delivery WHERE event IN (SELECT id FROM q)`},
			{doing: "forget events", columns: columns, rows: ids, sql: `DELETE FROM event WHERE id IN (SELECT id FROM q)`},
		})
	})
	if err != nil {
		return 0, failed("forget old events", err)
	}
	return len(ids), nil
}
