package omemo

import (
	"bytes"
	"context"
	"encoding/base64"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// Every parser of remote or stored input is fuzzed: it must not panic, and what
// it accepts must survive being written and read again. The seeds come from
// the vectors.

func seedStanzas(f *testing.F) []string {
	var all []struct{ Version, Stanza string }
	vectorFile(f, "stanzas.json", &all)
	var out []string
	for _, e := range all {
		out = append(out, e.Stanza)
	}
	return out
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range seedStanzas(f) {
		f.Add([]byte(s))
	}
	f.Add([]byte("<o:encrypted xmlns:o='eu.siacs.conversations.axolotl'><o:header sid='&#49;'><o:key rid='2'><![CDATA[AAAA]]></o:key></o:header></o:encrypted>"))
	f.Fuzz(func(t *testing.T, xml []byte) {
		for v := range Version(versions) {
			fuzzMessage(t, v, xml)
		}
	})
}

func fuzzMessage(t *testing.T, v Version, xml []byte) {
	msg, err := ParseMessage(v, xml)
	if err != nil {
		return
	}
	again, err := ParseMessage(v, msg.AppendXML(nil))
	if err != nil {
		t.Fatal(err)
	}
	for i := range msg.Keys {
		if msg.Keys[i].Data == nil { // written as an empty key
			msg.Keys[i].Data = []byte{}
		}
	}
	if !reflect.DeepEqual(msg, again) {
		t.Fatalf("%+v, came back as %+v", msg, again)
	}
	for _, k := range msg.Keys {
		own := Address{k.JID, k.RID}
		one, err := ParseMessage(v, xml, own)
		want := slices.DeleteFunc(slices.Clone(msg.Keys), func(k Key) bool { return !k.IsFor(own) })
		if err != nil || len(one.Keys) != len(want) {
			t.Fatalf("for one device: %+v, %v; want %+v", one, err, want)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	var v struct{ Bundles []struct{ XML string } }
	vectorFile(f, "bundles.json", &v)
	for _, e := range v.Bundles {
		f.Add([]byte(e.XML))
	}
	f.Fuzz(func(t *testing.T, xml []byte) {
		for v := range Version(versions) {
			b, err := parseBundle(wireOf(v), xml) // without the signature, which a fuzzer cannot make
			if err != nil {
				continue
			}
			again, err := parseBundle(wireOf(v), b.AppendXML(nil))
			if err != nil || !reflect.DeepEqual(b, again) {
				t.Fatalf("%+v, came back as %+v, %v", b, again, err)
			}
			if b, err := ParseBundle(v, xml); err == nil && len(b.PreKeys) == 0 {
				t.Fatal("a bundle without prekeys is accepted")
			}
		}
	})
}

func FuzzParseDeviceList(f *testing.F) {
	var v struct {
		Lists []struct{ XML string } `json:"device_lists"`
	}
	vectorFile(f, "bundles.json", &v)
	for _, e := range v.Lists {
		f.Add([]byte(e.XML))
	}
	f.Add([]byte("<items><item id='1'><list xmlns='eu.siacs.conversations.axolotl'><device id='1'/></list></item><item id='current'><list xmlns='eu.siacs.conversations.axolotl'/></item></items>"))
	f.Fuzz(func(t *testing.T, xml []byte) {
		for v := range Version(versions) {
			ids, err := ParseDeviceList(v, xml)
			if err != nil {
				continue
			}
			again, err := ParseDeviceList(v, AppendDeviceList(nil, v, ids...))
			if err != nil || !slices.Equal(ids, again) || len(ids) > maxDevices {
				t.Fatalf("%v, came back as %v, %v", ids, again, err)
			}
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	var all []struct{ Envelope string }
	vectorFile(f, "stanzas.json", &all)
	for _, e := range all {
		f.Add([]byte(e.Envelope))
	}
	f.Add([]byte("<?xml version='1.0'?><e:envelope xmlns:e='urn:xmpp:sce:1' xmlns='urn:a'><e:content><b a='&lt;'/><o:opt-out xmlns:o='urn:xmpp:omemo:2'/></e:content></e:envelope>"))
	f.Fuzz(func(t *testing.T, xml []byte) {
		e, err := ParseEnvelope(xml)
		if err != nil {
			return
		}
		written, err := AppendEnvelope(nil, &script{}, e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseEnvelope(written)
		if err != nil || e.Time.IsZero() != again.Time.IsZero() || e.Time.Unix() != again.Time.Unix() {
			t.Fatalf("%+v, came back as %+v, %v", e, again, err)
		}
		e.Time, e.OptOut, e.OptOutReason = again.Time, false, ""
		if len(e.Content) == 0 {
			e.Content = nil
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v, came back as %+v", e, again)
		}
	})
}

func seedWires(f *testing.F, v Version, kex bool) {
	var all []transcript
	vectorFile(f, map[Version]string{Legacy: "sessions_legacy.json", Two: "sessions_v2.json"}[v], &all)
	for _, tr := range all {
		for _, s := range tr.Steps {
			if data, err := base64.StdEncoding.DecodeString(s.Wire); err == nil && s.Kex == kex {
				f.Add(data)
			}
		}
	}
}

func FuzzLegacyMessage(f *testing.F)  { fuzzWire(f, Legacy) }
func FuzzTwoMessage(f *testing.F)     { fuzzWire(f, Two) }
func FuzzLegacyExchange(f *testing.F) { fuzzExchange(f, Legacy) }
func FuzzTwoExchange(f *testing.F)    { fuzzExchange(f, Two) }

func fuzzWire(f *testing.F, v Version) {
	seedWires(f, v, false)
	w := wireOf(v)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := w.parse(data)
		if err != nil {
			return
		}
		again, err := w.parse(w.appendMAC(w.appendBody(nil, &s.header, s.ciphertext), 0, s.mac))
		if err != nil || again.header != s.header || !bytes.Equal(again.ciphertext, s.ciphertext) || !bytes.Equal(again.mac, s.mac) {
			t.Fatalf("%+v, came back as %+v, %v", s, again, err)
		}
	})
}

func fuzzExchange(f *testing.F, v Version) {
	seedWires(f, v, true)
	w := wireOf(v)
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := w.parseExchange(data)
		if err != nil || !x.hasPreKey {
			return
		}
		again, err := w.parseExchange(w.appendExchange(nil, &x))
		if x.message == nil {
			x.message = []byte{}
		}
		if err != nil || !reflect.DeepEqual(x, again) {
			t.Fatalf("%+v, came back as %+v, %v", x, again, err)
		}
	})
}

// FuzzOpen and FuzzOpenTwo open anything as a key: the state changes on success
// only.
func FuzzOpen(f *testing.F)    { fuzzOpen(f, Legacy) }
func FuzzOpenTwo(f *testing.F) { fuzzOpen(f, Two) }

func fuzzOpen(f *testing.F, v Version) {
	alice, bob := newPair(f, v)
	saved := maps.Clone(bob.store.values)
	for _, anew := range []bool{false, true} {
		msg := alice.seal(f, bob, "hello")
		if anew {
			var err error
			if msg, err = alice.manager.SealEmpty(context.Background(), v, alice.jid, bob.address(), bob.bundle(f)); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(msg.Keys[0].Data, anew)
	}
	f.Fuzz(func(t *testing.T, data []byte, kex bool) {
		bob.store.restore(saved)
		before := bob.store.snapshot()
		key := Key{RID: bob.device.ID, PreKey: kex, Data: data}
		if _, err := bob.open(alice, &Message{Version: v, SID: alice.device.ID, Keys: []Key{key}}); err != nil {
			bob.store.mustEqual(t, before)
		}
		checkState(t, bob.store)
	})
}

// FuzzState decodes anything as each kind of stored value.
func FuzzState(f *testing.F) {
	kinds := []string{"device", "stock", "send", "hot", "ratchet", "record"}
	alice, bob := newPair(f, Legacy)
	reply(f, alice, bob)
	for _, v := range bob.store.values {
		for i := range kinds {
			f.Add(v, byte(i))
		}
	}
	ratchet := (&session{}).marshalRatchet()
	f.Fuzz(func(t *testing.T, value []byte, kind byte) {
		name := kinds[int(kind)%len(kinds)]
		s := newMapStore()
		s.values["/ratchet/"] = ratchet
		empty := &page{slots: make([]sendSlot, 1)}
		s.values["/send/"] = empty.marshalSend()
		again, err := remarshal(s, name, "", "/"+name+"/", value)
		if err != nil {
			return
		}
		// Unused bits of flags are not kept, so compare what was understood.
		third, err := remarshal(s, name, "", "/"+name+"/", again)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%s: %x, came back as %x, %v", name, again, third, err)
		}
	})
}

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "QQ==", "QQ", "Q Q\n=\t=", "QUI=", "====", "Q"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		data, err := decodeBase64(text)
		if err != nil {
			return
		}
		if data == nil {
			t.Fatal("nil without error")
		}
		again, err := decodeBase64([]byte(base64.StdEncoding.EncodeToString(data)))
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x, came back as %x, %v", data, again, err)
		}
	})
}

func FuzzFingerprint(f *testing.F) {
	var v struct {
		Fingerprints []struct {
			Wire         string `json:"legacy_wire"`
			Display, URI string
		}
	}
	vectorFile(f, "misc.json", &v)
	for _, e := range v.Fingerprints {
		f.Add(e.Wire)
		f.Add(e.Display)
		f.Add(e.URI)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if key, err := ParseFingerprint(s); err == nil {
			if again, err := ParseFingerprint(key.Fingerprint()); err != nil || again != key {
				t.Fatalf("%x, came back as %x, %v", key, again, err)
			}
		}
		jid, keys, err := ParseURI(s)
		if err != nil {
			return
		}
		for device, key := range keys {
			if device == 0 {
				continue
			}
			againJID, again, err := ParseURI(URI(Address{jid, device}, key))
			if err != nil || againJID != jid || again[device] != key {
				t.Fatalf("%q %x, came back as %q %v, %v", jid, key, againJID, again, err)
			}
		}
	})
}
