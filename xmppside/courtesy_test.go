package xmppside

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

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

// TestTheGatewaySaysWhoIsThere to those who are in a room, and to nobody else.
func TestTheGatewaySaysWhoIsThere(t *testing.T) {
	f := newFakeServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer := func(_ context.Context, at gateway.Address, command string) string {
		return fmt.Sprintf("the answer to %s about %s", command, at)
	}
	_, inbox, _ := startWith(ctx, t, f.config(), sidetest.NewState(), gateway.Deps{
		Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Direct: openDirect(gateway.EncryptionOff), Answer: answer,
	})
	f.directly("juliet@test/phone", fakeSelf, "m1", body("who "+fakeRoom))
	f.message("nothing", fakeSelf, "in no room of that address")
	f.directly("romeo@test/phone", fakeSelf, "m2", body("who"))
	f.message("nothing either", fakeSelf, "in none of the rooms")
	f.enter("Benvolio", "benvolio@test/phone", "member")
	f.juliet(body("mark"))
	heard(t, inbox, "mark")
	f.directly("benvolio@test/phone", fakeSelf, "m3", body("!Who"))
	f.message("who is there", fakeSelf, "the answer to who about xmpp:"+fakeRoom)
	f.directly("benvolio@test/phone", fakeSelf, "m4", body("help"))
	f.message("help", fakeSelf, "who ROOM@SERVER")
}

// TestTheGatewayHelpsInRoomsThatHideAddresses, although private messages are not carried there.
func TestTheGatewayHelpsInRoomsThatHideAddresses(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_semianonymous", nsSID}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer := func(_ context.Context, at gateway.Address, command string) string {
		return fmt.Sprintf("the answer to %s about %s", command, at)
	}
	side, inbox, _ := startWith(ctx, t, f.config(), sidetest.NewState(), gateway.Deps{
		Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Direct: openDirect(gateway.EncryptionOff), Answer: answer,
	})
	f.enter("Juliet", "juliet@test/phone", "member")
	f.juliet(body("mark"))
	heard(t, inbox, "mark")
	r := side.room0()
	r.mu.Lock()
	r.nonAnonymous = false // the fake room says otherwise on entering
	r.mu.Unlock()
	for id, question := range map[string]string{"m1": "Help", "m2": "!who"} {
		f.directly(fakeRoom+"/Juliet", fakeSelf+"/"+resource, id, body(question), el(nsMUCUser, "x"))
	}
	for _, command := range []string{"help", "who"} {
		said := f.message(command, fakeSelf, "the answer to "+command+" about xmpp:"+fakeRoom)
		if said.get("type") != "chat" || said.get("to") != fakeRoom+"/Juliet" {
			t.Errorf("said %s", said.bytes())
		}
	}
}
