package omemo

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
)

// maxPreKeys is how many prekeys of a bundle are read.
const maxPreKeys = 1000

// PublicPreKey is the public half of a prekey.
type PublicPreKey struct {
	ID  uint32
	Key [32]byte // Curve25519
}

// Bundle is what a device publishes for others to start a session with it.
// A value from ParseBundle or Manager.Bundle has a verified signature; one
// made by hand is refused by Seal.
type Bundle struct {
	Identity     IdentityKey
	SignedPreKey PublicPreKey
	Signature    [64]byte
	PreKeys      []PublicPreKey

	verified bool
}

// ParseBundle reads a <bundle/> element, or one nested in pubsub elements, and
// verifies its signature. Broken prekeys are left out; the error is ErrBundle,
// with ErrNoPreKey when no prekey remains.
func ParseBundle(xml []byte) (*Bundle, error) {
	b, err := parseBundle(xml)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	w := legacyWire()
	identity := [32]byte(b.Identity)
	switch {
	case !canonical(&identity):
		return nil, fmt.Errorf("%w: identity key is not canonical", ErrBundle)
	case !w.verify(&identity, w.appendKey(nil, &b.SignedPreKey.Key), b.Signature[:]):
		return nil, fmt.Errorf("%w: wrong signature", ErrBundle)
	case len(b.PreKeys) == 0:
		return nil, fmt.Errorf("%w: %w", ErrBundle, ErrNoPreKey)
	}
	b.verified = true
	return b, nil
}

// parseBundle reads everything but checks no signature. Each of the single
// elements must be there once.
func parseBundle(xml []byte) (*Bundle, error) {
	s, err := newScanner(xml)
	if err != nil {
		return nil, err
	}
	if err := s.find("bundle"); err != nil {
		return nil, err
	}
	b := new(Bundle)
	var seen struct{ identity, signed, signature, preKeys bool }
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
			if !seen.identity || !seen.signed || !seen.signature {
				return nil, fmt.Errorf("%w: incomplete", errXML)
			}
			return b, nil
		case s.is(Namespace, "identityKey"):
			var key [32]byte
			key, err = s.publicKey(&seen.identity)
			b.Identity = IdentityKey(key)
		case s.is(Namespace, "signedPreKeyPublic"):
			b.SignedPreKey.ID, ok = s.id("signedPreKeyId", 0)
			if !ok {
				return nil, fmt.Errorf("%w: signed prekey without id", errXML)
			}
			b.SignedPreKey.Key, err = s.publicKey(&seen.signed)
		case s.is(Namespace, "signedPreKeySignature"):
			var data []byte
			if data, err = s.once(&seen.signature); err == nil && len(data) != len(b.Signature) {
				err = fmt.Errorf("%w: signature of %d bytes", errXML, len(data))
			}
			copy(b.Signature[:], data)
		case s.is(Namespace, "prekeys"):
			if seen.preKeys {
				return nil, fmt.Errorf("%w: prekeys twice", errXML)
			}
			seen.preKeys = true
			b.PreKeys, err = s.preKeys()
		default:
			err = s.skip()
		}
		if err != nil {
			return nil, err
		}
	}
}

// once reads the base64 of an element that may occur once.
func (s *scanner) once(seen *bool) ([]byte, error) {
	if *seen {
		return nil, fmt.Errorf("%w: %s twice", errXML, s.local)
	}
	*seen = true
	return s.base64()
}

func (s *scanner) publicKey(seen *bool) (key [32]byte, err error) {
	data, err := s.once(seen)
	if err != nil {
		return key, err
	}
	return legacyKey(data)
}

// preKeys reads the children of the current element and leaves out broken ones
// and repeated ids.
func (s *scanner) preKeys() ([]PublicPreKey, error) {
	var keys []PublicPreKey
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil || !ok {
			return keys, err
		}
		id, ok := s.id("preKeyId", 0)
		ok = ok && s.is(Namespace, "preKeyPublic") && len(keys) < maxPreKeys &&
			!slices.ContainsFunc(keys, func(k PublicPreKey) bool { return k.ID == id })
		if !ok {
			if err := s.skip(); err != nil {
				return nil, err
			}
			continue
		}
		text, err := s.content()
		if err != nil {
			return nil, err
		}
		data, err := decodeBase64(text)
		if err != nil {
			continue
		}
		if key, err := legacyKey(data); err == nil {
			keys = append(keys, PublicPreKey{id, key})
		}
	}
}

// AppendXML appends the <bundle/> element to dst.
func (b *Bundle) AppendXML(dst []byte) []byte {
	key := func(k *[32]byte) { dst = base64.StdEncoding.AppendEncode(dst, appendLegacyKey(nil, k)) }
	dst = slices.Grow(dst, 512+len(b.PreKeys)*100)
	dst = append(dst, "<bundle xmlns='"+Namespace+"'><signedPreKeyPublic signedPreKeyId='"...)
	dst = strconv.AppendUint(dst, uint64(b.SignedPreKey.ID), 10)
	dst = append(dst, "'>"...)
	key(&b.SignedPreKey.Key)
	dst = append(dst, "</signedPreKeyPublic><signedPreKeySignature>"...)
	dst = base64.StdEncoding.AppendEncode(dst, b.Signature[:])
	dst = append(dst, "</signedPreKeySignature><identityKey>"...)
	identity := [32]byte(b.Identity)
	key(&identity)
	dst = append(dst, "</identityKey><prekeys>"...)
	for i := range b.PreKeys {
		dst = append(dst, "<preKeyPublic preKeyId='"...)
		dst = strconv.AppendUint(dst, uint64(b.PreKeys[i].ID), 10)
		dst = append(dst, "'>"...)
		key(&b.PreKeys[i].Key)
		dst = append(dst, "</preKeyPublic>"...)
	}
	return append(dst, "</prekeys></bundle>"...)
}

// Without returns a copy that does not offer the prekey id. Use it on a cached
// bundle after Report.Built: of two sessions on one prekey the second is lost.
func (b *Bundle) Without(id uint32) *Bundle {
	copied := *b
	copied.PreKeys = slices.DeleteFunc(slices.Clone(b.PreKeys), func(k PublicPreKey) bool { return k.ID == id })
	return &copied
}
