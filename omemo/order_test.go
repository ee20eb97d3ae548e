package omemo

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestOneWayThenOther: 500 messages one way, then as many back.
func TestOneWayThenOther(t *testing.T) { eachVersion(t, testOneWayThenOther) }

func testOneWayThenOther(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	for round := range 2 {
		for _, ends := range [][2]*party{{alice, bob}, {bob, alice}} {
			var sent []*Message
			for i := range 500 {
				sent = append(sent, ends[0].seal(t, ends[1], fmt.Sprint(round, i)))
			}
			for i, msg := range sent {
				if opened, err := ends[1].open(ends[0], msg); err != nil || string(opened.Plain) != fmt.Sprint(round, i) {
					t.Fatalf("message %d: %+v, %v", i, opened, err)
				}
			}
		}
	}
	checkState(t, alice.store)
	checkState(t, bob.store)
}

// TestOutOfOrder: both versions at once, each with turns, delivered in any
// order within what is kept.
func TestOutOfOrder(t *testing.T) {
	alice, bob := newPair(t, Legacy)
	alice2, bob2 := *alice, *bob
	alice2.version, bob2.version = Two, Two
	reply(t, &alice2, &bob2)
	reply(t, &bob2, &alice2)
	order := rand.New(rand.NewPCG(1, 2))
	type flying struct {
		from, to *party
		text     string
		msg      *Message
	}
	var late []flying
	deliver := func(f flying) {
		t.Helper()
		opened, err := f.to.open(f.from, f.msg)
		if err != nil || string(opened.Plain) != f.text {
			t.Fatalf("%q: %q, %v", f.text, opened.Plain, err)
		}
	}
	for turn := range 3 * maxChains {
		for _, ends := range [][2]*party{{alice, bob}, {&bob2, &alice2}, {bob, alice}, {&alice2, &bob2}} {
			var sent []flying
			for i := range 20 {
				text := fmt.Sprint(turn, ends[0].jid, ends[0].version, i)
				sent = append(sent, flying{ends[0], ends[1], text, ends[0].seal(t, ends[1], text)})
			}
			order.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
			for _, f := range sent[:15] {
				deliver(f)
			}
			late = append(late, sent[15:]...)
		}
		if turn%(maxChains-1) == maxChains-2 {
			order.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
			for _, f := range late {
				deliver(f)
			}
			late = nil
		}
	}
	checkState(t, alice.store)
	checkState(t, bob.store)
}
