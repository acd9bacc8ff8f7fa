/* SPDX-License-Identifier: Apache-2.0 */
#include "reference.h"
#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef unsigned __int128 wide;
typedef __int128 swide;
typedef uint8_t ty_u8;
typedef int8_t ty_s8;
typedef uint16_t ty_u16;
typedef int16_t ty_s16;
typedef uint32_t ty_u32;
typedef int32_t ty_s32;
typedef uint64_t ty_u64;
typedef int64_t ty_s64;

#define IN(T, i) ((ty_##T)in[i])
#define U32(i) IN(u32, i)
#define S32(i) IN(s32, i)
#define WIDE(T, i) ((wide)(swide)IN(T, i))
#define CUT(v, W) ((v) & (~0ull >> (64 - W)))
#define PAIR (in[1] << 32 | in[0])

/* ---- bits ---- */

static uint64_t ones(uint64_t v)
{
	uint64_t n = 0;

	for (; v; v &= v - 1)
		n++;
	return n;
}

/* Number of the highest set bit, -1: none. */
static int top(uint64_t v)
{
	int n = -1;

	for (; v; v >>= 1)
		n++;
	return n;
}

static uint64_t reversed(uint64_t v, unsigned width)
{
	uint64_t r = 0;

	for (unsigned i = 0; i < width; i++)
		r |= (v >> i & 1) << (width - 1 - i);
	return r;
}

static uint64_t field(uint64_t a, uint32_t at, uint32_t len, unsigned width, bool is_signed)
{
	unsigned msb = width - 1, last;
	uint64_t r = 0, sign;

	at &= 0xff;
	len &= 0xff;
	last = at + len - 1 < msb ? at + len - 1 : msb;
	sign = is_signed && len ? a >> last & 1 : 0;
	for (unsigned i = 0; i <= msb; i++)
		r |= (i < len && at + i <= msb ? a >> (at + i) & 1 : sign) << i;
	return r;
}

static uint64_t inserted(uint64_t a, uint64_t b, uint32_t at, uint32_t len, unsigned width)
{
	at &= 0xff;
	len &= 0xff;
	for (unsigned i = 0; i < len && at + i < width; i++)
		b = (b & ~(1ull << (at + i))) | (a >> i & 1) << (at + i);
	return b;
}

static uint64_t logic3(uint32_t a, uint32_t b, uint32_t c, unsigned table)
{
	uint64_t r = 0;

	for (unsigned i = 0; i < 32; i++)
		r |= (uint64_t)(table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i;
	return r;
}

static uint64_t permuted(uint64_t pair, uint32_t select)
{
	uint64_t r = 0;

	for (unsigned i = 0; i < 4; i++) {
		unsigned s = select >> (4 * i) & 15;
		uint64_t byte = pair >> (8 * (s & 7)) & 0xff;

		if (s & 8)
			byte = byte & 0x80 ? 0xff : 0;
		r |= byte << (8 * i);
	}
	return r;
}

/* Four digits a case, highest byte first. */
static uint64_t picked(uint64_t pair, const char *cases, uint32_t select)
{
	uint64_t r = 0;

	for (unsigned i = 0; i < 4; i++)
		r |= (pair >> (8 * (unsigned)(cases[(select & 3) * 4 + 3 - i] - '0')) & 0xff) << (8 * i);
	return r;
}

static int64_t low24(uint64_t v)
{
	return (int64_t)(v << 40) >> 40;
}

static int64_t part(uint64_t v, unsigned at, unsigned bits, bool is_signed)
{
	uint64_t up = v << (64 - at - bits);

	return is_signed ? (int64_t)up >> (64 - bits) : (int64_t)(up >> (64 - bits));
}

/* n products of parts of a, `bits` wide, with bytes of b from byte `from` on. */
static int64_t dot(uint64_t a, uint64_t b, unsigned n, unsigned bits, unsigned from, bool a_signed, bool b_signed)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += part(a, i * bits, bits, a_signed) * part(b, (from + i) * 8, 8, b_signed);
	return sum;
}

static swide limited128(swide v, swide lo, swide hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

static int64_t limited(int64_t v, int64_t lo, int64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* ---- floating point: the host's IEEE arithmetic under the asked rounding; volatile keeps the
 * compiler from computing before or after the mode is set ---- */

static float f_in(uint64_t bits)
{
	uint32_t b = (uint32_t)bits;
	float f;

	memcpy(&f, &b, 4);
	return f;
}

static double d_in(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, 8);
	return d;
}

static uint64_t F_OUT(float f)
{
	uint32_t b;

	memcpy(&b, &f, 4);
	return b;
}

static uint64_t D_OUT(double d)
{
	uint64_t b;

	memcpy(&b, &d, 8);
	return b;
}

static float ftz(float f)
{
	return fpclassify(f) == FP_SUBNORMAL ? copysignf(0, f) : f;
}

static float saturated(float f)
{
	return f > 0 ? (f < 1 ? f : 1) : 0; /* a NaN is 0 */
}

#define ROUNDING(type, name, params, expr)        \
	static type name params                   \
	{                                         \
		volatile type r;                  \
                                                  \
		fesetround(mode);                 \
		r = expr;                         \
		fesetround(FE_TONEAREST);         \
		return r;                         \
	}
#define V(x) (*(volatile __typeof__(x) *)&(x))
ROUNDING(float, sum32, (float a, float b, int mode), V(a) + V(b))
ROUNDING(float, product32, (float a, float b, int mode), V(a) * V(b))
ROUNDING(float, quotient32, (float a, float b, int mode), V(a) / V(b))
ROUNDING(float, fused32, (float a, float b, float c, int mode), fmaf(V(a), V(b), V(c)))
ROUNDING(float, root32, (float a, int mode), sqrtf(V(a)))
ROUNDING(double, sum64, (double a, double b, int mode), V(a) + V(b))
ROUNDING(double, product64, (double a, double b, int mode), V(a) * V(b))
ROUNDING(double, quotient64, (double a, double b, int mode), V(a) / V(b))
ROUNDING(double, fused64, (double a, double b, double c, int mode), fma(V(a), V(b), V(c)))
ROUNDING(double, root64, (double a, int mode), sqrt(V(a)))
ROUNDING(float, narrowed, (double a, int mode), (float)V(a))
ROUNDING(double, integral, (double a, int mode), nearbyint(V(a)))
/* long double holds every integer exactly, so the one rounding is the asked one. */
ROUNDING(float, round32, (long double a, int mode), (float)V(a))
ROUNDING(double, round64, (long double a, int mode), (double)V(a))

static long double exact(swide v)
{
	return v < 0 ? (long double)(int64_t)v : (long double)(uint64_t)v;
}

static float from_int32(swide v, int mode)
{
	return round32(exact(v), mode);
}

static double from_int64(swide v, int mode)
{
	return round64(exact(v), mode);
}

/* A NaN becomes 0, or the highest bit alone when either side is 64 bits wide. */
static uint64_t to_int(double x, int mode, swide lo, swide hi, bool either_wide)
{
	long double r = integral(x, mode); /* 64 bits of fraction hold any limit */

	if (isnan(x))
		return !either_wide ? 0 : 1ull << (hi > UINT32_MAX ? 63 : hi > UINT16_MAX ? 31 : 15);
	if (r < (long double)lo)
		return (uint64_t)lo;
	if (r > (long double)hi)
		return (uint64_t)hi;
	return r < 0 ? (uint64_t)(int64_t)r : (uint64_t)r;
}

static double least(double a, double b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) ? b : a;
	if (a == b)
		return signbit(a) ? a : b;
	return a < b ? a : b;
}

#define F_IN(i) f_in(in[i])
#define Z_IN(i) ftz(f_in(in[i]))
#define D_IN(i) d_in(in[i])
#define UNORD(X) (isnan(X(0)) || isnan(X(1)))

const struct form forms[] = {
#define FORM(text, out, in, ...) { text, out, in },
#include "forms.def"
#undef FORM
};
const unsigned n_forms = sizeof(forms) / sizeof(*forms);

enum { FIRST_CASE = __COUNTER__ + 1 };

void form_eval(unsigned id, const uint64_t in[FORM_IN], uint64_t out[FORM_OUT])
{
	switch (id) {
#define FORM(text, outs, ins, ...)           \
	case __COUNTER__ - FIRST_CASE: {     \
		__VA_ARGS__;                 \
		break;                       \
	}
#include "forms.def"
#undef FORM
	default:
		break;
	}
}
