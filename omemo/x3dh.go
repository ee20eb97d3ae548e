package omemo

import (
	"fmt"
	"io"
)

// agreeInitiator returns the shared secret of X3DH (Signal's specification,
// section 3.3) for the party that starts a session.
func (w *wire) agreeInitiator(own, base *[32]byte, identity, signedPreKey, preKey *[32]byte) ([32]byte, error) {
	return w.agree(
		[4]*[32]byte{own, base, base, base},
		[4]*[32]byte{signedPreKey, identity, signedPreKey, preKey})
}

// agreeResponder is agreeInitiator for the party whose bundle was used.
func (w *wire) agreeResponder(own, signedPreKey, preKey *[32]byte, identity, base *[32]byte) ([32]byte, error) {
	return w.agree(
		[4]*[32]byte{signedPreKey, own, signedPreKey, preKey},
		[4]*[32]byte{identity, base, base, base})
}

// agree derives the shared secret from the four Diffie-Hellman results. The
// fourth, with a one-time prekey, is mandatory in OMEMO.
func (w *wire) agree(priv, pub [4]*[32]byte) (secret [32]byte, err error) {
	ikm := make([]byte, 32, 5*32)
	for i := range ikm {
		ikm[i] = 0xFF
	}
	for i := range priv {
		dh, err := x25519(priv[i], pub[i])
		if err != nil {
			return secret, fmt.Errorf("%w: key agreement: %w", ErrMalformed, err)
		}
		ikm = append(ikm, dh[:]...)
	}
	hkdfSHA256(new([32]byte), ikm, w.x3dhInfo, secret[:])
	return secret, nil
}

// initiate starts a session with the owner of a verified bundle on the given
// one-time prekey.
func (w *wire) initiate(rand io.Reader, own *identity, b *Bundle, preKey PublicPreKey) (*session, error) {
	base, err := newKeyPair(rand)
	if err != nil {
		return nil, err
	}
	remote := [32]byte(b.Identity)
	secret, err := w.agreeInitiator(&own.keys.priv, &base.priv, &remote, &b.SignedPreKey.Key, &preKey.Key)
	if err != nil {
		return nil, err
	}
	s := &session{
		base: base.pub, initiator: true, root: secret,
		unconfirmed: true, preKey: preKey.ID, signedPreKey: b.SignedPreKey.ID,
	}
	s.own, s.send, err = w.turn(rand, &s.root, &b.SignedPreKey.Key)
	return s, err
}

// respond sets up the session that a key exchange asks for. The signed prekey
// serves as the first ratchet key, so the exchange's message makes the first turn.
func (w *wire) respond(own *identity, stock *stock, x *exchange) (*session, error) {
	signed, ok := stock.signedPreKey(x.signedPreKey)
	if !ok {
		return nil, fmt.Errorf("%w: signed prekey %d", ErrPreKeyUnknown, x.signedPreKey)
	}
	preKey, ok := stock.preKey(x.preKey)
	if !ok {
		return nil, fmt.Errorf("%w: prekey %d", ErrPreKeyUnknown, x.preKey)
	}
	identity := w.curve(&x.identity)
	secret, err := w.agreeResponder(&own.keys.priv, &signed.keys.priv, &preKey.keys.priv, &identity, &x.base)
	if err != nil {
		return nil, err
	}
	return &session{base: x.base, root: secret, own: signed.keys}, nil
}
