package store

import (
	"context"
	"strings"

	"lockbridge/gateway"
)

// PlansOfChanges are how the database goes about the statements by which an event is edited and taken back and a native id
// is gone, if it does what it can to use an index.
func (s *Store) PlansOfChanges(ctx context.Context) (map[string]string, error) {
	id, gone := gateway.ID{1}, gateway.Native{Room: gateway.Address{Network: "x", ID: "room"}, ID: "1"}
	l := &layer{
		retracted: map[gateway.ID]bool{id: true}, said: map[gateway.ID]resaid{id: {"text", []byte("sealed")}}, gone: map[gateway.Native]bool{gone: true},
	}
	plans := map[string]string{}
	err := s.db.DoTxn(ctx, nil, func(ctx context.Context) error {
		explain, into := "EXPLAIN QUERY PLAN ", []any{new(int64), new(int64), new(int64)}
		if s.postgres != nil {
			explain, into = "EXPLAIN ", nil
			if _, err := s.db.Exec(ctx, "SET LOCAL enable_seqscan = off"); err != nil {
				return err
			}
		}
		for _, q := range l.changeRows() {
			if q.postgresOnly && s.postgres == nil {
				continue
			}
			var steps []string
			with, args := s.source(q.columns, q.fixed, q.rows)
			if err := s.scan(ctx, s.db, "explain", explain+with+q.sql, args, func(row scanner) error {
				var step string
				err := row.Scan(append(into, &step)...)
				steps = append(steps, step)
				return err
			}); err != nil {
				return err
			}
			plans[q.doing] = strings.Join(steps, "\n")
		}
		return nil
	})
	return plans, err
}
