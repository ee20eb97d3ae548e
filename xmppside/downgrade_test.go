package xmppside

import (
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// configured has the room say that its configuration changed.
func (w *world) configured(code string, features ...string) {
	w.set(func() {
		w.features = features
		w.announceLocked(code)
	})
}

// announceLocked tells all occupants of ours a status of the room.
func (f *fakeServer) announceLocked(code string) {
	for full := range f.room {
		x := el(nsMUCUser, "x").add(el(nsMUCUser, "status", "code", code))
		f.write(el("", "message", "type", "groupchat", "from", fakeRoom, "to", full).add(x))
	}
}

func TestARoomThatOpensUpStopsAtOnce(t *testing.T) {
	for code, left := range map[string][]string{
		"104": {"muc_nonanonymous", "muc_open", nsSID}, "173": {"muc_semianonymous", "muc_membersonly", nsSID}, "174": {"muc_membersonly", nsSID},
	} {
		t.Run(code, func(t *testing.T) {
			w := newWorld(t, nil, omemo.Legacy)
			w.juliet.say(w.side, omemo.Legacy, "among us")
			w.heard("among us")
			w.set(func() { w.deafTo = nsDiscoInfo }) // the answer takes its time
			w.configured(code, left...)
			w.juliet.say(w.side, omemo.Legacy, "in the open")
			r := w.side.room0()
			must(t, r.await(t.Context(), func() bool { return r.reread && len(r.held) > 0 }))
			if err := deliver(t, w.side, delivery(keyA, "hello", true)); err == nil {
				t.Error("something was said in a room that may be open")
			}
			w.answerHeldBack()
			w.report("must be end-to-end encrypted")
			if err := deliver(t, w.side, delivery(keyA, "hello", true)); !gateway.IsDrop(err) {
				t.Errorf("Deliver: %v", err)
			}
			w.set(func() { w.deafTo = "" })
			w.configured("104", "muc_nonanonymous", "muc_membersonly", nsSID)
			w.juliet.say(w.side, omemo.Legacy, "among us again")
			w.heard("among us again")
			until(t, w.side, delivery(keyA, "hello", true))
			w.crossed("in the open")
		})
	}
}

func TestPeopleAreToldOfEachReasonOnceADay(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	reports := func() (out []string) {
		for _, ev := range w.inbox.Heard() {
			if r, ok := ev.Body.(gateway.Receipt); ok {
				out = append(out, r.Reason)
			}
		}
		return out
	}
	for i := range 3 {
		w.fakeServer.juliet(body(fmt.Sprint("plain ", i)))
	}
	w.report("was not")
	w.configured("104", "muc_nonanonymous", "muc_open", nsSID)
	for i := range 3 {
		w.juliet.say(w.side, omemo.Legacy, fmt.Sprint("sealed ", i))
	}
	w.report("members-only")
	w.configured("104", "muc_nonanonymous", "muc_membersonly", nsSID)
	w.juliet.say(w.side, omemo.Legacy, "end")
	w.heard("end")
	if got := reports(); len(got) != 2 {
		t.Errorf("reports %q", got)
	}
	w.crossed("plain ")
	w.crossed("sealed ")
}

func TestARoomThatClaimsAnotherSenderIsNotBelieved(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy)
	romeo := newDevice(t, w.fakeServer, "romeo@test", omemo.Legacy)
	w.enter("Romeo", "romeo@test/x", "member")
	say := func(as string, d *device, text string, kids ...*node) {
		sealed := d.seal(w.side, omemo.Legacy, []byte(text), fakeSelf)
		w.set(func() { w.fakeServer.say(as, "x", append(kids, sealed, body(fallbackBody))...) })
	}
	say("Romeo", romeo, "hello")
	w.heard("hello")
	romeo.open(omemo.Legacy, romeo.transport(1))
	say("Juliet", romeo, "I am Juliet")
	w.unread(1)
	// Whatever a sender writes of addresses, the room did not.
	say("Romeo", romeo, "I am Romeo", el(nsMUCUser, "x").add(el(nsMUCUser, "item", "jid", "juliet@test/phone")))
	if ev := w.heard("I am Romeo"); ev.Sender.ID != "romeo@test" {
		t.Errorf("heard from %s", ev.Sender.ID)
	}
	w.crossed("I am Juliet")
}

func TestCiphertextsDoNotTravel(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy, omemo.Two)
	e := omemo.Envelope{From: "juliet@test", To: fakeRoom, Content: el(nsClient, "body").say("to the room").append(nil, "")}
	room := w.juliet.seal(w.side, omemo.Two, w.juliet.envelope(e), fakeSelf)
	w.directly("juliet@test/x", fakeSelf, "d1", room)
	w.unread(1)
	old := w.juliet.seal(w.side, omemo.Legacy, []byte("said once"), fakeSelf)
	w.fakeServer.juliet(old, body(fallbackBody))
	w.heard("said once")
	w.directly("juliet@test/x", fakeSelf, "d2", old)
	w.fakeServer.juliet(old, body(fallbackBody))
	w.fakeServer.juliet(room)
	w.juliet.say(w.side, omemo.Two, "end")
	w.heard("end")
	texts := ""
	for _, ev := range w.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			texts += m.Text.Plain + ", "
		}
	}
	if texts != "said once, to the room, end, " && texts != "said once, end, " {
		t.Errorf("heard %s", strings.TrimSuffix(texts, ", "))
	}
}

// TestLegacyCiphertextsDoNotTravelBetweenRoomAndPuppet: nothing in them says where they belong, but their keys do.
func TestLegacyCiphertextsDoNotTravelBetweenRoomAndPuppet(t *testing.T) {
	w := newWorld(t, func(c *Config, d *gateway.Deps) {
		both(c, d)
		d.Direct = openDirect(gateway.EncryptionRequired)
	}, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "hello", true))) // of the puppet, which has a device from now on
	private := w.juliet.seal(w.side, omemo.Legacy, []byte("private"), alicesPuppet)
	w.fakeServer.juliet(private, body(fallbackBody))
	w.unread(1)
	for _, text := range []string{"first", "second"} { // the second begins no session
		public := w.juliet.seal(w.side, omemo.Legacy, []byte(text), fakeSelf, alicesPuppet)
		w.fakeServer.juliet(public, body(fallbackBody))
		if ev := w.heard(text); ev.At != w.side.room0().conf().Address {
			t.Errorf("heard at %v", ev.At)
		}
		w.directly("juliet@test/x", alicesPuppet, "d"+text, public)
	}
	w.unread(3)
	w.crossed("private")
	if n := len(w.inbox.Heard()); n < 2 {
		t.Errorf("%d events", n)
	}
	for _, ev := range w.inbox.Heard() {
		if _, said := ev.Body.(gateway.Message); said && ev.At != w.side.room0().conf().Address {
			t.Errorf("heard at %v: %+v", ev.At, ev.Body)
		}
	}
}

// TestOnlyTheRoomTellsHistory: who writes a time of long ago into a live message hides nothing by it.
func TestOnlyTheRoomTellsHistory(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	past := el(nsDelay, "delay", "from", fakeRoom, "stamp", "2020-01-01T00:00:00Z")
	w.juliet.say(w.side, omemo.Legacy, "long ago", past)
	if ev := w.heard("long ago"); ev.Time.Year() == 2020 {
		t.Errorf("said at %v", ev.Time)
	}
	w.fakeServer.juliet(body("in the clear"), past)
	w.report("was not")
}
