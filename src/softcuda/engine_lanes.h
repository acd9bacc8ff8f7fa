/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shapes of handlers: an expression over lanes becomes two functions, one for a full warp (a loop
 * the compiler vectorises) and one that keeps the lanes that are not active.
 *
 * The files using this are compiled once per instruction set; SC_ISA is its name.
 */
#ifndef SOFTCUDA_ENGINE_LANES_H
#define SOFTCUDA_ENGINE_LANES_H
#include <string.h>
#include <immintrin.h>
#include "softcuda/engine_prog.h"

#define SC_CAT2(a, b) a##b
#define SC_CAT(a, b) SC_CAT2(a, b)
#define SC_INSTALL(name) SC_CAT(sc_install_##name##_, SC_ISA)

#ifdef __clang__
#define SC_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define SC_IVDEP _Pragma("GCC ivdep")
#endif
#define LANES(i) SC_IVDEP for (int i = 0; i < SC_LANES; i++)
/* Active lanes only, for what is dear or must not happen twice. */
#define ACTIVE(w, i) \
	for (uint32_t rest_ = (w)->mask, i = 0; rest_ && (i = (uint32_t)__builtin_ctz(rest_), 1); rest_ &= rest_ - 1)

#define REG(T, k) ((T *)__builtin_assume_aligned(w->r + in->o[k], 64))
#define PRED(k) (*(uint32_t *)(w->r + in->o[k]))
#define LM(T) ((const SC_CAT(lmt_, T) *)(sizeof(T) == 2 ? sc_lm16(w) : sizeof(T) == 4 ? (const void *)w->lm32 : (const void *)w->lm64))
typedef uint16_t lmt_uint16_t, lmt_int16_t;
typedef uint32_t lmt_uint32_t, lmt_int32_t, lmt_float;
typedef uint64_t lmt_uint64_t, lmt_int64_t, lmt_double;

/* By lane. */
static const uint32_t sc_lane_bit[SC_LANES] __attribute__((aligned(64), unused)) = {
	1u << 0,  1u << 1,  1u << 2,  1u << 3,	1u << 4,  1u << 5,  1u << 6,  1u << 7,	1u << 8,  1u << 9,  1u << 10,
	1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15, 1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21,
	1u << 22, 1u << 23, 1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31,
};

/* 16-bit operations are rare: their masks are made when needed. */
static inline const void *sc_lm16(struct warp *w)
{
	LANES(i) w->lm16[i] = (uint16_t)w->lm32[i];
	return w->lm16;
}

#define HANDLER(name) static const struct insn *name(struct warp *w, const struct insn *in)

#define LANE_OP(NAME, T, DECL, EXPR)                       \
	HANDLER(NAME##_f)                                  \
	{                                                  \
		T *d = REG(T, 0);                          \
		DECL;                                      \
		LANES(i) d[i] = (T)(EXPR);                 \
		return in + 1;                             \
	}                                                  \
	HANDLER(NAME##_p)                                  \
	{                                                  \
		T *d = REG(T, 0);                          \
		DECL;                                      \
		const SC_CAT(lmt_, T) *m = LM(T);          \
		LANES(i)                                   \
		{                                          \
			T v_ = (T)(EXPR);                  \
			d[i] = m[i] ? v_ : d[i];           \
		}                                          \
		return in + 1;                             \
	}
/* For what does not vectorise: active lanes one by one. */
#define SLOW_OP(NAME, T, DECL, EXPR)                       \
	HANDLER(NAME##_f)                                  \
	{                                                  \
		T *d = REG(T, 0);                          \
		DECL;                                      \
		ACTIVE(w, i) d[i] = (T)(EXPR);             \
		return in + 1;                             \
	}                                                  \
	static const sc_handler NAME##_p = NAME##_f;

#define OP1(NAME, T, TA, EXPR) LANE_OP(NAME, T, const TA *pa = REG(TA, 1), SC_E1(TA, EXPR))
#define SC_E1(TA, EXPR) ({ TA a = pa[i]; (void)a; EXPR; })
#define OP2(NAME, T, TA, TB, EXPR) \
	LANE_OP(NAME, T, const TA *pa = REG(TA, 1); const TB *pb = REG(TB, 2), ({ TA a = pa[i]; TB b = pb[i]; EXPR; }))
#define OP3(NAME, T, TA, TB, TC, EXPR)                                                                   \
	LANE_OP(NAME, T, const TA *pa = REG(TA, 1); const TB *pb = REG(TB, 2); const TC *pc = REG(TC, 3), \
		({ TA a = pa[i]; TB b = pb[i]; TC c = pc[i]; EXPR; }))
#define SLOW1(NAME, T, TA, EXPR) SLOW_OP(NAME, T, const TA *pa = REG(TA, 1), ({ TA a = pa[i]; EXPR; }))
#define SLOW2(NAME, T, TA, TB, EXPR) \
	SLOW_OP(NAME, T, const TA *pa = REG(TA, 1); const TB *pb = REG(TB, 2), ({ TA a = pa[i]; TB b = pb[i]; EXPR; }))
#define SLOW3(NAME, T, TA, TB, TC, EXPR)                                                                 \
	SLOW_OP(NAME, T, const TA *pa = REG(TA, 1); const TB *pb = REG(TB, 2); const TC *pc = REG(TC, 3), \
		({ TA a = pa[i]; TB b = pb[i]; TC c = pc[i]; EXPR; }))

static inline void sc_put_pred(struct warp *w, uint32_t *d, uint32_t v)
{
	*d = (v & w->mask) | (*d & ~w->mask);
}

/* Vectors of the widest registers; of 16-bit lanes always 16 bytes, which pack to bytes in order. */
#ifdef __AVX2__
#define SC_VECTOR 32
#define sc_bits4(v) ((uint32_t)_mm256_movemask_ps((__m256)(v)))
#define sc_bits8(v) ((uint32_t)_mm256_movemask_pd((__m256d)(v)))
#else
#define SC_VECTOR 16
#define sc_bits4(v) ((uint32_t)_mm_movemask_ps((__m128)(v)))
#define sc_bits8(v) ((uint32_t)_mm_movemask_pd((__m128d)(v)))
#endif
#define SC_VECTOR_OF(T, bytes) T __attribute__((vector_size(bytes), may_alias))

/* EXPR compares vectors a and b: lanes become 0 or all ones. */
#define CMP16(NAME, T, EXPR)                                                                       \
	HANDLER(NAME##_f)                                                                          \
	{                                                                                          \
		typedef SC_VECTOR_OF(T, 16) V;                                                     \
		const V *pa = (const V *)(w->r + in->o[1]), *pb = (const V *)(w->r + in->o[2]);    \
		uint32_t v_ = 0;                                                                   \
		for (int k = 0; k < 2; k++) {                                                      \
			V a = pa[2 * k], b = pb[2 * k];                                            \
			__m128i lo = (__m128i)(EXPR);                                              \
			a = pa[2 * k + 1];                                                         \
			b = pb[2 * k + 1];                                                         \
			__m128i hi = (__m128i)(EXPR);                                              \
			v_ |= (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(lo, hi)) << (16 * k);    \
		}                                                                                  \
		sc_put_pred(w, &PRED(0), v_);                                                      \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler NAME##_p = NAME##_f;
#define CMP_OP(NAME, T, EXPR)                                                                      \
	HANDLER(NAME##_f)                                                                          \
	{                                                                                          \
		typedef SC_VECTOR_OF(T, SC_VECTOR) V;                                              \
		enum { EACH = SC_VECTOR / sizeof(T) };                                             \
		const V *pa = (const V *)(w->r + in->o[1]), *pb = (const V *)(w->r + in->o[2]);    \
		uint32_t v_ = 0;                                                                   \
		for (int k = 0; k < SC_LANES / EACH; k++) {                                        \
			V a = pa[k], b = pb[k];                                                    \
			v_ |= (sizeof(T) == 4 ? sc_bits4(EXPR) : sc_bits8(EXPR)) << (EACH * k);    \
		}                                                                                  \
		sc_put_pred(w, &PRED(0), v_);                                                      \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler NAME##_p = NAME##_f;

/* The current group goes on at pc, which others may wait at. */
static inline const struct insn *sc_goto(struct warp *w, const struct insn *pc)
{
	return w->nwait && pc >= w->clear ? sc_arrive(w, pc) : pc;
}

/* Value of a warp-uniform operand: that of the first active lane. */
static inline uint32_t sc_first32(struct warp *w, uint32_t offset)
{
	return ((const uint32_t *)(w->r + offset))[__builtin_ctz(w->mask)];
}
#endif
