package omemo

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The vectors of testdata/vectors, or of the folder that OMEMO_VECTORS names,
// were made by other implementations. README.md there describes the format.

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func (h hexBytes) key(t testing.TB) [32]byte {
	t.Helper()
	if len(h) != 32 {
		t.Fatalf("vector: key of %d bytes", len(h))
	}
	return [32]byte(h)
}

type vectorKey struct {
	ID            uint32
	Priv, Pub     hexBytes
	SigLegacyWire hexBytes `json:"sig_legacy_wire"`
	SigEd25519    hexBytes `json:"sig_ed25519"`
}

func (k vectorKey) pair(t testing.TB) keyPair {
	return keyPair{priv: k.Priv.key(t), pub: k.Pub.key(t)}
}

type vectorParty struct {
	JID           string
	DeviceID      uint32      `json:"device_id"`
	IdentityPriv  hexBytes    `json:"identity_priv"`
	IdentityCurve hexBytes    `json:"identity_curve25519_pub"`
	IdentityEd    hexBytes    `json:"identity_ed25519_pub"`
	SignedPrekeys []vectorKey `json:"signed_prekeys"`
	Prekeys       []vectorKey
}

func (p *vectorParty) identity(t testing.TB) *identity {
	return &identity{
		device: p.DeviceID, ed: p.IdentityEd.key(t),
		keys: keyPair{priv: p.IdentityPriv.key(t), pub: p.IdentityCurve.key(t)},
	}
}

// form is the identity key in a version's form.
func (p *vectorParty) form(t testing.TB, v Version) [32]byte {
	if v == Two {
		return p.IdentityEd.key(t)
	}
	return p.IdentityCurve.key(t)
}

// vectorVersion is the version that a vector is for.
func vectorVersion(t testing.TB, name string) Version {
	t.Helper()
	switch name {
	case "legacy":
		return Legacy
	case "v2":
		return Two
	}
	t.Fatalf("vectors: unknown version %q", name)
	return 0
}

func vectorFile(t testing.TB, name string, into any) {
	t.Helper()
	dir := os.Getenv("OMEMO_VECTORS")
	if dir == "" {
		dir = filepath.Join("testdata", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatalf("vectors: %v", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("vectors: %s: %v", name, err)
	}
}

// some fails when a file held nothing to test.
func some(t testing.TB, counts ...int) {
	t.Helper()
	if slices.Contains(counts, 0) {
		t.Fatal("vectors: nothing in the file for one of the versions, or at all")
	}
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("vectors: %v", err)
	}
	return b
}

func wantBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %x, want %x", what, got, want)
	}
}

func TestVectorsPayload(t *testing.T) {
	var v struct {
		Legacy []struct {
			IV, Key      hexBytes
			Plaintext    string
			Payload      string
			KeyMaterial  hexBytes `json:"key_material"`
			Form, Expect string
			Note         string
		}
		V2 []struct {
			Key          hexBytes
			Plaintext    string
			Payload      string
			KeyMaterial  hexBytes `json:"key_material"`
			Expect, Note string
		}
	}
	vectorFile(t, "payload.json", &v)
	some(t, len(v.Legacy), len(v.V2))
	for _, e := range v.V2 {
		payload := unbase64(t, e.Payload)
		plain, err := openTwoPayload(payload, e.KeyMaterial)
		if e.Expect != "ok" {
			if e.Expect != "fail" || err == nil {
				t.Errorf("%s (%s) opens", e.Expect, e.Note)
			}
			continue
		}
		if err != nil || string(plain) != e.Plaintext {
			t.Errorf("%q, %v", plain, err)
		}
		random := &script{}
		random.push(e.Key)
		sealed, material, err := sealTwoPayload(random, []byte(e.Plaintext))
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "payload", sealed, payload)
		wantBytes(t, "key material", material, e.KeyMaterial)
	}
	for _, e := range v.Legacy {
		payload, err := decodeBase64([]byte(e.Payload))
		var plain []byte
		if err == nil {
			plain, err = openLegacyPayload(payload, e.IV, e.KeyMaterial, false)
		}
		switch e.Expect {
		case "ok":
			if err != nil || string(plain) != e.Plaintext {
				t.Errorf("%s: %q, %v", e.Form, plain, err)
			}
			if len(e.IV) != payloadIVLen {
				break
			}
			random := &script{}
			random.push(e.Key, e.IV)
			sealed, iv, material, err := sealLegacyPayload(random, []byte(e.Plaintext))
			if err != nil {
				t.Fatal(err)
			}
			wantBytes(t, "payload", sealed, payload)
			wantBytes(t, "iv", iv, e.IV)
			wantBytes(t, "key material", material, e.KeyMaterial)
		case "ok_if_lenient":
			if err == nil {
				t.Errorf("%s is not asked for and opens", e.Form)
			}
			plain, err = openLegacyPayload(payload, e.IV, e.KeyMaterial, true)
			if err != nil || string(plain) != e.Plaintext {
				t.Errorf("%s, leniently: %q, %v", e.Form, plain, err)
			}
		case "fail":
			if err == nil {
				t.Errorf("%s (%s) opens", e.Form, e.Note)
			}
		default:
			t.Errorf("unknown expectation %q", e.Expect)
		}
	}
}

func TestVectorsBundles(t *testing.T) {
	var v struct {
		Bundles []struct {
			Version, XML string
			Curve        hexBytes  `json:"identity_curve25519_pub"`
			Signed       vectorKey `json:"signed_prekey"`
			Prekeys      []vectorKey
			Expect, Note string
		}
		Lists []struct {
			Version, XML string
			IDs          []uint32
			Labels       map[string]string
			Ed           hexBytes `json:"identity_ed25519_pub_of_all"`
		} `json:"device_lists"`
	}
	vectorFile(t, "bundles.json", &v)
	var n [versions]int
	for _, e := range v.Bundles {
		version := vectorVersion(t, e.Version)
		n[version]++
		b, err := ParseBundle(version, []byte(e.XML))
		if e.Expect != "ok" {
			if err == nil {
				t.Errorf("bundle with %s is accepted", e.Note)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		again, err := ParseBundle(version, b.AppendXML(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []*Bundle{b, again} {
			wantBytes(t, "identity key", b.Identity[:], e.Curve)
			wantBytes(t, "signed prekey", b.SignedPreKey.Key[:], e.Signed.Pub)
			plain := b.Signature
			if version == Legacy {
				plain[63] &= 127 // the rest is the sign of the identity key
			}
			wantBytes(t, "signature", plain[:], e.Signed.SigEd25519)
			if b.SignedPreKey.ID != e.Signed.ID || len(b.PreKeys) != len(e.Prekeys) {
				t.Fatalf("signed prekey %d, %d prekeys", b.SignedPreKey.ID, len(b.PreKeys))
			}
			for _, k := range e.Prekeys {
				if !slices.Contains(b.PreKeys, PublicPreKey{k.ID, k.Pub.key(t)}) {
					t.Errorf("prekey %d is missing", k.ID)
				}
			}
		}
	}
	some(t, n[:]...)
	clear(n[:])
	for _, e := range v.Lists {
		version := vectorVersion(t, e.Version)
		n[version]++
		ids, err := ParseDeviceList(version, []byte(e.XML))
		if err != nil || !slices.Equal(ids, e.IDs) {
			t.Errorf("%s: %v, %v", e.XML, ids, err)
		}
		again, err := ParseDeviceList(version, AppendDeviceList(nil, version, ids...))
		if err != nil || !slices.Equal(ids, again) {
			t.Errorf("device list comes back as %v, %v", again, err)
		}
		if e.Ed != nil {
			wantLabels(t, e.XML, e.Ed.key(t), e.Labels)
		}
	}
	some(t, n[:]...)
}

// wantLabels checks which labels of a device list are signed by its devices,
// which all have the same identity key.
func wantLabels(t *testing.T, xml string, identity [32]byte, want map[string]string) {
	t.Helper()
	s, err := newScanner([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for err = s.next(); err == nil && s.kind != tokenEOF; err = s.next() {
		id, _ := s.attr("id")
		label, _ := s.attr("label")
		signature, _ := s.attr("labelsig")
		sig, err := decodeBase64(signature)
		if err != nil || s.kind != tokenStart || !verifySignature(&identity, label, sig) {
			continue
		}
		if n++; want[string(id)] != string(label) {
			t.Errorf("device %s has the label %q", id, label)
		}
	}
	if err != nil || n != len(want) {
		t.Errorf("%d labels, want %d, %v", n, len(want), err)
	}
}

func TestVectorsFingerprints(t *testing.T) {
	var v struct {
		Fingerprints []struct {
			Curve    hexBytes `json:"identity_curve25519_pub"`
			Wire     string   `json:"legacy_wire"`
			Display  string
			DeviceID uint32 `json:"device_id"`
			URI      string
		}
	}
	vectorFile(t, "misc.json", &v)
	some(t, len(v.Fingerprints))
	for _, e := range v.Fingerprints {
		key := IdentityKey(e.Curve.key(t))
		if got := key.Fingerprint(); got != e.Display {
			t.Errorf("fingerprint %q, want %q", got, e.Display)
		}
		for _, s := range []string{e.Display, e.Wire} {
			if got, err := ParseFingerprint(s); err != nil || got != key {
				t.Errorf("ParseFingerprint(%q) = %x, %v", s, got, err)
			}
		}
		jid, keys, err := ParseURI(e.URI)
		if err != nil || len(keys) != 1 || keys[e.DeviceID] != key {
			t.Errorf("ParseURI(%q) = %q, %v, %v", e.URI, jid, keys, err)
		}
		if got := URI(Address{jid, e.DeviceID}, key); got != e.URI {
			t.Errorf("URI = %q, want %q", got, e.URI)
		}
	}
}
