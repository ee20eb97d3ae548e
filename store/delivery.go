package store

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"lockbridge/gateway"
)

// DeliveryState is how far a delivery came.
type DeliveryState int64

// The states of a delivery. Dropped is stored as Dead, with a mark.
const (
	Pending   DeliveryState = iota
	Delivered               // or shown not to be needed there
	Dead                    // given up, its sender told
	Dropped                 // given up, and dropped by an operator
)

func (s DeliveryState) String() string {
	switch s {
	case Pending:
		return "waits"
	case Delivered:
		return "delivered"
	case Dead:
		return "given up"
	case Dropped:
		return "dropped"
	}
	return "unknown"
}

const (
	// maxReason bounds the reason that a dead delivery keeps, in bytes, and maxProblem the problem that any keeps.
	maxReason  = 500
	maxProblem = 200
)

func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// asText makes s fit a text column, which takes no NUL and only UTF-8.
func asText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// deliveryRows are the staged deliveries, in their order. The numbers that they get are noted.
func (t *tx) deliveryRows() query {
	if len(t.base.deliveries) == 0 {
		return query{}
	}
	rows := make([][]any, len(t.base.deliveries))
	t.seqs = make(map[string]int64, len(rows))
	for i, d := range t.base.deliveries {
		rows[i] = append([]any{int64(i)}, d...)
	}
	const insert = `INSERT INTO delivery (key, event, network, room, seal, due, accepted)
		SELECT key, event, network, room, seal, 0, accepted FROM q ORDER BY n`
	q := query{
		doing:   "write deliveries",
		columns: "n bigint, key text, event bytea, network text, room bytea, seal boolean, accepted bigint",
		rows:    rows,
		sql:     insert,
	}
	if t.w != nil && t.w.sqlite != nil { // rows of one statement have numbers that follow each other
		q.numbered = func(first int64, rows [][]any) {
			for i, row := range rows {
				t.seqs[row[1].(string)] = first + int64(i) //nolint:forcetypeassert // made above
			}
		}
		return q
	}
	q.sql = insert + " RETURNING key, seq"
	q.scan = func(row scanner) error {
		var (
			key string
			seq int64
		)
		err := row.Scan(&key, &seq)
		t.seqs[key] = seq
		return err
	}
	return q
}

// Finish implements gateway.Journal. A delivery that has ended already stays as it ended.
func (s *Store) Finish(ctx context.Context, done []gateway.Finished) error {
	v := s.view(ctx)
	if v == nil {
		return errNoTx
	}
	if err := v.enter(); err != nil {
		return err
	}
	defer v.mu.Unlock()
	for _, f := range done {
		for _, link := range f.Links {
			v.top.link(link)
		}
		for _, n := range f.Gone {
			v.top.drop(n)
		}
		if !f.Retracted.IsZero() {
			v.top.retracted = merged(v.top.retracted, map[gateway.ID]bool{f.Retracted: true})
		}
		if !f.Retry {
			v.top.dropOut(f.Key)
		}
		v.top.done = append(v.top.done, f)
	}
	return nil
}

// finishRows record what became of deliveries and wipe the events that wait for no other. On Postgres two networks may
// end the last two deliveries of an event at once: the rows of the events are locked first, so that the second sees
// what the first did.
func (l *layer) finishRows(now int64, keep time.Duration) []query {
	if len(l.done) == 0 {
		return nil
	}
	var again, ended, seqs, kept [][]any
	for _, f := range l.done {
		problem := any(nil)
		if f.Problem != "" {
			problem = asText(gateway.Shorten(f.Problem, maxProblem))
		}
		if f.Retry {
			again = append(again, []any{f.Seq, int64(f.Attempt), f.Due.UnixMilli(), problem})
			continue
		}
		state, reason := Delivered, any(nil)
		if f.Dead {
			state, reason = Dead, asText(gateway.Shorten(f.Reason, maxReason))
			if keep > 0 && !f.Wipe {
				kept = append(kept, []any{f.Seq})
			}
		}
		seq := []any{f.Seq}
		ended = append(ended, []any{seq[0], int64(state), reason, problem})
		seqs = append(seqs, seq)
	}
	return []query{
		{
			doing: "put deliveries off", columns: "seq bigint, attempt bigint, due bigint, problem text", rows: again, fixed: []any{now},
			sql: `UPDATE delivery SET attempt = q.attempt, due = q.due, tried = $1, problem = coalesce(q.problem, delivery.problem)
				FROM q WHERE delivery.seq = q.seq AND delivery.state = 0`,
		},
		{
			doing: "lock events", columns: "seq bigint", rows: seqs, postgresOnly: true,
			sql: `SELECT 1 FROM event WHERE id IN (SELECT d.event FROM q JOIN delivery d ON d.seq = q.seq) ORDER BY id FOR NO KEY UPDATE`,
		},
		{
			doing: "keep dead letters", columns: "seq bigint", rows: kept, fixed: []any{now + keep.Milliseconds()},
			sql: `UPDATE event SET keep_until = $1
				WHERE id IN (SELECT d.event FROM q JOIN delivery d ON d.seq = q.seq WHERE d.state = 0) AND keep_until < $1 AND excerpt IS NOT NULL`,
		},
		{
			doing: "end deliveries", columns: "seq bigint, state bigint, reason text, problem text", rows: ended, fixed: []any{now},
			sql: `UPDATE delivery SET state = q.state, reason = q.reason, tried = $1, ended = $1, problem = coalesce(q.problem, delivery.problem)
				FROM q WHERE delivery.seq = q.seq AND delivery.state = 0`,
		},
		{
			doing: "wipe bodies", columns: "seq bigint", rows: seqs, fixed: []any{now},
			sql: `UPDATE event SET data = NULL
				WHERE id IN (SELECT d.event FROM q JOIN delivery d ON d.seq = q.seq) AND data IS NOT NULL AND keep_until <= $1
				AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 0)`,
		},
	}
}

// TakeOver implements gateway.Journal.
func (s *Store) TakeOver(ctx context.Context, network string) (last int64, err error) {
	defer s.recent.doubt(network)
	if _, err := s.db.Exec(ctx, "UPDATE delivery SET due = 0 WHERE network = $1 AND state = 0 AND due > 0", network); err != nil {
		return 0, failed("end pauses", err)
	}
	const q = "SELECT coalesce(max(seq), 0) FROM delivery WHERE network = $1 AND state = 0"
	if err := s.readers.QueryRow(ctx, q, network).Scan(&last); err != nil {
		return 0, failed("look for the newest delivery", err)
	}
	return last, nil
}

// Lanes implements gateway.Journal. It steps from lane to lane in the index, so its cost grows with the lanes and not
// with what waits in them.
func (s *Store) Lanes(ctx context.Context, network string, now time.Time) (due []gateway.Address, next time.Time, err error) {
	const q = `WITH RECURSIVE lane(room) AS (
			SELECT (SELECT room FROM delivery WHERE network = $1 AND state = 0 ORDER BY room LIMIT 1)
			UNION ALL
			SELECT (SELECT d.room FROM delivery d WHERE d.network = $1 AND d.state = 0 AND d.room > lane.room ORDER BY d.room LIMIT 1)
			FROM lane WHERE lane.room IS NOT NULL
		)
		SELECT room, (SELECT d.due FROM delivery d WHERE d.network = $1 AND d.state = 0 AND d.room = lane.room ORDER BY d.seq LIMIT 1)
		FROM lane WHERE room IS NOT NULL`
	due, next, turn, sure := s.recent.lanes(network, now)
	if sure {
		return due, next, nil
	}
	heads := map[string]time.Time{}
	err = s.scan(ctx, s.readers, "look for lanes", q, []any{network}, func(rows scanner) error {
		var (
			room []byte
			ms   int64
		)
		if err := rows.Scan(&room, &ms); err != nil {
			return err
		}
		at := time.UnixMilli(ms)
		heads[string(room)] = at
		switch {
		case !at.After(now):
			due = append(due, gateway.Address{Network: network, ID: string(room)})
		case next.IsZero() || at.Before(next):
			next = at
		}
		return nil
	})
	if err == nil {
		s.recent.learn(network, turn, heads)
	}
	return due, next, err
}

// Head implements gateway.Journal. A delivery whose event cannot be read (a kind that this version does not know, a
// value that does not open) has a nil Event; it is for the caller to give it up.
func (s *Store) Head(ctx context.Context, lane gateway.Address, limit int) ([]gateway.Queued, error) {
	fresh, asked, sure := s.recent.head(lane, limit)
	if !sure {
		rows, err := s.Beyond(ctx, lane, 0, limit)
		if err == nil && len(rows) < limit {
			s.recent.answered(lane, asked, rows)
		}
		return rows, err
	}
	rows := make([]gateway.Queued, len(fresh))
	for i, f := range fresh {
		rows[i] = f.queued
		rows[i].Event = s.decodeEvent(f.queued.Seq, f.plain)
	}
	return rows, nil
}

// Beyond implements gateway.Journal.
func (s *Store) Beyond(ctx context.Context, lane gateway.Address, n, limit int) ([]gateway.Queued, error) {
	const q = `SELECT d.seq, d.key, d.seal, d.attempt, d.due, d.accepted, d.event, e.data
		FROM delivery d LEFT JOIN event e ON e.id = d.event
		WHERE d.network = $1 AND d.room = $2 AND d.state = 0 ORDER BY d.seq LIMIT $3 OFFSET $4`
	var out []gateway.Queued
	err := s.scan(ctx, s.readers, "read lane", q, []any{lane.Network, []byte(lane.ID), limit, n}, func(rows scanner) error {
		var (
			d             gateway.Queued
			due, accepted int64
			event, data   []byte
		)
		if err := rows.Scan(&d.Seq, &d.Key, &d.Seal, &d.Attempt, &due, &accepted, &event, &data); err != nil {
			return err
		}
		d.Room, d.Due, d.Accepted = lane, time.UnixMilli(due), time.UnixMilli(accepted)
		d.Event = s.readEvent(d.Seq, event, data)
		out = append(out, d)
		return nil
	})
	return out, err
}

func (s *Store) readEvent(seq int64, id, data []byte) *gateway.Event {
	plain, err := s.seal.open(data, colData, string(id))
	if err != nil {
		s.log.Error("the event of a delivery does not open", "seq", seq, "err", err)
		return nil
	}
	return s.decodeEvent(seq, plain)
}

func (s *Store) decodeEvent(seq int64, plain []byte) *gateway.Event {
	ev, err := gateway.DecodeEvent(plain)
	if err != nil {
		s.log.Error("the event of a delivery cannot be decoded", "seq", seq, "err", err)
		return nil
	}
	return ev
}

// LaneStats is how much waits in one lane.
type LaneStats struct {
	Lane    gateway.Address
	Pending int
	Oldest  time.Time // when the first of them was accepted
}

// Stats lists the lanes in which something waits. It counts in an index, and reads each lane's head.
func (s *Store) Stats(ctx context.Context) ([]LaneStats, error) {
	const q = `SELECT l.network, l.room, l.n, h.accepted
		FROM (SELECT network, room, count(*) AS n, min(seq) AS head FROM delivery WHERE state = 0 GROUP BY network, room) l
		JOIN delivery h ON h.seq = l.head ORDER BY l.network, l.room`
	var out []LaneStats
	err := s.scan(ctx, s.readers, "count deliveries", q, nil, func(rows scanner) error {
		var (
			l    LaneStats
			room []byte
			ms   int64
		)
		if err := rows.Scan(&l.Lane.Network, &room, &l.Pending, &ms); err != nil {
			return err
		}
		l.Lane.ID, l.Oldest = string(room), time.UnixMilli(ms)
		out = append(out, l)
		return nil
	})
	return out, err
}
