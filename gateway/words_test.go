package gateway_test

import (
	"errors"
	"fmt"
	"testing"

	"lockbridge/gateway"
)

// What the gateway itself says is nobody's to change or to take back, though it has ids in the rooms like everything.
func TestTheGatewaysWordsAreNobodys(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, reads(w.a, "1", func() (*gateway.Event, error) {
		return nil, gateway.Unreadable(person(w.a), errors.New("no key"))
	}))
	notice := "A message from Alice could not be read."
	d := w.next(w.b)
	if text(d) != notice {
		t.Fatalf("b got %s", text(d))
	}
	w.wantNext(w.c, notice)
	native := "at b: " + d.Key
	w.accept(w.b, by(w.b, "mallory", "2", edit(native, "All is well.")), by(w.b, "mallory", "3", retract(native, false)), by(w.b, "", "4", retract(native, false)))
	w.accept(w.b, by(w.b, "mallory", "5", message("after that")))
	for _, m := range []*mouth{w.a, w.c} {
		w.wantNext(m, "(edited) All is well.", "after that")
	}
}

// A message that is edited and taken back again while the network is away is never said; one that is edited says its
// last words; answers to what was taken back tell nothing of it. What is edited later is a correction.
func TestWhatWaitsIsSaidAsItIsByThen(t *testing.T) {
	tried := make(chan struct{}, 1)
	w := newTalkWorld(t, func(w *world) {
		w.c.caps = gateway.Caps{Marks: true, Notes: true, Fold: 1}
		w.c.answer(func(gateway.Delivery) gateway.Outcome {
			select {
			case tried <- struct{}{}:
			default:
			}
			return gateway.Failed(gateway.Later(1, errors.New("away")))
		})
	})
	answer := message("what?")
	answer.ReplyTo = gateway.Ref{Native: "1"}
	w.accept(w.a, by(w.a, "first", "0", message("first")))
	<-tried // what waits when a network is taken over counts as tried
	w.accept(w.a, by(w.a, "alice", "1", message("secret")), by(w.a, "alice", "2", message("helo")), by(w.a, "bob", "3", answer),
		by(w.a, "alice", "4", edit("2", "hello")), by(w.a, "alice", "5", edit("1", "more secret")), by(w.a, "alice", "6", retract("1", false)), by(w.a, "alice", "7", edit("2", "hello all")))
	w.wantNext(w.b, "first", "secret")
	w.c.answer(nil)
	w.wantNext(w.c, "first", "hello all", "alice: what?")
	w.accept(w.a, by(w.a, "alice", "8", edit("2", "hello you")), by(w.a, "alice", "9", message("so")))
	w.wantNext(w.c, "(edited) hello you", "so")
}

// Reactions that are told in words are told once each, whether their line is confirmed by what the room gave it or by an
// echo that has ended it; what is taken back and given again is not told again.
func TestReactionsInWordsAreToldOnce(t *testing.T) {
	for _, ended := range []bool{false, true} {
		w := newTalkWorld(t, func(w *world) { w.c.caps = gateway.Caps{Marks: true, ReactionNotes: true} })
		w.c.answer(func(d gateway.Delivery) gateway.Outcome {
			if ended {
				return gateway.Outcome{Ended: true}
			}
			return gateway.Sent()
		})
		w.accept(w.a, by(w.a, "alice", "1", message("hello")))
		n := 1
		react := func(op gateway.ReactionOp, emoji string) { // what follows ends the wait for more
			n += 2
			w.accept(w.a, by(w.a, "bob", fmt.Sprint(n), reaction(op, "1", emoji)), by(w.a, "bob", fmt.Sprint(n+1), message("so")))
		}
		w.wantNext(w.c, "hello")
		react(gateway.ReactionAdd, "👍")
		w.wantNext(w.c, "reacted 👍 to “hello”", "so")
		react(gateway.ReactionAdd, "🎉")
		w.wantNext(w.c, "reacted 🎉 to “hello”", "so")
		react(gateway.ReactionRemove, "👍")
		w.wantNext(w.c, "so")
		react(gateway.ReactionAdd, "👍")
		w.wantNext(w.c, "so")
		w.stop()
	}
}
