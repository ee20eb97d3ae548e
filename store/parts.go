package store

import (
	"context"

	"lockbridge/gateway"
)

// Parts implements gateway.Journal. Aliases stand in Also of the part that they name.
func (s *Store) Parts(ctx context.Context, room gateway.Address, events []gateway.ID) (map[gateway.ID][]gateway.Part, error) {
	return s.parts(ctx, room, events, `SELECT l.event, l.native, l.part, l.alias FROM q CROSS JOIN link l
			WHERE l.event = q.event AND l.network = $1 AND l.room = $2 ORDER BY l.seq`)
}

// PartsOf implements gateway.ReactionStore.
func (s *Store) PartsOf(ctx context.Context, room gateway.Address, stands []gateway.ID) (map[gateway.ID][]gateway.Part, error) {
	return s.parts(ctx, room, stands, `SELECT e.stands, l.native, l.part, l.alias
			FROM q CROSS JOIN event e CROSS JOIN link l
			WHERE e.stands = q.event AND l.event = e.id AND l.network = $1 AND l.room = $2 ORDER BY l.seq`)
}

func (s *Store) parts(ctx context.Context, room gateway.Address, events []gateway.ID, sql string) (map[gateway.ID][]gateway.Part, error) {
	out := make(map[gateway.ID][]gateway.Part)
	q := query{doing: "look for native ids", columns: "event bytea", fixed: []any{room.Network, []byte(room.ID)}, rows: distinct(events), sql: sql}
	if len(q.rows) == 0 {
		return out, nil
	}
	err := s.query(ctx, s.readers, q, func(rows scanner) error {
		var (
			event, native, part []byte
			alias               bool
		)
		if err := rows.Scan(&event, &native, &part, &alias); err != nil {
			return err
		}
		id, p := gateway.ID(event), gateway.Part{Name: string(part), Native: string(native)}
		if isHash(p.Native) {
			return nil
		}
		if !alias {
			out[id] = append(out[id], p)
		} else if of := lastPart(out[id], p.Name); of != nil {
			of.Also = append(of.Also, p.Native)
		}
		return nil
	})
	return out, err
}

// distinct are rows of ids, each once.
func distinct(ids []gateway.ID) [][]any {
	var rows [][]any
	known := make(map[gateway.ID]bool)
	for _, id := range ids {
		if !known[id] && !id.IsZero() {
			known[id] = true
			rows = append(rows, []any{id[:]})
		}
	}
	return rows
}

// lastPart finds the newest part of that name: aliases are linked right behind the id that they stand for.
func lastPart(parts []gateway.Part, name string) *gateway.Part {
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i].Name == name {
			return &parts[i]
		}
	}
	return nil
}
