package xmppside

import (
	"context"
	"fmt"
	"testing"

	"lockbridge/gateway"
)

// TestNobodyElseEchoesUs: an origin-id can be written by anybody, and a nick like ours be taken by anybody.
func TestNobodyElseEchoesUs(t *testing.T) {
	f := newFakeServer(t)
	f.features = append(f.features, nsOccupantID)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	mark := el(nsOccupantID, "occupant-id", "id", "o9")
	f.set(func() {
		for full := range f.room {
			f.write(f.occupant("lockbridge_", "none", "mallory@evil.test/x", full, false).add(mark))
		}
	})
	must(t, r.await(t.Context(), func() bool { return r.occupants["lockbridge_"] != nil }))
	f.set(func() {
		f.mute = true // it stands in the history only
		f.say("lockbridge_", "m1", body("not our words"), mark, el(nsSID, "origin-id", "id", keyB))
		for i := range 500 {
			f.say("lockbridge_", "m2", body("nor these"), el(nsSID, "origin-id", "id", fmt.Sprintf("%032x", i)))
		}
		f.say("Juliet", "m3", body("the end mark"))
		f.mute = false
	})
	f.drop()
	if ev := heard(t, inbox, "not our words"); ev.Sender.ID != "mallory@evil.test" {
		t.Errorf("heard %+v", ev)
	}
	heard(t, inbox, "the end mark")
	kept, err := side.deps.State.List(t.Context(), stateOut)
	must(t, err)
	if len(kept) > 0 || side.ended.has(keyB) {
		t.Errorf("%d echoes are kept, forged: %q", len(kept), kept[stateOut+keyB])
	}
}

// TestTheHistoryTellsWhichVoiceItWas, so that what was reflected while the connection was down can be changed.
func TestTheHistoryTellsWhichVoiceItWas(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyB, "here I am", false)))
	f.set(func() { f.mute = true })
	done := make(chan error, 1)
	go func() {
		done <- side.Deliver(t.Context(), []gateway.Delivery{delivery(keyA, "still here", false)})[0].Err
	}()
	f.await("the message", func(n *node) bool { return n.name == "message" && n.get("id") == keyA })
	f.set(func() { f.mute = false })
	f.drop()
	if err := <-done; err == nil {
		t.Error("it was reflected at once")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ev, err := inbox.Await(ctx, "what the history tells", func(ev *gateway.Event) bool {
		e, ok := ev.Body.(gateway.Echo)
		return ok && e.Key == keyA
	})
	must(t, err)
	if want := messageAlias(voiceKind, alicesPuppet, keyA); len(ev.Also) != 1 || ev.Also[0] != want {
		t.Errorf("its aliases are %q, want %q", ev.Also, want)
	}
}

// TestNobodyHasTwoOccupantIDs: where a room passes on the one that somebody wrote, it is not believed.
func TestNobodyHasTwoOccupantIDs(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{nsSID, nsOccupantID}
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	r.mu.Lock()
	r.nonAnonymous = false // the fake room says otherwise on entering
	r.mu.Unlock()
	for nick, id := range map[string]string{"Juliet": "o1", "Mallory": "o2"} {
		f.show(nick, "", "<item role='participant'/>", "<occupant-id xmlns='"+nsOccupantID+"' id='"+id+"'/>")
	}
	given := func(id string) *node { return el(nsOccupantID, "occupant-id", "id", id) }
	f.set(func() { f.say("Mallory", "m1", body("her own words"), given("o1"), given("o2")) })
	if who := heard(t, inbox, "her own words").Sender; who.ID != "o2@"+fakeRoom || who.Name != "Mallory" {
		t.Errorf("said by %+v", who)
	}
}
