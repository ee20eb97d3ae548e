package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lockbridge/gateway"
)

// said is what is known of an event after its body is wiped. It is sealed.
type said struct {
	Author  gateway.Person `json:"a"`
	Excerpt string         `json:"x,omitempty"`
	ReplyTo string         `json:"r,omitempty"`
	Thread  string         `json:"t,omitempty"`
}

// resaid is an excerpt that replaces an earlier one.
type resaid struct {
	excerpt string
	sealed  []byte
}

// Append implements gateway.Journal. An event without deliveries keeps no body. A Retract wipes its target's author and
// excerpt, what people thought of it, and the links to its files. A room's id that is longer than 1,000 bytes is an error.
func (s *Store) Append(ctx context.Context, entries []gateway.Entry) error {
	v := s.view(ctx)
	if v == nil {
		return errNoTx
	}
	if err := v.enter(); err != nil {
		return err
	}
	defer v.mu.Unlock()
	now := s.now()
	for i := range entries {
		e := &entries[i]
		if e.Event == nil && len(e.Deliveries) > 0 {
			return errors.New("append: deliveries without an event")
		}
		if err := checkRooms(e); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if e.Event != nil {
			if err := s.appendEvent(v.top, e, now); err != nil {
				return fmt.Errorf("append: %w", err)
			}
		}
		for _, link := range e.Links {
			v.top.link(link)
		}
		for _, n := range e.Gone {
			v.top.drop(n)
		}
		if r := e.Reaction; r != nil {
			v.top.reactions = merged(v.top.reactions, map[reactionKey]gateway.Reactions{keyOf(*r): *r})
		}
	}
	return nil
}

func checkRooms(e *gateway.Entry) error {
	check := func(a gateway.Address) error {
		if a.Network == "" || a.ID == "" || len(a.ID) > gateway.MaxRoom {
			return fmt.Errorf("a room's id must have 1 to %d bytes and a network: %.100q", gateway.MaxRoom, a)
		}
		return nil
	}
	var errs []error
	if e.Event != nil {
		errs = append(errs, check(e.Event.At))
	}
	for i := range e.Links {
		errs = append(errs, check(e.Links[i].Room))
	}
	for i := range e.Deliveries {
		errs = append(errs, check(e.Deliveries[i].Room))
	}
	return errors.Join(errs...)
}

func (s *Store) appendEvent(l *layer, e *gateway.Entry, now time.Time) error {
	ev := e.Event
	var data any // NULL
	var body []byte
	if len(e.Deliveries) > 0 {
		var err error
		if body, err = gateway.EncodeEvent(ev); err != nil {
			return err
		}
		if data, err = s.seal.seal(body, colData, string(ev.ID[:])); err != nil {
			return err
		}
	}
	target := gateway.Target{Event: ev.ID, Room: ev.At, Native: ev.Native, Author: ev.Sender, Stands: e.Stands}
	if e.Reaction != nil {
		target.Of = e.Reaction.Target
	}
	var stands any // NULL
	if e.Stands.IsZero() {
		target.Excerpt = gateway.Excerpt(ev.Body)
		target.ReplyTo, target.Thread = gateway.Answers(ev.Body)
	} else { // whoever asks for it gets what it stands for
		stands = e.Stands[:]
		l.stands = merged(l.stands, map[gateway.ID]gateway.ID{ev.ID: e.Stands})
	}
	excerpt, err := s.sealSaid(ev.ID, said{target.Author, target.Excerpt, target.ReplyTo, target.Thread})
	if err != nil {
		return err
	}
	ms := now.UnixMilli()
	id, accepted := any(ev.ID[:]), any(ms)
	l.events = append(l.events, []any{id, ev.At.Network, []byte(ev.At.ID), nativeKey(ev.Native), data, excerpt, stands, accepted})
	l.targets = merged(l.targets, map[gateway.ID]gateway.Target{ev.ID: target})
	for _, d := range e.Deliveries {
		l.deliveries = append(l.deliveries, []any{d.Key, id, d.Room.Network, []byte(d.Room.ID), d.Seal, accepted})
		l.fresh = append(l.fresh, freshRow{queued: gateway.Queued{Queue: d, Due: time.UnixMilli(0), Accepted: time.UnixMilli(ms)}, plain: body, target: target})
		l.wakes = merged(l.wakes, map[string]bool{d.Room.Network: true})
	}
	if r, ok := ev.Body.(gateway.Retract); ok && !r.Target.ID.IsZero() {
		l.retracted = merged(l.retracted, map[gateway.ID]bool{r.Target.ID: true})
	}
	if e.Excerpt != "" && !e.Stands.IsZero() {
		replyTo, thread := gateway.Answers(ev.Body)
		sealed, err := s.sealSaid(e.Stands, said{ev.Sender, e.Excerpt, replyTo, thread})
		if err != nil {
			return err
		}
		l.said = merged(l.said, map[gateway.ID]resaid{e.Stands: {e.Excerpt, sealed}})
	}
	return nil
}

func (s *Store) sealSaid(id gateway.ID, about said) ([]byte, error) {
	plain, err := json.Marshal(about)
	if err != nil {
		return nil, fmt.Errorf("encode excerpt: %w", err)
	}
	return s.seal.seal(plain, colExcerpt, string(id[:]))
}

// changeRows change what is kept of events that are there already.
func (l *layer) changeRows() []query {
	if l.said == nil && l.retracted == nil && l.gone == nil {
		return nil
	}
	var again, retracted, gone [][]any
	for id, s := range l.said {
		again = append(again, []any{id[:], s.sealed})
	}
	for id := range l.retracted {
		retracted = append(retracted, []any{id[:]})
	}
	for n := range l.gone {
		gone = append(gone, []any{n.Room.Network, []byte(n.Room.ID), nativeKey(n.ID)})
	}
	const id = "id bytea"
	// withChanges are the events of q and those that stand for one of them, each set by its index.
	const withChanges = `(SELECT id FROM q UNION SELECT e.id FROM q JOIN event e ON e.stands = q.id)`
	return []query{
		{
			doing: "lock events", columns: id, rows: append(slices.Clone(retracted), again...), postgresOnly: true,
			sql: `SELECT 1 FROM event WHERE id IN ` + withChanges + ` ORDER BY id FOR NO KEY UPDATE`,
		},
		{
			doing: "replace excerpts", columns: "id bytea, excerpt bytea", rows: again,
			sql: `UPDATE event SET excerpt = q.excerpt FROM q WHERE event.id = q.id AND event.excerpt IS NOT NULL`,
		},
		{
			doing: "wipe excerpts", columns: id, rows: retracted,
			// What was given up of it is not tried again, and what waits still is not kept if it is given up.
			sql: `UPDATE event SET excerpt = NULL, keep_until = 0,
				data = CASE WHEN EXISTS (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 0) THEN data END
				WHERE id IN ` + withChanges,
		},
		{
			doing: "wipe reactions", columns: id, rows: retracted,
			sql: `UPDATE reaction SET emoji = NULL WHERE target IN (SELECT id FROM q)`,
		},
		{doing: "kill links", columns: id, rows: retracted, sql: killLinks},
		{
			doing: "mark native ids as seen", columns: "network text, room bytea, native bytea", rows: gone,
			sql: `UPDATE link SET event = NULL, alias = false WHERE (network, room, native) IN (SELECT network, room, native FROM q)`,
		},
	}
}

// killLinks ends the links to the files of retracted events.
const killLinks = `DELETE FROM media WHERE id IN (SELECT m.id FROM q JOIN media m ON m.event = q.id)`

// flush writes everything that was staged, in few statements.
func (t *tx) flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, now := t.base, t.s.now().UnixMilli()
	t.announced = true
	t.s.recent.announce(t)
	stmts := make([]query, 0, 12)
	if t.w != nil && t.w.postgres != nil {
		t.epoch, _ = t.lease.terms()
		stmts = append(stmts, checkLease(t.network, t.epoch))
	}
	add := func(q query) {
		if len(q.rows) > 0 && (t.s.postgres != nil || !q.postgresOnly) {
			stmts = append(stmts, q)
		}
	}
	add(t.seenRows())
	add(query{
		doing:   "write events",
		columns: "id bytea, network text, room bytea, native bytea, data bytea, excerpt bytea, stands bytea, accepted bigint",
		rows:    l.events,
		sql: `INSERT INTO event (id, network, room, native, data, excerpt, stands, accepted, keep_until)
			SELECT id, network, room, native, data, excerpt, stands, accepted, 0 FROM q`,
	})
	add(l.linkRows(now))
	add(t.deliveryRows())
	for _, q := range l.finishRows(now, t.s.dead) {
		add(q)
	}
	reactions, err := t.s.reactionRows(l.reactions, now)
	if err != nil {
		return err
	}
	add(reactions)
	for _, q := range l.changeRows() {
		add(q)
	}
	state, err := t.stateRows()
	if err != nil {
		return err
	}
	for _, q := range state {
		add(q)
	}
	add(t.notifyRows())
	return t.write(stmts)
}
