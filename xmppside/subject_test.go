package xmppside

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// topicsHeard are the topics heard before a mark.
func topicsHeard(t *testing.T, f *fakeServer, inbox *sidetest.Inbox, mark string) []string {
	t.Helper()
	f.juliet(body(mark))
	heard(t, inbox, mark)
	var out []string
	for _, ev := range inbox.Heard() {
		if b, ok := ev.Body.(gateway.RoomState); ok && b.Topic != nil {
			out = append(out, fmt.Sprintf("%s by %s", *b.Topic, ev.Sender.Name))
		}
	}
	return out
}

func topicDelivery(key, topic string) gateway.Delivery {
	d := delivery(key, "", false)
	d.Event.Body = gateway.RoomState{Topic: &topic}
	return d
}

func subject(text string) *node { return el("", "subject").say(text) }

func TestSubjectsCross(t *testing.T) {
	f := newFakeServer(t)
	f.features = append(f.features, "muc_topic")
	room := fakeBridgeRoom(false, gateway.PuppetsActive)
	room.Topic = true
	side, inbox := startFake(t, f, room)
	if !side.Caps(room.Address).Room {
		t.Error("topics are not claimed")
	}
	f.juliet(subject("flowers"))
	f.juliet(subject("flowers"))                  // no news
	f.juliet(subject("no subject"), body("this")) // a message with a title
	f.juliet(subject(strings.Repeat("long ", 2000)))
	f.juliet(subject(""))
	f.raw("<message type='groupchat' from='" + fakeRoom + "' to='" + fakeSelf + "/" + resource + "'><subject>by the room itself</subject></message>")
	want := "[flowers by Juliet " + gateway.Shorten(strings.Repeat("long ", 2000), maxSubject) + " by Juliet  by Juliet]"
	if got := fmt.Sprint(topicsHeard(t, f, inbox, "mark")); got != want {
		t.Errorf("heard %s", got)
	}

	before := len(inbox.Heard())
	must(t, deliver(t, side, topicDelivery(keyA, "trees")))
	said := f.saidBy(fakeSelf)
	if len(said) != 1 || said[0].child("", "subject").said() != "trees" || said[0].child("", "body") != nil {
		t.Fatalf("said %d", len(said))
	}
	must(t, deliver(t, side, topicDelivery(keyB, "trees"))) // what it is already
	topicsHeard(t, f, inbox, "mark 2")
	for _, ev := range inbox.Heard()[before:] {
		if _, ok := ev.Body.(gateway.RoomState); ok {
			t.Errorf("our own topic came back: %+v", ev)
		}
	}
	if n := len(f.saidBy(fakeSelf)); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// TestASubjectThatMayNotBeSetIsNoFailure: nobody is bothered with it.
func TestASubjectThatMayNotBeSetIsNoFailure(t *testing.T) {
	f := newFakeServer(t)
	room := fakeBridgeRoom(false, gateway.PuppetsActive)
	room.Topic = true
	side, _ := startFake(t, f, room)
	f.set(func() { f.refusing = map[string]string{fakeSelf + "/" + resource: "forbidden"} })
	must(t, deliver(t, side, topicDelivery(keyA, "trees")))
}

// TestNoSubjectCrossesOnASealedBridge, in either direction, and not where the config says so.
func TestNoSubjectCrossesOnASealedBridge(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		f := newFakeServer(t)
		f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
		room := fakeBridgeRoom(sealed, gateway.PuppetsActive)
		room.Topic = sealed // which the gateway never asks for
		side, inbox := startFake(t, f, room)
		f.juliet(subject("a secret"))
		must(t, deliver(t, side, topicDelivery(keyA, "another secret")))
		f.juliet(body("mark"))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := inbox.Await(ctx, "the mark, or that it was refused", func(ev *gateway.Event) bool { return ev.Body.Kind() == "message" || ev.Body.Kind() == "receipt" })
		must(t, err)
		if said := f.saidBy(fakeSelf); len(said) != 0 {
			t.Errorf("sealed %v: said %s", sealed, said[0].bytes())
		}
		if side.Caps(room.Address).Room {
			t.Errorf("sealed %v: topics are claimed", sealed)
		}
		for _, ev := range inbox.Heard() {
			if _, ok := ev.Body.(gateway.RoomState); ok {
				t.Errorf("sealed %v: heard %+v", sealed, ev)
			}
		}
	}
}
