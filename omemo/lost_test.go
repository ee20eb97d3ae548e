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

// TestLostPage: the record is there and the device's place on a page is gone.
// Nothing is sent by keys that were in it, and nothing is lost that comes.
func TestLostPage(t *testing.T) { eachVersion(t, testLostPage) }

func testLostPage(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	b := bob.manager.book(v, bob.jid)
	page, err := unmarshalRecord(bob.store.values[b.deviceKey("record", alice.address())], bob.store.values[b.deviceKey("ratchet", alice.address())])
	if err != nil {
		t.Fatal(err)
	}
	lose := func() {
		t.Helper()
		for _, kind := range []string{"send/", "hot/"} {
			if bob.store.values[b.prefix+kind+page.page] == nil {
				t.Fatal("the page was moved")
			}
			delete(bob.store.values, b.prefix+kind+page.page)
		}
	}
	again := func() {
		t.Helper()
		checkState(t, bob.store)
		for range 2 {
			reply(t, bob, alice)
			reply(t, alice, bob)
		}
	}
	// The next message makes a turn in the session.
	reply(t, bob, alice)
	lose()
	reply(t, alice, bob)
	again()
	// The next message begins another session. Late ones of the one before were
	// for a session that can send nothing any more.
	late := alice.seal(t, bob, "late")
	msg, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bob.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	lose()
	if opened, err := bob.open(alice, msg); err != nil || !opened.NewSession {
		t.Fatalf("%+v, %v", opened, err)
	}
	if _, err := bob.open(alice, late); !errors.Is(err, ErrBadMAC) {
		t.Fatalf("a session that lost its sending half opens: %v", err)
	}
	again()
}

// TestLostRatchet: of a record with its session's other half gone there is only
// the pinned identity left.
func TestLostRatchet(t *testing.T) { eachVersion(t, testLostRatchet) }

func testLostRatchet(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	b := bob.manager.book(v, bob.jid)
	lose := func() { delete(bob.store.values, b.deviceKey("ratchet", alice.address())) }
	lose()
	if _, err := bob.open(alice, alice.seal(t, bob, "lost")); !errors.Is(err, ErrNoSession) {
		t.Fatalf("without its ratchet: %v", err)
	}
	stranger := impostor(t, v, alice)
	if _, err := bob.open(stranger, stranger.seal(t, bob, "it is me")); !errors.Is(err, ErrIdentityChanged) {
		t.Fatalf("another identity: %v", err)
	}
	msg, err := bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), alice.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.open(bob, msg); err != nil {
		t.Fatal(err)
	}
	reply(t, alice, bob)
	reply(t, bob, alice)
	checkState(t, bob.store)
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

// TestRepairAfterRenewWithAPage: a record that holds a pin alone does not go
// with a page, but must not be stumbled over.
func TestRepairAfterRenewWithAPage(t *testing.T) { eachVersion(t, testRepairAfterRenewWithAPage) }

func testRepairAfterRenewWithAPage(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	key := bob.manager.book(v, bob.jid).deviceKey("record", alice.address())
	pin, err := pinOnly(bob.store.values[key])
	if err != nil {
		t.Fatal(err)
	}
	bob.store.values[key] = pin
	msg, err := bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), alice.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.open(bob, msg); err != nil {
		t.Fatal(err)
	}
	reply(t, alice, bob)
}
