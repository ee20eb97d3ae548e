package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"lockbridge/gateway"
)

const (
	// maxNative is the longest native id that is kept as it is, in bytes. A longer one is recognised by its hash, so
	// that no peer can choose an id that the database refuses, but it cannot be named again.
	maxNative = 1000
	hashed    = "sha256:"
)

func nativeKey(id string) []byte {
	if len(id) <= maxNative {
		return []byte(id)
	}
	sum := sha256.Sum256([]byte(id))
	return []byte(hashed + hex.EncodeToString(sum[:]))
}

func isHash(native string) bool {
	return strings.HasPrefix(native, hashed) && len(native) == len(hashed)+2*sha256.Size
}

const (
	roomColumns   = "n bigint, network text, room bytea"
	nativeColumns = roomColumns + ", native bytea"
)

// nativeRows numbers the ids, so that answers name them by n.
func nativeRows(natives []gateway.Native) [][]any {
	rows := make([][]any, 0, len(natives))
	for i, n := range natives {
		if n.ID != "" {
			rows = append(rows, []any{int64(i), n.Room.Network, []byte(n.Room.ID), nativeKey(n.ID)})
		}
	}
	return rows
}

// linkRows are the staged links.
func (l *layer) linkRows(now int64) query {
	if len(l.linkOrder) == 0 {
		return query{}
	}
	rows := make([][]any, 0, len(l.linkOrder))
	for i, n := range l.linkOrder {
		link := l.links[n]
		var event any // NULL: seen only
		if !link.Event.IsZero() {
			event = link.Event[:]
		}
		if n.ID != "" {
			rows = append(rows, []any{int64(i), n.Room.Network, []byte(n.Room.ID), nativeKey(n.ID), event, []byte(link.Part), link.Alias, now})
		}
	}
	return query{
		doing:   "write links",
		columns: nativeColumns + ", event bytea, part bytea, alias boolean, accepted bigint",
		rows:    rows,
		sql: `INSERT INTO link (network, room, native, event, part, alias, accepted)
			SELECT network, room, native, event, part, alias, accepted FROM q WHERE true ORDER BY n
			ON CONFLICT (network, room, native) DO UPDATE
				SET event = excluded.event, part = excluded.part, accepted = excluded.accepted
				WHERE link.alias AND excluded.alias`,
	}
}

// errSeen ends a transaction that hoped in vain.
var errSeen = errors.New("something was seen before")

// seenRows check, where a transaction took natives for new without asking, that they are: it fails if one is not.
func (t *tx) seenRows() query {
	return query{
		doing: "look for what was seen", columns: nativeColumns, rows: t.unseen, postgresOnly: true, fails: errSeen,
		sql: `SELECT 1 / (CASE WHEN EXISTS (
				SELECT 1 FROM q JOIN link l ON l.network = q.network AND l.room = q.room AND l.native = q.native
			) THEN 0 ELSE 1 END)`,
	}
}

// Seen implements gateway.Journal. On Postgres nearly everything is new, and a question is a round trip: a transaction
// hopes at first, and is run again with the question where that was wrong.
func (s *Store) Seen(ctx context.Context, natives []gateway.Native, likely bool) (map[gateway.Native]bool, error) {
	v := s.view(ctx)
	if v == nil {
		return nil, errNoTx
	}
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.mu.Unlock()
	seen := make(map[gateway.Native]bool)
	ask := make([]gateway.Native, 0, len(natives))
	for _, n := range natives {
		if _, ok := v.top.linked(n, gateway.Link{}, false); ok {
			seen[n] = true
		} else {
			ask = append(ask, n)
		}
	}
	q := query{
		doing: "look for what was seen", columns: nativeColumns, rows: nativeRows(ask),
		sql: `SELECT q.n FROM q CROSS JOIN link l WHERE l.network = q.network AND l.room = q.room AND l.native = q.native`,
	}
	if len(q.rows) == 0 {
		return seen, nil
	}
	if v.hopes && !likely {
		v.unseen = append(v.unseen, q.rows...)
		return seen, nil
	}
	err := v.query(q, func(rows scanner) error {
		var i int64
		err := rows.Scan(&i)
		if err == nil {
			seen[ask[i]] = true
		}
		return err
	})
	return seen, err
}

// Used implements gateway.Journal.
func (s *Store) Used(ctx context.Context, rooms []gateway.Address) (map[gateway.Address]bool, error) {
	used := make(map[gateway.Address]bool)
	if len(rooms) == 0 {
		return used, nil
	}
	rows := make([][]any, len(rooms))
	for i, room := range rooms {
		rows[i] = []any{int64(i), room.Network, []byte(room.ID)}
	}
	q := query{
		doing: "look for rooms in use", columns: roomColumns, rows: rows,
		sql: `SELECT q.n FROM q WHERE EXISTS (
				SELECT 1 FROM link l JOIN delivery d ON d.event = l.event
				WHERE l.network = q.network AND l.room = q.room AND (d.network <> q.network OR d.room <> q.room))`,
	}
	scan := func(rows scanner) error {
		var i int64
		err := rows.Scan(&i)
		if err == nil {
			used[rooms[i]] = true
		}
		return err
	}
	return used, s.either(ctx, q, scan)
}

// Targets implements gateway.Journal.
func (s *Store) Targets(ctx context.Context, natives []gateway.Native) (map[gateway.Native]gateway.Target, error) {
	q := query{
		doing: "resolve native ids", columns: nativeColumns, rows: nativeRows(natives),
		sql: `SELECT q.n, l.part, l.alias, l.event, s.id, s.network, s.room, s.native, s.excerpt, r.target
			FROM q CROSS JOIN link l LEFT JOIN event e ON e.id = l.event LEFT JOIN event s ON s.id = coalesce(e.stands, e.id)
			LEFT JOIN reaction r ON r.anchor = e.stands
			WHERE l.network = q.network AND l.room = q.room AND l.native = q.native`,
	}
	known := make(map[gateway.Native]gateway.Link)
	events := make(map[gateway.ID]gateway.Target) // by what was linked, which may stand for another one
	scan := func(rows scanner) error {
		var (
			i            int64
			part, linked []byte
			link         gateway.Link
			event        foundEvent
		)
		if err := rows.Scan(append(append([]any{&i, &part, &link.Alias, &linked}, event.fields()...), &event.of)...); err != nil {
			return err
		}
		link.Native, link.Part = natives[i], string(part)
		if t, ok := event.target(s); ok && len(linked) == 16 {
			link.Event = gateway.ID(linked)
			events[link.Event] = t
		}
		known[link.Native] = link
		return nil
	}
	out := make(map[gateway.Native]gateway.Target)
	if len(q.rows) == 0 {
		return out, nil
	}
	v := s.view(ctx)
	if v == nil {
		if err := s.query(ctx, s.readers, q, scan); err != nil {
			return nil, err
		}
		return resolved(out, known, events), nil
	}
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.mu.Unlock()
	if err := v.query(q, scan); err != nil {
		return nil, err
	}
	if err := v.overlay(natives, known, events); err != nil {
		return nil, err
	}
	return resolved(out, known, events), nil
}

func resolved(out map[gateway.Native]gateway.Target, known map[gateway.Native]gateway.Link, events map[gateway.ID]gateway.Target) map[gateway.Native]gateway.Target {
	for n, link := range known {
		if t, ok := events[link.Event]; ok && !link.Event.IsZero() {
			t.Part = link.Part
			out[n] = t
		}
	}
	return out
}

// overlay lays what is staged over what the database knows of natives.
func (v *view) overlay(natives []gateway.Native, known map[gateway.Native]gateway.Link, events map[gateway.ID]gateway.Target) error {
	var ask [][]any
	for _, n := range natives {
		link, ok := known[n]
		link, ok = v.top.linked(n, link, ok)
		if v.top.dropped(n) {
			delete(known, n)
			continue
		}
		if !ok {
			continue
		}
		known[n] = link
		if _, ok := events[link.Event]; ok || link.Event.IsZero() {
			continue
		}
		meant := v.top.standsFor(link.Event)
		if meant.IsZero() {
			meant = link.Event
		}
		if t, ok := v.top.target(meant); ok {
			t.Stands, t.Of = gateway.ID{}, v.top.reactedTo(meant)
			events[link.Event] = t
		} else {
			ask = append(ask, []any{link.Event[:], meant[:]})
		}
	}
	if len(ask) > 0 {
		if err := v.lookUp(ask, events); err != nil {
			return err
		}
	}
	for id, t := range events {
		events[id] = v.top.about(t)
	}
	return nil
}

// lookUp asks the database for events, and puts what they stand for into found.
func (v *view) lookUp(ask [][]any, found map[gateway.ID]gateway.Target) error {
	q := query{
		doing: "look events up", columns: "id bytea, meant bytea", rows: ask,
		sql: `SELECT q.id, s.id, s.network, s.room, s.native, s.excerpt, r.target
			FROM q CROSS JOIN event e JOIN event s ON s.id = coalesce(e.stands, e.id) LEFT JOIN reaction r ON r.anchor = s.id AND s.stands = s.id
			WHERE e.id = q.meant`,
	}
	return v.query(q, func(rows scanner) error {
		var (
			id    []byte
			event foundEvent
		)
		if err := rows.Scan(append(append([]any{&id}, event.fields()...), &event.of)...); err != nil {
			return err
		}
		if t, ok := event.target(v.s); ok && len(id) == 16 {
			found[gateway.ID(id)] = t
		}
		return nil
	})
}

// foundEvent is a row of event, all NULL where there is none.
type foundEvent struct {
	id      []byte
	network *string
	room    []byte
	native  []byte
	excerpt []byte
	of      []byte // what was reacted to; see gateway.Target
}

func (f *foundEvent) fields() []any {
	return []any{&f.id, &f.network, &f.room, &f.native, &f.excerpt}
}

// target returns what is known of the event; false: it is not known any more. An excerpt that was wiped, or that does
// not open, leaves what it holds empty.
func (f *foundEvent) target(s *Store) (gateway.Target, bool) {
	if len(f.id) != 16 || f.network == nil {
		return gateway.Target{}, false
	}
	t := gateway.Target{Event: gateway.ID(f.id), Room: gateway.Address{Network: *f.network, ID: string(f.room)}, Native: string(f.native), Wiped: f.excerpt == nil}
	if len(f.of) == 16 {
		t.Of = gateway.ID(f.of)
	}
	if plain, err := s.seal.open(f.excerpt, colExcerpt, string(f.id)); err == nil {
		var about said
		if err := json.Unmarshal(plain, &about); err == nil {
			t.Author, t.Excerpt, t.ReplyTo, t.Thread = about.Author, about.Excerpt, about.ReplyTo, about.Thread
		}
	}
	return t, true
}

// Echoes implements gateway.Journal. It knows committed deliveries only: none is sent before.
func (s *Store) Echoes(ctx context.Context, keys []string) (map[string]gateway.Target, error) {
	v := s.view(ctx)
	if v == nil {
		return nil, errNoTx
	}
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.mu.Unlock()
	out := make(map[string]gateway.Target)
	q := query{
		doing: "resolve delivery keys", columns: "n bigint, key text",
		sql: `SELECT q.n, CASE WHEN d.state = 0 THEN d.seq ELSE 0 END, e.stands, e.id, e.network, e.room, e.native, e.excerpt, r.target
			FROM q CROSS JOIN delivery d JOIN event e ON e.id = d.event LEFT JOIN reaction r ON r.anchor = e.stands WHERE d.key = q.key`,
	}
	for i, key := range keys {
		if t, ok := s.recent.echo(v.network, key); ok {
			out[key] = t
		} else if isText(key) { // an echo's key is what a peer sent
			q.rows = append(q.rows, []any{int64(i), key})
		}
	}
	if len(q.rows) == 0 {
		return out, nil
	}
	err := v.query(q, func(rows scanner) error {
		var (
			i, seq int64
			stands []byte
			event  foundEvent
		)
		if err := rows.Scan(append(append([]any{&i, &seq, &stands}, event.fields()...), &event.of)...); err != nil {
			return err
		}
		if t, ok := event.target(s); ok {
			t.Seq = seq
			if len(stands) == 16 {
				t.Stands = gateway.ID(stands)
			}
			out[keys[i]] = t
		}
		return nil
	})
	return out, err
}
