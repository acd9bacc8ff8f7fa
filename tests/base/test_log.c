/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the log: with journald's priority when stderr is the journal's, else with program and level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int ends[2], old;

/* stderr is a pipe; $JOURNAL_STREAM names it, or another one. */
static void begin(bool journal)
{
	char at[64];
	struct stat s;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fstat(ends[1], &s), 0);
	snprintf(at, sizeof(at), "%llu:%llu", (unsigned long long)s.st_dev, (unsigned long long)s.st_ino + !journal);
	setenv("JOURNAL_STREAM", at, 1);
	old = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	log_init("test", LOG_L_INFO);
}

static void expect(const char *want)
{
	char got[4096];
	ssize_t n;

	dup2(old, STDERR_FILENO);
	close(old);
	n = read(ends[0], got, sizeof(got) - 1);
	close(ends[0]);
	got[n < 0 ? 0 : n] = 0;
	assert_string_equal(got, want);
}

static void test_journal(void **state)
{
	begin(true);
	log_error("one");
	log_warning("two\nthree");
	log_info("%d", 4);
	log_debug("not at this level");
	expect("<3>one\n<4>two?three\n<6>4\n");
}

static void test_elsewhere(void **state)
{
	begin(false);
	log_error("one");
	expect("test: error: one\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_journal), cmocka_unit_test(test_elsewhere)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
