package xmppside

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
