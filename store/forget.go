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

// forgetBatch is how many events are looked at in one go.
const forgetBatch = 500

// Forgotten counts what became of what is known of somebody.
type Forgotten struct {
	Events     int // whose author and excerpt were wiped
	Deliveries int // that waited, or had been given up, and were dropped
	Networks   int // whose sides have yet to forget what they know
}

// Forget wipes what the journal knows of a person's words: authors, excerpts and texts, reactions to them, links to
// their files, and the person's own reactions and pictures; what still waits of them is dropped. It leaves a request to each network's side, which a gateway that runs carries out at once; where it does not
// hear of it, within 15 s. Who wrote what is sealed, so all events are read.
//
// What others quoted stays with their own messages; ids of messages and rooms stay until the retention ends, since
// without them everything would be carried again.
func (b *Beside) Forget(ctx context.Context, who gateway.Person) (Forgotten, error) {
	var n Forgotten
	if who.IsZero() || who.Network == "" {
		return n, errors.New("forget: nobody is named")
	}
	var err error
	if n.Networks, err = b.askSides(ctx, who); err != nil {
		return n, err
	}
	for after := (&place{}); after != nil; {
		var mine, faces [][]any
		if mine, faces, after, err = b.eventsBy(ctx, who, *after); err != nil {
			return n, err
		}
		if err := b.removeImages(ctx, faces); err != nil {
			return n, err
		}
		if len(mine) == 0 {
			continue
		}
		events, deliveries, err := b.wipe(ctx, mine)
		if err != nil {
			return n, err
		}
		n.Events, n.Deliveries = n.Events+events, n.Deliveries+deliveries
	}
	if _, err := b.s.exec(ctx, query{ // after the events, whose order a gateway may follow just now
		doing: "remove reactions", columns: "network text, person bytea", rows: [][]any{{who.Network, []byte(who.ID)}},
		sql: `DELETE FROM reaction WHERE (network, person) IN (SELECT network, person FROM q)`,
	}); err != nil {
		return n, err
	}
	return n, nil
}

// removeImages removes pictures by their hashes.
func (b *Beside) removeImages(ctx context.Context, hashes [][]any) error {
	if len(hashes) == 0 {
		return nil
	}
	_, err := b.s.exec(ctx, query{
		doing: "remove pictures", columns: "hash bytea", rows: hashes,
		sql: `DELETE FROM image WHERE hash IN (SELECT hash FROM q)`,
	})
	return err
}

// askSides leaves a request to every network that keeps anything.
func (b *Beside) askSides(ctx context.Context, who gateway.Person) (int, error) {
	n, err := b.s.exec(ctx, query{
		doing: "ask sides to forget", columns: "home text, person bytea, asked bigint",
		rows: [][]any{{who.Network, []byte(who.ID), b.s.now().UnixMilli()}},
		sql: `INSERT INTO forget (network, home, person, asked)
			SELECT n.network, q.home, q.person, q.asked FROM q CROSS JOIN (SELECT DISTINCT network FROM state) n WHERE true
			ON CONFLICT (network, home, person) DO UPDATE SET asked = excluded.asked`,
	})
	if err != nil {
		return n, err
	}
	b.notice()
	if b.s.postgres != nil {
		const tell = "SELECT pg_notify($1, network) FROM (SELECT DISTINCT network FROM forget) n"
		if _, err := b.s.db.Exec(ctx, tell, channel); err != nil {
			return n, failed("tell sides to forget", err)
		}
	}
	return n, nil
}

// place is where among the events a look at all of them has come to.
type place struct {
	accepted int64
	id       []byte
	room     string
}

// eventsBy finds those of the next events whose author who is, and the hashes of the pictures that they had then; next
// is nil after the last ones.
func (b *Beside) eventsBy(ctx context.Context, who gateway.Person, after place) (mine, faces [][]any, next *place, err error) {
	known := map[string]bool{}
	next, err = b.eachAuthor(ctx, after, func(at place, author gateway.Person) {
		if author.Network != who.Network || author.ID != who.ID {
			return
		}
		mine = append(mine, []any{at.id})
		hash, err := hex.DecodeString(strings.TrimPrefix(author.Avatar, gateway.ImageRef))
		if err == nil && len(hash) == sha256.Size && !known[author.Avatar] {
			known[author.Avatar] = true
			faces = append(faces, []any{hash})
		}
	})
	return mine, faces, next, err
}

// eachAuthor calls fn with the authors of the next events; next is nil after the last ones.
func (b *Beside) eachAuthor(ctx context.Context, after place, fn func(at place, author gateway.Person)) (next *place, err error) {
	const q = `SELECT id, accepted, room, excerpt, data FROM event
		WHERE accepted > $1 OR accepted = $1 AND id > $2 ORDER BY accepted, id LIMIT $3`
	n := 0
	err = b.s.scan(ctx, b.s.readers, "read events", q, []any{after.accepted, append([]byte{}, after.id...), forgetBatch}, func(rows scanner) error {
		var (
			at                  place
			room, excerpt, data []byte
		)
		if err := rows.Scan(&at.id, &at.accepted, &room, &excerpt, &data); err != nil {
			return err
		}
		at.room = string(room)
		fn(at, b.s.author(at.id, excerpt, data))
		n++
		next = &at
		return nil
	})
	if n < forgetBatch {
		next = nil
	}
	return next, err
}

// author is who wrote an event; nobody where that was wiped or does not open.
func (s *Store) author(id, excerpt, data []byte) gateway.Person {
	var about said
	if plain, err := s.seal.open(excerpt, colExcerpt, string(id)); err == nil && json.Unmarshal(plain, &about) == nil {
		return about.Author
	}
	if data == nil {
		return gateway.Person{}
	}
	plain, err := s.seal.open(data, colData, string(id))
	if err != nil {
		return gateway.Person{}
	}
	ev, err := gateway.DecodeEvent(plain)
	if err != nil {
		return gateway.Person{}
	}
	return ev.Sender
}

// wipe forgets what events held, and drops their deliveries.
func (b *Beside) wipe(ctx context.Context, ids [][]any) (events, deliveries int, err error) {
	const columns = "id bytea"
	err = b.s.db.DoTxn(ctx, nil, func(ctx context.Context) (err error) {
		if err := b.s.lockEvents(ctx, columns, ids, "SELECT id FROM q"); err != nil {
			return err
		}
		for _, q := range []query{
			{doing: "wipe reactions", sql: `UPDATE reaction SET emoji = NULL WHERE target IN (SELECT id FROM q)`},
			{doing: "kill links", sql: killLinks},
		} {
			q.columns, q.rows = columns, ids
			if _, err := b.s.exec(ctx, q); err != nil {
				return err
			}
		}
		if events, err = b.s.exec(ctx, query{
			doing: "wipe events", columns: columns, rows: ids,
			sql: `UPDATE event SET data = NULL, excerpt = NULL WHERE id IN (SELECT id FROM q)`,
		}); err != nil {
			return err
		}
		deliveries, err = b.s.exec(ctx, query{
			doing: "drop deliveries", columns: columns, rows: ids, fixed: []any{b.s.now().UnixMilli()},
			sql: `UPDATE delivery SET state = 2, dropped = true, ended = coalesce(ended, $1)
				WHERE event IN (SELECT id FROM q) AND state IN (0, 2) AND NOT dropped`,
		})
		return err
	})
	return events, deliveries, err
}

// Forgets implements gateway.Journal.
func (s *Store) Forgets(ctx context.Context, network string) (out []gateway.Person, err error) {
	const q = `SELECT home, person FROM forget WHERE network = $1 ORDER BY asked`
	err = s.scan(ctx, s.readers, "look for people to forget", q, []any{network}, func(rows scanner) error {
		var (
			p  gateway.Person
			id []byte
		)
		err := rows.Scan(&p.Network, &id)
		p.ID = string(id)
		out = append(out, p)
		return err
	})
	return out, err
}

// Forgot implements gateway.Journal.
func (s *Store) Forgot(ctx context.Context, network string, who gateway.Person) error {
	const q = `DELETE FROM forget WHERE network = $1 AND home = $2 AND person = $3`
	if _, err := s.db.Exec(ctx, q, network, who.Network, []byte(who.ID)); err != nil {
		return failed("note that somebody was forgotten", err)
	}
	return nil
}
