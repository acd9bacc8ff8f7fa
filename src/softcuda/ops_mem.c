/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads and stores. Every lane's address is checked before any is used. A full warp's addresses
 * are mostly one run of memory or all the same: both are seen by one pass over the lanes and then
 * checked once; anything else is checked lane by lane against the range this instruction used last.
 *
 * Operands: o[0] data, o[1] address register, o[2..4] further data of vectors, o[5] range slot;
 * imm the offset; sub space and mode.
 */
#include "softcuda/engine_mem.h"

/* n: high bit = sign-extend is in the op's name, so not needed here */
#define LOAD(NAME, S, D, ADDRESS)                                                                  \
	HANDLER(NAME##_f)                                                                          \
	{                                                                                          \
		struct sc_access x;                                                                \
		uint64_t ea[SC_LANES] __attribute__((aligned(64)));                                \
		if (!ADDRESS(w, in, sizeof(S), false, &x, ea))                                     \
			return NULL;                                                               \
		D *d = REG(D, 0);                                                                  \
		const S *p = (const S *)(uintptr_t)x.first;                                        \
		if (x.pattern == SC_RUN) {                                                         \
			LANES(i) d[i] = (D)p[i];                                                   \
		} else if (x.pattern == SC_SAME) {                                                 \
			D v = (D)*p;                                                               \
			LANES(i) d[i] = v;                                                         \
		} else {                                                                           \
			const uint64_t *a = x.ea;                                                  \
			for (int i = 0; i < SC_LANES; i++)                                         \
				d[i] = (D) * (const S *)(uintptr_t)(a[i] + x.offset);              \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(NAME##_p)                                                                          \
	{                                                                                          \
		uint64_t ea[SC_LANES];                                                             \
		if (!sc_lane_addresses(w, in, sizeof(S), false, ea))                               \
			return NULL;                                                               \
		D *d = REG(D, 0);                                                                  \
		ACTIVE(w, i) d[i] = (D) * (const S *)(uintptr_t)ea[i];                             \
		return in + 1;                                                                     \
	}

#define STORE(NAME, D, S, ADDRESS)                                                                 \
	HANDLER(NAME##_f)                                                                          \
	{                                                                                          \
		struct sc_access x;                                                                \
		uint64_t ea[SC_LANES] __attribute__((aligned(64)));                                \
		if (!ADDRESS(w, in, sizeof(S), true, &x, ea))                                      \
			return NULL;                                                               \
		const D *d = REG(const D, 0);                                                      \
		S *p = (S *)(uintptr_t)x.first;                                                    \
		if (x.pattern == SC_RUN) {                                                         \
			LANES(i) p[i] = (S)d[i];                                                   \
		} else if (x.pattern == SC_SAME) {                                                 \
			*p = (S)d[SC_LANES - 1];                                                   \
		} else {                                                                           \
			const uint64_t *a = x.ea;                                                  \
			for (int i = 0; i < SC_LANES; i++)                                         \
				*(S *)(uintptr_t)(a[i] + x.offset) = (S)d[i];                      \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(NAME##_p)                                                                          \
	{                                                                                          \
		uint64_t ea[SC_LANES];                                                             \
		if (!sc_lane_addresses(w, in, sizeof(S), true, ea))                                \
			return NULL;                                                               \
		const D *d = REG(const D, 0);                                                      \
		ACTIVE(w, i) *(S *)(uintptr_t)ea[i] = (S)d[i];                                     \
		return in + 1;                                                                     \
	}

#define LOADS(m, ADDRESS)                                                                          \
	LOAD(LD##m##U8_16, uint8_t, uint16_t, ADDRESS) LOAD(LD##m##S8_16, int8_t, int16_t, ADDRESS) \
	LOAD(LD##m##U8_32, uint8_t, uint32_t, ADDRESS) LOAD(LD##m##S8_32, int8_t, int32_t, ADDRESS) \
	LOAD(LD##m##U8_64, uint8_t, uint64_t, ADDRESS) LOAD(LD##m##S8_64, int8_t, int64_t, ADDRESS) \
	LOAD(LD##m##16_16, uint16_t, uint16_t, ADDRESS)                                            \
	LOAD(LD##m##U16_32, uint16_t, uint32_t, ADDRESS)                                           \
	LOAD(LD##m##S16_32, int16_t, int32_t, ADDRESS)                                             \
	LOAD(LD##m##U16_64, uint16_t, uint64_t, ADDRESS)                                           \
	LOAD(LD##m##S16_64, int16_t, int64_t, ADDRESS)                                             \
	LOAD(LD##m##32_32, uint32_t, uint32_t, ADDRESS)                                            \
	LOAD(LD##m##U32_64, uint32_t, uint64_t, ADDRESS)                                           \
	LOAD(LD##m##S32_64, int32_t, int64_t, ADDRESS)                                             \
	LOAD(LD##m##64_64, uint64_t, uint64_t, ADDRESS)                                            \
	STORE(ST##m##16_8, uint16_t, uint8_t, ADDRESS) STORE(ST##m##32_8, uint32_t, uint8_t, ADDRESS) \
	STORE(ST##m##64_8, uint64_t, uint8_t, ADDRESS)                                             \
	STORE(ST##m##16_16, uint16_t, uint16_t, ADDRESS)                                           \
	STORE(ST##m##32_16, uint32_t, uint16_t, ADDRESS)                                           \
	STORE(ST##m##64_16, uint64_t, uint16_t, ADDRESS)                                           \
	STORE(ST##m##32_32, uint32_t, uint32_t, ADDRESS)                                           \
	STORE(ST##m##64_32, uint64_t, uint32_t, ADDRESS)                                           \
	STORE(ST##m##64_64, uint64_t, uint64_t, ADDRESS)
LOADS(G, sc_access_global)
LOADS(X, sc_access_any)

/* A: o[1] is where the address of lane 0 lies; n: all lanes have the same, else they follow each other. */
static inline uint64_t base_of(struct warp *w, const struct insn *in)
{
	return *(const uint64_t *)(const void *)(w->r + in->o[1]) + (uint64_t)in->imm;
}

static inline bool base_ok(struct warp *w, const struct insn *in, uint64_t va, uint32_t size)
{
	return (va & (size - 1)) == 0 && sc_in_range(&w->k->range[in->o[5]], va, in->n ? size : size * SC_LANES);
}

/* The commonest: lanes that follow each other, within the range used last. */
static inline bool run_ok(struct warp *w, const struct insn *in, uint64_t va, uint32_t size)
{
	return __builtin_expect(!in->n && (va & (size - 1)) == 0 && sc_in_range(&w->k->range[in->o[5]], va, size * SC_LANES), 1);
}

/* Not all of it in the range used last: each active lane on its own. */
static __attribute__((noinline)) bool each_lane_ok(struct warp *w, const struct insn *in, uint64_t va, uint32_t size, bool write)
{
	ACTIVE(w, i)
	{
		uint64_t at = va + (in->n ? 0 : (uint64_t)i * size);
		if ((at & (size - 1)) != 0 || !sc_lane_ok(w, in->o[5], at, size, i)) {
			sc_mem_fault(w, in, (int)i, at, size, write);
			return false;
		}
	}
	return true;
}

#define LOAD_BASE(NAME, S, D)                                                                      \
	static __attribute__((noinline)) const struct insn *NAME##_p(struct warp *w, const struct insn *in) \
	{                                                                                          \
		uint64_t va = base_of(w, in);                                                      \
		const S *p = (const S *)(uintptr_t)va;                                             \
		D *d = REG(D, 0);                                                                  \
		if (!base_ok(w, in, va, sizeof(S)) && !each_lane_ok(w, in, va, sizeof(S), false))  \
			return NULL;                                                               \
		ACTIVE(w, i) d[i] = (D)p[in->n ? 0 : i];                                           \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(NAME##_f)                                                                          \
	{                                                                                          \
		uint64_t va = base_of(w, in);                                                      \
		if (!run_ok(w, in, va, sizeof(S)))                                                 \
			return NAME##_p(w, in);                                                    \
		const S *p = (const S *)(uintptr_t)va;                                             \
		D *d = REG(D, 0);                                                                  \
		LANES(i) d[i] = (D)p[i];                                                           \
		return in + 1;                                                                     \
	}
#define STORE_BASE(NAME, D, S)                                                                     \
	static __attribute__((noinline)) const struct insn *NAME##_p(struct warp *w, const struct insn *in) \
	{                                                                                          \
		uint64_t va = base_of(w, in);                                                      \
		S *p = (S *)(uintptr_t)va;                                                         \
		const D *d = REG(const D, 0);                                                      \
		if (!base_ok(w, in, va, sizeof(S)) && !each_lane_ok(w, in, va, sizeof(S), true))   \
			return NULL;                                                               \
		ACTIVE(w, i) p[in->n ? 0 : i] = (S)d[i];                                           \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(NAME##_f)                                                                          \
	{                                                                                          \
		uint64_t va = base_of(w, in);                                                      \
		if (!run_ok(w, in, va, sizeof(S)))                                                 \
			return NAME##_p(w, in);                                                    \
		S *p = (S *)(uintptr_t)va;                                                         \
		const D *d = REG(const D, 0);                                                      \
		LANES(i) p[i] = (S)d[i];                                                           \
		return in + 1;                                                                     \
	}
LOAD_BASE(LDAU8_16, uint8_t, uint16_t) LOAD_BASE(LDAS8_16, int8_t, int16_t) LOAD_BASE(LDAU8_32, uint8_t, uint32_t)
LOAD_BASE(LDAS8_32, int8_t, int32_t) LOAD_BASE(LDAU8_64, uint8_t, uint64_t) LOAD_BASE(LDAS8_64, int8_t, int64_t)
LOAD_BASE(LDA16_16, uint16_t, uint16_t) LOAD_BASE(LDAU16_32, uint16_t, uint32_t) LOAD_BASE(LDAS16_32, int16_t, int32_t)
LOAD_BASE(LDAU16_64, uint16_t, uint64_t) LOAD_BASE(LDAS16_64, int16_t, int64_t) LOAD_BASE(LDA32_32, uint32_t, uint32_t)
LOAD_BASE(LDAU32_64, uint32_t, uint64_t) LOAD_BASE(LDAS32_64, int32_t, int64_t) LOAD_BASE(LDA64_64, uint64_t, uint64_t)
STORE_BASE(STA16_8, uint16_t, uint8_t) STORE_BASE(STA32_8, uint32_t, uint8_t) STORE_BASE(STA64_8, uint64_t, uint8_t)
STORE_BASE(STA16_16, uint16_t, uint16_t) STORE_BASE(STA32_16, uint32_t, uint16_t) STORE_BASE(STA64_16, uint64_t, uint16_t)
STORE_BASE(STA32_32, uint32_t, uint32_t) STORE_BASE(STA64_32, uint64_t, uint32_t) STORE_BASE(STA64_64, uint64_t, uint64_t)

/* Vectors: n = elements | log2 of register bytes << 4 | sign-extend << 7. */
static const uint8_t vec_operand[4] = { 0, 2, 3, 4 };

static inline void put_element(struct warp *w, const struct insn *in, int k, uint32_t i, uint64_t v,
			       int bits)
{
	if (in->n & 0x80 && bits < 64)
		v = (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits));
	uint8_t *r = w->r + in->o[vec_operand[k]];
	switch (in->n >> 4 & 7) {
	case 1: ((uint16_t *)r)[i] = (uint16_t)v; break;
	case 2: ((uint32_t *)r)[i] = (uint32_t)v; break;
	default: ((uint64_t *)r)[i] = v; break;
	}
}

static inline uint64_t get_element(struct warp *w, const struct insn *in, int k, uint32_t i)
{
	const uint8_t *r = w->r + in->o[vec_operand[k]];
	switch (in->n >> 4 & 7) {
	case 1: return ((const uint16_t *)r)[i];
	case 2: return ((const uint32_t *)r)[i];
	default: return ((const uint64_t *)r)[i];
	}
}

#define VECTOR(S, T)                                                                               \
	HANDLER(LDV##S##_f)                                                                        \
	{                                                                                          \
		uint64_t ea[SC_LANES];                                                             \
		int n = in->n & 15;                                                                \
		if (!sc_lane_addresses(w, in, (uint32_t)n * S / 8, false, ea))                     \
			return NULL;                                                               \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			T v[4];                                                                    \
			memcpy(v, (const void *)(uintptr_t)ea[i], (size_t)n * sizeof(T));          \
			for (int k = 0; k < n; k++)                                                \
				if (in->o[vec_operand[k]] != UINT32_MAX)                           \
					put_element(w, in, k, i, v[k], S);                         \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(STV##S##_f)                                                                        \
	{                                                                                          \
		uint64_t ea[SC_LANES];                                                             \
		int n = in->n & 15;                                                                \
		if (!sc_lane_addresses(w, in, (uint32_t)n * S / 8, true, ea))                      \
			return NULL;                                                               \
		ACTIVE(w, i)                                                                       \
		for (int k = 0; k < n; k++)                                                        \
			((T *)(uintptr_t)ea[i])[k] = (T)get_element(w, in, k, i);                  \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler LDV##S##_p = LDV##S##_f, STV##S##_p = STV##S##_f;
VECTOR(8, uint8_t)
VECTOR(16, uint16_t)
VECTOR(32, uint32_t)
VECTOR(64, uint64_t)

HANDLER(PREFETCH_f)
{
	return in + 1; /* a hint; bad addresses are no error */
}
static const sc_handler PREFETCH_p = PREFETCH_f;

void SC_INSTALL(mem)(struct sc_op_fn *t);
void SC_INSTALL(mem)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_MEM(X)
#undef X
}
