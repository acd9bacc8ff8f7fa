/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Atomics, lane by lane in lane order. A block's shared memory belongs to one worker, so plain
 * operations are atomic there. All other memory is locked, even while one worker runs: another device
 * of this process, or whoever else maps registered host memory, may update it at the same time.
 *
 * Operands: o[0] result, o[1] address, o[2] value, o[3] second value of cas; n: enum ptx_atom |
 * HAS_RESULT | SIGNED.
 */
#include "softcuda/engine_half.h"
#include "softcuda/engine_mem.h"

enum { HAS_RESULT = 0x40, SIGNED = 0x20 };

static inline bool locked(const struct warp *w, uint64_t ea)
{
	return ea - (uint64_t)(uintptr_t)w->b->shared >= w->k->run->shared_bytes;
}

/* Whether all 32 lanes' addresses lie in the block's shared memory, or in the range this instruction
 * used last. */
static inline bool classified(struct warp *w, const struct insn *in, uint32_t size, struct sc_access *x, uint64_t *ea)
{
	int space = sc_space(in);
	if (space == PTX_SPACE_SHARED && sc_mode(in) != MODE_CONST)
		return sc_classify_shared(w, in, size, x, ea);
	if (space > PTX_SPACE_GLOBAL || sc_mode(in) != MODE_REG64)
		return false;
	return sc_classify(REG(const uint64_t, 1), (uint64_t)in->imm, size, &w->k->range[in->o[5]], x);
}

#define COMBINE(W)                                                                                 \
	static inline uint##W##_t combine##W(int op, bool sign, uint##W##_t old, uint##W##_t b,    \
					     uint##W##_t c)                                        \
	{                                                                                          \
		switch (op) {                                                                      \
		case PTX_ATOM_AND: return old & b;                                                 \
		case PTX_ATOM_OR: return old | b;                                                  \
		case PTX_ATOM_XOR: return old ^ b;                                                 \
		case PTX_ATOM_CAS: return old == b ? c : old;                                      \
		case PTX_ATOM_EXCH: return b;                                                      \
		case PTX_ATOM_ADD: return (uint##W##_t)(old + b);                                  \
		case PTX_ATOM_INC: return old >= b ? 0 : (uint##W##_t)(old + 1);                   \
		case PTX_ATOM_DEC: return old == 0 || old > b ? b : (uint##W##_t)(old - 1);        \
		case PTX_ATOM_MIN:                                                                 \
			return sign ? ((int##W##_t)old < (int##W##_t)b ? old : b) : old < b ? old : b; \
		default:                                                                           \
			return sign ? ((int##W##_t)old > (int##W##_t)b ? old : b) : old > b ? old : b; \
		}                                                                                  \
	}                                                                                          \
	static uint##W##_t locked##W(uint##W##_t *p, int op, bool sign, uint##W##_t b, uint##W##_t c) \
	{                                                                                          \
		if (op == PTX_ATOM_ADD)                                                            \
			return __atomic_fetch_add(p, b, __ATOMIC_SEQ_CST);                         \
		uint##W##_t old = __atomic_load_n(p, __ATOMIC_RELAXED), v;                         \
		do                                                                                 \
			v = combine##W(op, sign, old, b, c);                                       \
		while (!__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_SEQ_CST,           \
						    __ATOMIC_RELAXED));                            \
		return old;                                                                        \
	}                                                                                          \
	/* The commonest: addition without a result by a full warp. */                             \
	static bool add##W(struct warp *w, const struct insn *in)                                  \
	{                                                                                          \
		struct sc_access x;                                                                \
		uint64_t ea[SC_LANES] __attribute__((aligned(64)));                                \
		if (w->partial || (in->n & ~SIGNED) != PTX_ATOM_ADD || !classified(w, in, W / 8, &x, ea)) \
			return false;                                                              \
		const uint##W##_t *b = REG(uint##W##_t, 2);                                        \
		const bool lock = locked(w, x.ea[0] + x.offset);                                   \
		if (x.pattern == SC_SAME) {                                                        \
			uint##W##_t sum = 0;                                                       \
			LANES(i) sum = (uint##W##_t)(sum + b[i]);                                  \
			if (lock)                                                                  \
				__atomic_fetch_add((uint##W##_t *)(uintptr_t)x.first, sum, __ATOMIC_SEQ_CST); \
			else                                                                       \
				*(uint##W##_t *)(uintptr_t)x.first += sum;                         \
		} else if (lock) {                                                                 \
			for (int i = 0; i < SC_LANES; i++)                                         \
				__atomic_fetch_add((uint##W##_t *)(uintptr_t)(x.ea[i] + x.offset), b[i], \
						   __ATOMIC_SEQ_CST);                              \
		} else {                                                                           \
			for (int i = 0; i < SC_LANES; i++)                                         \
				*(uint##W##_t *)(uintptr_t)(x.ea[i] + x.offset) += b[i];           \
		}                                                                                  \
		return true;                                                                       \
	}                                                                                          \
	HANDLER(ATOM##W##_f)                                                                       \
	{                                                                                          \
		if (add##W(w, in))                                                                 \
			return in + 1;                                                             \
		const int op = in->n & 31;                                                         \
		const bool sign = in->n & SIGNED;                                                  \
		const uint##W##_t *b = REG(uint##W##_t, 2), *c = REG(uint##W##_t, 3);              \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			uint64_t ea;                                                               \
			if (!sc_lane_address(w, in, W / 8, true, i, &ea))                          \
				return NULL;                                                       \
			uint##W##_t *p = (uint##W##_t *)(uintptr_t)ea, old;                        \
			if (locked(w, ea)) {                                                       \
				old = locked##W(p, op, sign, b[i], c[i]);                          \
			} else {                                                                   \
				old = *p;                                                          \
				*p = combine##W(op, sign, old, b[i], c[i]);                        \
			}                                                                          \
			if (in->n & HAS_RESULT)                                                    \
				REG(uint##W##_t, 0)[i] = old;                                      \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler ATOM##W##_p = ATOM##W##_f;
COMBINE(16)
COMBINE(32)
COMBINE(64)

static inline float sum32(float a, float b)
{
	union { uint32_t u; float f; } nan = { 0x7fffffffu };
	float r = a + b;
	return r == r ? r : nan.f;
}
static inline double sum64(double a, double b)
{
	return a + b;
}

/* Floating add and exchange */
#define FLOATADD(W, T)                                                                             \
	HANDLER(ATOMF##W##_f)                                                                      \
	{                                                                                          \
		const T *b = REG(T, 2);                                                            \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			uint64_t ea;                                                               \
			if (!sc_lane_address(w, in, W / 8, true, i, &ea))                          \
				return NULL;                                                       \
			union { uint##W##_t u; T f; } old, v;                                      \
			uint##W##_t *p = (uint##W##_t *)(uintptr_t)ea;                             \
			bool lock = locked(w, ea);                                                 \
			old.u = __atomic_load_n(p, __ATOMIC_RELAXED);                              \
			do                                                                         \
				v.f = sum##W(old.f, b[i]);                                         \
			while (lock && !__atomic_compare_exchange_n(p, &old.u, v.u, false,         \
								    __ATOMIC_SEQ_CST,              \
								    __ATOMIC_RELAXED));            \
			if (!lock)                                                                 \
				*p = v.u;                                                          \
			if (in->n & HAS_RESULT)                                                    \
				REG(T, 0)[i] = old.f;                                              \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler ATOMF##W##_p = ATOMF##W##_f;
FLOATADD(32, float)
FLOATADD(64, double)

/* Addition of one half or two; aux holds what SC_HALF_IMM made. A pair is one 32-bit update. */
static inline uint32_t sum_halves(const struct insn *in, uint32_t a, uint32_t b, bool pair)
{
	int64_t how = (int64_t)(intptr_t)in->aux;
	uint32_t lo = sc_half_op(how, (uint16_t)a, (uint16_t)b, 0);
	return pair ? lo | (uint32_t)sc_half_op(how, (uint16_t)(a >> 16), (uint16_t)(b >> 16), 0) << 16 : lo;
}
#define HALFADD(W)                                                                                 \
	HANDLER(ATOMH##W##_f)                                                                      \
	{                                                                                          \
		const uint##W##_t *b = REG(uint##W##_t, 2);                                        \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			uint64_t ea;                                                               \
			if (!sc_lane_address(w, in, W / 8, true, i, &ea))                          \
				return NULL;                                                       \
			uint##W##_t *p = (uint##W##_t *)(uintptr_t)ea, v;                          \
			uint##W##_t old = __atomic_load_n(p, __ATOMIC_RELAXED);                    \
			do                                                                         \
				v = (uint##W##_t)sum_halves(in, old, b[i], W == 32);               \
			while (!__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_SEQ_CST,   \
							    __ATOMIC_RELAXED));                    \
			if (in->n & HAS_RESULT)                                                    \
				REG(uint##W##_t, 0)[i] = old;                                      \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler ATOMH##W##_p = ATOMH##W##_f;
HALFADD(16)
HALFADD(32)

HANDLER(FENCE_f)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return in + 1;
}
static const sc_handler FENCE_p = FENCE_f;

void SC_INSTALL(atom)(struct sc_op_fn *t);
void SC_INSTALL(atom)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_ATOM(X)
#undef X
}
