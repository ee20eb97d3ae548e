package omemo

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// two makes an <encrypted/> element of OMEMO 2 from what its header and it
// contain.
func two(header, rest string) string {
	return "<encrypted xmlns='" + NamespaceTwo + "'><header sid='7'>" + header + "</header>" + rest + "</encrypted>"
}

func TestParseMessageTwo(t *testing.T) {
	const (
		a = "<keys jid='a@example.org'><key rid='1'>QUJD</key><key rid='2' kex='true'>REVG</key></keys>"
		b = "<keys jid='b&apos;@example.org'><key rid='1' kex='false'>R0hJ</key></keys>"
		x = "<payload>WA==</payload>"
	)
	want := fmt.Sprint(&Message{Version: Two, SID: 7, Payload: []byte("X"), Keys: []Key{
		{JID: "a@example.org", RID: 1, Data: []byte("ABC")},
		{JID: "a@example.org", RID: 2, PreKey: true, Data: []byte("DEF")},
		{JID: "b'@example.org", RID: 1, Data: []byte("GHI")},
	}})
	for name, xml := range map[string]string{
		"usual":        two(a+b, x),
		"1 and 0":      two(strings.Replace(a, "true", "1", 1)+strings.Replace(b, "false", "0", 1), x),
		"in a stanza":  "<message xmlns='jabber:client'>" + two(a+b, x) + "<store xmlns='urn:xmpp:hints'/></message>",
		"other parts":  two("<iv>QUJD</iv><key rid='1'>QUJD</key><keys><key rid='1'>QUJD</key></keys>"+a+"<x/>"+strings.Replace(b, "</keys>", "<x/><key>QUJD</key></keys>", 1), x),
		"both at once": "<message>" + element("<key rid='1'>QUJD</key>"+testIV, x) + two(a+b, x) + "</message>",
	} {
		msg, err := ParseMessage(Two, []byte(xml))
		if err != nil || fmt.Sprint(msg) != want {
			t.Errorf("%s: %+v, %v", name, msg, err)
		}
		if again, err := ParseMessage(Two, msg.AppendXML(nil)); err != nil || fmt.Sprint(again) != want {
			t.Errorf("%s comes back as %+v, %v", name, again, err)
		}
		msg, err = ParseMessage(Two, []byte(xml), Address{"A@Example.org", 1}, Address{"a@example.org", 3}, Address{"c@example.org", 1})
		if err != nil || len(msg.Keys) != 1 || string(msg.Keys[0].Data) != "ABC" {
			t.Errorf("%s, for one device: %+v, %v", name, msg, err)
		}
	}
	for name, xml := range map[string]string{
		"two headers":    strings.Replace(two(a, x), "<header", "<header sid='1'/><header", 1),
		"two payloads":   two(a, x+x),
		"two elements":   "<message>" + two(a, x) + two(a, x) + "</message>",
		"no sid":         strings.Replace(two(a, x), "sid='7'", "", 1),
		"payload is bad": two(a, "<payload>W</payload>"),
		"too many keys":  two("<keys jid='a@b'>"+strings.Repeat("<key rid='1'/>", maxKeys+1)+"</keys>", x),
	} {
		if _, err := ParseMessage(Two, []byte(xml)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
	if _, err := ParseMessage(Two, []byte(element("", ""))); !errors.Is(err, ErrNotEncrypted) {
		t.Errorf("legacy: error %v, want ErrNotEncrypted", err)
	}
}

// TestKeysOfTwo: a device id means something together with its JID only, and
// the keys of a JID stand together.
func TestKeysOfTwo(t *testing.T) {
	alice := newParty(t, Two, "alice@example.org")
	var to []Address
	bundles := make(map[Address]*Bundle)
	bob := newParty(t, Two, "bob@example.org")
	for _, jid := range []string{"carol@example.org", bob.jid, "carol@example.org", bob.jid} {
		a := Address{jid, uint32(len(to) + 1)}
		if len(to) == 1 {
			a = bob.address()
		}
		to = append(to, a)
		bundles[a] = bob.bundle(t)
	}
	same := Address{"dave@example.org", bob.device.ID}
	to, bundles[same] = append(to, same), newParty(t, Two, same.JID).bundle(t)
	msg, _, err := alice.manager.Seal(t.Context(), Two, alice.jid, to, bundles, []byte("hello"))
	if err != nil || len(msg.Keys) != len(to) {
		t.Fatalf("%+v, %v", msg, err)
	}
	if n := strings.Count(string(msg.AppendXML(nil)), "<keys "); n != 3 {
		t.Errorf("keys in %d groups", n)
	}
	if opened, err := bob.open(alice, msg); err != nil || string(opened.Plain) != "hello" {
		t.Fatalf("%+v, %v", opened, err)
	}
	msg.Keys = slices.DeleteFunc(msg.Keys, func(k Key) bool { return k.JID == bob.jid })
	if _, err := bob.open(alice, msg); !errors.Is(err, ErrNotForUs) {
		t.Fatalf("error %v, want ErrNotForUs", err)
	}
}

// flipSign gives a party's identity key the other sign bit, as software has it
// that derives the key in another way.
func flipSign(t *testing.T, p *party) {
	t.Helper()
	key := p.manager.book(Two, p.jid).identityKey()
	id, err := unmarshalIdentity(p.store.values[key])
	if err != nil {
		t.Fatal(err)
	}
	id.ed[31] ^= 0x80
	clear(p.store.values)
	p.store.values[key] = id.marshal()
}

// TestSignBit: a remote identity key keeps the sign bit that it came with; with
// another one it is the same key, to be met anew.
func TestSignBit(t *testing.T) {
	for _, initiates := range []bool{true, false} {
		alice, bob := newParty(t, Two, "alice@example.org"), newParty(t, Two, "bob@example.org")
		talk := func() {
			t.Helper()
			ends := []*party{alice, bob}
			if !initiates {
				ends = []*party{bob, alice}
			}
			for range 3 {
				opened, err := ends[1].open(ends[0], ends[0].seal(t, ends[1], "hello"))
				if err != nil || opened.Identity != ends[0].device.Identity {
					t.Fatalf("%+v, %v", opened, err)
				}
				slices.Reverse(ends)
			}
		}
		talk()
		flipSign(t, alice)
		msg, err := alice.manager.SealEmpty(t.Context(), Two, alice.jid, bob.address(), bob.bundle(t))
		if err != nil {
			t.Fatal(err)
		}
		before := bob.store.snapshot()
		bad := *msg
		bad.Keys = []Key{msg.Keys[0]}
		x := exchangeOf(t, Two, &bad.Keys[0])
		x.identity[31] ^= 0x80
		bad.Keys[0].Data = appendTwoExchange(nil, &x)
		if _, err := bob.open(alice, &bad); !errors.Is(err, ErrBadMAC) {
			t.Fatalf("altered sign: error %v, want ErrBadMAC", err)
		}
		bob.store.mustEqual(t, before)
		if opened, err := bob.open(alice, msg); err != nil || !opened.NewSession || opened.Identity != alice.device.Identity {
			t.Fatalf("%+v, %v", opened, err)
		}
		talk()
		flipSign(t, alice)
		if err := bob.manager.Renew(t.Context(), bob.jid); err != nil {
			t.Fatal(err)
		}
		talk()
		checkState(t, bob.store)
	}
}

// TestBothVersions: one device has sessions of both versions, which do not
// touch each other, and the same identity key in both.
func TestBothVersions(t *testing.T) {
	alice, bob := newPair(t, Legacy)
	alice2, bob2 := *alice, *bob
	alice2.version, bob2.version = Two, Two
	for i := range 4 {
		ends := [][2]*party{{alice, bob}, {&alice2, &bob2}, {bob, alice}, {&bob2, &alice2}}[i]
		text := fmt.Sprint("message ", i)
		opened, err := ends[1].open(ends[0], ends[0].seal(t, ends[1], text))
		if err != nil || string(opened.Plain) != text || opened.Identity != ends[0].device.Identity || opened.Sender != ends[0].address() {
			t.Fatalf("%+v, %v", opened, err)
		}
	}
	legacy, two := bob.bundle(t), bob2.bundle(t)
	if legacy.Identity != two.Identity || legacy.SignedPreKey == two.SignedPreKey || two.identity[31]>>7 != 0 {
		t.Errorf("bundles %+v and %+v", legacy, two)
	}
	if _, err := alice.manager.SealEmpty(t.Context(), Two, alice.jid, Address{"bob@example.org", 5}, legacy); !errors.Is(err, ErrBundle) {
		t.Errorf("a legacy bundle for OMEMO 2: %v", err)
	}
	if err := alice.manager.Forget(t.Context(), alice.jid, bob.address()); err != nil {
		t.Fatal(err)
	}
	for v := range Version(versions) {
		missing, err := alice.manager.Missing(t.Context(), v, alice.jid, []Address{bob.address()})
		if err != nil || len(missing) != 1 {
			t.Errorf("%v: missing %v, %v", v, missing, err)
		}
	}
	checkState(t, alice.store)
	checkState(t, bob.store)
}

// TestOldDevice: a device stored before there was OMEMO 2 has the form of its
// key that is needed there.
func TestOldDevice(t *testing.T) {
	alice, bob := newParty(t, Two, "alice@example.org"), newParty(t, Two, "bob@example.org")
	key := alice.manager.book(Two, alice.jid).identityKey()
	want := bytes.Clone(alice.store.values[key])
	alice.store.values = maps.Clone(map[string][]byte{key: want[:len(want)-32]})
	id, err := unmarshalIdentity(alice.store.values[key])
	if err != nil || !bytes.Equal(id.marshal(), want) {
		t.Fatalf("%+v, %v", id, err)
	}
	for range 2 {
		reply(t, alice, bob)
		reply(t, bob, alice)
	}
}

func TestVersions(t *testing.T) {
	for v := range Version(versions) {
		if got, err := ParseVersion(v.String()); err != nil || got != v {
			t.Errorf("%v is read as %v, %v", v, got, err)
		}
		if v.other() == v || v.other().other() != v {
			t.Errorf("the other version of %v is %v", v, v.other())
		}
	}
	if _, err := ParseVersion("2"); !errors.Is(err, ErrVersion) {
		t.Errorf("error %v, want ErrVersion", err)
	}
}
