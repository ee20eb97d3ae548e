package xmppside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

var openPrivacy = gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsAll, Avatars: true}

// startPassing starts a side with one room and direct chats, for privacy.
func startPassing(t *testing.T, f *fakeServer, room gateway.Room, privacy gateway.Privacy, direct gateway.Direct) (*Side, *sidetest.Inbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	side, inbox, _ := startWith(ctx, t, f.config(), sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{room}, Privacy: privacy, Direct: direct})
	return side, inbox
}

// passed are the things heard that expire, one a line, once a mark was heard.
func passed(t *testing.T, f *fakeServer, inbox *sidetest.Inbox, mark string) string {
	t.Helper()
	f.juliet(body(mark))
	heard(t, inbox, mark)
	var lines []string
	for _, ev := range inbox.Heard() {
		line := ""
		switch b := ev.Body.(type) {
		case gateway.Typing:
			line = fmt.Sprintf("%s types %v", ev.Sender.ID, b.On)
		case gateway.Receipt:
			line = fmt.Sprintf("%s %s %s", ev.Sender.ID, b.State, b.Target.Native)
		default:
			continue
		}
		if ev.Expires.IsZero() || ev.Expires.Sub(ev.Time) > time.Minute {
			line += " for ever"
		}
		if _, _, direct := ev.At.Direct(); direct {
			line = "directly " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func state(name string) *node { return el(nsStates, name) }

func displayed(id string) *node { return el(nsMarkers, "displayed", "id", id) }

func TestDecodePassing(t *testing.T) {
	for _, c := range []struct {
		kids []*node
		want []gateway.Body
	}{
		{nil, nil},
		{[]*node{state("composing")}, []gateway.Body{gateway.Typing{On: true}}},
		{[]*node{state("paused"), state("composing")}, []gateway.Body{gateway.Typing{}}},
		{[]*node{state("gone"), displayed("a")}, []gateway.Body{gateway.Typing{}, gateway.Receipt{Target: gateway.Ref{Native: "a"}, State: gateway.Displayed}}},
		{[]*node{el(nsReceipts, "received", "id", "a"), displayed("b")}, []gateway.Body{gateway.Receipt{Target: gateway.Ref{Native: "b"}, State: gateway.Displayed}}},
		{[]*node{el(nsReceipts, "received", "id", "a")}, []gateway.Body{gateway.Receipt{Target: gateway.Ref{Native: "a"}, State: gateway.Delivered}}},
		{[]*node{displayed(""), el(nsMarkers, "markable"), el(nsReceipts, "request")}, nil},
	} {
		n := el(nsClient, "message").add(c.kids...)
		if got := decodePassing(n); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, want %+v", n.bytes(), got, c.want)
		}
	}
}

func TestEncodePassing(t *testing.T) {
	ref := gateway.Ref{Parts: []gateway.Part{{Native: "s1"}, {Native: "s2", Also: []string{"voice:x"}}, {Native: kindHash + "x"}}}
	theirs := gateway.Ref{Parts: []gateway.Part{{Native: kindDirect + "abc", Also: []string{messageAlias(kindSealed, "juliet@test", "m1")}}}}
	told := gateway.Ref{Parts: []gateway.Part{{Native: directNative("juliet@test/phone", "m2", nil, true)}}}
	for _, c := range []struct {
		body  gateway.Body
		idFor func(gateway.Ref) string
		want  string
	}{
		{gateway.Typing{On: true}, stanzaIDOf, "<composing xmlns='" + nsStates + "'/><no-store xmlns='" + nsHints + "'/>"},
		{gateway.Typing{}, idOf, "<active xmlns='" + nsStates + "'/><no-store xmlns='" + nsHints + "'/>"},
		{gateway.Receipt{State: gateway.Displayed, Target: ref}, stanzaIDOf, "<displayed xmlns='" + nsMarkers + "' id='s2'/><store xmlns='" + nsHints + "'/>"},
		{gateway.Receipt{State: gateway.Displayed, Target: theirs}, idOf, "<displayed xmlns='" + nsMarkers + "' id='m1'/><store xmlns='" + nsHints + "'/>"},
		{gateway.Receipt{State: gateway.Displayed, Target: told}, idOf, "<displayed xmlns='" + nsMarkers + "' id='m2'/><store xmlns='" + nsHints + "'/>"},
		{gateway.Receipt{State: gateway.Displayed}, idOf, ""},
		{gateway.Receipt{State: gateway.Delivered, Target: ref}, stanzaIDOf, ""},
		{gateway.Presence{}, stanzaIDOf, ""},
	} {
		var got []byte
		for _, n := range encodePassing(c.body, c.idFor) {
			got = n.append(got, "")
		}
		if string(got) != c.want {
			t.Errorf("%+v: %s, want %s", c.body, got, c.want)
		}
	}
}

func TestTypingAndMarkersOfARoom(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startPassing(t, f, fakeBridgeRoom(false, gateway.PuppetsActive), openPrivacy, gateway.Direct{})
	must(t, deliver(t, side, delivery(keyA, "here I am", false)))
	f.show("Juliet", "", "<item jid='juliet@test/phone' affiliation='member'/>", "")
	f.juliet(state("active")) // nobody thought she typed
	f.juliet(state("composing"))
	f.juliet(state("composing"), body("words")) // which end it
	f.juliet(state("composing"))
	f.juliet(state("paused"))
	f.juliet(displayed("s1"), el(nsMarkers, "received", "id", "s1"))
	f.juliet(state("composing"))
	f.show("Juliet", goneKind, "<item jid='juliet@test/phone'/>", "")
	f.say("Alice", "x", state("composing")) // our own, reflected
	want := "juliet@test types true\njuliet@test types false\njuliet@test types true\njuliet@test types false\njuliet@test displayed s1\njuliet@test types true\njuliet@test types false"
	if got := passed(t, f, inbox, "mark"); got != want {
		t.Errorf("heard\n%s\nwant\n%s", got, want)
	}
}

// TestPrivacySwitchesOfARoom: what is switched off is not even heard, nor what a room's metadata setting drops.
func TestPrivacySwitchesOfARoom(t *testing.T) {
	for _, c := range []struct {
		privacy gateway.Privacy
		room    func(*gateway.Room)
		want    string
	}{
		{gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsDirect}, func(*gateway.Room) {}, "juliet@test types true"},
		{gateway.Privacy{Receipts: gateway.ReceiptsAll}, func(*gateway.Room) {}, "juliet@test displayed s1"},
		{gateway.Privacy{}, func(*gateway.Room) {}, ""},
	} {
		f := newFakeServer(t)
		room := fakeBridgeRoom(false, gateway.PuppetsActive)
		c.room(&room)
		side, inbox := startPassing(t, f, room, c.privacy, gateway.Direct{})
		f.show("Juliet", "", "<item jid='juliet@test/phone' affiliation='member'/>", "")
		f.juliet(displayed("s1"), state("composing"))
		got := strings.TrimSuffix(passed(t, f, inbox, "mark"), "\njuliet@test types false") // by the mark
		if got != c.want {
			t.Errorf("%+v: heard %q, want %q", c.privacy, got, c.want)
		}
		if caps := side.Caps(room.Address); caps.Typing != c.privacy.Typing || caps.Receipt != (c.privacy.Receipts == gateway.ReceiptsAll) {
			t.Errorf("%+v: claims %+v", c.privacy, caps)
		}
	}
}

// TestSealedRoomsKeepTheirMetadata: with "drop" nothing that came in the clear is heard, and what an envelope holds is.
func TestSealedRoomsKeepTheirMetadata(t *testing.T) {
	for _, keep := range []bool{true, false} {
		f := newFakeServer(t)
		f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
		f.members["juliet@test"] = "member"
		juliet := newDevice(t, f, "juliet@test", omemo.Two)
		cfg := f.config()
		cfg.OMEMO.Versions = []string{versionLegacy, versionTwo}
		room := fakeBridgeRoom(true, gateway.PuppetsActive)
		room.KeepMetadata = keep
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		side, inbox, _ := startWith(ctx, t, cfg, sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{room}, Privacy: openPrivacy})
		f.enter("Juliet", "juliet@test/phone", "member")
		f.juliet(state("composing"))
		f.juliet(displayed("s0"))
		envelope := juliet.envelope(omemo.Envelope{From: "juliet@test", To: fakeRoom, Content: displayed("s1").append(nil, "")})
		f.juliet(juliet.seal(side, omemo.Two, envelope, fakeSelf))
		juliet.say(side, omemo.Two, "mark")
		heard(t, inbox, "mark")
		var got []string
		for _, ev := range inbox.Heard() {
			switch b := ev.Body.(type) {
			case gateway.Typing:
				got = append(got, fmt.Sprintf("types %v", b.On))
			case gateway.Receipt:
				got = append(got, string(b.State)+" "+b.Target.Native)
				if ev.Expires.IsZero() || ev.Sealed.Protection != gateway.Plain && b.Target.Native == "s0" {
					t.Errorf("heard %+v", ev)
				}
			}
		}
		want := []string{"displayed s1"}
		if keep {
			want = []string{"displayed s0", "displayed s1", "types true"}
		}
		// What came in the clear is read after the commit of its batch, so their order is not the wire's. Words end typing.
		got = slices.DeleteFunc(got, func(s string) bool { return s == "types false" })
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("keep %v: heard %q, want %q", keep, got, want)
		}
		if caps := side.Caps(room.Address); caps.Typing != keep || caps.Receipt != keep {
			t.Errorf("keep %v: claims %+v", keep, caps)
		}
	}
}

func TestPassingIsShownByThePuppet(t *testing.T) {
	f := newFakeServer(t)
	room := fakeBridgeRoom(false, gateway.PuppetsActive)
	side, _ := startPassing(t, f, room, openPrivacy, gateway.Direct{})
	alice, stranger := delivery(keyA, "here I am", false), delivery(keyB, "", false).Event
	stranger.Sender.ID, stranger.Body = "@nobody:test", gateway.Typing{On: true}
	must(t, deliver(t, side, alice))
	side.Pass(t.Context(), room.Address, stranger) // nobody enters to type
	typing := *alice.Event
	typing.Body = gateway.Typing{On: true}
	side.Pass(t.Context(), room.Address, &typing)
	shown := f.await("typing", func(n *node) bool { return n.child(nsStates, "composing") != nil })
	if bare(shown.get("from")) != fakePuppet || shown.get("type") != "groupchat" || shown.get("to") != fakeRoom || shown.child("", "body") != nil {
		t.Errorf("shown as %s", shown.bytes())
	}
	typing.Body = gateway.Receipt{State: gateway.Displayed, Target: gateway.Ref{Parts: []gateway.Part{{Native: "s1"}}}}
	side.Pass(t.Context(), room.Address, &typing)
	shown = f.await("a marker", func(n *node) bool { return n.child(nsMarkers, "displayed") != nil })
	if shown.child(nsMarkers, "displayed").get("id") != "s1" || bare(shown.get("from")) != fakePuppet {
		t.Errorf("shown as %s", shown.bytes())
	}
	if _, met := side.people.of(stranger.Sender); met {
		t.Error("somebody got a puppet for typing")
	}
	f.drop()
	side.Pass(t.Context(), room.Address, &typing) // waits for nothing
}

func TestTypingAndReceiptsOfADirectChat(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startPassing(t, f, fakeBridgeRoom(false, gateway.PuppetsNone), gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsDirect}, openDirect(gateway.EncryptionOff))
	must(t, side.meetAlice(t))
	f.directly("juliet@test/phone", fakePuppet, "m1", state("composing"))
	f.directly("juliet@test/phone", fakePuppet, "m2", el(nsReceipts, "received", "id", keyA))
	f.directly("juliet@test/phone", fakePuppet, "m3", displayed(keyA))
	f.directly("juliet@test/phone", fakePuppet, "m4", displayed("something of hers"))
	f.directly("mallory@elsewhere/x", fakePuppet, "m5", displayed(keyA), state("composing"))
	f.directly("juliet@test/phone", fakeSelf, "m6", state("composing"))
	f.directly("juliet@test/phone", fakePuppet, "m7", state("composing"), el(nsDelay, "delay", "stamp", "2026-01-01T00:00:00Z"))
	want := "directly juliet@test types true\ndirectly juliet@test delivered " + keyA + "\ndirectly juliet@test displayed " + keyA
	if got := passed(t, f, inbox, "mark"); got != want {
		t.Errorf("heard\n%s\nwant\n%s", got, want)
	}
	side.Pass(t.Context(), fakeChat, &gateway.Event{Sender: fakeAlice, Body: gateway.Typing{On: true}})
	shown := f.await("typing", func(n *node) bool { return n.child(nsStates, "composing") != nil })
	if bare(shown.get("from")) != fakePuppet || shown.get("to") != "juliet@test" || shown.get("type") != "chat" {
		t.Errorf("shown as %s", shown.bytes())
	}
	id := gateway.Ref{Parts: []gateway.Part{{Native: directNative("juliet@test/phone", "m9", nil, true)}}}
	side.Pass(t.Context(), fakeChat, &gateway.Event{Sender: fakeAlice, Body: gateway.Receipt{State: gateway.Displayed, Target: id}})
	shown = f.await("a marker", func(n *node) bool { return n.child(nsMarkers, "displayed") != nil })
	if shown.child(nsMarkers, "displayed").get("id") != "m9" {
		t.Errorf("shown as %s", shown.bytes())
	}
}

// TestTypistsAreBounded: whoever says they type cannot fill our memory.
func TestTypistsAreBounded(t *testing.T) {
	var all typists
	at := gateway.Address{Network: "xmpp", ID: fakeRoom}
	for i := range 3 * maxTypists {
		if !all.news(typist{at, fmt.Sprint(i)}, true) {
			t.Fatal("typing is no news")
		}
	}
	if len(all.now) > maxTypists {
		t.Errorf("%d are remembered", len(all.now))
	}
}

// TestClientsAreAskedForMarkersWhereTheyCross, and nowhere else.
func TestClientsAreAskedForMarkersWhereTheyCross(t *testing.T) {
	for _, receipts := range []gateway.Receipts{gateway.ReceiptsOff, gateway.ReceiptsDirect, gateway.ReceiptsAll} {
		f := newFakeServer(t)
		side, _ := startPassing(t, f, fakeBridgeRoom(false, gateway.PuppetsActive), gateway.Privacy{Receipts: receipts}, openDirect(gateway.EncryptionOff))
		must(t, side.meetAlice(t))
		must(t, deliver(t, side, delivery(keyA, "to all", false)))
		must(t, deliver(t, side, directDelivery(keyB, saying("to one"))))
		for text, want := range map[string]bool{"to all": receipts == gateway.ReceiptsAll, "to one": receipts != gateway.ReceiptsOff} {
			said := f.message(text, fakePuppet, text)
			if got := said.child(nsMarkers, "markable") != nil; got != want {
				t.Errorf("%s, %s: %s", receipts, text, said.bytes())
			}
		}
	}
}
