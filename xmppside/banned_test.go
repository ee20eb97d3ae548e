package xmppside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
)

// TestABannedPuppetStaysBanned: the gateway neither makes it a member again nor speaks in its stead, and the others go on.
func TestABannedPuppetStaysBanned(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "before", false)))
	affiliation := func() (a string) {
		f.set(func() { a = f.members[fakePuppet] })
		return a
	}
	if got := affiliation(); got != "member" {
		t.Fatalf("the puppet is %q", got)
	}
	f.set(func() {
		f.members[fakePuppet] = "outcast"
		delete(f.room, fakePuppet+"/"+resource)
	})
	f.raw("<presence type='unavailable' from='" + fakeRoom + "/Alice' to='" + fakeSelf + "/" + resource + "'><x xmlns='" + nsMUCUser + "'><item jid='" + fakePuppet + "/" + resource + "' affiliation='outcast' role='none'/><status code='301'/></x></presence>" +
		"<presence type='unavailable' from='" + fakeRoom + "/Alice' to='" + fakePuppet + "/" + resource + "'><x xmlns='" + nsMUCUser + "'><item affiliation='outcast' role='none'/><status code='110'/><status code='301'/></x></presence>")
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.mine[fakePuppet] == "" }))

	bob := delivery(strings.Repeat("c", 32), "from Bob", false)
	bob.Event.Sender = gateway.Person{Network: "matrix", ID: "@bob:test", Name: "Bob"}
	for _, key := range []string{keyB, strings.Repeat("d", 32)} {
		out := side.Deliver(t.Context(), []gateway.Delivery{delivery(key, "after", false), bob})
		if len(out) != 2 || out[1].Err != nil || !gateway.IsDrop(out[0].Err) || !strings.Contains(out[0].Err.Error(), "banned") {
			t.Fatalf("outcomes %+v", out)
		}
		bob.Key = strings.Repeat("e", 32)
	}
	gone := delivery(strings.Repeat("f", 32), "", false)
	gone.Event.Body = gateway.Membership{Who: gone.Event.Sender, Change: gateway.Leave}
	must(t, deliver(t, side, gone))
	if got := affiliation(); got != "outcast" {
		t.Errorf("the puppet is %q", got)
	}
	for _, n := range f.said() {
		if n.child("", "body").said() == "after" || strings.Contains(n.child("", "body").said(), "Alice") {
			t.Errorf("said %s", n.bytes())
		}
	}
}

// TestNobodySpeaksForWhomAnOpenRoomBanned: it says so when they want to come in.
func TestNobodySpeaksForWhomAnOpenRoomBanned(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	f.set(func() { f.shut = "forbidden" })
	if err := deliver(t, side, delivery(keyA, "hello", false)); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "banned") {
		t.Errorf("got %v", err)
	}
	f.set(func() { f.shut = "" })
	must(t, deliver(t, side, delivery(keyB, "pardoned", false)))
}
