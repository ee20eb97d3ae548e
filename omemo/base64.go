package omemo

import (
	"encoding/base64"
	"slices"
)

// appendBase64 appends src in standard base64, padded: most of what writing a
// stanza for a large room costs. Where the processor can, it makes 16 characters
// at a time.
func appendBase64(dst, src []byte) []byte {
	if !accelerated {
		return base64.StdEncoding.AppendEncode(dst, src)
	}
	// A group is 12 bytes, but 16 are read: the last ones go through a copy.
	const group, read, chars = 12, 16, 16
	size := base64.StdEncoding.EncodedLen(len(src))
	dst = slices.Grow(dst, size)
	if len(src) >= read {
		n := (len(src)-read)/group + 1
		start := len(dst)
		dst = dst[:start+n*chars]
		base64Groups(&dst[start], &src[0], n)
		src, size = src[n*group:], size-n*chars
	}
	var in [group + read]byte
	var out [2 * chars]byte
	if copy(in[:], src) > 0 {
		base64Groups(&out[0], &in[0], 2)
		for i := range (3 - len(src)%3) % 3 {
			out[size-1-i] = '='
		}
	}
	return append(dst, out[:size]...)
}
