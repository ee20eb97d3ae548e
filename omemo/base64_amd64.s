// Base64 by the byte shuffles of SSSE3: 12 bytes become 16 characters at once. The method is W. Muła's and D. Lemire's
// (Faster Base64 Encoding and Decoding Using AVX2 Instructions, 2018), here for 16 bytes.

#include "textflag.h"

// Each three bytes a b c are doubled to b a c b, so that two multiplications can move four groups of six bits apart.
DATA base64Spread<>+0(SB)/8, $0x0405030401020001
DATA base64Spread<>+8(SB)/8, $0x0a0b090a07080607
GLOBL base64Spread<>(SB), RODATA|NOPTR, $16

DATA base64High<>+0(SB)/8, $0x0fc0fc000fc0fc00
DATA base64High<>+8(SB)/8, $0x0fc0fc000fc0fc00
GLOBL base64High<>(SB), RODATA|NOPTR, $16

DATA base64HighShift<>+0(SB)/8, $0x0400004004000040
DATA base64HighShift<>+8(SB)/8, $0x0400004004000040
GLOBL base64HighShift<>(SB), RODATA|NOPTR, $16

DATA base64Low<>+0(SB)/8, $0x003f03f0003f03f0
DATA base64Low<>+8(SB)/8, $0x003f03f0003f03f0
GLOBL base64Low<>(SB), RODATA|NOPTR, $16

DATA base64LowShift<>+0(SB)/8, $0x0100001001000010
DATA base64LowShift<>+8(SB)/8, $0x0100001001000010
GLOBL base64LowShift<>(SB), RODATA|NOPTR, $16

DATA base64Fifties<>+0(SB)/8, $0x3333333333333333
DATA base64Fifties<>+8(SB)/8, $0x3333333333333333
GLOBL base64Fifties<>(SB), RODATA|NOPTR, $16

DATA base64Capitals<>+0(SB)/8, $0x1a1a1a1a1a1a1a1a
DATA base64Capitals<>+8(SB)/8, $0x1a1a1a1a1a1a1a1a
GLOBL base64Capitals<>(SB), RODATA|NOPTR, $16

DATA base64Thirteens<>+0(SB)/8, $0x0d0d0d0d0d0d0d0d
DATA base64Thirteens<>+8(SB)/8, $0x0d0d0d0d0d0d0d0d
GLOBL base64Thirteens<>(SB), RODATA|NOPTR, $16

// What to add to a value of six bits: at 0 for a to z, at 1 to 10 for digits, at 11 for +, 12 for /, 13 for A to Z.
DATA base64Offsets<>+0(SB)/8, $0xfcfcfcfcfcfcfc47
DATA base64Offsets<>+8(SB)/8, $0x000041f0edfcfcfc
GLOBL base64Offsets<>(SB), RODATA|NOPTR, $16

// func base64Groups(dst, src *byte, n int)
TEXT ·base64Groups(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVOU base64Spread<>(SB), X8
	MOVOU base64High<>(SB), X9
	MOVOU base64HighShift<>(SB), X10
	MOVOU base64Low<>(SB), X11
	MOVOU base64LowShift<>(SB), X12
	MOVOU base64Fifties<>(SB), X13
	MOVOU base64Capitals<>(SB), X14
	MOVOU base64Thirteens<>(SB), X15
	MOVOU base64Offsets<>(SB), X7

group:
	MOVOU   (SI), X0
	PSHUFB  X8, X0
	MOVO    X0, X1
	PAND    X9, X0
	PMULHUW X10, X0
	PAND    X11, X1
	PMULLW  X12, X1
	POR     X1, X0      // 16 values of six bits
	MOVO    X0, X1
	PSUBUSB X13, X1     // 0 up to 51, then 1 to 12
	MOVO    X14, X2
	PCMPGTB X0, X2      // below 26
	PAND    X15, X2
	POR     X2, X1
	MOVO    X7, X3
	PSHUFB  X1, X3
	PADDB   X3, X0
	MOVOU   X0, (DI)
	ADDQ    $12, SI
	ADDQ    $16, DI
	DECQ    CX
	JNZ     group
	RET
