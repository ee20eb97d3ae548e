package xmppside

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// act is a delivery of what alice does.
func act(key string, b gateway.Body, seal bool) gateway.Delivery {
	d := delivery(key, "", seal)
	d.Event.Body = b
	return d
}

// ours is a message that one of our addresses has said in the room, in some parts.
func ours(own string, n int) gateway.Ref {
	var ref gateway.Ref
	for i := range n {
		name := ""
		if i > 0 {
			name = filePart(i)
		}
		ref.Parts = append(ref.Parts, gateway.Part{Name: name, Native: fmt.Sprintf("sid-%d", i), Also: []string{messageAlias(voiceKind, own, fmt.Sprintf("id-%d", i))}})
	}
	return ref
}

// theirs is a message that somebody in the room has said.
var theirs = gateway.Ref{Parts: []gateway.Part{{Native: "sid-9", Also: []string{messageAlias(kindID, "juliet@test", "j9")}}}}

func keyOfDigit(digit string) string { return strings.Repeat(digit, 32) }

// said awaits the message of ours with that id.
func (f *fakeServer) saidAs(id string) *node {
	f.t.Helper()
	return f.await("the message "+id, func(n *node) bool { return n.get("type") == "groupchat" && n.get("id") == id })
}

// TestACrashBetweenParts: of a delivery that is several stanzas, only those are said again that the room has not
// reflected, and in the same words.
func TestACrashBetweenParts(t *testing.T) {
	check := func(t *testing.T, f *fakeServer, side *Side, seal bool) {
		t.Helper()
		must(t, deliver(t, side, delivery(keyOfDigit("d"), "alice is there", seal)))
		f.set(func() {
			f.swallow = func(n *node) bool { return slices.Contains([]string{keyA + "/1.3", keyA + "/2.3"}, n.get("id")) }
		})
		d := act(keyA, gateway.Retract{Target: ours(alicesPuppet, 3)}, seal)
		done := make(chan error, 1)
		go func() { done <- side.Deliver(t.Context(), []gateway.Delivery{d})[0].Err }()
		f.saidAs(keyA + "/2.3")
		f.drop()
		if err := <-done; err == nil || gateway.IsDrop(err) || gateway.IsPlainer(err) {
			t.Fatalf("Deliver across a cut: %v", err)
		}
		f.set(func() { f.swallow = nil })
		d.Attempt, d.Known = 1, []gateway.Part{{Name: "", Native: "s1"}}
		until(t, side, d)
		count := map[string]int{}
		first := map[string][]byte{}
		for _, n := range f.saidBy(alicesPuppet) {
			id := n.get("id")
			if count[id]++; first[id] == nil {
				first[id] = n.bytes()
			}
			if !bytes.Equal(first[id], n.bytes()) {
				t.Errorf("%s was said in other words", id)
			}
		}
		if got := fmt.Sprint(count[keyA+"/0.3"], count[keyA+"/1.3"], count[keyA+"/2.3"]); got != "1 2 2" {
			t.Errorf("the parts were said %s times", got)
		}
	}
	t.Run("plain", func(t *testing.T) {
		f := newFakeServer(t)
		side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
		check(t, f, side, false)
	})
	t.Run("sealed", func(t *testing.T) {
		w := newWorld(t, both, omemo.Two)
		check(t, w.fakeServer, w.side, true)
	})
}

// TestTheEchoOfTheLastPartEndsADelivery, whatever the order in which the room reflects.
func TestTheEchoOfTheLastPartEndsADelivery(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyOfDigit("d"), "alice is there", false)))
	out := side.Deliver(t.Context(), []gateway.Delivery{act(keyA, gateway.Retract{Target: ours(alicesPuppet, 3)}, false)})
	if out[0].Err != nil || !out[0].Ended {
		t.Errorf("the outcome is %+v", out[0])
	}
	var got []string
	for _, ev := range inbox.Heard() {
		if e, ok := ev.Body.(gateway.Echo); ok && e.Key == keyA {
			got = append(got, fmt.Sprintf("%q %v %q", e.Part, e.Ends, ev.Also))
		}
	}
	voice := voiceKind + alicesPuppet + "\x1f" + keyA
	want := []string{fmt.Sprintf(`"" false [%q]`, voice+"/0.3"), fmt.Sprintf(`"f1" false [%q]`, voice+"/1.3"), fmt.Sprintf(`"f2" true [%q]`, voice+"/2.3")}
	if !slices.Equal(got, want) {
		t.Errorf("the echoes are\n%q, want\n%q", got, want)
	}
}

// TestOnlyTheVoiceThatSaidItChangesIt: by the id attribute that it had; and where it has left, nobody does.
func TestOnlyTheVoiceThatSaidItChangesIt(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyOfDigit("d"), "alice is there", false)))
	edit := func(of gateway.Ref) gateway.Body {
		return gateway.Edit{Target: of, Text: gateway.Text{Plain: "better"}}
	}
	must(t, deliver(t, side, act(keyOfDigit("1"), edit(ours(alicesPuppet, 2)), false)))
	if n := f.saidAs(keyOfDigit("1")); bare(n.get("from")) != alicesPuppet || n.child(nsCorrect, "replace").get("id") != "id-0" || n.child("", "body").text != "better" {
		t.Errorf("the edit is %s", n.bytes())
	}
	must(t, deliver(t, side, act(keyOfDigit("2"), edit(ours(fakeSelf, 1)), false)))
	if n := f.saidAs(keyOfDigit("2")); bare(n.get("from")) != fakeSelf || n.child("", "body").text != "<Alice> better" {
		t.Errorf("the edit of what the gateway said is %s", n.bytes())
	}
	gone := ours("nobody%matrix@"+fakeDomain, 1)
	for _, b := range []gateway.Body{edit(gone), gateway.Retract{Target: gone}, edit(theirs), gateway.Retract{Target: theirs}, edit(gateway.Ref{Parts: []gateway.Part{{Native: "sid"}}})} {
		if err := deliver(t, side, act(keyOfDigit("3"), b, false)); !gateway.IsPlainer(err) {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// TestACorrectionAnswersAsItsMessageDid: it stands for the whole message, so its answer and its thread stand there again;
// and what we write so is read as the new text alone.
func TestACorrectionAnswersAsItsMessageDid(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyOfDigit("d"), "alice is there", false)))
	replyTo, thread := theirs, theirs
	replyTo.ID, thread.ID = gateway.ID{1}, gateway.ID{2}
	replyTo.Author, replyTo.Excerpt = gateway.Person{Network: "irc", ID: "bob", Name: "Bob"}, "shall we?"
	thread.Parts = append(thread.Parts[:1:1], gateway.Part{Name: gateway.ThreadPart, Native: gateway.ThreadNative("t-1")})
	edit := gateway.Edit{Target: ours(alicesPuppet, 1), Text: gateway.Text{Plain: "yes"}, ReplyTo: replyTo, Thread: thread}
	must(t, deliver(t, side, act(keyOfDigit("1"), edit, false)))
	n := f.saidAs(keyOfDigit("1"))
	if n.child("", "body").text != "> Bob:\n> shall we?\nyes" || n.child(nsReply, "reply").get("id") != "sid-9" || n.child("", "thread").text != "t-1" ||
		n.child(nsCorrect, "replace").get("id") != "id-0" || n.child(nsFallback, "fallback").child(nsFallback, "body").get("end") != "19" {
		t.Errorf("the correction is %s", n.bytes())
	}
	u := encodeEdit(edit, "id-0", phrasing{metadata: true, answers: answered{id: "sid-9", name: "Bob", text: "shall we?"}})
	stanza := el(nsClient, "message", "type", "groupchat", "id", "m-1", "from", "r@c/Juliet").add(u.two...)
	for how, body := range readAs(t, stanza.append(nil, "")) {
		if e, ok := body.(gateway.Edit); how != "legacy, drop" && how != "omemo 2, all outside" && body != nil && (!ok || e.Text.Plain != "yes" || len(e.Text.Marks) > 0) {
			t.Errorf("%s: read back as %+v", how, body)
		}
	}
}

// TestNothingOvertakesWhatIsMadePlainer: it comes again at once, in words, and what follows waits for it.
func TestNothingOvertakesWhatIsMadePlainer(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	before, after := delivery(keyOfDigit("1"), "before", false), delivery(keyOfDigit("3"), "after", false)
	nothing := act(keyOfDigit("2"), gateway.Reaction{Target: gateway.Ref{Parts: []gateway.Part{{Native: "hash:x"}}}}, false)
	out := side.Deliver(t.Context(), []gateway.Delivery{before, nothing, after})
	if len(out) != 2 || out[0].Err != nil || !gateway.IsPlainer(out[1].Err) {
		t.Fatalf("the outcomes are %+v", out)
	}
	for _, n := range f.said() {
		if n.get("id") == after.Key {
			t.Error("it was overtaken")
		}
	}
}

// TestTheGatewayReactsForAllForWhomNobodyElseDoes.
func TestTheGatewayReactsForAllForWhomNobodyElseDoes(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	set := func(network, id string, emoji ...string) gateway.Reactions {
		anchor, err := gateway.NewID(strings.NewReader(strings.Repeat(id, 16)))
		must(t, err)
		return gateway.Reactions{Anchor: anchor, Who: gateway.Person{Network: network, ID: id}, Emoji: emoji}
	}
	mine := set("matrix", "a", "👍", "no emoji")
	sets := []gateway.Reactions{mine, set("matrix", "b", "🎉", "👍"), set("xmpp", "c", "👀"), set("libera", "d", "🔥")}
	must(t, deliver(t, side, act(keyA, gateway.Reaction{Target: theirs, Emoji: mine.Emoji, Anchor: mine.Anchor, Sets: sets, Op: gateway.ReactionSet}, false)))
	var got []string
	reactions := f.saidAs(keyA).child(nsReactions, "reactions")
	for _, r := range reactions.kids {
		got = append(got, r.text)
	}
	if fmt.Sprint(reactions.get("id"), got) != "sid-9[👍 🎉 🔥]" {
		t.Errorf("on %s: %q", reactions.get("id"), got)
	}
	if err := deliver(t, side, act(keyOfDigit("1"), gateway.Reaction{Target: gateway.Ref{Parts: []gateway.Part{{Native: "hash:x"}}}}, false)); !gateway.IsPlainer(err) {
		t.Errorf("on a message without id: %v", err)
	}
}

// TestActsInSealedRooms: where all devices are of OMEMO 2 they are sealed; where one is not, they go in the clear or not at
// all, as the room wants it.
func TestActsInSealedRooms(t *testing.T) {
	react := gateway.Reaction{Target: theirs, Emoji: []string{"👍"}, Op: gateway.ReactionSet}
	edit := gateway.Edit{Target: ours(alicesPuppet, 1), Text: gateway.Text{Plain: "in secret"}}
	reply := gateway.Message{ReplyTo: gateway.Ref{Parts: theirs.Parts, Excerpt: "their secret"}, Thread: gateway.Ref{Native: theirs.Parts[0].Native, Parts: theirs.Parts}, Text: gateway.Text{Plain: "an answer"}}
	drop := func(c *Config, deps *gateway.Deps) {
		both(c, deps)
		deps.Rooms[0].KeepMetadata = false
	}
	for name, c := range map[string]struct {
		edit     func(*Config, *gateway.Deps)
		versions []omemo.Version
		plainer  bool
		clear    bool
	}{
		"legacy":        {both, []omemo.Version{omemo.Legacy}, false, true},
		"legacy, drop":  {drop, []omemo.Version{omemo.Legacy}, true, false},
		"omemo 2":       {both, []omemo.Version{omemo.Two}, false, false},
		"omemo 2, drop": {drop, []omemo.Version{omemo.Two}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.edit, c.versions...)
			must(t, deliver(t, w.side, delivery(keyOfDigit("d"), "alice is there", true)))
			if caps := w.side.Caps(delivery("", "", true).Room); caps.Edit == c.plainer || caps.Reaction == c.plainer || caps.Retract == c.plainer || caps.Reply == c.plainer || !caps.Notes {
				t.Errorf("the caps are %+v", caps)
			}
			for i, b := range []gateway.Body{react, edit, gateway.Retract{Target: ours(alicesPuppet, 1)}} {
				key := keyOfDigit(fmt.Sprint(i))
				if err := deliver(t, w.side, act(key, b, true)); gateway.IsPlainer(err) != c.plainer || !c.plainer && err != nil {
					t.Fatalf("%s: %v", b.Kind(), err)
				}
				if c.plainer {
					continue
				}
				n, inside := w.saidAs(key), ""
				if o, ok := w.juliet.open(c.versions[0], n); ok {
					inside = string(o.Plain)
				}
				for _, secret := range []string{"in secret", "👍"} {
					if strings.Contains(string(n.bytes()), secret) && !(c.clear && secret == "👍") {
						t.Errorf("%s in the clear: %s", b.Kind(), n.bytes())
					}
				}
				mark := []string{"<reactions ", "<replace ", "<retract "}[i]
				if strings.Contains(string(n.bytes()), mark) != c.clear || strings.Contains(inside, mark) == c.clear {
					t.Errorf("%s: %s with %s inside", b.Kind(), n.bytes(), inside)
				}
			}
			must(t, deliver(t, w.side, act(keyOfDigit("9"), reply, true)))
			n := w.saidAs(keyOfDigit("9"))
			o, _ := w.juliet.open(c.versions[0], n)
			if !strings.Contains(string(o.Plain), "their secret") || strings.Contains(string(n.bytes()), "their secret") || (n.child(nsReply, "reply") != nil) != c.clear || (n.child("", "thread") != nil) != c.clear {
				t.Errorf("the reply is %s with %s inside", n.bytes(), o.Plain)
			}
		})
	}
}

// TestModeratingOthers: by the gateway's own power, in the version that the room knows; where it has none it says so.
func TestModeratingOthers(t *testing.T) {
	for version, want := range map[string]string{
		nsModerate:   "<moderate xmlns='" + nsModerate + "' id='sid-9'><retract xmlns='" + nsRetract + "' id='sid-9'/><reason>rude</reason></moderate>",
		nsModerated0: "<apply-to xmlns='" + nsFasten + "' id='sid-9'><moderate xmlns='" + nsModerated0 + "'><retract xmlns='" + nsRetractOld + "'/><reason>rude</reason></moderate></apply-to>",
		"":           "",
	} {
		f := newFakeServer(t)
		f.features = append(f.features, "muc_moderated", version)
		f.members[fakeSelf] = "admin"
		side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
		err := deliver(t, side, act(keyA, gateway.Retract{Target: theirs, Moderated: true, Reason: "rude"}, false))
		if version == "" {
			if !gateway.IsDrop(err) || !strings.Contains(err.Error(), "may not remove messages") {
				t.Errorf("without power: %v", err)
			}
			continue
		}
		must(t, err)
		iq := f.await("the moderation", func(n *node) bool {
			return n.name == "iq" && n.get("to") == fakeRoom && len(n.kids) == 1 && n.kids[0].get("id") == "sid-9"
		})
		if got := string(iq.kids[0].append(nil, "")); strings.ReplaceAll(got, "<reason xmlns='"+version+"'>", "<reason>") != want {
			t.Errorf("asked by\n%s, want\n%s", got, want)
		}
	}
}

// TestIdsOfClientsMayLookLikeOurs: what somebody takes back or changes is their own, whatever its id looks like; what they
// answer or react to may be either's.
func TestIdsOfClientsMayLookLikeOurs(t *testing.T) {
	f := newFakeServer(t)
	side, inbox, _ := startDirect(t, f, gateway.EncryptionOff)
	out := side.Deliver(t.Context(), []gateway.Delivery{directDelivery(keyA, saying("hello"))})
	must(t, out[0].Err)
	says := func(id string, kids ...*node) { f.directly("juliet@test/phone", fakePuppet, id, kids...) }
	says(keyB, body("their own"))
	said := heard(t, inbox, "their own")
	says("m1", body("changed"), el(nsCorrect, "replace", "id", keyB))
	says("m2", body("an answer"), el(nsReply, "reply", "id", keyB))
	says("m3", body("another"), el(nsReply, "reply", "id", keyA))
	says("m4", el(nsReactions, "reactions", "id", keyB).add(el(nsReactions, "reaction").say("👍")))
	says("m5", el(nsRetract, "retract", "id", keyB))
	says("m6", body("the end"))
	heard(t, inbox, "the end")
	var got []string
	for _, ev := range inbox.Heard() {
		var ref gateway.Ref
		switch b := ev.Body.(type) {
		case gateway.Message:
			ref = b.ReplyTo
		case gateway.Edit:
			ref = b.Target
		case gateway.Reaction:
			ref = b.Target
		case gateway.Retract:
			ref = b.Target
		}
		switch {
		case slices.Contains(said.Also, ref.Native):
			got = append(got, ev.Body.Kind()+" theirs")
		case ref.Native == out[0].Parts[0].Native:
			got = append(got, ev.Body.Kind()+" ours")
		}
	}
	if want := "edit theirs, message theirs, message ours, reaction theirs, retract theirs"; strings.Join(got, ", ") != want {
		t.Errorf("they mean %q, want %q", got, want)
	}
}

// TestActsInMixedRooms: what stands outside for the devices of the legacy version stands in the envelope for the others,
// and what has no text goes in the clear.
func TestActsInMixedRooms(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy)
	romeo := newDevice(t, w.fakeServer, "romeo@test", omemo.Two)
	w.set(func() { w.members["romeo@test"] = "member" })
	w.enter("Romeo", "romeo@test/x", "member")
	must(t, w.side.room0().await(t.Context(), func() bool { return w.side.room0().affiliated["romeo@test"] != "" }))
	must(t, deliver(t, w.side, delivery(keyOfDigit("d"), "alice is there", true)))
	must(t, deliver(t, w.side, act(keyOfDigit("1"), gateway.Edit{Target: ours(alicesPuppet, 1), Text: gateway.Text{Plain: "in secret"}}, true)))
	n := w.saidAs(keyOfDigit("1"))
	legacy, _ := w.juliet.open(omemo.Legacy, n)
	two, ok := romeo.open(omemo.Two, n)
	if string(legacy.Plain) != "in secret" || n.child(nsCorrect, "replace").get("id") != "id-0" || !ok || !strings.Contains(string(two.Plain), "<replace ") {
		t.Errorf("the edit is %s, for one %q, for the other %q", n.bytes(), legacy.Plain, two.Plain)
	}
	must(t, deliver(t, w.side, act(keyOfDigit("2"), gateway.Retract{Target: ours(alicesPuppet, 1)}, true)))
	if n := w.saidAs(keyOfDigit("2")); n.child(nsRetract, "retract").get("id") != "sid-0" || n.child(nsOMEMOTwo, "encrypted") != nil || n.child("", "body") != nil {
		t.Errorf("the retraction is %s", n.bytes())
	}
}
