package xmppside

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// patience is how long a test waits for what should happen at once: on a busy machine it does not.
const patience = time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a side until stop or the end of the test, and returns when it is ready, which has until the end of ctx.
func start(ctx context.Context, t testing.TB, cfg Config, state *sidetest.State, rooms ...gateway.Room) (side *Side, inbox *sidetest.Inbox, stop func()) {
	t.Helper()
	return startWith(ctx, t, cfg, state, gateway.Deps{Rooms: rooms})
}

// startWith is start with more of what a side gets from its surroundings.
func startWith(ctx context.Context, t testing.TB, cfg Config, state *sidetest.State, deps gateway.Deps) (side *Side, inbox *sidetest.Inbox, stop func()) {
	t.Helper()
	return startEdited(ctx, t, cfg, state, deps, func(*Side) {})
}

// startEdited is startWith with a change of the side before it runs.
func startEdited(ctx context.Context, t testing.TB, cfg Config, state *sidetest.State, deps gateway.Deps, edit func(*Side)) (side *Side, inbox *sidetest.Inbox, stop func()) {
	t.Helper()
	ready := make(chan struct{}, 1)
	deps.Network, deps.State, deps.Log = "xmpp", state, slog.New(slog.NewTextHandler(t.Output(), nil))
	deps.Ready = func(away error) {
		if away == nil {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
	}
	side, err := New(cfg, deps)
	must(t, err)
	edit(side)
	inbox = sidetest.NewInbox(state)
	run, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- side.Run(run, inbox) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatalf("the side never became ready: %v", context.Cause(ctx))
	}
	return side, inbox, stop
}

// proxy passes connections on to a server and can cut them.
type proxy struct {
	ln     net.Listener
	server string

	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{ln: ln, server: server}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			wg.Go(func() { pipe(in, out) })
			wg.Go(func() { pipe(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func pipe(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	_ = dst.Close()
	_ = src.Close()
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// room0 is the first room that the side carries.
func (s *Side) room0() *room { return s.carried().all[0] }

func textOf(ev *gateway.Event) string {
	m, _ := ev.Body.(gateway.Message)
	return m.Text.Plain
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// run runs a side until the end of the test.
func run(t testing.TB, side *Side, inbox gateway.Inbox) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- side.Run(ctx, inbox) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// counted is the value of a metric of reg.
func counted(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return 0
}
