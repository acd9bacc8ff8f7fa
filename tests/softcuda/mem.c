/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory: exact bounds, zeroed on reuse, accounting, host ranges, frees during a launch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "softcuda/engine.h"
#include "softcuda/engine_err.h"
#include "softcuda/mem.h"

#define MIB (1ull << 20)

static struct sc_device *open_device(uint64_t memory)
{
	struct sc_device_config cfg = { .name = "test", .memory = memory, .threads = 1 };
	struct sc_device *d = sc_device_open(&cfg);
	assert_non_null(d);
	return d;
}

static void test_bounds_are_exact(void **state)
{
	struct sc_device *d = open_device(64 * MIB);
	uint64_t va, base, size;
	assert_int_equal(sc_mem_alloc(d, 1000, 0, &va), SC_OK);
	assert_true(va >= SC_VA_BASE && va < SC_VA_BASE + SC_VA_SIZE);
	assert_true(sc_mem_ok(va, 1000));
	assert_true(sc_mem_ok(va + 999, 1));
	assert_false(sc_mem_ok(va + 999, 2));
	assert_false(sc_mem_ok(va + 1000, 1));
	assert_false(sc_mem_ok(va - 1, 1));
	assert_false(sc_mem_ok(va, UINT64_MAX));
	assert_true(sc_mem_range(va + 500, &base, &size));
	assert_true(base == va && size == 1000);
	sc_device_close(d);
	assert_false(sc_mem_ok(va, 1));
}

static void test_neighbours_keep_a_redzone(void **state)
{
	struct sc_device *d = open_device(64 * MIB);
	uint64_t a, b;
	assert_int_equal(sc_mem_alloc(d, 512, 0, &a), SC_OK);
	assert_int_equal(sc_mem_alloc(d, 512, 0, &b), SC_OK);
	assert_true(b >= a + 1024 || a >= b + 1024);
	assert_false(sc_mem_ok(a, 1024));
	sc_device_close(d);
}

static void test_reuse_is_zeroed(void **state)
{
	static const uint64_t sizes[] = { 100, 5000, 3 * MIB };
	struct sc_device *d = open_device(64 * MIB);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t a, b;
		assert_int_equal(sc_mem_alloc(d, sizes[i], 0, &a), SC_OK);
		memset((void *)a, 0xaa, sizes[i]);
		assert_int_equal(sc_mem_free(d, a), SC_OK);
		assert_int_equal(sc_mem_alloc(d, sizes[i], 0, &b), SC_OK);
		assert_true(a == b); /* first fit: the same place, else this test shows nothing */
		for (uint64_t k = 0; k < sizes[i]; k++)
			assert_int_equal(((uint8_t *)b)[k], 0);
		assert_int_equal(sc_mem_free(d, b), SC_OK);
	}
	sc_device_close(d);
}

static void test_accounting(void **state)
{
	struct sc_device *d = open_device(4 * MIB), *e = open_device(4 * MIB);
	uint64_t a, b, free_bytes, total;
	assert_int_equal(sc_mem_alloc(d, 5 * MIB, 0, &a), SC_OUT_OF_MEMORY);
	assert_int_equal(sc_mem_alloc(d, 4 * MIB, 0, &a), SC_OK);
	sc_mem_info(d, &free_bytes, &total);
	assert_true(free_bytes == 0 && total == 4 * MIB);
	assert_int_equal(sc_mem_alloc(d, 1, 0, &b), SC_OUT_OF_MEMORY);
	assert_int_equal(sc_mem_alloc(e, 1 * MIB, 0, &b), SC_OK);
	assert_int_equal(sc_mem_free(d, b), SC_INVALID_VALUE); /* the other device's */
	assert_int_equal(sc_mem_free(d, a + 512), SC_INVALID_VALUE);
	assert_int_equal(sc_mem_free(d, a), SC_OK);
	assert_int_equal(sc_mem_free(d, a), SC_INVALID_VALUE);
	sc_mem_info(d, &free_bytes, &total);
	assert_true(free_bytes == 4 * MIB);
	assert_int_equal(sc_mem_alloc(d, 0, 0, &a), SC_INVALID_VALUE);
	assert_int_equal(sc_mem_alloc(d, 8, 3, &a), SC_INVALID_VALUE);
	assert_int_equal(sc_mem_alloc(d, UINT64_MAX, 0, &a), SC_OUT_OF_MEMORY);
	sc_device_close(d);
	sc_device_close(e);
}

static void test_churn(void **state)
{
	enum { N = 500 };
	struct sc_device *d = open_device(64 * MIB);
	uint64_t va[N], size[N], free_bytes, total;
	uint32_t seed = 1;
	memset(va, 0, sizeof(va));
	for (unsigned round = 0; round < 5000; round++) {
		seed = seed * 1664525u + 1013904223u;
		unsigned i = (seed >> 8) % N;
		if (va[i]) {
			assert_int_equal(((uint8_t *)va[i])[size[i] - 1], (uint8_t)i);
			assert_int_equal(sc_mem_free(d, va[i]), SC_OK);
			va[i] = 0;
			continue;
		}
		size[i] = 1 + (seed >> 12) % 9000;
		assert_int_equal(sc_mem_alloc(d, size[i], 256, &va[i]), SC_OK);
		assert_int_equal(((uint8_t *)va[i])[0], 0);
		memset((void *)va[i], (int)i, size[i]);
	}
	for (unsigned i = 0; i < N; i++)
		if (va[i])
			assert_int_equal(sc_mem_free(d, va[i]), SC_OK);
	sc_mem_info(d, &free_bytes, &total);
	assert_true(free_bytes == total);
	sc_device_close(d);
}

static void test_free_during_launch_waits(void **state)
{
	struct sc_device *d = open_device(64 * MIB);
	uint64_t a, b;
	assert_int_equal(sc_mem_alloc(d, 4096, 0, &a), SC_OK);
	memset((void *)a, 0x55, 4096);
	sc_mem_launch_begin();
	assert_int_equal(sc_mem_free(d, a), SC_OK);
	assert_false(sc_mem_ok(a, 1));
	assert_int_equal(*(uint8_t *)a, 0x55); /* a running kernel may still read it */
	assert_int_equal(sc_mem_alloc(d, 4096, 0, &b), SC_OK);
	assert_true(a != b);
	sc_mem_launch_end();
	assert_int_equal(*(uint8_t *)a, 0);
	sc_device_close(d);
}

static void test_host_ranges(void **state)
{
	struct sc_device *d = open_device(MIB);
	uint8_t *p = malloc(3000);
	assert_non_null(p);
	uint64_t va = (uint64_t)(uintptr_t)p;
	assert_false(sc_mem_ok(va, 1));
	assert_int_equal(sc_mem_register_host(p, 2000), SC_OK);
	assert_true(sc_mem_ok(va, 2000));
	assert_false(sc_mem_ok(va, 2001));
	assert_int_equal(sc_mem_register_host(p + 1999, 10), SC_ALREADY_REGISTERED);
	assert_int_equal(sc_mem_register_host(p + 2000, 10), SC_OK);
	assert_int_equal(sc_mem_unregister_host(p + 1), SC_NOT_REGISTERED);
	assert_int_equal(sc_mem_unregister_host(p), SC_OK);
	assert_int_equal(sc_mem_unregister_host(p), SC_NOT_REGISTERED);
	assert_int_equal(sc_mem_unregister_host(p + 2000), SC_OK);
	assert_int_equal(sc_mem_register_host((void *)SC_VA_BASE, 10), SC_INVALID_VALUE);
	free(p);
	sc_device_close(d);
}

static void test_texture_handles_do_not_outlive(void **state)
{
	struct sc_texture t = { .base = SC_VA_BASE, .width = 4 }, got;
	uint64_t h = sc_tex_create(&t);
	assert_true(h != 0);
	assert_true(sc_tex_get(h, &got) && got.width == 4);
	assert_int_equal(sc_tex_destroy(h), SC_OK);
	assert_false(sc_tex_get(h, &got));
	assert_int_equal(sc_tex_destroy(h), SC_INVALID_VALUE);
	uint64_t h2 = sc_tex_create(&t);
	assert_true(h2 != h && !sc_tex_get(h, &got) && sc_tex_get(h2, &got));
	assert_false(sc_tex_get(0, &got) || sc_tex_get(UINT64_MAX, &got));
	assert_int_equal(sc_tex_destroy(h2), SC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_are_exact),
		cmocka_unit_test(test_neighbours_keep_a_redzone),
		cmocka_unit_test(test_reuse_is_zeroed),
		cmocka_unit_test(test_accounting),
		cmocka_unit_test(test_churn),
		cmocka_unit_test(test_free_during_launch_waits),
		cmocka_unit_test(test_host_ranges),
		cmocka_unit_test(test_texture_handles_do_not_outlive),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
