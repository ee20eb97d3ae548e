package omemo

// shaFast says whether this processor has the SHA instructions.
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
