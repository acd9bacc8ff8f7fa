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

/* Lanes of 0 or all ones to a mask, by the lanes' width. */
static inline uint32_t sc_mask8(const int8_t *t)
{
	__m128i lo = _mm_load_si128((const __m128i *)t), hi = _mm_load_si128((const __m128i *)(t + 16));
	return (uint32_t)_mm_movemask_epi8(lo) | (uint32_t)_mm_movemask_epi8(hi) << 16;
}
static inline uint32_t sc_mask4(const int32_t *t)
{
	uint32_t m = 0;
#ifdef __AVX2__
	for (int k = 0; k < 4; k++)
		m |= (uint32_t)_mm256_movemask_ps(_mm256_load_ps((const float *)(t + 8 * k))) << (8 * k);
#else
	for (int k = 0; k < 8; k++)
		m |= (uint32_t)_mm_movemask_ps(_mm_load_ps((const float *)(t + 4 * k))) << (4 * k);
#endif
	return m;
}
static inline uint32_t sc_mask64(const int64_t *t)
{
	uint32_t m = 0;
#ifdef __AVX2__
	for (int k = 0; k < 8; k++)
		m |= (uint32_t)_mm256_movemask_pd(_mm256_load_pd((const double *)(t + 4 * k))) << (4 * k);
#else
	for (int k = 0; k < 16; k++)
		m |= (uint32_t)_mm_movemask_pd(_mm_load_pd((const double *)(t + 2 * k))) << (2 * k);
#endif
	return m;
}

#define SC_COMPARE(T, EXPR)                                                      \
	LANES(i)                                                                 \
	{                                                                        \
		T a = pa[i], b = pb[i];                                          \
		t[i] = (EXPR) ? -1 : 0;                                          \
	}
#define CMP_OP(NAME, T, EXPR)                                                    \
	HANDLER(NAME##_f)                                                        \
	{                                                                        \
		const T *pa = REG(T, 1), *pb = REG(T, 2);                        \
		uint32_t v_;                                                     \
		if (sizeof(T) == 2) {                                            \
			int8_t t[SC_LANES] __attribute__((aligned(64)));         \
			SC_COMPARE(T, EXPR)                                      \
			v_ = sc_mask8(t);                                        \
		} else if (sizeof(T) == 4) {                                     \
			int32_t t[SC_LANES] __attribute__((aligned(64)));        \
			SC_COMPARE(T, EXPR)                                      \
			v_ = sc_mask4(t);                                        \
		} else {                                                         \
			int64_t t[SC_LANES] __attribute__((aligned(64)));        \
			SC_COMPARE(T, EXPR)                                      \
			v_ = sc_mask64(t);                                       \
		}                                                                \
		sc_put_pred(w, &PRED(0), v_);                                    \
		return in + 1;                                                   \
	}                                                                        \
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
