package omemo

import (
	"fmt"
	"slices"
)

// twoWire is XEP-0384 version 0.8.0 and later. Identity keys are in their
// Ed25519 form, with the sign bit as it came; all other keys are bare.
func twoWire() *wire {
	return &wire{
		version:        Two,
		space:          "2",
		x3dhInfo:       "OMEMO X3DH",
		rootInfo:       "OMEMO Root Chain",
		messageInfo:    "OMEMO Message Key Material",
		macLen:         twoMACLen,
		own:            func(id *identity) *[32]byte { return &id.ed },
		curve:          curveOf,
		sound:          twoIdentity,
		associated:     twoAssociated,
		appendKey:      func(dst []byte, key *[32]byte) []byte { return append(dst, key[:]...) },
		parseKey:       twoKey,
		verify:         verifySignature,
		appendBody:     appendTwoBody,
		appendMAC:      appendTwoMAC,
		parse:          parseTwo,
		appendExchange: appendTwoExchange,
		parseExchange:  parseTwoExchange,
	}
}

const twoMACLen = 16

// twoIdentity checks an identity key before it is pinned.
func twoIdentity(identity *[32]byte) error {
	_, err := curveForm(identity)
	return err
}

// twoAssociated: the key of whoever began the session comes first, in both
// directions.
func twoAssociated(dst []byte, own, remote *[32]byte, _, initiator bool) []byte {
	if !initiator {
		own, remote = remote, own
	}
	return append(append(dst, own[:]...), remote[:]...)
}

func twoKey(data []byte) (key [32]byte, err error) {
	if len(data) != len(key) {
		return key, fmt.Errorf("%w: public key of %d bytes", ErrMalformed, len(data))
	}
	return [32]byte(data), nil
}

// appendTwoBody appends an OMEMOMessage.
func appendTwoBody(dst []byte, h *header, ciphertext []byte) []byte {
	dst = appendUintField(dst, 1, h.n)
	dst = appendUintField(dst, 2, h.pn)
	dst = appendBytesField(dst, 3, h.ratchet[:])
	return appendBytesField(dst, 4, ciphertext)
}

// appendTwoMAC makes an OMEMOAuthenticatedMessage of the body at dst[body:],
// which has to move: the MAC comes first.
func appendTwoMAC(dst []byte, body int, mac []byte) []byte {
	var buf [2 + twoMACLen + 6]byte
	start := appendBytesField(buf[:0], 1, mac)
	start = appendBytesHead(start, 2, len(dst)-body)
	return slices.Insert(dst, body, start...)
}

func parseTwo(data []byte) (s sealed, err error) {
	seen, err := eachField(data, func(f protoField) error {
		switch f.number {
		case 1:
			s.mac = f.bytes
		case 2:
			s.body = f.bytes
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	if seen&(1<<1|1<<2) != 1<<1|1<<2 || len(s.mac) != twoMACLen {
		return s, fmt.Errorf("%w: message without body or MAC", ErrMalformed)
	}
	seen, err = eachField(s.body, func(f protoField) (err error) {
		switch f.number {
		case 1:
			s.n, err = f.uint32()
		case 2:
			s.pn, err = f.uint32()
		case 3:
			s.ratchet, err = twoKey(f.bytes)
		case 4:
			s.ciphertext = f.bytes
		}
		return err
	})
	if err != nil {
		return s, err
	}
	const wanted = 1<<1 | 1<<3 | 1<<4
	if seen&wanted != wanted {
		return s, fmt.Errorf("%w: message without ratchet key, number or ciphertext", ErrMalformed)
	}
	return s, nil
}

// appendTwoExchange appends an OMEMOKeyExchange.
func appendTwoExchange(dst []byte, x *exchange) []byte {
	dst = appendUintField(dst, 1, x.preKey)
	dst = appendUintField(dst, 2, x.signedPreKey)
	dst = appendBytesField(dst, 3, x.identity[:])
	dst = appendBytesField(dst, 4, x.base[:])
	return appendBytesField(dst, 5, x.message)
}

func parseTwoExchange(data []byte) (x exchange, err error) {
	seen, err := eachField(data, func(f protoField) (err error) {
		switch f.number {
		case 1:
			x.hasPreKey = true
			x.preKey, err = f.uint32()
		case 2:
			x.signedPreKey, err = f.uint32()
		case 3:
			x.identity, err = twoKey(f.bytes)
		case 4:
			if x.base, err = twoKey(f.bytes); err == nil && !canonical(&x.base) {
				err = fmt.Errorf("%w: public key is not canonical", ErrMalformed)
			}
		case 5:
			x.message = f.bytes
		}
		return err
	})
	if err != nil {
		return x, err
	}
	const wanted = 1<<2 | 1<<3 | 1<<4 | 1<<5
	if seen&wanted != wanted {
		return x, fmt.Errorf("%w: key exchange lacks a field", ErrMalformed)
	}
	return x, nil
}
