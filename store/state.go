package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"lockbridge/gateway"
)

// maxKey is the longest key of a State, in bytes.
const maxKey = 2000

// State returns the private store of a network's side. Keys are at most 2,000 bytes, any bytes. Outside a transaction
// reads see what is committed.
func (s *Store) State(network string) gateway.State { return &state{s, network} }

type state struct {
	s       *Store
	network string
}

// Update implements gateway.State.
func (st *state) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	return st.s.Do(ctx, st.network, fn)
}

// PutMany implements gateway.State.
func (st *state) PutMany(ctx context.Context, values map[string][]byte) error {
	for key := range values {
		if key == "" || len(key) > maxKey {
			return fmt.Errorf("put state of %s: a key must have 1 to %d bytes: %.100q", st.network, maxKey, key)
		}
	}
	v := st.s.view(ctx)
	if v == nil {
		return st.Update(ctx, func(ctx context.Context) error { return st.PutMany(ctx, values) })
	}
	if v.network != st.network {
		return fmt.Errorf("put state of %s: the transaction is one of %s", st.network, v.network)
	}
	if err := v.enter(); err != nil {
		return err
	}
	defer v.mu.Unlock()
	for key, value := range values {
		v.top.put(key, bytes.Clone(value)) // the caller may use its buffer again
	}
	return nil
}

// GetMany implements gateway.State.
func (st *state) GetMany(ctx context.Context, keys []string) (map[string][]byte, error) {
	out := make(map[string][]byte, len(keys))
	rows := make([][]any, 0, len(keys))
	v, err := st.enter(ctx)
	if err != nil {
		return nil, err
	}
	if v != nil {
		defer v.mu.Unlock()
	}
	for _, key := range keys {
		if v == nil {
			rows = append(rows, []any{[]byte(key)})
		} else if value, ok := v.value(key); !ok {
			rows = append(rows, []any{[]byte(key)})
		} else if value != nil {
			out[key] = bytes.Clone(value)
		}
	}
	q := query{
		doing: "read state", columns: "key bytea", fixed: []any{st.network}, rows: rows,
		sql: `SELECT s.key, s.value FROM q CROSS JOIN state s WHERE s.network = $1 AND s.key = q.key`,
	}
	if len(rows) == 0 {
		return out, nil
	}
	if err := st.read(ctx, v, q, out); err != nil || v == nil {
		return out, err
	}
	for _, row := range rows {
		v.remember(string(row[0].([]byte)), out) //nolint:forcetypeassert // made above
	}
	return out, nil
}

// value looks a key up in what was staged, and in what was read before: nobody else writes meanwhile.
func (v *view) value(key string) (value []byte, ok bool) {
	if value, ok = v.top.value(key); !ok {
		value, ok = v.known[key]
	}
	return value, ok
}

// remember keeps what was read of a key, for the rest of the transaction: a run of messages reads the same few values
// again and again.
func (t *tx) remember(key string, read map[string][]byte) {
	if t.known == nil {
		t.known = map[string][]byte{}
	}
	t.known[key] = bytes.Clone(read[key])
}

// List implements gateway.State.
func (st *state) List(ctx context.Context, prefix string) (map[string][]byte, error) {
	v, err := st.enter(ctx)
	if err != nil {
		return nil, err
	}
	if v != nil {
		defer v.mu.Unlock()
	}
	q := query{
		doing: "list state", columns: "low bytea, high bytea", fixed: []any{st.network},
		rows: [][]any{{[]byte(prefix), afterPrefix(prefix)}},
		sql:  `SELECT s.key, s.value FROM q CROSS JOIN state s WHERE s.network = $1 AND s.key >= q.low AND s.key < q.high`,
	}
	out := map[string][]byte{}
	if err := st.read(ctx, v, q, out); err != nil || v == nil {
		return out, err
	}
	for key := range out { // what is deleted, or put anew
		if value, ok := v.top.value(key); ok && value == nil {
			delete(out, key)
		}
	}
	for l := v.top; l != nil; l = l.below {
		for key := range l.values {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if value, _ := v.top.value(key); value != nil {
				out[key] = bytes.Clone(value)
			}
		}
	}
	return out, nil
}

// afterPrefix is the least key above all that begin with prefix.
func afterPrefix(prefix string) []byte {
	high := []byte(prefix)
	for i := len(high) - 1; i >= 0; i-- {
		if high[i] < 0xff {
			high[i]++
			return high[:i+1]
		}
	}
	return bytes.Repeat([]byte{0xff}, maxKey+1)
}

// enter joins the transaction of ctx if it is one of this network. With one, the caller unlocks its mu.
func (st *state) enter(ctx context.Context) (*view, error) {
	v := st.s.view(ctx)
	if v == nil || v.network != st.network {
		return nil, nil //nolint:nilnil // no transaction is no error
	}
	return v, v.enter()
}

// read adds the rows of q, unsealed, to out.
func (st *state) read(ctx context.Context, v *view, q query, out map[string][]byte) error {
	var bad error
	scan := func(rows scanner) error {
		var key, value []byte
		if err := rows.Scan(&key, &value); err != nil {
			return err
		}
		plain, err := st.s.seal.open(value, colState, st.network, string(key))
		if err != nil { // one bad value is no reason to give the transaction up
			bad = fmt.Errorf("read state %q of %s: %w", key, st.network, err)
			return nil
		}
		out[string(key)] = plain
		return nil
	}
	var err error
	if v != nil {
		err = v.query(q, scan)
	} else {
		err = st.s.query(ctx, st.s.readers, q, scan)
	}
	if err == nil {
		err = bad
	}
	return err
}

// stateRows are the staged changes of state: deliveries' bytes that are not needed any more, deleted keys, new values.
func (t *tx) stateRows() ([]query, error) {
	l := t.base
	if len(l.outs) == 0 && len(l.values) == 0 {
		return nil, nil
	}
	var outs, gone, puts [][]any
	for key := range l.outs {
		one := outPrefix + key
		outs = append(outs, []any{[]byte(one), []byte(one + "/"), afterPrefix(one + "/")})
	}
	for key, value := range l.values {
		if value == nil {
			gone = append(gone, []any{[]byte(key)})
			continue
		}
		sealed, err := t.s.seal.seal(value, colState, t.network, key)
		if err != nil {
			return nil, err
		}
		puts = append(puts, []any{[]byte(key), sealed})
	}
	network := []any{t.network}
	return []query{
		{
			doing: "delete state of deliveries", columns: "one bytea, low bytea, high bytea", fixed: network, rows: outs,
			sql: `DELETE FROM state WHERE network = $1 AND key IN (
				SELECT s.key FROM q CROSS JOIN state s
				WHERE s.network = $1 AND s.key >= q.one AND s.key < q.high AND (s.key = q.one OR s.key >= q.low))`,
		},
		{
			doing: "delete state", columns: "key bytea", fixed: network, rows: gone,
			sql: `DELETE FROM state WHERE network = $1 AND key IN (SELECT key FROM q)`,
		},
		{
			doing: "write state", columns: "key bytea, value bytea", fixed: network, rows: puts,
			sql: `INSERT INTO state (network, key, value) SELECT CAST($1 AS text), key, value FROM q WHERE true
				ON CONFLICT (network, key) DO UPDATE SET value = excluded.value`,
		},
	}, nil
}
