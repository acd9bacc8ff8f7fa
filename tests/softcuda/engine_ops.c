/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction by instruction against C: each row is a PTX line from %a, %b, %c to %d and what it
 * computes. Every row runs on full warps, a partial warp and under a guard.
 */
#include <fenv.h>
#include <math.h>
#include "engine_test.h"

typedef uint64_t u64;
typedef uint32_t u32;
typedef int32_t s32;
typedef int64_t s64;
typedef u64 (*ref)(u64 a, u64 b, u64 c);

struct row {
	char in, out; /* w: 32 bits, d: 64, f: float, g: double, h: 16 bits; out likewise */
	const char *line;
	ref want;
};

static float f_of(u64 v) { u32 u = (u32)v; float f; memcpy(&f, &u, 4); return f; }
static u64 of_f(float f) { u32 u; memcpy(&u, &f, 4); return f == f ? u : 0x7fffffffu; }
static double g_of(u64 v) { double f; memcpy(&f, &v, 8); return f; }
static u64 of_g(double f) { u64 u; memcpy(&u, &f, 8); return u; }
static float ftz(float x) { return fabsf(x) < 0x1p-126f && x == x ? copysignf(0, x) : x; }
static float rounded(int mode, char op, float a, float b, float c)
{
	volatile float x = a, y = b, z = c, r;
	fesetround(mode);
	r = op == '+' ? x + y : op == '*' ? x * y : op == '/' ? x / y : op == 'q' ? sqrtf(x) : fmaf(x, y, z);
	fesetround(FE_TONEAREST);
	return r;
}

#define W(name, expr) static u64 name(u64 a_, u64 b_, u64 c_) { u32 a = (u32)a_, b = (u32)b_, c = (u32)c_; (void)a; (void)b; (void)c; return (u32)(expr); }
#define S(name, expr) static u64 name(u64 a_, u64 b_, u64 c_) { s32 a = (s32)a_, b = (s32)b_, c = (s32)c_; (void)a; (void)b; (void)c; return (u32)(expr); }
#define D(name, expr) static u64 name(u64 a, u64 b, u64 c) { (void)a; (void)b; (void)c; return (u64)(expr); }
#define F(name, expr) static u64 name(u64 a_, u64 b_, u64 c_) { float a = f_of(a_), b = f_of(b_), c = f_of(c_); (void)a; (void)b; (void)c; return of_f(expr); }
#define FI(name, expr) static u64 name(u64 a_, u64 b_, u64 c_) { float a = f_of(a_), b = f_of(b_); (void)a; (void)b; return (u64)(expr); }
#define G(name, expr) static u64 name(u64 a_, u64 b_, u64 c_) { double a = g_of(a_), b = g_of(b_), c = g_of(c_); (void)a; (void)b; (void)c; return of_g(expr); }

W(add, a + b) W(sub, a - b) W(mullo, a * b) W(madlo, a * b + c) W(and_, a & b) W(or_, a | b) W(xor_, a ^ b)
W(not_, ~a) W(cnot, a == 0) W(shl, b > 31 ? 0 : a << b) W(shru, b > 31 ? 0 : a >> b) S(shrs, a >> ((u32)b > 31 ? 31 : b))
W(mulhiu, (u64)a * b >> 32) S(mulhis, (s64)a * b >> 32) W(minu, a < b ? a : b) S(mins, a < b ? a : b)
W(maxu, a > b ? a : b) S(maxs, a > b ? a : b) W(divu, b ? a / b : UINT32_MAX) W(remu, b ? a % b : a)
S(divs, b == 0 ? -1 : b == -1 ? (s32)(0u - (u32)a) : a / b) S(rems, b == 0 ? a : b == -1 ? 0 : a % b)
S(neg, 0u - (u32)a) S(abs_, a < 0 ? 0u - (u32)a : (u32)a) W(popc, __builtin_popcount(a)) W(clz, a ? __builtin_clz(a) : 32)
S(sads, (u32)c + (a > b ? (u32)a - (u32)b : (u32)b - (u32)a)) W(lop3, (a & b) | (~a & c)) W(prmt, a << 16 | b >> 16)
W(shfl_, (c & 31) ? b << (c & 31) | a >> (32 - (c & 31)) : b) W(selp, a < b ? a : c) W(slct, (s32)c >= 0 ? a : b)
W(set_, a < b ? UINT32_MAX : 0) W(bfe, b % 32 + 5 > 32 ? a >> (b % 32) : a >> (b % 32) & 31) W(mul24, (a & 0xffffff) * (b & 0xffffff))
static u64 addsat(u64 a, u64 b, u64 c) { s64 v = (s64)(s32)a + (s32)b; return (u32)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v); }
static u64 brev(u64 a, u64 b, u64 c) { u32 r = 0; for (int i = 0; i < 32; i++) r |= (u32)(a >> i & 1) << (31 - i); return r; }
static u64 bfi(u64 a, u64 b, u64 c) { u32 m = 0xffu << 9; return ((u32)a << 9 & m) | ((u32)b & ~m); }
static u64 bfindu(u64 a, u64 b, u64 c) { return (u32)a ? 31 - (u32)__builtin_clz((u32)a) : UINT32_MAX; }
static u64 dp4a(u64 a, u64 b, u64 c) { u32 r = (u32)c; for (int k = 0; k < 4; k++) r += (u32)((int8_t)(a >> 8 * k) * (int8_t)(b >> 8 * k)); return r; }
static u64 boolop(u64 a, u64 b, u64 c) { return ((u32)a < (u32)b && (s32)c > 0) ? 1 : ((u32)a >= (u32)b && (s32)c > 0) ? 2 : 3; }
static u64 cvts8(u64 a, u64 b, u64 c) { return (u32)(s32)(int8_t)a; }
static u64 cvtsat(u64 a, u64 b, u64 c) { s32 v = (s32)a; return (u32)(v > 127 ? 127 : v < -128 ? -128 : v); }
static u64 carry(u64 a, u64 b, u64 c) { return (u32)(((u64)(u32)a + (u32)b) >> 32) + (u32)c; }
static u64 borrow(u64 a, u64 b, u64 c) { return (u32)c - ((u32)a < (u32)b); }
D(add64, a + b) D(mul64, a * b) D(mad64, a * b + c) D(shl64, (u32)b > 63 ? 0 : a << (b & 63)) D(shrs64, (s64)a >> ((u32)b > 63 ? 63 : (b & 63)))
D(hi64, (unsigned __int128)a * b >> 64) D(his64, (__int128)(s64)a * (s64)b >> 64) D(min64, (s64)a < (s64)b ? a : b) D(divs64, b == 0 ? -1 : (s64)b == -1 ? (s64)(0 - a) : (s64)a / (s64)b)
D(remu64, b ? a % b : a) D(sel64, (s64)a < (s64)b ? a : c) D(clz64, a ? __builtin_clzll(a) : 64)
D(wide, (s64)(s32)a * (s32)b) D(madwide, (s64)(s32)a * (s32)b + 7) D(wideu, (u64)(u32)a * (u32)b)
F(fadd_, a + b) F(fsub_, a - b) F(fmul_, a * b) F(fdiv_, a / b) F(ffma_, fmaf(a, b, c)) F(fsqrt_, sqrtf(a)) F(frcp, 1.0f / a)
F(addrz, rounded(FE_TOWARDZERO, '+', a, b, c)) F(mulrm, rounded(FE_DOWNWARD, '*', a, b, c)) F(fmarp, rounded(FE_UPWARD, 'f', a, b, c))
F(divrz, rounded(FE_TOWARDZERO, '/', a, b, c)) F(sqrtrp, rounded(FE_UPWARD, 'q', a, b, c)) F(addftz, ftz(ftz(a) + ftz(b)))
F(fsat, a + b > 0 ? (a + b < 1 ? a + b : 1) : 0)
F(fmin_, a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b)
F(fmax_, a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b)
FI(fneg, (u32)a_ ^ 0x80000000u) FI(fabs_, (u32)a_ & 0x7fffffffu) FI(f2i, a != a ? 0 : a >= 2147483648.0f ? INT32_MAX : a < -2147483648.0f ? 0x80000000u : (u32)(s32)a)
FI(f2iu, !(a > 0) ? 0 : a >= 4294967296.0f ? UINT32_MAX : (u32)rintf(a) ) FI(f2u8, !(rintf(a) > 0) ? 0 : rintf(a) > 255 ? 255 : (u32)rintf(a))
F(ffloor, floorf(a)) FI(fltu, !(a >= b)) FI(flt, a < b) FI(fne, a < b || a > b) FI(fneu, a != b)
static u64 i2f(u64 a, u64 b, u64 c) { return of_f((float)(s32)a); }
static u64 u2f(u64 a, u64 b, u64 c) { return of_f((float)(u32)a); }
static u64 u2frz(u64 a, u64 b, u64 c) { fesetround(FE_TOWARDZERO); volatile u64 v = (u32)a; volatile float f = (float)(s64)v; fesetround(FE_TONEAREST); return of_f(f); }
G(gadd, a + b) G(gfma, fma(a, b, c)) G(gdiv, a / b) G(gsqrt, sqrt(a)) G(gmin, a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b)
static u64 g2f(u64 a, u64 b, u64 c) { return of_f((float)g_of(a)); }

#define CHECK "{.reg .pred %p, %q;\n"
static const struct row rows[] = {
	{ 'w', 'w', "add.s32 %d, %a, %b;", add }, { 'w', 'w', "sub.u32 %d, %a, %b;", sub },
	{ 'w', 'w', "mul.lo.s32 %d, %a, %b;", mullo }, { 'w', 'w', "mad.lo.u32 %d, %a, %b, %c;", madlo },
	{ 'w', 'w', "and.b32 %d, %a, %b;", and_ }, { 'w', 'w', "or.b32 %d, %a, %b;", or_ }, { 'w', 'w', "xor.b32 %d, %a, %b;", xor_ },
	{ 'w', 'w', "not.b32 %d, %a;", not_ }, { 'w', 'w', "cnot.b32 %d, %a;", cnot }, { 'w', 'w', "shl.b32 %d, %a, %b;", shl },
	{ 'w', 'w', "shr.u32 %d, %a, %b;", shru }, { 'w', 'w', "shr.s32 %d, %a, %b;", shrs },
	{ 'w', 'w', "mul.hi.u32 %d, %a, %b;", mulhiu }, { 'w', 'w', "mul.hi.s32 %d, %a, %b;", mulhis },
	{ 'w', 'w', "min.u32 %d, %a, %b;", minu }, { 'w', 'w', "min.s32 %d, %a, %b;", mins },
	{ 'w', 'w', "max.u32 %d, %a, %b;", maxu }, { 'w', 'w', "max.s32 %d, %a, %b;", maxs },
	{ 'w', 'w', "div.u32 %d, %a, %b;", divu }, { 'w', 'w', "rem.u32 %d, %a, %b;", remu },
	{ 'w', 'w', "div.s32 %d, %a, %b;", divs }, { 'w', 'w', "rem.s32 %d, %a, %b;", rems },
	{ 'w', 'w', "neg.s32 %d, %a;", neg }, { 'w', 'w', "abs.s32 %d, %a;", abs_ }, { 'w', 'w', "popc.b32 %d, %a;", popc },
	{ 'w', 'w', "clz.b32 %d, %a;", clz }, { 'w', 'w', "brev.b32 %d, %a;", brev }, { 'w', 'w', "sad.s32 %d, %a, %b, %c;", sads },
	{ 'w', 'w', "lop3.b32 %d, %a, %b, %c, 0xCA;", lop3 }, { 'w', 'w', "prmt.b32 %d, %a, %b, 0x1076;", prmt },
	{ 'w', 'w', "shf.l.wrap.b32 %d, %a, %b, %c;", shfl_ }, { 'w', 'w', "slct.u32.s32 %d, %a, %b, %c;", slct },
	{ 'w', 'w', "set.lt.u32.u32 %d, %a, %b;", set_ }, { 'w', 'w', "mul24.lo.u32 %d, %a, %b;", mul24 },
	{ 'w', 'w', "{.reg .b32 %t; rem.u32 %t, %b, 32; bfe.u32 %d, %a, %t, 5;}", bfe }, { 'w', 'w', "bfi.b32 %d, %a, %b, 9, 8;", bfi },
	{ 'w', 'w', "bfind.u32 %d, %a;", bfindu }, { 'w', 'w', "dp4a.s32.s32 %d, %a, %b, %c;", dp4a },
	{ 'w', 'w', "add.sat.s32 %d, %a, %b;", addsat }, { 'w', 'w', "cvt.s32.s8 %d, %a;", cvts8 }, { 'w', 'w', "cvt.sat.s8.s32 %d, %a;", cvtsat },
	{ 'w', 'w', "{.reg .b32 %t; add.cc.u32 %t, %a, %b; addc.u32 %d, %c, 0;}", carry },
	{ 'w', 'w', "{.reg .b32 %t; sub.cc.u32 %t, %a, %b; subc.u32 %d, %c, 0;}", borrow },
	{ 'w', 'w', CHECK "setp.lt.u32 %p, %a, %b; selp.b32 %d, %a, %c, %p;}", selp },
	{ 'w', 'w', CHECK ".reg .pred %r; setp.gt.s32 %r, %c, 0; setp.lt.and.u32 %p|%q, %a, %b, %r; mov.u32 %d, 3; @%q mov.u32 %d, 2; @%p mov.u32 %d, 1;}", boolop },
	{ 'd', 'd', "add.s64 %d, %a, %b;", add64 }, { 'd', 'd', "mul.lo.s64 %d, %a, %b;", mul64 }, { 'd', 'd', "mad.lo.u64 %d, %a, %b, %c;", mad64 },
	{ 'd', 'd', "{.reg .b32 %t; cvt.u32.u64 %t, %b; shl.b64 %d, %a, %t;}", shl64 },
	{ 'd', 'd', "{.reg .b32 %t; cvt.u32.u64 %t, %b; shr.s64 %d, %a, %t;}", shrs64 },
	{ 'd', 'd', "mul.hi.u64 %d, %a, %b;", hi64 }, { 'd', 'd', "mul.hi.s64 %d, %a, %b;", his64 }, { 'd', 'd', "min.s64 %d, %a, %b;", min64 },
	{ 'd', 'd', "div.s64 %d, %a, %b;", divs64 }, { 'd', 'd', "rem.u64 %d, %a, %b;", remu64 },
	{ 'd', 'd', CHECK "setp.lt.s64 %p, %a, %b; selp.b64 %d, %a, %c, %p;}", sel64 }, { 'd', 'w', "clz.b64 %d, %a;", clz64 },
	{ 'w', 'd', "mul.wide.s32 %d, %a, %b;", wide }, { 'w', 'd', "mul.wide.u32 %d, %a, %b;", wideu }, { 'w', 'd', "mad.wide.s32 %d, %a, %b, 7;", madwide },
	{ 'f', 'f', "add.f32 %d, %a, %b;", fadd_ }, { 'f', 'f', "sub.rn.f32 %d, %a, %b;", fsub_ }, { 'f', 'f', "mul.f32 %d, %a, %b;", fmul_ },
	{ 'f', 'f', "div.rn.f32 %d, %a, %b;", fdiv_ }, { 'f', 'f', "fma.rn.f32 %d, %a, %b, %c;", ffma_ }, { 'f', 'f', "sqrt.rn.f32 %d, %a;", fsqrt_ },
	{ 'f', 'f', "rcp.rn.f32 %d, %a;", frcp }, { 'f', 'f', "add.rz.f32 %d, %a, %b;", addrz }, { 'f', 'f', "mul.rm.f32 %d, %a, %b;", mulrm },
	{ 'f', 'f', "fma.rp.f32 %d, %a, %b, %c;", fmarp }, { 'f', 'f', "div.rz.f32 %d, %a, %b;", divrz }, { 'f', 'f', "sqrt.rp.f32 %d, %a;", sqrtrp },
	{ 'f', 'f', "add.ftz.f32 %d, %a, %b;", addftz }, { 'f', 'f', "add.sat.f32 %d, %a, %b;", fsat }, { 'f', 'f', "min.f32 %d, %a, %b;", fmin_ },
	{ 'f', 'f', "max.f32 %d, %a, %b;", fmax_ }, { 'f', 'f', "neg.f32 %d, %a;", fneg }, { 'f', 'f', "abs.f32 %d, %a;", fabs_ },
	{ 'f', 'f', "cvt.rmi.f32.f32 %d, %a;", ffloor }, { 'f', 'w', "cvt.rzi.s32.f32 %d, %a;", f2i }, { 'f', 'w', "cvt.rni.u32.f32 %d, %a;", f2iu },
	{ 'f', 'w', "cvt.rni.u8.f32 %d, %a;", f2u8 }, { 'w', 'f', "cvt.rn.f32.s32 %d, %a;", i2f }, { 'w', 'f', "cvt.rn.f32.u32 %d, %a;", u2f },
	{ 'w', 'f', "cvt.rz.f32.u32 %d, %a;", u2frz },
	{ 'f', 'w', CHECK "setp.ltu.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;}", fltu }, { 'f', 'w', CHECK "setp.lt.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;}", flt },
	{ 'f', 'w', CHECK "setp.ne.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;}", fne }, { 'f', 'w', CHECK "setp.neu.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;}", fneu },
	{ 'g', 'g', "add.f64 %d, %a, %b;", gadd }, { 'g', 'g', "fma.rn.f64 %d, %a, %b, %c;", gfma }, { 'g', 'g', "div.rn.f64 %d, %a, %b;", gdiv },
	{ 'g', 'g', "sqrt.rn.f64 %d, %a;", gsqrt }, { 'g', 'g', "min.f64 %d, %a, %b;", gmin }, { 'g', 'f', "cvt.rn.f32.f64 %d, %a;", g2f },
};
enum { ROWS = sizeof(rows) / sizeof(*rows), N = 1024 };

static const char *reg_type(char k)
{
	return k == 'w' ? "b32" : k == 'd' ? "b64" : k == 'f' ? "f32" : "f64";
}
static unsigned width(char k)
{
	return k == 'w' || k == 'f' ? 4 : 8;
}

static void write_kernel(char *text, size_t cap, const struct row *r, bool guard)
{
	const char *ti = reg_type(r->in), *to = reg_type(r->out);
	unsigned wi = width(r->in), wo = width(r->out);
	snprintf(text, cap,
		 PTX_HEAD ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pd)\n{\n"
			  ".reg .%s %%a, %%b, %%c;\n.reg .%s %%d;\n.reg .b64 %%x, %%y;\n.reg .b32 %%t1, %%t2, %%t3;\n.reg .pred %%even;\n"
			  "mov.u32 %%t1, %%ctaid.x; mov.u32 %%t2, %%ntid.x; mov.u32 %%t3, %%tid.x;\nmad.lo.u32 %%t1, %%t1, %%t2, %%t3;\n"
			  "mul.wide.u32 %%y, %%t1, %u;\nld.param.u64 %%x, [pa]; add.u64 %%x, %%x, %%y; ld.global.%s %%a, [%%x];\n"
			  "ld.param.u64 %%x, [pb]; add.u64 %%x, %%x, %%y; ld.global.%s %%b, [%%x];\n"
			  "ld.param.u64 %%x, [pc]; add.u64 %%x, %%x, %%y; ld.global.%s %%c, [%%x];\n"
			  "mul.wide.u32 %%y, %%t1, %u;\nld.param.u64 %%x, [pd]; add.u64 %%x, %%x, %%y;\n"
			  "and.b32 %%t1, %%t1, 1; setp.eq.u32 %%even, %%t1, 0;\n%s%s\n%s st.global.%s [%%x], %%d;\nret;\n}\n",
		 ti, to, wi, ti, ti, ti, wo, guard && r->line[0] != '{' ? "@%even " : "", r->line, guard ? "@%even" : "", to);
}

static u64 get(const void *p, unsigned w, int i)
{
	return w == 4 ? ((const u32 *)p)[i] : ((const u64 *)p)[i];
}

static u64 input(char kind, u64 *seed)
{
	static const u64 odd[] = { 0, 1, UINT64_MAX, 0x80000000u, 0x7fffffff, 31, 32, 33, 64, 1ull << 63, 0x7f800000, 0xff800000, 0x7fc00000,
				   0x00000001, 0x007fffff, 0x80000000, 0x3f800000, 0xbf000000, 0x4f000000, 0x7ff0000000000000ull,
				   0x7ff8000000000000ull, 0x3ff0000000000000ull, 0x437f8000, 0x40200000, 0x4b800001 };
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	u64 v = *seed >> 20 ^ *seed << 30;
	if (*seed >> 62 == 0)
		return odd[(*seed >> 33) % (sizeof(odd) / sizeof(*odd))];
	if ((*seed >> 60 & 3) == 0)
		v = kind == 'f' ? of_f((float)(s32)(v >> 40) / 64) : v % 100;
	return v;
}

static bool equal(char out, u64 got, u64 want)
{
	if (out == 'g' && isnan(g_of(got)) && isnan(g_of(want)))
		return true;
	return got == want;
}

static void run_row(const struct row *r, bool guard, uint32_t block)
{
	static char text[8192];
	unsigned wi = width(r->in), wo = width(r->out);
	uint8_t *in = dev_alloc(3 * N * 8), *out = dev_alloc(N * 8);
	u64 seed = 12345;
	for (int i = 0; i < 3 * N; i++) {
		u64 v = input(r->in, &seed);
		if (wi == 4)
			((u32 *)in)[i] = (u32)v;
		else
			((u64 *)in)[i] = v;
	}
	write_kernel(text, sizeof(text), r, guard);
	struct sc_module *m = load_ptx(text);
	struct { void *a, *b, *c, *d; } p = { in, in + N * wi, in + 2 * N * wi, out };
	uint32_t grid = N / block;
	launch_ok(m, "k", (struct shape){ grid, block }, &p);
	for (int i = 0; i < (int)(grid * block); i++) {
		u64 a = get(in, wi, i), b = get(p.b, wi, i), c = get(p.c, wi, i), got = get(out, wo, i);
		u64 want = guard && (i & 1) ? 0 : r->want(a, b, c);
		want = wo == 4 ? (u32)want : want;
		if (!equal(r->out, got, want))
			fail_msg("%s a=%#llx b=%#llx c=%#llx: %#llx, want %#llx", r->line, (unsigned long long)a, (unsigned long long)b,
				 (unsigned long long)c, (unsigned long long)got, (unsigned long long)want);
	}
	sc_module_unload(m);
	dev_free(in);
	dev_free(out);
}

static void test_full_warps(void **state)
{
	for (int i = 0; i < ROWS; i++)
		run_row(&rows[i], false, 64);
}

static void test_partial_warps(void **state)
{
	for (int i = 0; i < ROWS; i++)
		run_row(&rows[i], false, 45);
}

static void test_guarded(void **state)
{
	for (int i = 0; i < ROWS; i++)
		run_row(&rows[i], true, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_warps),
		cmocka_unit_test(test_partial_warps),
		cmocka_unit_test(test_guarded),
	};
	return cmocka_run_group_tests(tests, open_dev, close_dev);
}
