/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where kernels meet the host: printing, assertions, textures, initialised variables, cancelling
 * from another thread, two devices at once, barriers that nobody completes.
 */
#include <pthread.h>
#include <unistd.h>
#include "engine_test.h"

typedef uint32_t u32;

/* What fn writes to fd, in text. */
static void captured(int fd, void (*fn)(void *), void *arg, char *text, size_t cap)
{
	FILE *f = tmpfile();
	assert_non_null(f);
	int keep = dup(fd);
	fflush(stdout);
	assert_int_equal(dup2(fileno(f), fd), fd);
	fn(arg);
	fflush(stdout);
	dup2(keep, fd);
	close(keep);
	rewind(f);
	size_t n = fread(text, 1, cap - 1, f);
	text[n] = 0;
	fclose(f);
}

static const char printing[] = PTX_HEAD
	".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
	".global .align 1 .b8 fmt[28] = {116, 37, 117, 32, 37, 108, 108, 120, 32, 37, 46, 50, 102, 32, 37, 115, 32, 37, 99, 32, 37, 53, 100, 37, 37, 10, 0, 0};\n"
	".global .align 1 .b8 word[3] = {104, 105, 0};\n.global .align 1 .b8 wide[8] = {37, 57, 57, 57, 57, 100, 10, 0};\n"
	".visible .entry k(.param .u64 out)\n{\n.local .align 8 .b8 args[48];\n.reg .pred %p;\n.reg .b32 %r<9>;\n.reg .b64 %l<9>;\n.reg .f64 %g;\n"
	"mov.u32 %r1,%tid.x;\nand.b32 %r2,%r1,1;\nsetp.eq.u32 %p,%r2,0;\n@%p bra DONE;\n"
	"st.local.u32 [args],%r1;\nmov.u64 %l1,0x123456789a;\nst.local.u64 [args+8],%l1;\nmov.f64 %g,0d4004000000000000;\nst.local.f64 [args+16],%g;\n"
	"cvta.global.u64 %l2,word;\nst.local.u64 [args+24],%l2;\nmov.u32 %r3,65;\nst.local.u32 [args+32],%r3;\nneg.s32 %r4,%r1;\nst.local.u32 [args+36],%r4;\n"
	"cvta.global.u64 %l3,fmt;\nmov.u64 %l4,args;\ncvta.local.u64 %l5,%l4;\n"
	"{.param .b64 pf; .param .b64 pa; .param .b32 pr; st.param.b64 [pf],%l3; st.param.b64 [pa],%l5; call (pr), vprintf, (pf, pa); ld.param.b32 %r5,[pr];}\n"
	"ld.param.u64 %l6,[out];\nmul.wide.u32 %l7,%r1,4;\nadd.s64 %l6,%l6,%l7;\nst.global.u32 [%l6],%r5;\nDONE:\nret;\n}\n"
	".visible .entry padded()\n{\n.local .align 8 .b8 args[8];\n.reg .b32 %r<9>;\n.reg .b64 %l<9>;\nst.local.u32 [args],7;\n"
	"cvta.global.u64 %l3,wide;\nmov.u64 %l4,args;\ncvta.local.u64 %l5,%l4;\n"
	"{.param .b64 pf; .param .b64 pa; .param .b32 pr; st.param.b64 [pf],%l3; st.param.b64 [pa],%l5; call (pr), vprintf, (pf, pa);}\nret;\n}\n"
	".visible .entry wild()\n{\n.reg .b64 %l<9>;\nmov.u64 %l3,64;\n"
	"{.param .b64 pf; .param .b64 pa; .param .b32 pr; st.param.b64 [pf],%l3; st.param.b64 [pa],%l3; call (pr), vprintf, (pf, pa);}\nret;\n}\n";

struct call { struct sc_module *m; const char *name; u32 threads; void *params; int rc; };
static void do_call(void *arg)
{
	struct call *c = arg;
	c->rc = launch(c->m, c->name, (struct shape){ 1, c->threads }, c->params);
}

static void test_printf(void **state)
{
	char got[1024], want[1024];
	size_t n = 0;
	u32 *out = dev_alloc(256);
	struct { void *out; } p = { out };
	struct call c = { load_ptx(printing), "k", 5, &p, -1 };
	captured(1, do_call, &c, got, sizeof(got));
	assert_int_equal(c.rc, SC_OK);
	for (int i = 1; i < 5; i += 2) {
		int k = snprintf(want + n, sizeof(want) - n, "t%d 123456789a 2.50 hi A %5d%%\n", i, -i);
		assert_int_equal(out[i], k);
		n += (size_t)k;
	}
	assert_string_equal(got, want);
	c = (struct call){ c.m, "padded", 1, NULL, -1 };
	captured(1, do_call, &c, got, sizeof(got));
	assert_int_equal(c.rc, SC_OK);
	assert_string_equal(got, "%9999d\n");
	assert_int_equal(launch(c.m, "wild", (struct shape){ 1, 1 }, NULL), SC_ILLEGAL_ADDRESS);
	sc_module_unload(c.m);
	dev_free(out);
}

static const char asserting[] = PTX_HEAD
	".extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n"
	".global .align 1 .b8 what[4] = {120, 62, 49, 0};\n.global .align 1 .b8 file[5] = {97, 46, 99, 117, 0};\n.global .align 1 .b8 fn[2] = {107, 0};\n"
	".visible .entry k()\n{\n.reg .pred %p;\n.reg .b32 %r<3>;\n.reg .b64 %l<4>;\nmov.u32 %r1,%tid.x;\nsetp.ne.u32 %p,%r1,33;\n@%p bra DONE;\n"
	"cvta.global.u64 %l1,what;\ncvta.global.u64 %l2,file;\ncvta.global.u64 %l3,fn;\n"
	"{.param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e; st.param.b64 [a],%l1; st.param.b64 [b],%l2; st.param.b32 [c],12; st.param.b64 [d],%l3; st.param.b64 [e],1; call __assertfail, (a, b, c, d, e);}\n"
	"DONE:\nret;\n}\n";

static void test_assert(void **state)
{
	char got[1024];
	struct call c = { load_ptx(asserting), "k", 64, NULL, -1 };
	captured(2, do_call, &c, got, sizeof(got));
	assert_int_equal(c.rc, SC_ASSERT);
	assert_string_equal(got, "a.cu:12: k: block: [0,0,0], thread: [33,0,0] Assertion `x>1` failed.\n");
	assert_int_equal(fault.thread[0], 33);
	c.threads = 32;
	do_call(&c);
	assert_int_equal(c.rc, SC_OK);
	sc_module_unload(c.m);
}

static const char texturing[] = PTX_HEAD
	".global .texref ref;\n"
	".visible .entry object(.param .u64 tex, .param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg .f32 %f<9>;\n.reg .b64 %l<9>;\nld.param.u64 %l0,[tex];\nld.param.u64 %l1,[out];\n"
	"mov.u32 %r0,%tid.x;\nand.b32 %r1,%r0,7;\nshr.u32 %r2,%r0,3;\ntex.2d.v4.f32.s32 {%f0,%f1,%f2,%f3},[%l0,{%r1,%r2}];\n"
	"mul.wide.u32 %l2,%r0,4;\nadd.s64 %l3,%l1,%l2;\nst.global.f32 [%l3],%f0;\nret;\n}\n"
	".visible .entry reference(.param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg .f32 %f<9>;\n.reg .b64 %l<9>;\nld.param.u64 %l1,[out];\n"
	"mov.u32 %r0,%tid.x;\nand.b32 %r1,%r0,7;\nshr.u32 %r2,%r0,3;\ncvt.rn.f32.u32 %f4,%r1;\ncvt.rn.f32.u32 %f5,%r2;\nadd.f32 %f4,%f4,0f3f800000;\nadd.f32 %f5,%f5,0f3f000000;\n"
	"tex.2d.v4.f32.f32 {%f0,%f1,%f2,%f3},[ref,{%f4,%f5}];\nmul.wide.u32 %l2,%r0,4;\nadd.s64 %l3,%l1,%l2;\nst.global.f32 [%l3],%f0;\nret;\n}\n";

static void test_textures(void **state)
{
	enum { W = 8, H = 5, PITCH = 64 };
	struct sc_module *m = load_ptx(texturing);
	float *image = dev_alloc(PITCH * H), *out = dev_alloc(W * H * 4);
	for (int y = 0; y < H; y++)
		for (int x = 0; x < W; x++)
			image[y * PITCH / 4 + x] = (float)(100 * y + x * x);
	struct sc_texture t = { .base = (uint64_t)(uintptr_t)image, .pitch = PITCH, .width = W, .height = H, .format = SC_FMT_F32, .channels = 1,
				.address = { SC_ADDR_CLAMP, SC_ADDR_CLAMP, SC_ADDR_CLAMP }, .filter = SC_FILTER_POINT };
	uint64_t h = sc_tex_create(&t), *slot = NULL;
	struct { uint64_t tex; void *out; } p = { h, out };
	launch_ok(m, "object", (struct shape){ 1, W * H }, &p);
	for (int i = 0; i < W * H; i++)
		assert_true(out[i] == (float)(100 * (i / W) + (i % W) * (i % W)));
	/* half-way between two columns, linear */
	t.filter = SC_FILTER_LINEAR;
	uint64_t linear = sc_tex_create(&t);
	struct { void *out; } q = { out };
	assert_true(sc_module_texref(m, "ref", &slot));
	assert_int_not_equal(launch(m, "reference", (struct shape){ 1, W * H }, &q), SC_OK); /* nothing bound */
	*slot = linear;
	launch_ok(m, "reference", (struct shape){ 1, W * H }, &q);
	for (int i = 0; i < W * H; i++) {
		int x = i % W, right = x + 1 < W ? x + 1 : x;
		assert_true(out[i] == (float)(100 * (i / W)) + (float)(x * x + right * right) / 2);
	}
	assert_int_equal(sc_tex_destroy(h), 0);
	assert_int_equal(launch(m, "object", (struct shape){ 1, W * H }, &p), SC_ILLEGAL_ADDRESS); /* a handle that was */
	sc_tex_destroy(linear);
	sc_module_unload(m);
	dev_free(image);
	dev_free(out);
}

static const char relocating[] = PTX_HEAD
	".visible .global .align 4 .u32 data[4] = {10, 20, 30, 40};\n.const .align 8 .u64 inside = data;\n"
	".global .align 8 .u64 list[3] = {data, data+8, generic(data)+12};\n"
	".func (.reg .u32 r) twice(.reg .u32 a)\n{\nadd.u32 r,a,a;\nret;\n}\n.func (.reg .u32 r) plus(.reg .u32 a)\n{\nadd.u32 r,a,1;\nret;\n}\n"
	".global .align 8 .u64 table[2] = {twice, plus};\n"
	".visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg .b64 %l<9>;\nld.param.u64 %l0,[out];\n"
	"ld.global.u64 %l1,[list];\nld.u32 %r1,[%l1];\nst.global.u32 [%l0],%r1;\nld.global.u64 %l1,[list+8];\nld.u32 %r1,[%l1];\nst.global.u32 [%l0+4],%r1;\n"
	"ld.global.u64 %l1,[list+16];\nld.u32 %r1,[%l1];\nst.global.u32 [%l0+8],%r1;\nld.const.u64 %l1,[inside];\nld.u32 %r1,[%l1+4];\nst.global.u32 [%l0+12],%r1;\n"
	"mov.u32 %r2,21;\nP: .callprototype (.reg .u32 _) _ (.reg .u32 _);\nld.global.u64 %l2,[table];\ncall (%r3),%l2,(%r2),P;\nst.global.u32 [%l0+16],%r3;\n"
	"ld.global.u64 %l2,[table+8];\ncall (%r3),%l2,(%r2),P;\nst.global.u32 [%l0+20],%r3;\nret;\n}\n";

static void test_initialisers(void **state)
{
	static const u32 want[] = { 10, 30, 40, 20, 42, 22 };
	struct sc_module *m = load_ptx(relocating);
	u32 *out = dev_alloc(64);
	struct { void *out; } p = { out };
	launch_ok(m, "k", (struct shape){ 1, 1 }, &p);
	for (int i = 0; i < 6; i++)
		assert_int_equal(out[i], want[i]);
	uint64_t va, size;
	assert_true(sc_module_var(m, "data", &va, &size));
	assert_int_equal(size, 16);
	((u32 *)(uintptr_t)va)[2] = 77; /* as a copy to the symbol would */
	launch_ok(m, "k", (struct shape){ 1, 1 }, &p);
	assert_int_equal(out[1], 77);
	sc_module_unload(m);
	dev_free(out);
}

/* ---- cancelling */
static const char endless[] = PTX_HEAD
	".visible .entry k(.param .u64 flag)\n{\n.reg .b32 %r<3>;\n.reg .b64 %l<3>;\nld.param.u64 %l0,[flag];\nst.volatile.global.u32 [%l0],1;\nL:\nadd.u32 %r1,%r1,1;\nbra L;\n}\n"
	".visible .entry quick(.param .u64 flag)\n{\n.reg .b64 %l<3>;\nld.param.u64 %l0,[flag];\nst.global.u32 [%l0],5;\nret;\n}\n";

struct canceller { volatile u32 *flag; atomic_int cancel; };
static void *cancel_when_running(void *arg)
{
	struct canceller *c = arg;
	while (!*c->flag)
		sched_yield();
	atomic_store(&c->cancel, 1);
	return NULL;
}

static void test_cancel_from_another_thread(void **state)
{
	struct sc_module *m = load_ptx(endless);
	for (u32 grid = 1; grid <= 64; grid += 63) {
		struct canceller c = { .flag = dev_alloc(4) };
		struct { volatile void *flag; } p = { c.flag };
		pthread_t t;
		assert_int_equal(pthread_create(&t, NULL, cancel_when_running, &c), 0);
		assert_int_equal(launch(m, "k", (struct shape){ .grid = grid, .block = 64, .cancel = &c.cancel }, &p), SC_LAUNCH_TIMEOUT);
		pthread_join(t, NULL);
		/* the device is as good as before */
		launch_ok(m, "quick", (struct shape){ 1, 1 }, &p);
		assert_int_equal(*c.flag, 5);
		dev_free((void *)c.flag);
	}
	sc_module_unload(m);
}

/* ---- barriers nobody completes */
static void deadlocks(const char *body, u32 threads, int want)
{
	char text[2048];
	snprintf(text, sizeof(text), PTX_HEAD ".visible .entry k()\n{\n.reg .pred %%p<3>;\n.reg .b32 %%r<9>;\nmov.u32 %%r1,%%tid.x;\n%s\n}\n", body);
	struct sc_module *m = load_ptx(text);
	assert_int_equal(launch(m, "k", (struct shape){ 1, threads }, NULL), want);
	if (want)
		assert_non_null(strstr(fault.what, "deadlock"));
	sc_module_unload(m);
}

static void test_divergent_barriers(void **state)
{
	/* lanes of one warp at two barriers of all threads */
	deadlocks("setp.lt.u32 %p1,%r1,16;\n@%p1 bra A;\nbar.sync 0;\nret;\nA:\nbar.sync 1;\nret;", 32, SC_LAUNCH_FAILED);
	/* the same barrier from two places counts */
	deadlocks("setp.lt.u32 %p1,%r1,16;\n@%p1 bra A;\nbar.sync 0;\nret;\nA:\nbar.sync 0;\nret;", 32, SC_OK);
	/* whoever has left is not waited for */
	deadlocks("setp.lt.u32 %p1,%r1,16;\n@%p1 bra A;\nbar.sync 0;\nA:\nret;", 64, SC_OK);
	/* lanes named that stand at a barrier */
	deadlocks("setp.lt.u32 %p1,%r1,16;\n@%p1 bra A;\nbar.warp.sync 0xffffffff;\nbar.sync 0;\nret;\nA:\nbar.sync 0;\nret;", 32, SC_LAUNCH_FAILED);
	/* a count that is never reached */
	deadlocks("bar.sync 3,96;\nret;", 64, SC_LAUNCH_FAILED);
}

/* ---- two devices add to the same words, in device memory and in registered host memory */
static const char adding[] = PTX_HEAD
	".visible .entry k(.param .u64 a, .param .u64 b)\n{\n.reg .pred %p;\n.reg .b32 %r<9>;\n.reg .b64 %l<9>;\nld.param.u64 %l0,[a];\nld.param.u64 %l1,[b];\nmov.u32 %r1,0;\n"
	"L:\nred.global.add.u32 [%l0],1;\natom.add.u64 %l3,[%l1],2;\nred.global.add.u32 [%l0+4],%r1;\nadd.u32 %r1,%r1,1;\nsetp.lt.u32 %p,%r1,50;\n@%p bra L;\nret;\n}\n";

struct adder { struct sc_device *d; void *p[2]; int rc; };
static void *add_much(void *arg)
{
	struct adder *a = arg;
	struct sc_module *m = NULL;
	struct sc_fault f;
	a->rc = sc_module_load(a->d, adding, strlen(adding), NULL, &m);
	for (int i = 0; i < 20 && !a->rc; i++) {
		struct sc_launch l = { .kernel = sc_module_kernel(m, "k"), .grid = { 4, 1, 1 }, .block = { 100, 1, 1 }, .params = a->p };
		a->rc = sc_launch(a->d, &l, &f);
	}
	sc_module_unload(m);
	return NULL;
}

static void test_two_devices(void **state)
{
	enum { TIMES = 2 * 20 * 400 };
	static _Alignas(64) uint64_t host;
	host = 0;
	struct sc_device_config cfg = { .name = "second", .memory = 1 << 24, .threads = 1, .ordinal = 1 };
	struct sc_device *second = sc_device_open(&cfg);
	assert_non_null(second);
	u32 *words = dev_alloc(8);
	assert_int_equal(sc_mem_register_host(&host, 8), SC_OK);
	struct adder a[2] = { { dev, { words, &host }, -1 }, { second, { words, &host }, -1 } };
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, add_much, &a[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(a[i].rc, SC_OK);
	}
	assert_int_equal(words[0], TIMES * 50);
	assert_int_equal(words[1], TIMES * (49 * 50 / 2));
	assert_int_equal(host, TIMES * 50ull * 2);
	assert_int_equal(sc_mem_unregister_host(&host), SC_OK);
	/* each device has its own account */
	uint64_t va, left, total;
	sc_mem_info(second, &left, &total);
	assert_int_equal(left, total);
	assert_int_equal(sc_mem_alloc(second, 2 << 24, 0, &va), SC_OUT_OF_MEMORY);
	dev_free(words);
	sc_device_close(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_printf), cmocka_unit_test(test_assert), cmocka_unit_test(test_textures),
		cmocka_unit_test(test_initialisers), cmocka_unit_test(test_cancel_from_another_thread),
		cmocka_unit_test(test_divergent_barriers), cmocka_unit_test(test_two_devices),
	};
	return cmocka_run_group_tests(tests, open_dev, close_dev);
}
