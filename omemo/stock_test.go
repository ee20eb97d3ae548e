package omemo

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// clock lets a party's time pass.
func (p *party) clock() (pass func(time.Duration)) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p.manager = NewManager(p.store, Options{Now: func() time.Time { return now }})
	return func(d time.Duration) { now = now.Add(d) }
}

// stock reads a party's prekeys.
func (p *party) stock(t testing.TB) *stock {
	t.Helper()
	st, err := unmarshalStock(p.store.values[p.manager.book(p.version, p.jid).stockKey()])
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (p *party) preKeys(t testing.TB) (keys []preKey) {
	t.Helper()
	st := p.stock(t)
	for i := range st.preKeys.count() {
		keys = append(keys, st.preKeys.at(i))
	}
	return keys
}

// TestSignedPreKeyLife: a signed prekey is offered for a week, and opens key
// exchanges of peers that were offline for 30 days more.
func TestSignedPreKeyLife(t *testing.T) { eachVersion(t, testSignedPreKeyLife) }

func testSignedPreKeyLife(t *testing.T, v Version) {
	bob := newParty(t, v, "bob@example.org")
	pass := bob.clock()
	first := bob.bundle(t)
	used := make(map[uint32]bool)
	exchange := func(b *Bundle) error { // of a device that has held the bundle since
		alice := newParty(t, v, "alice@example.org")
		fresh := *b
		i := slices.IndexFunc(b.PreKeys, func(k PublicPreKey) bool { return !used[k.ID] })
		fresh.PreKeys = b.PreKeys[i : i+1]
		used[fresh.PreKeys[0].ID] = true
		msg, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), &fresh)
		if err != nil {
			t.Fatal(err)
		}
		_, err = bob.open(alice, msg)
		return err
	}
	pass(signedLife - time.Second)
	if b := bob.bundle(t); b.SignedPreKey != first.SignedPreKey {
		t.Fatal("renewed too early")
	}
	pass(time.Second)
	second := bob.bundle(t)
	if second.SignedPreKey.ID != first.SignedPreKey.ID+1 || second.SignedPreKey.Key == first.SignedPreKey.Key {
		t.Fatalf("signed prekey %d after %d", second.SignedPreKey.ID, first.SignedPreKey.ID)
	}
	if b, err := ParseBundle(v, second.AppendXML(nil)); err != nil || b.Signature != second.Signature {
		t.Fatalf("%+v, %v", b, err)
	}
	if err := errors.Join(exchange(first), exchange(second)); err != nil {
		t.Fatal(err)
	}
	pass(signedGrace - time.Second)
	third := bob.bundle(t)
	for _, b := range []*Bundle{first, second, third} {
		if err := exchange(b); err != nil {
			t.Fatal(err)
		}
	}
	pass(time.Second)
	bob.bundle(t)
	if err := exchange(first); !errors.Is(err, ErrPreKeyUnknown) {
		t.Fatalf("after its grace: error %v, want ErrPreKeyUnknown", err)
	}
	if err := exchange(second); err != nil {
		t.Fatal(err)
	}
	// Whoever is never asked for a bundle renews on opening a key exchange.
	pass(signedLife)
	if err := exchange(third); err != nil {
		t.Fatal(err)
	}
	if st := bob.stock(t); st.signed[len(st.signed)-1].id != third.SignedPreKey.ID+1 {
		t.Fatal("not renewed")
	}
	checkState(t, bob.store)
}

// TestStockRunsDry: every prekey of a bundle is used up at once; each opens one
// session, once, and new ones with new ids are offered.
func TestStockRunsDry(t *testing.T) { eachVersion(t, testStockRunsDry) }

func testStockRunsDry(t *testing.T, v Version) {
	bob := newParty(t, v, "bob@example.org")
	bundle := bob.bundle(t)
	mallory := newParty(t, v, "mallory@example.org")
	seen := make(map[uint32]bool)
	note := func() {
		keys := bob.preKeys(t)
		for _, k := range keys {
			seen[k.id] = true
		}
		if len(keys) != fullStock {
			t.Fatalf("%d prekeys", len(keys))
		}
	}
	note()
	for range offered {
		alice := newParty(t, v, "alice@example.org")
		to := map[Address]*Bundle{bob.address(): bundle}
		msg, report, err := alice.manager.Seal(t.Context(), v, alice.jid, []Address{bob.address()}, to, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		bundle = bundle.Without(report.Built[0].PreKey)
		if opened, err := bob.open(alice, msg); err != nil || !opened.BundleChanged {
			t.Fatalf("%+v, %v", opened, err)
		}
		note()
		again := *bob.bundle(t)
		again.PreKeys = []PublicPreKey{{ID: report.Built[0].PreKey, Key: again.PreKeys[0].Key}}
		msg, err = mallory.manager.SealEmpty(t.Context(), v, mallory.jid, bob.address(), &again)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.open(mallory, msg); !errors.Is(err, ErrPreKeyUnknown) {
			t.Fatalf("error %v, want ErrPreKeyUnknown", err)
		}
	}
	if len(bundle.PreKeys) != 0 || len(seen) != fullStock+offered {
		t.Fatalf("%d prekeys left, %d ids", len(bundle.PreKeys), len(seen))
	}
}

// TestBundlesDiffer: who asks at the same time is seldom offered the same.
func TestBundlesDiffer(t *testing.T) {
	bob := newParty(t, Two, "bob@example.org")
	count := make(map[uint32]int)
	for range 60 {
		b := bob.bundle(t)
		once := make(map[uint32]bool)
		for _, k := range b.PreKeys {
			once[k.ID] = true
			count[k.ID]++
		}
		if len(once) != offered {
			t.Fatalf("%d prekeys offered", len(once))
		}
	}
	for id, n := range count { // 20 of 60 are usual; all 60 would be one in 10^28
		if n > 50 {
			t.Errorf("prekey %d is in %d bundles", id, n)
		}
	}
	if len(count) != fullStock {
		t.Errorf("%d prekeys were ever offered", len(count))
	}
}

// TestRenew: after a database was restored, nothing that may have been used
// beyond the copy is used again, but who is who is known.
func TestRenew(t *testing.T) { eachVersion(t, testRenew) }

func testRenew(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	before := bob.bundle(t)
	copied := bob.store.snapshot()
	lost := alice.seal(t, bob, "read before the loss")
	if _, err := bob.open(alice, lost); err != nil {
		t.Fatal(err)
	}
	clear(bob.store.values)
	for key, value := range copied {
		bob.store.values[key] = []byte(value)
	}
	if err := bob.manager.Renew(t.Context(), bob.jid); err != nil {
		t.Fatal(err)
	}
	if dev, err := bob.manager.Device(t.Context(), bob.jid); err != nil || dev != bob.device {
		t.Fatalf("%+v, %v", dev, err)
	}
	after := bob.bundle(t)
	if after.SignedPreKey.ID == before.SignedPreKey.ID || after.Identity != before.Identity ||
		slices.ContainsFunc(after.PreKeys, func(k PublicPreKey) bool {
			return slices.ContainsFunc(before.PreKeys, func(old PublicPreKey) bool { return old.ID == k.ID || old.Key == k.Key })
		}) {
		t.Fatal("old prekeys are offered again")
	}
	if _, err := bob.open(alice, lost); !errors.Is(err, ErrNoSession) {
		t.Fatalf("error %v, want ErrNoSession", err)
	}
	// One exchange heals it: bob begins anew, alice answers in that session.
	msg, err := bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), alice.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := alice.open(bob, msg); err != nil || !opened.NewSession {
		t.Fatalf("%+v, %v", opened, err)
	}
	reply(t, alice, bob)
	reply(t, bob, alice)
	if _, err := bob.open(impostor(t, v, alice), impostor(t, v, alice).seal(t, bob, "hello")); !errors.Is(err, ErrIdentityChanged) {
		t.Fatalf("error %v, want ErrIdentityChanged", err)
	}
	checkState(t, bob.store)
	if err := bob.manager.Renew(t.Context(), "nobody@example.org"); !errors.Is(err, ErrNoOwnDevice) {
		t.Fatalf("error %v, want ErrNoOwnDevice", err)
	}
}

// TestPeerRestored: a peer comes back from an old copy of its state. Its
// messages are duplicates to us until it has begun anew.
func TestPeerRestored(t *testing.T) { eachVersion(t, testPeerRestored) }

func testPeerRestored(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	reply(t, alice, bob)
	copied := alice.store.snapshot()
	for range 5 {
		reply(t, alice, bob)
	}
	for key, value := range copied {
		alice.store.values[key] = []byte(value)
	}
	if _, err := bob.open(alice, alice.seal(t, bob, "again")); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("error %v, want ErrDuplicate", err)
	}
	// What bob has said since is lost to alice; she repairs the session.
	msg, err := alice.manager.SealEmpty(t.Context(), v, alice.jid, bob.address(), bob.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.open(alice, msg); err != nil {
		t.Fatal(err)
	}
	reply(t, bob, alice)
	reply(t, alice, bob)
}

// TestWrongClock: a clock that was far ahead, or jumps about, neither keeps an
// old signed prekey nor lets them pile up.
func TestWrongClock(t *testing.T) {
	bob := newParty(t, Legacy, "bob@example.org")
	pass := bob.clock()
	const year = 365 * 24 * time.Hour
	first := bob.bundle(t)
	pass(10 * year)
	ahead := bob.bundle(t)
	pass(-10 * year)
	back := bob.bundle(t)
	if ahead.SignedPreKey == first.SignedPreKey || back.SignedPreKey == ahead.SignedPreKey {
		t.Error("a signed prekey is not renewed")
	}
	if again := bob.bundle(t); again.SignedPreKey != back.SignedPreKey {
		t.Error("it is renewed again and again")
	}
	for range 50 {
		pass(signedLife)
		bob.bundle(t)
	}
	if n := len(bob.stock(t).signed); n > maxSigned {
		t.Errorf("%d signed prekeys", n)
	}
}
