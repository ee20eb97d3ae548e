package xmppside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// TestACutIsNobodysSilence: whom the side was asking for devices when the connection broke is asked again on the next one,
// and not left out for a while like somebody whose server does not answer.
func TestACutIsNobodysSilence(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "hello", true)))
	romeo := newDevice(t, w.fakeServer, "romeo@test", omemo.Legacy)
	// cut breaks the connection over a question of a device's owner, and delivers what was to be said on the next one.
	cut := func(d gateway.Delivery, to *device, question string, occasion func()) {
		t.Helper()
		w.set(func() { w.silent = map[string]bool{to.jid: true} })
		n, before := 0, w.count()
		occasion()
		done := make(chan error, 1)
		go func() { done <- deliver(t, w.side, d) }()
		w.await("the question", func(iq *node) bool {
			n++
			return n > before && iq.get("to") == to.jid && iq.child(nsPubSub, "pubsub").child(nsPubSub, "items").get("node") == question
		})
		w.drop()
		if err := <-done; err == nil || gateway.IsDrop(err) {
			t.Errorf("Deliver across a cut: %v, want an error that is tried again", err)
		}
		w.set(func() { w.silent = nil })
		until(t, w.side, d)
		said := w.saidBy(alicesPuppet)
		if o, ok := to.open(omemo.Legacy, said[len(said)-1]); !ok || string(o.Plain) != textOf(d.Event) {
			t.Errorf("%s opened %q, %v", to.jid, o.Plain, ok)
		}
	}
	cut(delivery(keyB, "who has come?", true), romeo, nodeList, func() {
		w.set(func() { w.members["romeo@test"] = "member" })
		w.enter("Romeo", "romeo@test/x", "member")
		r := w.side.room0()
		must(t, r.await(t.Context(), func() bool { return r.affiliated["romeo@test"] != "" }))
	})
	bundle, _ := bundleNode(omemo.Legacy, w.juliet.ID)
	cut(delivery(strings.Repeat("c", 32), "who was here?", true), w.juliet, bundle, func() { w.forget(alicesPuppet, w.juliet) })
}
