/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaf semantics: what one lane computes where PTX is not plain C. Pure functions, no state; the
 * floating-point ones expect round to nearest even and denormals kept (MXCSR at its default).
 *
 * The approximate functions have the accuracy PTX states, and more: they evaluate in double with
 * additions and multiplications alone, so the same bits come out on every CPU and compiler (build
 * with -ffp-contract=off), and they have no branches, so a loop over lanes vectorises.
 * Every NaN they return is PTX's canonical one, 0x7fffffff.
 */
#ifndef SOFTCUDA_LEAF_H
#define SOFTCUDA_LEAF_H
#include <string.h>
#include "softcuda/engine.h"
#include "softcuda/ptx.h"

static inline float leaf_f32(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t leaf_u32(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline double leaf_f64(uint64_t u) { double d; memcpy(&d, &u, 8); return d; }
static inline uint64_t leaf_u64(double d) { uint64_t u; memcpy(&u, &d, 8); return u; }

/* Denormals to zero of the same sign: .ftz, on operands and on the result. */
static inline float leaf_ftz(float x)
{
	uint32_t u = leaf_u32(x);
	return leaf_f32(u & 0x7f800000u ? u : u & 0x80000000u);
}
static inline float leaf_canonical(float x) { return x == x ? x : leaf_f32(0x7fffffffu); }

/* Nearest integer, |x| < 2^51: adding 1.5 * 2^52 leaves it in the low bits of the sum. */
#define LEAF_MAGIC 0x1.8p52

/* PTX: absolute error below 2^-20.5 over [-2pi, 2pi]. Here below 2^-24 for |x| < 2^20 and within [-1, 1] everywhere. */
static inline float leaf_sincos(float x, uint64_t quadrant)
{
	double d = (double)x;
	double s = d * 0x1.45f306dc9c883p-1 + LEAF_MAGIC; /* x * 2/pi */
	double n = s - LEAF_MAGIC;
	uint64_t q = leaf_u64(s) + quadrant;
	double r = (d - n * 0x1.921fb544p0) - n * 0x1.0b4611a626331p-34; /* pi/2 in two parts, the first of 33 bits */
	r = r < 0.8 ? r : 0.8; /* out of range only where x is so large that no digit of the result is certain */
	r = r > -0.8 ? r : -0.8;
	double z = r * r;
	double sn = r + r * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800)))));
	double cs = 1.0 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800)))));
	double v = q & 1 ? cs : sn;
	uint32_t sign = (uint32_t)(q >> 1 & 1) << 31;
	float f = leaf_f32(leaf_u32((float)v) ^ sign);
	f = d == 0.0 && !quadrant ? x : f; /* keeps -0 */
	return x - x == 0.0f ? f : leaf_f32(0x7fffffffu);
}
static inline float leaf_sin_approx(float x) { return leaf_sincos(x, 0); }
static inline float leaf_cos_approx(float x) { return leaf_sincos(x, 1); }

/* 2^d to a relative 2^-31, |d| <= 1000. */
static inline double leaf_exp2(double d)
{
	double s = d + LEAF_MAGIC;
	double t = (d - (s - LEAF_MAGIC)) * 0x1.62e42fefa39efp-1; /* ln 2 */
	double p = 1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6 + t * (1.0 / 24 + t * (1.0 / 120 + t * (1.0 / 720 + t * (1.0 / 5040 + t * (1.0 / 40320))))))));
	return p * leaf_f64((leaf_u64(s) + 1023) << 52);
}

/* PTX: relative error below 2^-22.5; denormal results are kept. */
static inline float leaf_ex2_approx(float x)
{
	double d = (double)x;
	d = d < 200.0 ? d : 200.0; /* far beyond what f32 holds; NaN too, restored below */
	d = d > -200.0 ? d : -200.0;
	float f = (float)leaf_exp2(d);
	return x == x ? f : leaf_f32(0x7fffffffu);
}

/* PTX: absolute error below 2^-22 in (0.5, 2), relative below 2^-22 elsewhere. log2(0) = -inf, of negatives NaN. */
static inline float leaf_lg2_approx(float x)
{
	uint64_t u = leaf_u64((double)x), half = 0x3fe6a09e667f3bcdull; /* sqrt(1/2): mantissas in [sqrt(1/2), sqrt(2)) */
	uint64_t k = (u - half + (1023ull << 52)) >> 52;	      /* exponent + 1023 */
	double e = leaf_f64(0x4330000000000000ull | (k & 0xfff)) - (0x1p52 + 1023);
	double m = leaf_f64(u - (k << 52) + (1023ull << 52));
	double s = (m - 1.0) / (m + 1.0), z = s * s;
	double p = s * (1.0 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11))))));
	float f = (float)(e + p * 0x1.71547652b82fep1); /* 2 / ln 2 */
	f = x == 0.0f ? leaf_f32(0xff800000u) : f;
	f = x == leaf_f32(0x7f800000u) ? x : f;
	return x >= 0.0f ? f : leaf_f32(0x7fffffffu);
}

/* PTX: relative error below 2^-11. */
static inline float leaf_tanh_approx(float x)
{
	double d = (double)x, c = d < 20.0 ? d : 20.0;
	c = c > -20.0 ? c : -20.0;
	double e = leaf_exp2(c * 0x1.71547652b82fep1), z = c * c; /* e^2x */
	double big = (e - 1.0) / (e + 1.0), small = c + c * z * (-1.0 / 3 + z * (2.0 / 15 + z * (-17.0 / 315)));
	double v = z < 0x1p-8 ? small : big;
	float f = d == 0.0 ? x : (float)v;
	return x == x ? f : leaf_f32(0x7fffffffu);
}

/* rcp, sqrt, rsqrt: rounded to nearest from double, hence within 1 ulp, 2^-23 and 2^-22.9. */
static inline float leaf_rcp_approx(float x) { return leaf_canonical(1.0f / x); }
static inline float leaf_sqrt_approx(float x) { return leaf_canonical(__builtin_sqrtf(x)); }
static inline float leaf_rsqrt_approx(float x) { return leaf_canonical((float)(1.0 / __builtin_sqrt((double)x))); }

/* div.approx: 2 ulp where 2^-126 <= |b| <= 2^126; above that 0, or NaN for an infinite a, as a * (1/b) with 1/b flushed gives. */
static inline float leaf_div_approx(float a, float b)
{
	float abs_b = __builtin_fabsf(b);
	bool huge = abs_b > 0x1p126f && abs_b <= 0x1.fffffep127f;
	float zero = leaf_f32((leaf_u32(a) ^ leaf_u32(b)) & 0x80000000u), q = a / b;
	q = huge ? (__builtin_fabsf(a) <= 0x1.fffffep127f ? zero : leaf_f32(0x7fffffffu)) : q;
	return leaf_canonical(q);
}

/* rcp.approx.ftz.f64, rsqrt.approx.f64: from the upper 32 bits of the operand; the lower 32 of the result are 0. */
double leaf_rcp_approx_f64(double x);
double leaf_rsqrt_approx_f64(double x, bool ftz);

/* ---- 16-bit floats. f16 and bf16 from double, rounded once; NaN gives 0x7fff. */
uint16_t leaf_f64_to_f16(double d, enum ptx_round r);
uint16_t leaf_f64_to_bf16(double d, enum ptx_round r);
float leaf_f16_to_f32(uint16_t h);
static inline float leaf_bf16_to_f32(uint16_t h) { return leaf_canonical(leaf_f32((uint32_t)h << 16)); }

/* ---- textures (tex_sample.c). One warp at a time; c and d are arrays of 32 lanes' registers.
 *
 * Point: floor(x). Linear: weights of 1.8 fixed point, the exact weighted sum of the texels rounded once
 * by way of double. Unnormalised coordinates know clamp and border only: wrap and mirror act as clamp,
 * as CUDA says. NaN as a coordinate is 0. Integers are divided by their type's largest value (a signed
 * minimum gives -1) unless read as integers; absent channels are 0. Integer coordinates select texels;
 * outside linear memory (is_linear) they give 0.
 * The caller has checked that leaf_tex_span lies in live memory; no texel outside it is read. */
struct leaf_tex {
	enum ptx_geom geom;	   /* 1D 2D 3D A1D A2D */
	bool float_coords;	   /* ctype .f32, else .s32 */
	const uint32_t *c[4];	   /* coordinates as PTX has them: the layer of A1D and A2D first */
	uint32_t *d[4];		   /* results: f32 bits, or integers if the texture is read so */
};
void leaf_tex_warp(const struct sc_texture *t, const struct leaf_tex *op, uint32_t mask);
uint64_t leaf_tex_span(const struct sc_texture *t); /* bytes from t->base that sampling may read; UINT64_MAX: a description that makes no sense */

/* Address of bytes [x, x + n) in a row of a surface, x in bytes. clamp: 0 trap, 1 clamp, 2 zero.
 * false: outside (trap, or read 0 and write nothing). */
bool leaf_surf_address(const struct sc_texture *t, enum ptx_geom geom, const uint32_t c[3], uint32_t n, unsigned clamp, uint64_t *va);
#endif
