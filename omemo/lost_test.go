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
	for _, kind := range []string{"record", "ratchet"} {
		if err := bob.store.PutMany(t.Context(), map[string][]byte{b.deviceKey(kind, alice.address()): nil}); err != nil {
			t.Fatal(err)
		}
	}
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
}
