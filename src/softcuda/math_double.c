/* SPDX-License-Identifier: Apache-2.0 */
/* The gross double approximations: their result has 20 bits of mantissa. */
#include <math.h>
#include "softcuda/leaf.h"

#define UPPER 0xffffffff00000000ull

static double flush(double x)
{
	uint64_t u = leaf_u64(x);
	return leaf_f64(u << 1 >> 53 ? u : u & 1ull << 63);
}

static double upper(double x) { return x == x ? leaf_f64(leaf_u64(x) & UPPER) : leaf_f64(0x7fffffff00000000ull); }

double leaf_rcp_approx_f64(double x) { return flush(upper(1.0 / upper(flush(x)))); }

double leaf_rsqrt_approx_f64(double x, bool ftz)
{
	/* Without .ftz a denormal is an operand like others; its lower 32 bits count then, too. */
	double a = ftz ? flush(x) : x;
	return upper(1.0 / sqrt(fabs(a) < 0x1p-1022 ? a : upper(a)));
}
