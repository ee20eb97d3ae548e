package omemo

import (
	"errors"
	"testing"
)

// A record alone is lost: what the device says cannot be opened until a new session is built, and then it can.
func TestLostRecord(t *testing.T) { eachVersion(t, testLostRecord) }

func testLostRecord(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	b := bob.manager.book(v, bob.jid)
	lose := func() {
		delete(bob.store.values, b.deviceKey("record", alice.address()))
		delete(bob.store.values, b.deviceKey("ratchet", alice.address()))
	}
	lose()
	if _, err := bob.open(alice, alice.seal(t, bob, "lost")); !errors.Is(err, ErrNoSession) {
		t.Fatalf("without a record: %v", err)
	}
	msg, err := bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), alice.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.open(bob, msg); err != nil {
		t.Fatal(err)
	}
	for _, turn := range [][2]*party{{alice, bob}, {bob, alice}} {
		if opened, err := turn[1].open(turn[0], turn[0].seal(t, turn[1], "found")); err != nil || string(opened.Plain) != "found" {
			t.Fatalf("%q, %v", opened.Plain, err)
		}
	}
	checkState(t, bob.store)

	// The peer may be the one that begins anew.
	lose()
	if msg, err = alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bob.bundle(t)); err != nil {
		t.Fatal(err)
	}
	if opened, err := bob.open(alice, msg); err != nil || !opened.NewSession {
		t.Fatalf("%+v, %v", opened, err)
	}
	reply(t, bob, alice)
	reply(t, alice, bob)
	checkState(t, bob.store)
}
