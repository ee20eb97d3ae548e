package xmppside

import (
	"context"
	"strings"
	"sync"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// decide is an operator's command beside the running side.
func (w *world) decide(d *device, trust omemo.Trust) {
	w.t.Helper()
	must(w.t, w.own.Update(w.t.Context(), func(ctx context.Context) error {
		return omemo.NewManager(w.own, omemo.Options{}).Decide(ctx, d.jid, d.Identity, trust)
	}))
}

func TestADistrustedDeviceIsNeitherHeardNorSealedFor(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "trust me")
	w.heard("trust me")
	w.decide(w.juliet, omemo.Distrusted)
	w.juliet.say(w.side, omemo.Legacy, "do trust me")
	w.report("distrusted")
	if err := deliver(t, w.side, delivery(keyA, "hello", true)); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "trusted") {
		t.Errorf("Deliver: %v", err)
	}
	w.decide(w.juliet, omemo.Verified)
	w.juliet.say(w.side, omemo.Legacy, "thanks")
	if ev := w.heard("thanks"); ev.Sealed.Trust != "verified" {
		t.Errorf("trust is %q", ev.Sealed.Trust)
	}
	w.crossed("do trust me")
}

func TestVerifiedOnlyNeedsPins(t *testing.T) {
	var pin string
	w := newWorld(t, func(c *Config, _ *gateway.Deps) {
		c.OMEMO.Trust = trustVerified
		if pin != "" {
			c.OMEMO.Pins = map[string][]string{"Juliet@test": {pin}}
		}
	}, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "who am I?")
	if ev := w.heard(undecidedMark + "who am I?"); ev.Sealed.Trust != "undecided" {
		t.Errorf("trust is %q", ev.Sealed.Trust)
	}
	if err := deliver(t, w.side, delivery(keyA, "hello", true)); !gateway.IsDrop(err) {
		t.Errorf("Deliver: %v", err)
	}
	pin = w.juliet.Identity.Fingerprint()
	w.restart(func(c *Config, _ *gateway.Deps) {
		c.OMEMO.Trust, c.OMEMO.Pins = trustVerified, map[string][]string{"Juliet@test": {pin}}
	})
	w.juliet.say(w.side, omemo.Legacy, "now you know")
	w.heard("now you know")
	must(t, deliver(t, w.side, delivery(strings.Repeat("b", 32), "hello", true)))
}

// counter is an epoch in memory.
type counter struct {
	mu sync.Mutex
	n  uint64
}

func (c *counter) Load() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n, nil
}

func (c *counter) Save(n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n = n
	return nil
}

func TestARestoredDatabaseStartsAfresh(t *testing.T) {
	epoch := &counter{}
	with := func(_ *Config, d *gateway.Deps) { d.Epoch = epoch }
	w := newWorld(t, with, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "one")
	w.heard("one")
	w.juliet.open(omemo.Legacy, w.juliet.transport(1))
	before, err := w.side.device(t.Context(), fakeSelf)
	must(t, err)
	w.stop()
	backup, err := w.own.List(t.Context(), "")
	must(t, err)
	w.start(with)
	w.juliet.say(w.side, omemo.Legacy, "two")
	w.heard("two")
	w.stop()
	must(t, w.own.Update(t.Context(), func(ctx context.Context) error { return w.own.PutMany(ctx, backup) }))
	w.start(with)
	if n, err := epoch.Load(); err != nil || n < 3 {
		t.Errorf("the epoch is %d, %v", n, err)
	}
	w.juliet.say(w.side, omemo.Legacy, "lost")
	w.unread(1)
	if o, ok := w.juliet.open(omemo.Legacy, w.juliet.transport(2)); !ok || !o.NewSession || o.Identity != before.Identity {
		t.Fatalf("the repair builds no session of the same identity: %+v, %v", o, ok)
	}
	w.juliet.say(w.side, omemo.Legacy, "three")
	w.heard("three")
}

func TestARestartIsNoRestoration(t *testing.T) {
	epoch := &counter{}
	with := func(_ *Config, d *gateway.Deps) { d.Epoch = epoch }
	w := newWorld(t, with, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "one")
	w.heard("one")
	w.juliet.open(omemo.Legacy, w.juliet.transport(1))
	w.restart(with)
	w.juliet.say(w.side, omemo.Legacy, "two")
	w.heard("two")
}
