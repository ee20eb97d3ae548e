package xmppside

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// putOut tells an occupant of ours that it is not in the room any more.
func (f *fakeServer) putOut(own string, codes []string, more ...*node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	full := own + "/" + resource
	x := el(nsMUCUser, "x").add(el(nsMUCUser, "item", "affiliation", "none", "role", "none")).add(more...)
	for _, code := range append(codes, statusSelf) {
		x.add(el(nsMUCUser, "status", "code", code))
	}
	f.write(el("", "presence", "type", "unavailable", "from", fakeRoom+"/"+f.room[full], "to", full).add(x))
	delete(f.room, full)
}

// laterFor delivers and wants to be told to wait, for a reason.
func laterFor(t *testing.T, side *Side, d gateway.Delivery, reason string) time.Duration {
	t.Helper()
	err := deliver(t, side, d)
	pause, later := gateway.LaterThan(err)
	if !later || !strings.Contains(err.Error(), reason) {
		t.Fatalf("Deliver: %v, want to be told to come back later, for %q", err, reason)
	}
	return pause
}

func TestALaneLearnsThatWeAreBanned(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	f.set(func() { f.shut = "forbidden" })
	f.putOut(fakeSelf, []string{"301"})
	must(t, r.await(t.Context(), func() bool { return r.away != nil }))
	laterFor(t, side, delivery(keyA, "patience", false), "ban")
	f.await("another try", func(n *node) bool { return f.refused > 0 })
	f.set(func() { f.shut = "" })
	until(t, side, delivery(keyA, "patience", false))
}

func TestALaneWaitsWhileThePuppetHasNoVoice(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	puppet, _ := side.people.of(delivery("", "", false).Event.Sender)
	f.set(func() { f.refusing = map[string]string{puppet.JID + "/" + resource: "forbidden"} })
	first := laterFor(t, side, delivery(keyB, "muted", false), "no voice")
	if second := laterFor(t, side, delivery(keyB, "muted", false), "no voice"); second <= first {
		t.Errorf("the pauses do not grow: %v, then %v", first, second)
	}
	f.set(func() { f.refusing = nil })
	must(t, deliver(t, side, delivery(keyB, "muted", false)))
}

func TestAReplacedRoomIsFollowedIfTheNewOneNamesIt(t *testing.T) {
	const next = "lounge@rooms.test"
	named := func(by string) *node {
		form := el(nsForm, "x", "type", "result").add(el(nsForm, "field", "var", "muc#roominfo_description").add(el(nsForm, "value").say(by)))
		return el(nsDiscoInfo, "query").add(el(nsDiscoInfo, "feature", "var", "muc_nonanonymous"), form)
	}
	f, state := newFakeServer(t), sidetest.NewState()
	side, _, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	r := side.room0()
	f.set(func() { f.gone, f.infos = true, map[string]*node{next: named("we come from x" + fakeRoom)} })
	f.putOut(fakeSelf, nil, el(nsMUCUser, "destroy", "jid", next))
	must(t, r.await(t.Context(), func() bool { return r.away != nil && strings.Contains(r.away.Error(), next) }))
	laterFor(t, side, delivery(keyB, "where?", false), "does not name it")
	f.set(func() { f.infos[next] = named("We come from <" + fakeRoom + ">.") })
	f.await("the new room is entered", func(n *node) bool {
		return n.name == "presence" && bare(n.get("to")) == next && bare(n.get("from")) == fakeSelf
	})
	if got := side.room0(); got.jid != next || got.conf().ID != fakeRoom {
		t.Errorf("carried is %s for %s", got.jid, got.conf().ID)
	}
	stop()
	f.await("nothing", func(*node) bool { return true })
	before := f.count()
	side, err := New(f.config(), gateway.Deps{Network: "xmpp", State: state, Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsActive)}, Log: testLog(t)})
	must(t, err)
	run(t, side, sidetest.NewInbox(state))
	n := 0
	f.await("after a restart, too", func(s *node) bool {
		n++
		return n > before && s.name == "presence" && bare(s.get("to")) == next
	})
}

// TestADestroyedRoomMayComeBack: whatever it was said to be replaced by.
func TestADestroyedRoomMayComeBack(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	f.set(func() { f.gone = true })
	f.putOut(fakeSelf, nil, el(nsMUCUser, "destroy", "jid", "elsewhere@rooms.test"))
	must(t, r.await(t.Context(), func() bool { return r.away != nil && strings.Contains(r.away.Error(), "elsewhere") }))
	f.set(func() { f.gone = false })
	until(t, side, delivery(keyA, "back again", false))
}

func TestAnAddressStandsAlone(t *testing.T) {
	for text, want := range map[string]bool{
		fakeRoom: true, "successor of xmpp:" + fakeRoom + "?join": true, "(was " + fakeRoom + ")": true, "was " + fakeRoom + ".": true, "Lobby@ROOMS.test": true,
		"x" + fakeRoom: false, fakeRoom + ".evil": false, "evil-" + fakeRoom: false, "": false, "lobby": false,
	} {
		if got := holdsAddress(text, fakeRoom); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestASilentRoomIsAsked: it lost our occupants without a word.
func TestASilentRoomIsAsked(t *testing.T) {
	f := newFakeServer(t)
	room := fakeBridgeRoom(false, gateway.PuppetsActive)
	side, inbox, _ := startEdited(t.Context(), t, f.config(), sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{room}}, func(s *Side) {
		s.quietAfter = 50 * time.Millisecond
	})
	must(t, deliver(t, side, delivery(keyA, "hello", false)))
	puppet, _ := side.people.of(delivery("", "", false).Event.Sender)
	back := func(own string) {
		t.Helper()
		before := f.count()
		f.set(func() { delete(f.room, own+"/"+resource) })
		n := 0
		f.await(own+" comes back", func(s *node) bool {
			n++
			return n > before && s.name == "presence" && bare(s.get("from")) == own && s.child(nsMUC, "x") != nil
		})
	}
	back(puppet.JID)
	back(fakeSelf)
	f.juliet(body("there you are"))
	heard(t, inbox, "there you are")
}

// TestAGhostIsTakenOut: an occupant of ours that nobody knows of, which has our nick.
func TestAGhostIsTakenOut(t *testing.T) {
	f := newFakeServer(t)
	ghost := "old%matrix@" + fakeDomain + "/" + resource
	f.room[ghost] = "lockbridge"
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.await("it leaves", leavingOf(bare(ghost)))
	f.putOut(bare(ghost), nil)
	for full, nick := range map[string]string{fakeSelf + "/" + resource: "lockbridge_"} {
		f.set(func() {
			f.write(el("", "presence", "type", "unavailable", "from", fakeRoom+"/lockbridge", "to", full).
				add(el(nsMUCUser, "x").add(el(nsMUCUser, "item", "affiliation", "none", "role", "none"))))
			_ = nick
		})
	}
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.mine[fakeSelf] == "lockbridge" }))
}

func TestOldWordsTellTheirTime(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	at := time.Now().Add(-time.Hour)
	old, young := delivery(keyA, "long ago", false), delivery(keyB, "just now", false)
	old.Event.Time, young.Event.Time = at, time.Now()
	must(t, deliver(t, side, old))
	must(t, deliver(t, side, young))
	said := f.said()
	stamp, err := time.Parse(time.RFC3339, said[0].child(nsDelay, "delay").get("stamp"))
	if err != nil || stamp.Sub(at).Abs() > time.Second {
		t.Errorf("it tells %v (%v), want %v", stamp, err, at)
	}
	if said[1].child(nsDelay, "delay") != nil {
		t.Error("a new message is told to be late")
	}
}

// TestARoomThatDoesNotReflectIsEnteredAgain: then its history tells what it took.
func TestARoomThatDoesNotReflectIsEnteredAgain(t *testing.T) {
	f := newFakeServer(t)
	side, _, _ := startEdited(t.Context(), t, f.config(), sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}}, func(s *Side) {
		s.reflectLimit = 100 * time.Millisecond
	})
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	f.set(func() { f.mute = true })
	d := delivery(keyA, "once", false)
	if err := deliver(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Fatalf("Deliver: %v", err)
	}
	f.set(func() { f.mute = false })
	d.Attempt = 1
	until(t, side, d)
	if n := len(f.said()); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestReconnectsAreCounted(t *testing.T) {
	f, reg := newFakeServer(t), prometheus.NewRegistry()
	_, inbox, _ := startWith(t.Context(), t, f.config(), sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Metrics: reg})
	f.drop()
	f.juliet(body("hello"))
	heard(t, inbox, "hello")
	if n := counted(t, reg, "lockbridge_reconnects_total"); n != 1 {
		t.Errorf("%v reconnects", n)
	}
}
