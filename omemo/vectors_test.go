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

	"filippo.io/edwards25519"
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

func TestVectorsKDF(t *testing.T) {
	var v struct {
		Root []struct {
			Version    string
			RootKey    hexBytes `json:"root_key"`
			DHOut      hexBytes `json:"dh_out"`
			NewRootKey hexBytes `json:"new_root_key"`
			ChainKey   hexBytes `json:"chain_key"`
		}
		Chain []struct {
			ChainKey hexBytes `json:"chain_key"`
			Steps    []struct {
				MessageKey   hexBytes `json:"message_key"`
				NextChainKey hexBytes `json:"next_chain_key"`
			}
		}
		MessageKeys []struct {
			Version    string
			MessageKey hexBytes `json:"message_key"`
			EncKey     hexBytes `json:"enc_key"`
			MacKey     hexBytes `json:"mac_key"`
			IV         hexBytes
		} `json:"message_keys"`
		X25519 []struct {
			Priv, Pub, Shared hexBytes
			OK                bool
		}
	}
	vectorFile(t, "kdf.json", &v)
	var n [versions]int
	for _, e := range v.Root {
		w := wireOf(vectorVersion(t, e.Version))
		n[w.version]++
		root, dh := e.RootKey.key(t), e.DHOut.key(t)
		chain := w.stepRoot(&root, &dh)
		wantBytes(t, "root key", root[:], e.NewRootKey)
		wantBytes(t, "chain key", chain[:], e.ChainKey)
	}
	some(t, n[:]...)
	clear(n[:])
	for _, e := range v.MessageKeys {
		w := wireOf(vectorVersion(t, e.Version))
		n[w.version]++
		message := e.MessageKey.key(t)
		k := w.expand(&message)
		wantBytes(t, "cipher key", k.enc[:], e.EncKey)
		wantBytes(t, "MAC key", k.mac[:], e.MacKey)
		wantBytes(t, "iv", k.iv[:], e.IV)
	}
	some(t, n[:]...)
	some(t, len(v.Chain))
	for _, e := range v.Chain {
		chain := e.ChainKey.key(t)
		for _, s := range e.Steps {
			message := stepChain(&chain)
			wantBytes(t, "message key", message[:], s.MessageKey)
			wantBytes(t, "next chain key", chain[:], s.NextChainKey)
		}
	}
	some(t, len(v.X25519))
	for _, e := range v.X25519 {
		priv, pub := e.Priv.key(t), e.Pub.key(t)
		shared, err := x25519(&priv, &pub)
		if (err == nil) != e.OK {
			t.Errorf("x25519(%x): %v, want ok %v", pub, err, e.OK)
		} else if e.OK {
			wantBytes(t, "shared secret", shared[:], e.Shared)
		}
	}
}

func TestVectorsX3DH(t *testing.T) {
	var v []struct {
		Version        string
		Alice          vectorParty
		Bob            vectorParty
		EphemeralPriv  hexBytes `json:"ephemeral_priv"`
		EphemeralPub   hexBytes `json:"ephemeral_pub"`
		SignedPrekeyID uint32   `json:"signed_prekey_id"`
		PrekeyID       uint32   `json:"prekey_id"`
		SharedSecret   hexBytes `json:"shared_secret"`
		AssociatedData hexBytes `json:"associated_data"`
	}
	vectorFile(t, "x3dh.json", &v)
	var n [versions]int
	for _, e := range v {
		w := wireOf(vectorVersion(t, e.Version))
		n[w.version]++
		find := func(list []vectorKey, id uint32) keyPair {
			return list[slices.IndexFunc(list, func(k vectorKey) bool { return k.ID == id })].pair(t)
		}
		signed, one := find(e.Bob.SignedPrekeys, e.SignedPrekeyID), find(e.Bob.Prekeys, e.PrekeyID)
		alice, bob := e.Alice.identity(t).keys, e.Bob.identity(t).keys
		aliceForm, bobForm := e.Alice.form(t, w.version), e.Bob.form(t, w.version)
		base := keyPair{priv: e.EphemeralPriv.key(t)}
		base.pub = publicKey(&base.priv)
		wantBytes(t, "ephemeral key", base.pub[:], e.EphemeralPub)
		a, err := w.agreeInitiator(&alice.priv, &base.priv, &bob.pub, &signed.pub, &one.pub)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "initiator's secret", a[:], e.SharedSecret)
		b, err := w.agreeResponder(&bob.priv, &signed.priv, &one.priv, &alice.pub, &base.pub)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "responder's secret", b[:], e.SharedSecret)
		wantBytes(t, "associated data", w.associated(nil, &aliceForm, &bobForm, true, true), e.AssociatedData)
		wantBytes(t, "associated data", w.associated(nil, &bobForm, &aliceForm, false, false), e.AssociatedData)
	}
	some(t, n[:]...)
}

func TestVectorsXEdDSA(t *testing.T) {
	var v struct {
		Keys []struct {
			Priv   hexBytes
			Curve  hexBytes `json:"curve25519_pub"`
			Ed     hexBytes `json:"ed25519_pub"`
			Sign   byte     `json:"ed25519_sign_bit"`
			Forced hexBytes `json:"ed25519_pub_of_forced_0"`
		}
		Sign []struct {
			Priv, Nonce, Msg, Sig hexBytes
		}
		Verify []struct {
			Ed       hexBytes `json:"ed25519_pub"`
			Msg, Sig hexBytes
			Valid    bool
			Note     string
		}
		EdToCurve []struct {
			Ed    hexBytes `json:"ed25519_pub"`
			Curve hexBytes `json:"curve25519_pub"`
			OK    bool
		} `json:"ed25519_to_curve25519"`
		CurveToEd []struct {
			Curve hexBytes `json:"curve25519_pub"`
			Sign  byte     `json:"sign_bit"`
			Ed    hexBytes `json:"ed25519_pub"`
		} `json:"curve25519_to_ed25519"`
		Legacy []struct {
			Curve    hexBytes `json:"curve25519_pub"`
			Msg, Sig hexBytes
			Valid    bool
			Note     string
		} `json:"legacy_signatures"`
		Two []struct {
			Msg, Sig hexBytes
			Ed       hexBytes `json:"ed25519_pub"`
			Valid    bool
			Note     string
		} `json:"omemo2_signatures"`
		Seeds []struct {
			Priv, Msg hexBytes
			Ed        hexBytes `json:"ed25519_pub"`
			Curve     hexBytes `json:"curve25519_pub"`
			Sig       hexBytes `json:"rfc8032_sig"`
		}
	}
	vectorFile(t, "xeddsa.json", &v)
	some(t, min(len(v.Keys), len(v.Sign), len(v.Verify), len(v.EdToCurve), len(v.CurveToEd), len(v.Legacy), len(v.Two), len(v.Seeds)))
	for _, e := range v.Keys {
		priv := e.Priv.key(t)
		pub := publicKey(&priv)
		wantBytes(t, "public key", pub[:], e.Curve)
		ed, err := edwardsForm(&pub, e.Sign)
		if err != nil {
			t.Error(err)
		}
		wantBytes(t, "Edwards form", ed[:], e.Ed)
		id := &identity{keys: keyPair{priv, pub}, ed: e.Forced.key(t)}
		sig, err := id.sign(&script{}, []byte("message"))
		if err != nil || !verifySignature((*[32]byte)(e.Forced), []byte("message"), sig[:]) {
			t.Errorf("own signature does not verify: %v", err)
		}
		if !verifyCurveSignature(&pub, []byte("message"), sig[:]) {
			t.Error("own signature does not verify by the Curve25519 form")
		}
	}
	for _, e := range v.Sign {
		priv := e.Priv.key(t)
		scalar, err := edwards25519.NewScalar().SetUniformBytes(append(priv[:], make([]byte, 32)...))
		if err != nil {
			t.Fatal(err)
		}
		nonce := &script{}
		nonce.push(e.Nonce)
		sig, err := signScalar(nonce, scalar, priv[:], e.Msg)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "signature", sig[:], e.Sig)
	}
	for _, e := range v.Verify {
		ed := e.Ed.key(t)
		if got := verifySignature(&ed, e.Msg, e.Sig); got != e.Valid {
			t.Errorf("verify (%s) = %v", e.Note, got)
		}
	}
	for _, e := range v.EdToCurve {
		ed := e.Ed.key(t)
		u, err := curveForm(&ed)
		if (err == nil) != e.OK {
			t.Errorf("curveForm(%x): %v, want ok %v", ed, err, e.OK)
		} else if e.OK {
			wantBytes(t, "Curve25519 form", u[:], e.Curve)
			u = curveOf(&ed)
			wantBytes(t, "Curve25519 form", u[:], e.Curve)
		}
		if (twoIdentity(&ed) == nil) != e.OK {
			t.Errorf("identity key %x is accepted: %v", ed, !e.OK)
		}
	}
	for _, e := range v.Seeds {
		priv, ed := e.Priv.key(t), e.Ed.key(t)
		pub := publicKey(&priv)
		wantBytes(t, "public key", pub[:], e.Curve)
		if !verifySignature(&ed, e.Msg, e.Sig) {
			t.Errorf("signature by a seed's key %x does not verify", ed)
		}
	}
	for _, e := range v.Two {
		ed := e.Ed.key(t)
		if got := twoIdentity(&ed) == nil && verifySignature(&ed, e.Msg, e.Sig); got != e.Valid {
			t.Errorf("verify (%s) = %v", e.Note, got)
		}
	}
	for _, e := range v.CurveToEd {
		u := e.Curve.key(t)
		ed, err := edwardsForm(&u, e.Sign)
		if err != nil {
			t.Error(err)
		}
		wantBytes(t, "Edwards form", ed[:], e.Ed)
	}
	for _, e := range v.Legacy {
		u := e.Curve.key(t)
		if got := verifyCurveSignature(&u, e.Msg, e.Sig); got != e.Valid {
			t.Errorf("verify legacy (%s) = %v", e.Note, got)
		}
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
