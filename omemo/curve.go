package omemo

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

var (
	errWeakPoint = errors.New("point of small order")
	errNotAPoint = errors.New("not a point of the curve")
)

// keyPair is a Curve25519 key pair; priv is clamped (RFC 7748 section 5).
type keyPair struct{ priv, pub [32]byte }

// newKeyPair draws 32 bytes from rand for a key pair.
func newKeyPair(rand io.Reader) (keyPair, error) {
	var k keyPair
	if _, err := io.ReadFull(rand, k.priv[:]); err != nil {
		return keyPair{}, fmt.Errorf("omemo: draw a key: %w", err)
	}
	k.priv[0] &= 248
	k.priv[31] &= 127
	k.priv[31] |= 64
	k.pub = publicKey(&k.priv)
	return k, nil
}

// publicKey returns the Curve25519 public key of a clamped scalar. It takes the
// fixed-base multiplication of the Edwards form, twice as fast as the ladder.
func publicKey(priv *[32]byte) [32]byte {
	return [32]byte(new(edwards25519.Point).ScalarBaseMult(clamped(priv)).BytesMontgomery())
}

// clamped returns priv as a scalar modulo the group order.
func clamped(priv *[32]byte) *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetBytesWithClamping(priv[:])
	if err != nil {
		panic("omemo: a 32-byte array is always a scalar") // cannot happen
	}
	return s
}

// x25519 is the Diffie-Hellman function of RFC 7748 section 5, in constant
// time. It refuses public keys that give an all-zero result (section 6.1).
//
// crypto/ecdh is not used since it multiplies twice: it computes the public
// key whenever a private key is loaded from storage, and this package loads
// them for each use. The result is compared with crypto/ecdh in the tests.
func x25519(priv, pub *[32]byte) ([32]byte, error) {
	k := *priv
	k[0] &= 248
	k[31] &= 127
	k[31] |= 64
	// The names are those of the RFC's pseudocode.
	var x1, x2, z2, x3, z3, a, aa, b, bb, e, da, cb field.Element
	if _, err := x1.SetBytes(pub[:]); err != nil { // masks the top bit
		return [32]byte{}, err
	}
	x2.One()
	x3.Set(&x1)
	z3.One()
	swap := 0
	for t := 254; t >= 0; t-- {
		bit := int(k[t/8]>>(t%8)) & 1
		x2.Swap(&x3, swap^bit)
		z2.Swap(&z3, swap^bit)
		swap = bit

		a.Add(&x2, &z2)
		b.Subtract(&x2, &z2)
		da.Subtract(&x3, &z3)
		cb.Add(&x3, &z3)
		da.Multiply(&da, &a)
		cb.Multiply(&cb, &b)
		aa.Square(&a)
		bb.Square(&b)
		e.Subtract(&aa, &bb)
		x3.Add(&da, &cb)
		x3.Square(&x3)
		z3.Subtract(&da, &cb)
		z3.Square(&z3)
		z3.Multiply(&z3, &x1)
		x2.Multiply(&aa, &bb)
		z2.Mult32(&e, 121665)
		z2.Add(&z2, &aa)
		z2.Multiply(&z2, &e)
	}
	x2.Swap(&x3, swap)
	z2.Swap(&z3, swap)
	out := [32]byte(x2.Multiply(&x2, z2.Invert(&z2)).Bytes())
	if subtle.ConstantTimeCompare(out[:], make([]byte, 32)) == 1 {
		return [32]byte{}, errWeakPoint
	}
	return out, nil
}

// canonical reports whether a Curve25519 public key has the one encoding that
// its owner gives it. X25519 takes others for the same key, so whatever names
// something (an identity, a session) must be checked.
func canonical(u *[32]byte) bool {
	var x field.Element
	_, err := x.SetBytes(u[:])
	return err == nil && [32]byte(x.Bytes()) == *u
}

// edwardsForm converts a Curve25519 public key to the Ed25519 key with the
// given sign of x, by y = (u-1)/(u+1). The key must be encoded canonically
// once its top bit is masked, and must not be -1.
func edwardsForm(u *[32]byte, sign byte) ([32]byte, error) {
	masked := *u
	masked[31] &= 127
	var x, one, num, den field.Element
	if _, err := x.SetBytes(masked[:]); err != nil || !canonical(&masked) {
		return [32]byte{}, errNotAPoint
	}
	one.One()
	num.Subtract(&x, &one)
	den.Add(&x, &one)
	if den.Equal(new(field.Element)) == 1 {
		return [32]byte{}, errNotAPoint
	}
	y := [32]byte(num.Multiply(&num, den.Invert(&den)).Bytes())
	y[31] |= sign << 7
	return y, nil
}

// curveOf converts an Ed25519 key to Curve25519, by u = (1+y)/(1-y). The key
// must be known to be sound.
func curveOf(ed *[32]byte) [32]byte {
	y, one := new(field.Element), new(field.Element).One()
	if _, err := y.SetBytes(ed[:]); err != nil { // masks the top bit
		panic("omemo: 32 bytes are always an element") // cannot happen
	}
	den := new(field.Element).Subtract(one, y)
	return [32]byte(y.Multiply(y.Add(one, y), den.Invert(den)).Bytes())
}

// curveForm converts an Ed25519 key to Curve25519. It accepts only points of
// the prime-order group in their one encoding, for which both forms mean the
// same key.
func curveForm(ed *[32]byte) ([32]byte, error) {
	p, err := soundPoint(ed[:])
	if err != nil {
		return [32]byte{}, err
	}
	if [32]byte(p.Bytes()) != *ed {
		return [32]byte{}, errNotAPoint // another encoding of it
	}
	minusOne := edwards25519.NewScalar().Negate(scalarOne())
	minusP := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	if minusP.Equal(new(edwards25519.Point).Negate(p)) != 1 {
		return [32]byte{}, errWeakPoint // has a torsion component
	}
	return [32]byte(p.BytesMontgomery()), nil
}

func scalarOne() *edwards25519.Scalar {
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic("omemo: one is a scalar") // cannot happen
	}
	return one
}

// soundPoint decodes an Ed25519 key and refuses points of small order, under
// which signatures can be made without a private key.
func soundPoint(ed []byte) (*edwards25519.Point, error) {
	p, err := new(edwards25519.Point).SetBytes(ed)
	if err != nil {
		return nil, errNotAPoint
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errWeakPoint
	}
	return p, nil
}
