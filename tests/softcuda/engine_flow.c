/* SPDX-License-Identifier: Apache-2.0 */
/* Control flow: divergence, irreducible flow, spin locks, barriers, calls, faults, cancelling. */
#include "engine_test.h"

static struct sc_module *m;

static int setup(void **state)
{
	if (open_dev(state))
		return -1;
	m = load_file(FLOW_PTX);
	return 0;
}

static int teardown(void **state)
{
	sc_module_unload(m);
	return close_dev(state);
}

static void test_partial_warps_and_grid(void **state)
{
	enum { N = 1000 };
	int *out = dev_alloc((N + 24) * sizeof(int));
	struct { int *out; int n; } p = { out, N };
	launch_ok(m, "index", (struct shape){ 8, 128 }, &p);
	for (int i = 0; i < N + 24; i++)
		assert_int_equal(out[i], i < N ? i * 3 + 1 : 0);
	dev_free(out);
}

static uint32_t collatz(uint32_t n)
{
	uint32_t k = 0;
	while (n != 1 && k < 1000) {
		n = n & 1 ? 3 * n + 1 : n / 2;
		k++;
	}
	return k;
}

static void test_divergent_loop(void **state)
{
	enum { N = 256 };
	uint32_t *out = dev_alloc(N * 4);
	struct { uint32_t *out; } p = { out };
	launch_ok(m, "collatz", (struct shape){ 2, 128 }, &p);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(out[i], collatz(i + 1));
	dev_free(out);
}

/* Two loops jumping into each other's middle: no reducible structure to reconverge by. */
static void test_irreducible(void **state)
{
	int *out = dev_alloc(64 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "irreducible", (struct shape){ 1, 64 }, &p);
	for (int i = 0; i < 64; i++) {
		int a = i & 1 ? 100 : 0, n = i % 7;
		bool at_b = i & 1;
		while (n >= 0) {
			a = at_b ? a + 3 : a * 2 + 1;
			at_b = !at_b;
			n--;
		}
		assert_int_equal(out[i], a);
	}
	dev_free(out);
}

static void test_spin_lock_within_a_warp(void **state)
{
	int *mem = dev_alloc(8);
	struct { int *lock, *count; } p = { mem, mem + 1 };
	launch_ok(m, "spinlock", (struct shape){ 8, 64 }, &p);
	assert_int_equal(mem[0], 0);
	assert_int_equal(mem[1], 512);
	dev_free(mem);
}

/* Lane 0 waits for lane 31, which stands behind it in the program. */
static void test_producer_consumer_in_a_warp(void **state)
{
	int *mem = dev_alloc(8);
	struct { volatile int *flag; int *out; } p = { mem, mem + 1 };
	launch_ok(m, "handshake", (struct shape){ 1, 32 }, &p);
	assert_int_equal(mem[1], 42);
	dev_free(mem);
}

static void test_block_reduce(void **state)
{
	enum { N = 4096 };
	int *in = dev_alloc(N * 4), *out = dev_alloc(16 * 4);
	for (int i = 0; i < N; i++)
		in[i] = i * 7 % 31;
	struct { int *in, *out; } p = { in, out };
	launch_ok(m, "block_reduce", (struct shape){ 16, 256 }, &p);
	for (int b = 0; b < 16; b++) {
		int s = 0;
		for (int i = 0; i < 256; i++)
			s += in[b * 256 + i];
		assert_int_equal(out[b], s);
	}
	dev_free(in);
	dev_free(out);
}

static void test_dynamic_shared_reverse(void **state)
{
	int *out = dev_alloc(256 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "reverse", (struct shape){ 1, 256, 1024 }, &p);
	for (int i = 0; i < 256; i++)
		assert_int_equal(out[i], 255 - i);
	assert_int_equal(launch(m, "reverse", (struct shape){ 1, 256, 1020 }, &p), SC_ILLEGAL_ADDRESS);
	assert_int_equal(launch(m, "reverse", (struct shape){ 1, 256, 1 << 20 }, &p), SC_OUT_OF_RESOURCES);
	dev_free(out);
}

static void test_early_exit_leaves_the_barrier(void **state)
{
	int *out = dev_alloc(128 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "early_exit", (struct shape){ 1, 128 }, &p);
	for (int i = 0; i < 128; i++)
		assert_int_equal(out[i], i >= 40);
	dev_free(out);
}

static void test_recursion(void **state)
{
	int *out = dev_alloc(64 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "fibonacci", (struct shape){ 1, 64 }, &p);
	int f[16] = { 0, 1 };
	for (int i = 2; i < 16; i++)
		f[i] = f[i - 1] + f[i - 2];
	for (int i = 0; i < 64; i++)
		assert_int_equal(out[i], f[i % 12]);
	dev_free(out);
}

static void test_endless_recursion_is_an_error(void **state)
{
	int *out = dev_alloc(64 * 4);
	struct { int *out; } p = { out };
	assert_int_equal(launch(m, "bottomless", (struct shape){ 1, 32 }, &p), SC_LAUNCH_FAILED);
	assert_non_null(strstr(fault.what, "stack overflow"));
	dev_free(out);
}

static void test_function_pointers(void **state)
{
	int *out = dev_alloc(96 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "pointers", (struct shape){ 1, 96 }, &p);
	for (int i = 0; i < 96; i++)
		assert_int_equal(out[i], i % 3 == 0 ? i + 100 : i % 3 == 1 ? i * 2 : -i);
	dev_free(out);
}

static void test_switch(void **state)
{
	int *out = dev_alloc(64 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "cases", (struct shape){ 1, 64 }, &p);
	static const int want[] = { 11, 7, 5, 3, 2, 40, 99, 1 };
	for (int i = 0; i < 64; i++)
		assert_int_equal(out[i], want[i % 8] + i);
	dev_free(out);
}

static void test_local_arrays(void **state)
{
	int *out = dev_alloc(64 * 4);
	struct { int *out; } p = { out };
	launch_ok(m, "local_array", (struct shape){ 1, 64 }, &p);
	for (int i = 0; i < 64; i++) {
		unsigned a[16], s = 0;
		for (int k = 0; k < 16; k++)
			a[(k * 5 + i) & 15] = k * i;
		for (int k = 0; k < 16; k++)
			s = s * 3 + a[k];
		assert_int_equal((unsigned)out[i], s);
	}
	dev_free(out);
}

static void test_grid_wide_atomics(void **state)
{
	uint32_t *bins = dev_alloc(16 * 4);
	struct { uint32_t *bins; int n; } p = { bins, 100000 };
	launch_ok(m, "histogram", (struct shape){ 64, 256 }, &p);
	uint32_t want[16] = { 0 };
	for (int i = 0; i < 100000; i++)
		want[(i * 2654435761u) >> 28]++;
	for (int i = 0; i < 16; i++)
		assert_int_equal(bins[i], want[i]);
	dev_free(bins);
}

static void test_cooperative_grid_barrier(void **state)
{
	int *mem = dev_alloc(64 * 4);
	struct { int *count, *out; } p = { mem, mem + 1 };
	launch_ok(m, "grid_barrier", (struct shape){ .grid = 8, .block = 64, .cooperative = true }, &p);
	for (int i = 0; i < 8; i++)
		assert_int_equal(mem[1 + i], 8);
	dev_free(mem);
}

static void test_out_of_bounds(void **state)
{
	int *out = dev_alloc(100 * 4);
	struct { int *out; int n; } p = { out, 128 };
	assert_int_equal(launch(m, "index", (struct shape){ 1, 128 }, &p), SC_ILLEGAL_ADDRESS);
	assert_true(fault.write && fault.size == 4);
	assert_int_equal(fault.address, (uint64_t)(uintptr_t)(out + 100));
	assert_int_equal(fault.thread[0], 100);
	assert_string_equal(fault.kernel, "index");
	p.out = NULL;
	assert_int_equal(launch(m, "index", (struct shape){ 1, 1 }, &p), SC_ILLEGAL_ADDRESS);
	p.out = (int *)((char *)out + 2);
	assert_int_equal(launch(m, "index", (struct shape){ 1, 1 }, &p), SC_MISALIGNED_ADDRESS);
	p.out = malloc(4096);
	p.n = 1000;
	assert_int_equal(launch(m, "index", (struct shape){ 4, 256 }, &p), SC_ILLEGAL_ADDRESS);
	assert_int_equal(sc_mem_register_host(p.out, 4000), SC_OK);
	launch_ok(m, "index", (struct shape){ 4, 256 }, &p);
	assert_int_equal(p.out[999], 999 * 3 + 1);
	assert_int_equal(sc_mem_unregister_host(p.out), SC_OK);
	free(p.out);
	dev_free(out);
}

static void test_trap(void **state)
{
	int *out = dev_alloc(4);
	struct { int *out; } p = { out };
	assert_int_equal(launch(m, "trapping", (struct shape){ 1, 32 }, &p), SC_LAUNCH_FAILED);
	dev_free(out);
}

static void test_endless_loop_is_cancelled(void **state)
{
	int *out = dev_alloc(4);
	struct { int *out; } p = { out };
	atomic_int cancel = 1;
	assert_int_equal(launch(m, "endless", (struct shape){ .grid = 1, .block = 32, .cancel = &cancel }, &p), SC_LAUNCH_TIMEOUT);
	dev_free(out);
}

static void test_shapes_are_checked(void **state)
{
	int *out = dev_alloc(4);
	struct { int *out; int n; } p = { out, 0 };
	assert_int_equal(launch(m, "index", (struct shape){ 0, 32 }, &p), SC_INVALID_VALUE);
	assert_int_equal(launch(m, "index", (struct shape){ 1, 1025 }, &p), SC_INVALID_VALUE);
	assert_int_equal(launch(m, "index", (struct shape){ 1, 0 }, &p), SC_INVALID_VALUE);
	dev_free(out);
}

static void test_deadlock_is_reported(void **state)
{
	struct sc_module *d = load_ptx(PTX_HEAD ".visible .entry half(.param .u32 n)\n{\n.reg .pred %p; .reg .b32 %r<3>;\n"
					       "mov.u32 %r1, %tid.x;\nsetp.lt.u32 %p, %r1, 32;\n@%p bra A;\nbar.sync 1, 64;\nret;\n"
					       "A: bar.sync 2, 64;\nret;\n}\n");
	uint32_t n = 0;
	assert_int_equal(launch(d, "half", (struct shape){ 1, 64 }, &n), SC_LAUNCH_FAILED);
	assert_non_null(strstr(fault.what, "deadlock"));
	sc_module_unload(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_partial_warps_and_grid),
		cmocka_unit_test(test_divergent_loop),
		cmocka_unit_test(test_irreducible),
		cmocka_unit_test(test_spin_lock_within_a_warp),
		cmocka_unit_test(test_producer_consumer_in_a_warp),
		cmocka_unit_test(test_block_reduce),
		cmocka_unit_test(test_dynamic_shared_reverse),
		cmocka_unit_test(test_early_exit_leaves_the_barrier),
		cmocka_unit_test(test_recursion),
		cmocka_unit_test(test_endless_recursion_is_an_error),
		cmocka_unit_test(test_function_pointers),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_local_arrays),
		cmocka_unit_test(test_grid_wide_atomics),
		cmocka_unit_test(test_cooperative_grid_barrier),
		cmocka_unit_test(test_out_of_bounds),
		cmocka_unit_test(test_trap),
		cmocka_unit_test(test_endless_loop_is_cancelled),
		cmocka_unit_test(test_shapes_are_checked),
		cmocka_unit_test(test_deadlock_is_reported),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
