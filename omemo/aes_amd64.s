// AES-256 (FIPS 197) in CBC mode by the AES instructions of x86-64, for a key that is used once: the standard library
// allocates its schedule, which costs more than the three blocks of a message.

#include "textflag.h"

// MIX makes half a round's key from the one two before it, k, and assist, the last word before it substituted.
#define MIX(k, assist) \
	MOVO k, X4 \
	PSLLDQ $4, X4 \
	PXOR X4, k \
	PSLLDQ $4, X4 \
	PXOR X4, k \
	PSLLDQ $4, X4 \
	PXOR X4, k \
	PXOR assist, k

#define EVEN(rcon, i) \
	AESKEYGENASSIST $rcon, X3, X2 \
	PSHUFD $0xff, X2, X2 \
	MIX(X1, X2) \
	MOVOU X1, (i*16)(DI)

#define ODD(i) \
	AESKEYGENASSIST $0, X1, X2 \
	PSHUFD $0xaa, X2, X2 \
	MIX(X3, X2) \
	MOVOU X3, (i*16)(DI)

// func aesExpand(keys *aesKeys, key *[32]byte)
TEXT ·aesExpand(SB), NOSPLIT, $0-16
	MOVQ keys+0(FP), DI
	MOVQ key+8(FP), SI
	MOVOU (SI), X1
	MOVOU 16(SI), X3
	MOVOU X1, (DI)
	MOVOU X3, 16(DI)
	EVEN(0x1, 2)
	ODD(3)
	EVEN(0x2, 4)
	ODD(5)
	EVEN(0x4, 6)
	ODD(7)
	EVEN(0x8, 8)
	ODD(9)
	EVEN(0x10, 10)
	ODD(11)
	EVEN(0x20, 12)
	ODD(13)
	EVEN(0x40, 14)
	RET

#define INVERT(i) \
	MOVOU (i*16)(DI), X0 \
	AESIMC X0, X0 \
	MOVOU X0, (i*16)(DI)

// func aesInvert(keys *aesKeys)
TEXT ·aesInvert(SB), NOSPLIT, $0-8
	MOVQ keys+0(FP), DI
	INVERT(1)
	INVERT(2)
	INVERT(3)
	INVERT(4)
	INVERT(5)
	INVERT(6)
	INVERT(7)
	INVERT(8)
	INVERT(9)
	INVERT(10)
	INVERT(11)
	INVERT(12)
	INVERT(13)
	RET

#define ENCRYPT(i) \
	MOVOU (i*16)(AX), X1 \
	AESENC X1, X0

// func aesEncrypt(keys *aesKeys, iv *[16]byte, p *byte, n int)
TEXT ·aesEncrypt(SB), NOSPLIT, $0-32
	MOVQ keys+0(FP), AX
	MOVQ iv+8(FP), SI
	MOVQ p+16(FP), DI
	MOVQ n+24(FP), CX
	MOVOU (SI), X0

encrypt:
	MOVOU (DI), X1
	PXOR X1, X0
	MOVOU (AX), X1
	PXOR X1, X0
	ENCRYPT(1)
	ENCRYPT(2)
	ENCRYPT(3)
	ENCRYPT(4)
	ENCRYPT(5)
	ENCRYPT(6)
	ENCRYPT(7)
	ENCRYPT(8)
	ENCRYPT(9)
	ENCRYPT(10)
	ENCRYPT(11)
	ENCRYPT(12)
	ENCRYPT(13)
	MOVOU 224(AX), X1
	AESENCLAST X1, X0
	MOVOU X0, (DI)
	ADDQ $16, DI
	DECQ CX
	JNZ  encrypt
	RET

#define DECRYPT(i) \
	MOVOU (i*16)(AX), X1 \
	AESDEC X1, X0

// func aesDecrypt(keys *aesKeys, iv *[16]byte, p *byte, n int)
TEXT ·aesDecrypt(SB), NOSPLIT, $0-32
	MOVQ keys+0(FP), AX
	MOVQ iv+8(FP), SI
	MOVQ p+16(FP), DI
	MOVQ n+24(FP), CX
	MOVOU (SI), X2

decrypt:
	MOVOU (DI), X0
	MOVO X0, X3
	MOVOU 224(AX), X1
	PXOR X1, X0
	DECRYPT(13)
	DECRYPT(12)
	DECRYPT(11)
	DECRYPT(10)
	DECRYPT(9)
	DECRYPT(8)
	DECRYPT(7)
	DECRYPT(6)
	DECRYPT(5)
	DECRYPT(4)
	DECRYPT(3)
	DECRYPT(2)
	DECRYPT(1)
	MOVOU (AX), X1
	AESDECLAST X1, X0
	PXOR X2, X0
	MOVO X3, X2
	MOVOU X0, (DI)
	ADDQ $16, DI
	DECQ CX
	JNZ  decrypt
	RET
