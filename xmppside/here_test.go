package xmppside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// TestWhoLeftWhileNobodyLookedIsToldOf: what others know is kept over a restart, and no longer than it is so.
func TestWhoLeftWhileNobodyLookedIsToldOf(t *testing.T) {
	f := newFakeServer(t)
	state, room := sidetest.NewState(), fakeBridgeRoom(false, gateway.PuppetsActive)
	_, inbox, stop := start(t.Context(), t, f.config(), state, room)
	long := strings.Repeat("l", 1600) + "@test"
	f.show("Juliet", "", "<item jid='juliet@test/phone'/>", "")
	f.show("Romeo", "", "<item jid='romeo@test/x'/>", "")
	f.show("Tybalt", "", "<item jid='tybalt@test/x'/>", "")
	f.show("Tybalt", goneKind, "<item jid='tybalt@test/x'/>", "")
	f.show(long, "", "<item/>", "")
	told := 0
	changes(t, f, inbox, &told, "before")
	stop()
	f.drop()
	f.set(func() { f.room["juliet@test/phone"] = "Juliet" })
	for i, want := range []string{
		"join Juliet (juliet@test) by \"\":  quietly\nleave Romeo (romeo@test) by \"\":  quietly",
		"join Juliet (juliet@test) by \"\":  quietly",
	} {
		_, inbox, stop = start(t.Context(), t, f.config(), state, room)
		told = 0
		if got := changes(t, f, inbox, &told, "again"); got != want {
			t.Errorf("start %d: told\n%s\nwant\n%s", i+1, got, want)
		}
		if bad := inbox.Unread(); len(bad) > 0 {
			t.Errorf("unreadable: %v", bad)
		}
		stop()
	}
	kept, err := state.List(t.Context(), stateHere)
	must(t, err)
	if len(kept) != 1 || string(kept[hereKey(fakeRoom, "juliet@test")]) != "Juliet" {
		t.Errorf("State holds %q", kept)
	}
	// A room that is not carried any more leaves nothing behind.
	side, _, _ := start(t.Context(), t, f.config(), state, gateway.Room{Address: gateway.Address{Network: "xmpp", ID: "other@" + domainOf(fakeRoom)}})
	must(t, side.forgetRoom(t.Context(), newRoom(side, room, fakeRoom)))
	if kept, err = state.List(t.Context(), stateHere); err != nil || len(kept) > 0 {
		t.Errorf("State holds %q, %v", kept, err)
	}
}
