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
	Version      Version
	Identity     IdentityKey
	SignedPreKey PublicPreKey
	Signature    [64]byte
	PreKeys      []PublicPreKey

	identity [32]byte // in the version's form
	verified bool
}

// bundleNames are the names of a bundle's elements and attributes.
type bundleNames struct{ signed, signedID, signature, identity, preKey, preKeyID string }

func namesOf(v Version) bundleNames {
	if v == Two {
		return bundleNames{"spk", "id", "spks", "ik", "pk", "id"}
	}
	return bundleNames{"signedPreKeyPublic", "signedPreKeyId", "signedPreKeySignature", "identityKey", "preKeyPublic", "preKeyId"}
}

// ParseBundle reads a <bundle/> element, or one nested in pubsub elements, and
// verifies its signature. Broken prekeys are left out; the error is ErrBundle,
// with ErrNoPreKey when no prekey remains.
func ParseBundle(v Version, xml []byte) (*Bundle, error) {
	w := wireOf(v)
	b, err := parseBundle(w, xml)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := w.sound(&b.identity); err != nil {
		return nil, fmt.Errorf("%w: identity key: %w", ErrBundle, err)
	}
	switch {
	case !w.verify(&b.identity, w.appendKey(nil, &b.SignedPreKey.Key), b.Signature[:]):
		return nil, fmt.Errorf("%w: wrong signature", ErrBundle)
	case len(b.PreKeys) == 0:
		return nil, fmt.Errorf("%w: %w", ErrBundle, ErrNoPreKey)
	}
	b.Identity = w.curve(&b.identity)
	b.verified = true
	return b, nil
}

// parseBundle reads everything but checks no signature and no identity key.
// Each of the single elements must be there once.
func parseBundle(w *wire, xml []byte) (*Bundle, error) {
	s, err := newScanner(xml)
	if err != nil {
		return nil, err
	}
	space, names := w.version.Namespace(), namesOf(w.version)
	if err := s.find(space, "bundle"); err != nil {
		return nil, err
	}
	b := &Bundle{Version: w.version}
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
		case s.is(space, names.identity):
			b.identity, err = s.publicKey(w, &seen.identity)
		case s.is(space, names.signed):
			b.SignedPreKey.ID, ok = s.id(names.signedID, 0)
			if !ok {
				return nil, fmt.Errorf("%w: signed prekey without id", errXML)
			}
			b.SignedPreKey.Key, err = s.publicKey(w, &seen.signed)
		case s.is(space, names.signature):
			var data []byte
			if data, err = s.once(&seen.signature); err == nil && len(data) != len(b.Signature) {
				err = fmt.Errorf("%w: signature of %d bytes", errXML, len(data))
			}
			copy(b.Signature[:], data)
		case s.is(space, "prekeys"):
			if seen.preKeys {
				return nil, fmt.Errorf("%w: prekeys twice", errXML)
			}
			seen.preKeys = true
			b.PreKeys, err = s.preKeys(w)
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

func (s *scanner) publicKey(w *wire, seen *bool) (key [32]byte, err error) {
	data, err := s.once(seen)
	if err != nil {
		return key, err
	}
	return w.parseKey(data)
}

// preKeys reads the children of the current element and leaves out broken ones
// and repeated ids.
func (s *scanner) preKeys(w *wire) ([]PublicPreKey, error) {
	space, names := w.version.Namespace(), namesOf(w.version)
	var keys []PublicPreKey
	known := make(map[uint32]struct{})
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil || !ok {
			return keys, err
		}
		id, ok := s.id(names.preKeyID, 0)
		_, twice := known[id]
		if !ok || twice || !s.is(space, names.preKey) || len(keys) == maxPreKeys {
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
		if key, err := w.parseKey(data); err == nil {
			keys = append(keys, PublicPreKey{id, key})
			known[id] = struct{}{}
		}
	}
}

// AppendXML appends the <bundle/> element to dst.
func (b *Bundle) AppendXML(dst []byte) []byte {
	w, names := wireOf(b.Version), namesOf(b.Version)
	dst = slices.Grow(dst, 512+len(b.PreKeys)*100)
	element := func(name, idName string, id uint32, data []byte) {
		dst = append(append(dst, '<'), name...)
		if idName != "" {
			dst = append(append(append(dst, ' '), idName...), "='"...)
			dst = append(strconv.AppendUint(dst, uint64(id), 10), '\'')
		}
		dst = base64.StdEncoding.AppendEncode(append(dst, '>'), data)
		dst = append(append(append(dst, "</"...), name...), '>')
	}
	var buf [33]byte
	dst = append(append(append(dst, "<bundle xmlns='"...), b.Version.Namespace()...), "'>"...)
	element(names.signed, names.signedID, b.SignedPreKey.ID, w.appendKey(buf[:0], &b.SignedPreKey.Key))
	element(names.signature, "", 0, b.Signature[:])
	element(names.identity, "", 0, w.appendKey(buf[:0], &b.identity))
	dst = append(dst, "<prekeys>"...)
	for i := range b.PreKeys {
		element(names.preKey, names.preKeyID, b.PreKeys[i].ID, w.appendKey(buf[:0], &b.PreKeys[i].Key))
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
