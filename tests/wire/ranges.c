/* SPDX-License-Identifier: Apache-2.0 */
/* If these fail, a copy could reach memory its process never allocated. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "wire/ranges.h"

static int add(struct vgpu_ranges *r, uint64_t base, uint64_t size)
{
	struct vgpu_range v = { .base = base, .size = size };

	return vgpu_ranges_add(r, &v);
}

static void finds_only_whole_ranges(void **state)
{
	struct vgpu_ranges r = { 0 };

	assert_int_equal(add(&r, 0x1000, 0x100), 0);
	assert_int_equal(add(&r, 0x1100, 0x100), 0);
	assert_non_null(vgpu_ranges_find(&r, 0x1000, 0x100));
	assert_non_null(vgpu_ranges_find(&r, 0x10ff, 1));
	assert_null(vgpu_ranges_find(&r, 0x1080, 0x100)); /* spans two allocations */
	assert_null(vgpu_ranges_find(&r, 0xfff, 2));
	assert_null(vgpu_ranges_find(&r, 0x1200, 1));
	assert_null(vgpu_ranges_find(&r, 0x1010, UINT64_MAX)); /* at + len wraps */
	assert_null(vgpu_ranges_find(&r, 0x1010, UINT64_MAX - 0x1000));
	vgpu_ranges_clear(&r);
}

static void refuses_overlap_and_wrap(void **state)
{
	struct vgpu_ranges r = { 0 };

	assert_int_equal(add(&r, 0x1000, 0x100), 0);
	assert_int_equal(add(&r, 0x10ff, 1), -EEXIST);
	assert_int_equal(add(&r, 0xf00, 0x101), -EEXIST);
	assert_int_equal(add(&r, 0xf00, 0x100), 0);
	assert_int_equal(add(&r, 0x5000, 0), -EINVAL);
	assert_int_equal(add(&r, UINT64_MAX - 1, 4), -EINVAL);
	assert_false(vgpu_ranges_remove(&r, 0x1001, NULL));
	assert_true(vgpu_ranges_remove(&r, 0x1000, NULL));
	assert_null(vgpu_ranges_find(&r, 0x1000, 1));
	assert_int_equal(add(&r, 0x1000, 0x10), 0);
	vgpu_ranges_clear(&r);
}

static void random_against_a_flat_map(void **state)
{
	static unsigned char map[4096];
	struct vgpu_ranges r = { 0 };

	srand(7);
	for (int i = 0; i < 20000; i++) {
		unsigned base = 1 + rand() % 4000, size = 1 + rand() % 64, clash = 0;

		for (unsigned k = base; k < base + size; k++)
			clash |= map[k];
		if (rand() % 3) {
			assert_int_equal(add(&r, base, size), clash ? -EEXIST : 0);
			for (unsigned k = base; !clash && k < base + size; k++)
				map[k] = k == base ? 2 : 1;
		} else if (map[base] == 2) {
			struct vgpu_range out;

			assert_true(vgpu_ranges_remove(&r, base, &out));
			for (unsigned k = base; k < base + out.size; k++)
				map[k] = 0;
		} else {
			assert_int_equal(vgpu_ranges_find(&r, base, 1) != NULL, map[base] != 0);
		}
	}
	vgpu_ranges_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_only_whole_ranges),
		cmocka_unit_test(refuses_overlap_and_wrap),
		cmocka_unit_test(random_against_a_flat_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
