package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"lockbridge/gateway"
)

// reactionKey is what there is one set of reactions for.
type reactionKey struct {
	target  gateway.ID
	network string
	person  string
}

func keyOf(r gateway.Reactions) reactionKey {
	return reactionKey{r.Target, r.Who.Network, r.Who.ID}
}

// thought is the sealed part of a reaction.
type thought struct {
	Emoji []string `json:"e"`
	Name  string   `json:"d,omitempty"` // of the person
}

// reactionRows are the staged sets, in an order that two transactions have in common.
func (s *Store) reactionRows(staged map[reactionKey]gateway.Reactions, now int64) (query, error) {
	var rows [][]any
	for _, r := range staged {
		plain, err := json.Marshal(thought{r.Emoji, r.Who.Name})
		if err != nil {
			return query{}, fmt.Errorf("encode reaction: %w", err)
		}
		emoji, err := s.seal.seal(plain, colEmoji, string(r.Target[:]), r.Who.Network, r.Who.ID)
		if err != nil {
			return query{}, err
		}
		rows = append(rows, []any{r.Anchor[:], r.Target[:], r.Who.Network, []byte(r.Who.ID), emoji, now})
	}
	slices.SortFunc(rows, func(a, b []any) int {
		return cmp.Compare(string(a[0].([]byte)), string(b[0].([]byte))) //nolint:forcetypeassert // made above
	})
	return query{
		doing: "write reactions", columns: "anchor bytea, target bytea, network text, person bytea, emoji bytea, began bigint", rows: rows,
		sql: `INSERT INTO reaction (anchor, target, network, person, emoji, began)
			SELECT anchor, target, network, person, emoji, began FROM q WHERE true
			ON CONFLICT (target, network, person) DO UPDATE SET emoji = excluded.emoji`,
	}, nil
}

// Reactions implements gateway.ReactionStore.
func (s *Store) Reactions(ctx context.Context, targets []gateway.ID) (map[gateway.ID][]gateway.Reactions, error) {
	out := make(map[gateway.ID][]gateway.Reactions)
	q := query{
		doing: "read reactions", columns: "target bytea", rows: distinct(targets),
		sql: `SELECT r.anchor, r.target, r.network, r.person, r.emoji FROM q CROSS JOIN reaction r
			WHERE r.target = q.target ORDER BY r.began, r.anchor`,
	}
	if len(q.rows) == 0 {
		return out, nil
	}
	err := s.either(ctx, q, func(row scanner) error {
		var (
			anchor, target, person, emoji []byte
			r                             gateway.Reactions
		)
		if err := row.Scan(&anchor, &target, &r.Who.Network, &person, &emoji); err != nil {
			return err
		}
		r.Anchor, r.Target, r.Who.ID = gateway.ID(anchor), gateway.ID(target), string(person)
		if plain, err := s.seal.open(emoji, colEmoji, string(target), r.Who.Network, r.Who.ID); err == nil {
			var t thought
			if err := json.Unmarshal(plain, &t); err == nil {
				r.Emoji, r.Who.Name = t.Emoji, t.Name
			}
		}
		if len(out[r.Target]) < gateway.MaxReactors {
			out[r.Target] = append(out[r.Target], r)
		}
		return nil
	})
	if v := s.view(ctx); err == nil && v != nil {
		if err := v.enter(); err != nil {
			return nil, err
		}
		defer v.mu.Unlock()
		for _, row := range q.rows {
			target := gateway.ID(row[0].([]byte)) //nolint:forcetypeassert // distinct made it
			out[target] = v.top.reactionsOn(target, out[target])
		}
	}
	return out, err
}

// reactionsOn lays what is staged over what the database has.
func (l *layer) reactionsOn(target gateway.ID, sets []gateway.Reactions) []gateway.Reactions {
	if l == nil {
		return sets
	}
	sets = l.below.reactionsOn(target, sets)
	for key, r := range l.reactions {
		if key.target != target {
			continue
		}
		i := slices.IndexFunc(sets, func(s gateway.Reactions) bool { return keyOf(s) == key })
		if i >= 0 {
			r.Anchor = sets[i].Anchor
			sets[i] = r
		} else {
			sets = append(sets, r)
		}
	}
	return sets
}

// reactedTo is what a staged reaction with this anchor is on; zero: there is none.
func (l *layer) reactedTo(anchor gateway.ID) gateway.ID {
	for ; l != nil; l = l.below {
		for _, r := range l.reactions {
			if r.Anchor == anchor {
				return r.Target
			}
		}
	}
	return gateway.ID{}
}

// either reads in the transaction of ctx if there is one, else what is committed.
func (s *Store) either(ctx context.Context, q query, scan func(scanner) error) error {
	v := s.view(ctx)
	if v == nil {
		return s.query(ctx, s.readers, q, scan)
	}
	if err := v.enter(); err != nil {
		return err
	}
	defer v.mu.Unlock()
	return v.query(q, scan)
}
