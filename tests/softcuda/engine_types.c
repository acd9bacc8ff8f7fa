/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16-bit integers, halves, vectors and atomics against C. A body turns %r1 into %r2 (vectors: %l3
 * and %l4 are the thread's input and output addresses).
 */
#include <math.h>
#include "engine_test.h"

typedef uint32_t u32;
typedef uint16_t u16;
typedef int16_t s16;
enum { N = 192, BYTES = 32 };

static const char frame[] =
	PTX_HEAD ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n.reg .pred %%p<9>;\n.reg .b16 %%h<9>;\n.reg .b32 %%r<20>;\n"
	".reg .b64 %%l<20>;\n.reg .f32 %%f<9>;\n.reg .f64 %%g<9>;\nld.param.u64 %%l0,[in];\nld.param.u64 %%l1,[out];\n"
	"mov.u32 %%r0,%%tid.x;\nmov.u32 %%r10,%%ctaid.x;\nmov.u32 %%r11,%%ntid.x;\nmad.lo.u32 %%r0,%%r10,%%r11,%%r0;\n"
	"mul.wide.u32 %%l2,%%r0,%d;\nadd.s64 %%l3,%%l0,%%l2;\nadd.s64 %%l4,%%l1,%%l2;\n%s\nDONE:\nret;\n}\n";

static uint8_t *in, *out;

static void run(int stride, const char *body, u32 block)
{
	static char text[8192];
	snprintf(text, sizeof(text), frame, stride, body);
	struct sc_module *m = load_ptx(text);
	memset(out, 0, N * BYTES);
	struct { void *in, *out; } p = { in, out };
	launch_ok(m, "k", (struct shape){ N / block, block }, &p);
	sc_module_unload(m);
}

static u32 noise(u32 *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 5 ^ *seed << 11;
}

static int setup(void **state)
{
	if (open_dev(state))
		return -1;
	in = dev_alloc(N * BYTES);
	out = dev_alloc(N * BYTES);
	return 0;
}
static int teardown(void **state)
{
	dev_free(in);
	dev_free(out);
	return close_dev(state);
}

/* ---- 16-bit integers: a and b are the halves of the input */
typedef u32 (*ref16)(u16 a, u16 b);
#define R(name, expr) static u32 name(u16 a, u16 b) { s16 sa = (s16)a, sb = (s16)b; (void)sa; (void)sb; return (u32)(expr); }
#define R16(name, expr) R(name, (u16)(expr))
R16(add, a + b) R16(sub, a - b) R16(lo, (u32)a * b) R16(hiu, (u32)a * b >> 16) R16(his, ((int)sa * sb) >> 16)
R(wideu, (u32)a * b) R(wides, (int)sa * sb) R16(and_, a & b) R16(xor_, a ^ b) R16(not_, ~a) R16(neg, -sa) R16(abs_, sa < 0 ? -sa : sa)
R16(shl, b % 20 > 15 ? 0 : a << b % 20) R16(shru, b % 20 > 15 ? 0 : a >> b % 20) R16(shrs, sa >> (b % 20 > 15 ? 15 : b % 20))
R16(mins, sa < sb ? a : b) R16(maxs, sa > sb ? a : b) R16(minu, a < b ? a : b) R16(maxu, a > b ? a : b)
R16(divu, b ? a / b : 0xffff) R16(remu, b ? a % b : a) R16(divs, sb ? sa / sb : -1) R16(rems, sb ? sa % sb : sa)
R(lts, sa < sb) R(ltu, a < b) R(eq, a == b) R16(sel, sa < sb ? a : b) R16(mad, (u32)a * b + 7) R(widen, (int)sa) R16(cnot, a == 0)
R(sad, (u16)((sa > sb ? sa - sb : sb - sa) + 3)) R(packed, (u32)a << 16 | b) R(s8, (int)(int8_t)a) R16(madhi, (((int)sa * sb) >> 16) + 5)
#define STORE16 "cvt.u32.u16 %r2,%h3;"
#define SHIFTS "cvt.u32.u16 %r3,%h2;rem.u32 %r3,%r3,20;"
static const struct { const char *body; ref16 want; } rows16[] = {
	{ "add.u16 %h3,%h1,%h2;" STORE16, add }, { "sub.s16 %h3,%h1,%h2;" STORE16, sub }, { "mul.lo.s16 %h3,%h1,%h2;" STORE16, lo },
	{ "mul.hi.u16 %h3,%h1,%h2;" STORE16, hiu }, { "mul.hi.s16 %h3,%h1,%h2;" STORE16, his }, { "mul.wide.u16 %r2,%h1,%h2;", wideu },
	{ "mul.wide.s16 %r2,%h1,%h2;", wides }, { "and.b16 %h3,%h1,%h2;" STORE16, and_ }, { "xor.b16 %h3,%h1,%h2;" STORE16, xor_ },
	{ "not.b16 %h3,%h1;" STORE16, not_ }, { "neg.s16 %h3,%h1;" STORE16, neg }, { "abs.s16 %h3,%h1;" STORE16, abs_ },
	{ SHIFTS "shl.b16 %h3,%h1,%r3;" STORE16, shl }, { SHIFTS "shr.u16 %h3,%h1,%r3;" STORE16, shru }, { SHIFTS "shr.s16 %h3,%h1,%r3;" STORE16, shrs },
	{ "min.s16 %h3,%h1,%h2;" STORE16, mins }, { "max.s16 %h3,%h1,%h2;" STORE16, maxs }, { "min.u16 %h3,%h1,%h2;" STORE16, minu },
	{ "max.u16 %h3,%h1,%h2;" STORE16, maxu }, { "div.u16 %h3,%h1,%h2;" STORE16, divu }, { "rem.u16 %h3,%h1,%h2;" STORE16, remu },
	{ "div.s16 %h3,%h1,%h2;" STORE16, divs }, { "rem.s16 %h3,%h1,%h2;" STORE16, rems },
	{ "setp.lt.s16 %p1,%h1,%h2;selp.u32 %r2,1,0,%p1;", lts }, { "setp.lt.u16 %p1,%h1,%h2;selp.u32 %r2,1,0,%p1;", ltu },
	{ "setp.eq.b16 %p1,%h1,%h2;selp.u32 %r2,1,0,%p1;", eq }, { "setp.lt.s16 %p1,%h1,%h2;selp.b16 %h3,%h1,%h2,%p1;" STORE16, sel },
	{ "mad.lo.u16 %h3,%h1,%h2,7;" STORE16, mad }, { "cvt.s32.s16 %r2,%h1;", widen }, { "cnot.b16 %h3,%h1;" STORE16, cnot },
	{ "sad.s16 %h3,%h1,%h2,3;" STORE16, sad }, { "mov.b32 %r2,{%h2,%h1};", packed }, { "cvt.s32.s8 %r2,%h1;", s8 },
	{ "mad.hi.s16 %h3,%h1,%h2,5;" STORE16, madhi },
};

static void test_16_bits(void **state)
{
	static const u16 edge[] = { 0, 1, 0x7fff, 0x8000, 0xffff, 2, 0x8001, 0x00ff };
	u32 seed = 7;
	for (int i = 0; i < N; i++)
		((u32 *)in)[i] = i < 64 ? (u32)edge[i / 8] | (u32)edge[i % 8] << 16 : i & 1 ? noise(&seed) : (noise(&seed) & 0x3ff03ff);
	for (size_t k = 0; k < sizeof(rows16) / sizeof(*rows16); k++) {
		char body[512];
		snprintf(body, sizeof(body), "ld.global.u32 %%r1,[%%l3];\nmov.b32 {%%h1,%%h2},%%r1;\n%s\nst.global.u32 [%%l4],%%r2;", rows16[k].body);
		for (u32 block = 64; block > 30; block -= 16) {
			run(4, body, block);
			for (u32 i = 0; i < N / block * block; i++) {
				u32 v = ((u32 *)in)[i], want = rows16[k].want((u16)v, (u16)(v >> 16)), got = ((u32 *)out)[i];
				if (got != want)
					fail_msg("%s a=%#x b=%#x: %#x, want %#x", rows16[k].body, v & 0xffff, v >> 16, got, want);
			}
		}
	}
}

/* ---- halves, by arithmetic of our own: exact in long double, rounded once */
static long double half_value(u16 h)
{
	int e = h >> 10 & 31, m = h & 1023;
	long double v = e ? ldexpl(1024 + m, e - 25) : ldexpl(m, -24);
	return h & 0x8000 ? -v : v;
}
static u16 half_of(long double v)
{
	u16 sign = signbit(v) ? 0x8000 : 0;
	long double x = fabsl(v);
	if (x >= 65520)
		return sign | 0x7c00;
	int e = x > 0 ? ilogbl(x) : -14;
	e = e < -14 ? -14 : e;
	long double q = nearbyintl(ldexpl(x, 10 - e)); /* ties to even */
	return (u16)(sign + (u16)(q + (e + 14) * 1024.0L));
}
#define H(name, expr) static u32 name(u16 x, u16 y) { long double a = half_value(x), b = half_value(y); (void)a; (void)b; return (u32)(expr); }
H(hadd, half_of(a + b)) H(hsub, half_of(a - b)) H(hmul, half_of(a * b)) H(hfma, half_of(a * b + a)) H(hlt, a < b)
static u32 hneg(u16 x, u16 y) { return x ^ 0x8000; }
static u32 habs(u16 x, u16 y) { return x & 0x7fff; }
static u32 hfloat(u16 x, u16 y) { float f = (float)half_value(x); u32 u; memcpy(&u, &f, 4); return u; }
static u32 hint(u16 x, u16 y) { long double v = truncl(half_value(x)); return (u32)(int32_t)v; }
static u32 hround(u16 x, u16 y) { return half_of((long double)(double)(float)(half_value(x) * 1.0009765625L + half_value(y) * 0.001953125L)); }
static u32 hpair(u16 x, u16 y) { return hadd(x, x) | hadd(y, y) << 16; }
static u32 hminx(u16 x, u16 y) { u16 a = x & 0x7fff, b = y & 0x7fff; return (u32)(a < b ? a : b) | ((x ^ y) & 0x8000); }
static u32 hmaxx(u16 x, u16 y) { u16 a = x & 0x7fff, b = y & 0x7fff; return (u32)(a > b ? a : b) | ((x ^ y) & 0x8000); }
static const struct { const char *body; ref16 want; } rowsh[] = {
	{ "min.xorsign.abs.f16 %h3,%h1,%h2;" STORE16, hminx }, { "max.xorsign.abs.f16 %h3,%h1,%h2;" STORE16, hmaxx },
	{ "add.f16 %h3,%h1,%h2;" STORE16, hadd }, { "sub.f16 %h3,%h1,%h2;" STORE16, hsub }, { "mul.f16 %h3,%h1,%h2;" STORE16, hmul },
	{ "fma.rn.f16 %h3,%h1,%h2,%h1;" STORE16, hfma }, { "neg.f16 %h3,%h1;" STORE16, hneg }, { "abs.f16 %h3,%h1;" STORE16, habs },
	{ "setp.lt.f16 %p1,%h1,%h2;selp.u32 %r2,1,0,%p1;", hlt }, { "cvt.f32.f16 %f1,%h1;mov.b32 %r2,%f1;", hfloat },
	{ "cvt.rzi.s32.f16 %r2,%h1;", hint }, { "add.f16x2 %r2,%r1,%r1;", hpair },
	{ "cvt.f32.f16 %f1,%h1;cvt.f32.f16 %f2,%h2;mul.f32 %f2,%f2,0f3b000000;fma.rn.f32 %f1,%f1,0f3f802000,%f2;cvt.rn.f16.f32 %h3,%f1;" STORE16, hround },
};

static void test_halves(void **state)
{
	u32 seed = 99;
	for (int i = 0; i < N; i++) {
		u32 v = noise(&seed);
		/* exponents 2^-6 to 2^9 for both, so that a*b+a is exact in a long double; some subnormal, some large */
		((u32 *)in)[i] = i % 12 == 0 ? v & 0x83ff83ff : i % 12 == 1 ? (v & 0x83ff83ff) | 0x78007800 : (v & 0xbfffbfff) | 0x20002000;
	}
	for (size_t k = 0; k < sizeof(rowsh) / sizeof(*rowsh); k++) {
		char body[512];
		snprintf(body, sizeof(body), "ld.global.u32 %%r1,[%%l3];\nmov.b32 {%%h1,%%h2},%%r1;\n%s\nst.global.u32 [%%l4],%%r2;", rowsh[k].body);
		run(4, body, 48);
		for (u32 i = 0; i < N; i++) {
			u32 v = ((u32 *)in)[i], want = rowsh[k].want((u16)v, (u16)(v >> 16)), got = ((u32 *)out)[i];
			if (got != want)
				fail_msg("%s a=%#x b=%#x: %#x, want %#x", rowsh[k].body, v & 0xffff, v >> 16, got, want);
		}
	}
}

/* ---- vectors: elements come out in another order, so that none is confused with its neighbour */
static void vectors(const char *load, const char *store, int elem, int n, const int *order)
{
	char body[512];
	snprintf(body, sizeof(body), "%s\n%s", load, store);
	for (u32 block = 64; block >= 48; block -= 16) {
		run(elem * n, body, block);
		for (u32 i = 0; i < N; i++)
			for (int k = 0; k < n; k++)
				if (memcmp(out + (i * n + k) * elem, in + (i * n + order[k]) * elem, elem) != 0)
					fail_msg("thread %u element %d of: %s", i, k, body);
	}
}

static void test_vectors(void **state)
{
	static const int two[] = { 1, 0 }, four[] = { 2, 0, 3, 1 };
	u32 seed = 3;
	for (int i = 0; i < N * BYTES / 4; i++)
		((u32 *)in)[i] = noise(&seed);
	vectors("ld.global.v2.u32 {%r1,%r2},[%l3];", "st.global.v2.u32 [%l4],{%r2,%r1};", 4, 2, two);
	vectors("ld.global.v4.u32 {%r1,%r2,%r3,%r4},[%l3];", "st.global.v4.u32 [%l4],{%r3,%r1,%r4,%r2};", 4, 4, four);
	vectors("ld.global.v4.f32 {%f1,%f2,%f3,%f4},[%l3];", "st.global.v4.f32 [%l4],{%f3,%f1,%f4,%f2};", 4, 4, four);
	vectors("ld.global.v2.u64 {%l5,%l6},[%l3];", "st.global.v2.u64 [%l4],{%l6,%l5};", 8, 2, two);
	vectors("ld.global.v2.f64 {%g5,%g6},[%l3];", "st.global.v2.f64 [%l4],{%g6,%g5};", 8, 2, two);
	vectors("ld.global.v2.u16 {%h1,%h2},[%l3];", "st.global.v2.u16 [%l4],{%h2,%h1};", 2, 2, two);
	vectors("ld.global.v4.u16 {%h1,%h2,%h3,%h4},[%l3];", "st.global.v4.u16 [%l4],{%h3,%h1,%h4,%h2};", 2, 4, four);
	vectors("ld.global.v4.u8 {%h1,%h2,%h3,%h4},[%l3];", "st.global.v4.u8 [%l4],{%h3,%h1,%h4,%h2};", 1, 4, four);
	vectors("ld.global.v2.u8 {%r1,%r2},[%l3];", "st.global.v2.u8 [%l4],{%r2,%r1};", 1, 2, two);
	/* the address register is among the results */
	vectors("ld.global.v2.u64 {%l3,%l6},[%l3];", "st.global.v2.u64 [%l4],{%l6,%l3};", 8, 2, two);
	run(4, "ld.global.v2.s8 {%r1,%r2},[%l3];\nadd.s32 %r1,%r1,%r2;\nst.global.u32 [%l4],%r1;", 48);
	for (int i = 0; i < N; i++)
		assert_int_equal(((int32_t *)out)[i], (int8_t)in[4 * i] + (int8_t)in[4 * i + 1]);
}

/* ---- atomics: all threads of 48 blocks on a few words */
static const char atomics[] = PTX_HEAD
	".visible .entry k(.param .u64 m)\n{\n.reg .pred %p<3>;\n.reg .b32 %r<20>;\n.reg .b64 %l<20>;\n.reg .f32 %f<9>;\n.reg .f64 %g<9>;\n"
	"ld.param.u64 %l0,[m];\nmov.u32 %r1,%tid.x;\nmov.u32 %r2,%ctaid.x;\nmov.u32 %r3,%ntid.x;\nmad.lo.u32 %r0,%r2,%r3,%r1;\n"
	"cvt.u64.u32 %l1,%r0;\ncvt.rn.f32.u32 %f1,%r1;\ncvt.rn.f64.u32 %g1,%r0;\n"
	"red.global.add.f32 [%l0],%f1;\nred.global.add.f64 [%l0+8],%g1;\natom.global.add.f64 %g2,[%l0+16],%g1;\n"
	"red.global.add.u64 [%l0+24],%l1;\nred.global.max.u64 [%l0+32],%l1;\nneg.s64 %l2,%l1;\nred.global.min.s64 [%l0+40],%l2;\n"
	"shl.b64 %l3,1,%r1;\nred.global.or.b64 [%l0+48],%l3;\nred.global.xor.b32 [%l0+56],%r0;\n"
	"atom.global.inc.u32 %r5,[%l0+60],6;\natom.global.dec.u32 %r6,[%l0+64],9;\nred.global.max.s32 [%l0+68],%r0;\n"
	/* a ticket each: the tickets' places are all marked once */
	"atom.global.add.u32 %r7,[%l0+72],1;\nmul.wide.u32 %l4,%r7,4;\nadd.s64 %l5,%l0,%l4;\nred.global.add.u32 [%l5+128],1;\n"
	/* a sum by compare and swap, 64 bits */
	"ld.global.u64 %l6,[%l0+80];\nAGAIN:\nadd.s64 %l7,%l6,%l1;\natom.global.cas.b64 %l8,[%l0+80],%l6,%l7;\nsetp.ne.u64 %p1,%l8,%l6;\nmov.u64 %l6,%l8;\n@%p1 bra AGAIN;\n"
	/* exchange: what went in comes out, but for the last */
	"add.s64 %l9,%l1,1;\natom.global.exch.b64 %l10,[%l0+88],%l9;\nred.global.add.u64 [%l0+96],%l10;\nret;\n}\n";

static void test_atomics(void **state)
{
	enum { BLOCK = 80, BLOCKS = 48, ALL = BLOCK * BLOCKS };
	struct sc_module *m = load_ptx(atomics);
	union { float f; double g; uint64_t u; int64_t s; u32 w[2]; int32_t i[2]; } *v = dev_alloc(128 + ALL * 4);
	struct { void *m; } p = { v };
	uint64_t all = (uint64_t)ALL * (ALL - 1) / 2;
	u32 x = 0;
	launch_ok(m, "k", (struct shape){ BLOCKS, BLOCK }, &p);
	for (u32 i = 0; i < ALL; i++)
		x ^= i;
	assert_true(v[0].f == BLOCKS * (BLOCK * (BLOCK - 1) / 2));
	assert_true(v[1].g == (double)all && v[2].g == (double)all);
	assert_int_equal(v[3].u, all);
	assert_int_equal(v[4].u, ALL - 1);
	assert_int_equal(v[5].s, -(ALL - 1));
	assert_int_equal(v[6].u, UINT64_MAX);
	assert_int_equal(v[7].w[0], x);
	assert_int_equal(v[7].w[1], ALL % 7);
	assert_int_equal(v[8].w[0], (10 - ALL % 10) % 10);
	assert_int_equal(v[8].i[1], ALL - 1);
	assert_int_equal(v[9].w[0], ALL);
	assert_int_equal(v[10].u, all);
	assert_int_equal(v[12].u + v[11].u, all + ALL);
	for (u32 i = 0; i < ALL; i++)
		assert_int_equal(((u32 *)v)[32 + i], 1);
	sc_module_unload(m);
	dev_free(v);
}

/* ---- pairs of halves: comparisons, and additions to memory */
static double value16(u16 h, bool bf16, bool ftz)
{
	int mant = bf16 ? 7 : 10, bias = bf16 ? 127 : 15, exp = (h & 0x7fff) >> mant, max = bf16 ? 255 : 31;
	double frac = h & ((1 << mant) - 1), v = exp == max ? (frac != 0 ? NAN : INFINITY) :
		exp ? ldexp(frac + (1 << mant), exp - bias - mant) : ftz ? 0 : ldexp(frac, 1 - bias - mant);
	return h & 0x8000 ? -v : v;
}

static bool holds(int cmp, double a, double b)
{
	switch (cmp) {
	case 0: return a < b;
	case 1: return a == b;
	case 2: return !(a <= b); /* gtu */
	case 3: return !isnan(a) && !isnan(b);
	default: return !(a == b); /* neu */
	}
}

/* Each thread compares its word with its neighbour's, halves with halves. */
static void test_pairs(void **state)
{
	static const char *const cmp[] = { "lt", "eq", "gtu", "num", "neu" };
	static const u16 special[] = { 0, 0x8000, 1, 0x8001, 0x7c00, 0xfc00, 0x7e00, 0x7f80, 0xff80, 0x7fff, 0x3c00, 0x3f80, 0x03ff, 0x007f };
	u32 seed = 5;
	for (int i = 0; i < 2 * N; i++)
		((u16 *)in)[i] = i % 3 ? special[noise(&seed) % 14] : (u16)noise(&seed);
	for (int k = 0; k < 20; k++) {
		bool bf16 = k >= 10, ftz = !bf16 && k >= 5;
		const char *c = cmp[k % 5], *t = bf16 ? "bf16x2" : "f16x2", *f = ftz ? ".ftz" : "";
		char body[1024];
		snprintf(body, sizeof(body),
			 "ld.global.u32 %%r1,[%%l3];\nshfl.sync.bfly.b32 %%r3,%%r1,1,31,-1;\nsetp.%s%s.%s %%p1|%%p2,%%r1,%%r3;\nset.%s%s.%s.%s %%r2,%%r1,%%r3;\n"
			 "setp.gt.s32 %%p3,%%r1,0;\nsetp.%s.or%s.%s %%p4|%%p5,%%r1,%%r3,%%p3;\nst.global.u32 [%%l4],%%r2;\n"
			 "selp.u32 %%r4,1,0,%%p1;\n@%%p2 or.b32 %%r4,%%r4,2;\n@%%p4 or.b32 %%r4,%%r4,4;\n@%%p5 or.b32 %%r4,%%r4,8;\nst.global.u32 [%%l4+4],%%r4;",
			 c, f, t, c, f, t, t, c, f, t);
		char wide[1200]; /* in has 4 bytes a thread, out 8 */
		snprintf(wide, sizeof(wide), "mul.wide.u32 %%l5,%%r0,4;\nadd.s64 %%l3,%%l0,%%l5;\n%s", body);
		run(8, wide, 96);
		for (u32 i = 0; i < N; i++) {
			u32 a = ((u32 *)in)[i], b = ((u32 *)in)[i ^ 1], want = 0, flags = 0;
			for (int h = 0; h < 2; h++) {
				bool yes = holds(k % 5, value16((u16)(a >> 16 * h), bf16, ftz), value16((u16)(b >> 16 * h), bf16, ftz));
				want |= yes ? (bf16 ? 0x3f80u : 0x3c00u) << 16 * h : 0;
				flags |= (u32)yes << h | (u32)(yes || (int32_t)a > 0) << (h + 2);
			}
			if (((u32 *)out)[2 * i] != want || ((u32 *)out)[2 * i + 1] != flags)
				fail_msg("%s%s.%s %#x %#x: %#x %u, want %#x %u", c, f, t, a, b, ((u32 *)out)[2 * i], ((u32 *)out)[2 * i + 1], want, flags);
		}
	}
}

/* Sums that every order makes exactly: what each thread finds is the sum before it, and all differ. */
static void test_half_additions(void **state)
{
	static const struct { const char *type, *one; u32 bits, high; } rows[] = {
		{ "f16", "mov.b16 %h1,0x3c00;", 0, 0 }, { "bf16", "mov.b16 %h1,0x3f80;", 0, 0 },
		{ "f16x2", "mov.u32 %r5,0xb8003c00;", 1, 0xb800 }, { "bf16x2", "mov.u32 %r5,0xbf003f80;", 1, 0xbf00 },
	};
	for (int k = 0; k < 8; k++) {
		bool pair = rows[k % 4].bits, bf16 = k % 2, shared = k >= 4;
		char body[1024];
		snprintf(body, sizeof(body),
			 ".shared .align 8 .b8 sh[16];\nmov.u32 %%r6,0;\nst.shared.u32 [sh],%%r6;\nbar.sync 0;\n%s\n"
			 "atom.%s.add.noftz.%s %s,[%s],%s;\nred.%s.add.noftz.%s [%s+4],%s;\n%sst.global.u32 [%%l4],%%r7;\n"
			 "bar.sync 0;\nld.%s.u32 %%r8,[%s];\nst.global.u32 [%%l4+4],%%r8;",
			 rows[k % 4].one, shared ? "shared" : "global", rows[k % 4].type, pair ? "%r7" : "%h2", shared ? "sh" : "%l0", pair ? "%r5" : "%h1",
			 shared ? "shared" : "global", rows[k % 4].type, shared ? "sh" : "%l0", pair ? "%r5" : "%h1", pair ? "" : "cvt.u32.u16 %r7,%h2;\n",
			 shared ? "shared" : "global", shared ? "sh" : "%l0");
		memset(in, 0, 64);
		run(8, body, N);
		bool seen[N] = { false };
		for (u32 i = 0; i < N; i++) {
			u32 got = ((u32 *)out)[2 * i], sum = ((u32 *)out)[2 * i + 1];
			double before = value16((u16)got, bf16, false);
			assert_true(before >= 0 && before < N && before == floor(before) && !seen[(int)before]);
			seen[(int)before] = true;
			assert_true(value16((u16)sum, bf16, false) == N);
			if (pair) { /* the upper halves fall by a half */
				assert_true(value16((u16)(got >> 16), bf16, false) == -0.5 * before);
				assert_true(value16((u16)(sum >> 16), bf16, false) == -0.5 * N);
			}
		}
	}
}

static void test_xorsign(void **state)
{
	static const u32 special[] = { 0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x3f800000, 0xbf800000 };
	u32 seed = 8;
	for (int i = 0; i < 2 * N; i++)
		((u32 *)in)[i] = i % 3 ? special[noise(&seed) % 11] : noise(&seed);
	for (int k = 0; k < 8; k++) {
		bool max = k & 1, nan = k & 2, ftz = k & 4;
		char body[512];
		snprintf(body, sizeof(body), "ld.global.v2.f32 {%%f1,%%f2},[%%l3];\n%s%s%s.xorsign.abs.f32 %%f3,%%f1,%%f2;\nst.global.f32 [%%l4],%%f3;",
			 max ? "max" : "min", ftz ? ".ftz" : "", nan ? ".NaN" : "");
		run(8, body, 96);
		for (u32 i = 0; i < N; i++) {
			u32 a = ((u32 *)in)[2 * i], b = ((u32 *)in)[2 * i + 1], x = a & 0x7fffffff, y = b & 0x7fffffff, want;
			bool na = x > 0x7f800000, nb = y > 0x7f800000;
			x = ftz && x < 0x00800000 ? 0 : x;
			y = ftz && y < 0x00800000 ? 0 : y;
			if (nan ? na || nb : na && nb)
				want = 0x7fffffff;
			else
				want = (na ? y : nb ? x : (x < y) == max ? y : x) | ((a ^ b) & 0x80000000);
			if (((u32 *)out)[2 * i] != want)
				fail_msg("%s %#x %#x: %#x, want %#x", body, a, b, ((u32 *)out)[2 * i], want);
		}
	}
}

/* Whose result nobody reads, on shared memory: all lanes one word, lanes apart, through 32-bit addresses. */
static void test_shared_additions(void **state)
{
	static const char body[] =
		".shared .align 8 .b8 sh[1024];\nmov.u32 %r1,%tid.x;\nsetp.ne.u32 %p1,%r1,0;\n@%p1 bra GO;\nst.shared.u32 [sh],0;\nst.shared.u32 [sh+4],0;\nst.shared.u32 [sh+8],0;\nst.shared.u32 [sh+12],0;\n"
		"GO:\nbar.sync 0;\nand.b32 %r2,%r1,1;\nshl.b32 %r2,%r2,2;\nmov.u32 %r3,sh;\nadd.u32 %r4,%r3,%r2;\natom.shared.add.u32 %r5,[%r4+4],%r1;\nred.shared.add.u32 [%r3],%r1;\n"
		"setp.lt.u32 %p2,%r1,9;\n@%p2 red.shared.add.u32 [%r3+12],%r1;\nbar.sync 0;\nand.b32 %r2,%r1,3;\nshl.b32 %r2,%r2,2;\nadd.u32 %r4,%r3,%r2;\n"
		"ld.shared.u32 %r6,[%r4];\nst.global.u32 [%l4],%r6;";
	run(4, body, 64);
	for (u32 i = 0; i < N; i++) {
		static const u32 want[] = { 2016, 992, 1024, 36 };
		assert_int_equal(((u32 *)out)[i], want[i & 3]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_bits), cmocka_unit_test(test_halves), cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_atomics), cmocka_unit_test(test_shared_additions),
		cmocka_unit_test(test_pairs), cmocka_unit_test(test_half_additions), cmocka_unit_test(test_xorsign),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
