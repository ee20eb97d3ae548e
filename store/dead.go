package store

import (
	"context"
	"time"

	"lockbridge/gateway"
)

// LaneInfo is a lane in which something waits or was given up lately.
type LaneInfo struct {
	Lane    gateway.Address
	Pending int
	Changes int       // how many of them are edits, or change somebody's reactions
	Oldest  time.Time // when the first of them was accepted; zero: nothing waits
	Due     time.Time // when the first of them is tried next; the past means now
	Attempt int       // how often it was tried without success
	Problem string    // what its side said last that went wrong
	Dead    int       // deliveries that were given up and can still be retried
}

// Lanes lists every lane with something pending or dead.
func (b *Beside) Lanes(ctx context.Context) (out []LaneInfo, err error) {
	const q = `SELECT l.network, l.room, l.pending, l.changes, l.dead, h.accepted, h.due, h.attempt, h.problem FROM (
			SELECT network, room, max(pending) AS pending, max(changes) AS changes, max(head) AS head, max(dead) AS dead FROM (
				SELECT d.network, d.room, count(*) AS pending, count(e.stands) AS changes, min(d.seq) AS head, 0 AS dead
				FROM delivery d LEFT JOIN event e ON e.id = d.event WHERE d.state = 0 GROUP BY d.network, d.room
				UNION ALL
				SELECT d.network, d.room, 0, 0, 0, count(*) FROM delivery d JOIN event e ON e.id = d.event
				WHERE d.state = 2 AND NOT d.dropped AND e.data IS NOT NULL GROUP BY d.network, d.room
			) both_kinds GROUP BY network, room
		) l LEFT JOIN delivery h ON h.seq = l.head ORDER BY l.network, l.room`
	err = b.s.scan(ctx, b.s.readers, "look for lanes", q, nil, func(rows scanner) error {
		var (
			l                      LaneInfo
			room                   []byte
			accepted, due, attempt *int64
			problem                *string
		)
		if err := rows.Scan(&l.Lane.Network, &room, &l.Pending, &l.Changes, &l.Dead, &accepted, &due, &attempt, &problem); err != nil {
			return err
		}
		l.Lane.ID, l.Oldest, l.Due, l.Problem = string(room), when(accepted), when(due), textOf(problem)
		if attempt != nil {
			l.Attempt = int(*attempt)
		}
		out = append(out, l)
		return nil
	})
	return out, err
}

// DeadLetter is a delivery that was given up. It never holds what was said.
type DeadLetter struct {
	DeliveryTrace
	Event  gateway.ID
	From   gateway.Address // where it was said
	Author gateway.Person  // zero: the gateway itself, or somebody who was forgotten
	Kept   bool            // its text is still there: it can be retried
}

// Dead lists what was given up in a lane, or with a zero lane in all of them, the oldest first.
func (b *Beside) Dead(ctx context.Context, lane gateway.Address) (out []DeadLetter, err error) {
	q := `SELECT d.seq, d.key, d.network, d.room, d.state, d.dropped, d.attempt, d.accepted, d.tried, d.ended, d.due, d.reason, d.problem,
			e.id, e.network, e.room, e.native, e.excerpt, e.data IS NOT NULL
		FROM delivery d LEFT JOIN event e ON e.id = d.event WHERE d.state = 2 AND NOT d.dropped`
	args := []any{}
	if lane != (gateway.Address{}) {
		q, args = q+" AND d.network = $1 AND d.room = $2", []any{lane.Network, []byte(lane.ID)}
	}
	err = b.s.scan(ctx, b.s.readers, "list what was given up", q+" ORDER BY d.seq", args, func(rows scanner) error {
		var (
			l     DeadLetter
			event foundEvent
		)
		d, err := scanDelivery(alsoInto{rows, append(event.fields(), &l.Kept)})
		if err != nil {
			return err
		}
		about, _ := event.target(b.s)
		l.DeliveryTrace, l.Event, l.From, l.Author = d, about.Event, about.Room, about.Author
		out = append(out, l)
		return nil
	})
	return out, err
}

// alsoInto scans a row's further columns into fields.
type alsoInto struct {
	scanner
	fields []any
}

func (r alsoInto) Scan(dest ...any) error { return r.scanner.Scan(append(dest, r.fields...)...) }

const seqColumn = "seq bigint"

func seqRows(seqs []int64) [][]any {
	rows := make([][]any, len(seqs))
	for i, seq := range seqs {
		rows[i] = []any{seq}
	}
	return rows
}

// retryGrace keeps a sweep that has just looked from wiping the text of what is to be tried again.
const retryGrace = time.Minute

// Retry lets deliveries that were given up be tried again, at the head of their lanes, with their whole age before
// them. It returns how many: those that are not dead, or whose text is gone, stay as they are. A running gateway
// begins at once; where it does not hear of it, within 15 s.
func (b *Beside) Retry(ctx context.Context, seqs ...int64) (n int, err error) {
	if len(seqs) == 0 {
		return 0, nil
	}
	now, rows := b.s.now(), seqRows(seqs)
	err = b.s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		if err := b.s.lockEvents(ctx, seqColumn, rows, eventsOfSeqs); err != nil {
			return err
		}
		// A sweep that waits for the events looks at keep_until again.
		if _, err := b.s.exec(ctx, query{
			doing: "keep bodies", columns: seqColumn, rows: rows, fixed: []any{now.Add(retryGrace).UnixMilli()},
			sql: `UPDATE event SET keep_until = CASE WHEN keep_until < $1 THEN $1 ELSE keep_until + 1 END
				WHERE id IN (SELECT d.event FROM q JOIN delivery d ON d.seq = q.seq WHERE d.state = 2 AND NOT d.dropped) AND data IS NOT NULL`,
		}); err != nil {
			return err
		}
		// Attempt counts up: the side is to look whether an earlier try arrived.
		n, err = b.s.exec(ctx, query{
			doing: "retry deliveries", columns: seqColumn, rows: rows, fixed: []any{now.UnixMilli()},
			sql: `UPDATE delivery SET state = 0, attempt = attempt + 1, accepted = $1, due = 0, reason = NULL, ended = NULL
				WHERE seq IN (SELECT seq FROM q) AND state = 2 AND NOT dropped
				AND EXISTS (SELECT 1 FROM event e WHERE e.id = delivery.event AND e.data IS NOT NULL)`,
		})
		if err != nil || b.s.postgres == nil {
			return err
		}
		return b.s.query(ctx, b.s.db, query{
			doing: "notify", columns: seqColumn, rows: rows, fixed: []any{channel},
			sql: `SELECT pg_notify($1, network) FROM (SELECT DISTINCT d.network FROM q JOIN delivery d ON d.seq = q.seq) n`,
		}, func(scanner) error { return nil })
	})
	if err == nil {
		b.notice()
	}
	return n, err
}

// Discard drops deliveries that were given up and wipes their text, unless another delivery of it waits or was given
// up, too. It returns how many.
func (b *Beside) Discard(ctx context.Context, seqs ...int64) (n int, err error) {
	if len(seqs) == 0 {
		return 0, nil
	}
	rows := seqRows(seqs)
	err = b.s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		if err := b.s.lockEvents(ctx, seqColumn, rows, eventsOfSeqs); err != nil {
			return err
		}
		n, err = b.s.exec(ctx, query{
			doing: "drop deliveries", columns: seqColumn, rows: rows,
			sql: `UPDATE delivery SET dropped = true WHERE seq IN (SELECT seq FROM q) AND state = 2 AND NOT dropped`,
		})
		if err != nil {
			return err
		}
		_, err = b.s.exec(ctx, query{
			doing: "wipe bodies", columns: seqColumn, rows: rows,
			sql: `UPDATE event SET data = NULL WHERE id IN (SELECT d.event FROM q JOIN delivery d ON d.seq = q.seq WHERE d.dropped)
				AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state IN (0, 2) AND NOT d.dropped)`,
		})
		return err
	})
	return n, err
}

// eventsOfSeqs are the events of deliveries.
const eventsOfSeqs = "SELECT d.event FROM q JOIN delivery d ON d.seq = q.seq"

// lockEvents makes others that end deliveries of the same events wait; see finishRows.
func (s *Store) lockEvents(ctx context.Context, columns string, rows [][]any, events string) error {
	if s.postgres == nil {
		return nil
	}
	return s.query(ctx, s.db, query{
		doing: "lock events", columns: columns, rows: rows,
		sql: "SELECT 1 FROM event WHERE id IN (" + events + ") ORDER BY id FOR NO KEY UPDATE",
	}, func(scanner) error { return nil })
}

// exec runs a statement over rows and counts the rows that it changed.
func (s *Store) exec(ctx context.Context, q query) (n int, err error) {
	for _, part := range s.chunks(q.rows) {
		with, args := s.source(q.columns, q.fixed, part)
		res, err := s.db.Exec(ctx, with+q.sql, args...)
		if err != nil {
			return n, failed(q.doing, err)
		}
		changed, err := res.RowsAffected()
		if err != nil {
			return n, failed(q.doing, err)
		}
		n += int(changed)
	}
	return n, nil
}
