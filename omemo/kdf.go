package omemo

import (
	"crypto/aes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// The standard library's HMAC and HKDF allocate for every call. Sealing for a
// thousand devices makes 8000 of these calls, so they are written out here on
// the stack, for keys of 32 bytes. Both are compared with crypto/hmac and
// crypto/hkdf in the tests.

const hashBlock = 64

// hmacPads returns the two key blocks of HMAC-SHA256 (RFC 2104 section 2).
func hmacPads(key *[32]byte) (inner, outer [hashBlock]byte) {
	for i := 0; i < 32; i += 8 {
		k := binary.LittleEndian.Uint64(key[i:])
		binary.LittleEndian.PutUint64(inner[i:], k^0x3636363636363636)
		binary.LittleEndian.PutUint64(outer[i:], k^0x5c5c5c5c5c5c5c5c)
		binary.LittleEndian.PutUint64(inner[32+i:], 0x3636363636363636)
		binary.LittleEndian.PutUint64(outer[32+i:], 0x5c5c5c5c5c5c5c5c)
	}
	return inner, outer
}

// hmacSHA256 is HMAC-SHA256; it does not allocate up to 256 bytes of message.
func hmacSHA256(key *[32]byte, message []byte) [32]byte {
	inner, outer := hmacPads(key)
	var buf [hashBlock + 256]byte
	sum := sha256.Sum256(append(append(buf[:0], inner[:]...), message...))
	var last [hashBlock + 32]byte
	copy(last[:], outer[:])
	copy(last[hashBlock:], sum[:])
	return sha256.Sum256(last[:])
}

// hkdfSHA256 fills out by HKDF-SHA256 (RFC 5869) with a salt of 32 bytes.
// The info must not be longer than 64 bytes.
func hkdfSHA256(salt *[32]byte, secret []byte, info string, out []byte) {
	prk := hmacSHA256(salt, secret)
	var buf [32 + 64 + 1]byte
	block := buf[:0]
	for i := byte(1); len(out) > 0; i++ {
		sum := hmacSHA256(&prk, append(append(block, info...), i))
		out = out[copy(out, sum[:]):]
		block = append(buf[:0], sum[:]...)
	}
}

// stepChain returns the next message key of a chain and advances the chain key.
func stepChain(chain *[32]byte) (message [32]byte) {
	message = hmacSHA256(chain, []byte{1})
	*chain = hmacSHA256(chain, []byte{2})
	return message
}

// stepRoot mixes a Diffie-Hellman result into the root key and returns the
// chain key that comes out.
func (w *wire) stepRoot(root, dh *[32]byte) (chain [32]byte) {
	var out [64]byte
	hkdfSHA256(root, dh[:], w.rootInfo, out[:])
	*root = [32]byte(out[:32])
	return [32]byte(out[32:])
}

// messageKeys are the keys for one message.
type messageKeys struct {
	enc, mac [32]byte
	iv       [aes.BlockSize]byte
}

func (w *wire) expand(message *[32]byte) messageKeys { return expandKey(message, w.messageInfo) }

func expandKey(key *[32]byte, info string) (k messageKeys) {
	var out [80]byte
	hkdfSHA256(new([32]byte), key[:], info, out[:])
	k.enc = [32]byte(out[:32])
	k.mac = [32]byte(out[32:64])
	k.iv = [aes.BlockSize]byte(out[64:])
	return k
}

// appendEncrypted appends plain in AES-256-CBC with PKCS#7 padding. The mode
// is written out because cipher.NewCBCEncrypter allocates.
func (k *messageKeys) appendEncrypted(dst, plain []byte) []byte {
	block, err := aes.NewCipher(k.enc[:])
	if err != nil {
		panic("omemo: 32 bytes are always a key") // cannot happen
	}
	start := len(dst)
	dst = append(dst, plain...)
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	for range padding {
		dst = append(dst, byte(padding))
	}
	previous := k.iv[:]
	for b := dst[start:]; len(b) > 0; b = b[aes.BlockSize:] {
		subtle.XORBytes(b, b[:aes.BlockSize], previous)
		block.Encrypt(b, b)
		previous = b[:aes.BlockSize]
	}
	return dst
}

// decrypt reverses appendEncrypted; ok is false when the length or the padding
// is wrong. It is called for authenticated ciphertext only, so that it tells
// an attacker nothing about the padding.
func (k *messageKeys) decrypt(ciphertext []byte) (plain []byte, ok bool) {
	if len(ciphertext) == 0 || len(ciphertext)%aes.BlockSize != 0 {
		return nil, false
	}
	block, err := aes.NewCipher(k.enc[:])
	if err != nil {
		panic("omemo: 32 bytes are always a key") // cannot happen
	}
	plain = make([]byte, len(ciphertext))
	previous := k.iv[:]
	for i := 0; i < len(ciphertext); i += aes.BlockSize {
		b := plain[i : i+aes.BlockSize]
		block.Decrypt(b, ciphertext[i:])
		subtle.XORBytes(b, b, previous)
		previous = ciphertext[i : i+aes.BlockSize]
	}
	padding := int(plain[len(plain)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, false
	}
	for _, p := range plain[len(plain)-padding:] {
		if int(p) != padding {
			return nil, false
		}
	}
	return plain[:len(plain)-padding], true
}
