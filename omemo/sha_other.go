//go:build !amd64

package omemo

// shaFast: see sha_amd64.go. Other processors take the standard library's SHA-256.
const shaFast = false

func shaBlocks(*shaState, *byte, int) { panic("omemo: no SHA instructions") }

func shaTwo(_, _ *shaState, _, _ *[64]byte) { panic("omemo: no SHA instructions") }

func base64Groups(_, _ *byte, _ int) { panic("omemo: no SSSE3") }
