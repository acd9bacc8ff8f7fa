/* SPDX-License-Identifier: Apache-2.0 */
/* If this fails, latencies shown to operators are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/histogram.h"

static void test_every_duration_lies_in_its_bucket(void **state)
{
	for (unsigned i = 0; i + 1 < HIST_BUCKETS; i++) {
		assert_true(hist_edge(i) < hist_edge(i + 1));
		assert_int_equal(hist_bucket(hist_edge(i)), i);
		assert_int_equal(hist_bucket(hist_edge(i) + 1), i + 1);
	}
	assert_int_equal(hist_bucket(0), 0);
	assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
	assert_true(hist_edge(HIST_BUCKETS - 2) == 1ull << HIST_LAST);
}

static void test_quantiles_are_within_a_bucket(void **state)
{
	struct histogram h = {0};

	assert_true(hist_quantile(&h, 0.5) < 0);
	for (uint64_t us = 1; us <= 1000; us++)
		hist_add(&h, us * 1000);
	assert_int_equal(hist_count(&h), 1000);
	assert_true(h.sum == 500500e3);
	for (double q = 0.05; q < 1; q += 0.05) {
		double got = hist_quantile(&h, q);

		assert_true(got > 0.88e6 * q && got < 1.12e6 * q);
	}
	assert_int_equal(hist_until(&h, 20), 1000);
	assert_int_equal(hist_until(&h, 19), 524);
	assert_int_equal(hist_until(&h, HIST_FIRST), 1);
}

static void test_beyond_the_last_edge(void **state)
{
	struct histogram h = {0};

	hist_add(&h, UINT64_MAX);
	assert_int_equal(hist_until(&h, HIST_LAST), 0);
	assert_int_equal(hist_count(&h), 1);
	assert_true(hist_quantile(&h, 0.99) == (double)(1ull << HIST_LAST));
}

static void test_sums_do_not_overflow(void **state)
{
	struct histogram h = {0};

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		h.count[i] = HIST_COUNT_MAX - 1;
	for (unsigned i = 0; i < 8; i++)
		hist_merge(&h, &(struct histogram){.count = {[0] = UINT64_MAX, [5] = 1, [HIST_BUCKETS - 1] = HIST_COUNT_MAX}});
	assert_true(h.count[0] == HIST_COUNT_MAX && h.count[5] == HIST_COUNT_MAX && h.count[6] == HIST_COUNT_MAX - 1);
	assert_true(hist_count(&h) < INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_duration_lies_in_its_bucket),
		cmocka_unit_test(test_quantiles_are_within_a_bucket),
		cmocka_unit_test(test_beyond_the_last_edge),
		cmocka_unit_test(test_sums_do_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
