/* SPDX-License-Identifier: Apache-2.0 */
/* The operational rules M1 to M5: windows, hysteresis, and that missing data is never an all-clear. If
 * these fail, an operator is woken for nothing, or not at all. */
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void m2_needs_the_whole_window(void **state)
{
	struct rule_level r;

	(void)state;
	assert_true(rule_init_m2(&r));
	assert_int_equal(rule_eval(&r, 0), RULE_UNKNOWN);
	for (int64_t t = 15; t <= 600; t += 15)
		rule_sample(&r, t, 100);
	assert_int_equal(rule_eval(&r, 600), RULE_UNKNOWN);
	for (int64_t t = 615; t <= 900; t += 15)
		rule_sample(&r, t, 100);
	assert_int_equal(rule_eval(&r, 900), RULE_FIRING);
	for (int64_t t = 915; t <= 1800; t += 15) /* between the thresholds it stays */
		rule_sample(&r, t, 90);
	assert_int_equal(rule_eval(&r, 1800), RULE_FIRING);
	assert_int_equal(rule_eval(&r, 9000), RULE_FIRING); /* no data is no all-clear */
	for (int64_t t = 9015; t <= 9900; t += 15)
		rule_sample(&r, t, 84);
	assert_int_equal(rule_eval(&r, 9900), RULE_FIRING); /* the mean is low now, and must stay so */
	for (int64_t t = 9915; t <= 10800; t += 15) {
		rule_sample(&r, t, 84);
		if (t % 60 == 0)
			assert_int_equal(rule_eval(&r, t), t < 10800 ? RULE_FIRING : RULE_OK);
	}
	rule_free(&r);
}

static void m2_asks_for_nine_in_ten(void **state)
{
	struct rule_level r;

	(void)state;
	assert_true(rule_init_m2(&r));
	for (int i = 0; i < 60; i++) /* seven of 60 samples at 90: the mean is above, the share below */
		rule_sample(&r, 15 * (i + 1), i < 7 ? 90 : 100);
	assert_int_equal(rule_eval(&r, 900), RULE_OK);
	rule_free(&r);
}

static void m3_counts_the_sixth(void **state)
{
	struct rule_m3 r;

	(void)state;
	m3_init(&r);
	for (int i = 0; i < 5; i++)
		m3_event(&r, 100 * i, 7);
	m3_event(&r, 400, 7); /* the same second and key: one event */
	assert_int_equal(m3_eval(&r, 500, true), RULE_OK);
	m3_event(&r, 501, 7);
	assert_int_equal(m3_eval(&r, 501, true), RULE_FIRING);
	assert_int_equal(m3_eval(&r, 4200, true), RULE_FIRING); /* low now, not yet for an hour */
	assert_int_equal(m3_eval(&r, 7799, true), RULE_FIRING);
	assert_int_equal(m3_eval(&r, 7800, true), RULE_OK);
	assert_int_equal(m3_eval(&r, 7900, false), RULE_UNKNOWN);
	assert_true(m3_is_application(31) && !m3_is_application(79));
}

/* Xid 31 of one program is that program's; of two it is counted. */
static void m3_applications(void **state)
{
	struct rule_m3 r;

	(void)state;
	m3_init(&r);
	for (int i = 0; i < 10; i++)
		m3_application(&r, i, 31, 1000);
	assert_int_equal(m3_eval(&r, 60, true), RULE_OK);
	m3_application(&r, 60, 31, 1001);
	assert_int_equal(m3_eval(&r, 61, true), RULE_FIRING);
	m3_init(&r);
	for (int i = 0; i < 10; i++)
		m3_application(&r, i, 31 + i, 1000 + (uint32_t)i); /* different errors of different programs */
	assert_int_equal(m3_eval(&r, 60, true), RULE_OK);
}

static void m3_quiet_is_not_unread(void **state)
{
	struct rule_m3 r;

	(void)state;
	m3_init(&r);
	for (int i = 0; i < 6; i++)
		m3_event(&r, i, 79);
	assert_int_equal(m3_eval(&r, 10, true), RULE_FIRING);
	assert_int_equal(m3_eval(&r, 4000, false), RULE_FIRING);
	assert_int_equal(m3_eval(&r, 9000, false), RULE_FIRING); /* unread for hours: no all-clear */
	assert_int_equal(m3_eval(&r, 9060, true), RULE_FIRING);
	assert_int_equal(m3_eval(&r, 9060 + 3600, true), RULE_OK);
}

static void m3_sends_for_the_right_one(void **state)
{
	(void)state;
	assert_int_equal(m3_advise(3 * 86400, 7, 2, 1), M3_ROLL_BACK);
	assert_int_equal(m3_advise(3 * 86400, 6, 2, 1), M3_HARDWARE); /* three times is not more than three times */
	assert_int_equal(m3_advise(8 * 86400, 7, 2, 1), M3_HARDWARE);
	assert_int_equal(m3_advise(8 * 86400, 7, 2, 4), M3_APPLICATION);
}

static void m4_budget(void **state)
{
	struct rule_m4 r = {.window_s = 30 * 86400, .age_s = 90 * 86400};
	int64_t left;

	(void)state;
	assert_int_equal(m4_eval(&r, &left), RULE_OK);
	assert_int_equal(left, 43 * 60 + 12);
	r.unplanned_s = 2592;
	assert_int_equal(m4_eval(&r, &left), RULE_OK);
	r.unplanned_s = 2593;
	assert_int_equal(m4_eval(&r, &left), RULE_FIRING);
	r.age_s = 3600;
	assert_int_equal(m4_eval(&r, &left), RULE_UNKNOWN);
	for (unsigned i = 0; i < 3; i++) { /* the budgets a person would quote */
		static const int64_t window[] = {7 * 86400, 30 * 86400, 365 * 86400}, budget[] = {604, 2592, 31536};
		struct rule_m4 w = {.window_s = window[i], .age_s = window[i]};

		assert_int_equal(m4_eval(&w, &left), RULE_OK);
		assert_int_equal(left, budget[i]);
	}
	r = (struct rule_m4){.window_s = 30 * 86400, .age_s = 10 * 86400, .planned_s = 86400, .unplanned_s = 778};
	assert_int_equal(m4_eval(&r, &left), RULE_FIRING); /* a young VM's nine days allow 777 s */
	assert_true(m4_burns(0.0144, 0.02, 14.4) && !m4_burns(0.0143, 0.5, 14.4));
}

static void m5_and_m1(void **state)
{
	struct rule_level r;

	(void)state;
	assert_true(rule_init_m5(&r));
	for (int i = 0; i < 40; i++)
		rule_sample(&r, 15 * (i + 1), 0.95);
	assert_int_equal(rule_eval(&r, 600), RULE_FIRING);
	rule_sample(&r, 615, 0.5);
	assert_int_equal(rule_eval(&r, 615), RULE_FIRING);
	for (int64_t t = 630; t <= 1215; t += 15)
		rule_sample(&r, t, 0.84);
	assert_int_equal(rule_eval(&r, 1215), RULE_OK);
	for (int i = 1; i < 40; i++) /* one sample below: not for ten minutes */
		rule_sample(&r, 1215 + 15 * i, i == 20 ? 0.89 : 0.95);
	assert_int_equal(rule_eval(&r, 1800), RULE_OK);
	rule_free(&r);
	assert_int_equal(m1_eval(0, 0, 0), RULE_OK);
	assert_int_equal(m1_eval(0, -1, 0), RULE_UNKNOWN);
	assert_int_equal(m1_eval(-1, 0, 1), RULE_FIRING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(m2_needs_the_whole_window),
		cmocka_unit_test(m2_asks_for_nine_in_ten),
		cmocka_unit_test(m3_counts_the_sixth),
		cmocka_unit_test(m3_applications),
		cmocka_unit_test(m3_quiet_is_not_unread),
		cmocka_unit_test(m3_sends_for_the_right_one),
		cmocka_unit_test(m4_budget),
		cmocka_unit_test(m5_and_m1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
