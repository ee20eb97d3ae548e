package xmppside

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// sealedBy returns the nth sealed message to the room that an address of ours wrote.
func (f *fakeServer) sealedBy(own string, nth int) *node {
	f.t.Helper()
	count := 0
	return f.await("a sealed message", func(n *node) bool {
		if n.get("type") == "groupchat" && bare(n.get("from")) == own {
			count++
		}
		return count == nth
	})
}

const alicesPuppet = `alice\3atest%matrix@` + fakeDomain

func TestEachDeviceIsSealedForInTheFirstVersionThatItHas(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy, omemo.Two)
	romeo := newDevice(t, w.fakeServer, "romeo@test", omemo.Two)
	w.set(func() { w.members["romeo@test"] = "member" })
	w.enter("Romeo", "romeo@test/x", "member")
	must(t, w.side.room0().await(t.Context(), func() bool { return w.side.room0().affiliated["romeo@test"] != "" }))
	must(t, deliver(t, w.side, delivery(keyA, "hello", true)))
	said := w.sealedBy(alicesPuppet, 1)
	if o, ok := w.juliet.open(omemo.Legacy, said); !ok || string(o.Plain) != "hello" {
		t.Errorf("Juliet opened %q, %v", o.Plain, ok)
	}
	if _, ok := w.juliet.open(omemo.Two, said); ok {
		t.Error("Juliet's device was sealed for twice")
	}
	if _, ok := romeo.open(omemo.Legacy, said); ok {
		t.Error("Romeo's device is in no legacy list")
	}
	o, ok := romeo.open(omemo.Two, said)
	if !ok {
		t.Fatal("nothing is sealed for Romeo")
	}
	e, err := omemo.ParseEnvelope(o.Plain)
	must(t, err)
	if e.From != alicesPuppet || e.To != fakeRoom || !strings.Contains(string(e.Content), ">hello</body>") || time.Since(e.Time).Abs() > time.Minute {
		t.Errorf("the envelope is from %s to %s at %v: %s", e.From, e.To, e.Time, e.Content)
	}
	if eme := said.child(nsEME, "encryption"); eme.get("namespace") != nsLegacy || said.child("", "body") == nil {
		t.Error("clients of the legacy version are not told what this is")
	}
	w.juliet.publish(omemo.Two)
	w.raw("<message type='headline' from='juliet@test' to='" + fakeSelf + "'><event xmlns='" + nsEvent + "'><items node='" + nodeList + "'><retract/></items></event></message>")
	w.juliet.say(w.side, omemo.Two, "I have changed")
	w.heard("I have changed")
	must(t, deliver(t, w.side, delivery(strings.Repeat("b", 32), "again", true)))
	said = w.sealedBy(alicesPuppet, 2)
	if o, ok := w.juliet.open(omemo.Two, said); !ok || !strings.Contains(string(o.Plain), "again") {
		t.Errorf("Juliet opened %q, %v", o.Plain, ok)
	}
	if said.child(nsLegacy, "encrypted") != nil || said.child("", "body") != nil || said.child(nsEME, "encryption").get("namespace") != nsOMEMOTwo {
		t.Error("a message in OMEMO 2 alone has something of the legacy version")
	}
}

func TestEnvelopesBelongWhereTheyWereSealed(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy, omemo.Two)
	text := func(s string) []byte { return el(nsClient, "body").say(s).append(nil, "") }
	for _, e := range []omemo.Envelope{
		{From: "juliet@test", To: "other@rooms.test", Content: text("stolen 1")},
		{From: "juliet@test", To: fakeSelf, Content: text("stolen 2")},
		{From: "juliet@test", Content: text("stolen 3")},
		{From: "romeo@test", To: fakeRoom, Content: text("stolen 4")},
	} {
		w.fakeServer.juliet(w.juliet.seal(w.side, omemo.Two, w.juliet.envelope(e), fakeSelf))
	}
	w.fakeServer.juliet(w.juliet.seal(w.side, omemo.Two, []byte("no envelope: stolen 5"), fakeSelf))
	good := omemo.Envelope{From: "JULIET@test", To: fakeRoom, Content: text("mine"), Time: time.Now()}
	w.fakeServer.juliet(w.juliet.seal(w.side, omemo.Two, w.juliet.envelope(good), fakeSelf), body("outside"), el(nsCorrect, "replace", "id", "j0"), el("", "subject").say("outside"))
	ev := w.heard("mine")
	if ev.Sealed.Version != versionTwo || ev.Sender.ID != "juliet@test" || ev.Sealed.Trust != "blind" {
		t.Errorf("heard %+v from %s", ev.Sealed, ev.Sender.ID)
	}
	if n := len(w.inbox.Unread()); n != 5 {
		t.Errorf("%d unreadable, want 5: %v", n, w.inbox.Unread())
	}
	w.crossed("stolen")
	w.crossed("outside")
}

func TestASealedMessageIsCorrectedOnlyByASealedOne(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy, omemo.Two)
	edits := func() (out []gateway.Edit) {
		for _, ev := range w.inbox.Heard() {
			if e, ok := ev.Body.(gateway.Edit); ok {
				out = append(out, e)
			}
		}
		return out
	}
	w.juliet.say(w.side, omemo.Legacy, "frist")
	first := w.heard("frist")
	id, ok := strings.CutPrefix(first.Also[0], messageAlias(kindSealed, "juliet@test", ""))
	if !ok {
		t.Fatalf("known as %q", first.Also)
	}
	inside := slices.Concat(el(nsClient, "body").say("first").append(nil, ""), el(nsCorrect, "replace", "id", id).append(nil, ""))
	e := omemo.Envelope{From: "juliet@test", To: fakeRoom, Content: inside}
	w.fakeServer.juliet(w.juliet.seal(w.side, omemo.Two, w.juliet.envelope(e), fakeSelf))
	w.juliet.say(w.side, omemo.Legacy, "end")
	w.heard("end")
	if got := edits(); len(got) != 1 || got[0].Target.Native != first.Also[0] || got[0].Text.Plain != "first" {
		t.Errorf("edits %+v", got)
	}
}

func TestBothListsAndBundlesAreServed(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy)
	dev, err := w.side.device(t.Context(), fakeSelf)
	must(t, err)
	ask := func(name, item string) *node {
		items := el(nsPubSub, "items", "node", name)
		if item != "" {
			items.add(el(nsPubSub, "item", "id", item))
		}
		return w.answered("juliet@test/x", fakeSelf, el(nsPubSub, "pubsub").add(items))
	}
	for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
		name, id := bundleNode(v, dev.ID)
		for _, c := range []struct{ node, ask, item string }{
			{listNode(v), "", currentItem}, {listNode(v), currentItem, currentItem}, {name, id, id}, {name, "", id},
		} {
			if c.item == "" {
				c.item = currentItem
			}
			n := ask(c.node, c.ask)
			items := n.child(nsPubSub, "pubsub").child(nsPubSub, "items")
			if all := items.all(nsPubSub, "item"); items.get("node") != c.node || n.get("from") != fakeSelf || len(all) != 1 || all[0].get("id") != c.item || len(all[0].kids) != 1 {
				t.Errorf("%s, item %q: %s", c.node, c.ask, n.bytes())
			} else if xml := all[0].kids[0].append(nil, ""); c.node == name {
				if b, err := omemo.ParseBundle(v, xml); err != nil || len(b.PreKeys) != 100 {
					t.Errorf("%s: %v", name, err)
				}
			} else if ids, err := omemo.ParseDeviceList(v, xml); err != nil || !slices.Equal(ids, []uint32{dev.ID}) {
				t.Errorf("%s: %v, %v", c.node, ids, err)
			}
		}
	}
	if n := ask(nodeBundlesTwo, "1"); n.get("type") != "result" || len(n.child(nsPubSub, "pubsub").child(nsPubSub, "items").kids) != 0 {
		t.Errorf("a bundle that is not there: %s", n.bytes())
	}
	if n := ask(nodeBundles+"1", ""); n.get("type") != "error" {
		t.Errorf("a node that is not there: %s", n.bytes())
	}
	info := w.answered("juliet@test/x", fakeSelf+"/"+resource, el(nsDiscoInfo, "query"))
	for _, want := range []string{nodeList + "+notify", nodeListTwo + "+notify"} {
		if !slices.ContainsFunc(info.child(nsDiscoInfo, "query").all(nsDiscoInfo, "feature"), func(n *node) bool { return n.get("var") == want }) {
			t.Errorf("no feature %s", want)
		}
	}
}

func TestWhoComesWithAnotherClientIsAskedForDevices(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "to one device", true)))
	w.sealedBy(alicesPuppet, 1)
	second := newDevice(t, w.fakeServer, "juliet@test", omemo.Legacy)
	w.set(func() {
		w.answers["juliet@test "+nodeList] = string(omemo.AppendDeviceList(nil, omemo.Legacy, w.juliet.ID, second.ID))
	})
	w.clock.move(2 * expirePause)
	w.enter("Juliet", "juliet@test/tablet", "owner")
	r := w.side.room0()
	must(t, r.await(t.Context(), func() bool { return r.occupants["Juliet"].full == "juliet@test/tablet" }))
	must(t, deliver(t, w.side, delivery(strings.Repeat("b", 32), "to two devices", true)))
	if o, ok := second.open(omemo.Legacy, w.sealedBy(alicesPuppet, 2)); !ok || string(o.Plain) != "to two devices" {
		t.Errorf("the new device opened %q, %v", o.Plain, ok)
	}
}
