package xmppside

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

func TestWhatComesBackAtOnceFailsItsDelivery(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	f.set(func() { f.bounces = map[string]*node{"juliet@test": errorNode("cancel", "service-unavailable")} })
	if err := deliver(t, side, directDelivery(keyA, saying("hello?"))); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "juliet@test does not exist") {
		t.Errorf("Deliver: %v", err)
	}
	f.set(func() { f.bounces["juliet@test"] = errorNode("wait", "resource-constraint") })
	laterFor(t, side, directDelivery(keyB, saying("hello?")), "came back")
	f.set(func() { f.bounces = nil })
	must(t, deliver(t, side, directDelivery(keyB, saying("hello?"))))
	for _, ev := range inbox.Heard() {
		t.Errorf("told again: %+v", ev)
	}
}

// TestAReceiptIsAsGoodAsTheServersWord: the connection breaks after the client's and before the server's.
func TestAReceiptIsAsGoodAsTheServersWord(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	must(t, deliver(t, side, directDelivery(keyB, saying("first"))))
	f.set(func() { f.silent = map[string]bool{fakeDomain: true} })
	done := make(chan error, 1)
	go func() {
		done <- side.Deliver(t.Context(), []gateway.Delivery{directDelivery(keyA, saying("hello"))})[0].Err
	}()
	m := f.await("the message", func(n *node) bool { return n.name == "message" && n.get("id") == keyA })
	if m.child(nsReceipts, "request") == nil {
		t.Error("no receipt is asked for")
	}
	f.directly("juliet@test/phone", m.get("from"), "r1", el(nsReceipts, "received", "id", keyA))
	f.directly("juliet@test/phone", bare(m.get("from")), "m1", body("got it"))
	heard(t, inbox, "got it")
	f.drop()
	must(t, <-done)
}

// TestADirectMessageIsSaidAgainAsItWas: neither the client nor the server has confirmed it.
func TestADirectMessageIsSaidAgainAsItWas(t *testing.T) {
	f := newFakeServer(t)
	juliet := newDevice(t, f, "juliet@test", omemo.Legacy)
	side, _, _ := startDirect(t, f, gateway.EncryptionRequired, fakeBridgeRoom(false, gateway.PuppetsNone))
	d := directDelivery(keyA, saying("hello"))
	d.Seal = true
	f.set(func() { f.silent = map[string]bool{fakeDomain: true} })
	done := make(chan error, 1)
	go func() { done <- side.Deliver(t.Context(), []gateway.Delivery{d})[0].Err }()
	isIt := func(n *node) bool { return n.name == "message" && n.get("id") == keyA }
	first := f.await("the message", isIt)
	f.drop()
	if err := <-done; err == nil || gateway.IsDrop(err) {
		t.Fatalf("Deliver: %v", err)
	}
	f.set(func() { f.silent = nil })
	f.await("a new connection", func(n *node) bool { return f.reconnected() && n.name == "presence" })
	must(t, side.room0().await(t.Context(), func() bool { return side.room0().ready }))
	d.Attempt = 1
	must(t, deliver(t, side, d))
	n := 0
	second := f.await("the repetition", func(s *node) bool {
		if isIt(s) {
			n++
		}
		return n == 2
	})
	if !bytes.Equal(first.bytes(), second.bytes()) {
		t.Errorf("the repetition differs:\n%s\n%s", first.bytes(), second.bytes())
	}
	if o, ok := juliet.open(omemo.Legacy, second); !ok || string(o.Plain) != "hello" {
		t.Errorf("opened %q", o.Plain)
	}
}

func TestAPuppetIsGivenVoice(t *testing.T) {
	f := newFakeServer(t)
	f.features = append(f.features, "muc_moderated")
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	puppet, _ := side.people.of(delivery("", "", false).Event.Sender)
	f.set(func() { f.refusing = map[string]string{puppet.JID + "/" + resource: "forbidden"} })
	until(t, side, delivery(keyB, "muted", false))
	f.set(func() {
		if len(f.granted) != 1 || f.granted[0] != "Alice" {
			t.Errorf("voice was given to %q", f.granted)
		}
	})
}

// TestOldListsHoldNothingUp: whoever's server is silent is sealed for by the list that is known.
func TestOldListsHoldNothingUp(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "first", true)))
	w.clock.move(2 * time.Hour)
	w.set(func() { w.silent = map[string]bool{"juliet@test": true} })
	began := time.Now()
	must(t, deliver(t, w.side, delivery(keyB, "second", true)))
	if took := time.Since(began); took >= askTimeout {
		t.Errorf("it took %v", took)
	}
	said := w.said()
	if o, ok := w.juliet.open(omemo.Legacy, said[len(said)-1]); !ok || string(o.Plain) != "second" {
		t.Errorf("opened %q", o.Plain)
	}
}

func TestPuppetsLeaveWhereNoneAreWantedAnyMore(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	puppet, _ := side.people.of(delivery("", "", false).Event.Sender)
	side.SetRooms([]gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)})
	f.await("it leaves", leavingOf(puppet.JID))
	must(t, deliver(t, side, delivery(keyB, "hello again", false)))
	if said := f.saidBy(fakeSelf); len(said) != 1 || !strings.Contains(said[0].child("", "body").text, "Alice") {
		t.Errorf("the gateway said %d messages", len(said))
	}
}

func TestPreKeysAreCountedOnceThereIsADevice(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, func(_ *Config, deps *gateway.Deps) { deps.Metrics = reg }, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "hello") // with one of our prekeys
	w.heard("hello")
	w.stop()
	w.clock.move(countPause)
	w.side.countPreKeys(t.Context())
	if n := counted(t, reg, "lockbridge_prekeys_left"); n < 25 {
		t.Errorf("%v are left", n)
	}
	empty := prometheus.NewRegistry()
	side, err := New(w.config(), gateway.Deps{Network: "xmpp", State: sidetest.NewState(), Metrics: empty, Log: testLog(t)})
	must(t, err)
	side.countPreKeys(t.Context())
	families, err := empty.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "lockbridge_prekeys_left" {
			t.Error("prekeys are counted where there is no device")
		}
	}
}
