package omemo

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
)

// What a hostile peer or server sends costs memory in proportion to its size at
// most, and changes nothing.

// bounded runs f and fails if it allocates more than limit bytes.
func bounded(t *testing.T, what string, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > limit {
		t.Errorf("%s: %d bytes allocated, more than %d", what, n, limit)
	}
}

// forge seals plain under a header of our choice in the session that alice has
// with bob, as only alice herself could.
func forge(t *testing.T, alice, bob *party, change func(*header)) *Message {
	t.Helper()
	msg := alice.seal(t, bob, "hello")
	w := wireOf(alice.version)
	s, err := w.parse(msg.Keys[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	change(&s.header)
	bad := *msg
	bad.Keys = []Key{msg.Keys[0]}
	bad.Keys[0].Data = w.appendMAC(w.appendBody(nil, &s.header, s.ciphertext), 0, s.mac)
	return &bad
}

func TestHugeNumbers(t *testing.T) { eachVersion(t, testHugeNumbers) }

func testHugeNumbers(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	before := bob.store.snapshot()
	other, err := newKeyPair(&script{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*header)
		want   error
	}{
		"n":                   {func(h *header) { h.n = math.MaxUint32 }, ErrTooManySkipped},
		"n, new chain":        {func(h *header) { h.n, h.ratchet = math.MaxUint32, other.pub }, ErrTooManySkipped},
		"n and pn, new chain": {func(h *header) { h.n, h.pn, h.ratchet = maxSkip+1, math.MaxUint32, other.pub }, ErrTooManySkipped},
		"pn, new chain":       {func(h *header) { h.pn, h.ratchet = math.MaxUint32, other.pub }, ErrBadMAC},
	} {
		msg := forge(t, alice, bob, c.change)
		bounded(t, name, 64<<10, func() { _, err = bob.open(alice, msg) })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	// The greatest number that may be skipped, with a wrong MAC.
	msg := forge(t, alice, bob, func(h *header) { h.n = maxSkip - 1 })
	bounded(t, "skip", 1<<20, func() { _, err = bob.open(alice, msg) })
	if !errors.Is(err, ErrBadMAC) {
		t.Errorf("skip: error %v, want ErrBadMAC", err)
	}
	bob.store.mustEqual(t, before)
	if _, err := bob.open(alice, alice.seal(t, bob, "hello")); err != nil {
		t.Fatal(err)
	}
}

func TestManyKeys(t *testing.T) { eachVersion(t, testManyKeys) }

func testManyKeys(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	own := bob.address()
	const many = 100000
	var wide, deep strings.Builder
	for i := range many {
		fmt.Fprintf(&wide, "<key rid='%d'>QUJD</key>", i+1)
		fmt.Fprintf(&deep, "<key rid='%d'/>", own.Device)
	}
	header := func(keys string) string {
		if v == Two {
			return two("<keys jid='"+own.JID+"'>"+keys+"</keys>", "")
		}
		return element(keys, "")
	}
	var msg *Message
	var err error
	xml := []byte(header(wide.String()))
	bounded(t, "keys of others", 8<<10, func() { msg, err = ParseMessage(v, xml, Address{own.JID, many + 1}) })
	if err != nil || len(msg.Keys) != 0 {
		t.Errorf("keys of others: %v, %v", msg, err)
	}
	bounded(t, "keys of all", 4<<20, func() { _, err = ParseMessage(v, xml) })
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("keys of all: error %v, want ErrMalformed", err)
	}
	xml = []byte(header(deep.String()))
	bounded(t, "keys for one", 4<<20, func() { _, err = ParseMessage(v, xml, own) })
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("keys for one: error %v, want ErrMalformed", err)
	}

	// As many as are kept, all for us: few of them are tried.
	good := alice.seal(t, bob, "hello")
	bad := *good
	bad.Keys = make([]Key, maxKeys)
	for i := range bad.Keys {
		bad.Keys[i] = good.Keys[0]
		bad.Keys[i].Data = append(good.Keys[0].Data[:0:0], good.Keys[0].Data...)
		bad.Keys[i].Data[len(bad.Keys[i].Data)-1] ^= 1
		bad.Keys[i].PreKey = i%2 == 0
	}
	before := bob.store.snapshot()
	bounded(t, "keys tried", 256<<10, func() { _, err = bob.open(alice, &bad) })
	if err == nil {
		t.Error("altered keys open")
	}
	bob.store.mustEqual(t, before)
	senders := make([]string, many/10)
	for i := range senders {
		senders[i] = fmt.Sprint(i, "@example.org")
	}
	senders[len(senders)/2] = alice.jid
	if opened, err := bob.manager.Open(t.Context(), bob.jid, senders, good); err != nil || opened.Sender != alice.address() {
		t.Errorf("among many senders: %+v, %v", opened, err)
	}
}

func TestHugeElements(t *testing.T) { eachVersion(t, testHugeElements) }

func testHugeElements(t *testing.T, v Version) {
	alice, bob := newPair(t, v)
	const huge = 1 << 20
	data := make([]byte, huge)
	text := base64.StdEncoding.EncodeToString(data)
	before := bob.store.snapshot()
	for _, preKey := range []bool{false, true} {
		msg := &Message{Version: v, SID: alice.device.ID, Keys: []Key{{JID: bob.jid, RID: bob.device.ID, PreKey: preKey, Data: data}}, IV: make([]byte, 12)}
		var parsed *Message
		var err error
		xml := msg.AppendXML(nil)
		bounded(t, "key of 1 MB", 3*huge, func() { parsed, err = ParseMessage(v, xml, bob.address()) })
		if err != nil || len(parsed.Keys) != 1 || len(parsed.Keys[0].Data) != huge {
			t.Fatalf("key of 1 MB: %v", err)
		}
		bounded(t, "opening it", 64<<10, func() { _, err = bob.open(alice, parsed) })
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("opening it: error %v, want ErrMalformed", err)
		}
	}
	// A message that is long but well-formed, and one whose lengths lie.
	w := wireOf(v)
	var err error
	long := w.appendMAC(w.appendBody(nil, &header{}, data), 0, make([]byte, w.macLen))
	lie := binary.AppendUvarint([]byte{1<<3 | protoBytes}, math.MaxUint64)
	for what, data := range map[string][]byte{"long message": long, "lying length": lie} {
		msg := &Message{Version: v, SID: alice.device.ID, Keys: []Key{{RID: bob.device.ID, Data: data}}}
		bounded(t, what, 4*huge, func() { _, err = bob.open(alice, msg) })
		if err == nil {
			t.Errorf("%s opens", what)
		}
	}
	bob.store.mustEqual(t, before)

	names := namesOf(v)
	bundle := "<bundle xmlns='" + v.Namespace() + "'><" + names.identity + ">" + text + "</" + names.identity + "></bundle>"
	bounded(t, "bundle", 4*huge, func() { _, err = ParseBundle(v, []byte(bundle)) })
	if !errors.Is(err, ErrBundle) {
		t.Errorf("bundle: error %v, want ErrBundle", err)
	}
	for _, parse := range []func([]byte) error{
		func(xml []byte) error { _, err := ParseMessage(v, xml); return err },
		func(xml []byte) error { _, err := ParseBundle(v, xml); return err },
		func(xml []byte) error { _, err := ParseDeviceList(v, xml); return err },
		func(xml []byte) error { _, err := ParseEnvelope(xml); return err },
	} {
		deep := []byte(strings.Repeat("<a>", 100000))
		bounded(t, "deep XML", 32<<10, func() { err = parse(deep) })
		if err == nil {
			t.Error("deep XML is accepted")
		}
	}
}

func TestManyDevices(t *testing.T) { eachVersion(t, testManyDevices) }

func testManyDevices(t *testing.T, v Version) {
	ids := make([]uint32, 10000)
	for i := range ids {
		ids[i] = uint32(i + 1)
	}
	xml := AppendDeviceList(nil, v, ids...)
	var got []uint32
	var err error
	bounded(t, "device list", 32<<10, func() { got, err = ParseDeviceList(v, xml) })
	if err != nil || len(got) != maxDevices {
		t.Errorf("%d devices, %v", len(got), err)
	}
	bob := newParty(t, v, "bob@example.org")
	bundle := bob.bundle(t)
	for i := range ids {
		bundle.PreKeys = append(bundle.PreKeys, PublicPreKey{ID: uint32(i + math.MaxInt32), Key: bundle.PreKeys[0].Key})
	}
	xml = bundle.AppendXML(nil)
	bounded(t, "bundle", 2<<20, func() { bundle, err = ParseBundle(v, xml) })
	if err != nil || len(bundle.PreKeys) != maxPreKeys {
		t.Errorf("%v", err)
	}
}

// weakKeys are Curve25519 public keys that agree on zero with every private
// key, and encodings that no owner gives to a key.
func weakKeys(t *testing.T) [][32]byte {
	t.Helper()
	var v struct {
		X25519 []struct {
			Pub hexBytes
			OK  bool
		}
	}
	vectorFile(t, "kdf.json", &v)
	var weak [][32]byte
	for _, e := range v.X25519 {
		if !e.OK {
			weak = append(weak, e.Pub.key(t))
		}
	}
	some(t, len(weak))
	return weak
}

// TestWeakKeys: no key of a peer may be of small order, in any place.
func TestWeakKeys(t *testing.T) { eachVersion(t, testWeakKeys) }

func testWeakKeys(t *testing.T, v Version) {
	w := wireOf(v)
	for i, weak := range weakKeys(t) {
		alice, bob := newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
		id, err := unmarshalIdentity(alice.store.values[alice.manager.book(v, alice.jid).identityKey()])
		if err != nil {
			t.Fatal(err)
		}
		// In a bundle, signed by its owner.
		good := alice.bundle(t)
		signature, err := id.sign(&script{}, w.appendKey(nil, &weak))
		if err != nil {
			t.Fatal(err)
		}
		signed, one, identity := *good, *good, *good
		signed.SignedPreKey.Key, signed.Signature = weak, signature
		one.PreKeys = []PublicPreKey{{1, weak}}
		identity.identity = weak
		for name, b := range map[string]*Bundle{"signed prekey": &signed, "prekey": &one, "identity": &identity} {
			parsed, err := ParseBundle(v, b.AppendXML(nil))
			if err == nil {
				_, err = bob.manager.SealEmpty(t.Context(), v, bob.jid, alice.address(), parsed)
			}
			if !errors.Is(err, ErrBundle) {
				t.Errorf("key %d, %s in a bundle: error %v, want ErrBundle", i, name, err)
			}
		}
		// In a key exchange, and in its message.
		msg := alice.seal(t, bob, "hello")
		before := bob.store.snapshot()
		for name, change := range map[string]func(*exchange){
			"base":     func(x *exchange) { x.base = weak },
			"identity": func(x *exchange) { x.identity = weak },
			"ratchet": func(x *exchange) {
				s, err := w.parse(x.message)
				if err != nil {
					t.Fatal(err)
				}
				s.ratchet = weak
				x.message = w.appendMAC(w.appendBody(nil, &s.header, s.ciphertext), 0, s.mac)
			},
		} {
			x := exchangeOf(t, v, &msg.Keys[0])
			change(&x)
			bad := *msg
			bad.Keys = []Key{{JID: bob.jid, RID: bob.device.ID, PreKey: true, Data: w.appendExchange(nil, &x)}}
			if _, err := bob.open(alice, &bad); !errors.Is(err, ErrMalformed) {
				t.Errorf("key %d, %s in an exchange: error %v, want ErrMalformed", i, name, err)
			}
		}
		bob.store.mustEqual(t, before)
	}
}

// TestIdentityForms: an identity key has one encoding in each version, and is a
// point of the group that its owner's keys are in.
func TestIdentityForms(t *testing.T) {
	p, err := newKeyPair(&script{})
	if err != nil {
		t.Fatal(err)
	}
	high := p.pub
	high[31] |= 0x80 // X25519 ignores the bit
	if legacyIdentity(&p.pub) != nil || legacyIdentity(&high) == nil {
		t.Error("legacy: the top bit does not matter")
	}
	ed, err := edwardsForm(&p.pub, 0)
	if err != nil || twoIdentity(&ed) != nil {
		t.Fatalf("%v", err)
	}
	one := [32]byte{1} // (0, 1), the neutral point
	negative := one    // with -0 for x
	negative[31] |= 0x80
	big := [32]byte(bytes.Repeat([]byte{0xFF}, 32)) // 1 as p + 1
	big[0], big[31] = 0xEE, 0x7F
	var off [32]byte // not on the curve
	for off[0] = 2; twoIdentity(&off) != errNotAPoint; off[0]++ {
	}
	for _, bad := range [][32]byte{{}, one, negative, big, off} {
		if twoIdentity(&bad) == nil {
			t.Errorf("identity key %x is accepted", bad)
		}
	}
}

// TestMadeUpDevices: there is an end to the devices that somebody makes up, and
// those that are sealed for are not forgotten for new ones.
func TestMadeUpDevices(t *testing.T) {
	bob, store := newParty(t, Legacy, "bob@example.org"), newMapStore()
	bob.store, bob.manager = store, NewManager(store, Options{})
	b := bob.manager.book(Legacy, bob.jid)
	const devices = 20 * maxOfJID
	for i := range uint32(devices) {
		b.values, b.pages, b.put = nil, nil, make(map[string][]byte)
		a := Address{"mallory@example.org", i + 1}
		found, err := b.locate(t.Context(), nil, map[Address]struct{}{a: {}})
		if err != nil || len(found) > 0 {
			t.Fatal(found, err)
		}
		p, err := b.insert(a, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.keep(p, &record{sessions: []*session{{}}})
		if err := b.save(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	records, slots := 0, 0
	for key, value := range store.values {
		if strings.Contains(key, "/record/") {
			records++
		}
		if strings.Contains(key, "/send/") {
			var p page
			if err := p.unmarshalSend(value); err != nil {
				t.Fatal(err)
			}
			for i := range p.slots {
				if p.slots[i].address.JID != "" {
					slots++
				}
			}
		}
	}
	if records != maxOfJID || slots != records {
		t.Errorf("%d records and %d places on pages for %d devices", records, slots, devices)
	}
	// All that are there are being sealed for.
	b.values, b.pages, b.put = nil, nil, make(map[string][]byte)
	found := make(map[Address]place)
	if _, err := b.locate(t.Context(), nil, map[Address]struct{}{{"mallory@example.org", devices + 1}: {}}); err != nil {
		t.Fatal(err)
	}
	for i, s := range b.pages[""].slots {
		found[s.address] = place{b.pages[""], i}
	}
	if _, err := b.insert(Address{"mallory@example.org", devices + 1}, found); !errors.Is(err, ErrTooManyDevices) {
		t.Errorf("one more: %v", err)
	}
	if _, err := b.insert(Address{"other@example.org", 1}, found); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
}
