package omemo

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"

	"filippo.io/edwards25519"
)

// identity is an own identity key with the device id that it belongs to. The
// same pair serves every protocol version.
type identity struct {
	device uint32
	keys   keyPair
	ed     [32]byte // the public key's Ed25519 form, with sign bit 0
}

// newIdentity makes a device. Clients read device ids as positive signed
// 32-bit numbers.
func newIdentity(rand io.Reader) (*identity, error) {
	var b [4]byte
	for {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return nil, fmt.Errorf("omemo: draw a device id: %w", err)
		}
		id := binary.BigEndian.Uint32(b[:]) >> 1
		if id == 0 {
			continue
		}
		keys, err := newKeyPair(rand)
		if err != nil {
			return nil, err
		}
		ed, err := edwardsForm(&keys.pub, 0)
		return &identity{device: id, keys: keys, ed: ed}, err
	}
}

// sign makes an XEdDSA signature (Signal's XEdDSA specification, section 2.3):
// an ordinary Ed25519 signature by the identity's Ed25519 form.
func (id *identity) sign(rand io.Reader, message []byte) ([64]byte, error) {
	s := clamped(&id.keys.priv)
	public := new(edwards25519.Point).ScalarBaseMult(s).Bytes()
	if public[31]>>7 != id.ed[31]>>7 {
		// The negated scalar has the wanted sign. It is not clamped any more
		// and must never be used for Diffie-Hellman.
		s.Negate(s)
	}
	return signScalar(rand, s, s.Bytes(), message)
}

// signScalar signs with a scalar as it is. The encoded form enters the nonce.
func signScalar(rand io.Reader, s *edwards25519.Scalar, encoded, message []byte) ([64]byte, error) {
	var z [64]byte
	if _, err := io.ReadFull(rand, z[:]); err != nil {
		return [64]byte{}, fmt.Errorf("omemo: draw a signature nonce: %w", err)
	}
	prefix := [32]byte{0xFE}
	for i := 1; i < len(prefix); i++ {
		prefix[i] = 0xFF
	}
	r := hashToScalar(prefix[:], encoded, message, z[:])
	commitment := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
	public := new(edwards25519.Point).ScalarBaseMult(s).Bytes()
	h := hashToScalar(commitment, public, message)
	response := edwards25519.NewScalar().MultiplyAdd(h, s, r)
	return [64]byte(append(commitment, response.Bytes()...)), nil
}

func hashToScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	s, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		panic("omemo: 64 bytes are always a scalar") // cannot happen
	}
	return s
}

// verifySignature checks a plain Ed25519 signature and, unlike crypto/ed25519
// alone, refuses public keys of small order.
func verifySignature(public *[32]byte, message, signature []byte) bool {
	if len(signature) != ed25519.SignatureSize {
		return false
	}
	if _, err := soundPoint(public[:]); err != nil {
		return false
	}
	return ed25519.Verify(public[:], message, signature)
}

// verifyCurveSignature checks a signature by a key known in Curve25519 form
// only: the missing sign of its Edwards form travels in the top bit of the
// signature, which is zero in Ed25519.
func verifyCurveSignature(public *[32]byte, message, signature []byte) bool {
	if len(signature) != ed25519.SignatureSize {
		return false
	}
	sig := [64]byte(signature)
	ed, err := edwardsForm(public, sig[63]>>7)
	if err != nil {
		return false
	}
	sig[63] &= 127
	return verifySignature(&ed, message, sig[:])
}
