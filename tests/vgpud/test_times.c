/* SPDX-License-Identifier: Apache-2.0 */
/* If this fails, an executor that lies about its times spoils what operators see of others, or crashes the broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include "vgpud/broker/times.h"

static void test_an_honest_claim_is_taken(void **state)
{
	struct lease_times t = {0};
	struct histogram seen = {0};

	t.count[hist_bucket(5000)] = 3;
	t.sum = 15000;
	times_claim(&seen, &t);
	assert_int_equal(hist_count(&seen), 3);
	assert_true(seen.sum == 15000);
}

static void test_it_never_goes_back(void **state)
{
	struct lease_times t = {0};
	struct histogram seen = {0};

	t.count[7] = 100;
	t.sum = 100 * hist_edge(7);
	times_claim(&seen, &t);
	t.count[7] = 3;
	t.count[8] = 1;
	t.sum = 0;
	times_claim(&seen, &t);
	assert_int_equal(seen.count[7], 100);
	assert_int_equal(hist_count(&seen), 101);
	assert_true(seen.sum >= 100.0 * (double)hist_edge(7));
}

static void test_the_sum_fits_the_buckets(void **state)
{
	struct lease_times t = {0};
	struct histogram seen = {0};

	t.count[20] = 10;
	t.sum = UINT64_MAX;
	times_claim(&seen, &t);
	assert_true(seen.sum == 10.0 * (double)hist_edge(20));
}

static void test_anything_is_bounded(void **state)
{
	struct histogram seen = {0}, all = {0};
	struct lease_times t;

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		t.count[i] = UINT64_MAX;
	t.sum = UINT64_MAX;
	for (unsigned i = 0; i < 1000; i++) {
		times_claim(&seen, &t);
		hist_merge(&all, &seen);
	}
	assert_true(hist_count(&all) == HIST_BUCKETS * HIST_COUNT_MAX && hist_count(&all) < INT64_MAX);
	assert_true(isfinite(all.sum) && hist_quantile(&all, 0.99) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_honest_claim_is_taken),
		cmocka_unit_test(test_it_never_goes_back),
		cmocka_unit_test(test_the_sum_fits_the_buckets),
		cmocka_unit_test(test_anything_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
