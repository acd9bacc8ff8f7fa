/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point. Single-precision results that are NaN are the canonical 0x7fffffff, as PTX says.
 *
 * Directed rounding: ROUNDMODE goes before an arithmetic instruction and runs it with the
 * processor's rounding set, so that every operation has all four modes at no cost to the usual one.
 */
#include <math.h>
#include "softcuda/engine_lanes.h"
#include "softcuda/engine_half.h"
#include "softcuda/leaf.h"

static inline float canon(float x)
{
	union { uint32_t u; float f; } nan = { 0x7fffffffu };
	return x == x ? x : nan.f;
}
static inline uint32_t bits32(float x)
{
	union { float f; uint32_t u; } v = { x };
	return v.u;
}
static inline float float_of(uint32_t x)
{
	union { uint32_t u; float f; } v = { x };
	return v.f;
}
static inline uint64_t bits64(double x)
{
	union { double f; uint64_t u; } v = { x };
	return v.u;
}
static inline double double_of(uint64_t x)
{
	union { uint64_t u; double f; } v = { x };
	return v.f;
}

#define F1(NAME, EXPR32, EXPR64) OP1(NAME##F32, float, float, EXPR32) OP1(NAME##F64, double, double, EXPR64)
#define F2(NAME, EXPR32, EXPR64) \
	OP2(NAME##F32, float, float, float, EXPR32) OP2(NAME##F64, double, double, double, EXPR64)

F2(ADD, canon(a + b), a + b)
F2(SUB, canon(a - b), a - b)
F2(MUL, canon(a * b), a *b)
F2(DIV, canon(a / b), a / b)
OP3(FMAF32, float, float, float, float, canon(__builtin_fmaf(a, b, c)))
OP3(FMAF64, double, double, double, double, __builtin_fma(a, b, c))
F1(RCP, canon(1.0f / a), 1.0 / a)
F1(SQRT, canon(__builtin_sqrtf(a)), __builtin_sqrt(a))
/* In double, then rounded: within the 2^-22.9 that PTX asks of rsqrt.approx.f32. */
F1(RSQRT, canon((float)(1.0 / __builtin_sqrt((double)a))), 1.0 / __builtin_sqrt(a))

/* One NaN gives the other operand; -0 is below +0. */
#define MINMAX(T, B, BITS, OF)                                                                      \
	static inline T min_##B(T a, T b)                                                           \
	{                                                                                           \
		T r = a < b ? a : b;                                                                \
		r = a == b ? OF(BITS(a) | BITS(b)) : r;                                             \
		return b != b ? a : r;                                                              \
	}                                                                                           \
	static inline T max_##B(T a, T b)                                                           \
	{                                                                                           \
		T r = a > b ? a : b;                                                                \
		r = a == b ? OF(BITS(a) & BITS(b)) : r;                                             \
		return b != b ? a : r;                                                              \
	}
MINMAX(float, 32, bits32, float_of)
MINMAX(double, 64, bits64, double_of)
F2(MIN, canon(min_32(a, b)), min_64(a, b))
F2(MAX, canon(max_32(a, b)), max_64(a, b))
F2(MINNAN, a != a || b != b ? float_of(0x7fffffff) : min_32(a, b), a != a ? a : b != b ? b : min_64(a, b))
F2(MAXNAN, a != a || b != b ? float_of(0x7fffffff) : max_32(a, b), a != a ? a : b != b ? b : max_64(a, b))

OP1(ABSF32, uint32_t, uint32_t, a & 0x7fffffffu)
OP1(ABSF64, uint64_t, uint64_t, a & 0x7fffffffffffffffull)
OP1(NEGF32, uint32_t, uint32_t, a ^ 0x80000000u)
OP1(NEGF64, uint64_t, uint64_t, a ^ 0x8000000000000000ull)
OP2(COPYSIGNF32, uint32_t, uint32_t, uint32_t, (b & 0x7fffffffu) | (a & 0x80000000u))
OP2(COPYSIGNF64, uint64_t, uint64_t, uint64_t,
    (b & 0x7fffffffffffffffull) | (a & 0x8000000000000000ull))
/* To [0, 1]; NaN becomes 0 */
F1(SAT, a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f, a > 0.0 ? (a < 1.0 ? a : 1.0) : 0.0)
OP1(FTZ, uint32_t, uint32_t, a & 0x7f800000u ? a : a & 0x80000000u)
static const sc_handler FTZBOTH_f = FTZ_f, FTZBOTH_p = FTZ_p;

F1(RINT, canon(__builtin_rintf(a)), __builtin_rint(a))
F1(RTRUNC, canon(__builtin_truncf(a)), __builtin_trunc(a))
F1(RFLOOR, canon(__builtin_floorf(a)), __builtin_floor(a))
F1(RCEIL, canon(__builtin_ceilf(a)), __builtin_ceil(a))
F1(RAWAY, canon(__builtin_roundf(a)), __builtin_round(a))

/* imm: enum ptx_round of the instruction that follows. */
HANDLER(ROUNDMODE_f)
{
	static const uint32_t rc[] = { [PTX_RM] = 1u << 13, [PTX_RP] = 2u << 13, [PTX_RZ] = 3u << 13,
				       [PTX_FULL] = 0 };
	uint32_t old = _mm_getcsr();
	_mm_setcsr((old & ~0x6000u) | rc[in->sub]);
	__asm__ volatile("" ::: "memory");
	const struct insn *next = in[1].fn[w->partial](w, in + 1);
	__asm__ volatile("" ::: "memory");
	_mm_setcsr(old);
	return next;
}
static const sc_handler ROUNDMODE_p = ROUNDMODE_f;

OP1(SINAPPROX, float, float, leaf_sin_approx(a))
OP1(COSAPPROX, float, float, leaf_cos_approx(a))
OP1(EX2APPROX, float, float, leaf_ex2_approx(a))
OP1(LG2APPROX, float, float, leaf_lg2_approx(a))
OP1(TANHAPPROX, float, float, leaf_tanh_approx(a))
OP2(DIVAPPROX, float, float, float, leaf_div_approx(a, b))
SLOW1(RCPAPPROXF64, double, double, leaf_rcp_approx_f64(a))
SLOW1(RSQRTAPPROXF64, double, double, leaf_rsqrt_approx_f64(a, in->sub))

/* Toward zero, saturating: what is left after rounding to an integer. NaN gives 0, or where either side
 * has 64 bits the result's highest bit alone (PTX ISA, cvt). */
OP1(F32TOS32, int32_t, float,
    ({ float c = a < 2147483648.0f ? a : 0.0f; c = c >= -2147483648.0f ? c : -2147483648.0f;
       int32_t v = (int32_t)c; v = a >= 2147483648.0f ? INT32_MAX : v; a != a ? 0 : v; }))
OP1(F64TOS32, int32_t, double,
    ({ double c = a < 2147483647.0 ? a : 2147483647.0; c = c > -2147483648.0 ? c : -2147483648.0;
       a != a ? INT32_MIN : (int32_t)c; }))
OP1(F32TOU32, uint32_t, float,
    ({ float c = a > 0.0f ? a : 0.0f; bool big = c >= 2147483648.0f; float low = big ? c - 2147483648.0f : c;
       low = low < 2147483648.0f ? low : 0.0f;
       uint32_t v = (uint32_t)(int32_t)low + (big ? 0x80000000u : 0); c >= 4294967296.0f ? UINT32_MAX : v; }))
OP1(F64TOU32, uint32_t, double,
    ({ double c = a > 0.0 ? a : 0.0; c = c < 4294967295.0 ? c : 4294967295.0;
       a != a ? 0x80000000u : (uint32_t)(int64_t)c; }))
#define TO64(NAME, TF)                                                                              \
	SLOW1(NAME##TOS64, int64_t, TF,                                                             \
	      a != a ? INT64_MIN : a >= 9223372036854775808.0 ? INT64_MAX : a < -9223372036854775808.0 ? INT64_MIN : (int64_t)a) \
	SLOW1(NAME##TOU64, uint64_t, TF, a != a ? 1ull << 63 : !(a > 0) ? 0 : a >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)a)
TO64(F32, float)
TO64(F64, double)

/* Before a conversion to 8 or 16 bits: imm holds the bounds as two int32. NaN as above. */
OP1(F32CLAMP, float, float,
    ({ float lo = (float)(int32_t)(in->imm & 0xffffffff), hi = (float)(int32_t)(in->imm >> 32);
       float c = a < lo ? lo : a > hi ? hi : a; c == c ? c : 0.0f; }))
OP1(F64CLAMP, double, double,
    ({ double lo = (int32_t)(in->imm & 0xffffffff), hi = (int32_t)(in->imm >> 32);
       double c = a < lo ? lo : a > hi ? hi : a; c == c ? c : lo < 0 ? lo : (hi + 1) / 2; }))

OP1(S32TOF32, float, int32_t, (float)a)
SLOW1(U32TOF32, float, uint32_t, (float)(int64_t)a)
SLOW1(S64TOF32, float, int64_t, (float)a)
OP1(S32TOF64, double, int32_t, (double)a)
OP1(U32TOF64, double, uint32_t, (double)a)
SLOW1(S64TOF64, double, int64_t, (double)a)
/* Above 2^63 halve with the lost bit kept sticky: one rounding, in the mode that is set. */
static inline int64_t half_sticky(uint64_t a)
{
	return (int64_t)(a >> 1 | (a & 1));
}
SLOW1(U64TOF32, float, uint64_t, a >> 63 ? (float)half_sticky(a) * 2.0f : (float)(int64_t)a)
SLOW1(U64TOF64, double, uint64_t, a >> 63 ? (double)half_sticky(a) * 2.0 : (double)(int64_t)a)
OP1(F32TOF64, double, float, (double)a)
OP1(F64TOF32, float, double, canon((float)a))

SLOW1(F16TOF32, float, uint16_t, sc_half_to_float(a))
SLOW1(F32TOF16, uint16_t, float, sc_float_to_half(a, in->sub))
SLOW1(F64TOF16, uint16_t, double, sc_double_to_half(a, in->sub))
SLOW1(BF16TOF32, float, uint16_t, canon(float_of((uint32_t)a << 16)))
SLOW1(F32TOBF16, uint16_t, float, sc_float_to_bf16(a, in->sub))

/* Half-precision arithmetic, one or two per register; imm packs what sc_half_op needs. */
HANDLER(HALF_f)
{
	bool pair = in->sub & 1;
	ACTIVE(w, i)
	{
		uint32_t v[3] = { 0 };
		for (int k = 0; k < in->n; k++)
			v[k] = pair ? REG(uint32_t, k + 1)[i] : REG(uint16_t, k + 1)[i];
		uint32_t lo = sc_half_op(in->imm, (uint16_t)v[0], (uint16_t)v[1], (uint16_t)v[2]);
		if (!pair) {
			REG(uint16_t, 0)[i] = (uint16_t)lo;
			continue;
		}
		uint32_t hi = sc_half_op(in->imm, (uint16_t)(v[0] >> 16), (uint16_t)(v[1] >> 16),
					 (uint16_t)(v[2] >> 16));
		REG(uint32_t, 0)[i] = lo | hi << 16;
	}
	return in + 1;
}
static const sc_handler HALF_p = HALF_f;

void SC_INSTALL(float)(struct sc_op_fn *t);
void SC_INSTALL(float)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_FLOAT(X)
#undef X
}
