package media

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

func standard(t testing.TB, key, iv, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		t.Fatal(err)
	}
	return aead.Seal(nil, iv, plain, nil)
}

func TestGCMIsTheStandardLibrarys(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, chunkSize - 1, chunkSize, chunkSize + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 37} {
		for _, keySize := range []int{16, 32} {
			for _, ivSize := range []int{12, 16} {
				t.Run(fmt.Sprintf("%d bytes, key %d, IV %d", n, keySize, ivSize), func(t *testing.T) {
					key, iv, plain := noise(1, keySize), noise(2, ivSize), noise(3, n)
					want := standard(t, key, iv, plain)
					g, err := newGCM(key, iv)
					if err != nil {
						t.Fatal(err)
					}
					got := make([]byte, n)
					g.stream(0).XORKeyStream(got, plain)
					tags := g.tagger()
					for rest := got; len(rest) > 0; { // in pieces of odd sizes
						took := min(len(rest), 10_007)
						_, _ = tags.Write(rest[:took])
						rest = rest[took:]
					}
					tag := tags.end()
					if !bytes.Equal(bytes.Join([][]byte{got, tag[:]}, nil), want) {
						t.Error("the ciphertext differs from the standard library's")
					}
					if _, err := io.ReadFull(newSealer(g, bytes.NewReader(plain), int64(n), nil), make([]byte, n+tagSize)); err != nil {
						t.Errorf("the sealer: %v", err)
					}
				})
			}
		}
	}
}

func TestTheStreamBeginsAnywhere(t *testing.T) {
	key, iv, plain := noise(1, 32), noise(2, 12), noise(3, 200_000)
	want := standard(t, key, iv, plain)
	g, err := newGCM(key, iv)
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int{0, 1, 15, 16, 17, 65_536, 199_999} {
		got := bytes.Clone(plain[offset:])
		g.stream(int64(offset)).XORKeyStream(got, got)
		if !bytes.Equal(got, want[offset:len(plain)]) {
			t.Errorf("from byte %d on the stream differs", offset)
		}
	}
}

// The counter of an IV of 16 bytes begins anywhere, so it may wrap within a file. One IV in 2^32 begins within a few
// blocks of the end, so the first counter is put there by hand; the standard library is asked for single blocks.
func TestTheCounterWrapsWithoutCarry(t *testing.T) {
	g, err := newGCM(noise(1, 32), noise(2, 16))
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(g.j0[12:], 0xFFFFFFFD)
	want := make([]byte, 0, 6*aes.BlockSize)
	for _, low := range []uint32{0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2, 3} {
		b := g.j0
		binary.BigEndian.PutUint32(b[12:], low)
		want = append(want, g.encrypt(b)...)
	}
	for offset := range len(want) {
		got := make([]byte, len(want)-offset)
		g.stream(int64(offset)).XORKeyStream(got, got)
		if !bytes.Equal(got, want[offset:]) {
			t.Fatalf("from byte %d on the stream differs", offset)
		}
	}
}

func FuzzGCMIsTheStandardLibrarys(f *testing.F) {
	f.Add(uint64(1), uint32(0), uint16(1), true)
	f.Add(uint64(2), uint32(chunkSize+1), uint16(77), false)
	f.Fuzz(func(t *testing.T, seed uint64, size uint32, piece uint16, long bool) {
		ivSize := 12
		if long {
			ivSize = 16
		}
		key, iv, plain := noise(seed, 32), noise(seed+1, ivSize), noise(seed+2, int(size%(3*chunkSize)))
		want := standard(t, key, iv, plain)
		g, err := newGCM(key, iv)
		if err != nil {
			t.Fatal(err)
		}
		s := newSealer(g, bytes.NewReader(plain), int64(len(plain)), nil)
		got := make([]byte, 0, len(want))
		buf := make([]byte, int(piece)+1)
		for {
			n, err := s.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Error("the ciphertext differs from the standard library's")
		}
	})
}
