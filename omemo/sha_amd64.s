// SHA-256's compression function (FIPS 180-4 section 6.2.2) by the SHA instructions of x86-64, and HMAC's steps on it,
// for one message and for two at once: each pair of rounds waits for the one before it, so that a second message fits
// into the pauses of the first. A state is kept as the instructions want it: words F E B A, then H G D C.

#include "textflag.h"

DATA roundKeys<>+0(SB)/4, $0x428a2f98
DATA roundKeys<>+4(SB)/4, $0x71374491
DATA roundKeys<>+8(SB)/4, $0xb5c0fbcf
DATA roundKeys<>+12(SB)/4, $0xe9b5dba5
DATA roundKeys<>+16(SB)/4, $0x3956c25b
DATA roundKeys<>+20(SB)/4, $0x59f111f1
DATA roundKeys<>+24(SB)/4, $0x923f82a4
DATA roundKeys<>+28(SB)/4, $0xab1c5ed5
DATA roundKeys<>+32(SB)/4, $0xd807aa98
DATA roundKeys<>+36(SB)/4, $0x12835b01
DATA roundKeys<>+40(SB)/4, $0x243185be
DATA roundKeys<>+44(SB)/4, $0x550c7dc3
DATA roundKeys<>+48(SB)/4, $0x72be5d74
DATA roundKeys<>+52(SB)/4, $0x80deb1fe
DATA roundKeys<>+56(SB)/4, $0x9bdc06a7
DATA roundKeys<>+60(SB)/4, $0xc19bf174
DATA roundKeys<>+64(SB)/4, $0xe49b69c1
DATA roundKeys<>+68(SB)/4, $0xefbe4786
DATA roundKeys<>+72(SB)/4, $0x0fc19dc6
DATA roundKeys<>+76(SB)/4, $0x240ca1cc
DATA roundKeys<>+80(SB)/4, $0x2de92c6f
DATA roundKeys<>+84(SB)/4, $0x4a7484aa
DATA roundKeys<>+88(SB)/4, $0x5cb0a9dc
DATA roundKeys<>+92(SB)/4, $0x76f988da
DATA roundKeys<>+96(SB)/4, $0x983e5152
DATA roundKeys<>+100(SB)/4, $0xa831c66d
DATA roundKeys<>+104(SB)/4, $0xb00327c8
DATA roundKeys<>+108(SB)/4, $0xbf597fc7
DATA roundKeys<>+112(SB)/4, $0xc6e00bf3
DATA roundKeys<>+116(SB)/4, $0xd5a79147
DATA roundKeys<>+120(SB)/4, $0x06ca6351
DATA roundKeys<>+124(SB)/4, $0x14292967
DATA roundKeys<>+128(SB)/4, $0x27b70a85
DATA roundKeys<>+132(SB)/4, $0x2e1b2138
DATA roundKeys<>+136(SB)/4, $0x4d2c6dfc
DATA roundKeys<>+140(SB)/4, $0x53380d13
DATA roundKeys<>+144(SB)/4, $0x650a7354
DATA roundKeys<>+148(SB)/4, $0x766a0abb
DATA roundKeys<>+152(SB)/4, $0x81c2c92e
DATA roundKeys<>+156(SB)/4, $0x92722c85
DATA roundKeys<>+160(SB)/4, $0xa2bfe8a1
DATA roundKeys<>+164(SB)/4, $0xa81a664b
DATA roundKeys<>+168(SB)/4, $0xc24b8b70
DATA roundKeys<>+172(SB)/4, $0xc76c51a3
DATA roundKeys<>+176(SB)/4, $0xd192e819
DATA roundKeys<>+180(SB)/4, $0xd6990624
DATA roundKeys<>+184(SB)/4, $0xf40e3585
DATA roundKeys<>+188(SB)/4, $0x106aa070
DATA roundKeys<>+192(SB)/4, $0x19a4c116
DATA roundKeys<>+196(SB)/4, $0x1e376c08
DATA roundKeys<>+200(SB)/4, $0x2748774c
DATA roundKeys<>+204(SB)/4, $0x34b0bcb5
DATA roundKeys<>+208(SB)/4, $0x391c0cb3
DATA roundKeys<>+212(SB)/4, $0x4ed8aa4a
DATA roundKeys<>+216(SB)/4, $0x5b9cca4f
DATA roundKeys<>+220(SB)/4, $0x682e6ff3
DATA roundKeys<>+224(SB)/4, $0x748f82ee
DATA roundKeys<>+228(SB)/4, $0x78a5636f
DATA roundKeys<>+232(SB)/4, $0x84c87814
DATA roundKeys<>+236(SB)/4, $0x8cc70208
DATA roundKeys<>+240(SB)/4, $0x90befffa
DATA roundKeys<>+244(SB)/4, $0xa4506ceb
DATA roundKeys<>+248(SB)/4, $0xbef9a3f7
DATA roundKeys<>+252(SB)/4, $0xc67178f2
GLOBL roundKeys<>(SB), RODATA|NOPTR, $256

// Turns the bytes of four words from big-endian.
DATA swapBytes<>+0(SB)/8, $0x0405060700010203
DATA swapBytes<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swapBytes<>(SB), RODATA|NOPTR, $16

// The state before the first block (FIPS 180-4 section 5.3.3).
DATA startState<>+0(SB)/8, $0x510e527f9b05688c
DATA startState<>+8(SB)/8, $0x6a09e667bb67ae85
DATA startState<>+16(SB)/8, $0x1f83d9ab5be0cd19
DATA startState<>+24(SB)/8, $0x3c6ef372a54ff53a
GLOBL startState<>(SB), RODATA|NOPTR, $32

// What follows a hash of 32 bytes in the block after the outer pad: the end bit, and the length of both.
DATA endWords<>+0(SB)/8, $0x0000000080000000
DATA endWords<>+8(SB)/8, $0x0000000000000000
DATA endWords<>+16(SB)/8, $0x0000000000000000
DATA endWords<>+24(SB)/8, $0x0000030000000000
GLOBL endWords<>(SB), RODATA|NOPTR, $32

// The pads of HMAC (RFC 2104 section 2), inner and outer.
DATA pads<>+0(SB)/8, $0x3636363636363636
DATA pads<>+8(SB)/8, $0x3636363636363636
DATA pads<>+16(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA pads<>+24(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL pads<>(SB), RODATA|NOPTR, $32

// LOAD takes a block at p as words.
#define LOAD(p, m0, m1, m2, m3) \
	MOVOU (p), m0; PSHUFB X15, m0 \
	MOVOU 16(p), m1; PSHUFB X15, m1 \
	MOVOU 32(p), m2; PSHUFB X15, m2 \
	MOVOU 48(p), m3; PSHUFB X15, m3

// STATE takes the state at s, and ADD adds it at the end of a block.
#define STATE(s, abef, cdgh) MOVOU (s), abef; MOVOU 16(s), cdgh

#define ADD(s, abef, cdgh) \
	MOVOU (s), X13; PADDD X13, abef \
	MOVOU 16(s), X14; PADDD X14, cdgh

#define STORE(s, abef, cdgh) MOVOU abef, (s); MOVOU cdgh, 16(s)

// WORDS makes of a state the words of the hash: A to D in low, E to H in high.
#define WORDS(abef, cdgh, low, high) \
	PSHUFD $0x1b, abef, abef \
	PSHUFD $0x1b, cdgh, cdgh \
	MOVO abef, low; PUNPCKLQDQ cdgh, low \
	MOVO abef, high; PUNPCKHQDQ cdgh, high

// SUM writes the hash.
#define SUM(dst, abef, cdgh, low, high) \
	WORDS(abef, cdgh, low, high) \
	PSHUFB X15, low; MOVOU low, (dst) \
	PSHUFB X15, high; MOVOU high, 16(dst)

// ROUNDS makes four rounds with the words m.
#define ROUNDS(i, m, abef, cdgh) \
	MOVOU (i*16)(AX), X0 \
	PADDD m, X0 \
	SHA256RNDS2 X0, abef, cdgh \
	PSHUFD $0x0e, X0, X0 \
	SHA256RNDS2 X0, cdgh, abef

// EXTEND completes the next four words of the schedule, which BEGIN has begun: cur are the latest, prev those before.
#define EXTEND(cur, prev, next) \
	MOVO cur, X13 \
	PALIGNR $4, prev, X13 \
	PADDD X13, next \
	SHA256MSG2 cur, next

#define BEGIN(cur, prev) SHA256MSG1 cur, prev

// BLOCK makes the 64 rounds of a block in X3 to X6 on the state in X1 and X2.
#define BLOCK \
	ROUNDS(0, X3, X1, X2) \
	ROUNDS(1, X4, X1, X2); BEGIN(X4, X3) \
	ROUNDS(2, X5, X1, X2); BEGIN(X5, X4) \
	ROUNDS(3, X6, X1, X2); EXTEND(X6, X5, X3); BEGIN(X6, X5) \
	ROUNDS(4, X3, X1, X2); EXTEND(X3, X6, X4); BEGIN(X3, X6) \
	ROUNDS(5, X4, X1, X2); EXTEND(X4, X3, X5); BEGIN(X4, X3) \
	ROUNDS(6, X5, X1, X2); EXTEND(X5, X4, X6); BEGIN(X5, X4) \
	ROUNDS(7, X6, X1, X2); EXTEND(X6, X5, X3); BEGIN(X6, X5) \
	ROUNDS(8, X3, X1, X2); EXTEND(X3, X6, X4); BEGIN(X3, X6) \
	ROUNDS(9, X4, X1, X2); EXTEND(X4, X3, X5); BEGIN(X4, X3) \
	ROUNDS(10, X5, X1, X2); EXTEND(X5, X4, X6); BEGIN(X5, X4) \
	ROUNDS(11, X6, X1, X2); EXTEND(X6, X5, X3); BEGIN(X6, X5) \
	ROUNDS(12, X3, X1, X2); EXTEND(X3, X6, X4); BEGIN(X3, X6) \
	ROUNDS(13, X4, X1, X2); EXTEND(X4, X3, X5) \
	ROUNDS(14, X5, X1, X2); EXTEND(X5, X4, X6) \
	ROUNDS(15, X6, X1, X2)

// BLOCKS is BLOCK, and the same for X9 to X12 on X7 and X8.
#define BLOCKS \
	ROUNDS(0, X3, X1, X2) \
	ROUNDS(0, X9, X7, X8) \
	ROUNDS(1, X4, X1, X2); BEGIN(X4, X3) \
	ROUNDS(1, X10, X7, X8); BEGIN(X10, X9) \
	ROUNDS(2, X5, X1, X2); BEGIN(X5, X4) \
	ROUNDS(2, X11, X7, X8); BEGIN(X11, X10) \
	ROUNDS(3, X6, X1, X2); EXTEND(X6, X5, X3); BEGIN(X6, X5) \
	ROUNDS(3, X12, X7, X8); EXTEND(X12, X11, X9); BEGIN(X12, X11) \
	ROUNDS(4, X3, X1, X2); EXTEND(X3, X6, X4); BEGIN(X3, X6) \
	ROUNDS(4, X9, X7, X8); EXTEND(X9, X12, X10); BEGIN(X9, X12) \
	ROUNDS(5, X4, X1, X2); EXTEND(X4, X3, X5); BEGIN(X4, X3) \
	ROUNDS(5, X10, X7, X8); EXTEND(X10, X9, X11); BEGIN(X10, X9) \
	ROUNDS(6, X5, X1, X2); EXTEND(X5, X4, X6); BEGIN(X5, X4) \
	ROUNDS(6, X11, X7, X8); EXTEND(X11, X10, X12); BEGIN(X11, X10) \
	ROUNDS(7, X6, X1, X2); EXTEND(X6, X5, X3); BEGIN(X6, X5) \
	ROUNDS(7, X12, X7, X8); EXTEND(X12, X11, X9); BEGIN(X12, X11) \
	ROUNDS(8, X3, X1, X2); EXTEND(X3, X6, X4); BEGIN(X3, X6) \
	ROUNDS(8, X9, X7, X8); EXTEND(X9, X12, X10); BEGIN(X9, X12) \
	ROUNDS(9, X4, X1, X2); EXTEND(X4, X3, X5); BEGIN(X4, X3) \
	ROUNDS(9, X10, X7, X8); EXTEND(X10, X9, X11); BEGIN(X10, X9) \
	ROUNDS(10, X5, X1, X2); EXTEND(X5, X4, X6); BEGIN(X5, X4) \
	ROUNDS(10, X11, X7, X8); EXTEND(X11, X10, X12); BEGIN(X11, X10) \
	ROUNDS(11, X6, X1, X2); EXTEND(X6, X5, X3); BEGIN(X6, X5) \
	ROUNDS(11, X12, X7, X8); EXTEND(X12, X11, X9); BEGIN(X12, X11) \
	ROUNDS(12, X3, X1, X2); EXTEND(X3, X6, X4); BEGIN(X3, X6) \
	ROUNDS(12, X9, X7, X8); EXTEND(X9, X12, X10); BEGIN(X9, X12) \
	ROUNDS(13, X4, X1, X2); EXTEND(X4, X3, X5) \
	ROUNDS(13, X10, X7, X8); EXTEND(X10, X9, X11) \
	ROUNDS(14, X5, X1, X2); EXTEND(X5, X4, X6) \
	ROUNDS(14, X11, X7, X8); EXTEND(X11, X10, X12) \
	ROUNDS(15, X6, X1, X2) \
	ROUNDS(15, X12, X7, X8)

// func shaBlocks(s *shaState, p *byte, n int)
TEXT ·shaBlocks(SB), NOSPLIT, $0-24
	MOVQ s+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	LEAQ roundKeys<>(SB), AX
	MOVOU swapBytes<>(SB), X15
	STATE(DI, X1, X2)

block:
	LOAD(SI, X3, X4, X5, X6)
	BLOCK
	ADD(DI, X1, X2)
	STORE(DI, X1, X2)
	ADDQ $64, SI
	DECQ CX
	JNZ  block
	RET

// func hmacStart(inner, outer *shaState, key *[32]byte)
TEXT ·hmacStart(SB), NOSPLIT, $0-24
	MOVQ inner+0(FP), DI
	MOVQ outer+8(FP), DX
	MOVQ key+16(FP), SI
	LEAQ roundKeys<>(SB), AX
	LEAQ startState<>(SB), CX
	MOVOU swapBytes<>(SB), X15
	MOVOU (SI), X3; PSHUFB X15, X3
	MOVOU 16(SI), X4; PSHUFB X15, X4
	MOVOU pads<>+0(SB), X5
	MOVOU pads<>+16(SB), X11
	MOVO X3, X9
	MOVO X4, X10
	MOVO X5, X6
	MOVO X11, X12
	PXOR X5, X3
	PXOR X5, X4
	PXOR X11, X9
	PXOR X11, X10
	STATE(CX, X1, X2)
	STATE(CX, X7, X8)
	BLOCKS
	ADD(CX, X1, X2)
	ADD(CX, X7, X8)
	STORE(DI, X1, X2)
	STORE(DX, X7, X8)
	RET

// func hmacEnd(sum *[32]byte, inner, outer *shaState, last *[64]byte)
TEXT ·hmacEnd(SB), NOSPLIT, $0-32
	MOVQ sum+0(FP), DI
	MOVQ inner+8(FP), SI
	MOVQ outer+16(FP), DX
	MOVQ last+24(FP), BX
	LEAQ roundKeys<>(SB), AX
	MOVOU swapBytes<>(SB), X15
	STATE(SI, X1, X2)
	LOAD(BX, X3, X4, X5, X6)
	BLOCK
	ADD(SI, X1, X2)
	WORDS(X1, X2, X3, X4)
	MOVOU endWords<>+0(SB), X5
	MOVOU endWords<>+16(SB), X6
	STATE(DX, X1, X2)
	BLOCK
	ADD(DX, X1, X2)
	SUM(DI, X1, X2, X3, X4)
	RET

// func hmacEnds(sum, other *[32]byte, inner, outer *shaState, last, otherLast *[64]byte)
TEXT ·hmacEnds(SB), NOSPLIT, $0-48
	MOVQ sum+0(FP), DI
	MOVQ other+8(FP), R8
	MOVQ inner+16(FP), SI
	MOVQ outer+24(FP), DX
	MOVQ last+32(FP), BX
	MOVQ otherLast+40(FP), R9
	LEAQ roundKeys<>(SB), AX
	MOVOU swapBytes<>(SB), X15
	STATE(SI, X1, X2)
	STATE(SI, X7, X8)
	LOAD(BX, X3, X4, X5, X6)
	LOAD(R9, X9, X10, X11, X12)
	BLOCKS
	ADD(SI, X1, X2)
	ADD(SI, X7, X8)
	WORDS(X1, X2, X3, X4)
	WORDS(X7, X8, X9, X10)
	MOVOU endWords<>+0(SB), X5
	MOVOU endWords<>+16(SB), X6
	MOVO X5, X11
	MOVO X6, X12
	STATE(DX, X1, X2)
	STATE(DX, X7, X8)
	BLOCKS
	ADD(DX, X1, X2)
	ADD(DX, X7, X8)
	SUM(DI, X1, X2, X3, X4)
	SUM(R8, X7, X8, X9, X10)
	RET

// func hasCrypto() bool: CPUID leaf 7, EBX bit 29 (SHA), and leaf 1, ECX bit 25 (AES). Who has them has SSSE3, which is
// used as well.
TEXT ·hasCrypto(SB), NOSPLIT, $0-1
	MOVB $0, ret+0(FP)
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JLT  done
	MOVL $7, AX
	XORL CX, CX
	CPUID
	BTL  $29, BX
	JCC  done
	MOVL $1, AX
	XORL CX, CX
	CPUID
	BTL  $25, CX
	JCC  done
	MOVB $1, ret+0(FP)

done:
	RET
