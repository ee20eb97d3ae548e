package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"testing"
	"time"

	"lockbridge/gateway"
)

// leaseAt is a lease that another process gives up when it is told to, and that is lost when it is told to.
type leaseAt struct{ asked, free, lost chan struct{} }

func (l leaseAt) Acquire(ctx context.Context, _ string) (gateway.Lease, error) {
	l.asked <- struct{}{}
	select {
	case <-l.free:
		return l, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l leaseAt) Keep(ctx context.Context) error {
	select {
	case <-l.lost:
		return gateway.ErrLeaseLost
	case <-ctx.Done():
		return nil
	}
}

func (l leaseAt) Held() bool { return true }

func (l leaseAt) Release(context.Context) error { return nil }

func TestOwnership(t *testing.T) {
	now := time.Unix(1000, 0)
	status := gateway.NewStatus([]string{"irc"}, slog.New(slog.DiscardHandler))
	lease := leaseAt{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	var broken error
	o := newOwnership(lease, func(context.Context) error { return broken }, status, func() time.Time { return now })
	is := func(state string, held bool) {
		t.Helper()
		if got := o.states()["irc"]; got.State != state || got.held != held {
			t.Errorf("it is %+v, want %s, held %v", got, state, held)
		}
	}
	is(stateAway, false)
	got := make(chan gateway.Lease)
	acquire := func() {
		l, err := o.Acquire(t.Context(), "irc")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}
	go acquire()
	<-lease.asked
	is(stateAway, false) // it may be had in a moment
	now = now.Add(standbyAfter)
	is(stateStandby, false)
	broken = errors.New("no such host")
	is(stateAway, false) // nobody knows whether another process owns it
	broken = nil
	lease.free <- struct{}{}
	l := <-got
	is(stateAway, true)
	status.For("irc")(nil)
	is(stateUp, true)
	close(lease.lost)
	if err := l.Keep(t.Context()); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Error(err)
	}
	is(stateAway, false)
	status.For("irc")(errors.New("lease lost"))
	go acquire()
	<-lease.asked
	now = now.Add(standbyAfter)
	is(stateStandby, false)
	lease.free <- struct{}{}
	l = <-got
	status.For("irc")(nil)
	is(stateUp, true)
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	is(stateAway, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	go func() { <-lease.asked }()
	if _, err := o.Acquire(ctx, "irc"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	now = now.Add(standbyAfter)
	is(stateAway, false)
}

// findSide is a side that tells whether somebody exists.
type findSide struct {
	silent
	err error
}

func (s findSide) Find(_ context.Context, who gateway.Person) (gateway.Person, error) {
	who.Name = "found"
	return who, s.err
}

func TestFindAcrossProcesses(t *testing.T) {
	now := time.Unix(1000, 0)
	o := newOwnership(nil, nil, gateway.NewStatus([]string{"here", "away", "nobody", "later"}, slog.New(slog.DiscardHandler)), func() time.Time { return now })
	away := errors.New("not connected")
	sides := map[string]gateway.Side{"here": findSide{}, "away": findSide{err: away}, "nobody": findSide{err: gateway.ErrNobody}, "later": findSide{err: away}}
	kinds := map[string]gateway.NetworkKind{"elsewhere": {}}
	for name := range maps.Keys(sides) {
		kinds[name] = gateway.NetworkKind{}
		o.since[name] = now.Add(-standbyAfter)
	}
	delete(o.since, "later")
	o.held["later"] = true
	for _, c := range []struct {
		network, name string
		err           error
	}{
		{"here", "found", nil},
		{"away", "juliet", nil},                // it stands by, and has no connection: her word is taken
		{"nobody", "", gateway.ErrNobody},      // it stands by, and can tell all the same
		{"later", "", away},                    // it is ours, and will know in a while
		{"elsewhere", "juliet", nil},           // no side of it runs here
		{"never heard", "", gateway.ErrNobody}, // not configured
	} {
		got, err := o.find(t.Context(), sides, kinds, gateway.Person{Network: c.network, ID: "juliet", Name: "juliet"})
		if !errors.Is(err, c.err) || err == nil && got.Name != c.name {
			t.Errorf("%s: %+v, %v", c.network, got, err)
		}
	}
}
