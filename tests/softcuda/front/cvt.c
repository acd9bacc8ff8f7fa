/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every cvt between u8..s64, f16, f32 and f64, with every rounding, .sat and .ftz it may have, run on the
 * engine and compared with one conversion in long double, which holds every source exactly. f16 sources
 * exhaustively; others edge cases and random bits. What breaks if this fails: a conversion that kernels use.
 */
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include "softcuda/leaf.h"
#include "../engine_test.h"

struct type { const char *name; unsigned bits; bool is_float, is_signed; };
static const struct type types[] = { { "u8", 8, 0, 0 }, { "s8", 8, 0, 1 }, { "u16", 16, 0, 0 }, { "s16", 16, 0, 1 }, { "u32", 32, 0, 0 }, { "s32", 32, 0, 1 },
	{ "u64", 64, 0, 0 }, { "s64", 64, 0, 1 }, { "f16", 16, 1, 1 }, { "f32", 32, 1, 1 }, { "f64", 64, 1, 1 } };
enum { NTYPES = sizeof types / sizeof *types, N = 65536 };
static const char *const float_rounds[] = { ".rn", ".rz", ".rm", ".rp" }, *const int_rounds[] = { ".rni", ".rzi", ".rmi", ".rpi" };
static const int fe[] = { FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD };
static const enum ptx_round ptx_rounds[] = { PTX_RN, PTX_RZ, PTX_RM, PTX_RP };
static uint64_t source[N], *in, *out;
static unsigned forms, wrong;

static uint64_t random64(void)
{
	static uint64_t x = 0x123456789abcdefull;
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return x;
}

static void make_sources(const struct type *t)
{
	static const double edges[] = { 0, 0.5, 1, 1.5, 2.5, 126.5, 127, 127.5, 128, 254.5, 255, 255.5, 256, 32767.5, 32768, 65535.5, 65536, 2147483647.5,
		2147483648.0, 4294967295.5, 4294967296.0, 9223372036854775807.0, 18446744073709551615.0, 65504, 65519, 65520, 1e30, 1e300, 0x1p-24, 0x1p-25,
		0x1.8p-25, 0x1p-126, 0x1p-149, 0x1p-150, 0x1.fffffep127, 0x1.ffffffp127, INFINITY };
	enum { EDGES = sizeof edges / sizeof *edges };
	for (unsigned i = 0; i < N; i++) {
		uint64_t r = random64();
		bool edge = i < 8 * EDGES;
		double d = edges[i / 8 % EDGES] * (i & 1 ? -1 : 1);
		d = i & 2 ? nextafter(d, 0) : i & 4 ? nextafter(d, INFINITY) : d;
		if (t->is_float && t->bits == 16)
			source[i] = i;
		else if (t->is_float && t->bits == 32)
			source[i] = edge ? leaf_u32((float)d) : r % 3 ? leaf_u32((float)(int64_t)random64() * 0x1p-20f / (float)(r >> 40 | 1)) : (uint32_t)r;
		else if (t->is_float)
			source[i] = edge ? leaf_u64(d) : r % 3 ? leaf_u64((double)(int64_t)random64() / (double)(r >> (r % 60) | 1)) : r;
		else
			source[i] = i < 256 ? i : i < 512 ? 0 - (uint64_t)(i - 256) : i < 640 ? (1ull << (i & 63)) - (i >> 6 & 1) : r >> (r & 63);
	}
	if (t->is_float && t->bits == 32)
		source[N - 1] = 0x7fc00001;
	if (t->is_float && t->bits == 64)
		source[N - 1] = 0x7ff8000000000001ull;
	memcpy(in, source, sizeof source);
}

static long double value(const struct type *t, uint64_t u, bool ftz)
{
	if (t->is_float && t->bits == 16)
		return (long double)leaf_f16_to_f32((uint16_t)u);
	if (t->is_float && t->bits == 32)
		return (long double)(ftz ? leaf_ftz(leaf_f32((uint32_t)u)) : leaf_f32((uint32_t)u));
	if (t->is_float)
		return (long double)leaf_f64(u);
	unsigned up = 64 - t->bits;
	return t->is_signed ? (long double)((int64_t)(u << up) >> up) : (long double)(u << up >> up);
}

/* PTX ISA, cvt: a NaN becomes 0, where either side has 64 bits the highest bit alone. */
static uint64_t to_int(const struct type *t, const struct type *from, long double v)
{
	if (v != v)
		return from->bits != 64 && t->bits != 64 ? 0 : t->is_signed ? 0 - (1ull << (t->bits - 1)) : 1ull << (t->bits - 1);
	long double lo = t->is_signed ? -ldexpl(1, (int)t->bits - 1) : 0, hi = ldexpl(1, (int)t->bits - t->is_signed) - 1;
	v = v < lo ? lo : v > hi ? hi : v;
	return v < 0 ? (uint64_t)(int64_t)v : (uint64_t)v;
}

static uint64_t to_float(const struct type *t, long double v, int round, bool ftz, bool sat)
{
	if (sat)
		v = v > 0 ? (v < 1 ? v : 1) : 0;
	if (t->bits == 16)
		return leaf_f64_to_f16((double)v, ptx_rounds[round]);
	fesetround(fe[round]);
	volatile long double x = v;
	volatile float f = (float)x;
	volatile double d = (double)x;
	fesetround(FE_TONEAREST);
	if (t->bits == 64)
		return leaf_u64(d);
	return leaf_u32(leaf_canonical(ftz ? leaf_ftz(f) : f));
}

/* round: 0..3; which kind applies follows from the types. */
static uint64_t expected(const struct type *d, const struct type *s, uint64_t u, int round, bool rint_float, bool ftz, bool sat)
{
	long double v = value(s, u, ftz);
	if ((s->is_float && !d->is_float) || rint_float) {
		fesetround(fe[round]);
		volatile long double x = v;
		v = rintl(x);
		fesetround(FE_TONEAREST);
	}
	if (d->is_float)
		return to_float(d, v, rint_float ? 0 : round, ftz, sat);
	if (s->is_float || sat)
		return to_int(d, s, v);
	unsigned up = 64 - s->bits, down = 64 - d->bits;
	uint64_t wide = s->is_signed ? (uint64_t)((int64_t)(u << up) >> up) : u << up >> up;
	return d->is_signed ? (uint64_t)((int64_t)(wide << down) >> down) : wide << down >> down;
}

static unsigned reg_bits(const struct type *t) { return t->bits < 16 ? 32 : t->bits; }

static struct sc_module *load(const struct type *d, const struct type *s, const char *words)
{
	char text[2048], log_text[512] = "";
	struct ptx_log log = { log_text, sizeof log_text, 0 };
	const char *kind = s->is_float ? "b" : s->is_signed ? "s" : "u", *fkind = s->is_float && s->bits > 16 ? "f" : kind;
	int n = snprintf(text, sizeof text,
		".version 7.5\n.target sm_75\n.visible .entry k(.param .u64 a, .param .u64 b) {\n"
		".reg .b64 %%a, %%b, %%i; .reg .b32 %%t; .reg .%s%u %%s; .reg .%s%u %%d;\n"
		"ld.param.u64 %%a, [a]; ld.param.u64 %%b, [b];\nmov.u32 %%t, %%ctaid.x; mad.lo.u32 %%t, %%t, 256, %%tid.x; mul.wide.u32 %%i, %%t, 8;\n"
		"add.s64 %%a, %%a, %%i; add.s64 %%b, %%b, %%i;\nld.global.%s%u %%s, [%%a];\ncvt%s.%s.%s %%d, %%s;\nst.global.b%u [%%b], %%d; ret; }\n",
		s->is_float && s->bits > 16 ? "f" : "b", reg_bits(s), d->is_float && d->bits > 16 ? "f" : "b", reg_bits(d), fkind, s->bits, words, d->name, s->name,
		reg_bits(d));
	struct sc_module *m = NULL;
	if (sc_module_load(dev, text, (size_t)n, &log, &m))
		fail_msg("cvt%s.%s.%s: %s", words, d->name, s->name, log_text);
	return m;
}

static void run_one(const struct type *d, const struct type *s, const char *words, int round, bool rint_float, bool ftz, bool sat)
{
	struct sc_module *m = load(d, s, words);
	struct { uint64_t *a, *b; } p = { in, out };
	memset(out, 0, N * 8);
	launch_ok(m, "k", (struct shape){ .grid = N / 256, .block = 256 }, &p);
	uint64_t mask = reg_bits(d) == 64 ? UINT64_MAX : (1ull << reg_bits(d)) - 1;
	for (unsigned i = 0; i < N; i++) {
		uint64_t want = expected(d, s, source[i], round, rint_float, ftz, sat) & mask;
		bool nan64 = d->is_float && d->bits == 64 && (out[i] << 1) > 0xffe0000000000000ull && (want << 1) > 0xffe0000000000000ull;
		if (out[i] != want && !nan64) {
			print_error("cvt%s.%s.%s of %llx: %llx, not %llx\n", words, d->name, s->name, (unsigned long long)source[i], (unsigned long long)out[i],
				    (unsigned long long)want);
			wrong++;
			break;
		}
	}
	forms++;
	sc_module_unload(m);
}

static void run_pair(const struct type *d, const struct type *s)
{
	bool narrows = d->is_float && (!s->is_float || d->bits < s->bits), to_int = s->is_float && !d->is_float;
	bool same = d == s && d->is_float, f32 = (d->is_float && d->bits == 32) || (s->is_float && s->bits == 32);
	for (int round = 0; round < (narrows || to_int || same ? 4 : 1); round++)
		for (int flags = 0; flags < 4; flags++) {
			bool ftz = flags & 1, sat = flags & 2;
			char words[32];
			if (ftz && !f32)
				continue;
			if (sat && d->is_float && d->bits == 64)
				continue;
			snprintf(words, sizeof words, "%s%s%s", narrows ? float_rounds[round] : to_int || same ? int_rounds[round] : "", ftz ? ".ftz" : "", sat ? ".sat" : "");
			run_one(d, s, words, round, same, ftz, sat);
		}
}

static void from(const struct type *s)
{
	make_sources(s);
	for (unsigned d = 0; d < NTYPES; d++)
		run_pair(&types[d], s);
}

static void all(void **state)
{
	in = dev_alloc(N * 8);
	out = dev_alloc(N * 8);
	for (unsigned s = 0; s < NTYPES; s++)
		from(&types[s]);
	dev_free(in);
	dev_free(out);
	print_message("%u forms of cvt, %u wrong\n", forms, wrong);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(all) };
	return cmocka_run_group_tests(tests, open_dev, close_dev);
}
