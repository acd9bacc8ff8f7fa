/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "softcuda/engine_half.h"
#include "softcuda/leaf.h"

struct format { /* of a 16-bit float */
	int mant, bias;
	uint16_t inf;
};
static const struct format f16 = { 10, 15, 0x7c00 }, bf16 = { 7, 127, 0x7f80 };

static double decode(const struct format *f, uint16_t h)
{
	int exp = (h & 0x7fff) >> f->mant, max = f->inf >> f->mant;
	int mant = h & ((1 << f->mant) - 1);
	double v;
	if (exp == max)
		v = mant ? NAN : INFINITY;
	else if (exp == 0)
		v = ldexp(mant, 1 - f->bias - f->mant);
	else
		v = ldexp(mant | 1 << f->mant, exp - f->bias - f->mant);
	return h & 0x8000 ? -v : v;
}

static uint16_t encode(const struct format *f, double x, int round)
{
	return f == &f16 ? leaf_f64_to_f16(x, (enum ptx_round)round) : leaf_f64_to_bf16(x, (enum ptx_round)round);
}

float sc_half_to_float(uint16_t h)
{
	uint32_t nan = 0x7fffffff;
	float v = (float)decode(&f16, h);
	if (isnan(v))
		memcpy(&v, &nan, 4);
	return v;
}

uint16_t sc_float_to_half(float x, int round)
{
	return encode(&f16, x, round);
}

uint16_t sc_double_to_half(double x, int round)
{
	return encode(&f16, x, round);
}

uint16_t sc_float_to_bf16(float x, int round)
{
	return encode(&bf16, x, round);
}

static double compute(int op, double a, double b, double c, bool nan)
{
	switch (op) {
	case PTX_OP_ADD: return a + b;
	case PTX_OP_SUB: return a - b;
	case PTX_OP_MUL: return a * b;
	case PTX_OP_FMA: return fma(a, b, c);
	case PTX_OP_EX2: return exp2(a);
	case PTX_OP_TANH: return tanh(a);
	case PTX_OP_MIN:
	case PTX_OP_MAX:
		if (isnan(a) || isnan(b))
			return nan || (isnan(a) && isnan(b)) ? NAN : isnan(a) ? b : a;
		if (a == b)
			return (op == PTX_OP_MIN) == !!signbit(a) ? a : b;
		return (op == PTX_OP_MIN) == (a < b) ? a : b;
	default: return NAN;
	}
}

static uint16_t flush(const struct format *f, uint16_t h)
{
	return h & f->inf ? h : h & 0x8000;
}

uint16_t sc_half_op(int64_t imm, uint16_t a, uint16_t b, uint16_t c)
{
	int op = imm & 0xff;
	const struct format *f = imm >> 8 & 1 ? &bf16 : &f16;
	bool sat = imm >> 9 & 1, ftz = imm >> 10 & 1, relu = imm >> 11 & 1, nan = imm >> 12 & 1, xorsign = imm >> 13 & 1;
	if (ftz) {
		a = flush(f, a);
		b = flush(f, b);
		c = flush(f, c);
	}
	if (op == PTX_OP_MOV) /* nothing but the flushing */
		return a;
	if (op == PTX_OP_NEG)
		return a ^ 0x8000;
	if (op == PTX_OP_ABS)
		return a & 0x7fff;
	uint16_t sign = xorsign ? (a ^ b) & 0x8000 : 0;
	if (xorsign) {
		a &= 0x7fff;
		b &= 0x7fff;
	}
	double v = compute(op, decode(f, a), decode(f, b), decode(f, c), nan);
	if (sat)
		v = v > 0 ? (v < 1 ? v : 1) : 0;
	if (relu && !isnan(v))
		v = v > 0 ? v : 0;
	uint16_t r = encode(f, v, PTX_RN);
	if (sign && !isnan(v))
		r |= sign;
	return ftz ? flush(f, r) : r;
}
