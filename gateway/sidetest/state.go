package sidetest

import (
	"context"
	"maps"
	"strings"
	"sync"

	"lockbridge/gateway"
)

// State is a gateway.State in memory. It keeps the rules that sides rely on: Update and Accept never overlap, and what
// a failed Update put is gone.
type State struct {
	mu     sync.Mutex // held for a whole transaction
	values map[string][]byte
}

var _ gateway.State = (*State)(nil)

// NewState returns an empty State.
func NewState() *State { return &State{values: map[string][]byte{}} }

type txKey struct{}

// tx is a transaction's staged view; a nil value is a deletion.
type tx struct{ staged map[string][]byte }

// in runs fn on a staged view, inside the transaction of ctx or in one of its own, and keeps what it put if it
// returns nil.
func (s *State) in(ctx context.Context, fn func(ctx context.Context) error) error {
	outer, nested := ctx.Value(txKey{}).(*tx)
	if !nested {
		s.mu.Lock()
		defer s.mu.Unlock()
		outer = &tx{staged: map[string][]byte{}}
	}
	inner := &tx{staged: maps.Clone(outer.staged)}
	if err := fn(context.WithValue(ctx, txKey{}, inner)); err != nil {
		return err
	}
	outer.staged = inner.staged
	if nested {
		return nil
	}
	for k, v := range outer.staged {
		if v == nil {
			delete(s.values, k)
		} else {
			s.values[k] = v
		}
	}
	return nil
}

// Update implements gateway.State.
func (s *State) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	return s.in(ctx, fn)
}

// view calls fn with the transaction's values over the stored ones.
func (s *State) view(ctx context.Context, fn func(get func(string) []byte, keys func() map[string]bool)) {
	t, inside := ctx.Value(txKey{}).(*tx)
	if !inside {
		s.mu.Lock()
		defer s.mu.Unlock()
		t = &tx{}
	}
	keys := func() map[string]bool {
		all := map[string]bool{}
		for k := range s.values {
			all[k] = true
		}
		for k := range t.staged {
			all[k] = true
		}
		return all
	}
	fn(func(k string) []byte {
		if v, ok := t.staged[k]; ok {
			return v
		}
		return s.values[k]
	}, keys)
}

// GetMany implements gateway.State.
func (s *State) GetMany(ctx context.Context, keys []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	s.view(ctx, func(get func(string) []byte, _ func() map[string]bool) {
		for _, k := range keys {
			if v := get(k); v != nil {
				out[k] = v
			}
		}
	})
	return out, ctx.Err()
}

// List implements gateway.State.
func (s *State) List(ctx context.Context, prefix string) (map[string][]byte, error) {
	out := map[string][]byte{}
	s.view(ctx, func(get func(string) []byte, keys func() map[string]bool) {
		for k := range keys() {
			if v := get(k); v != nil && strings.HasPrefix(k, prefix) {
				out[k] = v
			}
		}
	})
	return out, ctx.Err()
}

// PutMany implements gateway.State.
func (s *State) PutMany(ctx context.Context, values map[string][]byte) error {
	return s.in(ctx, func(ctx context.Context) error {
		t := ctx.Value(txKey{}).(*tx)
		for k, v := range values {
			t.staged[k] = v
		}
		return nil
	})
}
