package store

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the length of the key file's content, in bytes.
const KeySize = 32

// sealer encrypts values at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce in front, under a
// subkey of the key file. The additional data names column and row, so that a value cannot be moved to another place.
type sealer struct {
	aead cipher.AEAD
	rand io.Reader
}

var errUnseal = errors.New("the value does not open with the key file, or was changed on disk")

func newSealer(key []byte, rand io.Reader) (*sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the key must be %d bytes long, not %d", KeySize, len(key))
	}
	sub, err := hkdf.Key(sha256.New, key, nil, "lockbridge store 1", chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive store key: %w", err)
	}
	aead, err := chacha20poly1305.NewX(sub)
	if err != nil {
		return nil, fmt.Errorf("derive store key: %w", err)
	}
	return &sealer{aead: aead, rand: rand}, nil
}

// The sealed columns.
const (
	colCheck   = "meta.value"
	colData    = "event.data"
	colExcerpt = "event.excerpt"
	colState   = "state.value"
	colEmoji   = "reaction.emoji"
	colMedia   = "media.data"
	colImage   = "image.data"
)

// aad encodes where a value belongs, each part with its length, so that no two places read the same.
func aad(column string, row ...string) []byte {
	out := make([]byte, 0, 96)
	for _, p := range append([]string{column}, row...) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

func (s *sealer) seal(plain []byte, column string, row ...string) ([]byte, error) {
	out := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	if _, err := io.ReadFull(s.rand, out); err != nil {
		return nil, fmt.Errorf("draw nonce: %w", err)
	}
	return s.aead.Seal(out, out, plain, aad(column, row...)), nil
}

// open returns the plain value, never nil.
func (s *sealer) open(sealed []byte, column string, row ...string) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, errUnseal
	}
	nonce, box := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := s.aead.Open(make([]byte, 0, len(box)), nonce, box, aad(column, row...))
	if err != nil {
		return nil, errUnseal
	}
	return plain, nil
}
