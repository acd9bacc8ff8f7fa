/* SPDX-License-Identifier: Apache-2.0 */
/* Accuracy of the approximate functions against long double, their special values, 16-bit floats
 * exhaustively. What breaks if this fails: a kernel's results leave PTX's bounds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "softcuda/leaf.h"

#define CANONICAL 0x7fffffffu
enum { STRIDE = 4099 }; /* a prime: a million patterns over all exponents and mantissas */

typedef float (*approx_fn)(float);
typedef long double (*exact_fn)(long double);

static double worst(approx_fn f, exact_fn exact, float lo, float hi, bool relative)
{
	double w = 0;
	for (uint64_t u = 0; u < 0x100000000ull; u += STRIDE) {
		float x = leaf_f32((uint32_t)u);
		if (!(x >= lo && x <= hi))
			continue;
		long double r = exact(x), scale = fabsl(r) < 0x1p-126L ? 0x1p-126L : fabsl(r);
		if (relative && fabsl(r) > 0x1.fffffep127L)
			continue;
		double e = (double)(fabsl(f(x) - r) / (relative ? scale : 1));
		w = e > w || e != e ? e : w;
	}
	return w;
}

static void accuracy(void **state)
{
	const struct { const char *name; approx_fn f; exact_fn exact; float lo, hi; bool relative; double bound; } cases[] = {
		{ "sin", leaf_sin_approx, sinl, -6.2831853f, 6.2831853f, false, 0x1p-20 * M_SQRT1_2 },
		{ "cos", leaf_cos_approx, cosl, -6.2831853f, 6.2831853f, false, 0x1p-20 * M_SQRT1_2 },
		{ "sin, large", leaf_sin_approx, sinl, -1e6f, 1e6f, false, 0x1p-24 },
		{ "cos, large", leaf_cos_approx, cosl, -1e6f, 1e6f, false, 0x1p-24 },
		{ "ex2", leaf_ex2_approx, exp2l, -160, 128, true, 0x1p-22 * M_SQRT1_2 },
		{ "lg2 near 1", leaf_lg2_approx, log2l, 0.5f, 2, false, 0x1p-22 },
		{ "lg2", leaf_lg2_approx, log2l, 0x1p-149f, 0x1.fffffep127f, true, 0x1p-22 },
		{ "tanh", leaf_tanh_approx, tanhl, -0x1.fffffep127f, 0x1.fffffep127f, true, 0x1p-11 },
		{ "sqrt", leaf_sqrt_approx, sqrtl, 0, 0x1.fffffep127f, true, 0x1p-23 },
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		double w = worst(cases[i].f, cases[i].exact, cases[i].lo, cases[i].hi, cases[i].relative);
		print_message("%-12s worst error 2^%.2f, allowed 2^%.2f\n", cases[i].name, log2(w), log2(cases[i].bound));
		assert_true(w <= cases[i].bound);
	}
}

static void assert_bits(float got, uint32_t want) { assert_int_equal(leaf_u32(got), want); }

static void special_values(void **state)
{
	const float inf = INFINITY, tiny = 0x1p-149f;
	assert_bits(leaf_sin_approx(-0.0f), 0x80000000u);
	assert_bits(leaf_sin_approx(inf), CANONICAL);
	assert_bits(leaf_cos_approx(-inf), CANONICAL);
	assert_bits(leaf_cos_approx(0), 0x3f800000u);
	assert_bits(leaf_cos_approx(tiny), 0x3f800000u);
	assert_bits(leaf_sin_approx(leaf_f32(0xffc12345u)), CANONICAL);
	assert_true(fabsf(leaf_sin_approx(1e38f)) <= 1);
	assert_bits(leaf_ex2_approx(inf), 0x7f800000u);
	assert_bits(leaf_ex2_approx(-inf), 0);
	assert_bits(leaf_ex2_approx(-tiny), 0x3f800000u);
	assert_bits(leaf_ex2_approx(128), 0x7f800000u);
	assert_bits(leaf_ex2_approx(-149), 1);
	assert_bits(leaf_ex2_approx(leaf_f32(0x7fc00001u)), CANONICAL);
	for (int i = -126; i < 128; i++)
		assert_bits(leaf_ex2_approx((float)i), (uint32_t)(i + 127) << 23);
	assert_bits(leaf_lg2_approx(0), 0xff800000u);
	assert_bits(leaf_lg2_approx(-0.0f), 0xff800000u);
	assert_bits(leaf_lg2_approx(-tiny), CANONICAL);
	assert_bits(leaf_lg2_approx(inf), 0x7f800000u);
	assert_bits(leaf_lg2_approx(-inf), CANONICAL);
	assert_bits(leaf_lg2_approx(1), 0);
	assert_bits(leaf_lg2_approx(tiny), leaf_u32(-149));
	assert_bits(leaf_tanh_approx(inf), 0x3f800000u);
	assert_bits(leaf_tanh_approx(-inf), 0xbf800000u);
	assert_bits(leaf_tanh_approx(-0.0f), 0x80000000u);
	assert_bits(leaf_tanh_approx(tiny), 1);
	assert_bits(leaf_rsqrt_approx(-0.0f), 0xff800000u);
	assert_bits(leaf_rsqrt_approx(-1), CANONICAL);
	assert_bits(leaf_rcp_approx(-inf), 0x80000000u);
	assert_bits(leaf_sqrt_approx(-0.0f), 0x80000000u);
	assert_bits(leaf_ftz(-tiny), 0x80000000u);
	assert_bits(leaf_ftz(0x1p-126f), 0x00800000u);
}

static void division(void **state)
{
	assert_bits(leaf_div_approx(6, -2), leaf_u32(-3));
	assert_bits(leaf_div_approx(1, 0x1p126f), leaf_u32(0x1p-126f));
	assert_bits(leaf_div_approx(0x1p127f, 0x1.8p126f), 0); /* not 1.33: PTX's zero for |b| > 2^126 */
	assert_bits(leaf_div_approx(-1, 0x1p127f), 0x80000000u);
	assert_bits(leaf_div_approx(INFINITY, 0x1p127f), CANONICAL);
	assert_bits(leaf_div_approx(1, INFINITY), 0);
	assert_bits(leaf_div_approx(-1, 0), 0xff800000u);
	assert_bits(leaf_div_approx(0, 0), CANONICAL);
	assert_true(fabs(leaf_rcp_approx_f64(3) * 3 - 1) < 0x1p-19);
	assert_true(fabs(leaf_rsqrt_approx_f64(3, false) * sqrt(3) - 1) < 0x1p-19);
	assert_int_equal(leaf_u64(leaf_rcp_approx_f64(7)) & 0xffffffffu, 0);
	assert_true(leaf_rcp_approx_f64(0x1p-1074) == INFINITY);
	assert_true(leaf_rcp_approx_f64(-INFINITY) == 0 && signbit(leaf_rcp_approx_f64(-INFINITY)));
	assert_true(leaf_rsqrt_approx_f64(0x1p-1074, false) > 0x1.fp536 && leaf_rsqrt_approx_f64(0x1p-1074, true) == INFINITY);
}

/* By search over the codes, which order magnitudes: independent of the code under test. */

static double half_value(uint16_t h, int ebits, int mbits)
{
	int e = h >> mbits & ((1 << ebits) - 1), m = h & ((1 << mbits) - 1), bias = (1 << (ebits - 1)) - 1;
	return e ? ldexp((1 << mbits) + m, e - bias - mbits) : ldexp(m, 1 - bias - mbits);
}

static uint16_t nearest(double d, enum ptx_round r, int ebits, int mbits)
{
	bool negative = signbit(d);
	double a = fabs(d);
	int lo = 0, hi = ((1 << ebits) - 1) << mbits; /* magnitudes are ordered like their codes; hi is infinity */
	if (a == INFINITY)
		lo = hi;
	while (hi - lo > 1) {
		int mid = (lo + hi) / 2;
		*(half_value((uint16_t)mid, ebits, mbits) <= a ? &lo : &hi) = mid;
	}
	double below = half_value((uint16_t)lo, ebits, mbits), above = half_value((uint16_t)hi, ebits, mbits); /* infinity's code as the next power */
	bool up = (r == PTX_RP && !negative) || (r == PTX_RM && negative);
	int pick = lo;
	if (a != below && hi != lo)
		pick = r == PTX_RN ? (a - below > above - a || (a - below == above - a && (lo & 1)) ? hi : lo) : up ? hi : lo;
	return (uint16_t)(pick | (negative ? 0x8000 : 0));
}

static void check_half(double d)
{
	static const enum ptx_round rounds[] = { PTX_RN, PTX_RZ, PTX_RM, PTX_RP };
	for (int i = 0; i < 4; i++) {
		uint16_t f = leaf_f64_to_f16(d, rounds[i]), b = leaf_f64_to_bf16(d, rounds[i]);
		if (f != nearest(d, rounds[i], 5, 10) || b != nearest(d, rounds[i], 8, 7))
			fail_msg("%a, rounding %d: f16 %04x, not %04x; bf16 %04x, not %04x", d, rounds[i], f, nearest(d, rounds[i], 5, 10), b,
				 nearest(d, rounds[i], 8, 7));
	}
}

static void halves(void **state)
{
	for (int sign = 0; sign < 2; sign++)
		for (int h = 0; h < 0x7c00; h++) {
			double v = half_value((uint16_t)h, 5, 10), next = half_value((uint16_t)(h + 1), 5, 10), mid = (v + next) / 2, s = sign ? -1 : 1;
			check_half(s * v);
			check_half(s * mid);
			check_half(s * nextafter(mid, 0));
			check_half(s * nextafter(mid, INFINITY));
			assert_bits(leaf_f16_to_f32((uint16_t)(h | sign << 15)), leaf_u32((float)(s * v)));
		}
	uint64_t x = 88172645463325252ull;
	for (int i = 0; i < 200000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		double d = leaf_f64(x);
		if (d == d)
			check_half(d);
		check_half((double)leaf_f32((uint32_t)x == 0x7f800001u ? 0 : (uint32_t)x & 0xff7fffffu));
	}
	check_half(INFINITY);
	check_half(-0.0);
	check_half(0x1p-1074);
	assert_int_equal(leaf_f64_to_f16(NAN, PTX_RN), 0x7fff);
	assert_bits(leaf_f16_to_f32(0xfc00), 0xff800000u);
	assert_bits(leaf_f16_to_f32(0xfc01), CANONICAL);
	assert_bits(leaf_bf16_to_f32(0x3fc0), leaf_u32(1.5f));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(accuracy), cmocka_unit_test(special_values), cmocka_unit_test(division), cmocka_unit_test(halves) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
