package xmppside

import (
	"slices"
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
	weak := "leave Juliet (Juliet@" + fakeRoom + ") by \"\":  quietly" // the history does not say that it was her who spoke
	for i, want := range []string{
		"join Juliet (juliet@test) by \"\":  quietly\nleave Romeo (romeo@test) by \"\":  quietly\n" + weak,
		"join Juliet (juliet@test) by \"\":  quietly\n" + weak,
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
	side, _, _ := start(t.Context(), t, f.config(), state)
	must(t, side.forgetRoom(t.Context(), newRoom(side, room, fakeRoom)))
	if kept, err = state.List(t.Context(), stateHere); err != nil || len(kept) > 0 {
		t.Errorf("State holds %q, %v", kept, err)
	}
}

// TestWhoCameAndWentWhileNobodyLookedIsGone: what they said meanwhile brings them back to others, who do not hear them leave.
func TestWhoCameAndWentWhileNobodyLookedIsGone(t *testing.T) {
	for name, features := range map[string][]string{"an archive": {nsMAM}, "a short history": nil} {
		t.Run(name, func(t *testing.T) {
			f := newFakeServer(t)
			f.features = append(f.features, append(features, nsOccupantID)...)
			state, room := sidetest.NewState(), fakeBridgeRoom(false, gateway.PuppetsActive)
			_, inbox, stop := start(t.Context(), t, f.config(), state, room)
			f.juliet(body("before"))
			heard(t, inbox, "before")
			stop()
			f.drop()
			id := func(of string) *node { return el(nsOccupantID, "occupant-id", "id", of) }
			f.set(func() {
				f.room["juliet@test/phone"] = "Juliet"
				f.say("Juliet", "m1", body("I stay"), id("o1"))
				f.say("Romeo", "m2", body("I go"), id("o2"))
			})
			_, inbox, _ = start(t.Context(), t, f.config(), state, room)
			told, left := 0, "leave Romeo (o2@"+fakeRoom+") by \"\":  quietly"
			got := changes(t, f, inbox, &told, "after")
			if !strings.Contains(got, left) {
				t.Errorf("told\n%s\nwant\n%s", got, left)
			}
			order := slices.IndexFunc(inbox.Heard(), func(ev *gateway.Event) bool {
				m, ok := ev.Body.(gateway.Membership)
				return ok && m.Change == gateway.Leave && m.Who.Name == "Romeo"
			}) - slices.IndexFunc(inbox.Heard(), func(ev *gateway.Event) bool {
				m, ok := ev.Body.(gateway.Message)
				return ok && m.Text.Plain == "I go"
			})
			if order < 1 {
				t.Error("they leave before they speak")
			}
		})
	}
}

// TestARoomMakesNobodyOurs: whom it calls occupants of ours although we never made them takes no memory.
func TestARoomMakesNobodyOurs(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	f.raw("<presence from='" + fakeRoom + "/Nobody' to='nobody@" + fakeDomain + "/x'><x xmlns='" + nsMUCUser + "'><item affiliation='none'/><status code='110'/></x></presence>")
	f.juliet(body("then"))
	heard(t, inbox, "then")
	r := side.room0()
	if !r.isOut("nobody@"+fakeDomain) || r.isOut(fakePuppet) || r.isOut(fakeSelf) {
		t.Errorf("ours are %v", r.mine)
	}
}
