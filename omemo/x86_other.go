//go:build !amd64

package omemo

// accelerated: see x86_amd64.go. Other processors take the standard library's ways.
const accelerated = false

func shaBlocks(*shaState, *byte, int) { panic("omemo: no SHA instructions") }

func hmacStart(_, _ *shaState, _ *[32]byte) { panic("omemo: no SHA instructions") }

func hmacEnd(_ *[32]byte, _, _ *shaState, _ *[64]byte) { panic("omemo: no SHA instructions") }

func hmacEnds(_, _ *[32]byte, _, _ *shaState, _, _ *[64]byte) { panic("omemo: no SHA instructions") }

func base64Groups(_, _ *byte, _ int) { panic("omemo: no SSSE3") }

func aesExpand(*aesKeys, *[32]byte) { panic("omemo: no AES instructions") }

func aesInvert(*aesKeys) { panic("omemo: no AES instructions") }

func aesEncrypt(_ *aesKeys, _ *[16]byte, _ *byte, _ int) { panic("omemo: no AES instructions") }

func aesDecrypt(_ *aesKeys, _ *[16]byte, _ *byte, _ int) { panic("omemo: no AES instructions") }
