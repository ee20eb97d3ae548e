package omemo

// shaFast says whether this processor has the SHA instructions, and so SSSE3.
var shaFast = hasSHA()

//go:noescape
func hasSHA() bool

// shaBlocks takes n > 0 blocks of 64 bytes into s.
//
//go:noescape
func shaBlocks(s *shaState, p *byte, n int)

// shaTwo takes a block into each of two states, in little more time than one.
//
//go:noescape
func shaTwo(s, t *shaState, p, q *[64]byte)

// base64Groups encodes n > 0 groups of 12 bytes; it reads 4 bytes beyond them.
//
//go:noescape
func base64Groups(dst, src *byte, n int)
