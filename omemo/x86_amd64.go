package omemo

// accelerated says whether this processor has the SHA and AES instructions, and
// so SSSE3.
var accelerated = hasCrypto()

//go:noescape
func hasCrypto() bool

// shaBlocks takes n > 0 blocks of 64 bytes into s.
//
//go:noescape
func shaBlocks(s *shaState, p *byte, n int)

// hmacStart takes the pads of a key into two states.
//
//go:noescape
func hmacStart(inner, outer *shaState, key *[32]byte)

// hmacEnd takes the last block of a message into inner, which it leaves as it is,
// and the hash of the whole into outer.
//
//go:noescape
func hmacEnd(sum *[32]byte, inner, outer *shaState, last *[64]byte)

// hmacEnds is hmacEnd for two messages, in little more time than for one.
//
//go:noescape
func hmacEnds(sum, other *[32]byte, inner, outer *shaState, last, otherLast *[64]byte)

// base64Groups encodes n > 0 groups of 12 bytes; it reads 4 bytes beyond them.
//
//go:noescape
func base64Groups(dst, src *byte, n int)

// aesExpand makes the schedule for encryption, and aesInvert that for decryption
// of it.
//
//go:noescape
func aesExpand(keys *aesKeys, key *[32]byte)

//go:noescape
func aesInvert(keys *aesKeys)

// aesEncrypt encrypts n > 0 blocks in place, in CBC mode, and aesDecrypt decrypts
// them.
//
//go:noescape
func aesEncrypt(keys *aesKeys, iv *[16]byte, p *byte, n int)

//go:noescape
func aesDecrypt(keys *aesKeys, iv *[16]byte, p *byte, n int)
