package xmppside

import (
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// presences are what the component sent to the room since the first n stanzas.
func (f *fakeServer) presences(n int) []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*node
	for _, s := range f.seen[n:] {
		if s.name == "presence" && bare(s.get("to")) == fakeRoom {
			out = append(out, s)
		}
	}
	return out
}

func (f *fakeServer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

func leavingOf(own string) func(*node) bool {
	return func(n *node) bool {
		return n.name == "presence" && n.get("type") == "unavailable" && bare(n.get("from")) == own
	}
}

func TestRoomsComeAndGoWhileTheSideRuns(t *testing.T) {
	f := newFakeServer(t)
	f.features = append(f.features, "muc_membersonly")
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	f.juliet(body("hello"))
	heard(t, inbox, "hello")
	must(t, deliver(t, side, delivery(keyA, "hello too", false)))
	puppet, _ := side.people.of(delivery("", "", false).Event.Sender)

	side.SetRooms(nil)
	f.await("the puppet leaves", leavingOf(puppet.JID))
	f.await("the gateway leaves", leavingOf(fakeSelf))
	f.juliet(body("not for us"))
	f.set(func() {
		if a := f.members[puppet.JID]; a != "none" {
			t.Errorf("the puppet's affiliation is %q", a)
		}
	})
	if err := deliver(t, side, delivery(keyB, "too late", false)); !gateway.IsDrop(err) {
		t.Errorf("Deliver to a room that was taken out: %v", err)
	}

	before := f.count()
	side.SetRooms([]gateway.Room{fakeBridgeRoom(false, gateway.PuppetsActive)})
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	if joins := f.presences(before); len(joins) == 0 || joins[0].child(nsMUC, "x").child(nsMUC, "history").get("maxstanzas") != "0" {
		t.Errorf("what was said while the room was not carried is asked for: %v", joins)
	}
	f.juliet(body("again"))
	heard(t, inbox, "again")
	for _, ev := range inbox.Heard() {
		if textOf(ev) == "not for us" {
			t.Error("it was carried from a room that was not ours")
		}
	}
}

func TestARoomThatIsLeftAsItIsHearsNothing(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	before := f.count()
	other := fakeBridgeRoom(false, gateway.PuppetsActive)
	other.ID = "other@rooms.test"
	side.SetRooms([]gateway.Room{other, fakeBridgeRoom(false, gateway.PuppetsAll)})
	f.await("the other room is entered", func(n *node) bool { return n.get("to") == "other@rooms.test" })
	side.SetRooms([]gateway.Room{fakeBridgeRoom(false, gateway.PuppetsAll)})
	if side.room0() != r || side.Caps(r.conf().Address).Members != gateway.AllMembers {
		t.Error("the room did not stay, with what was asked for it changed")
	}
	f.juliet(body("still here"))
	heard(t, inbox, "still here")
	must(t, deliver(t, side, delivery(keyA, "yes", false)))
	for _, p := range f.presences(before) {
		if bare(p.get("from")) == fakeSelf {
			t.Errorf("the room was sent %s", p.bytes())
		}
	}
}

// TestARoomTakenOutWhileNothingRanIsLeft: its puppets' memberships are taken back after the next start.
func TestARoomTakenOutWhileNothingRanIsLeft(t *testing.T) {
	f := newFakeServer(t)
	f.features = append(f.features, "muc_membersonly")
	state := sidetest.NewState()
	side, _, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	puppet, _ := side.people.of(delivery("", "", false).Event.Sender)
	stop()
	_, _, _ = start(t.Context(), t, f.config(), state)
	f.await("the membership is taken back", func(n *node) bool {
		item := n.child(nsMUCAdmin, "query").child(nsMUCAdmin, "item")
		return item.get("jid") == puppet.JID && item.get("affiliation") == "none"
	})
	f.await("the gateway leaves", leavingOf(fakeSelf))
}

// TestARoomBecomesSealedWhileItIsCarried: from then on nothing of it is in the clear, and its puppets have devices.
func TestARoomBecomesSealedWhileItIsCarried(t *testing.T) {
	w := newWorld(t, func(_ *Config, deps *gateway.Deps) {
		deps.Rooms = []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsActive)}
	}, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "plain", false)))
	w.side.SetRooms([]gateway.Room{fakeBridgeRoom(true, gateway.PuppetsActive)})
	r := w.side.room0()
	must(t, r.await(t.Context(), func() bool { return !r.reread }))
	until(t, w.side, delivery(keyB, "sealed", true))
	alice, _ := w.side.people.of(delivery("", "", false).Event.Sender)
	said := w.saidBy(alice.JID)
	if o, ok := w.juliet.open(omemo.Legacy, said[len(said)-1]); !ok || string(o.Plain) != "sealed" || !alice.Device {
		t.Errorf("opened %q; the puppet has a device: %v", o.Plain, alice.Device)
	}
	w.fakeServer.juliet(body("in the clear"))
	w.report("encrypted")
	w.crossed("in the clear")
}

// TestALostConnectionIsNoReasonToLeave: what is kept of the room stays.
func TestALostConnectionIsNoReasonToLeave(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	for i := range 5 {
		l := side.currentLink()
		f.set(func() { f.deafTo = nsMUCAdmin }) // the next time it is cut while it enters
		n, before := 0, f.count()
		l.close()
		f.await("the room is entered again", func(s *node) bool {
			n++
			return n > before && f.links == i+2 && s.child(nsMUCAdmin, "query") != nil
		})
		f.answerHeldBack()
	}
	f.juliet(body("still there?"))
	heard(t, inbox, "still there?")
	kept, err := side.deps.State.GetMany(t.Context(), []string{stateRoom + fakeRoom})
	must(t, err)
	p, _ := side.people.of(delivery("", "", false).Event.Sender)
	if kept[stateRoom+fakeRoom] == nil || p.Rooms[fakeRoom].Nick == "" {
		t.Errorf("the room was forgotten: %v, %+v", kept, p)
	}
}
