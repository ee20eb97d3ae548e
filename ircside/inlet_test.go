package ircside

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func fill(q *inlet, n int) (refused int) {
	for range n {
		refused += len(q.add(heard{}))
	}
	return refused
}

// something is an arrival of no account.
func something() heard { return arrival(gateway.Event{At: lobby().Address}) }

func TestInletIsBounded(t *testing.T) {
	lost, registry := prometheus.NewCounter(prometheus.CounterOpts{Name: "lost"}), prometheus.NewRegistry()
	registry.MustRegister(lost)
	q := newInlet(lost)
	if n := fill(q, maxWaiting/2); n != 0 {
		t.Fatalf("%d refused", n)
	}
	if len(q.add(heard{membership: true})) == 0 {
		t.Error("membership took the place of speech")
	}
	if n := fill(q, maxWaiting); n != maxWaiting/2 {
		t.Errorf("%d refused, want %d", n, maxWaiting/2)
	}
	batch, dropped := q.take()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := families[0].GetMetric()[0].GetCounter().GetValue()
	if len(batch) != maxBatch || dropped != maxWaiting/2+1 || counted != float64(dropped) {
		t.Errorf("%d taken, %d dropped, %v counted", len(batch), dropped, counted)
	}
	if _, dropped = q.take(); dropped != 0 {
		t.Errorf("%d dropped are told twice", dropped)
	}
}

// TestInletHolds: a reader waits for a slow journal, and not for ever for one that takes nothing.
func TestInletHolds(t *testing.T) {
	hand := newHandClock()
	q := newInlet(prometheus.NewCounter(prometheus.CounterOpts{Name: "lost"}))
	held := func() <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.hold(t.Context(), hand.clock().after, time.Second)
		}()
		return done
	}
	<-held() // empty: no wait
	fill(q, maxWaiting)
	slow := held()
	<-hand.asked
	q.take()
	select {
	case <-slow:
		t.Error("goes on although it is nearly full")
	default:
	}
	q.take()
	q.take() // 1,024 free by now
	<-slow
	fill(q, maxWaiting)
	stuck := held()
	<-hand.asked
	hand.advance(2 * time.Second)
	<-stuck
	<-held() // nobody else waits for it
	q.take()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q.hold(ctx, hand.clock().after, time.Second)
}

// refusing is an Inbox that answers with an error.
type refusing struct {
	err   error
	calls chan struct{}
}

func (r refusing) Accept(context.Context, []gateway.Arrival) error {
	r.calls <- struct{}{}
	return r.err
}

func TestFeedEndsWithTheLease(t *testing.T) {
	s := loose(t).c.side
	s.inlet.add(something())
	if err := s.feed(t.Context(), refusing{gateway.ErrLeaseLost, make(chan struct{}, 1)}); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("ended with %v", err)
	}
}

// TestFeedTriesOnceMore: what is waiting when the end comes gets one last try.
func TestFeedTriesOnceMore(t *testing.T) {
	s := loose(t).c.side
	s.deps.Log = slog.New(slog.DiscardHandler)
	s.inlet.add(something())
	in := refusing{errors.New("away"), make(chan struct{}, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.feed(ctx, in) }()
	<-in.calls
	cancel()
	if err := <-ended; err != nil || len(in.calls) != 1 {
		t.Errorf("ended with %v after %d more tries", err, len(in.calls))
	}
}

// unanswered is a State whose commits nobody answers for.
type unanswered struct{ *sidetest.State }

func (u unanswered) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	return errors.Join(u.State.Update(ctx, fn), gateway.ErrLeaseLost)
}

// TestAnotherProcessReadMeanwhile: what was kept for the journal goes on while nobody else has read, and is given up else.
func TestAnotherProcessReadMeanwhile(t *testing.T) {
	first, second := loose(t).c.side, loose(t).c.side
	shared := sidetest.NewState()
	first.deps.State, second.deps.State = shared, shared
	claim := func(s *Side, waiting int) {
		t.Helper()
		if err := s.claim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(s.inlet.waiting); got != waiting {
			t.Fatalf("%d lines wait, not %d", got, waiting)
		}
	}
	claim(first, 0)
	first.inlet.add(something())
	claim(first, 1) // the database was away
	claim(second, 0)
	first.inlet.add(heard{line: &line{}})
	claim(first, 1) // an echo goes on all the same
	second.inlet.add(something())
	second.deps.State = unanswered{shared}
	if err := second.claim(t.Context()); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Fatalf("got %v", err)
	}
	second.deps.State = shared
	claim(second, 0) // although its own name stood there
}
