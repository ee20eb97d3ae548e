package omemo

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// TestSenders: which of a room's members wrote is told by the session.
func TestSenders(t *testing.T) { eachVersion(t, testSenders) }

func testSenders(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	members := []string{"x@example.org", alice.jid, "y@example.org", alice.jid}
	carol := newParty(t, v, "carol@example.org")
	open := func(msg *Message) (Opened, error) {
		return bob.manager.Open(t.Context(), bob.jid, members, msg)
	}
	opened, err := open(alice.seal(t, bob, "hello"))
	if err != nil || opened.Sender != alice.address() {
		t.Fatalf("%+v, %v", opened, err)
	}
	// A known device that begins anew is recognised by its identity key.
	again, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bob.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err = open(again); err != nil || opened.Sender != alice.address() || !opened.NewSession {
		t.Fatalf("%+v, %v", opened, err)
	}
	before := bob.store.snapshot()
	if _, err = open(carol.seal(t, bob, "hello")); !errors.Is(err, ErrSenderUnknown) {
		t.Fatalf("error %v, want ErrSenderUnknown", err)
	}
	if _, err = bob.manager.Open(t.Context(), bob.jid, nil, carol.seal(t, bob, "hello")); !errors.Is(err, ErrSenderUnknown) {
		t.Fatalf("error %v, want ErrSenderUnknown", err)
	}
	msg := alice.seal(t, bob, "hello")
	msg.Keys[0].PreKey = false
	if _, err = bob.open(carol, msg); !errors.Is(err, ErrNoSession) {
		t.Fatalf("error %v, want ErrNoSession", err)
	}
	if _, err = carol.open(alice, msg); !errors.Is(err, ErrNotForUs) {
		t.Fatalf("error %v, want ErrNotForUs", err)
	}
	if _, err = bob.manager.Open(t.Context(), "nobody@example.org", members, msg); !errors.Is(err, ErrNoOwnDevice) {
		t.Fatalf("error %v, want ErrNoOwnDevice", err)
	}
	bob.store.mustEqual(t, before)
}

// TestCollidingDevice: another account's device has the same id, so there are
// two keys for it, in either order.
func TestCollidingDevice(t *testing.T) { eachVersion(t, testCollidingDevice) }

func testCollidingDevice(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	for range 2 {
		msg := alice.seal(t, bob, "hello")
		stranger := Key{RID: bob.device.ID, Data: slices.Clone(msg.Keys[0].Data)}
		stranger.Data[len(stranger.Data)-1] ^= 1
		broken := Key{RID: bob.device.ID}
		exchange := Key{RID: bob.device.ID, PreKey: true, Data: stranger.Data}
		msg.Keys = []Key{broken, stranger, exchange, msg.Keys[0], stranger}
		if opened, err := bob.open(alice, msg); err != nil || string(opened.Plain) != "hello" {
			t.Fatalf("%+v, %v", opened, err)
		}
		before := bob.store.snapshot()
		if _, err := bob.open(alice, msg); !errors.Is(err, ErrDuplicate) {
			t.Fatalf("error %v, want ErrDuplicate", err)
		}
		bob.store.mustEqual(t, before)
	}
}

// TestExchangeNames: the key that names a session has one encoding, or an
// altered copy of a key exchange would spoil those that follow it.
func TestExchangeNames(t *testing.T) { eachVersion(t, testExchangeNames) }

func testExchangeNames(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	msg := alice.seal(t, bob, "hello")
	x := exchangeOf(t, v, &msg.Keys[0])
	x.base[31] |= 0x80 // the same key to X25519
	bad := *msg
	bad.Keys = []Key{{RID: bob.device.ID, PreKey: true, Data: wireOf(v).appendExchange(nil, &x)}}
	if _, err := bob.open(alice, &bad); !errors.Is(err, ErrMalformed) {
		t.Fatalf("error %v, want ErrMalformed", err)
	}
	if _, err := bob.open(alice, msg); err != nil {
		t.Fatal(err)
	}
}

// TestAlteredBase: a base key with a point of small order added gives the same
// session under another name, which must not lose the sender's own messages.
func TestAlteredBase(t *testing.T) { eachVersion(t, testAlteredBase) }

func testAlteredBase(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	first, second := alice.seal(t, bob, "hello"), alice.seal(t, bob, "again")
	x := exchangeOf(t, v, &first.Keys[0])
	ed, err := edwardsForm(&x.base, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := soundPoint(ed[:])
	if err != nil {
		t.Fatal(err)
	}
	// (0, -1) is the point of order 2; there are six more.
	minusOne := append([]byte{0xEC}, bytes.Repeat([]byte{0xFF}, 31)...)
	minusOne[31] = 0x7F
	small, err := new(edwards25519.Point).SetBytes(minusOne)
	if err != nil {
		t.Fatal(err)
	}
	x.base = [32]byte(p.Add(p, small).BytesMontgomery())
	altered := *first
	altered.Keys = []Key{{RID: bob.device.ID, PreKey: true, Data: wireOf(v).appendExchange(nil, &x)}}
	if opened, err := bob.open(alice, &altered); err != nil || string(opened.Plain) != "hello" {
		t.Fatalf("%+v, %v", opened, err)
	}
	before := bob.store.snapshot()
	if _, err := bob.open(alice, first); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("error %v, want ErrDuplicate", err)
	}
	bob.store.mustEqual(t, before)
	if opened, err := bob.open(alice, second); err != nil || string(opened.Plain) != "again" || opened.NewSession {
		t.Fatalf("%+v, %v", opened, err)
	}
	checkState(t, bob.store)
}

// TestDuplicateWins: that a message was opened before is said even if a later
// key or sender fails in another way.
func TestDuplicateWins(t *testing.T) { eachVersion(t, testDuplicateWins) }

func testDuplicateWins(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	msg := alice.seal(t, bob, "hello")
	if _, err := bob.open(alice, msg); err != nil {
		t.Fatal(err)
	}
	// The same identity key is known under another account as well.
	clone := &party{version: v, jid: "clone@example.org", device: alice.device, store: newMapStore()}
	clone.manager = NewManager(clone.store, Options{})
	b := clone.manager.book(v, alice.jid)
	clone.store.values[clone.manager.book(v, clone.jid).identityKey()] = alice.store.values[b.identityKey()]
	if _, err := bob.open(clone, clone.seal(t, bob, "hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.manager.Open(t.Context(), bob.jid, []string{alice.jid, clone.jid}, msg); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("error %v, want ErrDuplicate", err)
	}
}

// TestBadPayload: the key is right, what it should open is not.
func TestBadPayload(t *testing.T) { eachVersion(t, testBadPayload) }

func testBadPayload(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	msg := alice.seal(t, bob, "hello")
	before := bob.store.snapshot()
	bad := *msg
	bad.Payload = append([]byte("x"), msg.Payload[1:]...)
	if _, err := bob.open(alice, &bad); !errors.Is(err, ErrBadPayload) {
		t.Fatalf("error %v, want ErrBadPayload", err)
	}
	if v == Legacy {
		bad = *msg
		bad.IV = bad.IV[:8]
		if _, err := bob.open(alice, &bad); !errors.Is(err, ErrMalformed) {
			t.Fatalf("error %v, want ErrMalformed", err)
		}
	}
	bob.store.mustEqual(t, before)
	if _, err := bob.open(alice, msg); err != nil {
		t.Fatal(err)
	}
}

// TestArchiveLimit: sessions begun again and again are bounded, and the latest
// ones stay usable.
func TestArchiveLimit(t *testing.T) { eachVersion(t, testArchiveLimit) }

func testArchiveLimit(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	late := make([]*Message, 0, 12)
	for range 12 {
		late = append(late, alice.seal(t, bob, "late"))
		msg, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bob.bundle(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.open(alice, msg); err != nil {
			t.Fatal(err)
		}
	}
	value := bob.store.values[bob.manager.book(v, bob.jid).deviceKey("record", alice.address())]
	rec, err := unmarshalRecord(value, bob.store.values[bob.manager.book(v, bob.jid).deviceKey("ratchet", alice.address())])
	if err != nil || len(rec.sessions) != maxSessions {
		t.Fatalf("%d sessions, %v", len(rec.sessions), err)
	}
	for i, msg := range late {
		_, err := bob.open(alice, msg)
		if kept := i > len(late)-maxSessions; kept && err != nil || !kept && err == nil {
			t.Errorf("message before session %d: %v", i, err)
		}
	}
}

// TestSkippedLimits: what a peer can make us store for missing messages.
func TestSkippedLimits(t *testing.T) { eachVersion(t, testSkippedLimits) }

func testSkippedLimits(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	var sent []*Message
	for range 2500 {
		sent = append(sent, alice.seal(t, bob, "x"))
	}
	before := bob.store.snapshot()
	if _, err := bob.open(alice, sent[maxSkip+1]); !errors.Is(err, ErrTooManySkipped) {
		t.Fatalf("error %v, want ErrTooManySkipped", err)
	}
	bob.store.mustEqual(t, before)
	for _, i := range []int{900, 1800, 2400} {
		if _, err := bob.open(alice, sent[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range map[int]error{0: ErrDuplicate, 1300: ErrDuplicate, 1500: nil, 2399: nil} {
		if _, err := bob.open(alice, sent[i]); !errors.Is(err, want) {
			t.Errorf("message %d: %v, want %v", i, err, want)
		}
	}
	checkState(t, bob.store)
}
