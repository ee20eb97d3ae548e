// SHA-256's compression function (FIPS 180-4 section 6.2.2) by the SHA instructions of x86-64, for one message and for
// two at once: each pair of rounds waits for the one before it, so that a second message fits into the pauses of the
// first. A state is kept as the instructions want it: words F E B A, then H G D C.

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

// LOAD takes the i-th four words of the message at p.
#define LOAD(i, p, m) \
	MOVOU (i*16)(p), m \
	PSHUFB X15, m

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

// ADD adds the state from before the block.
#define ADD(s, abef, cdgh) \
	MOVOU (s), X13 \
	PADDD X13, abef \
	MOVOU abef, (s) \
	MOVOU 16(s), X14 \
	PADDD X14, cdgh \
	MOVOU cdgh, 16(s)

// func shaBlocks(s *shaState, p *byte, n int)
TEXT ·shaBlocks(SB), NOSPLIT, $0-24
	MOVQ s+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	LEAQ roundKeys<>(SB), AX
	MOVOU swapBytes<>(SB), X15
	MOVOU (DI), X1
	MOVOU 16(DI), X2

block:
	LOAD(0, SI, X3)
	ROUNDS(0, X3, X1, X2)
	LOAD(1, SI, X4)
	ROUNDS(1, X4, X1, X2)
	BEGIN(X4, X3)
	LOAD(2, SI, X5)
	ROUNDS(2, X5, X1, X2)
	BEGIN(X5, X4)
	LOAD(3, SI, X6)
	ROUNDS(3, X6, X1, X2)
	EXTEND(X6, X5, X3)
	BEGIN(X6, X5)
	ROUNDS(4, X3, X1, X2)
	EXTEND(X3, X6, X4)
	BEGIN(X3, X6)
	ROUNDS(5, X4, X1, X2)
	EXTEND(X4, X3, X5)
	BEGIN(X4, X3)
	ROUNDS(6, X5, X1, X2)
	EXTEND(X5, X4, X6)
	BEGIN(X5, X4)
	ROUNDS(7, X6, X1, X2)
	EXTEND(X6, X5, X3)
	BEGIN(X6, X5)
	ROUNDS(8, X3, X1, X2)
	EXTEND(X3, X6, X4)
	BEGIN(X3, X6)
	ROUNDS(9, X4, X1, X2)
	EXTEND(X4, X3, X5)
	BEGIN(X4, X3)
	ROUNDS(10, X5, X1, X2)
	EXTEND(X5, X4, X6)
	BEGIN(X5, X4)
	ROUNDS(11, X6, X1, X2)
	EXTEND(X6, X5, X3)
	BEGIN(X6, X5)
	ROUNDS(12, X3, X1, X2)
	EXTEND(X3, X6, X4)
	BEGIN(X3, X6)
	ROUNDS(13, X4, X1, X2)
	EXTEND(X4, X3, X5)
	ROUNDS(14, X5, X1, X2)
	EXTEND(X5, X4, X6)
	ROUNDS(15, X6, X1, X2)
	ADD(DI, X1, X2)
	ADDQ $64, SI
	DECQ CX
	JNZ  block
	RET

// func shaTwo(s, t *shaState, p, q *[64]byte)
TEXT ·shaTwo(SB), NOSPLIT, $0-32
	MOVQ s+0(FP), DI
	MOVQ t+8(FP), DX
	MOVQ p+16(FP), SI
	MOVQ q+24(FP), BX
	LEAQ roundKeys<>(SB), AX
	MOVOU swapBytes<>(SB), X15
	MOVOU (DI), X1
	MOVOU 16(DI), X2
	MOVOU (DX), X7
	MOVOU 16(DX), X8
	LOAD(0, SI, X3)
	ROUNDS(0, X3, X1, X2)
	LOAD(0, BX, X9)
	ROUNDS(0, X9, X7, X8)
	LOAD(1, SI, X4)
	ROUNDS(1, X4, X1, X2)
	BEGIN(X4, X3)
	LOAD(1, BX, X10)
	ROUNDS(1, X10, X7, X8)
	BEGIN(X10, X9)
	LOAD(2, SI, X5)
	ROUNDS(2, X5, X1, X2)
	BEGIN(X5, X4)
	LOAD(2, BX, X11)
	ROUNDS(2, X11, X7, X8)
	BEGIN(X11, X10)
	LOAD(3, SI, X6)
	ROUNDS(3, X6, X1, X2)
	EXTEND(X6, X5, X3)
	BEGIN(X6, X5)
	LOAD(3, BX, X12)
	ROUNDS(3, X12, X7, X8)
	EXTEND(X12, X11, X9)
	BEGIN(X12, X11)
	ROUNDS(4, X3, X1, X2)
	EXTEND(X3, X6, X4)
	BEGIN(X3, X6)
	ROUNDS(4, X9, X7, X8)
	EXTEND(X9, X12, X10)
	BEGIN(X9, X12)
	ROUNDS(5, X4, X1, X2)
	EXTEND(X4, X3, X5)
	BEGIN(X4, X3)
	ROUNDS(5, X10, X7, X8)
	EXTEND(X10, X9, X11)
	BEGIN(X10, X9)
	ROUNDS(6, X5, X1, X2)
	EXTEND(X5, X4, X6)
	BEGIN(X5, X4)
	ROUNDS(6, X11, X7, X8)
	EXTEND(X11, X10, X12)
	BEGIN(X11, X10)
	ROUNDS(7, X6, X1, X2)
	EXTEND(X6, X5, X3)
	BEGIN(X6, X5)
	ROUNDS(7, X12, X7, X8)
	EXTEND(X12, X11, X9)
	BEGIN(X12, X11)
	ROUNDS(8, X3, X1, X2)
	EXTEND(X3, X6, X4)
	BEGIN(X3, X6)
	ROUNDS(8, X9, X7, X8)
	EXTEND(X9, X12, X10)
	BEGIN(X9, X12)
	ROUNDS(9, X4, X1, X2)
	EXTEND(X4, X3, X5)
	BEGIN(X4, X3)
	ROUNDS(9, X10, X7, X8)
	EXTEND(X10, X9, X11)
	BEGIN(X10, X9)
	ROUNDS(10, X5, X1, X2)
	EXTEND(X5, X4, X6)
	BEGIN(X5, X4)
	ROUNDS(10, X11, X7, X8)
	EXTEND(X11, X10, X12)
	BEGIN(X11, X10)
	ROUNDS(11, X6, X1, X2)
	EXTEND(X6, X5, X3)
	BEGIN(X6, X5)
	ROUNDS(11, X12, X7, X8)
	EXTEND(X12, X11, X9)
	BEGIN(X12, X11)
	ROUNDS(12, X3, X1, X2)
	EXTEND(X3, X6, X4)
	BEGIN(X3, X6)
	ROUNDS(12, X9, X7, X8)
	EXTEND(X9, X12, X10)
	BEGIN(X9, X12)
	ROUNDS(13, X4, X1, X2)
	EXTEND(X4, X3, X5)
	ROUNDS(13, X10, X7, X8)
	EXTEND(X10, X9, X11)
	ROUNDS(14, X5, X1, X2)
	EXTEND(X5, X4, X6)
	ROUNDS(14, X11, X7, X8)
	EXTEND(X11, X10, X12)
	ROUNDS(15, X6, X1, X2)
	ROUNDS(15, X12, X7, X8)
	ADD(DI, X1, X2)
	ADD(DX, X7, X8)
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
