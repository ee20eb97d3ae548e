package omemo

import (
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

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
