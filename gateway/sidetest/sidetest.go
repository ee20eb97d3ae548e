// Package sidetest is the conformance suite of gateway.Side: what the gateway relies on, shown against a real peer.
// A network's side is finished when Exercise passes on it.
package sidetest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lockbridge/gateway"
)

// Peer is somebody in the room who is not ours, on the network's own side of it.
type Peer interface {
	// ID is the peer's Person.ID as the side should report it.
	ID() string
	// Say says text in the room.
	Say(ctx context.Context, text string) error
	// Hear waits until the peer sees a message in the room that holds text, and returns it as shown.
	Hear(ctx context.Context, text string) (shown string, err error)
	// Count is how many messages that hold text the peer has seen.
	Count(text string) int
	// Cut breaks the connection between the side and its network, without telling either. The side finds its own way
	// back. A no-op where the network has no standing connection.
	Cut(ctx context.Context) error
}

// Harness is a fresh room with a side to try and a peer in it.
type Harness struct {
	Room gateway.Room
	// New makes a side on deps. It may be called again after the side before it ended: a restart.
	New  func(deps gateway.Deps) (gateway.Side, error)
	Peer Peer
	// Confirms: the network hands our delivery keys back, so that nothing is ever said twice.
	Confirms bool
	// MissesNothing: what is said while the side's Accept fails, or while it is cut off, still arrives.
	MissesNothing bool
	// Foreign is the network of the people that the side is asked to speak for.
	Foreign string
	// Media is what the side fetches and uploads files by, and what the suite fetches by that the side heard of. It must
	// be allowed to fetch from 127.0.0.1 by http. Only for a side that claims files.
	Media gateway.Media
}

// patience is how long a case may take on a busy machine; one that works takes a fraction of it.
const patience = 3 * time.Minute

// running is a side at work.
type running struct {
	Harness
	t     *testing.T
	ctx   context.Context
	state *State
	inbox *Inbox
	side  gateway.Side
	stop  func()
	n     int
	// outcomes are how deliveries ended, by key.
	outcomes map[string]gateway.Outcome
}

// Exercise runs the suite. setUp makes a fresh room for each case.
func Exercise(t *testing.T, setUp func(t *testing.T) Harness) {
	cases := []struct {
		name string
		run  func(*running)
	}{
		{"hears what is said", hears},
		{"says a run in order", saysInOrder},
		{"does not hear itself", doesNotHearItself},
		{"says nothing twice", saysNothingTwice},
		{"offers again what was not accepted", offersAgain},
		{"comes back after a cut", comesBack},
		{"goes on after a restart", restarts},
		{"survives strange text", strangeText},
		{"drops what is for no room of its own", unknownRoom},
		{"takes a failure report", failureReport},
		{"carries what it claims", carriesWhatItClaims},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := setUp(t) // what the harness itself runs is not the side's
			before := goleak.IgnoreCurrent()
			r := &running{Harness: h, t: t, state: NewState(), outcomes: map[string]gateway.Outcome{}}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r.ctx = ctx
			r.waitsBeforeRun()
			r.start()
			c.run(r)
			r.stop()
			if err := goleak.Find(before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")); err != nil {
				t.Error(err)
			}
		})
	}
}

// start runs a side on the State that is there and waits until it is ready.
func (r *running) start() {
	r.t.Helper()
	up := make(chan struct{}, 1)
	deps := r.deps(func(away error) {
		if away == nil {
			select {
			case up <- struct{}{}:
			default:
			}
		}
	})
	side, err := r.New(deps)
	if err != nil {
		r.t.Fatal(err)
	}
	r.side, r.inbox = side, NewInbox(r.state)
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() { ended <- side.Run(ctx, r.inbox) }()
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			r.t.Errorf("Run: %v", err)
		}
		r.stop = func() {}
	}
	select {
	case <-up:
	case err := <-ended:
		r.t.Fatalf("Run ended before it was ready: %v", err)
	case <-r.ctx.Done():
		r.t.Fatal("the side never became ready")
	}
}

func (r *running) deps(ready func(error)) gateway.Deps {
	return gateway.Deps{
		Network: r.Room.Network, Rooms: []gateway.Room{r.Room}, State: r.state,
		Log:     slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
		Metrics: prometheus.NewRegistry(), Ready: ready, Media: r.Media,
		Privacy: gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsAll, Avatars: true},
	}
}

// message is a delivery of text by somebody elsewhere.
func (r *running) message(text string) gateway.Delivery {
	r.n++
	return gateway.Delivery{
		Key: fmt.Sprintf("%032x", time.Now().UnixNano()+int64(r.n)), Room: r.Room.Address, Seal: r.Room.Seal,
		Event: &gateway.Event{
			At: gateway.Address{Network: r.Foreign, ID: "#elsewhere"}, Time: time.Now(),
			Sender: gateway.Person{Network: r.Foreign, ID: "mercutio", Name: "Mercutio"},
			Body:   gateway.Message{Text: gateway.Text{Plain: text}},
		},
	}
}

// deliver hands the run over until all of it has ended, as the gateway would, and fails the test on a Drop.
func (r *running) deliver(run ...gateway.Delivery) {
	r.t.Helper()
	for len(run) > 0 {
		outcomes := r.side.Deliver(r.ctx, run)
		if len(outcomes) > len(run) {
			r.t.Fatalf("%d outcomes for %d deliveries", len(outcomes), len(run))
		}
		done := 0
		for _, o := range outcomes {
			if o.Err != nil {
				if gateway.IsDrop(o.Err) || r.ctx.Err() != nil {
					r.t.Fatalf("Deliver: %v", o.Err)
				}
				break
			}
			r.outcomes[run[done].Key] = o
			done++
		}
		run = run[done:]
		for i := range run {
			run[i].Attempt++
		}
		if len(run) > 0 {
			pause(r.ctx)
		}
	}
}

// pause is the lane's wait between two attempts.
func pause(ctx context.Context) {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (r *running) hear(text string) string {
	r.t.Helper()
	shown, err := r.Peer.Hear(r.ctx, text)
	if err != nil {
		r.t.Fatal(err)
	}
	return shown
}

func (r *running) say(text string) {
	r.t.Helper()
	if err := r.Peer.Say(r.ctx, text); err != nil {
		r.t.Fatal(err)
	}
}

// await waits until the side has accepted a message that holds text.
func (r *running) await(text string) *gateway.Event {
	r.t.Helper()
	ev, err := r.inbox.Await(r.ctx, "message "+text, func(ev *gateway.Event) bool { return holds(ev, text) })
	if err != nil {
		r.t.Fatal(err)
	}
	return ev
}

func holds(ev *gateway.Event, text string) bool {
	m, ok := ev.Body.(gateway.Message)
	return ok && strings.Contains(m.Text.Plain, text)
}
