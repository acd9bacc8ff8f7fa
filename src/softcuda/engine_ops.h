/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter's own instruction set: one handler per operation and type. Lists are by the file
 * that implements them; each list becomes enumerators and an installer.
 *
 * Names: operation, then type. 16/32/64 = width where the sign does not matter.
 */
#ifndef SOFTCUDA_ENGINE_OPS_H
#define SOFTCUDA_ENGINE_OPS_H

#define OPS_W(X, n) X(n##16) X(n##32) X(n##64)
#define OPS_SU(X, n) X(n##S16) X(n##U16) X(n##S32) X(n##U32) X(n##S64) X(n##U64)

#define OPS_INT(X)                                                                                \
	OPS_W(X, ADD) OPS_W(X, SUB) OPS_W(X, MULLO) OPS_W(X, AND) OPS_W(X, OR) OPS_W(X, XOR)      \
	OPS_W(X, SHL) OPS_W(X, NEG) OPS_W(X, ABS) OPS_W(X, NOT) OPS_W(X, CNOT) OPS_W(X, MADLO)    \
	OPS_W(X, MOV) OPS_W(X, SELP)                                                              \
	OPS_SU(X, MIN) OPS_SU(X, MAX) OPS_SU(X, DIV) OPS_SU(X, REM) OPS_SU(X, MULHI)              \
	OPS_SU(X, SHR) OPS_SU(X, SAD)                                                             \
	X(MULWIDES16) X(MULWIDEU16) X(MULWIDES32) X(MULWIDEU32)                                   \
	X(MADWIDES16) X(MADWIDEU16) X(MADWIDES32) X(MADWIDEU32)                                   \
	X(ADDSAT) X(SUBSAT) X(MUL24LO) X(MUL24HI)                                                 \
	X(POPC32) X(POPC64) X(CLZ32) X(CLZ64) X(BREV32) X(BREV64)                                 \
	X(BFES32) X(BFEU32) X(BFES64) X(BFEU64) X(BFI32) X(BFI64)                                 \
	X(BFINDS32) X(BFINDU32) X(BFINDS64) X(BFINDU64)                                           \
	X(SHF) X(LOP3) X(PRMT) X(DP4A) X(DP2A) X(FNS) X(BMSK) X(SZEXT) X(VABSDIFF4)               \
	X(CARRY32) X(CARRY64) X(MADC32) X(MADC64)                                                 \
	X(PACK32_16) X(PACK64_32) X(PACK64_16) X(UNPACK32_16) X(UNPACK64_32) X(UNPACK64_16)       \
	X(LDPARAM16) X(LDPARAM32) X(LDPARAM64) X(SREGU32) X(SREGU64) X(SREGLANE) X(CLOCK)         \
	X(MOVSHARED) X(MOVLOCAL) X(MOVPARAM) X(CVTASHARED) X(CVTALOCAL) X(CVTATOSHARED) X(CVTATOLOCAL)        \
	X(ISSPACEP) X(SPREAD32) X(SPREAD64)

#define OPS_CMP(X)                                                                                \
	OPS_W(X, SEQ) OPS_W(X, SNE)                                                               \
	OPS_SU(X, SLT) OPS_SU(X, SLE) OPS_SU(X, SGT) OPS_SU(X, SGE)                               \
	OPS_FCMP(X, F32) OPS_FCMP(X, F64)                                                         \
	X(PAND) X(POR) X(PXOR) X(PNOT) X(PMOV) X(PANDN) X(PORN) X(TESTP32) X(TESTP64)
#define OPS_FCMP(X, t)                                                                            \
	X(SEQ##t) X(SNE##t) X(SLT##t) X(SLE##t) X(SGT##t) X(SGE##t) X(SEQU##t) X(SNEU##t)         \
	X(SLTU##t) X(SLEU##t) X(SGTU##t) X(SGEU##t) X(SNUM##t) X(SNAN##t)

#define OPS_F(X, n) X(n##F32) X(n##F64)
#define OPS_FLOAT(X)                                                                              \
	OPS_F(X, ADD) OPS_F(X, SUB) OPS_F(X, MUL) OPS_F(X, FMA) OPS_F(X, DIV) OPS_F(X, RCP)       \
	OPS_F(X, SQRT) OPS_F(X, RSQRT) OPS_F(X, MIN) OPS_F(X, MAX) OPS_F(X, MINNAN)               \
	OPS_F(X, MAXNAN) OPS_F(X, ABS) OPS_F(X, NEG) OPS_F(X, COPYSIGN)                           \
	OPS_F(X, SAT) X(FTZ) X(FTZBOTH)                                                           \
	OPS_F(X, RINT) OPS_F(X, RTRUNC) OPS_F(X, RFLOOR) OPS_F(X, RCEIL) OPS_F(X, RAWAY)          \
	X(ROUNDMODE) X(SINAPPROX) X(COSAPPROX) X(EX2APPROX) X(LG2APPROX) X(TANHAPPROX) X(DIVAPPROX)          \
	X(RCPAPPROXF64) X(RSQRTAPPROXF64)                                                                    \
	X(F32TOS32) X(F32TOU32) X(F32TOS64) X(F32TOU64) X(F64TOS32) X(F64TOU32) X(F64TOS64)       \
	X(F64TOU64) X(F32CLAMP) X(F64CLAMP)                                                       \
	X(S32TOF32) X(U32TOF32) X(S64TOF32) X(U64TOF32) X(S32TOF64) X(U32TOF64) X(S64TOF64)       \
	X(U64TOF64) X(F32TOF64) X(F64TOF32) X(F16TOF32) X(F32TOF16) X(BF16TOF32) X(F32TOBF16)     \
	X(F64TOF16) X(HALF)

/* Integer conversions: register width of the source, type the bits are read as, width made. */
#define OPS_CVTI(X)                                                                               \
	X(C16S8_16) X(C16U8_16) X(C16S8_32) X(C16U8_32) X(C16S8_64) X(C16U8_64)                   \
	X(C16S16_32) X(C16U16_32) X(C16S16_64) X(C16U16_64) X(C16U16_16)                          \
	X(C32S8_16) X(C32U8_16) X(C32S8_32) X(C32U8_32) X(C32S8_64) X(C32U8_64)                   \
	X(C32U16_16) X(C32S16_32) X(C32U16_32) X(C32S16_64) X(C32U16_64)                          \
	X(C32U32_32) X(C32S32_64) X(C32U32_64)                                                    \
	X(C64S8_16) X(C64U8_16) X(C64S8_32) X(C64U8_32) X(C64S8_64) X(C64U8_64)                   \
	X(C64U16_16) X(C64S16_32) X(C64U16_32) X(C64S16_64) X(C64U16_64)                          \
	X(C64U32_32) X(C64S32_64) X(C64U32_64) X(C64U64_64) X(CVTSAT)

/* Loads: memory bits and sign, register width. G: generic/global through a 64-bit register with
 * an offset; X: any space and addressing, chosen at run time; A: base and stride from the head. V: vectors of n elements. */
#define OPS_LDK(X, m)                                                                             \
	X(LD##m##U8_16) X(LD##m##S8_16) X(LD##m##U8_32) X(LD##m##S8_32) X(LD##m##U8_64)           \
	X(LD##m##S8_64) X(LD##m##16_16) X(LD##m##U16_32) X(LD##m##S16_32) X(LD##m##U16_64)        \
	X(LD##m##S16_64) X(LD##m##32_32) X(LD##m##U32_64) X(LD##m##S32_64) X(LD##m##64_64)
#define OPS_STK(X, m)                                                                             \
	X(ST##m##16_8) X(ST##m##32_8) X(ST##m##64_8) X(ST##m##16_16) X(ST##m##32_16)              \
	X(ST##m##64_16) X(ST##m##32_32) X(ST##m##64_32) X(ST##m##64_64)
#define OPS_MEM(X)                                                                                \
	OPS_LDK(X, G) OPS_LDK(X, X) OPS_LDK(X, A) OPS_STK(X, G) OPS_STK(X, X) OPS_STK(X, A)       \
	X(LDV8) X(LDV16) X(LDV32) X(LDV64) X(STV8) X(STV16) X(STV32) X(STV64) X(PREFETCH)
#define OPS_ATOM(X)                                                                               \
	X(ATOM32) X(ATOM64) X(ATOM16) X(ATOMF32) X(ATOMF64) X(ATOMH16) X(ATOMH32) X(FENCE)

#define OPS_CTL(X)                                                                                \
	X(LEADER) X(BRA) X(BRAC) X(BRX) X(GUARD) X(CALL) X(CALLR) X(RET) X(EXIT) X(TRAP) X(BRKPT)  \
	X(BAR) X(BARARRIVE) X(BARWARP) X(SHFL) X(VOTE) X(MATCH) X(REDUX) X(ACTIVEMASK) X(ELECT)   \
	X(NANOSLEEP) X(STOPPRE) X(IF) X(ELSE) X(ENDIF) X(TEX) X(TXQ) X(BUILTIN)

#define X(n) OP_##n,
enum sc_op {
	OP_NONE,
	OPS_INT(X) OPS_CMP(X) OPS_FLOAT(X) OPS_CVTI(X) OPS_MEM(X) OPS_ATOM(X) OPS_CTL(X) OP_COUNT
};
#undef X
#endif
