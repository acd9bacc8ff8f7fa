/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a warp computes once instead of lane by lane must be what its lanes would have computed: the
 * same kernels are launched in shapes that allow it and in shapes that do not, with indices that wrap
 * and that do not, and compared with C. And what runs for all lanes because nobody looks at the others
 * must not be seen by any.
 */
#include "engine_test.h"

typedef uint32_t u32;
typedef uint64_t u64;

static int launch3(struct sc_module *m, const char *name, const u32 grid[3], const u32 block[3], const void *params)
{
	struct sc_launch l = { .kernel = sc_module_kernel(m, name), .grid = { grid[0], grid[1], grid[2] },
			       .block = { block[0], block[1], block[2] }, .params = params };
	assert_non_null(l.kernel);
	return sc_launch(dev, &l, &fault);
}

/* Every comparison of 32 bits, against a bound and against another index; each writes its own word. */
static const char compares[] = PTX_HEAD
	".visible .entry k(.param .u64 out, .param .u32 n, .param .u32 add)\n{\n.reg .pred %p<20>;\n.reg .b32 %r<40>;\n.reg .b64 %l<20>;\n"
	"ld.param.u64 %l0,[out];\nld.param.u32 %r0,[n];\nld.param.u32 %r1,[add];\n"
	"mov.u32 %r2,%ctaid.x;\nmov.u32 %r3,%ntid.x;\nmov.u32 %r4,%tid.x;\nmad.lo.s32 %r5,%r2,%r3,%r4;\nadd.s32 %r6,%r5,%r1;\n"
	"setp.lt.s32 %p0,%r6,%r0;\nsetp.le.s32 %p1,%r6,%r0;\nsetp.gt.s32 %p2,%r6,%r0;\nsetp.ge.s32 %p3,%r6,%r0;\n"
	"setp.lt.u32 %p4,%r6,%r0;\nsetp.ls.u32 %p5,%r6,%r0;\nsetp.hi.u32 %p6,%r6,%r0;\nsetp.hs.u32 %p7,%r6,%r0;\n"
	"setp.eq.s32 %p8,%r6,%r0;\nsetp.ne.s32 %p9,%r6,%r0;\nneg.s32 %r7,%r5;\nsub.s32 %r8,%r0,%r5;\nsetp.gt.s32 %p10,%r8,%r6;\n"
	"setp.lt.and.s32 %p11,%r6,%r0,%p9;\nsetp.gt.or.u32 %p12,%r6,%r0,!%p3;\nxor.pred %p13,%p0,%p4;\nnot.pred %p14,%p2;\nand.pred %p15,%p14,%p9;\n"
	"mov.u32 %r20,0;\n"
	"@%p0 or.b32 %r20,%r20,1;\n@%p1 or.b32 %r20,%r20,2;\n@%p2 or.b32 %r20,%r20,4;\n@%p3 or.b32 %r20,%r20,8;\n"
	"@%p4 or.b32 %r20,%r20,16;\n@%p5 or.b32 %r20,%r20,32;\n@%p6 or.b32 %r20,%r20,64;\n@%p7 or.b32 %r20,%r20,128;\n"
	"@%p8 or.b32 %r20,%r20,256;\n@%p9 or.b32 %r20,%r20,512;\n@%p10 or.b32 %r20,%r20,1024;\n@%p11 or.b32 %r20,%r20,2048;\n"
	"@%p12 or.b32 %r20,%r20,4096;\n@%p13 or.b32 %r20,%r20,8192;\n@%p15 or.b32 %r20,%r20,16384;\n"
	"mul.wide.u32 %l1,%r5,4;\nadd.s64 %l2,%l0,%l1;\nst.global.u32 [%l2],%r20;\nret;\n}\n";

static u32 compared(u32 i, u32 n, u32 add)
{
	u32 v = i + add, w = n - i;
	int32_t s = (int32_t)v, t = (int32_t)n;
	bool p[16] = { s < t, s <= t, s > t, s >= t, v < n, v <= n, v > n, v >= n, v == n, v != n, (int32_t)w > s };
	p[11] = s < t && p[9];
	p[12] = v > n || !p[3];
	p[13] = p[0] != p[4];
	p[14] = !p[2] && p[9];
	u32 m = 0;
	for (u32 k = 0; k < 15; k++)
		m |= (u32)p[k] << k;
	return m;
}

static void test_compares(void **state)
{
	static const u32 shapes[][2] = { { 3, 64 }, { 2, 96 }, { 3, 50 }, { 1, 7 }, { 5, 32 } };
	static const u32 bounds[] = { 0, 1, 70, 100, 0x7fffffff, 0x80000000, 0x80000020, 0xffffffff };
	static const u32 adds[] = { 0, 0x7fffffd0, 0x7fffffff, 0xffffffe0, 0xfffffffa };
	struct sc_module *m = load_ptx(compares);
	u32 *out = dev_alloc(4096);
	for (u32 s = 0; s < 5; s++)
		for (u32 b = 0; b < 8; b++)
			for (u32 a = 0; a < 5; a++) {
				struct { void *out; u32 n, add; } p = { out, bounds[b], adds[a] };
				memset(out, 0xff, 4096);
				launch_ok(m, "k", (struct shape){ shapes[s][0], shapes[s][1] }, &p);
				for (u32 i = 0; i < shapes[s][0] * shapes[s][1]; i++)
					if (out[i] != compared(i, bounds[b], adds[a]))
						fail_msg("%u of %u x %u, n %#x, add %#x: %#x, want %#x", i, shapes[s][0], shapes[s][1], bounds[b], adds[a], out[i], compared(i, bounds[b], adds[a]));
			}
	sc_module_unload(m);
	dev_free(out);
}

/* Indices of three dimensions, kept as numbers: every thread writes what it computed to its own place. */
static const char grid3[] = PTX_HEAD
	".visible .entry k(.param .u64 out, .param .u32 w, .param .u32 h, .param .s32 off)\n{\n.reg .pred %p<4>;\n.reg .b32 %r<40>;\n.reg .b64 %l<30>;\n"
	"ld.param.u64 %l0,[out];\nld.param.u32 %r0,[w];\nld.param.u32 %r1,[h];\nld.param.s32 %r2,[off];\n"
	"mov.u32 %r3,%ctaid.x;\nmov.u32 %r4,%ntid.x;\nmov.u32 %r5,%tid.x;\nmad.lo.s32 %r6,%r3,%r4,%r5;\n"
	"mov.u32 %r7,%ctaid.y;\nmov.u32 %r8,%ntid.y;\nmov.u32 %r9,%tid.y;\nmad.lo.s32 %r10,%r7,%r8,%r9;\n"
	"mov.u32 %r11,%ctaid.z;\nmov.u32 %r12,%ntid.z;\nmov.u32 %r13,%tid.z;\nmad.lo.s32 %r14,%r11,%r12,%r13;\n"
	"mad.lo.s32 %r15,%r14,%r1,%r10;\nmad.lo.s32 %r16,%r15,%r0,%r6;\n" /* (z h + y) w + x */
	"add.s32 %r17,%r16,%r2;\nsub.s32 %r18,%r17,%r2;\n"
	"mul.wide.s32 %l1,%r18,16;\nadd.s64 %l2,%l0,%l1;\n"
	"st.global.u32 [%l2],%r17;\n"		      /* by lane: stride 16 */
	"cvt.s64.s32 %l3,%r17;\nst.global.u32 [%l2+4],%l3;\nshr.u64 %l4,%l3,32;\ncvt.u32.u64 %r19,%l4;\nst.global.u32 [%l2+8],%r19;\n"
	"shl.b32 %r20,%r6,3;\nsub.s32 %r21,5,%r20;\nmin.s32 %r22,%r7,%r11;\nmax.u32 %r23,%r8,3;\nshr.u32 %r24,%r10,1;\nand.b32 %r25,%r10,6;\nor.b32 %r26,%r10,9;\n"
	"xor.b32 %r27,%r26,%r25;\nnot.b32 %r28,%r14;\nadd.s32 %r29,%r21,%r22;\nadd.s32 %r29,%r29,%r23;\nadd.s32 %r29,%r29,%r24;\nadd.s32 %r29,%r29,%r27;\nadd.s32 %r29,%r29,%r28;\n"
	"st.global.u32 [%l2+12],%r29;\nret;\n}\n";

static void test_grids(void **state)
{
	static const u32 shapes[][6] = { { 3, 2, 2, 32, 2, 2 }, { 2, 3, 2, 64, 3, 1 }, { 3, 1, 1, 100, 1, 1 }, { 2, 2, 3, 16, 4, 2 },
					 { 4, 2, 1, 5, 7, 3 }, { 1, 1, 1, 1, 1, 1 } };
	static const int32_t offs[] = { 0, -5, 1000, INT32_MAX - 100, INT32_MIN + 3 };
	struct sc_module *m = load_ptx(grid3);
	for (u32 s = 0; s < 6; s++)
		for (u32 o = 0; o < 5; o++) {
			const u32 *g = shapes[s], *b = shapes[s] + 3;
			u32 w = g[0] * b[0], h = g[1] * b[1], d = g[2] * b[2];
			u32 *out = dev_alloc((size_t)w * h * d * 16);
			struct { void *out; u32 w, h; int32_t off; } p = { out, w, h, offs[o] };
			assert_int_equal(launch3(m, "k", g, b, &p), SC_OK);
			for (u32 z = 0; z < d; z++)
				for (u32 y = 0; y < h; y++)
					for (u32 x = 0; x < w; x++) {
						const u32 *got = out + 4 * (size_t)((z * h + y) * w + x);
						u32 i = (z * h + y) * w + x + (u32)offs[o], cy = y / b[1], cz = z / b[2];
						u32 more = 5 - 8 * x + (cy < cz ? cy : cz) + (b[1] > 3 ? b[1] : 3) + (y >> 1) + ((y | 9) ^ (y & 6)) + ~z;
						if (got[0] != i || got[1] != i || got[2] != ((int32_t)i < 0 ? UINT32_MAX : 0) || got[3] != more)
							fail_msg("shape %u, off %d, %u %u %u: %#x %#x %#x %#x, want %#x, %#x", s, offs[o], x, y, z, got[0], got[1], got[2], got[3], i, more);
					}
			dev_free(out);
		}
	sc_module_unload(m);
}

/* All widths, consecutive and all lanes the same, by full and partial warps and behind a branch. */
static const char copies[] = PTX_HEAD
	".visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n)\n{\n.reg .pred %p<4>;\n.reg .b16 %h<9>;\n.reg .b32 %r<40>;\n.reg .b64 %l<40>;\n"
	"ld.param.u64 %l0,[in];\nld.param.u64 %l1,[out];\nld.param.u32 %r0,[n];\nmov.u32 %r1,%ctaid.x;\nmov.u32 %r2,%ntid.x;\nmov.u32 %r3,%tid.x;\n"
	"mad.lo.s32 %r4,%r1,%r2,%r3;\nsetp.ge.u32 %p0,%r4,%r0;\n@%p0 bra END;\n"
	"cvt.u64.u32 %l2,%r4;\nadd.s64 %l3,%l0,%l2;\nld.global.u8 %h0,[%l3];\nld.global.s8 %r5,[%l3];\nld.global.u8 %l20,[%l3];\n"
	"shl.b64 %l4,%l2,1;\nadd.s64 %l5,%l0,%l4;\nld.global.u16 %h1,[%l5];\nld.global.s16 %r6,[%l5];\nld.global.u16 %l21,[%l5];\n"
	"mul.wide.u32 %l6,%r4,4;\nadd.s64 %l7,%l0,%l6;\nld.global.u32 %r7,[%l7];\nld.global.s32 %l22,[%l7];\n"
	"mul.wide.u32 %l8,%r4,8;\nadd.s64 %l9,%l0,%l8;\nld.global.u64 %l10,[%l9];\nld.global.u32 %r8,[%l0+4];\n" /* one address for all */
	"mov.u64 %l11,%l10;\ncvt.u64.u16 %l12,%h0;\nadd.s64 %l11,%l11,%l12;\ncvt.s64.s32 %l12,%r5;\nadd.s64 %l11,%l11,%l12;\nadd.s64 %l11,%l11,%l20;\n"
	"cvt.u64.u16 %l12,%h1;\nadd.s64 %l11,%l11,%l12;\ncvt.s64.s32 %l12,%r6;\nadd.s64 %l11,%l11,%l12;\nadd.s64 %l11,%l11,%l21;\n"
	"cvt.u64.u32 %l12,%r7;\nadd.s64 %l11,%l11,%l12;\nadd.s64 %l11,%l11,%l22;\ncvt.u64.u32 %l12,%r8;\nadd.s64 %l11,%l11,%l12;\n"
	"add.s64 %l13,%l1,%l8;\nst.global.u64 [%l13],%l11;\n"
	"add.s64 %l14,%l1,65536;\nadd.s64 %l15,%l14,%l6;\nst.global.u32 [%l15],%r7;\nadd.s64 %l16,%l14,%l4;\nst.global.u16 [%l16+32768],%h1;\n"
	"add.s64 %l17,%l14,%l2;\nst.global.u8 [%l17+49152],%h0;\nst.global.u32 [%l14+61440],%r4;\nEND: ret;\n}\n";

static void test_copies(void **state)
{
	enum { N = 512 };
	struct sc_module *m = load_ptx(copies);
	unsigned char *in = dev_alloc(8 * N), *out = dev_alloc(131072);
	for (u32 i = 0; i < 8 * N; i++)
		in[i] = (unsigned char)(i * 2654435761u >> 13);
	static const u32 shapes[][3] = { { 4, 128, N }, { 4, 128, 400 }, { 5, 100, 500 }, { 2, 7, 12 }, { 1, 33, 33 } };
	for (u32 s = 0; s < 5; s++) {
		struct { void *in, *out; u32 n; } p = { in, out, shapes[s][2] };
		memset(out, 0, 131072);
		launch_ok(m, "k", (struct shape){ shapes[s][0], shapes[s][1] }, &p);
		for (u32 i = 0; i < N; i++) {
			u64 want = 0, wide = 0;
			u32 word = 0, first = 0;
			uint16_t half = 0;
			if (i < shapes[s][2]) {
				memcpy(&wide, in + 8 * i, 8);
				memcpy(&word, in + 4 * i, 4);
				memcpy(&half, in + 2 * i, 2);
				memcpy(&first, in + 4, 4);
				want = wide + in[i] + (u64)(int64_t)(int8_t)in[i] + in[i] + half + (u64)(int64_t)(int16_t)half + half + word + (u64)(int64_t)(int32_t)word + first;
			}
			assert_true(((u64 *)(void *)out)[i] == want);
			assert_int_equal(((u32 *)(void *)(out + 65536))[i], word);
			assert_int_equal(((uint16_t *)(void *)(out + 98304))[i], half);
			assert_int_equal(out[114688 + i], i < shapes[s][2] ? in[i] : 0);
		}
		u32 last;
		memcpy(&last, out + 126976, 4);
		assert_true(last < shapes[s][2]);
	}
	/* The first lane that is outside is the one reported, and lanes that do not take part are not. */
	struct { void *in, *out; u32 n; } p = { in, out, 8192 };
	assert_int_equal(launch(m, "k", (struct shape){ 17, 256 }, &p), SC_ILLEGAL_ADDRESS);
	assert_int_equal(fault.address, (u64)(uintptr_t)in + 8 * N);
	assert_int_equal(fault.size, 8);
	assert_false(fault.write);
	sc_module_unload(m);
	dev_free(in);
	dev_free(out);
}

/* Short arms become selects, brief registers are written for all lanes: odd lanes go another way each
 * time round, and lanes that left earlier keep what they had. */
static const char arms[] = PTX_HEAD
	".visible .entry k(.param .u64 out)\n{\n.reg .pred %p<9>;\n.reg .b16 %h<4>;\n.reg .b32 %r<20>;\n.reg .b64 %l<12>;\n.reg .f32 %f<9>;\n"
	"ld.param.u64 %l0,[out];\nmov.u32 %r0,%tid.x;\nmul.wide.u32 %l1,%r0,16;\nadd.s64 %l2,%l0,%l1;\n"
	"mov.u32 %r1,%r0;\nmov.u32 %r2,0;\ncvt.u64.u32 %l3,%r0;\nmov.f32 %f1,0f3F800000;\nmov.pred %p7,1;\ncvt.u16.u32 %h1,%r0;\n"
	"LOOP: and.b32 %r3,%r1,1;\nsetp.eq.s32 %p0,%r3,1;\nxor.pred %p1,%p0,%p7;\nnot.pred %p2,%p1;\n@%p2 bra ODD;\n"
	"shr.u32 %r1,%r1,1;\nmul.lo.s64 %l4,%l3,3;\nadd.s64 %l3,%l4,7;\nbra NEXT;\n"
	"ODD: mul.lo.s32 %r4,%r1,3;\nadd.s32 %r1,%r4,1;\nadd.f32 %f1,%f1,%f1;\n"
	"NEXT: add.s32 %r2,%r2,1;\nand.b32 %r6,%r2,3;\nsetp.ne.s32 %p3,%r6,0;\n@%p3 bra SKIP;\nadd.s16 %h1,%h1,3;\n"
	"SKIP: setp.lt.u32 %p4,%r2,%r0;\nsetp.ne.and.s32 %p5,%r1,1,%p4;\n@%p5 bra LOOP;\n"
	"st.global.u32 [%l2],%r1;\nst.global.f32 [%l2+4],%f1;\ncvt.u32.u64 %r7,%l3;\nst.global.u32 [%l2+8],%r7;\ncvt.u32.u16 %r8,%h1;\nst.global.u32 [%l2+12],%r8;\nret;\n}\n";

static void test_arms(void **state)
{
	struct sc_module *m = load_ptx(arms);
	struct { u32 v; float f; u32 l, h; } *out = dev_alloc(16 * 128);
	void *p = out;
	static const u32 threads[] = { 128, 45 };
	for (u32 t = 0; t < 2; t++) {
		launch_ok(m, "k", (struct shape){ 1, threads[t] }, &p);
		for (u32 i = 0; i < threads[t]; i++) {
			u32 v = i, k = 0;
			u64 l = i;
			uint16_t h = (uint16_t)i;
			float f = 1;
			do {
				if (v & 1) {
					v = 3 * v + 1;
					f += f;
				} else {
					v >>= 1;
					l = 3 * l + 7;
				}
				k++;
				if (k % 4 == 0)
					h = (uint16_t)(h + 3);
			} while (v != 1 && k < i);
			if (out[i].v != v || out[i].f != f || out[i].l != (u32)l || out[i].h != h)
				fail_msg("%u: %u %g %u %u, want %u %g %u %u", i, out[i].v, (double)out[i].f, out[i].l, out[i].h, v, (double)f, (u32)l, h);
		}
	}
	sc_module_unload(m);
	dev_free(out);
}

/* ---- programs at random: what PTX text and C compute of the same list of operations */

enum { MAX_OPS = 48, NR = 60, NL = 40, NP = 30 };
enum op_kind { OP2_R, OP_MAD, OP_SETP, OP_SELP, OP_WIDE, OP2_L, OP_LOW, OP_SEXT, OP_ARM, OP_ARMS, OP_KINDS };
struct rop {
	enum op_kind kind;
	int what, d, a, b, c, p; /* what: operation or comparison; b < 0: the constant k */
	u32 k;
	bool sign, both;
};
struct state {
	u32 r[NR];
	u64 l[NL];
	bool p[NP];
};
struct program {
	struct rop op[MAX_OPS];
	int n, nr, nl, np;
};
static u32 random_state;
static u32 any(u32 below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static const char *const op_names[] = { "add.s32", "sub.s32", "mul.lo.s32", "shl.b32", "shr.u32", "and.b32", "or.b32", "xor.b32", "min.s32", "max.u32", "not.b32", "shr.s32" };
static const char *const cmp_names[] = { "lt", "le", "gt", "ge", "eq", "ne" };

static u32 op_of(int what, u32 a, u32 b)
{
	switch (what) {
	case 0: return a + b;
	case 1: return a - b;
	case 2: return a * b;
	case 3: return b > 31 ? 0 : a << b;
	case 4: return b > 31 ? 0 : a >> b;
	case 5: return a & b;
	case 6: return a | b;
	case 7: return a ^ b;
	case 8: return (int32_t)a < (int32_t)b ? a : b;
	case 9: return a > b ? a : b;
	case 10: return ~a;
	default: return (u32)((int32_t)a >> (b > 31 ? 31 : b));
	}
}

static bool cmp_of(const struct rop *o, u32 a, u32 b)
{
	bool less = o->sign ? (int32_t)a < (int32_t)b : a < b;
	bool v[] = { less, less || a == b, !less && a != b, !less, a == b, a != b };
	return v[o->what];
}

static void step(struct state *s, const struct rop *o)
{
	u32 a = s->r[o->a], b = o->b < 0 ? o->k : s->r[o->b];
	switch (o->kind) {
	case OP2_R: s->r[o->d] = op_of(o->what, a, b); break;
	case OP_MAD: s->r[o->d] = a * b + s->r[o->c]; break;
	case OP_SETP: s->p[o->d] = cmp_of(o, a, b) && (!o->both || s->p[o->p]); break;
	case OP_SELP: s->r[o->d] = s->p[o->p] ? a : b; break;
	case OP_WIDE: s->l[o->d] = (o->sign ? (u64)((int64_t)(int32_t)a * (int32_t)b) : (u64)a * b) + s->l[o->c]; break;
	case OP2_L: s->l[o->d] = s->l[o->a % NL] + s->l[o->c]; break;
	case OP_LOW: s->r[o->d] = (u32)s->l[o->c]; break;
	case OP_SEXT: s->l[o->d] = o->sign ? (u64)(int64_t)(int32_t)a : a; break;
	case OP_ARM: if (s->p[o->p]) s->r[o->d] = op_of(o->what, a, b); break;
	default: s->r[o->d] = s->p[o->p] ? op_of(o->what, a, b) : a * 3 + b; break;
	}
}

static int put_op(char *t, size_t cap, const struct rop *o, int at)
{
	char b[16];
	const char *t32 = o->sign ? "s32" : "u32";
	snprintf(b, sizeof(b), o->b < 0 ? "%u" : "%%r%u", o->b < 0 ? o->k : (u32)o->b);
	bool lone = o->what == 10;
	switch (o->kind) {
	case OP2_R: return snprintf(t, cap, "%s %%r%d,%%r%d%s%s;\n", op_names[o->what], o->d, o->a, lone ? "" : ",", lone ? "" : b);
	case OP_MAD: return snprintf(t, cap, "mad.lo.s32 %%r%d,%%r%d,%s,%%r%d;\n", o->d, o->a, b, o->c);
	case OP_SETP:
		if (o->both)
			return snprintf(t, cap, "setp.%s.and.%s %%p%d,%%r%d,%s,%%p%d;\n", cmp_names[o->what], t32, o->d, o->a, b, o->p);
		return snprintf(t, cap, "setp.%s.%s %%p%d,%%r%d,%s;\n", cmp_names[o->what], t32, o->d, o->a, b);
	case OP_SELP: return snprintf(t, cap, "selp.b32 %%r%d,%%r%d,%s,%%p%d;\n", o->d, o->a, b, o->p);
	case OP_WIDE: return snprintf(t, cap, "mul.wide.%s %%m%d,%%r%d,%s;\nadd.s64 %%l%d,%%m%d,%%l%d;\n", t32, at, o->a, b, o->d, at, o->c);
	case OP2_L: return snprintf(t, cap, "add.s64 %%l%d,%%l%d,%%l%d;\n", o->d, o->a % NL, o->c);
	case OP_LOW: return snprintf(t, cap, "cvt.u32.u64 %%r%d,%%l%d;\n", o->d, o->c);
	case OP_SEXT: return snprintf(t, cap, "cvt.%s64.%s %%l%d,%%r%d;\n", o->sign ? "s" : "u", t32, o->d, o->a);
	case OP_ARM: return snprintf(t, cap, "@!%%p%d bra S%d;\n%s %%r%d,%%r%d%s%s;\nS%d:\n", o->p, at, op_names[o->what], o->d, o->a, lone ? "" : ",", lone ? "" : b, at);
	default:
		return snprintf(t, cap, "@%%p%d bra Y%d;\nmul.lo.s32 %%n%d,%%r%d,3;\nadd.s32 %%r%d,%%n%d,%s;\nbra J%d;\nY%d:\n%s %%r%d,%%r%d%s%s;\nJ%d:\n", o->p, at, at,
				o->a, o->d, at, b, at, at, op_names[o->what], o->d, o->a, lone ? "" : ",", lone ? "" : b, at);
	}
}

/* Registers are mostly written once, as compilers do, sometimes again. */
static void make(struct program *g)
{
	*g = (struct program){ .n = 12 + (int)any(MAX_OPS - 12), .nr = 8, .nl = 1, .np = 1 };
	for (int i = 0; i < g->n; i++) {
		struct rop *o = &g->op[i];
		o->kind = any(3) ? any(OP_LOW) : any(OP_KINDS);
		o->what = (int)any(o->kind == OP_SETP ? 6 : 12);
		o->a = (int)any(o->kind == OP2_L ? g->nl : g->nr);
		o->b = any(3) ? -1 : (int)any(g->nr);
		static const u32 odd[] = { 0, 1, 3, 4, 31, 32, 64, 0x7fffffff, 0x80000000, 0xfffffff0 };
		o->k = any(4) ? any(70) : odd[any(10)];
		o->c = (int)any(o->kind == OP_MAD ? g->nr : g->nl);
		o->p = (int)any(g->np);
		o->sign = any(2);
		o->both = any(3) == 0;
		bool again = any(6) == 0;
		if (o->kind == OP_SETP)
			o->d = again ? (int)any(g->np) : g->np++;
		else if (o->kind == OP_WIDE || o->kind == OP2_L || o->kind == OP_SEXT)
			o->d = again && g->nl > 1 ? (int)any(g->nl) : g->nl < NL ? g->nl++ : 0;
		else if (o->kind == OP_ARM || o->kind == OP_ARMS)
			o->d = (int)any(g->nr);
		else
			o->d = again ? (int)any(g->nr) : g->nr++;
		if (g->np == NP)
			g->np--;
	}
}

static void put_program(char *t, size_t cap, const struct program *g)
{
	size_t n = (size_t)snprintf(t, cap, PTX_HEAD ".visible .entry k(.param .u64 out, .param .u32 p0, .param .u32 p1)\n{\n.reg .pred %%p<30>;\n.reg .b32 %%r<60>;\n.reg .b32 %%n<60>;\n.reg .b32 %%x<9>;\n"
		".reg .b64 %%l<40>;\n.reg .b64 %%m<60>;\n.reg .b64 %%y<9>;\nld.param.u64 %%y0,[out];\nmov.u32 %%r0,%%tid.x;\nmov.u32 %%r1,%%tid.y;\nmov.u32 %%r2,%%ctaid.x;\nmov.u32 %%r3,%%ctaid.y;\n"
		"mov.u32 %%r4,%%ntid.x;\nld.param.u32 %%r5,[p0];\nld.param.u32 %%r6,[p1];\nmov.u32 %%r7,77;\nmov.u64 %%l0,5;\nsetp.lt.u32 %%p0,%%r0,%%r5;\n"
		"mov.u32 %%x0,%%nctaid.x;\nmad.lo.s32 %%x1,%%r3,%%x0,%%r2;\nmov.u32 %%x2,%%ntid.y;\nmad.lo.s32 %%x3,%%x1,%%x2,%%r1;\nmad.lo.s32 %%x4,%%x3,%%r4,%%r0;\nmul.wide.u32 %%y1,%%x4,16;\nadd.s64 %%y2,%%y0,%%y1;\n");
	for (int i = 0; i < g->n; i++)
		n += (size_t)put_op(t + n, cap - n, &g->op[i], i);
	n += (size_t)snprintf(t + n, cap - n, "mov.u32 %%x5,0;\nmov.u64 %%y3,0;\n");
	for (int i = 0; i < g->nr; i++)
		n += (size_t)snprintf(t + n, cap - n, "mad.lo.s32 %%x5,%%x5,31,%%r%d;\n", i);
	for (int i = 0; i < g->np; i++)
		n += (size_t)snprintf(t + n, cap - n, "@%%p%d add.s32 %%x5,%%x5,%d;\n", i, i + 1);
	for (int i = 0; i < g->nl; i++)
		n += (size_t)snprintf(t + n, cap - n, "mul.lo.s64 %%y3,%%y3,31;\nadd.s64 %%y3,%%y3,%%l%d;\n", i);
	snprintf(t + n, cap - n, "st.global.u32 [%%y2],%%x5;\nst.global.u64 [%%y2+8],%%y3;\nret;\n}\n");
}

static void expect(const struct program *g, const u32 v[7], u32 *x, u64 *y)
{
	struct state s = { .l = { 5 }, .p = { v[0] < v[5] } };
	memcpy(s.r, v, 7 * sizeof(u32));
	s.r[7] = 77;
	for (int i = 0; i < g->n; i++)
		step(&s, &g->op[i]);
	*x = 0;
	*y = 0;
	for (int i = 0; i < g->nr; i++)
		*x = *x * 31 + s.r[i];
	for (int i = 0; i < g->np; i++)
		*x += s.p[i] ? (u32)i + 1 : 0;
	for (int i = 0; i < g->nl; i++)
		*y = *y * 31 + s.l[i];
}

static void try_program(u32 seed, const u32 shape[4], const u32 params[2])
{
	static char text[1 << 15];
	struct program g;
	random_state = seed;
	make(&g);
	put_program(text, sizeof(text), &g);
	struct sc_module *m = load_ptx(text);
	u32 w = shape[0] * shape[2], h = shape[1] * shape[3];
	u32 *out = dev_alloc((size_t)w * h * 16);
	struct { void *out; u32 p[2]; } p = { out, { params[0], params[1] } };
	assert_int_equal(launch3(m, "k", (u32[]){ shape[0], shape[1], 1 }, (u32[]){ shape[2], shape[3], 1 }, &p), SC_OK);
	for (u32 i = 0; i < w * h; i++) {
		u32 t = i % (shape[2] * shape[3]), b = i / (shape[2] * shape[3]), x;
		u64 y;
		u32 v[7] = { t % shape[2], t / shape[2], b % shape[0], b / shape[0], shape[2], params[0], params[1] };
		expect(&g, v, &x, &y);
		if (out[4 * i] != x || memcmp(&out[4 * i + 2], &y, 8) != 0)
			fail_msg("seed %u, thread %u of %u x %u: %#x, want %#x\n%s", seed, i, shape[2], shape[3], out[4 * i], x, text);
	}
	sc_module_unload(m);
	dev_free(out);
}

static void test_random(void **state)
{
	static const u32 shapes[][4] = { { 3, 2, 32, 2 }, { 2, 2, 16, 3 }, { 2, 1, 50, 1 } };
	static const u32 params[][2] = { { 9, 1000 }, { 0x7ffffff0, 0xffffffff }, { 40, 3 } };
	const char *n = getenv("SOFTCUDA_RANDOM"); /* more programs than a test run has time for */
	for (u32 seed = 1; seed <= (n ? (u32)atoi(n) : 120u); seed++)
		try_program(seed, shapes[seed % 3], params[seed / 3 % 3]);
}

static void test_brief(void **state)
{
	struct sc_module *m = load_ptx(arms);
	struct sc_module *c = load_ptx(copies);
	struct { void *in, *out; u32 n; } p = { NULL, NULL, 0 };
	struct sc_kernel *k = sc_module_kernel(c, "k"), *loop = sc_module_kernel(m, "k");
	assert_false(sc_kernel_brief(k, 1, 32)); /* not compiled yet */
	launch_ok(c, "k", (struct shape){ 1, 32 }, &p);
	assert_true(sc_kernel_brief(k, 1, 32));
	assert_false(sc_kernel_brief(k, 1000, 1024));
	assert_false(sc_kernel_brief(k, UINT64_MAX / 2, 1024));
	void *out = dev_alloc(1024);
	launch_ok(m, "k", (struct shape){ 1, 32 }, &out);
	assert_false(sc_kernel_brief(loop, 1, 1)); /* it may go on for ever */
	dev_free(out);
	sc_module_unload(m);
	sc_module_unload(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compares), cmocka_unit_test(test_grids), cmocka_unit_test(test_copies),
		cmocka_unit_test(test_arms),	 cmocka_unit_test(test_brief),
		cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests_name("engine_affine", tests, open_dev, close_dev);
}
