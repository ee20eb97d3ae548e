package xmppside

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

var (
	fakeJuliet = gateway.Person{Network: "xmpp", ID: "juliet@test"}
	fakeAlice  = gateway.Person{Network: "matrix", ID: "@alice:test", Name: "Alice"}
	fakeChat   = gateway.DirectAddress(fakeJuliet, fakeAlice)
)

const (
	fakePuppet = `alice\3atest%matrix@` + fakeDomain
	keyB       = "fedcba9876543210fedcba9876543210"
)

// town is another network as the side asks it: who lives there.
type town struct {
	mu    sync.Mutex
	names map[string]string // by id; not there: nobody
	asked []string
	gate  chan struct{} // nil: answers at once
	news  chan struct{} // gets a value for each question
}

func (w *town) find(ctx context.Context, who gateway.Person) (gateway.Person, error) {
	w.mu.Lock()
	w.asked = append(w.asked, who.ID)
	gate := w.gate
	select {
	case w.news <- struct{}{}:
	default:
	}
	name, there := w.names[who.ID]
	w.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return who, ctx.Err()
		}
	}
	if !there {
		return who, gateway.ErrNobody
	}
	who.Name = name
	return who, nil
}

func (w *town) times() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// fakeKinds are the networks that there are.
var fakeKinds = map[string]gateway.NetworkKind{"xmpp": {Kind: "xmpp", Encrypts: true}, "matrix": {Kind: "matrix"}, "libera": {Kind: "irc"}}

// openDirect lets everybody at test have direct chats.
func openDirect(encryption gateway.Encryption) gateway.Direct {
	return gateway.Direct{Allow: []string{"test"}, Encryption: encryption, Clear: []string{"matrix", "libera"}}.WithKinds(fakeKinds)
}

func startDirect(t *testing.T, f *fakeServer, encryption gateway.Encryption, rooms ...gateway.Room) (*Side, *sidetest.Inbox, *town) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	w := &town{names: map[string]string{"@alice:test": "Alice", "nick": ""}, news: make(chan struct{}, 1)}
	side, inbox, _ := startWith(ctx, t, f.config(), sidetest.NewState(), gateway.Deps{Rooms: rooms, Direct: openDirect(encryption), Find: w.find})
	return side, inbox, w
}

func directDelivery(key string, b gateway.Body) gateway.Delivery {
	return gateway.Delivery{Key: key, Room: fakeChat, Event: &gateway.Event{At: fakeChat.Mirror(), Sender: fakeAlice, Body: b}}
}

func saying(text string) gateway.Message { return gateway.Message{Text: gateway.Text{Plain: text}} }

// write lets somebody write to an address of the component.
func (f *fakeServer) directly(from, to, id string, kids ...*node) {
	f.raw(string(el("", "message", "type", "chat", "id", id, "from", from, "to", to).add(kids...).bytes()))
}

// message awaits a message of an address of the component that holds text, in its body or in an error's text.
func (f *fakeServer) message(what, from, text string) *node {
	f.t.Helper()
	return f.await(what, func(n *node) bool {
		b := n.child("", "body")
		if n.get("type") == "error" {
			b = n.child("", "error").child(nsStanzas, "text")
		}
		return n.name == "message" && bare(n.get("from")) == from && (text == "" || b != nil && strings.Contains(b.text, text))
	})
}

// answered sends a query and returns the answer.
func (f *fakeServer) answered(from, to string, payload *node) *node {
	f.t.Helper()
	f.mu.Lock()
	f.n++
	id := fmt.Sprintf("q%d", f.n)
	f.mu.Unlock()
	f.raw(string(el("", "iq", "type", "get", "id", id, "from", from, "to", to).add(payload).bytes()))
	return f.await("an answer", func(n *node) bool { return n.name == "iq" && n.get("id") == id && n.get("type") != "get" })
}

func askList() *node { return el(nsPubSub, "pubsub").add(el(nsPubSub, "items", "node", nodeList)) }

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

func TestASealedMessageInAVersionThatIsOffIsNotLostSilently(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionRequired)
	must(t, side.meetAlice(t))
	f.directly("juliet@test/phone", fakePuppet, "m1", el(nsOMEMOTwo, "encrypted").add(
		el(nsOMEMOTwo, "header", "sid", "1").add(el(nsOMEMOTwo, "keys", "jid", fakePuppet).add(el(nsOMEMOTwo, "key", "rid", "2").say("AAAA"))),
		el(nsOMEMOTwo, "payload").say("AAAA")))
	f.directly("juliet@test/phone", fakePuppet, "m2", body("the end mark"))
	heard(t, inbox, "the end mark")
	if n := len(inbox.Unread()); n != 1 {
		t.Errorf("%d unreadable", n)
	}
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

func TestStrangersAreTurnedAway(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	must(t, side.meetAlice(t))
	f.directly("mallory@elsewhere/x", fakePuppet, "m1", body("hello?"))
	back := f.message("the message comes back", fakePuppet, "")
	if back.get("type") != "error" || back.get("id") != "m1" || back.get("to") != "mallory@elsewhere/x" || condition(errorOf(back)) != "forbidden" {
		t.Errorf("it came back as %s", back.bytes())
	}
	f.directly("juliet@test/phone", fakePuppet, "m2", body("hello"))
	heard(t, inbox, "hello")
	if n := len(inbox.Heard()); n != 1 {
		t.Errorf("heard %d events", n)
	}
}

func TestPuppetsShowDevicesWhereTheyMayBeSealedFor(t *testing.T) {
	for encryption, want := range map[gateway.Encryption]string{gateway.EncryptionOff: "item-not-found", gateway.EncryptionRequired: ""} {
		f := newFakeServer(t)
		side, _, _ := startDirect(t, f, encryption)
		must(t, side.meetAlice(t))
		answer := f.answered("juliet@test/phone", fakePuppet, askList())
		if got := answer.get("type"); (got == "error") != (want != "") || want != "" && condition(errorOf(answer)) != want {
			t.Errorf("%s: answered with %s", encryption, answer.bytes())
		}
	}
}

// TestAListForContactsIsReadByThePuppet: the gateway's own address may not see it.
func TestAListForContactsIsReadByThePuppet(t *testing.T) {
	f, _, _, _ := sealedFake(t)
	side, _, _ := startDirect(t, f, gateway.EncryptionRequired)
	must(t, side.meetAlice(t))
	f.set(func() { f.contacts = map[string]bool{fakePuppet: true} })
	d := directDelivery(keyA, saying("in secret"))
	d.Seal = true
	if err := deliver(t, side, d); !gateway.IsDrop(err) {
		t.Errorf("Deliver to who hides their devices: %v", err)
	}
	f.raw("<presence type='subscribed' from='juliet@test' to='" + fakePuppet + "'/>")
	f.await("presence", func(n *node) bool { return n.name == "presence" && n.get("to") == "juliet@test" && n.get("type") == "" })
	for {
		d.Attempt++
		if err := deliver(t, side, d); err == nil {
			break
		} else if !gateway.IsDrop(err) {
			t.Fatalf("Deliver: %v", err)
		}
	}
	f.await("the message", func(n *node) bool { return n.get("id") == keyA })
}

func TestADomainMeetsTenPuppetsAMinute(t *testing.T) {
	f := newFakeServer(t)
	_, _, w := startDirect(t, f, gateway.EncryptionOff)
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

func TestAPlainChatGoesBothWays(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	out := side.Deliver(t.Context(), []gateway.Delivery{directDelivery(keyA, saying("hello")), directDelivery(keyB, gateway.Typing{})})
	if len(out) != 2 || out[0].Err != nil || len(out[0].Parts) != 1 || out[0].Parts[0].Native != keyA || !gateway.IsDrop(out[1].Err) {
		t.Fatalf("outcomes %+v", out)
	}
	said := f.message("the message", fakePuppet, "hello")
	if said.get("to") != "juliet@test" || said.get("id") != keyA || said.child(nsSID, "origin-id").get("id") != keyA || said.child(nsNick, "nick").text != "Alice" {
		t.Errorf("said %s", said.bytes())
	}
	f.directly("juliet@test/phone", fakePuppet, "m1", body("hello yourself"), el(nsReply, "reply", "id", keyA, "to", fakePuppet))
	if ev := heard(t, inbox, "hello yourself"); ev.Body.(gateway.Message).ReplyTo.Native != keyA {
		t.Errorf("heard %+v", ev.Body)
	}
	f.directly("juliet@test/phone", fakePuppet, "m2", body("hello you"), el(nsCorrect, "replace", "id", "m1"))
	f.directly("juliet@test/phone", fakePuppet, "m3", el(nsRetract, "retract", "id", "m1"))
	f.directly("juliet@test/phone", fakePuppet, "m3", el(nsRetract, "retract", "id", "m1"))
	f.directly("juliet@test/phone", fakePuppet, "m4", body("and this"), el(nsReply, "reply", "id", "m1", "to", "juliet@test"))
	ev := heard(t, inbox, "and this")
	first := messageAlias(kindID, "juliet@test", "m1")
	if ev.Body.(gateway.Message).ReplyTo.Native != first {
		t.Errorf("heard %+v", ev.Body)
	}
	all := inbox.Heard()
	if len(all) != 4 {
		t.Fatalf("heard %d events", len(all))
	}
	if e, ok := all[1].Body.(gateway.Edit); !ok || e.Target.Native != first {
		t.Errorf("heard %+v", all[1].Body)
	}
	if r, ok := all[2].Body.(gateway.Retract); !ok || r.Target.Native != first {
		t.Errorf("heard %+v", all[2].Body)
	}
}

func TestAMessageThatComesBackIsReported(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	must(t, deliver(t, side, directDelivery(keyA, saying("hello"))))
	must(t, deliver(t, side, directDelivery(keyB, gateway.Receipt{State: gateway.Undeliverable, Reason: "the moon is full"})))
	report := f.message("the report", fakePuppet, "the moon is full")
	for _, id := range []string{report.get("id"), "strange", keyA} {
		f.raw("<message type='error' id='" + id + "' from='juliet@test' to='" + fakePuppet + "/" + resource + "'><error type='cancel'><service-unavailable xmlns='" + nsStanzas + "'/></error></message>")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ev, err := inbox.Await(ctx, "a receipt", func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Receipt); return ok })
	must(t, err)
	r := ev.Body.(gateway.Receipt)
	if ev.At != fakeChat || r.Target.Native != keyA || r.State != gateway.Undeliverable || !strings.Contains(r.Reason, "juliet@test") {
		t.Errorf("heard %+v", ev)
	}
}

func TestADeliveryCountsOnceTheServerHasReadIt(t *testing.T) {
	f := newFakeServer(t)
	side, _, _ := startDirect(t, f, gateway.EncryptionOff)
	f.set(func() { f.deaf = true })
	done := make(chan error, 1)
	go func() { done <- deliver(t, side, directDelivery(keyA, saying("hello"))) }()
	f.message("the message", fakePuppet, "hello")
	f.drop()
	if err := <-done; err == nil || gateway.IsDrop(err) {
		t.Errorf("Deliver across a cut: %v, want an error that is tried again", err)
	}
}

func TestAddressesThatNobodyHasAreDropped(t *testing.T) {
	f := newFakeServer(t)
	side, _, _ := startDirect(t, f, gateway.EncryptionOff, fakeBridgeRoom(false, gateway.PuppetsNone))
	for _, id := range []string{"o1@" + fakeRoom, fakeRoom, "test", "Juliet@Test", "x@" + fakeDomain, "a@b/c"} {
		d := directDelivery(keyA, saying("hello"))
		d.Room = gateway.DirectAddress(gateway.Person{Network: "xmpp", ID: id}, fakeAlice)
		if err := deliver(t, side, d); !gateway.IsDrop(err) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestAReceiptIsGivenOnceTheMessageIsSafe(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionRequired)
	must(t, side.meetAlice(t))
	inbox.Refuse(1)
	f.directly("juliet@test/phone", fakePuppet, "m1", body("in the clear"), el(nsReceipts, "request"))
	heard(t, inbox, "in the clear") // the gateway refuses it
	f.directly("juliet@test/phone", fakePuppet, "m2", el(nsRetract, "retract", "id", "m1"), el(nsReceipts, "request"))
	got := f.await("a receipt", func(n *node) bool { return n.child(nsReceipts, "received") != nil })
	if got.child(nsReceipts, "received").get("id") != "m2" || got.get("to") != "juliet@test/phone" || bare(got.get("from")) != fakePuppet {
		t.Errorf("the receipt is %s", got.bytes())
	}
	if inbox.Refused() != 1 {
		t.Error("the batch was not refused, so nothing was shown")
	}
}

// meetAlice makes Alice's puppet.
func (s *Side) meetAlice(t *testing.T) error {
	_, err := s.editPuppet(t.Context(), fakeAlice, func(context.Context, *puppet) error { return nil })
	return err
}

func TestASealedChatGoesBothWays(t *testing.T) {
	f, juliet, state, dev := sealedFake(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionRequired)
	d := directDelivery(keyA, saying("in secret"))
	d.Seal = true
	must(t, deliver(t, side, d))
	d.Attempt = 1
	must(t, deliver(t, side, d)) // its outcome was lost
	opened := func(n *node) string {
		t.Helper()
		var o omemo.Opened
		must(t, state.Update(t.Context(), func(ctx context.Context) (err error) {
			msg, err := omemo.ParseMessage(omemo.Legacy, n.child(nsLegacy, "encrypted").append(nil, ""))
			if err != nil {
				return err
			}
			o, err = juliet.Open(ctx, "juliet@test", []string{bare(n.get("from"))}, msg)
			return err
		}))
		return string(o.Plain)
	}
	var said []*node
	f.set(func() {
		for _, n := range f.seen {
			if n.get("id") == keyA {
				said = append(said, n)
			}
		}
	})
	if len(said) != 2 || !bytes.Equal(said[0].bytes(), said[1].bytes()) {
		t.Fatalf("said %d times, or not in the same bytes", len(said))
	}
	if text := opened(said[0]); text != "in secret" || strings.Contains(said[0].child("", "body").text, "secret") {
		t.Errorf("opened %q", text)
	}
	f.directly("juliet@test/phone", fakePuppet, "m1", sealFor(t, side, juliet, state, fakePuppet, "sealed"), body("fallback"), el(nsReceipts, "request"))
	ev := heard(t, inbox, "sealed")
	if ev.At != fakeChat || ev.Sealed.Protection != gateway.OMEMO || ev.Sealed.Device != fmt.Sprint(dev.ID) {
		t.Errorf("heard %+v", ev)
	}
	f.await("a receipt", func(n *node) bool { return n.child(nsReceipts, "received").get("id") == "m1" })
	report := directDelivery(keyB, gateway.Receipt{State: gateway.Undeliverable, Reason: "the moon is full", Target: gateway.Ref{Native: ev.Native}})
	report.Seal = true
	must(t, deliver(t, side, report))
	if text := opened(f.await("the report", func(n *node) bool { return n.get("id") == "report-"+keyB })); !strings.Contains(text, "the moon is full") {
		t.Errorf("the report is %q", text)
	}
	f.directly("juliet@test/phone", fakeSelf, "m2", sealFor(t, side, juliet, state, fakeSelf, "help"))
	help := opened(f.await("help", func(n *node) bool {
		return n.name == "message" && bare(n.get("from")) == fakeSelf && n.child(nsEME, "encryption") != nil
	}))
	if own, err := side.device(t.Context(), fakeSelf); err != nil || !strings.Contains(help, own.Identity.Fingerprint()) {
		t.Errorf("help is %q, %v", help, err)
	}
	if len(inbox.Unread()) > 0 || len(inbox.Heard()) != 1 {
		t.Errorf("heard %d events, unreadable: %v", len(inbox.Heard()), inbox.Unread())
	}
	left, err := side.deps.State.List(t.Context(), stateOut)
	must(t, err)
	for key := range left {
		if key != stateOut+keyA && key != stateOut+keyB { // the gateway drops these
			t.Errorf("%s is left", key)
		}
	}
}

func TestWhoHasNoDeviceIsToldByAnError(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionRequired)
	must(t, side.meetAlice(t))
	f.directly("juliet@test/phone", fakePuppet, "m1", body("in the clear"))
	ev := heard(t, inbox, "in the clear")
	d := directDelivery(keyA, gateway.Receipt{State: gateway.Undeliverable, Reason: "it must be sealed", Target: gateway.Ref{Native: ev.Native}})
	d.Seal = true
	must(t, deliver(t, side, d))
	back := f.message("the report", fakePuppet, "it must be sealed")
	if back.get("type") != "error" || back.get("id") != "m1" || back.get("to") != "juliet@test/phone" || back.child("", "body") != nil {
		t.Errorf("the report is %s", back.bytes())
	}
	d = directDelivery(keyB, saying("in secret"))
	d.Seal = true
	if err := deliver(t, side, d); !gateway.IsDrop(err) || strings.Contains(err.Error(), "room") {
		t.Errorf("Deliver to somebody without a device: %v", err)
	}
}

func TestThePuppetAsksBack(t *testing.T) {
	f := newFakeServer(t)
	side, _, _ := startDirect(t, f, gateway.EncryptionOff)
	presence := func(kind string) { f.raw("<presence type='" + kind + "' from='juliet@test' to='" + fakePuppet + "'/>") }
	await := func(kind string) *node {
		t.Helper()
		return f.await(kind, func(n *node) bool {
			return n.name == "presence" && n.get("type") == kind && bare(n.get("from")) == fakePuppet && bare(n.get("to")) == "juliet@test"
		})
	}
	presence("subscribe")
	await("subscribed")
	if nick := await("subscribe").child(nsNick, "nick"); nick == nil || nick.text != "Alice" {
		t.Error("the puppet asks without a name")
	}
	if c := await("").child(nsCaps, "c"); c.get("ver") != side.capsVer() {
		t.Error("the puppet's presence has no capabilities")
	}
	presence("subscribed")
	presence("subscribe") // again: it asks no more
	f.raw("<iq type='get' id='mark' from='juliet@test/x' to='" + fakePuppet + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	f.await("the mark", func(n *node) bool { return n.get("id") == "mark" })
	f.drop()
	f.await("presence on the next connection", func(n *node) bool {
		return n.get("to") == "juliet@test" && n.get("from") == fakePuppet+"/"+resource && f.reconnected()
	})
	presence("unsubscribe")
	await("unsubscribed")
	await("unsubscribe")
	asked := 0
	f.set(func() {
		for _, n := range f.seen {
			if n.get("type") == "subscribe" {
				asked++
			}
		}
	})
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if k, err := side.contactOf(t.Context(), fakePuppet, "juliet@test"); err != nil || k != (contact{}) {
		t.Errorf("what is left is %+v, %v", k, err)
	}
}

func TestTheGatewayHelpsOnce(t *testing.T) {
	f := newFakeServer(t)
	_, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	for i := range 2 {
		f.directly("juliet@test/phone", fakeSelf, fmt.Sprintf("m%d", i), body("hello?"))
	}
	f.directly("mallory@elsewhere/x", fakeSelf, "m3", body("hello?"))
	f.message("help", fakeSelf, "NAME%NETWORK@"+fakeDomain)
	f.message("less help", fakeSelf, "not open to you")
	answers := 0
	f.set(func() {
		for _, n := range f.seen {
			if n.name == "message" && bare(n.get("from")) == fakeSelf {
				answers++
			}
		}
	})
	if answers != 2 || len(inbox.Heard()) > 0 {
		t.Errorf("answered %d times, heard %d", answers, len(inbox.Heard()))
	}
}

func TestPrivateMessagesAreAnsweredInTheRoom(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	f.enter("Juliet", "juliet@test/phone", "member")
	f.directly(fakeRoom+"/Juliet", fakePuppet+"/"+resource, "m1", body("psst"), el(nsMUCUser, "x"))
	if ev := heard(t, inbox, "psst"); ev.At != fakeChat || ev.Sender.ID != "juliet@test" {
		t.Errorf("heard %+v", ev)
	}
	must(t, deliver(t, side, directDelivery(keyB, saying("what is it?"))))
	if said := f.message("the answer", fakePuppet, "what is it?"); said.get("to") != fakeRoom+"/Juliet" || said.child(nsMUCUser, "x") == nil {
		t.Errorf("said %s", said.bytes())
	}
	f.raw(string(el("", "message", "type", "error", "id", keyB, "from", fakeRoom+"/Juliet", "to", fakePuppet+"/"+resource).add(errorNode("cancel", "item-not-found")).bytes()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := inbox.Await(ctx, "a receipt", func(ev *gateway.Event) bool {
		r, ok := ev.Body.(gateway.Receipt)
		return ok && ev.At == fakeChat && r.Target.Native == keyB
	})
	must(t, err)
	f.directly("juliet@test/phone", fakePuppet, "m2", body("nothing"))
	heard(t, inbox, "nothing")
	must(t, deliver(t, side, directDelivery(strings.Repeat("c", 32), saying("I see"))))
	if said := f.message("the answer", fakePuppet, "I see"); said.get("to") != "juliet@test" {
		t.Errorf("said %s", said.bytes())
	}
}

func TestASealedPrivateMessageIsAnsweredSealedInTheRoom(t *testing.T) {
	f, juliet, state, _ := sealedFake(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionRequired, fakeBridgeRoom(true, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", true)))
	f.enter("Juliet", "juliet@test/phone", "member")
	f.directly(fakeRoom+"/Juliet", fakePuppet+"/"+resource, "m1", sealFor(t, side, juliet, state, fakePuppet, "psst"), body("fallback"), el(nsMUCUser, "x"))
	if ev := heard(t, inbox, "psst"); ev.At != fakeChat || ev.Sealed.Protection != gateway.OMEMO {
		t.Errorf("heard %+v", ev)
	}
	d := directDelivery(keyB, saying("what is it?"))
	d.Seal = true
	must(t, deliver(t, side, d))
	said := f.await("the answer", func(n *node) bool { return n.get("id") == keyB })
	if said.get("to") != fakeRoom+"/Juliet" || said.child(nsMUCUser, "x") == nil || said.child(nsLegacy, "encrypted") == nil || strings.Contains(string(said.bytes()), "what") {
		t.Errorf("said %s", said.bytes())
	}
	f.directly(fakeRoom+"/Juliet", fakePuppet+"/"+resource, "m2", body("in the clear"), el(nsMUCUser, "x"))
	plain := heard(t, inbox, "in the clear")
	report := directDelivery(strings.Repeat("c", 32), gateway.Receipt{State: gateway.Undeliverable, Reason: "it must be sealed", Target: gateway.Ref{Native: plain.Native}})
	report.Seal = true
	f.set(func() { f.answers = map[string]string{} })
	must(t, deliver(t, side, report))
	f.set(func() {
		for _, n := range f.seen {
			if n.get("type") == "error" && n.name == "message" {
				t.Errorf("a room got an error: %s", n.bytes())
			}
		}
	})
}

func TestPrivateMessagesOfRoomsThatHideAddressesAreRefused(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_semianonymous", nsSID}
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	r := side.rooms[0]
	r.mu.Lock()
	r.nonAnonymous = false // the fake room says otherwise on entering
	r.mu.Unlock()
	f.enter("Juliet", "juliet@test/phone", "member")
	f.directly(fakeRoom+"/Juliet", fakePuppet+"/"+resource, "m1", body("psst"), el(nsMUCUser, "x"))
	said := f.message("a polite refusal", fakePuppet, "hides addresses")
	if said.get("type") != "chat" || said.get("to") != fakeRoom+"/Juliet" {
		t.Errorf("said %s", said.bytes())
	}
	for _, ev := range inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			t.Errorf("heard %q", m.Text.Plain)
		}
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

func TestSeenKeysTellWhereAnErrorHasToGo(t *testing.T) {
	for _, c := range []struct{ from, id string }{{"a@b/c", "m1"}, {"a@b/c/d", "x\x1fy"}, {"a@b", "m1"}, {"a@b/c", ""}, {"a@b/c", strings.Repeat("x", maxTellable)}} {
		native := directNative(c.from, c.id, []byte("payload"), true)
		id, from, ok := parseDirectNative(native)
		if len(c.id) > 100 || c.id == "" {
			if ok {
				t.Errorf("%q: told", c.id)
			}
			continue
		}
		if strings.Contains(c.id, "\x1f") {
			continue // it may tell nonsense, but never fails
		}
		if !ok || id != c.id || from != resourceOf(c.from) {
			t.Errorf("%+v: told %q, %q, %v", c, id, from, ok)
		}
	}
	if directNative("a@b/c", "m1", []byte("x"), true) == directNative("a@b/c", "m1", []byte("y"), true) {
		t.Error("two payloads have one key")
	}
}
