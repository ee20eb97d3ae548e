package xmppside

import (
	"context"
	"strings"
	"testing"

	"lockbridge/gateway"
)

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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
	r := side.room0()
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
