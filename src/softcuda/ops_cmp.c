/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons into predicates, and logic on predicates. */
#include <math.h>
#include "softcuda/engine_lanes.h"

#define EQUAL(n, OP)                                                 \
	OP(SEQ##n, uint##n##_t, a == b)                              \
	OP(SNE##n, uint##n##_t, a != b)
EQUAL(16, CMP16) EQUAL(32, CMP_OP) EQUAL(64, CMP_OP)

#define ORDER(s, T, OP)                                              \
	OP(SLT##s, T, a < b)                                         \
	OP(SLE##s, T, a <= b)                                        \
	OP(SGT##s, T, a > b)                                         \
	OP(SGE##s, T, a >= b)
ORDER(S16, int16_t, CMP16) ORDER(U16, uint16_t, CMP16) ORDER(S32, int32_t, CMP_OP) ORDER(U32, uint32_t, CMP_OP)
ORDER(S64, int64_t, CMP_OP) ORDER(U64, uint64_t, CMP_OP)

/* Ordered comparisons are false for NaN, the U forms true. */
#define FLOATS(s, T)                                                 \
	ORDER(s, T, CMP_OP)                                          \
	CMP_OP(SEQ##s, T, a == b)                                    \
	CMP_OP(SNE##s, T, (a < b) | (a > b))                         \
	CMP_OP(SEQU##s, T, ~((a < b) | (a > b)))                     \
	CMP_OP(SNEU##s, T, a != b)                                   \
	CMP_OP(SLTU##s, T, ~(a >= b))                                \
	CMP_OP(SLEU##s, T, ~(a > b))                                 \
	CMP_OP(SGTU##s, T, ~(a <= b))                                \
	CMP_OP(SGEU##s, T, ~(a < b))                                 \
	CMP_OP(SNUM##s, T, (a == a) & (b == b))                      \
	CMP_OP(SNAN##s, T, (a != a) | (b != b))
FLOATS(F32, float) FLOATS(F64, double)

#define LOGIC(NAME, EXPR)                                            \
	HANDLER(NAME##_f)                                            \
	{                                                            \
		uint32_t a = PRED(1), b = PRED(2);                   \
		(void)b;                                             \
		sc_put_pred(w, &PRED(0), EXPR);                      \
		return in + 1;                                       \
	}                                                            \
	static const sc_handler NAME##_p = NAME##_f;
LOGIC(PAND, a & b)
LOGIC(POR, a | b)
LOGIC(PXOR, a ^ b)
LOGIC(PNOT, ~a)
LOGIC(PMOV, a)
LOGIC(PANDN, a & ~b)
LOGIC(PORN, a | ~b)

static bool testp(int kind, int how)
{
	switch (how) {
	case PTX_TESTP_FINITE: return kind != FP_NAN && kind != FP_INFINITE;
	case PTX_TESTP_INFINITE: return kind == FP_INFINITE;
	case PTX_TESTP_NUMBER: return kind != FP_NAN;
	case PTX_TESTP_NOTANUMBER: return kind == FP_NAN;
	case PTX_TESTP_NORMAL: return kind == FP_NORMAL;
	default: return kind == FP_SUBNORMAL;
	}
}
#define CLASSIFY(n, T)                                               \
	HANDLER(TESTP##n##_f)                                        \
	{                                                            \
		uint32_t m = 0;                                      \
		ACTIVE(w, i) m |= (uint32_t)testp(fpclassify(REG(T, 1)[i]), in->sub) << i; \
		sc_put_pred(w, &PRED(0), m);                         \
		return in + 1;                                       \
	}                                                            \
	static const sc_handler TESTP##n##_p = TESTP##n##_f;
CLASSIFY(32, float) CLASSIFY(64, double)

void SC_INSTALL(cmp)(struct sc_op_fn *t);
void SC_INSTALL(cmp)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_CMP(X)
#undef X
}
