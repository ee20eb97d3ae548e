package xmppside

import (
	"strings"
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

// TestWhatAClientWantsIsAskedOfPeopleWeKnow: what somebody's client answers counts for their own clients alone.
func TestWhatAClientWantsIsAskedOfPeopleWeKnow(t *testing.T) {
	f := newFakeServer(t)
	side, _, _ := startDirect(t, f, gateway.EncryptionOff)
	must(t, side.meetAlice(t))
	f.set(func() { f.deaf = true }) // the test answers
	online := func(from, ver string) {
		f.raw(string(el("", "presence", "from", from, "to", fakePuppet).add(el(nsCaps, "c", "hash", "sha-1", "node", "urn:client", "ver", ver)).bytes()))
	}
	asked := func(to string) *node {
		t.Helper()
		return f.await("a question for "+to, func(n *node) bool { return n.name == "iq" && n.get("to") == to })
	}
	online("mallory@elsewhere/x", "v1")
	online("juliet@test/huge", strings.Repeat("v", 2*maxCapsName))
	online("juliet@test/phone", "v1")
	iq := asked("juliet@test/phone")
	f.raw(string(result(iq, el(nsDiscoInfo, "query").add(el(nsDiscoInfo, "feature", "var", nsNick+"+notify"))).bytes()))
	hears := func(to string) {
		t.Helper()
		f.await("the name for "+to, func(n *node) bool {
			return n.name == "message" && n.get("to") == to && n.child(nsEvent, "event").child(nsEvent, "items").get("node") == nsNick
		})
	}
	hears("juliet@test/phone")
	online("juliet@test/tablet", "v1")
	hears("juliet@test/tablet")
	online("romeo@test/phone", "v1")
	asked("romeo@test/phone")
	f.set(func() {
		for _, n := range f.seen {
			if to := n.get("to"); n.name == "iq" && (to == "mallory@elsewhere/x" || to == "juliet@test/huge" || to == "juliet@test/tablet") {
				t.Errorf("%s was asked", to)
			}
		}
	})
}
