/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks if a bulk copy moves a wrong byte or touches one beside its range, however the two lie to each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/bulk.h"

#define ROOM (64u << 10)
#define GUARD 0xee

static unsigned char *page_aligned(void)
{
	unsigned char *p = aligned_alloc(4096, ROOM);

	assert_non_null(p);
	return p;
}

static void check(void (*copy)(void *, const void *, size_t), size_t at, size_t from, size_t n)
{
	unsigned char *src = page_aligned(), *dst = page_aligned();

	for (size_t i = 0; i < ROOM; i++)
		src[i] = (unsigned char)(i * 7 + i / 251);
	memset(dst, GUARD, ROOM);
	copy(dst + at, src + from, n);
	assert_memory_equal(dst + at, src + from, n);
	for (size_t i = 0; i < ROOM; i++)
		if (i < at || i >= at + n)
			assert_int_equal(dst[i], GUARD);
	free(src);
	free(dst);
}

static void test_every_size_and_offset(void **state)
{
	static const size_t sizes[] = {0, 1, 63, 64, 65, 127, 128, 129, 191, 2047, 2048, 2049, 4096, 32771};
	static const size_t offsets[] = {0, 1, 16, 63, 64, 4095};
	static void (*const copies[])(void *, const void *, size_t) = {bulk_copy, bulk_stream};

	for (unsigned c = 0; c < 2; c++)
		for (unsigned n = 0; n < sizeof(sizes) / sizeof(*sizes); n++)
			for (unsigned t = 0; t < sizeof(offsets) / sizeof(*offsets); t++)
				for (unsigned f = 0; f < sizeof(offsets) / sizeof(*offsets); f++)
					check(copies[c], offsets[t], offsets[f], sizes[n]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_size_and_offset)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
