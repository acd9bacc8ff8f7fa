/* SPDX-License-Identifier: Apache-2.0 */
/* Integer arithmetic, logic, bit fields, moves, selects and special registers. */
#include <time.h>
#include "softcuda/engine_lanes.h"

#define WIDTHS(M) M(16) M(32) M(64)
#define SIGNED_TYPES(M) M(S, 16) M(S, 32) M(S, 64)
#define TYPE_S(n) int##n##_t
#define TYPE_U(n) uint##n##_t

#define BASIC(n)                                                                                   \
	OP2(ADD##n, uint##n##_t, uint##n##_t, uint##n##_t, a + b)                                  \
	OP2(SUB##n, uint##n##_t, uint##n##_t, uint##n##_t, a - b)                                  \
	OP2(AND##n, uint##n##_t, uint##n##_t, uint##n##_t, a & b)                                  \
	OP2(OR##n, uint##n##_t, uint##n##_t, uint##n##_t, a | b)                                   \
	OP2(XOR##n, uint##n##_t, uint##n##_t, uint##n##_t, a ^ b)                                  \
	OP1(NEG##n, uint##n##_t, uint##n##_t, 0u - a)                                              \
	OP1(ABS##n, uint##n##_t, int##n##_t, a < 0 ? 0u - (uint##n##_t)a : (uint##n##_t)a)         \
	OP1(NOT##n, uint##n##_t, uint##n##_t, ~a)                                                  \
	OP1(CNOT##n, uint##n##_t, uint##n##_t, a == 0)                                             \
	OP1(MOV##n, uint##n##_t, uint##n##_t, a)
WIDTHS(BASIC)
#define PRODUCT(n, SUFFIX)                                                                         \
	OP2(MULLO##n##SUFFIX, uint##n##_t, uint##n##_t, uint##n##_t, (uint64_t)a *(uint64_t)b)     \
	OP3(MADLO##n##SUFFIX, uint##n##_t, uint##n##_t, uint##n##_t, uint##n##_t,                  \
	    (uint64_t)a *(uint64_t)b + (uint64_t)c)
PRODUCT(16, ) PRODUCT(32, ) PRODUCT(64, _any)

/* 64 bits by a constant of 32 (n set, in imm): one of the three partial products is none. */
#ifdef __AVX2__
typedef __m256i pair_t;
#define PAIRS(op) _mm256_##op
#define EACH_OF(k) _mm256_set1_epi64x(k)
#else
typedef __m128i pair_t;
#define PAIRS(op) _mm_##op
#define EACH_OF(k) _mm_set1_epi64x(k)
#endif
static inline void times_constant(uint64_t *d, const uint64_t *a, int64_t k, const uint64_t *c)
{
	const pair_t by = EACH_OF(k), *x = (const pair_t *)(const void *)a, *y = (const pair_t *)(const void *)c;
	for (size_t i = 0; i < SC_LANES * sizeof(*d) / sizeof(by); i++) {
		pair_t lo = PAIRS(mul_epu32)(x[i], by), hi = PAIRS(mul_epu32)(PAIRS(srli_epi64)(x[i], 32), by);
		lo = PAIRS(add_epi64)(lo, PAIRS(slli_epi64)(hi, 32));
		((pair_t *)(void *)d)[i] = c ? PAIRS(add_epi64)(lo, y[i]) : lo;
	}
}
#define TIMES_CONSTANT(NAME, C)                                                                    \
	HANDLER(NAME##_imm_f)                                                                      \
	{                                                                                          \
		times_constant(REG(uint64_t, 0), REG(uint64_t, 1), in->imm, C);                    \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(NAME##_imm_p)                                                                      \
	{                                                                                          \
		uint64_t t[SC_LANES] __attribute__((aligned(64))), *d = REG(uint64_t, 0);          \
		times_constant(t, REG(uint64_t, 1), in->imm, C);                                   \
		LANES(i) d[i] = w->lm64[i] ? t[i] : d[i];                                          \
		return in + 1;                                                                     \
	}
TIMES_CONSTANT(MULLO64, NULL) TIMES_CONSTANT(MADLO64, REG(uint64_t, 3))
#define BY_CONSTANT(NAME)                                                                          \
	HANDLER(NAME##_f) { return in->n ? NAME##_imm_f(w, in) : NAME##_any_f(w, in); }            \
	HANDLER(NAME##_p) { return in->n ? NAME##_imm_p(w, in) : NAME##_any_p(w, in); }
BY_CONSTANT(MULLO64) BY_CONSTANT(MADLO64)

/* Shift amounts are 32-bit and clamp at the width. */
/* An amount written in the instruction is in imm and less than the width (n set): the loop then has one
 * count for all lanes. */
#define SHIFT(NAME, T, U, BITS, CLAMPED, EXPR)                                                     \
	OP2(NAME##_any, T, T, uint32_t, ({ U s = b; CLAMPED; }))                                   \
	LANE_OP(NAME##_imm, T, const T *pa = REG(T, 1); const U s = (U)in->imm & (BITS - 1), ({ T a = pa[i]; EXPR; })) \
	HANDLER(NAME##_f) { return in->n ? NAME##_imm_f(w, in) : NAME##_any_f(w, in); }            \
	HANDLER(NAME##_p) { return in->n ? NAME##_imm_p(w, in) : NAME##_any_p(w, in); }
SHIFT(SHL32, uint32_t, uint32_t, 32, s > 31 ? 0 : a << (s & 31), a << s)
SHIFT(SHRU32, uint32_t, uint32_t, 32, s > 31 ? 0 : a >> (s & 31), a >> s)
SHIFT(SHRS32, int32_t, uint32_t, 32, a >> (s > 31 ? 31 : s), a >> s)
SHIFT(SHL64, uint64_t, uint64_t, 64, s > 63 ? 0 : a << (s & 63), a << s)
SHIFT(SHRU64, uint64_t, uint64_t, 64, s > 63 ? 0 : a >> (s & 63), a >> s)
SHIFT(SHRS64, int64_t, uint64_t, 64, a >> (s > 63 ? 63 : s), a >> s)
OP2(SHL16, uint16_t, uint16_t, uint32_t, b > 15 ? 0 : (uint32_t)a << (b & 15))
OP2(SHRU16, uint16_t, uint16_t, uint32_t, b > 15 ? 0 : (uint32_t)a >> (b & 15))
OP2(SHRS16, int16_t, int16_t, uint32_t, (int32_t)a >> (b > 15 ? 15 : b))

/* The lanes' bits of a predicate as masks of 32 bits. */
static inline void spread(uint32_t p, uint32_t m[SC_LANES])
{
	LANES(i) m[i] = (p & sc_lane_bit[i]) == sc_lane_bit[i] ? UINT32_MAX : 0;
}
#define SELECT(n)                                                                                  \
	HANDLER(SELP##n##_f)                                                                       \
	{                                                                                          \
		uint32_t s[SC_LANES] __attribute__((aligned(64)));                                 \
		uint##n##_t *d = REG(uint##n##_t, 0);                                              \
		const uint##n##_t *a = REG(uint##n##_t, 1), *b = REG(uint##n##_t, 2);              \
		spread(PRED(3), s);                                                                \
		LANES(i) d[i] = (int##n##_t)(int32_t)s[i] ? a[i] : b[i];                           \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(SELP##n##_p)                                                                       \
	{                                                                                          \
		uint32_t s[SC_LANES] __attribute__((aligned(64)));                                 \
		uint##n##_t *d = REG(uint##n##_t, 0);                                              \
		const uint##n##_t *a = REG(uint##n##_t, 1), *b = REG(uint##n##_t, 2);              \
		const SC_CAT(lmt_, uint##n##_t) *m = LM(uint##n##_t);                              \
		spread(PRED(3), s);                                                                \
		LANES(i)                                                                           \
		{                                                                                  \
			uint##n##_t v = (int##n##_t)(int32_t)s[i] ? a[i] : b[i];                   \
			d[i] = m[i] ? v : d[i];                                                    \
		}                                                                                  \
		return in + 1;                                                                     \
	}
WIDTHS(SELECT)

#define TYPED(s, n)                                                                                \
	OP2(MIN##s##n, TYPE_##s(n), TYPE_##s(n), TYPE_##s(n), a < b ? a : b)                       \
	OP2(MAX##s##n, TYPE_##s(n), TYPE_##s(n), TYPE_##s(n), a > b ? a : b)                       \
	OP3(SAD##s##n, TYPE_U(n), TYPE_##s(n), TYPE_##s(n), TYPE_U(n),                             \
	    c + (a > b ? (TYPE_U(n))a - (TYPE_U(n))b : (TYPE_U(n))b - (TYPE_U(n))a))
TYPED(S, 16) TYPED(U, 16) TYPED(S, 32) TYPED(U, 32) TYPED(S, 64) TYPED(U, 64)

OP2(MULHIS16, int16_t, int16_t, int16_t, ((int32_t)a * b) >> 16)
OP2(MULHIU16, uint16_t, uint16_t, uint16_t, ((uint32_t)a * b) >> 16)
OP2(MULHIS32, int32_t, int32_t, int32_t, ((int64_t)a * b) >> 32)
OP2(MULHIU32, uint32_t, uint32_t, uint32_t, ((uint64_t)a * b) >> 32)
SLOW2(MULHIS64, int64_t, int64_t, int64_t, ((__int128)a * b) >> 64)
SLOW2(MULHIU64, uint64_t, uint64_t, uint64_t, ((unsigned __int128)a * b) >> 64)
OP2(MULWIDES16, int32_t, int16_t, int16_t, (int32_t)a *b)
OP2(MULWIDEU16, uint32_t, uint16_t, uint16_t, (uint32_t)a *b)
OP2(MULWIDES32, int64_t, int32_t, int32_t, (int64_t)a *b)
OP2(MULWIDEU32, uint64_t, uint32_t, uint32_t, (uint64_t)a *b)
OP3(MADWIDES16, uint32_t, int16_t, int16_t, uint32_t, (uint32_t)((int32_t)a * b) + c)
OP3(MADWIDEU16, uint32_t, uint16_t, uint16_t, uint32_t, (uint32_t)a *b + c)
OP3(MADWIDES32, uint64_t, int32_t, int32_t, uint64_t, (uint64_t)((int64_t)a * b) + c)
OP3(MADWIDEU32, uint64_t, uint32_t, uint32_t, uint64_t, (uint64_t)a *b + c)

/* Division by zero gives all ones, as the hardware does; INT_MIN / -1 wraps. A double holds every
 * 32-bit quotient exactly enough: the truncated correctly rounded quotient is the integer one. */
OP2(DIVS32, int32_t, int32_t, int32_t,
    b == 0 ? -1 : b == -1 ? (int32_t)(0u - (uint32_t)a) : (int32_t)((double)a / (double)b))
OP2(REMS32, int32_t, int32_t, int32_t,
    b == 0 || b == -1 ? (b ? 0 : a) : (int32_t)((uint32_t)a - (uint32_t)(int32_t)((double)a / (double)b) * (uint32_t)b))
SLOW2(DIVU32, uint32_t, uint32_t, uint32_t, b ? a / b : UINT32_MAX)
SLOW2(REMU32, uint32_t, uint32_t, uint32_t, b ? a % b : a)
SLOW2(DIVS16, int16_t, int16_t, int16_t, b ? (int32_t)a / b : -1)
SLOW2(DIVU16, uint16_t, uint16_t, uint16_t, b ? a / b : UINT16_MAX)
SLOW2(REMS16, int16_t, int16_t, int16_t, b ? (int32_t)a % b : a)
SLOW2(REMU16, uint16_t, uint16_t, uint16_t, b ? a % b : a)
SLOW2(DIVS64, int64_t, int64_t, int64_t, b == 0 ? -1 : b == -1 ? (int64_t)(0u - (uint64_t)a) : a / b)
SLOW2(DIVU64, uint64_t, uint64_t, uint64_t, b ? a / b : UINT64_MAX)
SLOW2(REMS64, int64_t, int64_t, int64_t, b == 0 ? a : b == -1 ? 0 : a % b)
SLOW2(REMU64, uint64_t, uint64_t, uint64_t, b ? a % b : a)

static inline int32_t clamp32(int64_t v)
{
	return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}
OP2(ADDSAT, int32_t, int32_t, int32_t, clamp32((int64_t)a + b))
OP2(SUBSAT, int32_t, int32_t, int32_t, clamp32((int64_t)a - b))

/* 24-bit multiplies; sub = 1 signed. */
static inline int64_t mul24(uint32_t a, uint32_t b, bool sign)
{
	if (sign)
		return (int64_t)((int32_t)(a << 8) >> 8) * ((int32_t)(b << 8) >> 8);
	return (int64_t)((uint64_t)(a & 0xffffff) * (b & 0xffffff));
}
SLOW2(MUL24LO, uint32_t, uint32_t, uint32_t, (uint32_t)mul24(a, b, in->sub))
SLOW2(MUL24HI, uint32_t, uint32_t, uint32_t, (uint32_t)(mul24(a, b, in->sub) >> 16))

static inline uint64_t reverse_bits(uint64_t v)
{
	v = (v >> 1 & 0x5555555555555555ull) | (v & 0x5555555555555555ull) << 1;
	v = (v >> 2 & 0x3333333333333333ull) | (v & 0x3333333333333333ull) << 2;
	v = (v >> 4 & 0x0f0f0f0f0f0f0f0full) | (v & 0x0f0f0f0f0f0f0f0full) << 4;
	return __builtin_bswap64(v);
}
SLOW1(POPC32, uint32_t, uint32_t, __builtin_popcount(a))
SLOW1(POPC64, uint32_t, uint64_t, __builtin_popcountll(a))
SLOW1(CLZ32, uint32_t, uint32_t, a ? __builtin_clz(a) : 32)
SLOW1(CLZ64, uint32_t, uint64_t, a ? __builtin_clzll(a) : 64)
OP1(BREV32, uint32_t, uint32_t, reverse_bits(a) >> 32)
OP1(BREV64, uint64_t, uint64_t, reverse_bits(a))

/* Field of len bits from pos, both taken modulo 256; beyond the top come zeros or the sign. */
static inline uint64_t bfe(uint64_t a, uint32_t pos, uint32_t len, int width, bool sign)
{
	pos &= 0xff;
	len &= 0xff;
	if (len == 0)
		return 0;
	uint32_t top = pos + len - 1 < (uint32_t)width ? pos + len - 1 : (uint32_t)width - 1;
	uint64_t s = sign && (a >> top & 1) ? ~0ull : 0;
	uint64_t v = pos >= (uint32_t)width ? 0 : a >> pos;
	uint32_t have = pos >= (uint32_t)width ? 0 : (uint32_t)width - pos;
	uint32_t n = len < have ? len : have;
	uint64_t m = n >= 64 ? ~0ull : (1ull << n) - 1;
	return (v & m) | (s & ~m);
}
SLOW3(BFES32, uint32_t, uint32_t, uint32_t, uint32_t, bfe(a, b, c, 32, true))
SLOW3(BFEU32, uint32_t, uint32_t, uint32_t, uint32_t, bfe(a, b, c, 32, false))
SLOW3(BFES64, uint64_t, uint64_t, uint32_t, uint32_t, bfe(a, b, c, 64, true))
SLOW3(BFEU64, uint64_t, uint64_t, uint32_t, uint32_t, bfe(a, b, c, 64, false))

static inline uint64_t bfi(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, uint32_t width)
{
	pos &= 0xff;
	len &= 0xff;
	if (len == 0 || pos >= width)
		return b;
	uint64_t m = len >= 64 ? ~0ull : (1ull << len) - 1;
	m <<= pos;
	return (a << pos & m) | (b & ~m);
}
#define BITINSERT(n)                                                                               \
	SLOW_OP(BFI##n, uint##n##_t, const uint##n##_t *pa = REG(uint##n##_t, 1);                  \
		const uint##n##_t *pb = REG(uint##n##_t, 2); const uint32_t *pc = REG(uint32_t, 3); \
		const uint32_t *pd = REG(uint32_t, 4), bfi(pa[i], pb[i], pc[i], pd[i], n))
BITINSERT(32) BITINSERT(64)

/* Most significant bit that differs from the sign; sub: as a shift amount. */
static inline uint32_t bfind(uint64_t a, int width, bool sign, bool shift)
{
	if (sign && (a >> (width - 1) & 1))
		a = ~a;
	if (width == 32)
		a &= 0xffffffffu;
	if (a == 0)
		return UINT32_MAX;
	uint32_t at = 63 - (uint32_t)__builtin_clzll(a);
	return shift ? (uint32_t)width - 1 - at : at;
}
SLOW1(BFINDS32, uint32_t, uint32_t, bfind(a, 32, true, in->sub))
SLOW1(BFINDU32, uint32_t, uint32_t, bfind(a, 32, false, in->sub))
SLOW1(BFINDS64, uint32_t, uint64_t, bfind(a, 64, true, in->sub))
SLOW1(BFINDU64, uint32_t, uint64_t, bfind(a, 64, false, in->sub))

/* Funnel shift of b:a; sub: enum ptx_sub. */
static inline uint32_t shf(uint32_t a, uint32_t b, uint32_t c, int how)
{
	bool wrap = how == PTX_SHF_L_WRAP || how == PTX_SHF_R_WRAP;
	uint32_t n = wrap ? c & 31 : c > 32 ? 32 : c;
	uint64_t v = (uint64_t)b << 32 | a;
	if (how == PTX_SHF_L_CLAMP || how == PTX_SHF_L_WRAP)
		return n == 32 ? a : (uint32_t)(v << n >> 32);
	return (uint32_t)(v >> n);
}
OP3(SHF, uint32_t, uint32_t, uint32_t, uint32_t, shf(a, b, c, in->sub))

static inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t lut)
{
	uint32_t r = 0;
	for (uint32_t k = 0; k < 8; k++) {
		uint32_t t = 0 - (lut >> k & 1);
		r |= t & (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
	}
	return r;
}
OP3(LOP3, uint32_t, uint32_t, uint32_t, uint32_t, lop3(a, b, c, (uint32_t)in->imm))

static uint32_t prmt(uint32_t a, uint32_t b, uint32_t c, int mode)
{
	uint64_t v = (uint64_t)b << 32 | a;
	uint32_t r = 0, s = c & 3;
	for (uint32_t k = 0; k < 4; k++) {
		uint32_t sel;
		switch (mode) {
		case PTX_PRMT_F4E: sel = (s + k) & 7; break;
		case PTX_PRMT_B4E: sel = (s - k) & 7; break;
		case PTX_PRMT_RC8: sel = s; break;
		case PTX_PRMT_ECL: sel = k > s ? k : s; break;
		case PTX_PRMT_ECR: sel = k < s ? k : s; break;
		case PTX_PRMT_RC16: sel = (s & 1) * 2 + (k & 1); break;
		default: sel = c >> (4 * k) & 15; break;
		}
		uint32_t byte = (uint32_t)(v >> (8 * (sel & 7))) & 0xff;
		if (sel & 8)
			byte = byte & 0x80 ? 0xff : 0;
		r |= byte << (8 * k);
	}
	return r;
}
SLOW3(PRMT, uint32_t, uint32_t, uint32_t, uint32_t, prmt(a, b, c, in->sub))

/* sub: 1 = a signed, 2 = b signed, 4 = dp2a takes the high half of b. */
static uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c, int sub)
{
	for (int k = 0; k < 4; k++) {
		int32_t x = a >> (8 * k) & 0xff, y = b >> (8 * k) & 0xff;
		x = sub & 1 ? (int8_t)x : x;
		y = sub & 2 ? (int8_t)y : y;
		c += (uint32_t)(x * y);
	}
	return c;
}
static uint32_t dp2a(uint32_t a, uint32_t b, uint32_t c, int sub)
{
	for (int k = 0; k < 2; k++) {
		int32_t x = a >> (16 * k) & 0xffff, y = b >> (8 * k + (sub & 4 ? 16 : 0)) & 0xff;
		x = sub & 1 ? (int16_t)x : x;
		y = sub & 2 ? (int8_t)y : y;
		c += (uint32_t)(x * y);
	}
	return c;
}
SLOW3(DP4A, uint32_t, uint32_t, uint32_t, uint32_t, dp4a(a, b, c, in->sub))
SLOW3(DP2A, uint32_t, uint32_t, uint32_t, uint32_t, dp2a(a, b, c, in->sub))

/* The offset-th set bit of mask from base: forwards if positive, backwards if negative. */
static uint32_t fns(uint32_t mask, uint32_t base, int32_t offset)
{
	if (base > 31)
		return UINT32_MAX;
	if (offset == 0)
		return mask >> base & 1 ? base : UINT32_MAX;
	int step = offset > 0 ? 1 : -1, n = offset > 0 ? offset : -(offset + 1) + 1;
	for (int at = (int)base; at >= 0 && at < 32; at += step)
		if ((mask >> at & 1) && --n == 0)
			return (uint32_t)at;
	return UINT32_MAX;
}
SLOW3(FNS, uint32_t, uint32_t, uint32_t, int32_t, fns(a, b, c))

static uint32_t bmsk(uint32_t a, uint32_t b, bool wrap)
{
	uint32_t pos = wrap ? a & 31 : a, len = wrap ? b & 31 : b;
	if (pos > 31 || len == 0)
		return 0;
	uint32_t m = len > 31 ? UINT32_MAX : (1u << len) - 1;
	return m << pos;
}
SLOW2(BMSK, uint32_t, uint32_t, uint32_t, bmsk(a, b, in->sub))

/* sub: 1 = signed, 2 = wrap */
static uint32_t szext(uint32_t a, uint32_t b, int sub)
{
	uint32_t n = sub & 2 ? b & 31 : b;
	if (n > 31)
		return a;
	if (n == 0)
		return 0;
	return sub & 1 ? (uint32_t)((int32_t)(a << (32 - n)) >> (32 - n)) : a & ((1u << n) - 1);
}
SLOW2(SZEXT, uint32_t, uint32_t, uint32_t, szext(a, b, in->sub))

static uint32_t vabsdiff4(uint32_t a, uint32_t b, uint32_t c, int sub)
{
	uint32_t sum = 0, out = 0;
	for (int k = 0; k < 4; k++) {
		int32_t x = a >> (8 * k) & 0xff, y = b >> (8 * k) & 0xff;
		x = sub & 1 ? (int8_t)x : x;
		y = sub & 2 ? (int8_t)y : y;
		uint32_t v = (uint32_t)(x > y ? x - y : y - x);
		sum += v;
		out |= (v & 0xff) << (8 * k);
	}
	return sub & 4 ? sum + c : out;
}
SLOW3(VABSDIFF4, uint32_t, uint32_t, uint32_t, uint32_t, vabsdiff4(a, b, c, in->sub))

/* Extended-precision chains: sub 1 = take the carry in, 2 = set the carry flag, 4 = subtract. The
 * flag of a subtraction is the borrow. */
#define CARRY(n, WIDE)                                                                             \
	HANDLER(CARRY##n##_f)                                                                      \
	{                                                                                          \
		uint##n##_t *d = REG(uint##n##_t, 0);                                              \
		const uint##n##_t *a = REG(uint##n##_t, 1), *b = REG(uint##n##_t, 2);              \
		uint32_t cc = w->frame->cc;                                                        \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			WIDE c = in->sub & 1 ? cc >> i & 1 : 0;                                    \
			WIDE v = in->sub & 4 ? (WIDE)a[i] - b[i] - c : (WIDE)a[i] + b[i] + c;      \
			d[i] = (uint##n##_t)v;                                                     \
			if (in->sub & 2)                                                           \
				cc = (cc & ~(1u << i)) | (uint32_t)(v >> n & 1) << i;              \
		}                                                                                  \
		w->frame->cc = cc;                                                                 \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler CARRY##n##_p = CARRY##n##_f;
CARRY(32, uint64_t)
CARRY(64, unsigned __int128)

/* sub as above, and 8 = high half, 16 = signed */
#define MADCARRY(n, WIDE, SWIDE)                                                                   \
	HANDLER(MADC##n##_f)                                                                       \
	{                                                                                          \
		uint##n##_t *d = REG(uint##n##_t, 0);                                              \
		const uint##n##_t *a = REG(uint##n##_t, 1), *b = REG(uint##n##_t, 2),              \
				  *c = REG(uint##n##_t, 3);                                        \
		uint32_t cc = w->frame->cc;                                                        \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			WIDE p = in->sub & 16 ? (WIDE)((SWIDE)(int##n##_t)a[i] * (int##n##_t)b[i]) \
					      : (WIDE)a[i] * b[i];                                 \
			uint##n##_t half = (uint##n##_t)(in->sub & 8 ? p >> n : p);                \
			WIDE v = (WIDE)half + c[i] + (in->sub & 1 ? cc >> i & 1 : 0);              \
			d[i] = (uint##n##_t)v;                                                     \
			if (in->sub & 2)                                                           \
				cc = (cc & ~(1u << i)) | (uint32_t)(v >> n & 1) << i;              \
		}                                                                                  \
		w->frame->cc = cc;                                                                 \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler MADC##n##_p = MADC##n##_f;
MADCARRY(32, uint64_t, int64_t)
MADCARRY(64, unsigned __int128, __int128)

/* Packing: o[0] the wide register, o[1..] the parts, lowest first. An unwanted part of an unpack
 * has offset 0 and its bit in sub. */
#define PACK(W, N, K)                                                                              \
	HANDLER(PACK##W##_##N##_f)                                                                 \
	{                                                                                          \
		uint##W##_t *d = REG(uint##W##_t, 0);                                              \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			uint##W##_t v = 0;                                                         \
			for (int k = 0; k < K; k++)                                                \
				v |= (uint##W##_t)REG(uint##N##_t, k + 1)[i] << (k * N);           \
			d[i] = v;                                                                  \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(UNPACK##W##_##N##_f)                                                               \
	{                                                                                          \
		const uint##W##_t *s = REG(uint##W##_t, 0);                                        \
		ACTIVE(w, i)                                                                       \
		{                                                                                  \
			uint##W##_t v = s[i];                                                      \
			for (int k = 0; k < K; k++)                                                \
				if (!(in->sub >> k & 1))                                           \
					REG(uint##N##_t, k + 1)[i] = (uint##N##_t)(v >> (k * N));  \
		}                                                                                  \
		return in + 1;                                                                     \
	}                                                                                          \
	static const sc_handler PACK##W##_##N##_p = PACK##W##_##N##_f;                             \
	static const sc_handler UNPACK##W##_##N##_p = UNPACK##W##_##N##_f;
PACK(32, 16, 2)
PACK(64, 32, 2)
PACK(64, 16, 4)

/* A launch parameter at a fixed offset: the same in every lane. */
#define LDPARAM(n)                                                                                 \
	HANDLER(LDPARAM##n##_f)                                                                    \
	{                                                                                          \
		uint##n##_t v;                                                                     \
		memcpy(&v, w->k->run->params + in->imm, sizeof(v));                                \
		uint##n##_t *d = REG(uint##n##_t, 0);                                              \
		LANES(i) d[i] = v;                                                                 \
		return in + 1;                                                                     \
	}                                                                                          \
	HANDLER(LDPARAM##n##_p)                                                                    \
	{                                                                                          \
		uint##n##_t v;                                                                     \
		memcpy(&v, w->k->run->params + in->imm, sizeof(v));                                \
		uint##n##_t *d = REG(uint##n##_t, 0);                                              \
		ACTIVE(w, i) d[i] = v;                                                             \
		return in + 1;                                                                     \
	}
WIDTHS(LDPARAM)

static uint64_t sreg_uniform(const struct warp *w, uint32_t id)
{
	const struct sc_launch *l = w->k->run->launch;
	switch (id) {
	case PTX_SREG_NTID_X: case PTX_SREG_NTID_Y: case PTX_SREG_NTID_Z:
		return l->block[id - PTX_SREG_NTID_X];
	case PTX_SREG_CTAID_X: case PTX_SREG_CTAID_Y: case PTX_SREG_CTAID_Z:
		return w->b->id[id - PTX_SREG_CTAID_X];
	case PTX_SREG_NCTAID_X: case PTX_SREG_NCTAID_Y: case PTX_SREG_NCTAID_Z:
		return l->grid[id - PTX_SREG_NCTAID_X];
	case PTX_SREG_WARPID: return w->index;
	case PTX_SREG_NWARPID: return w->k->run->warps_per_block;
	case PTX_SREG_SMID: return w->k->index;
	case PTX_SREG_NSMID: return w->k->run->device ? sc_device_threads(w->k->run->device) : 1;
	case PTX_SREG_GRIDID: return w->k->run->grid_id;
	case PTX_SREG_DYNAMIC_SMEM_SIZE: return l->dynamic_shared;
	case PTX_SREG_TOTAL_SMEM_SIZE: return w->k->run->shared_bytes;
	default: return 0; /* %envreg: nothing sets them */
	}
}
LANE_OP(SREGU32, uint32_t, uint32_t v = (uint32_t)sreg_uniform(w, in->sub), v)
LANE_OP(SREGU64, uint64_t, uint64_t v = sreg_uniform(w, in->sub), v)

static inline uint32_t sreg_lane(const struct warp *w, int id, uint32_t i)
{
	switch (id) {
	case PTX_SREG_TID_X: case PTX_SREG_TID_Y: case PTX_SREG_TID_Z:
		return w->tid[id - PTX_SREG_TID_X][i];
	case PTX_SREG_LANEID: return i;
	case PTX_SREG_LANEMASK_EQ: return 1u << i;
	case PTX_SREG_LANEMASK_LE: return (2u << i) - 1;
	case PTX_SREG_LANEMASK_LT: return (1u << i) - 1;
	case PTX_SREG_LANEMASK_GE: return ~((1u << i) - 1);
	default: return ~((2u << i) - 1);
	}
}
SLOW_OP(SREGLANE, uint32_t, , sreg_lane(w, in->sub, i))

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* sub: the register; n: width of the destination in bytes */
HANDLER(CLOCK_f)
{
	bool timer = in->sub >= PTX_SREG_GLOBALTIMER;
	uint64_t v = timer ? now_ns() : __builtin_ia32_rdtsc();
	if (in->sub == PTX_SREG_CLOCK_HI || in->sub == PTX_SREG_GLOBALTIMER_HI)
		v >>= 32;
	ACTIVE(w, i)
	{
		if (in->n == 8)
			REG(uint64_t, 0)[i] = v;
		else
			REG(uint32_t, 0)[i] = (uint32_t)v;
	}
	return in + 1;
}
static const sc_handler CLOCK_p = CLOCK_f;

/* Addresses. Shared and local addresses are offsets into the block's and the thread's memory;
 * generic ones are where those really lie. n: width of the destination (and source) in bytes. */
static inline void put_address(struct warp *w, const struct insn *in, uint32_t i, uint64_t v)
{
	if (in->n == 4)
		REG(uint32_t, 0)[i] = (uint32_t)v;
	else
		REG(uint64_t, 0)[i] = v;
}
static inline uint64_t get_address(struct warp *w, const struct insn *in, uint32_t i)
{
	return in->sub == 4 ? REG(uint32_t, 1)[i] : REG(uint64_t, 1)[i];
}
static inline uint64_t lane_local(const struct warp *w, uint32_t i)
{
	return w->local_base + (uint64_t)i * w->k->run->local_stride;
}
HANDLER(MOVSHARED_f)
{
	ACTIVE(w, i) put_address(w, in, i, (uint64_t)in->imm);
	return in + 1;
}
HANDLER(MOVLOCAL_f)
{
	ACTIVE(w, i) put_address(w, in, i, (uint64_t)in->imm + w->frame->sp);
	return in + 1;
}
HANDLER(MOVPARAM_f)
{
	uint64_t base = (uint64_t)(uintptr_t)w->k->run->params;
	ACTIVE(w, i) put_address(w, in, i, (uint64_t)in->imm + base);
	return in + 1;
}
HANDLER(CVTASHARED_f)
{
	uint64_t base = (uint64_t)(uintptr_t)w->b->shared;
	ACTIVE(w, i) put_address(w, in, i, get_address(w, in, i) + base);
	return in + 1;
}
HANDLER(CVTATOSHARED_f)
{
	uint64_t base = (uint64_t)(uintptr_t)w->b->shared;
	ACTIVE(w, i) put_address(w, in, i, get_address(w, in, i) - base);
	return in + 1;
}
HANDLER(CVTALOCAL_f)
{
	ACTIVE(w, i) put_address(w, in, i, get_address(w, in, i) + lane_local(w, i));
	return in + 1;
}
HANDLER(CVTATOLOCAL_f)
{
	ACTIVE(w, i) put_address(w, in, i, get_address(w, in, i) - lane_local(w, i));
	return in + 1;
}
static const sc_handler MOVSHARED_p = MOVSHARED_f, MOVLOCAL_p = MOVLOCAL_f, MOVPARAM_p = MOVPARAM_f,
			CVTASHARED_p = CVTASHARED_f, CVTATOSHARED_p = CVTATOSHARED_f,
			CVTALOCAL_p = CVTALOCAL_f, CVTATOLOCAL_p = CVTATOLOCAL_f;

/* n: enum ptx_space asked about; sub: width of the address */
HANDLER(ISSPACEP_f)
{
	uint32_t m = 0;
	uint64_t shared = (uint64_t)(uintptr_t)w->b->shared;
	uint64_t params = (uint64_t)(uintptr_t)w->k->run->params;
	ACTIVE(w, i)
	{
		uint64_t a = get_address(w, in, i);
		bool in_shared = a - shared < w->k->run->shared_bytes;
		bool in_local = a - lane_local(w, i) < w->k->run->local_stride;
		bool in_param = a - params < w->k->run->f->func->param_bytes;
		bool yes = in->n == PTX_SPACE_SHARED ? in_shared :
			   in->n == PTX_SPACE_LOCAL  ? in_local :
			   in->n == PTX_SPACE_PARAM  ? in_param :
			   in->n == PTX_SPACE_CONST  ? sc_module_is_const(w->k->run->module, a) :
						       !in_shared && !in_local && !in_param;
		m |= (uint32_t)yes << i;
	}
	sc_put_pred(w, &PRED(0), m);
	return in + 1;
}
static const sc_handler ISSPACEP_p = ISSPACEP_f;

/* o[1]: where the head has the value of lane 0; imm: what it grows by from lane to lane. */
#define SPREAD(n)                                                                                  \
	LANE_OP(SPREAD##n, uint##n##_t, const uint##n##_t v = (uint##n##_t)*(const uint64_t *)(const void *)(w->r + in->o[1]); \
		const uint##n##_t step = (uint##n##_t)in->imm, v + step * (uint##n##_t)i)
SPREAD(32) SPREAD(64)

void SC_INSTALL(int)(struct sc_op_fn *t);
void SC_INSTALL(int)(struct sc_op_fn *t)
{
#define X(n) t[OP_##n] = (struct sc_op_fn){ n##_f, n##_p };
	OPS_INT(X)
#undef X
}
