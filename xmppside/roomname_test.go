package xmppside

import (
	"slices"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// TestNamesOfRooms: the first one is no news, any other is, once, over a restart, too.
func TestNamesOfRooms(t *testing.T) {
	f := newFakeServer(t)
	f.title = "Verona"
	state, room := sidetest.NewState(), fakeBridgeRoom(false, gateway.PuppetsActive)
	room.Topic = true
	side, inbox, stop := start(t.Context(), t, f.config(), state, room)
	rename := func(title string) {
		t.Helper()
		f.set(func() {
			f.title = title
			f.announceLocked(statusConfigured)
		})
		r := side.roomOf(fakeRoom)
		must(t, r.await(t.Context(), func() bool { return r.name == gateway.CleanName(title) && !r.reread }))
	}
	f.enter("Juliet", "juliet@test/phone", "member")
	rename("Verona")
	if names := toldOfRoom(t, f, inbox, nameOf, "mark 1"); len(names) != 0 {
		t.Errorf("told of %q at first", names)
	}
	rename("Mantua")
	rename("Mantua")
	if names := toldOfRoom(t, f, inbox, nameOf, "mark 2"); !slices.Equal(names, []string{"Mantua"}) {
		t.Errorf("told of %q", names)
	}
	rename("")
	stop()
	f.drop()
	f.set(func() { f.title, f.room["juliet@test/phone"] = "Padua\n", "Juliet" })
	_, inbox, _ = start(t.Context(), t, f.config(), state, room)
	if names := toldOfRoom(t, f, inbox, nameOf, "mark 3"); !slices.Equal(names, []string{"Padua"}) {
		t.Errorf("told of %q after a restart", names)
	}
}

// TestNoNameOfARoomCrossesWhereItsTopicDoesNot: on a sealed bridge, and where the config says so.
func TestNoNameOfARoomCrossesWhereItsTopicDoesNot(t *testing.T) {
	for _, seal := range []bool{false, true} {
		f := newFakeServer(t)
		f.title, f.features = "Verona", []string{"muc_nonanonymous", "muc_membersonly", nsSID}
		state, room := sidetest.NewState(), fakeBridgeRoom(seal, gateway.PuppetsActive)
		room.Topic = seal
		_, _, stop := start(t.Context(), t, f.config(), state, room)
		stop()
		if stored, err := state.List(t.Context(), stateRoomName); err != nil || len(stored) != 0 {
			t.Errorf("seal %v: State holds %q: %v", seal, stored, err)
		}
	}
}
