package omemo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

func TestEnsureDevice(t *testing.T) { eachVersion(t, testEnsureDevice) }

func testEnsureDevice(t *testing.T, v Version) {
	p := newParty(t, v, "alice@example.org")
	again, err := p.manager.EnsureDevice(t.Context(), p.jid)
	if err != nil || again != p.device {
		t.Fatalf("second call gives %+v, %v", again, err)
	}
	if p.device.ID == 0 || p.device.ID > 1<<31-1 {
		t.Fatalf("device id %d", p.device.ID)
	}
	b, err := ParseBundle(v, p.bundle(t).AppendXML(nil))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.PreKeys) != offered || b.Identity != p.device.Identity {
		t.Fatalf("bundle with %d prekeys of %x", len(b.PreKeys), b.Identity)
	}
	if _, err := p.manager.Bundle(t.Context(), v, "nobody@example.org"); !errors.Is(err, ErrNoOwnDevice) {
		t.Fatalf("bundle of a stranger: %v", err)
	}
	checkState(t, p.store)
}

func TestConversation(t *testing.T) { eachVersion(t, testConversation) }

func testConversation(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	msg := alice.seal(t, bob, "hello")
	if !msg.Keys[0].PreKey {
		t.Fatal("the first message is no key exchange")
	}
	before := bob.preKeys(t)
	opened, err := bob.open(alice, msg)
	if err != nil || string(opened.Plain) != "hello" {
		t.Fatalf("%q, %v", opened.Plain, err)
	}
	want := Opened{
		Sender: alice.address(), Identity: alice.device.Identity, Trust: Blind, Plain: opened.Plain,
		NewSession: true, SendEmpty: true, BundleChanged: true,
	}
	if fmt.Sprint(opened) != fmt.Sprint(want) {
		t.Fatalf("opened %+v, want %+v", opened, want)
	}
	after := bob.preKeys(t)
	added := slices.DeleteFunc(slices.Clone(after), func(k preKey) bool { return slices.Contains(before, k) })
	gone := slices.DeleteFunc(slices.Clone(before), func(k preKey) bool { return slices.Contains(after, k) })
	if len(added) != 1 || len(gone) != 1 || len(after) != fullStock {
		t.Fatalf("%d prekeys new, %d gone", len(added), len(gone))
	}
	if slices.ContainsFunc(before, func(k preKey) bool { return k.id == added[0].id }) {
		t.Fatalf("prekey id %d is used again", added[0].id)
	}

	empty, err := bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if empty.Payload != nil || (len(empty.IV) == payloadIVLen) != (v == Legacy) || empty.Keys[0].PreKey {
		t.Fatalf("empty message %+v", empty)
	}
	opened, err = alice.open(bob, empty)
	if err != nil || opened.Plain != nil || opened.SendEmpty || opened.NewSession {
		t.Fatalf("empty message opens as %+v, %v", opened, err)
	}
	if msg := alice.seal(t, bob, "again"); msg.Keys[0].PreKey {
		t.Fatal("still a key exchange after the answer")
	} else if opened, err := bob.open(alice, msg); err != nil || opened.SendEmpty || opened.BundleChanged {
		t.Fatalf("%+v, %v", opened, err)
	}
	if opened, err := bob.open(alice, alice.seal(t, bob, "")); err != nil || opened.Plain == nil {
		t.Fatalf("empty text opens as %v, %v", opened.Plain, err)
	}
}

func TestHeartbeat(t *testing.T) { eachVersion(t, testHeartbeat) }

func testHeartbeat(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	var due []int
	for i := range 120 {
		msg := alice.seal(t, bob, "x")
		if i == 55 { // an empty message neither asks nor spends the question
			empty, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if opened, err := bob.open(alice, empty); err != nil || opened.SendEmpty {
				t.Fatalf("%+v, %v", opened, err)
			}
		}
		if i < 58 && i >= 50 {
			continue // lost, the 54th among them
		}
		opened, err := bob.open(alice, msg)
		if err != nil {
			t.Fatal(err)
		}
		if opened.SendEmpty {
			due = append(due, i)
		}
	}
	if !slices.Equal(due, []int{58}) {
		t.Fatalf("heartbeats asked for at %v", due)
	}
}

// TestRoundTrips: sealing reads once and writes once, whatever is due.
func TestRoundTrips(t *testing.T) { eachVersion(t, testRoundTrips) }

func testRoundTrips(t *testing.T, v Version) {
	alice := newParty(t, v, "alice@example.org")
	var to []Address
	bundles := make(map[Address]*Bundle)
	var others []*party
	for i := range 20 {
		bob := newParty(t, v, fmt.Sprintf("bob%d@example.org", i))
		others = append(others, bob)
		to = append(to, bob.address())
		bundles[bob.address()] = bob.bundle(t)
	}
	seal := func() *Message {
		t.Helper()
		alice.store.reads, alice.store.writes = 0, 0
		msg, report, err := alice.manager.Seal(t.Context(), v, alice.jid, to, bundles, []byte("hello"))
		if err != nil || len(report.Sealed) != len(to) {
			t.Fatalf("%+v, %v", report, err)
		}
		if alice.store.reads != 1 || alice.store.writes != 1 {
			t.Fatalf("%d reads, %d writes", alice.store.reads, alice.store.writes)
		}
		return msg
	}
	for round := range 3 {
		msg := seal()
		for i, bob := range others {
			if _, err := bob.open(alice, msg); err != nil {
				t.Fatal(err)
			}
			if i%2 == round%2 { // leaves turns due with half of them
				if _, err := alice.open(bob, bob.seal(t, alice, "hi")); err != nil {
					t.Fatal(err)
				}
			}
		}
		checkState(t, alice.store)
	}
	if missing, err := alice.manager.Missing(t.Context(), v, alice.jid, append(to, Address{"x@example.org", 1}, alice.address())); err != nil || len(missing) != 1 {
		t.Fatalf("missing %v, %v", missing, err)
	}
}

func TestSealReport(t *testing.T) { eachVersion(t, testSealReport) }

func testSealReport(t *testing.T, v Version) {
	alice, bob, carol := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org"), newParty(t, v, "carol@example.org")
	none := bob.bundle(t)
	for _, k := range slices.Clone(none.PreKeys) {
		none = none.Without(k.ID)
	}
	forged := *bob.bundle(t)
	forged.verified = false
	weak := *bob.bundle(t)
	weak.PreKeys = []PublicPreKey{{ID: 1}}
	to := []Address{
		alice.address(), {"b@example.org", 1}, {"b@example.org", 2}, {"b@example.org", 3}, {"b@example.org", 4}, carol.address(), carol.address(),
	}
	bundles := map[Address]*Bundle{to[2]: none, to[3]: &forged, to[4]: &weak, carol.address(): carol.bundle(t)}
	msg, report, err := alice.manager.Seal(t.Context(), v, alice.jid, to, bundles, []byte("hello"))
	if err != nil || len(msg.Keys) != 1 || len(report.Sealed) != 1 || len(report.Built) != 1 || report.Built[0].Address != carol.address() {
		t.Fatalf("%+v, %v", report, err)
	}
	for i, want := range []error{ErrOwnDevice, ErrNoSession, ErrNoPreKey, ErrBundle, ErrBundle} {
		if s := report.Skipped[i]; s.Address != to[i] || !errors.Is(s.Err, want) {
			t.Errorf("skipped %+v, want %v for %v", s, want, to[i])
		}
	}
	before := alice.store.snapshot()
	_, report, err = alice.manager.Seal(t.Context(), v, alice.jid, to[:5], bundles, []byte("hello"))
	if !errors.Is(err, ErrNoDevices) || len(report.Skipped) != 5 {
		t.Fatalf("%+v, %v", report, err)
	}
	alice.store.mustEqual(t, before)
	nobody := Address{Device: 1}
	_, report, err = alice.manager.Seal(t.Context(), v, alice.jid, []Address{nobody}, map[Address]*Bundle{nobody: bob.bundle(t)}, nil)
	if !errors.Is(err, ErrNoDevices) || !errors.Is(report.Skipped[0].Err, ErrMalformed) {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), nil); !errors.Is(err, ErrNoSession) {
		t.Fatalf("error %v, want ErrNoSession", err)
	}
	if _, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, alice.address(), alice.bundle(t)); !errors.Is(err, ErrOwnDevice) {
		t.Fatalf("error %v, want ErrOwnDevice", err)
	}
}

// TestDamagedState: a damaged value is an error and not a new beginning.
func TestDamagedState(t *testing.T) { eachVersion(t, testDamagedState) }

func testDamagedState(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	msg := alice.seal(t, bob, "hello")
	good := maps.Clone(bob.store.values)
	for key := range good {
		for _, damaged := range [][]byte{{}, {stateVersion + 1}, good[key][:len(good[key])-1], append(slices.Clone(good[key]), 0)} {
			bob.store.restore(good)
			bob.store.values[key] = damaged
			_, errOpen := bob.open(alice, msg)
			_, errSeal := bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), alice.bundle(t))
			_, errBundle := bob.manager.Bundle(t.Context(), v, bob.jid)
			if !errors.Is(errOpen, ErrState) && !errors.Is(errSeal, ErrState) && !errors.Is(errBundle, ErrState) {
				t.Errorf("%s damaged: %v, %v, %v", key, errOpen, errSeal, errBundle)
			}
		}
	}
}

type failingStore struct{ Store }

var errStore = errors.New("disk full")

func (failingStore) PutMany(context.Context, map[string][]byte) error { return errStore }

func TestStoreFails(t *testing.T) { eachVersion(t, testStoreFails) }

func testStoreFails(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	msg := alice.seal(t, bob, "hello")
	bob.manager.store = failingStore{bob.store}
	if _, err := bob.open(alice, msg); !errors.Is(err, errStore) {
		t.Fatalf("error %v, want the store's", err)
	}
	if _, _, err := bob.manager.Seal(t.Context(), v, bob.jid, []Address{alice.address()}, nil, nil); !errors.Is(err, errStore) {
		t.Fatalf("error %v, want the store's", err)
	}
	bob.manager.store = bob.store
	if _, err := bob.open(alice, msg); err != nil {
		t.Fatal(err)
	}
}

// TestSealedOnce: no two messages ever share a message key, even when sealing
// was interleaved with opening and empty messages.
func TestSealedOnce(t *testing.T) { eachVersion(t, testSealedOnce) }

func testSealedOnce(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	seen := make(map[string]bool)
	note := func(msg *Message) {
		t.Helper()
		data := msg.Keys[0].Data
		if msg.Keys[0].PreKey {
			data = exchangeOf(t, v, &msg.Keys[0]).message
		}
		s, err := wireOf(v).parse(data)
		if err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprintf("%x/%d", s.ratchet, s.n)
		if seen[at] {
			t.Fatalf("position %s is used twice", at)
		}
		seen[at] = true
	}
	for i := range 30 {
		msg := alice.seal(t, bob, "x")
		note(msg)
		if i%3 == 0 {
			if _, err := bob.open(alice, msg); err != nil {
				t.Fatal(err)
			}
			reply(t, bob, alice)
		}
		if i%7 == 0 {
			empty, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bob.bundle(t))
			if err != nil {
				t.Fatal(err)
			}
			note(empty)
		}
	}
}

func TestAppendXMLOfSealed(t *testing.T) { eachVersion(t, testAppendXMLOfSealed) }

func testAppendXMLOfSealed(t *testing.T, v Version) {
	alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	msg := alice.seal(t, bob, "hello")
	xml := msg.AppendXML([]byte("<message xmlns='jabber:client'><body>no</body>"))
	xml = append(xml, "</message>"...)
	parsed, err := ParseMessage(v, xml, bob.address())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(parsed) != fmt.Sprint(msg) {
		t.Fatalf("%+v, want %+v", parsed, msg)
	}
	if opened, err := bob.open(alice, parsed); err != nil || !bytes.Equal(opened.Plain, []byte("hello")) {
		t.Fatalf("%+v, %v", opened, err)
	}
}
