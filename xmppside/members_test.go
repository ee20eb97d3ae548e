package xmppside

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// show sends a presence of an occupant to the gateway's occupant. The item's attributes are given as XML.
func (f *fakeServer) show(nick, kind, item, more string) {
	f.raw(fmt.Sprintf("<presence from='%s/%s' to='%s/%s'%s><x xmlns='%s'>%s</x>%s</presence>", fakeRoom, nick, fakeSelf, resource, kind, nsMUCUser, item, more))
}

const goneKind = " type='unavailable'"

// changes are what was told of who is in the room since the last call, one a line.
func changes(t *testing.T, f *fakeServer, inbox *sidetest.Inbox, told *int, mark string) string {
	t.Helper()
	f.juliet(body(mark))
	heard(t, inbox, mark)
	var lines []string
	all := inbox.Heard()
	for _, ev := range all[*told:] {
		m, ok := ev.Body.(gateway.Membership)
		if !ok {
			continue
		}
		line := fmt.Sprintf("%s %s (%s) by %q: %s", m.Change, m.Who.Name, m.Who.ID, m.By.Name, m.Reason)
		if m.Quiet {
			line += " quietly"
		}
		if m.Change == gateway.Rename {
			line += " was " + ev.Sender.Name
		}
		lines = append(lines, line)
	}
	*told = len(all)
	return strings.Join(lines, "\n")
}

func TestWhoComesAndGoesIsTold(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	told := 0
	for i, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"nothing", func() {}, ""},
		{"a join", func() {
			f.show("Juliet", "", "<item jid='juliet@test/phone' affiliation='member' role='participant'/>", "")
		}, `join Juliet (juliet@test) by "": `},
		{"away", func() {
			f.show("Juliet", "", "<item jid='juliet@test/phone' affiliation='member' role='participant'/>", "<show>away</show>")
		}, ""},
		{"another nick", func() {
			f.show("Juliet", goneKind, "<item jid='juliet@test/phone' nick='Jules'/><status code='303'/>", "")
			f.show("Jules", "", "<item jid='juliet@test/phone' affiliation='member' role='participant'/>", "")
		}, `rename Jules (juliet@test) by "":  was Juliet`},
		{"a second nick", func() { f.show("Juliet2", "", "<item jid='juliet@test/tablet' affiliation='member'/>", "") }, ""},
		{"the first one goes", func() { f.show("Jules", goneKind, "<item jid='juliet@test/phone'/>", "") }, `rename Juliet2 (juliet@test) by "":  was Jules`},
		{"the second one goes", func() {
			f.show("Juliet2", goneKind, "<item jid='juliet@test/tablet'/>", "<status>good\n night</status>")
		}, `leave Juliet2 (juliet@test) by "": good night`},
		{"it goes again", func() { f.show("Juliet2", goneKind, "<item jid='juliet@test/tablet'/>", "") }, ""},
		{"a kick", func() {
			f.show("Romeo", "", "<item jid='romeo@test/x'/>", "")
			f.show("Tybalt", "", "<item jid='tybalt@test/x'/>", "")
			f.show("Romeo", goneKind, "<item jid='romeo@test/x'><actor nick='Tybalt' jid='secret@test'/><reason>"+strings.Repeat("w", 400)+"</reason></item><status code='307'/>", "")
		}, "join Romeo (romeo@test) by \"\": \njoin Tybalt (tybalt@test) by \"\": \nkick Romeo (romeo@test) by \"Tybalt\": " + gateway.Shorten(strings.Repeat("w", 400), gateway.MaxReason)},
		{"a ban by the gateway", func() {
			f.show("Tybalt", goneKind, "<item jid='tybalt@test/x'><actor nick='lockbridge'/></item><status code='301'/>", "")
		}, `ban Tybalt (tybalt@test) by "": `},
		{"a lost connection", func() {
			f.show("Romeo", "", "<item jid='romeo@test/x'/>", "")
			f.show("Romeo", goneKind, "<item jid='romeo@test/x'/><status code='307'/><status code='333'/>", "")
		}, "join Romeo (romeo@test) by \"\": \nleave Romeo (romeo@test) by \"\": "},
		{"a shutdown", func() {
			f.show("Romeo", "", "<item jid='romeo@test/x'/>", "")
			f.show("Romeo", goneKind, "<item jid='romeo@test/x'/><status code='332'/>", "")
		}, "join Romeo (romeo@test) by \"\": \nleave Romeo (romeo@test) by \"\":  quietly"},
		{"one of another Lockbridge", func() {
			caps := "<c xmlns='" + nsCaps + "' hash='sha-1' node='" + capsURI + "' ver='x'/>"
			f.show("Mercutio", "", "<item jid='mercutio@relay.test/x'/>", caps)
			f.show("Mercutio", "", "<item jid='mercutio@relay.test/x'/>", caps)
			f.show("Mercutio", goneKind, "<item jid='mercutio@relay.test/x'/>", "")
		}, `leave Mercutio (mercutio@relay.test) by "": `},
		{"one of ours", func() {
			f.show("Alice", "", "<item jid='"+fakePuppet+"/"+resource+"'/>", "")
			f.show("Alice", goneKind, "<item jid='"+fakePuppet+"/"+resource+"'/>", "")
			f.show("Bob", "", "<item jid='bob%matrix@"+fakeDomain+"/"+resource+"'/>", "")
		}, ""},
	} {
		step.do()
		if got := changes(t, f, inbox, &told, fmt.Sprintf("mark %d", i)); got != step.want {
			t.Errorf("%s: told\n%s\nwant\n%s", step.what, got, step.want)
		}
	}
	if s := fmt.Sprint(inbox.Heard()); strings.Contains(s, "secret@test") {
		t.Error("an address that only admins see was told")
	}
}

// TestAListIsComparedWithWhatWasTold: entering again tells only what changed meanwhile.
func TestAListIsComparedWithWhatWasTold(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	r := side.room0()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := func(nicks ...string) string {
		r.occupants = map[string]*occupant{}
		for _, nick := range nicks {
			r.occupants[nick] = &occupant{nick: nick, real: strings.ToLower(strings.TrimRight(nick, "_")) + "@test"}
		}
		var out []string
		for _, m := range r.listedLocked() {
			if !m.Quiet {
				t.Errorf("%+v is not quiet", m)
			}
			out = append(out, string(m.Change)+" "+m.Who.Name)
		}
		return strings.Join(out, ", ")
	}
	for _, step := range []struct {
		nicks []string
		want  string
	}{
		{[]string{"Juliet", "Romeo"}, "join Juliet, join Romeo"},
		{[]string{"Juliet", "Romeo"}, ""},
		{[]string{"Juliet_", "Juliet", "Romeo"}, ""},
		{[]string{"Juliet_", "Tybalt"}, "rename Juliet_, join Tybalt, leave Romeo"},
		{nil, "leave Juliet_, leave Tybalt"},
	} {
		if got := list(step.nicks...); got != step.want {
			t.Errorf("%q: %s, want %s", step.nicks, got, step.want)
		}
	}
}

// TestHiddenAddressesStayHidden: the gateway sees them as an admin; what it tells names occupants.
func TestHiddenAddressesStayHidden(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_semianonymous", nsSID, nsOccupantID}
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	r := side.room0()
	r.mu.Lock()
	r.nonAnonymous = false // the fake room says otherwise on entering
	r.mu.Unlock()
	id := "<occupant-id xmlns='" + nsOccupantID + "' id='o1'/>"
	f.show("Juliet", "", "<item jid='juliet@secret.test/phone'/>", id)
	f.show("Juliet", goneKind, "<item jid='juliet@secret.test/phone' nick='Jules'/><status code='303'/>", id)
	f.show("Jules", "", "<item jid='juliet@secret.test/phone'/>", id)
	f.show("Jules", goneKind, "<item jid='juliet@secret.test/phone'><actor jid='admin@secret.test' nick='Nobody'/></item><status code='307'/>", id)
	told := 0
	want := "join Juliet (o1@" + fakeRoom + ") by \"\": \nrename Jules (o1@" + fakeRoom + ") by \"\":  was Juliet\nkick Jules (o1@" + fakeRoom + ") by \"\": "
	if got := changes(t, f, inbox, &told, "mark"); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
	if s := fmt.Sprintf("%+v", inbox.Heard()); strings.Contains(s, "secret.test") {
		t.Error("a real address was told")
	}
}

func TestWhoIsHere(t *testing.T) {
	f := newFakeServer(t)
	room := fakeBridgeRoom(false, gateway.PuppetsActive)
	side, inbox := startFake(t, f, room)
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	for i := range maxHere + 5 {
		f.show(fmt.Sprintf("guest%03d", i), "", fmt.Sprintf("<item jid='guest%d@test/x'/>", i), "")
	}
	f.show("a second nick", "", "<item jid='guest0@test/y'/>", "")
	told := 0
	changes(t, f, inbox, &told, "mark")
	here := side.Here(room.Address)
	if len(here) != maxHere || here[0].Name > here[1].Name {
		t.Errorf("%d people, beginning with %v", len(here), here[:min(2, len(here))])
	}
	for _, p := range here {
		if p.Name == "lockbridge" || p.Name == "Alice" {
			t.Errorf("%v is one of ours", p)
		}
	}
	if side.Here(gateway.Address{Network: "xmpp", ID: "elsewhere@test"}) != nil {
		t.Error("somebody is in a room that is not carried")
	}
}

// TestAPuppetSaysWhyItsPersonIsGone: what other networks did to somebody is shown, and not done here.
func TestAPuppetSaysWhyItsPersonIsGone(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	d := delivery(keyB, "", false)
	d.Event.Body = gateway.Membership{Who: d.Event.Sender, Change: gateway.Kick, By: gateway.Person{Network: "matrix", ID: "@bob:test", Name: "Bob"}, Reason: "noise"}
	must(t, deliver(t, side, d))
	bye := f.await("the puppet leaves", func(n *node) bool { return n.name == "presence" && n.get("type") == "unavailable" })
	if got := bye.child("", "status").said(); got != "kicked by Bob: noise" || bare(bye.get("from")) != fakePuppet {
		t.Errorf("left with %q: %s", got, bye.bytes())
	}
}

func TestPhotoHashes(t *testing.T) {
	good := strings.Repeat("Ab", 20)
	for text, want := range map[string]string{
		good: strings.ToLower(good), " " + good + "\n": strings.ToLower(good), "": "", good[2:]: "", good + "00": "", strings.Repeat("zz", 20): "",
	} {
		p := el("", "presence").add(el(nsPhoto, "x").add(el(nsPhoto, "photo").say(text)))
		if got := photoOf(p); got != want || len(got) > 0 && len(got) != hex.EncodedLen(20) {
			t.Errorf("%q: %q", text, got)
		}
	}
	if photoOf(el("", "presence")) != "" || photoOf(el("", "presence").add(el(nsPhoto, "x"))) != "" {
		t.Error("a presence without a picture names one")
	}
}

// TestAnotherNickIsAnotherPuppet where a network knows people by nothing else: the old one goes.
func TestAnotherNickIsAnotherPuppet(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	was, now := gateway.Person{Network: "irc", ID: "bob", Name: "bob"}, gateway.Person{Network: "irc", ID: "rob", Name: "rob"}
	d := delivery(keyA, "here I am", false)
	d.Event.Sender = was
	must(t, deliver(t, side, d))
	d.Key, d.Event.Body = keyB, gateway.Membership{Who: now, Change: gateway.Rename}
	must(t, deliver(t, side, d))
	r := side.room0()
	old, _ := side.people.of(was)
	next, _ := side.people.of(now)
	if r.nickIn(old.JID) != "" || r.nickIn(next.JID) != "rob" {
		t.Errorf("the old one is in as %q, the new one as %q", r.nickIn(old.JID), r.nickIn(next.JID))
	}
	d.Key, d.Event.Sender, d.Event.Body = strings.Repeat("c", 32), gateway.Person{Network: "irc", ID: "eve", Name: "eve"}, gateway.Membership{Who: gateway.Person{Network: "irc", ID: "eva", Name: "eva"}, Change: gateway.Rename}
	must(t, deliver(t, side, d))
	if _, met := side.people.of(gateway.Person{Network: "irc", ID: "eva"}); met {
		t.Error("somebody got a puppet for a new nick")
	}
}
