package store

import (
	"context"
	"strings"
	"time"

	"lockbridge/gateway"
)

// maxTraces is how many messages one part of an id may name.
const maxTraces = 20

// Trace is the way of one message. It never holds what was said.
type Trace struct {
	Event    gateway.ID // zero: its id was marked as seen, and nothing came of it
	At       gateway.Address
	Native   string         // its id there; "" where the network gives none
	Author   gateway.Person // zero: the gateway itself, or somebody who was forgotten
	Accepted time.Time
	// Stands is the message that this one is an edit of, or to which it is a reaction: then Reaction is set. Zero: neither.
	Stands   gateway.ID
	Reaction bool
	Edits    []gateway.ID // of the message, the oldest first
	Reactors int          // how many people's reactions to it are known
	// Kept: the text is still there, because a delivery waits or was given up lately.
	Kept       bool
	Links      []TraceLink // in the order in which they became known
	Deliveries []DeliveryTrace
}

// TraceLink is a native id of a message in one of its rooms.
type TraceLink struct {
	gateway.Native
	Part  string    // see gateway.Part; "" for the text
	Alias bool      // another name for the id before it
	Known time.Time // since when
}

// DeliveryTrace is one delivery of a message.
type DeliveryTrace struct {
	Seq      int64
	Key      string
	Room     gateway.Address
	State    DeliveryState
	Attempt  int       // how often it was tried without success
	Accepted time.Time // or when an operator had it tried again
	Tried    time.Time // when its side was asked last; zero: not yet, or by a version that did not note it
	Ended    time.Time // likewise
	Due      time.Time // while it waits: when it is tried next; the past means as soon as its lane gets there
	Reason   string    // what its sender was told
	Problem  string    // what the side said last that went wrong
}

// Trace finds messages by any id: the event's own, a delivery key, a native id of any room, or, where none of these
// fits, a part of a native id; then at most 20, the newest.
func (b *Beside) Trace(ctx context.Context, id string) ([]Trace, error) {
	if id == "" || !isText(id) {
		return nil, nil
	}
	events, err := b.eventsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make([]Trace, 0, len(events))
	for _, event := range events {
		t, found, err := b.trace(ctx, event)
		if err != nil {
			return nil, err
		}
		if found {
			out = append(out, t)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return b.marks(ctx, id)
}

// eventsOf tries the kinds of ids one after the other.
func (b *Beside) eventsOf(ctx context.Context, id string) ([][]byte, error) {
	own := gateway.ID{}
	if parsed, err := gateway.ParseID(id); err == nil {
		own = parsed
	}
	within := "instr(native, $1)"
	if b.s.postgres != nil {
		within = "position($1 IN native)"
	}
	const by = `SELECT event, max(seq) AS newest FROM `
	for _, try := range []struct {
		query string
		arg   any
	}{
		{`SELECT id, 0 FROM event WHERE id = $1`, own[:]},
		{by + `delivery WHERE key = $1 GROUP BY event ORDER BY newest DESC LIMIT $2`, id},
		{by + `link WHERE native = $1 AND event IS NOT NULL GROUP BY event ORDER BY newest DESC LIMIT $2`, nativeKey(id)},
		{by + `link WHERE ` + within + ` > 0 AND event IS NOT NULL GROUP BY event ORDER BY newest DESC LIMIT $2`, []byte(id)},
	} {
		args := []any{try.arg}
		if strings.Contains(try.query, "$2") {
			args = append(args, maxTraces)
		}
		var events [][]byte
		err := b.s.scan(ctx, b.s.readers, "look for a message", try.query, args, func(rows scanner) error {
			var (
				event  []byte
				newest int64
			)
			err := rows.Scan(&event, &newest)
			events = append(events, event)
			return err
		})
		if err != nil || len(events) > 0 {
			return events, err
		}
	}
	return nil, nil
}

func (b *Beside) trace(ctx context.Context, id []byte) (t Trace, found bool, err error) {
	const event = `SELECT e.id, e.network, e.room, e.native, e.excerpt, r.target, e.stands, e.accepted, e.data IS NOT NULL
		FROM event e LEFT JOIN reaction r ON r.anchor = e.stands WHERE e.id = $1`
	err = b.s.scan(ctx, b.s.readers, "read event", event, []any{id}, func(rows scanner) error {
		var (
			e        foundEvent
			stands   []byte
			accepted int64
		)
		if err := rows.Scan(append(e.fields(), &e.of, &stands, &accepted, &t.Kept)...); err != nil {
			return err
		}
		about, ok := e.target(b.s)
		t.Event, t.At, t.Native, t.Author, t.Accepted, found = about.Event, about.Room, about.Native, about.Author, time.UnixMilli(accepted), ok
		if t.Reaction = !about.Of.IsZero(); t.Reaction {
			t.Stands = about.Of
		} else if len(stands) == 16 {
			t.Stands = gateway.ID(stands)
		}
		return nil
	})
	if err != nil || !found {
		return t, false, err
	}
	if err := b.traceChanges(ctx, id, &t); err != nil {
		return t, false, err
	}
	const links = `SELECT network, room, native, part, alias, accepted FROM link WHERE event = $1 ORDER BY seq`
	err = b.s.scan(ctx, b.s.readers, "read links", links, []any{id}, func(rows scanner) error {
		var (
			l                  TraceLink
			room, native, part []byte
			known              int64
		)
		if err := rows.Scan(&l.Room.Network, &room, &native, &part, &l.Alias, &known); err != nil {
			return err
		}
		l.Room.ID, l.ID, l.Part, l.Known = string(room), string(native), string(part), time.UnixMilli(known)
		t.Links = append(t.Links, l)
		return nil
	})
	if err != nil {
		return t, false, err
	}
	const deliveries = `SELECT seq, key, network, room, state, dropped, attempt, accepted, tried, ended, due, reason, problem
		FROM delivery WHERE event = $1 ORDER BY seq`
	err = b.s.scan(ctx, b.s.readers, "read deliveries", deliveries, []any{id}, func(rows scanner) error {
		d, err := scanDelivery(rows)
		t.Deliveries = append(t.Deliveries, d)
		return err
	})
	return t, true, err
}

// traceChanges finds what was made of a message afterwards.
func (b *Beside) traceChanges(ctx context.Context, id []byte, t *Trace) error {
	const edits = `SELECT id FROM event WHERE stands = $1 AND id <> $1 AND NOT EXISTS (SELECT 1 FROM reaction r WHERE r.anchor = $1) ORDER BY accepted, id LIMIT $2`
	if err := b.s.scan(ctx, b.s.readers, "look for edits", edits, []any{id, maxTraces}, func(row scanner) error {
		var edit []byte
		if err := row.Scan(&edit); err != nil || len(edit) != len(gateway.ID{}) {
			return err
		}
		t.Edits = append(t.Edits, gateway.ID(edit))
		return nil
	}); err != nil {
		return err
	}
	const reactors = `SELECT count(*) FROM reaction WHERE target = $1 AND emoji IS NOT NULL`
	return b.s.scan(ctx, b.s.readers, "count reactions", reactors, []any{id}, func(row scanner) error { return row.Scan(&t.Reactors) })
}

func scanDelivery(rows scanner) (d DeliveryTrace, err error) {
	var (
		room            []byte
		accepted, due   int64
		tried, ended    *int64
		dropped         bool
		reason, problem *string
	)
	err = rows.Scan(&d.Seq, &d.Key, &d.Room.Network, &room, &d.State, &dropped, &d.Attempt, &accepted, &tried, &ended, &due, &reason, &problem)
	d.Room.ID, d.Accepted, d.Tried, d.Ended = string(room), time.UnixMilli(accepted), when(tried), when(ended)
	if dropped {
		d.State = Dropped
	}
	if d.State == Pending {
		d.Due = time.UnixMilli(due)
	}
	d.Reason, d.Problem = textOf(reason), textOf(problem)
	return d, err
}

// when is a time that may be NULL.
func when(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms)
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// marks finds ids that were seen and passed nothing on: a key exchange, something that could not be read or must not
// cross.
func (b *Beside) marks(ctx context.Context, id string) (out []Trace, err error) {
	const q = `SELECT network, room, native, accepted FROM link WHERE native = $1 AND event IS NULL ORDER BY seq DESC LIMIT $2`
	err = b.s.scan(ctx, b.s.readers, "look for a seen id", q, []any{nativeKey(id), maxTraces}, func(rows scanner) error {
		var (
			t            Trace
			room, native []byte
			accepted     int64
		)
		if err := rows.Scan(&t.At.Network, &room, &native, &accepted); err != nil {
			return err
		}
		t.At.ID, t.Native, t.Accepted = string(room), string(native), time.UnixMilli(accepted)
		out = append(out, t)
		return nil
	})
	return out, err
}
