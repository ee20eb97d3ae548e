package xmppside

import (
	"testing"

	"lockbridge/gateway"
)

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
