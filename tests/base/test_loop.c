/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks if a deleted io is still called, or a timer does not fire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/loop.h"

struct pair {
	struct loop loop;
	struct loop_io io[2];
	int calls[2];
};

/* Whichever is called first deletes the other. */
static void on_either(struct loop_io *io, uint32_t events)
{
	struct pair *p = io->arg;
	int me = io == &p->io[1];

	p->calls[me]++;
	loop_del(&p->loop, &p->io[!me]);
	p->loop.stop = true;
}

static void test_delete_in_callback(void **state)
{
	static struct pair p;

	assert_int_equal(loop_init(&p.loop), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(loop_add(&p.loop, &p.io[i], eventfd(1, EFD_NONBLOCK), EPOLLIN, on_either, &p), 0);
	/* Both are ready in one wake-up; only one may be called. */
	assert_int_equal(loop_run(&p.loop), 0);
	assert_int_equal(p.calls[0] + p.calls[1], 1);
	for (int i = 0; i < 2; i++)
		close(p.io[i].fd);
	loop_fini(&p.loop);
}

static void on_timer(struct loop_io *io, uint32_t events)
{
	((struct loop *)io->arg)->stop = true;
}

static void test_timer(void **state)
{
	struct loop l;
	struct loop_io t;
	uint64_t at;

	assert_int_equal(loop_init(&l), 0);
	assert_int_equal(loop_timer_init(&l, &t, on_timer, &l), 0);
	at = now_ns() + 5000000;
	loop_timer_set(&t, at);
	assert_int_equal(loop_run(&l), 0);
	assert_true(now_ns() >= at);
	close(t.fd);
	loop_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_delete_in_callback), cmocka_unit_test(test_timer)};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
