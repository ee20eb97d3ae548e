package matrixside

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func logTo(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// start runs a side until stop or the end of the test, and returns when it is ready. tweak may change it before.
func start(ctx context.Context, t *testing.T, cfg Config, state *sidetest.State, tweak func(*Side), rooms ...gateway.Room) (side *Side, inbox *sidetest.Inbox, stop func()) {
	t.Helper()
	ready := make(chan struct{}, 1)
	side, err := New(cfg, gateway.Deps{
		Network: "matrix", Rooms: rooms, State: state,
		Log: logTo(t),
		Ready: func(away error) {
			if away == nil {
				select {
				case ready <- struct{}{}:
				default:
				}
			}
		},
	})
	must(t, err)
	if tweak != nil {
		tweak(side)
	}
	inbox = sidetest.NewInbox(state)
	run, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- side.Run(run, inbox) }()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run ended before it was ready: %v", err)
	case <-ctx.Done():
		t.Fatalf("the side never became ready: %v", context.Cause(ctx))
	}
	return side, inbox, stop
}

// testClock stands at a time until the test lets some pass.
type testClock struct{ passed atomic.Int64 }

func (c *testClock) set(s *Side) { s.now = c.now }

func (c *testClock) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.passed.Load()))
}

func (c *testClock) pass(d time.Duration) { c.passed.Add(int64(d)) }

// delivery is a message of somebody on IRC.
func delivery(room, key, nick, text string) gateway.Delivery {
	return gateway.Delivery{
		Key: key, Room: gateway.Address{Network: "matrix", ID: room},
		Event: &gateway.Event{
			At:     gateway.Address{Network: "irc", ID: "#lobby"},
			Sender: gateway.Person{Network: "irc", ID: nick, Name: nick},
			Time:   time.Unix(1_700_000_000, 0),
			Body:   gateway.Message{Text: gateway.Text{Plain: text}},
		},
	}
}

func sendAll(ctx context.Context, t *testing.T, side *Side, run ...gateway.Delivery) []gateway.Outcome {
	t.Helper()
	out := side.Deliver(ctx, run)
	if len(out) != len(run) {
		t.Fatalf("%d outcomes for %d deliveries", len(out), len(run))
	}
	for _, o := range out {
		must(t, o.Err)
	}
	return out
}

func textOf(ev *gateway.Event) string {
	m, _ := ev.Body.(gateway.Message)
	return m.Text.Plain
}

// again is a delivery that was tried before.
func again(d gateway.Delivery) gateway.Delivery {
	d.Attempt++
	return d
}

// runUntilEnd runs a side until the test ends.
func runUntilEnd(ctx context.Context, t *testing.T, side *Side, inbox gateway.Inbox) {
	t.Helper()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- side.Run(running, inbox) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
