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

// shaTwo takes a block into each of two states, in little more time than one.
//
//go:noescape
func shaTwo(s, t *shaState, p, q *[64]byte)

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
