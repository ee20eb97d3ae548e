package omemo

import "fmt"

const (
	legacyVersion = 0x33 // high nibble: version of this message, low: highest known
	legacyKeyType = 0x05
)

// legacyWire is XEP-0384 version 0.3.0: the messages of libsignal's protocol
// version 3.
func legacyWire() *wire {
	return &wire{
		version:        Legacy,
		space:          "l",
		x3dhInfo:       "WhisperText",
		rootInfo:       "WhisperRatchet",
		messageInfo:    "WhisperMessageKeys",
		macLen:         8,
		own:            func(id *identity) *[32]byte { return &id.keys.pub },
		curve:          func(identity *[32]byte) [32]byte { return *identity },
		sound:          legacyIdentity,
		associated:     legacyAssociated,
		appendKey:      appendLegacyKey,
		parseKey:       legacyKey,
		verify:         verifyCurveSignature,
		appendBody:     appendLegacyBody,
		appendMAC:      func(dst []byte, _ int, mac []byte) []byte { return append(dst, mac...) },
		parse:          parseLegacy,
		appendExchange: appendLegacyExchange,
		parseExchange:  parseLegacyExchange,
	}
}

// legacyIdentity checks an identity key before it is pinned. One of small order
// fails the first key agreement.
func legacyIdentity(identity *[32]byte) error {
	if !canonical(identity) {
		return errNotAPoint
	}
	return nil
}

// legacyAssociated: the sender's key comes first, so the two change places in
// replies, whoever began the session.
func legacyAssociated(dst []byte, own, remote *[32]byte, sending, _ bool) []byte {
	if !sending {
		own, remote = remote, own
	}
	return appendLegacyKey(appendLegacyKey(dst, own), remote)
}

func appendLegacyKey(dst []byte, key *[32]byte) []byte {
	return append(append(dst, legacyKeyType), key[:]...)
}

func legacyKey(data []byte) (key [32]byte, err error) {
	if len(data) != 33 || data[0] != legacyKeyType {
		return key, fmt.Errorf("%w: public key of %d bytes or unknown type", ErrMalformed, len(data))
	}
	return [32]byte(data[1:]), nil
}

// legacyName reads a key that names a session or a device.
func legacyName(data []byte) (key [32]byte, err error) {
	if key, err = legacyKey(data); err == nil && !canonical(&key) {
		err = fmt.Errorf("%w: public key is not canonical", ErrMalformed)
	}
	return key, err
}

func appendLegacyKeyField(dst []byte, number byte, key *[32]byte) []byte {
	return appendLegacyKey(append(dst, number<<3|protoBytes, 33), key)
}

func appendLegacyBody(dst []byte, h *header, ciphertext []byte) []byte {
	dst = append(dst, legacyVersion)
	dst = appendLegacyKeyField(dst, 1, &h.ratchet)
	dst = appendUintField(dst, 2, h.n)
	dst = appendUintField(dst, 3, h.pn)
	return appendBytesField(dst, 4, ciphertext)
}

// legacyBody checks and removes the version byte.
func legacyBody(data []byte) ([]byte, error) {
	if len(data) == 0 || data[0]>>4 != legacyVersion>>4 {
		return nil, fmt.Errorf("%w: empty, or not of protocol version 3", ErrMalformed)
	}
	return data[1:], nil
}

func parseLegacy(data []byte) (s sealed, err error) {
	const macLen = 8
	if len(data) < macLen {
		return s, fmt.Errorf("%w: message of %d bytes", ErrMalformed, len(data))
	}
	s.body, s.mac = data[:len(data)-macLen], data[len(data)-macLen:]
	rest, err := legacyBody(s.body)
	if err != nil {
		return s, err
	}
	seen, err := eachField(rest, func(f protoField) (err error) {
		switch f.number {
		case 1:
			s.ratchet, err = legacyKey(f.bytes)
		case 2:
			s.n, err = f.uint32()
		case 3:
			s.pn, err = f.uint32()
		case 4:
			s.ciphertext = f.bytes
		}
		return err
	})
	if err != nil {
		return s, err
	}
	const wanted = 1<<1 | 1<<2 | 1<<4
	if seen&wanted != wanted {
		return s, fmt.Errorf("%w: message without ratchet key, number or ciphertext", ErrMalformed)
	}
	return s, nil
}

func appendLegacyExchange(dst []byte, x *exchange) []byte {
	dst = append(dst, legacyVersion)
	dst = appendUintField(dst, 1, x.preKey)
	dst = appendLegacyKeyField(dst, 2, &x.base)
	dst = appendLegacyKeyField(dst, 3, &x.identity)
	dst = appendBytesField(dst, 4, x.message)
	dst = appendUintField(dst, 5, x.device)
	return appendUintField(dst, 6, x.signedPreKey)
}

func parseLegacyExchange(data []byte) (x exchange, err error) {
	rest, err := legacyBody(data)
	if err != nil {
		return x, err
	}
	seen, err := eachField(rest, func(f protoField) (err error) {
		switch f.number {
		case 1:
			x.hasPreKey = true
			x.preKey, err = f.uint32()
		case 2:
			x.base, err = legacyName(f.bytes)
		case 3:
			x.identity, err = legacyName(f.bytes)
		case 4:
			x.message = f.bytes
		case 6:
			x.signedPreKey, err = f.uint32()
		}
		return err // 5, the registration id, is optional and means nothing to us
	})
	if err != nil {
		return x, err
	}
	const wanted = 1<<2 | 1<<3 | 1<<4 | 1<<6
	if seen&wanted != wanted {
		return x, fmt.Errorf("%w: key exchange lacks a field", ErrMalformed)
	}
	return x, nil
}
