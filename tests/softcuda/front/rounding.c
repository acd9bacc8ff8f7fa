/* SPDX-License-Identifier: Apache-2.0 */
/*
 * add, sub, mul, div, fma, rcp and sqrt of f32 and f64 in every rounding, with .ftz and .sat, on
 * the engine, against the C compiler's arithmetic under fesetround. What breaks if this fails: exactness.
 */
#include <fenv.h>
#include <math.h>
#include "softcuda/leaf.h"
#include "../engine_test.h"

enum { N = 16384 };
static const char *const rounds[] = { ".rn", ".rz", ".rm", ".rp" };
static const int fe[] = { FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD };
static uint64_t *in, *out;
static unsigned forms, wrong;

static uint64_t random64(void)
{
	static uint64_t x = 0xfeedbeefcafe1234ull;
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return x;
}

/* Edge values against each other first, then random bits, half of them with nearby exponents. */
static void make_operands(bool f64)
{
	static const uint64_t edge32[] = { 0, 0x80000000, 1, 0x80000001, 0x7fffff, 0x800000, 0x3f800000, 0xbf800000, 0x3f7fffff, 0x3f800001, 0x7f7fffff,
		0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345 };
	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k < 3; k++) {
			uint64_t r = random64(), e = edge32[i >> 4 * k & 15];
			float f;
			uint32_t u = (uint32_t)(i & 1 ? r : (r & 0x83ffffff) | 0x3c000000);
			memcpy(&f, i < 4096 ? (const void *)&e : &u, 4);
			uint64_t d = i & 1 ? r : (r & 0x803fffffffffffffull) | 0x3fc0000000000000ull;
			in[3 * i + k] = f64 ? i < 4096 ? leaf_u64((double)f) : d : leaf_u32(f);
		}
}

#define OPS(X) X(add, a + b) X(sub, a - b) X(mul, a * b) X(div, a / b) X(fma, FMA(a, b, c)) X(rcp, 1 / a) X(sqrt, SQRT(a))
#define FMA fmaf
#define SQRT sqrtf
#define X(n, e) static float n##32(float x, float y, float z) { volatile float a = x, b = y, c = z, r; (void)b; (void)c; r = e; return r; }
OPS(X)
#undef FMA
#undef SQRT
#undef X
#define FMA fma
#define SQRT sqrt
#define X(n, e) static double n##64(double x, double y, double z) { volatile double a = x, b = y, c = z, r; (void)b; (void)c; r = e; return r; }
OPS(X)
#undef X
static const struct op { const char *name; unsigned args; float (*f32)(float, float, float); double (*f64)(double, double, double); } ops[] = {
	{ "add", 2, add32, add64 }, { "sub", 2, sub32, sub64 }, { "mul", 2, mul32, mul64 }, { "div", 2, div32, div64 }, { "fma", 3, fma32, fma64 },
	{ "rcp", 1, rcp32, rcp64 }, { "sqrt", 1, sqrt32, sqrt64 } };

static uint64_t want32(const struct op *op, const uint64_t *v, int round, bool ftz, bool sat)
{
	float x[3];
	for (int k = 0; k < 3; k++)
		x[k] = ftz ? leaf_ftz(leaf_f32((uint32_t)v[k])) : leaf_f32((uint32_t)v[k]);
	fesetround(fe[round]);
	volatile float r = op->f32(x[0], x[1], x[2]);
	fesetround(FE_TONEAREST);
	float y = ftz ? leaf_ftz(r) : r;
	return leaf_u32(sat ? (y > 0 ? (y < 1 ? y : 1.0f) : 0.0f) : leaf_canonical(y));
}

static uint64_t want64(const struct op *op, const uint64_t *v, int round)
{
	fesetround(fe[round]);
	volatile double r = op->f64(leaf_f64(v[0]), leaf_f64(v[1]), leaf_f64(v[2]));
	fesetround(FE_TONEAREST);
	return leaf_u64(r);
}

static void run(const struct op *op, bool f64, int round, bool ftz, bool sat)
{
	static const char *const args[] = { "", "%x", "%x, %y", "%x, %y, %z" };
	const char *f = f64 ? "f64" : "f32", *words = rounds[round];
	char text[2048];
	snprintf(text, sizeof text,
		PTX_HEAD ".visible .entry k(.param .u64 a, .param .u64 b) {\n.reg .b64 %%a, %%b, %%i; .reg .b32 %%t; .reg .%s %%x, %%y, %%z, %%d;\n"
		"ld.param.u64 %%a, [a]; ld.param.u64 %%b, [b]; mov.u32 %%t, %%ctaid.x; mad.lo.u32 %%t, %%t, 256, %%tid.x;\n"
		"mul.wide.u32 %%i, %%t, 24; add.s64 %%a, %%a, %%i; mul.wide.u32 %%i, %%t, 8; add.s64 %%b, %%b, %%i;\n"
		"ld.global.%s %%x, [%%a]; ld.global.%s %%y, [%%a+8]; ld.global.%s %%z, [%%a+16];\n%s%s%s%s.%s %%d, %s; st.global.%s [%%b], %%d; ret; }\n",
		f, f, f, f, op->name, words, ftz ? ".ftz" : "", sat ? ".sat" : "", f, args[op->args], f);
	struct sc_module *m = load_ptx(text);
	struct { uint64_t *a, *b; } p = { in, out };
	memset(out, 0, N * 8);
	launch_ok(m, "k", (struct shape){ .grid = N / 256, .block = 256 }, &p);
	forms++;
	for (unsigned i = 0; i < N; i++) {
		const uint64_t *v = in + 3 * i;
		uint64_t want = f64 ? want64(op, v, round) : want32(op, v, round, ftz, sat), got = out[i];
		bool nans = f64 && isnan(leaf_f64(got)) && isnan(leaf_f64(want)); /* f64 keeps payloads as it likes */
		if (got != want && !nans) {
			print_error("%s%s%s%s.%s of %llx %llx %llx: %llx, not %llx\n", op->name, words, ftz ? ".ftz" : "", sat ? ".sat" : "", f, (unsigned long long)v[0],
				    (unsigned long long)v[1], (unsigned long long)v[2], (unsigned long long)got, (unsigned long long)want);
			wrong++;
			break;
		}
	}
	sc_module_unload(m);
}

static void arithmetic(void **state)
{
	in = dev_alloc(3 * N * 8);
	out = dev_alloc(N * 8);
	for (int f64 = 0; f64 < 2; f64++) {
		make_operands(f64);
		for (unsigned o = 0; o < sizeof ops / sizeof *ops; o++)
			for (int round = 0; round < 4; round++)
				for (int flags = 0; flags < (f64 ? 1 : 4); flags++)
					if (!(flags & 2) || o < 3 || o == 4) /* .sat: add sub mul fma */
						run(&ops[o], f64, round, flags & 1, flags & 2);
	}
	dev_free(in);
	dev_free(out);
	print_message("%u forms, %u wrong\n", forms, wrong);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(arithmetic) };
	return cmocka_run_group_tests(tests, open_dev, close_dev);
}
