package media

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// AES-GCM (NIST SP 800-38D) over files of any size in little memory, without letting go of a byte that was not verified.
// The standard library seals and opens in one piece; here its GHASH is used chunk by chunk, and AES-CTR beside it.
//
// GHASH of a text of n blocks X1…Xn is Y = X1·H^n ⊕ … ⊕ Xn·H in GF(2^128). A chunk that is sealed as additional data,
// without a text, under any nonce, has the tag
//
//	tag = (Y ⊕ L)·H ⊕ E(J0')    where L is the chunk's length in bits, as the first half of a block
//
// so Y·H = tag ⊕ E(J0') ⊕ L·H, and chunks are joined by (Y·H) ← (Y·H)·H^m ⊕ (Y·H of a chunk of m blocks). The tag of
// the whole, which has its length in the second half of the last block, is Y·H ⊕ [0 ‖ 8·n]·H ⊕ E(J0).

const (
	chunkSize = 64 << 10 // a multiple of the block size
	tagSize   = 16
)

// element is a polynomial over GF(2) of degree below 128; the first bit is the coefficient of x^0.
type element struct{ hi, lo uint64 }

func toElement(b []byte) element {
	return element{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (x element) bytes() (b [aes.BlockSize]byte) {
	binary.BigEndian.PutUint64(b[:], x.hi)
	binary.BigEndian.PutUint64(b[8:], x.lo)
	return b
}

func (x element) add(y element) element { return element{x.hi ^ y.hi, x.lo ^ y.lo} }

// mul multiplies modulo x^128 + x^7 + x^2 + x + 1 (SP 800-38D, algorithm 1), in a time that does not depend on the
// values.
func (x element) mul(y element) (z element) {
	const reduction = 0xe1 << 56
	for i := range 128 {
		bit := x.hi >> 63
		if i == 63 {
			x.hi = x.lo
		} else {
			x.hi <<= 1
		}
		z.hi ^= y.hi & -bit
		z.lo ^= y.lo & -bit
		carry := y.lo & 1
		y.lo = y.lo>>1 | y.hi<<63
		y.hi = y.hi>>1 ^ reduction&-carry
	}
	return z
}

// power is x to the n-th.
func (x element) power(n int) element {
	one := element{hi: 1 << 63}
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			one = one.mul(x)
		}
		x = x.mul(x)
	}
	return one
}

// gcm is AES-GCM with one key and one IV.
type gcm struct {
	block cipher.Block
	aead  cipher.AEAD // of the same key, for its GHASH
	h     element
	j0    [aes.BlockSize]byte
}

func newGCM(key, iv []byte) (*gcm, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("prepare AES-GCM: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("prepare AES-GCM: %w", err)
	}
	g := &gcm{block: block, aead: aead}
	g.h = toElement(g.encrypt([aes.BlockSize]byte{}))
	switch len(iv) {
	case 12:
		copy(g.j0[:], iv)
		g.j0[15] = 1
	case aes.BlockSize:
		g.j0 = toElement(iv).mul(g.h).add(element{lo: 8 * aes.BlockSize}).mul(g.h).bytes()
	default:
		return nil, fmt.Errorf("prepare AES-GCM: an IV of %d bytes", len(iv))
	}
	return g, nil
}

func (g *gcm) encrypt(b [aes.BlockSize]byte) []byte {
	g.block.Encrypt(b[:], b[:])
	return b[:]
}

// stream is the key stream from an offset in the text on.
func (g *gcm) stream(offset int64) cipher.Stream {
	s := &gcmStream{block: g.block, counter: g.j0}
	number := binary.BigEndian.Uint32(g.j0[12:]) + 1 + uint32(uint64(offset/aes.BlockSize)) //nolint:gosec // it wraps around
	s.begin(number)
	skip := make([]byte, offset%aes.BlockSize)
	s.XORKeyStream(skip, skip)
	return s
}

// gcmStream is CTR whose counter is the last four bytes of the block alone, which wraps around by itself (inc32 in SP
// 800-38D, section 6.2). A counter that is derived from an IV of 16 bytes begins anywhere.
type gcmStream struct {
	block   cipher.Block
	counter [aes.BlockSize]byte
	stream  cipher.Stream
	left    int64 // bytes until the counter wraps
}

func (s *gcmStream) begin(number uint32) {
	binary.BigEndian.PutUint32(s.counter[12:], number)
	s.stream, s.left = cipher.NewCTR(s.block, s.counter[:]), (1<<32-int64(number))*aes.BlockSize
}

// XORKeyStream implements cipher.Stream.
func (s *gcmStream) XORKeyStream(dst, src []byte) {
	for len(src) > 0 {
		if s.left == 0 {
			s.begin(0)
		}
		n := int(min(int64(len(src)), s.left))
		s.stream.XORKeyStream(dst[:n], src[:n])
		dst, src, s.left = dst[n:], src[n:], s.left-int64(n)
	}
}

// tagger computes the tag of a ciphertext that is written to it.
type tagger struct {
	g     *gcm
	mask  element // what the tag of a chunk is masked with
	whole element // H^m for a whole chunk
	sum   element // GHASH of what was summed up, times H
	n     int64
	chunk []byte
	tag   []byte
}

func (g *gcm) tagger() *tagger {
	nonce := [aes.BlockSize]byte{15: 1} // twelve zeros are as good as any: these tags are seen by nobody
	return &tagger{
		g: g, mask: toElement(g.encrypt(nonce)), whole: g.h.power(chunkSize / aes.BlockSize),
		chunk: make([]byte, 0, chunkSize), tag: make([]byte, 0, tagSize),
	}
}

// Write implements io.Writer; it never fails.
func (t *tagger) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		took := min(len(p), chunkSize-len(t.chunk))
		t.chunk = append(t.chunk, p[:took]...)
		p = p[took:]
		if len(t.chunk) == chunkSize {
			t.add(t.whole)
		}
	}
	return n, nil
}

// add sums the chunk up; shift is H to the number of its blocks.
func (t *tagger) add(shift element) {
	tag := toElement(t.g.aead.Seal(t.tag, make([]byte, t.g.aead.NonceSize()), nil, t.chunk))
	length := element{hi: 8 * uint64(len(t.chunk))}
	t.sum = t.sum.mul(shift).add(tag).add(t.mask).add(length.mul(t.g.h))
	t.n += int64(len(t.chunk))
	t.chunk = t.chunk[:0]
}

// end returns the tag of all that was written; nothing may follow.
func (t *tagger) end() [tagSize]byte {
	if len(t.chunk) > 0 {
		t.add(t.g.h.power((len(t.chunk) + aes.BlockSize - 1) / aes.BlockSize))
	}
	length := element{lo: 8 * uint64(t.n)} //nolint:gosec // never negative
	return t.sum.add(length.mul(t.g.h)).add(toElement(t.g.encrypt(t.g.j0))).bytes()
}
