package xmppside

import (
	"context"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// openlyToo lets chats be in the clear, where a puppet has a device all the same if it is in a sealed room.
func openlyToo(_ *Config, d *gateway.Deps) {
	d.Direct = openDirect(gateway.EncryptionOff)
	d.Find = func(_ context.Context, p gateway.Person) (gateway.Person, error) { return p, nil }
}

// TestWhoWritesSealedIsAnsweredSealed: where chats may be in the clear, how somebody wrote last says how they are answered.
func TestWhoWritesSealedIsAnsweredSealed(t *testing.T) {
	w := newWorld(t, openlyToo, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "in the room", true)))
	n := 0
	answer := func(text string) error {
		n++
		return deliver(t, w.side, directDelivery(strings.Repeat("abcdef"[n-1:n], 32), saying(text)))
	}
	last := func() *node {
		return w.await("the answer", func(s *node) bool { return s.get("id") == strings.Repeat("abcdef"[n-1:n], 32) })
	}
	w.directly("juliet@test/x", fakePuppet, "m1", body("in the clear"))
	w.heard("in the clear")
	must(t, answer("as you like"))
	if b := last().child("", "body"); b == nil || b.text != "as you like" {
		t.Errorf("said %s", last().bytes())
	}
	w.directly("juliet@test/x", fakePuppet, "m2", w.juliet.seal(w.side, omemo.Legacy, []byte("a secret"), fakePuppet), body(fallbackBody))
	w.heard("a secret")
	w.directly("juliet@test/x", fakePuppet, "m3", el(nsReceipts, "received", "id", "x"))
	w.directly("juliet@test/x", fakePuppet, "m4", el(nsRetract, "retract", "id", "m2"), el(nsReceipts, "request")) // clients do so in the clear
	w.await("the receipt", func(s *node) bool { return s.child(nsReceipts, "received").get("id") == "m4" })
	w.restart(openlyToo)
	must(t, answer("my answer"))
	if o, ok := w.juliet.open(omemo.Legacy, last()); !ok || string(o.Plain) != "my answer" || strings.Contains(string(last().bytes()), "my answer") {
		t.Errorf("said %s", last().bytes())
	}
	must(t, deliver(t, w.side, directDelivery(keyB, gateway.Receipt{State: gateway.Undeliverable, Reason: "the moon is full"})))
	report := w.await("the report", func(s *node) bool { return s.get("id") == "report-"+keyB })
	if o, ok := w.juliet.open(omemo.Legacy, report); !ok || string(o.Plain) != "Your message was not delivered: the moon is full." {
		t.Errorf("said %s", report.bytes())
	}
	w.juliet.publish() // no device any more
	w.clock.move(2 * listAge)
	if err := answer("nor this"); !gateway.IsDrop(err) {
		t.Errorf("answered with %v", err)
	}
	w.directly("juliet@test/x", fakePuppet, "m5", body("in the clear again"))
	w.heard("in the clear again")
	must(t, answer("as you like again"))
	if b := last().child("", "body"); b == nil || b.text != "as you like again" {
		t.Errorf("said %s", last().bytes())
	}
	for _, text := range []string{"my answer", "nor this"} {
		w.set(func() {
			for _, s := range w.seen {
				if strings.Contains(string(s.bytes()), text) {
					t.Errorf("%q went out in the clear", text)
				}
			}
		})
	}
}

// TestWhatWaitedWhileTheConfigChangedIsSealed: a delivery says how chats were protected when it was accepted.
func TestWhatWaitedWhileTheConfigChangedIsSealed(t *testing.T) {
	f, _, _, _ := sealedFake(t)
	side, _, _ := startDirect(t, f, gateway.EncryptionRequired)
	run := []gateway.Delivery{directDelivery(keyA, saying("in secret"))}
	must(t, side.Deliver(t.Context(), run)[0].Err)
	if n := f.await("the message", func(n *node) bool { return n.get("id") == keyA }); n.child(nsLegacy, "encrypted") == nil || strings.Contains(string(n.bytes()), "in secret") {
		t.Errorf("said %s", n.bytes())
	}
	if run[0].Seal {
		t.Error("the delivery itself was changed")
	}
}
