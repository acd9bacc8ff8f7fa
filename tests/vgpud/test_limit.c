/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit hands out no more than its rate and a tenth of a second's worth, and no less to whoever asks late.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "vgpud/broker/limit.h"

#define SECOND 1000000000ull

/* Users come back at random within 10 ms after there is a portion, as executors do that look now and then. */
static void test_rate(void **state)
{
	static const uint64_t rates[] = {1, 7, 50, 1000, 1000000, 1ull << 40};

	srand(1);
	for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t start = 5 * SECOND, now = start, got = 0, most;
		struct limit l = {0};

		limit_set(&l, rates[i], now);
		while (now < start + 20 * SECOND) {
			uint64_t n = limit_portion(&l, 1, now);

			limit_spend(&l, n, now);
			got += n;
			now = limit_next(&l) > now ? limit_next(&l) : now;
			now += (uint64_t)rand() % (SECOND / 100);
			most = rates[i] / LIMIT_BURST + 2 +
			       (uint64_t)((double)(now - start) / 1e9 * (double)rates[i]);
			assert_true(got <= most);
		}
		assert_true(got + 2 >= 20 * rates[i] - rates[i] / 25);
	}
}

static void test_debt_is_paid(void **state)
{
	struct limit l = {0};
	uint64_t now = SECOND;

	limit_set(&l, 1000, now);
	limit_spend(&l, 100 + 5000, now); /* the bucket, and five seconds of it */
	assert_int_equal(limit_portion(&l, 1, now + 4 * SECOND), 0);
	assert_true(limit_next(&l) > now + 5 * SECOND && limit_next(&l) < now + 6 * SECOND);
	assert_true(limit_portion(&l, 1, limit_next(&l)) >= 20);
}

static void test_debt_has_an_end(void **state)
{
	struct limit l = {0};

	limit_set(&l, 1000, SECOND);
	limit_spend(&l, UINT64_MAX, SECOND);
	assert_true(limit_next(&l) <= SECOND + (LIMIT_DEBT_S + 1) * SECOND);
}

static void test_shared_evenly(void **state)
{
	struct limit l = {0};
	uint64_t a, b;

	limit_set(&l, 10000, SECOND);
	a = limit_portion(&l, 2, SECOND);
	limit_spend(&l, a, SECOND);
	b = limit_portion(&l, 1, SECOND);
	assert_int_equal(a, 500);
	assert_int_equal(b, 500);
}

/* A debt is not forgotten by setting the limit anew, and a new limit begins full. */
static void test_change(void **state)
{
	struct limit l = {0};

	limit_set(&l, 1000, SECOND);
	assert_int_equal(limit_portion(&l, 1, SECOND), 100);
	limit_spend(&l, 100 + 2000, SECOND);
	limit_set(&l, 2000, SECOND);
	assert_int_equal(limit_portion(&l, 1, SECOND + SECOND / 2), 0);
	assert_true(limit_portion(&l, 1, SECOND + 2 * SECOND) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rate), cmocka_unit_test(test_debt_is_paid),
					   cmocka_unit_test(test_debt_has_an_end), cmocka_unit_test(test_shared_evenly),
					   cmocka_unit_test(test_change)};

	return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
