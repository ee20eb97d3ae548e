package omemo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// The standard library's HMAC and HKDF allocate for every call, and there is no
// way to keep a key's two pad blocks hashed. Sealing for a thousand devices makes
// 8000 of these calls, so they are written out here on the stack, for keys of 32
// bytes. Where the processor has SHA instructions, pads are hashed once for a
// key and independent blocks two at a time (sha_amd64.s): half of the time. Both
// ways are compared with crypto/hmac and crypto/hkdf in the tests.

const hashBlock = 64

// shaState is SHA-256 between two blocks: the words F E B A H G D C.
type shaState [8]uint32

// hmacKey is a key of HMAC-SHA256 (RFC 2104), made ready.
type hmacKey struct {
	inner, outer shaState // with accelerated: after the pads
	key          [32]byte // without
}

func (k *hmacKey) set(key *[32]byte) {
	if !accelerated {
		k.key = *key
		return
	}
	hmacStart(&k.inner, &k.outer, key)
}

// noSalt is the key of 32 zero bytes, which HKDF takes for no salt.
func noSalt() hmacKey {
	return hmacKey{
		inner: shaState{0xa3924181, 0x64e5750f, 0x9725214f, 0xf454dead, 0xf8e04e32, 0x824a932b, 0xdf1228ea, 0x90daf2a0},
		outer: shaState{0x753434b0, 0x8e043a72, 0x7abb6477, 0xd385480f, 0x361d45a6, 0xdeb82818, 0x5dd82467, 0x37c9c538},
	}
}

// sum is the HMAC of message.
func (k *hmacKey) sum(message []byte) (sum [32]byte) {
	if !accelerated {
		return standardHMAC(&k.key, message)
	}
	bits := uint64(hashBlock+len(message)) * 8
	inner := k.inner
	if whole := len(message) / hashBlock; whole > 0 {
		shaBlocks(&inner, &message[0], whole)
		message = message[whole*hashBlock:]
	}
	var last [hashBlock]byte
	last[copy(last[:], message)] = 0x80
	if len(message) > hashBlock-9 { // no room for the length
		shaBlocks(&inner, &last[0], 1)
		clear(last[:])
	}
	binary.BigEndian.PutUint64(last[hashBlock-8:], bits)
	hmacEnd(&sum, &inner, &k.outer, &last)
	return sum
}

// sumBytes is the HMAC of a message of one byte, for two such messages.
func (k *hmacKey) sumBytes(a, b byte) (sumA, sumB [32]byte) {
	if !accelerated {
		return standardHMAC(&k.key, []byte{a}), standardHMAC(&k.key, []byte{b})
	}
	const bits = (hashBlock + 1) * 8
	lastA := [hashBlock]byte{0: a, 1: 0x80, hashBlock - 2: bits >> 8, hashBlock - 1: bits & 0xff}
	lastB := [hashBlock]byte{0: b, 1: 0x80, hashBlock - 2: bits >> 8, hashBlock - 1: bits & 0xff}
	hmacEnds(&sumA, &sumB, &k.inner, &k.outer, &lastA, &lastB)
	return sumA, sumB
}

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

// standardHMAC is HMAC-SHA256 by the standard library's SHA-256; it does not
// allocate up to 256 bytes of message.
func standardHMAC(key *[32]byte, message []byte) [32]byte {
	inner, outer := hmacPads(key)
	var buf [hashBlock + 256]byte
	sum := sha256.Sum256(append(append(buf[:0], inner[:]...), message...))
	var last [hashBlock + 32]byte
	copy(last[:], outer[:])
	copy(last[hashBlock:], sum[:])
	return sha256.Sum256(last[:])
}

// hmacSHA256 is HMAC-SHA256 for a key that is used once.
func hmacSHA256(key *[32]byte, message []byte) [32]byte {
	var k hmacKey
	k.set(key)
	return k.sum(message)
}

// hkdfSHA256 fills out by HKDF-SHA256 (RFC 5869) with a salt of 32 bytes.
// The info must not be longer than 64 bytes.
func hkdfSHA256(salt *[32]byte, secret []byte, info string, out []byte) {
	var k hmacKey
	k.set(salt)
	k.hkdf(secret, info, out)
}

// hkdf is hkdfSHA256 with k as its salt.
func (k *hmacKey) hkdf(secret []byte, info string, out []byte) {
	extracted := k.sum(secret)
	var prk hmacKey
	prk.set(&extracted)
	var buf [32 + 64 + 1]byte
	block := buf[:0]
	for i := byte(1); len(out) > 0; i++ {
		sum := prk.sum(append(append(block, info...), i))
		out = out[copy(out, sum[:]):]
		block = append(buf[:0], sum[:]...)
	}
}

// stepChain returns the next message key of a chain and advances the chain key.
func stepChain(chain *[32]byte) (message [32]byte) {
	var k hmacKey
	k.set(chain)
	message, *chain = k.sumBytes(1, 2)
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
	salt := noSalt()
	salt.hkdf(key[:], info, out[:])
	k.enc = [32]byte(out[:32])
	k.mac = [32]byte(out[32:64])
	k.iv = [aes.BlockSize]byte(out[64:])
	return k
}

// aesKeys is the schedule of AES-256: the keys of its rounds.
type aesKeys [15 * aes.BlockSize]byte

// appendEncrypted appends plain in AES-256-CBC with PKCS#7 padding.
func (k *messageKeys) appendEncrypted(dst, plain []byte) []byte {
	start := len(dst)
	dst = append(dst, plain...)
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	for range padding {
		dst = append(dst, byte(padding))
	}
	k.encrypt(dst[start:])
	return dst
}

// encrypt encrypts whole blocks in place. The mode is written out because
// cipher.NewCBCEncrypter allocates, and so does aes.NewCipher.
func (k *messageKeys) encrypt(b []byte) {
	if accelerated {
		var keys aesKeys
		aesExpand(&keys, &k.enc)
		aesEncrypt(&keys, &k.iv, &b[0], len(b)/aes.BlockSize)
		return
	}
	k.standardEncrypt(b)
}

func (k *messageKeys) standardEncrypt(b []byte) {
	block := k.standardAES()
	previous := k.iv[:]
	for ; len(b) > 0; b = b[aes.BlockSize:] {
		subtle.XORBytes(b, b[:aes.BlockSize], previous)
		block.Encrypt(b, b)
		previous = b[:aes.BlockSize]
	}
}

// decryptBlocks reverses encrypt.
func (k *messageKeys) decryptBlocks(b []byte) {
	if accelerated {
		var keys aesKeys
		aesExpand(&keys, &k.enc)
		aesInvert(&keys)
		aesDecrypt(&keys, &k.iv, &b[0], len(b)/aes.BlockSize)
		return
	}
	k.standardDecrypt(b)
}

func (k *messageKeys) standardDecrypt(b []byte) {
	block := k.standardAES()
	previous := k.iv
	for ; len(b) > 0; b = b[aes.BlockSize:] {
		next := [aes.BlockSize]byte(b)
		block.Decrypt(b, b)
		subtle.XORBytes(b, b[:aes.BlockSize], previous[:])
		previous = next
	}
}

func (k *messageKeys) standardAES() cipher.Block {
	block, err := aes.NewCipher(k.enc[:])
	if err != nil {
		panic("omemo: 32 bytes are always a key") // cannot happen
	}
	return block
}

// decrypt reverses appendEncrypted; ok is false when the length or the padding
// is wrong. It is called for authenticated ciphertext only, so that it tells
// an attacker nothing about the padding.
func (k *messageKeys) decrypt(ciphertext []byte) (plain []byte, ok bool) {
	if len(ciphertext) == 0 || len(ciphertext)%aes.BlockSize != 0 {
		return nil, false
	}
	plain = bytes.Clone(ciphertext)
	k.decryptBlocks(plain)
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
