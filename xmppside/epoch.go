package xmppside

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lockbridge/gateway"
)

// stateEpoch is the key of the epoch in State.
const stateEpoch = "epoch"

// epochPause is how long ratchets may move under one epoch.
const epochPause = time.Minute

// epoch finds out that an old copy of the database was restored: its ratchets would use keys again that were used
// already. A counter in State and one outside the database rise together while ratchets move, the one in State first. Is
// the one outside ahead at start, or lost, State may be older than what was sent.
type epoch struct {
	moved atomic.Bool // ratchets, since it was raised last

	mu     sync.Mutex
	n      uint64
	raised time.Time
}

// move notes that ratchets have moved, or may have.
func (e *epoch) move() { e.moved.Store(true) }

// checkEpoch looks at start whether the database was restored, which either a restore by lockbridge itself tells, or the
// counters do. Then all sessions and prekeys are dropped: the identities stay, and people's clients build new sessions as
// they write.
func (s *Side) checkEpoch(ctx context.Context) error {
	inside, restored, err := s.epochInside(ctx)
	if err != nil {
		return err
	}
	var outside uint64
	if s.deps.Epoch != nil {
		if outside, err = s.deps.Epoch.Load(); err != nil {
			return fmt.Errorf("read the epoch, which tells whether the database was restored: %w", err)
		}
		// Without the one outside, this may be another machine with a copy.
		restored = restored || outside > inside || outside == 0 && inside > 0
	}
	s.epoch.mu.Lock()
	s.epoch.n = max(inside, outside)
	s.epoch.mu.Unlock()
	if restored {
		if err := s.renew(ctx); err != nil {
			return err
		}
		s.log.Error("the database is older than what was sent from it, as if a backup had been restored: all OMEMO sessions were dropped; they are built anew as people write",
			"epoch", inside, "outside", outside)
	}
	if s.deps.Epoch == nil {
		return nil
	}
	return s.raiseEpoch(ctx)
}

// epochInside reads the counter in State, and whether a restore has left its mark there.
func (s *Side) epochInside(ctx context.Context) (n uint64, restored bool, err error) {
	found, err := s.deps.State.GetMany(ctx, []string{stateEpoch, gateway.StateRestored})
	if err != nil {
		return 0, false, fmt.Errorf("read the epoch in the database: %w", err)
	}
	if v := found[stateEpoch]; v != nil {
		if n, err = strconv.ParseUint(string(v), 10, 64); err != nil {
			return 0, false, fmt.Errorf("read the epoch in the database: %w", err)
		}
	}
	return n, found[gateway.StateRestored] != nil, nil
}

// renew drops the sessions and prekeys of all of our addresses.
func (s *Side) renew(ctx context.Context) error {
	owns := []string{s.self}
	for _, p := range s.people.all() {
		if p.Device {
			owns = append(owns, p.JID)
		}
	}
	for _, own := range owns {
		err := s.deps.State.Update(ctx, func(ctx context.Context) error {
			if _, err := s.omemo.EnsureDevice(ctx, own); err != nil {
				return err
			}
			return s.omemo.Renew(ctx, own)
		})
		if err != nil {
			return fmt.Errorf("drop the sessions of %s: %w", own, err)
		}
	}
	if err := s.deps.State.PutMany(ctx, map[string][]byte{gateway.StateRestored: nil}); err != nil {
		return fmt.Errorf("record that the sessions were dropped: %w", err)
	}
	return nil
}

// raiseEpoch raises both counters.
func (s *Side) raiseEpoch(ctx context.Context) error {
	s.epoch.mu.Lock()
	defer s.epoch.mu.Unlock()
	next := s.epoch.n + 1
	s.epoch.moved.Store(false) // what moves from here on belongs to the next one
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.deps.State.PutMany(ctx, map[string][]byte{stateEpoch: strconv.AppendUint(nil, next, 10)})
	})
	if err == nil {
		s.epoch.n, s.epoch.raised = next, s.now()
		err = s.deps.Epoch.Save(next)
	}
	if err != nil {
		s.epoch.move()
		return fmt.Errorf("raise the epoch: %w", err)
	}
	return nil
}

// keepEpoch raises the counters when they are due.
func (s *Side) keepEpoch(ctx context.Context, last bool) {
	if s.deps.Epoch == nil || !s.epoch.moved.Load() {
		return
	}
	s.epoch.mu.Lock()
	due := last || s.now().Sub(s.epoch.raised) >= epochPause
	s.epoch.mu.Unlock()
	if !due {
		return
	}
	if err := s.raiseEpoch(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, gateway.ErrLeaseLost) {
		s.log.Warn("a restored database might not be noticed", "err", err)
	}
}
