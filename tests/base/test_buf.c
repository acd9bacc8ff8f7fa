/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks if a bounded buffer ever holds more than its limit, or loses bytes at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"

static void test_limit(void **state)
{
	struct buf b;

	buf_init(&b, 10);
	assert_int_equal(buf_put(&b, "12345678", 8), 0);
	assert_int_equal(buf_put(&b, "abc", 3), -ENOBUFS);
	assert_string_equal(b.data, "12345678");
	assert_int_equal(buf_printf(&b, "%d", 90), 0);
	assert_int_equal(buf_printf(&b, "%d", 1), -ENOBUFS);
	assert_string_equal(b.data, "1234567890");
	buf_eat(&b, 9);
	assert_string_equal(b.data, "0");
	buf_free(&b);
}

static void test_read(void **state)
{
	struct buf b;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "hello world", 11), 11);
	buf_init(&b, 8);
	assert_int_equal(buf_read(&b, p[0]), 8);
	assert_int_equal(buf_read(&b, p[0]), -ENOBUFS);
	assert_string_equal(b.data, "hello wo");
	buf_eat(&b, 8);
	assert_int_equal(buf_read(&b, p[0]), 3);
	close(p[1]);
	assert_int_equal(buf_read(&b, p[0]), 0);
	assert_string_equal(b.data, "rld");
	close(p[0]);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit), cmocka_unit_test(test_read)};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
