/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lanes do together: shfl, vote, match, redux, barriers with counts and reductions. Each body
 * turns %r1 (the thread's input) into %r2; the reference computes a warp at a time. Full warps, a
 * partial last warp, and odd lanes alone behind a branch.
 */
#include "engine_test.h"

enum { THREADS = 96, PARTIAL = 70 };
typedef uint32_t u32;

static const char frame[] =
	".version 7.5\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{\n"
	".reg .pred %%p<9>;\n.reg .b32 %%r<20>;\n.reg .b64 %%l<20>;\n.shared .align 8 .b8 sh[4096];\n"
	"ld.param.u64 %%l0,[in];\nld.param.u64 %%l1,[out];\nmov.u32 %%r0,%%tid.x;\nmov.u32 %%r18,%%laneid;\nmov.u32 %%r19,%%warpid;\n"
	"mul.wide.u32 %%l2,%%r0,4;\nadd.s64 %%l3,%%l0,%%l2;\nadd.s64 %%l4,%%l1,%%l2;\nld.global.u32 %%r1,[%%l3];\nmov.u32 %%r2,0;\n"
	"%s\nst.global.u32 [%%l4],%%r2;\nret;\n}\n";
static const char odd_only[] = "and.b32 %%r17,%%r18,1;\nsetp.eq.u32 %%p8,%%r17,0;\n@%%p8 bra SKIP;\n%s\nSKIP:";

/* Lanes of `active` run the body; want[i] is compared where `known` says so. */
struct warp_ref {
	u32 in[32], want[32], active, known;
};
typedef void (*warp_fn)(struct warp_ref *w, int arg);

static void check(const char *body, warp_fn fn, int arg, u32 threads, bool odd)
{
	static char text[8192], inner[4096];
	snprintf(inner, sizeof(inner), odd ? odd_only : "%s", body);
	snprintf(text, sizeof(text), frame, inner);
	struct sc_module *m = load_ptx(text);
	u32 *in = dev_alloc(THREADS * 4), *out = dev_alloc(THREADS * 4);
	for (u32 i = 0; i < THREADS; i++)
		in[i] = (i * 2654435761u >> 13) % 7 == 0 ? 5 : i * 2654435761u >> 7;
	struct { void *in, *out; } p = { in, out };
	launch_ok(m, "k", (struct shape){ 1, threads }, &p);
	for (u32 w = 0; w < (threads + 31) / 32; w++) {
		struct warp_ref r = { .known = UINT32_MAX };
		u32 left = threads - w * 32;
		r.active = (left >= 32 ? UINT32_MAX : (1u << left) - 1) & (odd ? 0xaaaaaaaau : UINT32_MAX);
		memcpy(r.in, in + w * 32, sizeof(r.in));
		fn(&r, arg);
		for (u32 i = 0; i < 32 && i < left; i++) {
			u32 want = r.active >> i & 1 ? r.want[i] : 0;
			if ((r.known >> i & 1) && out[w * 32 + i] != want)
				fail_msg("warp %u lane %u: %#x, want %#x; %s", w, i, out[w * 32 + i], want, body);
		}
	}
	sc_module_unload(m);
	dev_free(in);
	dev_free(out);
}

/* Member mask as text for who takes part. */
static void check_all(const char *fmt, warp_fn fn, int arg)
{
	char body[2048];
	snprintf(body, sizeof(body), fmt, "0xffffffff");
	check(body, fn, arg, THREADS, false);
	check(body, fn, arg, PARTIAL, false);
	snprintf(body, sizeof(body), fmt, "0xaaaaaaaa");
	check(body, fn, arg, THREADS, true);
	check(body, fn, arg, PARTIAL, true);
}

/* arg: mode, width and distance packed. CUDA's words: within groups of `width` lanes. */
static void ref_shfl(struct warp_ref *w, int arg)
{
	int mode = arg >> 16, width = arg >> 8 & 255, d = arg & 255;
	for (int i = 0; i < 32; i++) {
		int start = i / width * width, src = i;
		bool ok = true;
		switch (mode) {
		case 0: src = i - d; ok = src >= start; break;
		case 1: src = i + d; ok = src < start + width; break;
		case 2: src = i ^ d; ok = src < start + width; break;
		default: src = start + d % width; break;
		}
		if (!ok)
			src = i;
		w->want[i] = w->in[src] + (ok ? 0 : 1000000);
		if (!(w->active >> src & 1))
			w->known &= ~((w->active >> i & 1) << i); /* a lane that is not there: undefined */
	}
}

static void test_shfl(void **state)
{
	static const char *mode[] = { "up", "down", "bfly", "idx" };
	static const int widths[] = { 32, 16, 8, 2 }, dist[] = { 0, 1, 2, 5, 16, 31 };
	for (int m = 0; m < 4; m++)
		for (int k = 0; k < 4; k++)
			for (int d = 0; d < 6; d++) {
				char fmt[256];
				int c = (32 - widths[k]) << 8 | (m ? 31 : 0);
				snprintf(fmt, sizeof(fmt), "shfl.sync.%s.b32 %%%%r2|%%%%p1,%%%%r1,%d,%d,%%s;\n@!%%%%p1 add.u32 %%%%r2,%%%%r2,1000000;", mode[m], dist[d], c);
				check_all(fmt, ref_shfl, m << 16 | widths[k] << 8 | dist[d]);
			}
}

static void ref_vote(struct warp_ref *w, int arg)
{
	u32 p = 0;
	for (int i = 0; i < 32; i++)
		p |= (u32)((w->in[i] > 0x100000u) != (arg >= 4)) << i;
	p &= w->active;
	for (int i = 0; i < 32; i++)
		switch (arg & 3) {
		case 0: w->want[i] = p == w->active; break;
		case 1: w->want[i] = p != 0; break;
		case 2: w->want[i] = p == 0 || p == w->active; break;
		default: w->want[i] = p; break;
		}
}
static void ref_vote_same(struct warp_ref *w, int arg)
{
	for (int i = 0; i < 32; i++)
		w->want[i] = arg;
}

static void test_vote(void **state)
{
	static const char *mode[] = { "all", "any", "uni" };
	char f[512];
	for (int neg = 0; neg < 2; neg++) {
		for (int m = 0; m < 3; m++) {
			snprintf(f, sizeof(f), "setp.gt.u32 %%%%p1,%%%%r1,0x100000;\nvote.sync.%s.pred %%%%p2,%s%%%%p1,%%s;\nselp.u32 %%%%r2,1,0,%%%%p2;", mode[m], neg ? "!" : "");
			check_all(f, ref_vote, m | neg << 2);
		}
		snprintf(f, sizeof(f), "setp.gt.u32 %%%%p1,%%%%r1,0x100000;\nvote.sync.ballot.b32 %%%%r2,%s%%%%p1,%%s;", neg ? "!" : "");
		check_all(f, ref_vote, 3 | neg << 2);
	}
	check_all("setp.le.u32 %%p1,%%r1,0xffffffff;\nvote.sync.all.pred %%p2,%%p1,%s;\nselp.u32 %%r2,1,0,%%p2;", ref_vote_same, 1);
	check_all("setp.le.u32 %%p1,%%r1,0xffffffff;\nvote.sync.uni.pred %%p2,!%%p1,%s;\nselp.u32 %%r2,1,0,%%p2;", ref_vote_same, 1);
	check_all("setp.le.u32 %%p1,%%r1,0xffffffff;\nvote.sync.any.pred %%p2,!%%p1,%s;\nselp.u32 %%r2,7,0,%%p2;", ref_vote_same, 0);
}

static void ref_match(struct warp_ref *w, int all)
{
	bool every = true;
	for (int i = 0; i < 32; i++) {
		w->want[i] = 0;
		for (int j = 0; j < 32; j++)
			if ((w->active >> j & 1) && w->in[i] % 4 == w->in[j] % 4)
				w->want[i] |= 1u << j;
		every &= !(w->active >> i & 1) || w->want[i] == w->active;
	}
	for (int i = 0; i < 32 && all; i++)
		w->want[i] = every ? w->active : 77;
}
static void ref_match_equal(struct warp_ref *w, int all)
{
	for (int i = 0; i < 32; i++)
		w->want[i] = w->active;
}

static void test_match(void **state)
{
	check_all("and.b32 %%r3,%%r1,3;\nmatch.any.sync.b32 %%r2,%%r3,%s;", ref_match, 0);
	check_all("and.b32 %%r3,%%r1,3;\nmov.b64 %%l8,{%%r3,%%r3};\nmatch.any.sync.b64 %%r2,%%l8,%s;", ref_match, 0);
	check_all("and.b32 %%r3,%%r1,3;\nmatch.all.sync.b32 %%r2|%%p1,%%r3,%s;\n@!%%p1 add.u32 %%r2,%%r2,77;", ref_match, 1);
	check_all("mov.u64 %%l8,0x500000001;\nmatch.all.sync.b64 %%r2|%%p1,%%l8,%s;\n@!%%p1 mov.u32 %%r2,77;", ref_match_equal, 1);
}

static void ref_redux(struct warp_ref *w, int op)
{
	bool first = true;
	u32 v = 0;
	for (int i = 0; i < 32; i++) {
		u32 a = w->in[i];
		if (!(w->active >> i & 1))
			continue;
		switch (first ? -1 : op) {
		case 0: v += a; break;
		case 1: v = a < v ? a : v; break;
		case 2: v = a > v ? a : v; break;
		case 3: v = (int32_t)a < (int32_t)v ? a : v; break;
		case 4: v = (int32_t)a > (int32_t)v ? a : v; break;
		case 5: v &= a; break;
		case 6: v |= a; break;
		case 7: v ^= a; break;
		default: v = a; break;
		}
		first = false;
	}
	for (int i = 0; i < 32; i++)
		w->want[i] = v;
}

static void scale_inputs(struct warp_ref *w, int op)
{
	for (int i = 0; i < 32; i++)
		w->in[i] *= 0x9001; /* reaches the sign bit */
	ref_redux(w, op);
}

static void test_redux(void **state)
{
	static const char *op[] = { "add.u32", "min.u32", "max.u32", "min.s32", "max.s32", "and.b32", "or.b32", "xor.b32" };
	for (int k = 0; k < 8; k++) {
		char f[256];
		snprintf(f, sizeof(f), "mul.lo.u32 %%%%r3,%%%%r1,0x9001;\nredux.sync.%s %%%%r2,%%%%r3,%%s;", op[k]);
		check_all(f, scale_inputs, k);
	}
}

static void ref_active(struct warp_ref *w, int arg)
{
	for (int i = 0; i < 32; i++)
		w->want[i] = w->active;
}
static void test_activemask(void **state)
{
	check("activemask.b32 %r2;", ref_active, 0, THREADS, false);
	check("activemask.b32 %r2;", ref_active, 0, PARTIAL, false);
	check("activemask.b32 %r2;", ref_active, 0, PARTIAL, true);
}

/* Reductions over the whole block: every thread gets the same. */
static void block_value(const char *body, u32 threads, u32 want)
{
	static char text[8192];
	snprintf(text, sizeof(text), frame, body);
	struct sc_module *m = load_ptx(text);
	u32 *in = dev_alloc(THREADS * 4), *out = dev_alloc(THREADS * 4);
	for (u32 i = 0; i < THREADS; i++)
		in[i] = i;
	struct { void *in, *out; } p = { in, out };
	launch_ok(m, "k", (struct shape){ 1, threads }, &p);
	for (u32 i = 0; i < threads; i++)
		if (out[i] != want)
			fail_msg("thread %u of %u: %u, want %u; %s", i, threads, out[i], want, body);
	sc_module_unload(m);
	dev_free(in);
	dev_free(out);
}

static void test_bar_red(void **state)
{
	static const u32 sizes[] = { THREADS, PARTIAL };
	for (int k = 0; k < 2; k++) {
		u32 n = sizes[k];
		block_value("setp.lt.u32 %p1,%r1,50;\nbar.red.popc.u32 %r2,0,%p1;", n, 50);
		block_value("setp.lt.u32 %p1,%r1,50;\nbar.red.popc.u32 %r2,0,!%p1;", n, n - 50);
		block_value("setp.eq.u32 %p1,%r1,69;\nbar.red.or.pred %p2,0,%p1;\nselp.u32 %r2,1,0,%p2;", n, 1);
		block_value("setp.eq.u32 %p1,%r1,5000;\nbar.red.or.pred %p2,0,%p1;\nselp.u32 %r2,1,0,%p2;", n, 0);
		block_value("setp.ne.u32 %p1,%r1,69;\nbar.red.and.pred %p2,0,%p1;\nselp.u32 %r2,1,0,%p2;", n, 0);
		block_value("setp.ne.u32 %p1,%r1,5000;\nbar.red.and.pred %p2,0,%p1;\nselp.u32 %r2,1,0,%p2;", n, 1);
		/* twice: the second must not see the first one's sums */
		block_value("setp.lt.u32 %p1,%r1,50;\nbar.red.popc.u32 %r3,0,%p1;\nsetp.lt.u32 %p1,%r1,7;\nbar.red.popc.u32 %r2,0,%p1;", n, 7);
	}
}

/* Warp 1 waits at barrier 1 for warp 2, which has filled shared memory and goes on. */
static void test_arrive(void **state)
{
	block_value("setp.eq.u32 %p1,%r19,0;\n@%p1 bra REST;\nshl.b32 %r4,%r18,2;\nsetp.eq.u32 %p2,%r19,1;\n@%p2 bra WAIT;\n"
		    "add.u32 %r5,%r18,900;\nsub.u32 %r5,%r5,%r18;\nmov.u32 %r6,sh;\nadd.u32 %r6,%r6,%r4;\nst.shared.u32 [%r6],%r5;\nbar.arrive 1,64;\nbra REST;\n"
		    "WAIT:\nbar.sync 1,64;\nmov.u32 %r6,sh;\nxor.b32 %r4,%r4,124;\nadd.u32 %r6,%r6,%r4;\nld.shared.u32 %r7,[%r6];\nst.shared.u32 [sh+1024],%r7;\n"
		    "REST:\nbar.sync 0;\nld.shared.u32 %r2,[sh+1024];", THREADS, 900);
}

static void ref_exchange(struct warp_ref *w, int arg)
{
	for (int i = 0; i < 32; i++) {
		w->want[i] = w->in[i ^ 1];
		if (!(w->active >> (i ^ 1) & 1))
			w->known &= ~(1u << i);
	}
}

/* Odd and even lanes meet at two different bar.warp.sync. */
static void test_warp_sync(void **state)
{
	static const char body[] =
		"shl.b32 %r4,%r0,2;\nmov.u32 %r5,sh;\nadd.u32 %r4,%r4,%r5;\nxor.b32 %r6,%r4,4;\nand.b32 %r7,%r18,1;\nsetp.eq.u32 %p1,%r7,0;\n"
		"@%p1 bra EVEN;\nst.shared.u32 [%r4],%r1;\nbar.warp.sync 0xffffffff;\nld.shared.u32 %r2,[%r6];\nbra DONE;\n"
		"EVEN:\nst.shared.u32 [%r4],%r1;\nbar.warp.sync 0xffffffff;\nld.shared.u32 %r2,[%r6];\nDONE:";
	check(body, ref_exchange, 0, THREADS, false);
	check(body, ref_exchange, 0, PARTIAL, false);
}

/* Lanes leave a loop one by one, and meet again: the sum of all trip counts by shuffles. */
static void ref_loop(struct warp_ref *w, int arg)
{
	u32 n = 0;
	for (int i = 0; i < 32; i++)
		n += w->active >> i & 1 ? w->in[i] % 50 : 0;
	for (int i = 0; i < 32; i++)
		w->want[i] = n;
}
static void test_ragged_loop(void **state)
{
	check("rem.u32 %r3,%r1,50;\nmov.u32 %r4,0;\nLOOP:\nsetp.ge.u32 %p1,%r4,%r3;\n@%p1 bra OUT;\nadd.u32 %r4,%r4,1;\nand.b32 %r5,%r4,3;\n"
	      "setp.eq.u32 %p2,%r5,0;\n@%p2 bra A;\nadd.u32 %r6,%r6,1;\nbra LOOP;\nA:\nxor.b32 %r6,%r6,%r4;\nbra LOOP;\n"
	      "OUT:\nredux.sync.add.u32 %r2,%r4,0xffffffff;", ref_loop, 0, THREADS, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shfl), cmocka_unit_test(test_vote), cmocka_unit_test(test_match), cmocka_unit_test(test_redux),
		cmocka_unit_test(test_activemask), cmocka_unit_test(test_bar_red), cmocka_unit_test(test_arrive),
		cmocka_unit_test(test_warp_sync), cmocka_unit_test(test_ragged_loop),
	};
	return cmocka_run_group_tests(tests, open_dev, close_dev);
}
