package omemo

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
)

const (
	payloadKeyLen = 16
	payloadTagLen = 16
	payloadIVLen  = 12 // sent; clients before 2020 sent 16
	oldIVLen      = 16
)

// sealPayload encrypts a body with a fresh key by AES-128-GCM. The tag travels
// with the key, sealed by each session: material is key || tag.
func sealPayload(rand io.Reader, plain []byte) (payload, iv, material []byte, err error) {
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

// openPayload decrypts a payload with what the session has delivered. With
// tagInPayload it also takes the form in which the tag ends the payload.
func openPayload(payload, iv, material []byte, tagInPayload bool) ([]byte, error) {
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
