package media

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"lockbridge/gateway"
)

// seals encrypts with the standard library, in every way that networks know.
func seals(t testing.TB, name string, plain []byte) (*gateway.Cipher, []byte) {
	t.Helper()
	c := &gateway.Cipher{Name: name, Key: noise(1, 32), IV: noise(2, 16)}
	if name == gateway.CipherGCM128 {
		c.Key, c.IV = c.Key[:16], c.IV[:12]
	}
	block, err := aes.NewCipher(c.Key)
	if err != nil {
		t.Fatal(err)
	}
	var sealed []byte
	switch name {
	case gateway.CipherCTR256:
		sealed = make([]byte, len(plain))
		cipher.NewCTR(block, c.IV).XORKeyStream(sealed, plain)
	case gateway.CipherCBC256:
		pad := aes.BlockSize - len(plain)%aes.BlockSize
		sealed = append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
		cipher.NewCBCEncrypter(block, c.IV).CryptBlocks(sealed, sealed)
	default:
		sealed = standard(t, c.Key, c.IV, plain)
	}
	sum := sha256.Sum256(sealed)
	c.Hash = sum[:]
	return c, sealed
}

func TestEveryCipherOpensFromAnywhere(t *testing.T) {
	for _, name := range []string{gateway.CipherGCM256, gateway.CipherGCM128, gateway.CipherCTR256, gateway.CipherCBC256} {
		for _, n := range []int{0, 1, 15, 16, 17, 1000, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 5} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, n), func(t *testing.T) {
				plain := noise(9, n)
				c, sealed := seals(t, name, plain)
				o, err := newOpener(c)
				if err != nil {
					t.Fatal(err)
				}
				text := bytes.NewReader(sealed)
				size, err := o.verify(t.Context(), text, int64(len(sealed)))
				if err != nil || size != int64(n) {
					t.Fatalf("verified %d bytes, %v; want %d", size, err, n)
				}
				for _, offset := range []int{0, 1, 15, 16, 17, n / 2, n - 1, n} {
					if offset < 0 || offset > n {
						continue
					}
					if err := iotest.TestReader(o.from(text, size, int64(offset)), plain[offset:]); err != nil {
						t.Errorf("from byte %d on: %v", offset, err)
					}
				}
			})
		}
	}
}

func TestNothingForgedIsVerified(t *testing.T) {
	plain := noise(9, 2*chunkSize+100)
	for _, name := range []string{gateway.CipherGCM256, gateway.CipherGCM128} {
		c, sealed := seals(t, name, plain)
		o, err := newOpener(c)
		if err != nil {
			t.Fatal(err)
		}
		bad := map[string][]byte{
			"empty": {}, "nothing but a tag's part": sealed[:15], "truncated": sealed[:len(sealed)-1], "without its tag": sealed[:len(sealed)-tagSize], "longer": append(bytes.Clone(sealed), 0),
		}
		for _, at := range []int{0, chunkSize, len(plain) - 1, len(plain), len(sealed) - 1} {
			forged := bytes.Clone(sealed)
			forged[at] ^= 1
			bad[fmt.Sprintf("a bit of byte %d", at)] = forged
		}
		for what, text := range bad {
			if _, err := o.verify(t.Context(), bytes.NewReader(text), int64(len(text))); !errors.Is(err, errForged) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	c, sealed := seals(t, gateway.CipherCBC256, plain)
	o, err := newOpener(c)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string][]byte{"empty": {}, "half a block": sealed[:8], "without its padding": sealed[:aes.BlockSize]} {
		if _, err := o.verify(t.Context(), bytes.NewReader(text), int64(len(text))); !errors.Is(err, errForged) {
			t.Errorf("CBC: %s: %v", what, err)
		}
	}
}

func TestStrangeCiphersAreRefused(t *testing.T) {
	good := func() *gateway.Cipher {
		return &gateway.Cipher{Name: gateway.CipherCTR256, Key: make([]byte, 32), IV: make([]byte, 16), Hash: make([]byte, 32)}
	}
	if _, err := newOpener(good()); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*gateway.Cipher){
		"an unknown name":       func(c *gateway.Cipher) { c.Name = "rot13" },
		"no name":               func(c *gateway.Cipher) { c.Name = "" },
		"a short key":           func(c *gateway.Cipher) { c.Key = c.Key[:16] },
		"no key":                func(c *gateway.Cipher) { c.Key = nil },
		"an IV of 11 bytes":     func(c *gateway.Cipher) { c.Name, c.IV = gateway.CipherGCM256, c.IV[:11] },
		"no IV":                 func(c *gateway.Cipher) { c.IV = nil },
		"no hash":               func(c *gateway.Cipher) { c.Hash = nil },
		"a short hash":          func(c *gateway.Cipher) { c.Hash = c.Hash[:20] },
		"CBC without hash":      func(c *gateway.Cipher) { c.Name, c.Hash = gateway.CipherCBC256, nil },
		"a long key for GCM128": func(c *gateway.Cipher) { c.Name = gateway.CipherGCM128 },
	} {
		c := good()
		spoil(c)
		if _, err := newOpener(c); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestASealerThatRunsOutOfTextGivesNoTag(t *testing.T) {
	g, err := newGCM(noise(1, 32), noise(2, 12))
	if err != nil {
		t.Fatal(err)
	}
	seal := &gateway.Cipher{}
	if _, err := io.ReadAll(newSealer(g, bytes.NewReader(make([]byte, 99)), 100, seal)); !errors.Is(err, io.ErrUnexpectedEOF) || seal.Hash != nil {
		t.Errorf("err %v, hash %x", err, seal.Hash)
	}
}
