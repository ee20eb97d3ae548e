package omemo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

// What is written out here for speed must agree with the standard library.

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestX25519(t *testing.T) {
	for i := range 200 {
		priv, pub := [32]byte(random(t, 32)), [32]byte(random(t, 32))
		if i%4 == 0 { // u-coordinates at and above the modulus
			pub = [32]byte(bytes.Repeat([]byte{0xFF}, 32))
			pub[0] = byte(0xED + i/16)
		}
		key, err := ecdh.X25519().NewPrivateKey(priv[:])
		if err != nil {
			t.Fatal(err)
		}
		remote, err := ecdh.X25519().NewPublicKey(pub[:])
		if err != nil {
			t.Fatal(err)
		}
		want, errWant := key.ECDH(remote)
		got, err := x25519(&priv, &pub)
		if (err == nil) != (errWant == nil) || err == nil && !bytes.Equal(got[:], want) {
			t.Fatalf("x25519(%x, %x) = %x, %v, want %x, %v", priv, pub, got, err, want, errWant)
		}
		if own := publicKey(&priv); !bytes.Equal(own[:], key.PublicKey().Bytes()) {
			t.Fatalf("public key of %x is %x", priv, own)
		}
	}
}

func TestHMACAndHKDF(t *testing.T) {
	for n := range 400 {
		key, message := [32]byte(random(t, 32)), random(t, n)
		h := hmac.New(sha256.New, key[:])
		h.Write(message)
		if got := hmacSHA256(&key, message); !bytes.Equal(got[:], h.Sum(nil)) {
			t.Fatalf("HMAC of %d bytes differs", n)
		}
		if got := standardHMAC(&key, message); !bytes.Equal(got[:], h.Sum(nil)) {
			t.Fatalf("HMAC of %d bytes by the standard library's SHA-256 differs", n)
		}
		var k hmacKey
		k.set(&key)
		if a, b := k.sumBytes(byte(n), 2); a != hmacSHA256(&key, []byte{byte(n)}) || b != hmacSHA256(&key, []byte{2}) {
			t.Fatal("two HMACs at once differ from one after the other")
		}
		got := make([]byte, n%200)
		hkdfSHA256(&key, message, "info", got)
		want, err := hkdf.Key(sha256.New, message, key[:], "info", len(got))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("HKDF to %d bytes differs, %v", len(got), err)
		}
	}
}

func TestNoSalt(t *testing.T) {
	zero := new(hmacKey)
	zero.set(new([32]byte))
	if got := noSalt(); accelerated && got != *zero {
		t.Fatal("it is not the key of zero bytes")
	}
}

func TestCBC(t *testing.T) {
	for n := range 100 {
		k := messageKeys{enc: [32]byte(random(t, 32)), iv: [16]byte(random(t, 16))}
		plain := random(t, n)
		got := k.appendEncrypted([]byte("before"), plain)[6:]
		back, ok := k.decrypt(got)
		if !ok || !bytes.Equal(back, plain) {
			t.Fatalf("%d bytes do not come back", n)
		}
		block, err := aes.NewCipher(k.enc[:])
		if err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(16 - n%16)}, 16-n%16)...)
		cipher.NewCBCEncrypter(block, k.iv[:]).CryptBlocks(want, want)
		if !bytes.Equal(got, want) {
			t.Fatalf("CBC of %d bytes differs", n)
		}
		whole := want[:len(want)-16]
		standard := bytes.Clone(whole)
		if k.standardDecrypt(standard); !bytes.Equal(standard, plain[:len(whole)]) {
			t.Fatalf("CBC of %d bytes by the standard library's AES does not come back", n)
		}
		if k.standardEncrypt(standard); !bytes.Equal(standard, whole) {
			t.Fatalf("CBC of %d bytes by the standard library's AES differs", n)
		}
	}
	var k messageKeys
	for _, padding := range [][]byte{
		bytes.Repeat([]byte{0}, 16), bytes.Repeat([]byte{17}, 16), append(bytes.Repeat([]byte{3}, 14), 2, 3),
	} {
		ciphertext := k.appendEncrypted(nil, padding)[:16]
		if _, ok := k.decrypt(ciphertext); ok {
			t.Errorf("padding %x is accepted", padding)
		}
	}
	for _, n := range []int{0, 1, 15, 17} {
		if _, ok := k.decrypt(make([]byte, n)); ok {
			t.Errorf("ciphertext of %d bytes is accepted", n)
		}
	}
}
