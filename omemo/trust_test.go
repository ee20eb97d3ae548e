package omemo

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// impostor is a device that has taken over the account and the device id of
// another one, with its own identity key.
func impostor(t testing.TB, v Version, of *party) *party {
	t.Helper()
	p := newParty(t, v, of.jid)
	key := p.manager.book(v, of.jid).identityKey()
	id, err := unmarshalIdentity(p.store.values[key])
	if err != nil {
		t.Fatal(err)
	}
	id.device = of.device.ID
	p.store.values[key] = id.marshal()
	p.device.ID = of.device.ID
	return p
}

// decide stores a decision of alice's operator on another party's key.
func (p *party) decide(t testing.TB, other *party, trust Trust) {
	t.Helper()
	if err := p.manager.Decide(t.Context(), other.jid, other.device.Identity, trust); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityChanged(t *testing.T) { eachVersion(t, testIdentityChanged) }

func testIdentityChanged(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	other := impostor(t, v, bob)
	msg := other.seal(t, alice, "it is me")
	before := alice.store.snapshot()
	_, opened := alice.open(bob, msg)
	_, sealed := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), other.bundle(t))
	for _, err := range []error{opened, sealed} {
		var changed *IdentityError
		if !errors.Is(err, ErrIdentityChanged) || !errors.As(err, &changed) || changed.Now != other.device.Identity {
			t.Fatalf("error %v, want ErrIdentityChanged to %s", err, other.device.Identity.Fingerprint())
		}
	}
	alice.store.mustEqual(t, before)
	if err := alice.manager.Forget(t.Context(), alice.jid, bob.address()); err != nil {
		t.Fatal(err)
	}
	if opened, err := alice.open(bob, msg); err != nil || opened.Identity != other.device.Identity {
		t.Fatalf("after Forget: %+v, %v", opened, err)
	}
	if err := alice.manager.Forget(t.Context(), alice.jid, Address{"nobody@example.org", 1}); err != nil {
		t.Fatal(err)
	}
	checkState(t, alice.store)
}

// TestOnePin: what a device has shown in one version holds in the other, for
// opening, sealing and repairing, also when only the pin is left of it.
func TestOnePin(t *testing.T) { eachVersion(t, testOnePin) }

func testOnePin(t *testing.T, v Version) {
	for _, renewed := range []bool{false, true} {
		alice, bob := newPair(t, v.other())
		if renewed {
			if err := alice.manager.Renew(t.Context(), alice.jid); err != nil {
				t.Fatal(err)
			}
		}
		alice.version, bob.version = v, v
		other := impostor(t, v, bob)
		alice.bundle(t) // makes the stock
		before := alice.store.snapshot()
		msg := other.seal(t, alice, "it is me")
		for _, senders := range [][]string{{bob.jid}, {"x@example.org", bob.jid}} {
			want := ErrIdentityChanged
			if len(senders) > 1 {
				want = ErrSenderUnknown
			}
			if _, err := alice.manager.Open(t.Context(), alice.jid, senders, msg); !errors.Is(err, want) {
				t.Fatalf("error %v, want %v", err, want)
			}
		}
		bundles := map[Address]*Bundle{bob.address(): other.bundle(t)}
		_, report, err := alice.manager.Seal(t.Context(), v, alice.jid, []Address{bob.address()}, bundles, nil)
		if !errors.Is(err, ErrNoDevices) || !errors.Is(report.Skipped[0].Err, ErrIdentityChanged) {
			t.Fatalf("%+v, %v", report, err)
		}
		if _, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bundles[bob.address()]); !errors.Is(err, ErrIdentityChanged) {
			t.Fatalf("error %v, want ErrIdentityChanged", err)
		}
		alice.store.mustEqual(t, before)
		// The device itself is welcome, and known among several senders.
		opened, err := alice.manager.Open(t.Context(), alice.jid, []string{"x@example.org", bob.jid}, bob.seal(t, alice, "hello"))
		if err != nil || opened.Sender != bob.address() {
			t.Fatalf("%+v, %v", opened, err)
		}
		if opened, err := bob.open(alice, alice.seal(t, bob, "hello")); err != nil {
			t.Fatalf("%+v, %v", opened, err)
		}
		checkState(t, alice.store)
	}
}

// TestVerifiedChange: a new key that an operator has verified takes the place
// of the old one, in both versions, whoever writes first.
func TestVerifiedChange(t *testing.T) { eachVersion(t, testVerifiedChange) }

func testVerifiedChange(t *testing.T, v Version) {
	for _, how := range []string{"open", "repair", "seal"} {
		alice, bob := newPair(t, v)
		alice2, bob2 := *alice, *bob
		alice2.version, bob2.version = v.other(), v.other()
		reply(t, &alice2, &bob2)
		reply(t, &bob2, &alice2)
		other := impostor(t, v, bob)
		alice.decide(t, other, Verified)
		var err error
		switch how {
		case "open":
			opened, err := alice.open(other, other.seal(t, alice, "new telephone"))
			if err != nil || opened.Trust != Verified || opened.Identity != other.device.Identity || !opened.NewSession {
				t.Fatalf("%+v, %v", opened, err)
			}
		case "repair":
			var msg *Message
			if msg, err = alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), other.bundle(t)); err == nil {
				_, err = other.open(alice, msg)
			}
		case "seal": // with no session in this version, but with one in the other
			if err := alice.manager.Renew(t.Context(), alice.jid); err != nil {
				t.Fatal(err)
			}
			reply(t, &alice2, &bob2)
			_, err = other.open(alice, alice.seal(t, other, "hello"))
		}
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		for range 2 {
			reply(t, other, alice)
			reply(t, alice, other)
		}
		missing, err := alice.manager.Missing(t.Context(), v.other(), alice.jid, []Address{bob.address()})
		if err != nil || len(missing) != 1 {
			t.Errorf("%s: in the other version %v is missing, %v", how, missing, err)
		}
		if _, err := alice.open(bob, bob.seal(t, alice, "old telephone")); !errors.Is(err, ErrBadMAC) {
			t.Errorf("%s: the old key: error %v, want ErrBadMAC", how, err)
		}
		checkState(t, alice.store)
	}
}

// sealReport seals for parties from their bundles and says who is skipped.
func sealReport(t *testing.T, from *party, to ...*party) (report Report, err error) {
	t.Helper()
	var addresses []Address
	bundles := make(map[Address]*Bundle)
	for _, p := range to {
		addresses = append(addresses, p.address())
		bundles[p.address()] = p.bundle(t)
	}
	_, report, err = from.manager.Seal(t.Context(), from.version, from.jid, addresses, bundles, []byte("hello"))
	return report, err
}

func TestBlindBeforeVerification(t *testing.T) { eachVersion(t, testBlindBeforeVerification) }

func testBlindBeforeVerification(t *testing.T, v Version) {
	alice := newParty(t, v, "alice@example.org")
	first, second, third := newParty(t, v, "bob@example.org"), newParty(t, v, "bob@example.org"), newParty(t, v, "bob@example.org")
	carol := newParty(t, v, "carol@example.org")
	open := func(from *party, want Trust) {
		t.Helper()
		if opened, err := alice.open(from, from.seal(t, alice, "hello")); err != nil || opened.Trust != want {
			t.Fatalf("%+v, %v, want trust %v", opened, err, want)
		}
	}
	if report, err := sealReport(t, alice, first, second, carol); err != nil || len(report.Sealed) != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	open(first, Blind)
	alice.decide(t, first, Verified)
	// What was known stays trusted, what is new is not, others are not touched.
	open(first, Verified)
	open(second, Blind)
	open(third, Undecided)
	open(carol, Blind)
	report, err := sealReport(t, alice, first, second, third, carol)
	if err != nil || len(report.Sealed) != 3 || len(report.Skipped) != 1 || report.Skipped[0].Address != third.address() || !errors.Is(report.Skipped[0].Err, ErrUntrusted) {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := third.open(alice, mustEmpty(t, alice, third)); err != nil {
		t.Errorf("an undecided device gets no empty message: %v", err)
	}
	newcomer := newParty(t, v, "bob@example.org")
	if report, err = sealReport(t, alice, newcomer); !errors.Is(err, ErrNoDevices) || !errors.Is(report.Skipped[0].Err, ErrUntrusted) || len(report.Built) != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	alice.decide(t, second, Distrusted)
	alice.decide(t, third, Blind)
	open(second, Distrusted)
	open(third, Blind)
	if report, err = sealReport(t, alice, first, second, third); err != nil || len(report.Sealed) != 2 || report.Skipped[0].Address != second.address() {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, p := range []*party{first, second, third} {
		alice.decide(t, p, Undecided) // takes all back
	}
	open(second, Blind)
	if report, err = sealReport(t, alice, first, second, third, newcomer); err != nil || len(report.Sealed) != 4 {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, ok := alice.store.values[TrustKey]; ok {
		t.Error("there are decisions left")
	}
}

func mustEmpty(t *testing.T, from, to *party) *Message {
	t.Helper()
	msg, err := from.manager.SealEmpty(t.Context(), from.version, from.jid, to.address(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestVerifiedOnly(t *testing.T) { eachVersion(t, testVerifiedOnly) }

func testVerifiedOnly(t *testing.T, v Version) {
	alice := newParty(t, v, "alice@example.org")
	bob, carol, dave := newParty(t, v, "bob@example.org"), newParty(t, v, "carol@example.org"), newParty(t, v, "dave@example.org")
	alice.manager = NewManager(alice.store, Options{Trust: VerifiedOnly, Pins: map[string][]IdentityKey{dave.jid: {{}, dave.device.Identity}}})
	report, err := sealReport(t, alice, bob, carol, dave)
	if err != nil || !slices.Equal(report.Sealed, []Address{dave.address()}) || len(report.Skipped) != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	if opened, err := alice.open(bob, bob.seal(t, alice, "hello")); err != nil || opened.Trust != Undecided {
		t.Fatalf("%+v, %v", opened, err)
	}
	if opened, err := alice.open(dave, dave.seal(t, alice, "hello")); err != nil || opened.Trust != Verified {
		t.Fatalf("%+v, %v", opened, err)
	}
	// The key is trusted for its own JID only, and an operator is above a pin.
	if err := alice.manager.Decide(t.Context(), carol.jid, bob.device.Identity, Verified); err != nil {
		t.Fatal(err)
	}
	alice.decide(t, carol, Verified)
	alice.decide(t, dave, Distrusted)
	report, err = sealReport(t, alice, bob, carol, dave)
	if err != nil || !slices.Equal(report.Sealed, []Address{carol.address()}) {
		t.Fatalf("%+v, %v", report, err)
	}
}

// TestPins: a pinned key leaves other keys of the JID undecided.
func TestPins(t *testing.T) {
	alice := newParty(t, Legacy, "alice@example.org")
	bob, other := newParty(t, Legacy, "bob@example.org"), newParty(t, Legacy, "bob@example.org")
	alice.manager = NewManager(alice.store, Options{Pins: map[string][]IdentityKey{bob.jid: {bob.device.Identity}}})
	report, err := sealReport(t, alice, bob, other)
	if err != nil || !slices.Equal(report.Sealed, []Address{bob.address()}) {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := alice.manager.Known(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestKnown(t *testing.T) {
	alice, bob := newPair(t, Legacy)
	two, bob2 := *alice, *bob
	two.version, bob2.version = Two, Two
	reply(t, &two, &bob2)
	carol := newParty(t, Two, `c\2falice@example.org`)
	reply(t, carol, &two)
	second := &party{version: Legacy, jid: "a@example.org", store: alice.store, manager: alice.manager}
	var err error
	if second.device, err = alice.manager.EnsureDevice(t.Context(), second.jid); err != nil {
		t.Fatal(err)
	}
	reply(t, bob, second)
	alice.decide(t, bob, Verified)
	known, err := alice.manager.Known(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []KnownDevice{
		{second.jid, bob.address(), bob.device.Identity, Verified, []Version{Legacy}},
		{alice.jid, bob.address(), bob.device.Identity, Verified, []Version{Legacy, Two}},
		{alice.jid, carol.address(), carol.device.Identity, Blind, []Version{Two}},
	}
	if fmt.Sprint(known) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", known, want)
	}
	// Without sessions a device is only pinned.
	if err := alice.manager.Renew(t.Context(), alice.jid); err != nil {
		t.Fatal(err)
	}
	if known, err = alice.manager.Known(t.Context()); err != nil || fmt.Sprint(known) != fmt.Sprint(want[:1]) {
		t.Fatalf("%v, %v", known, err)
	}
}

func TestDecideRefuses(t *testing.T) {
	alice := newParty(t, Legacy, "alice@example.org")
	for _, err := range []error{
		alice.manager.Decide(t.Context(), "", IdentityKey{}, Verified),
		alice.manager.Decide(t.Context(), string(make([]byte, maxJID+1)), IdentityKey{}, Verified),
		alice.manager.Decide(t.Context(), "bob@example.org", IdentityKey{}, Distrusted+1),
	} {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v, want ErrMalformed", err)
		}
	}
	j := new(judge)
	for i := range maxDecisions - 1 {
		j.decide("bob@example.org", IdentityKey{byte(i), byte(i >> 8)}, Distrusted)
	}
	alice.store.values[TrustKey] = j.marshal()
	for last, want := range []error{nil, ErrState} {
		if err := alice.manager.Decide(t.Context(), "bob@example.org", IdentityKey{31: byte(last + 1)}, Distrusted); !errors.Is(err, want) {
			t.Fatalf("decision %d: error %v, want %v", maxDecisions+last, err, want)
		}
	}
	for trust, name := range []string{"undecided", "blind", "verified", "distrusted", "unknown"} {
		if got := Trust(trust).String(); got != name {
			t.Errorf("trust %d is called %q", trust, got)
		}
	}
}
