/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks if a size or duration is read with the wrong factor, or a wrong one is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "base/units.h"

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t value;
	} t[] = {{"0", 0, 0}, {"4096", 0, 4096}, {"1K", 0, 1024}, {"512M", 0, 512ull << 20}, {"3 GiB", 0, 3ull << 30},
		 {"2T", 0, 2ull << 40}, {"", -EINVAL, 0}, {"-1", -EINVAL, 0}, {"1Q", -EINVAL, 0}, {"1.5G", -EINVAL, 0},
		 {"M", -EINVAL, 0}, {"18446744073709551615", 0, UINT64_MAX}, {"18446744073709551616", -ERANGE, 0},
		 {"18014398509481984K", -ERANGE, 0}};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t v = 0;

		assert_int_equal(units_size(t[i].text, &v), t[i].rc);
		if (!t[i].rc)
			assert_int_equal(v, t[i].value);
	}
}

static void test_durations(void **state)
{
	uint64_t v;

	assert_int_equal(units_duration("2ms", &v), 0);
	assert_int_equal(v, 2000000);
	assert_int_equal(units_duration("30s", &v), 0);
	assert_int_equal(v, 30000000000);
	assert_int_equal(units_duration("10 min", &v), 0);
	assert_int_equal(v, 600000000000);
	assert_int_equal(units_duration("0", &v), 0);
	assert_int_equal(units_duration("5", &v), -EINVAL);
	assert_int_equal(units_duration("9999999999h", &v), -ERANGE);
}

static void test_numbers(void **state)
{
	uint64_t v;
	char text[32];

	assert_int_equal(units_number("7", 1, 7, &v), 0);
	assert_int_equal(units_number("8", 1, 7, &v), -ERANGE);
	assert_int_equal(units_number("7x", 1, 7, &v), -EINVAL);
	assert_string_equal(units_size_text(3ull << 29, text, sizeof(text)), "1.5 GiB");
	assert_string_equal(units_size_text(512, text, sizeof(text)), "512 B");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_durations),
					   cmocka_unit_test(test_numbers)};

	return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
