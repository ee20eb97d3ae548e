package xmppside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// traces lists the keys of State that hold a text.
func traces(t *testing.T, side *Side, text string) []string {
	t.Helper()
	all, err := side.deps.State.List(t.Context(), "")
	must(t, err)
	var out []string
	for key := range all {
		if strings.Contains(key, text) && !strings.HasPrefix(key, stateRoom) && key != omemo.TrustKey {
			out = append(out, key)
		}
	}
	return out
}

func TestSomebodyElsewhereIsForgotten(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "hello", true)))
	alice := delivery("", "", true).Event.Sender
	p, _ := w.side.people.of(alice)
	w.raw("<presence type='subscribe' from='juliet@test' to='" + p.JID + "'/>")
	w.await("an answer", func(n *node) bool { return n.get("type") == "subscribed" && n.get("from") == p.JID })
	w.raw("<iq type='set' id='sub' from='juliet@test/phone' to='" + p.JID + "'><pubsub xmlns='" + nsPubSub + "'><subscribe node='" + nodeList + "' jid='juliet@test'/></pubsub></iq>")
	w.await("the subscription", func(n *node) bool { return n.get("id") == "sub" })
	if len(traces(t, w.side, p.JID)) == 0 {
		t.Fatal("nothing was kept in the first place")
	}
	w.side.deps.Direct = gateway.Direct{} // nobody may meet it anew
	must(t, w.side.Forget(t.Context(), alice))
	must(t, w.side.Forget(t.Context(), alice))
	w.await("it leaves the room", leavingOf(p.JID))
	w.await("its list is taken back", func(n *node) bool {
		return n.get("from") == p.JID && n.child(nsEvent, "event").child(nsEvent, "items").child(nsEvent, "retract") != nil
	})
	w.set(func() {
		if a := w.members[p.JID]; a != "none" {
			t.Errorf("its affiliation is %q", a)
		}
	})
	if left := append(traces(t, w.side, p.JID), traces(t, w.side, alice.ID)...); len(left) > 0 {
		t.Errorf("State still holds %q", left)
	}
	w.raw("<iq type='get' id='gone' from='juliet@test/phone' to='" + p.JID + "'><pubsub xmlns='" + nsPubSub + "'><items node='" + nodeList + "'/></pubsub></iq>")
	if n := w.await("an answer", func(n *node) bool { return n.get("id") == "gone" }); condition(errorOf(n)) != "item-not-found" {
		t.Errorf("its list is answered with %s", n.bytes())
	}
	must(t, deliver(t, w.side, delivery(keyB, "hello again", true)))
}

func TestSomebodyOnXMPPIsForgotten(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "hello")
	w.heard("hello")
	must(t, deliver(t, w.side, delivery(keyA, "hello too", true)))
	if len(traces(t, w.side, "juliet@test")) == 0 {
		t.Fatal("nothing was kept in the first place")
	}
	operator, err := NewOperator(w.config(), w.own)
	must(t, err)
	must(t, operator.Decide(t.Context(), Claim{JID: "juliet@test", key: w.juliet.Identity}, Verify))
	must(t, w.side.Forget(t.Context(), gateway.Person{Network: "xmpp", ID: "juliet@test"}))
	must(t, operator.Forget(t.Context(), "juliet@test"))
	if left := traces(t, w.side, "juliet@test"); len(left) > 0 {
		t.Errorf("State still holds %q", left)
	}
	if keys, err := operator.Keys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("keys that are still known: %v, %v", keys, err)
	}
	must(t, deliver(t, w.side, delivery(keyB, "who are you?", true)))
}
