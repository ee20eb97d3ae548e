package omemo

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
	"io"
)

const (
	payloadKeyLen = 16
	payloadTagLen = 16
	payloadIVLen  = 12 // sent; clients before 2020 sent 16
	oldIVLen      = 16
)

// sealPayload encrypts a body (in Two, an envelope) with a fresh key; material
// is what the sessions carry. Only Legacy has an iv.
func (m *Manager) sealPayload(v Version, plain []byte) (payload, iv, material []byte, err error) {
	if v == Two {
		payload, material, err = sealTwoPayload(m.opts.Rand, plain)
		return payload, nil, material, err
	}
	return sealLegacyPayload(m.opts.Rand, plain)
}

// openPayload reverses sealPayload.
func (m *Manager) openPayload(msg *Message, material []byte) ([]byte, error) {
	if msg.Version == Two {
		return openTwoPayload(msg.Payload, material)
	}
	return openLegacyPayload(msg.Payload, msg.IV, material, m.opts.TagInPayload)
}

// emptyMaterial is what the sessions carry in a message without content. In
// Legacy there is an iv, since clients drop a message without; the key is for
// nothing.
func (m *Manager) emptyMaterial(v Version) (material, iv []byte, err error) {
	if v == Two {
		return make([]byte, 32), nil, nil
	}
	random := make([]byte, payloadKeyLen+payloadIVLen)
	if _, err := io.ReadFull(m.opts.Rand, random); err != nil {
		return nil, nil, fmt.Errorf("omemo: draw a message key: %w", err)
	}
	return random[:payloadKeyLen], random[payloadKeyLen:], nil
}

const (
	twoPayloadKeyLen = 32
	twoPayloadTagLen = 16
)

// sealTwoPayload encrypts an envelope by AES-256-CBC and HMAC-SHA256; material
// is key || tag.
func sealTwoPayload(rand io.Reader, plain []byte) (payload, material []byte, err error) {
	var key [twoPayloadKeyLen]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return nil, nil, fmt.Errorf("omemo: draw a message key: %w", err)
	}
	k := expandKey(&key, twoPayloadInfo)
	payload = k.appendEncrypted(make([]byte, 0, len(plain)+aes.BlockSize), plain)
	mac := hmacSHA256(&k.mac, payload)
	return payload, append(key[:], mac[:twoPayloadTagLen]...), nil
}

const twoPayloadInfo = "OMEMO Payload"

// openTwoPayload decrypts a payload with what the session has delivered.
func openTwoPayload(payload, material []byte) ([]byte, error) {
	if len(material) != twoPayloadKeyLen+twoPayloadTagLen || len(payload) == 0 {
		return nil, fmt.Errorf("%w: key material of %d bytes, payload of %d", ErrMalformed, len(material), len(payload))
	}
	k := expandKey((*[twoPayloadKeyLen]byte)(material), twoPayloadInfo)
	mac := hmacSHA256(&k.mac, payload)
	if subtle.ConstantTimeCompare(mac[:twoPayloadTagLen], material[twoPayloadKeyLen:]) != 1 {
		return nil, ErrBadPayload
	}
	plain, ok := k.decrypt(payload)
	if !ok {
		return nil, fmt.Errorf("%w: padding of the payload", ErrMalformed)
	}
	return plain, nil
}

// sealLegacyPayload encrypts a body with a fresh key by AES-128-GCM. The tag travels
// with the key, sealed by each session: material is key || tag.
func sealLegacyPayload(rand io.Reader, plain []byte) (payload, iv, material []byte, err error) {
	random := make([]byte, payloadKeyLen+payloadIVLen)
	if _, err := io.ReadFull(rand, random); err != nil {
		return nil, nil, nil, fmt.Errorf("omemo: draw a message key: %w", err)
	}
	key, iv := random[:payloadKeyLen:payloadKeyLen], random[payloadKeyLen:]
	gcm, err := payloadCipher(key, iv)
	if err != nil {
		return nil, nil, nil, err
	}
	out := gcm.Seal(make([]byte, 0, len(plain)+payloadTagLen), iv, plain, nil)
	return out[:len(plain)], iv, append(key, out[len(plain):]...), nil
}

// openLegacyPayload decrypts a payload with what the session has delivered. With
// tagInPayload it also takes the form in which the tag ends the payload.
func openLegacyPayload(payload, iv, material []byte, tagInPayload bool) ([]byte, error) {
	switch {
	case len(material) == payloadKeyLen+payloadTagLen:
		payload = append(append(make([]byte, 0, len(payload)+payloadTagLen), payload...), material[payloadKeyLen:]...)
	case len(material) == payloadKeyLen && tagInPayload:
	default:
		return nil, fmt.Errorf("%w: key material of %d bytes", ErrMalformed, len(material))
	}
	gcm, err := payloadCipher(material[:payloadKeyLen], iv)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open([]byte{}, iv, payload, nil)
	if err != nil {
		return nil, ErrBadPayload
	}
	return plain, nil
}

func payloadCipher(key, iv []byte) (cipher.AEAD, error) {
	if len(iv) != payloadIVLen && len(iv) != oldIVLen {
		return nil, fmt.Errorf("%w: iv of %d bytes", ErrMalformed, len(iv))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithNonceSize(block, len(iv))
}
