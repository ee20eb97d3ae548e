package xmppside

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestWhatWaitsIsBounded(t *testing.T) {
	now := time.Now()
	var ms meetings
	hold := func(own, asker string, size int, query bool) string {
		_, fault := ms.hold(own, asker, gateway.Person{}, item{raw: make([]byte, size)}, query, now)
		return fault
	}
	for i := range maxHeldFor {
		if fault := hold("a", "j@one", 10, i%2 == 0); fault != "" {
			t.Fatalf("number %d for one address: %s", i, fault)
		}
	}
	if fault := hold("a", "j@one", 10, false); fault == "" {
		t.Error("one address holds too much")
	}
	for n := 1; n < maxHeld/maxHeldFor; n++ {
		for range maxHeldFor {
			if fault := hold(fmt.Sprint("b", n), fmt.Sprintf("j@d%d", n), 10, false); fault != "" {
				t.Fatalf("address %d: %s", n, fault)
			}
		}
	}
	if fault := hold("c", "j@one", 10, false); fault == "" {
		t.Error("all together hold too much")
	}
	for own := range ms.all() {
		ms.end(own, "")
		ms.release(own)
	}
	if ms.held != 0 || ms.size != 0 || len(ms.of) != 0 {
		t.Errorf("%d stanzas, %d bytes, %d addresses are left", ms.held, ms.size, len(ms.of))
	}
	if fault := hold("d", "j@two", maxHeldBytes+1, false); fault == "" {
		t.Error("one stanza holds too much")
	}
	if fault := hold("d", "j@two", maxHeldBytes, false); fault != "" {
		t.Errorf("a stanza that fits: %s", fault)
	}
}

func TestAMinuteLaterADomainMayMeetMore(t *testing.T) {
	now := time.Now()
	var ms meetings
	meet := func(n int) string {
		_, fault := ms.hold(fmt.Sprint("p", n), "j@one", gateway.Person{}, item{}, false, now)
		return fault
	}
	for n := range maxMeets {
		if fault := meet(n); fault != "" {
			t.Fatalf("number %d: %s", n, fault)
		}
	}
	if meet(maxMeets) == "" {
		t.Error("an eleventh puppet is asked for")
	}
	now = now.Add(meetWindow)
	if fault := meet(maxMeets); fault != "" {
		t.Errorf("a minute later: %s", fault)
	}
}

func TestAnUnmetPuppetIsMetWhileMessagesWait(t *testing.T) {
	f := newFakeServer(t)
	_, inbox, w := startDirect(t, f, gateway.EncryptionOff)
	w.gate = make(chan struct{})
	for i := range 3 {
		f.directly("juliet@test/phone", fakePuppet, fmt.Sprintf("m%d", i), body(fmt.Sprintf("number %d", i)))
	}
	done := make(chan *node, 1)
	go func() { done <- f.answered("juliet@test/phone", fakePuppet, el(nsDiscoInfo, "query")) }()
	f.raw("<iq type='get' id='mark' from='juliet@test/phone' to='" + fakeSelf + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	f.await("the mark", func(n *node) bool { return n.get("id") == "mark" })
	close(w.gate)
	ev := heard(t, inbox, "number 2")
	if ev.At != fakeChat || ev.Sender.ID != fakeJuliet.ID || ev.Also[0] != messageAlias(kindID, "juliet@test", "m2") {
		t.Errorf("heard %+v", ev)
	}
	for i, ev := range inbox.Heard() {
		if m, _ := ev.Body.(gateway.Message); m.Text.Plain != fmt.Sprintf("number %d", i) {
			t.Errorf("heard %q as number %d", m.Text.Plain, i)
		}
	}
	if answer := <-done; answer.get("type") != "result" || answer.get("from") != fakePuppet {
		t.Errorf("the query was answered with %s", answer.bytes())
	}
	if w.times() != 1 || w.asked[0] != "@alice:test" {
		t.Errorf("asked for %v", w.asked)
	}
	card := f.answered("juliet@test/phone", fakePuppet, el(nsVCard, "vCard"))
	if name := card.child(nsVCard, "vCard").child(nsVCard, "FN"); name == nil || name.text != "Alice" {
		t.Errorf("the card is %s", card.bytes())
	}
}

// TestWhatWaitsOutlastsTheConnection: a component's server keeps nothing for it.
func TestWhatWaitsOutlastsTheConnection(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, w := startDirect(t, f, gateway.EncryptionOff)
	w.gate = make(chan struct{})
	f.directly("juliet@test/phone", fakePuppet, "m1", body("before the cut"))
	f.raw("<iq type='get' id='mark' from='juliet@test/phone' to='" + fakePuppet + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	for side.meetings.underWayWith(fakePuppet) < 2 {
		f.answered("juliet@test/phone", fakeSelf, el(nsPing, "ping"))
	}
	<-w.news
	f.drop()
	<-w.news // asked again on the next connection
	close(w.gate)
	heard(t, inbox, "before the cut")
	f.await("the answer", func(n *node) bool { return n.get("id") == "mark" })
}

// underWayWith is how many stanzas wait for an address.
func (ms *meetings) underWayWith(own string) int {
	m := ms.all()[own]
	return len(m.items) + len(m.queries)
}

func TestNobodysAddressIsNotFound(t *testing.T) {
	f := newFakeServer(t)
	_, _, w := startDirect(t, f, gateway.EncryptionOff)
	for _, to := range []string{`bob\3atest%matrix@` + fakeDomain, "bob@" + fakeDomain, "%matrix@" + fakeDomain, "bob%nowhere@" + fakeDomain, `juliet\40test%xmpp@` + fakeDomain} {
		if answer := f.answered("juliet@test/phone", to, askList()); condition(errorOf(answer)) != "item-not-found" {
			t.Errorf("%s: answered with %s", to, answer.bytes())
		}
	}
	if answer := f.answered("mallory@elsewhere/x", fakePuppet, askList()); condition(errorOf(answer)) != "item-not-found" {
		t.Errorf("a stranger is answered with %s", answer.bytes())
	}
	f.directly("juliet@test/phone", `bob\3atest%matrix@`+fakeDomain, "m1", body("hello?"))
	back := f.await("the message comes back", func(n *node) bool { return n.name == "message" && n.get("id") == "m1" })
	if condition(errorOf(back)) != "item-not-found" || back.child("", "body") != nil || back.get("to") != "juliet@test/phone" {
		t.Errorf("it came back as %s", back.bytes())
	}
	f.raw(`<presence type='subscribe' from='juliet@test' to='bob\3atest%matrix@` + fakeDomain + `'/>`)
	f.await("the subscription is refused", func(n *node) bool { return n.get("type") == "unsubscribed" })
	if w.times() != 1 {
		t.Errorf("asked for %v", w.asked)
	}
}

func TestADomainMeetsTenPuppetsAMinute(t *testing.T) {
	f, w, now := newFakeServer(t), &town{}, time.Now()
	startEdited(t.Context(), t, f.config(), sidetest.NewState(), gateway.Deps{Direct: openDirect(gateway.EncryptionOff), Find: w.find}, func(s *Side) {
		s.now = func() time.Time { return now }
	})
	for i := range maxMeets + 2 {
		want := "item-not-found"
		if i >= maxMeets {
			want = "resource-constraint"
		}
		answer := f.answered(fmt.Sprintf("j%d@test/phone", i), fmt.Sprintf("nick%d%%libera@%s", i, fakeDomain), askList())
		if condition(errorOf(answer)) != want {
			t.Errorf("number %d is answered with %s", i, answer.bytes())
		}
	}
	if w.times() != maxMeets {
		t.Errorf("asked %d times", w.times())
	}
}

// TestAddressesOfPuppetsTellWhoseTheyAre: what puppetJID makes, personAt reads.
func TestAddressesOfPuppetsTellWhoseTheyAre(t *testing.T) {
	f := newFakeServer(t)
	side, err := New(f.config(), gateway.Deps{Network: "xmpp", State: sidetest.NewState(), Log: slog.New(slog.DiscardHandler), Direct: openDirect(gateway.EncryptionOff)})
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-z0-9%._=/\\+ <'"&-]{1,20}`)
		p := rapid.SampledFrom([]gateway.Person{{Network: "matrix", ID: "@" + part.Draw(t, "user") + ":" + part.Draw(t, "server")}, {Network: "libera", ID: part.Draw(t, "nick")}}).Draw(t, "person")
		if strings.ContainsAny(p.ID, " ") {
			p.ID = strings.ReplaceAll(p.ID, " ", "_") // no network has such ids
		}
		jid, err := puppetJID(p, fakeDomain, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := side.personAt(jid); !ok || got != p {
			t.Fatalf("%s is %+v, made of %+v", jid, got, p)
		}
	})
}

// FuzzPersonAt: whatever a stranger writes as one of our addresses, it is read as nobody's or as one that makes it again.
func FuzzPersonAt(f *testing.F) {
	for _, seed := range []string{fakePuppet, "%@" + fakeDomain, `\@` + fakeDomain, `a\3%libera@` + fakeDomain, `\5c%libera@` + fakeDomain, "x%libera@elsewhere", "a@b@c"} {
		f.Add(seed)
	}
	side, err := New(Config{Component: fakeDomain, Nick: "lockbridge"}, gateway.Deps{Network: "xmpp", State: sidetest.NewState(), Log: slog.New(slog.DiscardHandler), Direct: openDirect(gateway.EncryptionOff)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, own string) {
		p, ok := side.personAt(own)
		if !ok {
			return
		}
		if again, err := puppetJID(p, fakeDomain, 0); err != nil || again != own || p.ID == "" {
			t.Errorf("%q is %+v, whose address is %q, %v", own, p, again, err)
		}
	})
}
