package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/store"
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
	o := newOwnership(lease, func(context.Context) error { return broken }, status, func() time.Time { return now }, slog.New(slog.DiscardHandler))
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
	o := newOwnership(nil, nil, gateway.NewStatus([]string{"here", "away", "nobody", "later"}, slog.New(slog.DiscardHandler)), func() time.Time { return now }, nil)
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

// TestMetricsOfAllSides: metrics of the same name must agree in help and labels, or none of them is shown; and admins
// read about all of them.
func TestMetricsOfAllSides(t *testing.T) {
	docs, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	writeFile(t, "lockbridge.toml", `
store.key = "`+scriptKey+`"
network.xmpp = { kind = "xmpp", component = "bridge.example.org", secret = "x" }
network.matrix = { kind = "matrix", homeserver = "http://127.0.0.1:1", domain = "example.org" }
network.irc = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }
network.other = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }
`)
	cfg, f, err := load("lockbridge.toml", kinds())
	if err != nil || f.broken() {
		t.Fatal(err, f.all)
	}
	for _, n := range cfg.networks {
		if n.kind.register != nil {
			if _, _, err := n.kind.register(n.block); err != nil {
				t.Fatal(err)
			}
		}
	}
	st, err := store.Open(t.Context(), store.Config{URL: cfg.Store.URL, Key: cfg.key})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	log := slog.New(slog.DiscardHandler)
	status := gateway.NewStatus(cfg.networkNames(), log)
	owner, registry := newOwnership(st, st.Ping, status, time.Now, log), prometheus.NewPedanticRegistry()
	registry.MustRegister(newOwnerMetric(owner.states), newBuildMetric())
	sides, err := cfg.buildSides(st, owner, registry, nil, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	gateway.New(gateway.Config{Journal: st, Leases: owner, Sides: sides, Status: status, Log: log, Metrics: registry, Rand: rand.Reader, Now: time.Now})
	got, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	for _, family := range got {
		series[family.GetName()] = len(family.GetMetric())
		if !bytes.Contains(docs, []byte("| `"+family.GetName()+"` |")) {
			t.Errorf("docs/admin.md does not tell about %s", family.GetName())
		}
	}
	for name, want := range map[string]int{"lockbridge_irc_lost_total": 2, "lockbridge_reconnects_total": 4, "lockbridge_sessions_rebuilt_total": 1, "lockbridge_deliveries_failed_total": 4} {
		if series[name] != want {
			t.Errorf("%s has %d series, want %d: %v", name, series[name], want, series)
		}
	}
}
