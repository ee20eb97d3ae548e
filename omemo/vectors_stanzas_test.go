package omemo

import (
	"bytes"
	"encoding/xml"
	"errors"
	"testing"
)

func TestVectorsStanzas(t *testing.T) {
	var all []struct {
		Name, Version string
		Sender        string   `json:"sender_bare_jid"`
		SenderCurve   hexBytes `json:"sender_identity_curve25519_pub"`
		SenderEd      hexBytes `json:"sender_identity_ed25519_pub"`
		Bob           vectorParty
		BobDeviceID   uint32 `json:"bob_device_id"`
		Stanza        string
		Expect        string
		KeyMaterial   hexBytes `json:"key_material"`
		Plaintext     string
		Envelope      string
		Before        []struct {
			X3DH           vectorSecret
			Plaintext      hexBytes
			NewRatchetPriv hexBytes `json:"new_ratchet_priv"`
			Wire           string
		}
	}
	vectorFile(t, "stanzas.json", &all)
	var n [versions]int
	for _, e := range all {
		v := vectorVersion(t, e.Version)
		n[v]++
		t.Run(e.Name, func(t *testing.T) {
			msg, err := ParseMessage(v, []byte(e.Stanza), Address{e.Bob.JID, e.BobDeviceID})
			if e.Expect == "malformed" {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("error %v, want ErrMalformed", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			alice := &vectorParty{JID: e.Sender, DeviceID: msg.SID, IdentityCurve: e.SenderCurve, IdentityEd: e.SenderEd}
			e.Bob.DeviceID = e.BobDeviceID
			p := newPlayer(t, v, &e.Bob, alice)
			for _, before := range e.Before {
				p.buildFromSecret(&before.X3DH, before.NewRatchetPriv)
				key := p.encrypt(nil, before.Plaintext)
				p.compareWire(key.Data, unbase64(t, before.Wire), true)
			}
			opened, err := p.manager.Open(t.Context(), e.Bob.JID, []string{e.Sender}, msg)
			switch e.Expect {
			case "ok":
				want := e.Plaintext
				if v == Two {
					want = e.Envelope
				}
				if err != nil || string(opened.Plain) != want || opened.Plain == nil {
					t.Fatalf("%q, %v", opened.Plain, err)
				}
				if v == Two {
					wantEnvelope(t, opened.Plain, e.Sender, e.Plaintext)
				}
			case "empty":
				if err != nil || opened.Plain != nil {
					t.Fatalf("%q, %v", opened.Plain, err)
				}
			case "not_for_this_device":
				if !errors.Is(err, ErrNotForUs) {
					t.Fatalf("error %v, want ErrNotForUs", err)
				}
				return
			default:
				t.Fatalf("unknown expectation %q", e.Expect)
			}
			if opened.Sender != p.address() || !bytes.Equal(opened.Identity[:], e.SenderCurve) {
				t.Errorf("sender %v", opened.Sender)
			}
		})
	}
	some(t, n[:]...)
}

// wantEnvelope checks the sender and the body in an envelope.
func wantEnvelope(t *testing.T, envelope []byte, from, body string) {
	t.Helper()
	e, err := ParseEnvelope(envelope)
	if err != nil || e.From != from || e.Time.IsZero() {
		t.Fatalf("envelope %+v, %v", e, err)
	}
	var content struct {
		Body string `xml:"jabber:client body"`
	}
	if err := xml.Unmarshal([]byte("<content>"+string(e.Content)+"</content>"), &content); err != nil || content.Body != body {
		t.Fatalf("content %s: body %q, %v", e.Content, content.Body, err)
	}
}

// vectorSecret is a key agreement whose result is told, since the peer's
// one-time prekey is not.
type vectorSecret struct {
	vectorX3DH
	SharedSecret    hexBytes `json:"shared_secret"`
	SignedPrekeyPub hexBytes `json:"signed_prekey_pub"`
}

func (p *player) buildFromSecret(x *vectorSecret, ratchet []byte) {
	base := x.EphemeralPriv.key(p.t)
	s := &session{
		base: publicKey(&base), initiator: true, root: x.SharedSecret.key(p.t),
		unconfirmed: true, preKey: *x.PrekeyID, signedPreKey: x.SignedPrekeyID,
	}
	signed := x.SignedPrekeyPub.key(p.t)
	p.random.push(ratchet)
	var err error
	if s.own, s.send, err = p.manager.wires[p.wire.version].turn(p.random, &s.root, &signed); err != nil {
		p.t.Fatal(err)
	}
	b := p.manager.book(p.wire.version, p.own.JID)
	if _, err := b.locate(p.t.Context(), nil, map[Address]struct{}{p.address(): {}}); err != nil {
		p.t.Fatal(err)
	}
	at, err := b.insert(p.address(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	b.keep(at, &record{identity: p.far.form(p.t, p.wire.version), sessions: []*session{s}})
	if err := b.save(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}
