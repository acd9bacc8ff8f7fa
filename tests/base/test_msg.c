/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks if a message the table forbids is delivered, or descriptors leak or go astray. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/msg.h"

enum { A = 1, B = 2 };
enum { PING = 1, GIVE = 2, LATER = 3, BACK = 4, TYPES };

static const struct msg_rule rules[TYPES] = {
	[PING] = {"PING", 8, 0, 0, A, 1 | 2},
	[GIVE] = {"GIVE", 4, 1, 2, A, 1},
	[LATER] = {"LATER", 0, 0, 0, A, 2},
	[BACK] = {"BACK", 0, 0, 0, B, 1},
};
static const struct msg_table table = {rules, TYPES};

struct ends {
	struct msg_chan a, b;
};

static int setup(void **state)
{
	static struct ends e;
	int p[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p))
		return -1;
	msg_chan_init(&e.a, p[0], &table, A, B);
	msg_chan_init(&e.b, p[1], &table, B, A);
	*state = &e;
	return 0;
}

static int teardown(void **state)
{
	struct ends *e = *state;

	msg_chan_fini(&e->a);
	msg_chan_fini(&e->b);
	return 0;
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_pass(void **state)
{
	struct ends *e = *state;
	uint64_t v = 42;
	struct msg m;
	char why[100];

	assert_int_equal(msg_recv(&e->b, &m, why, sizeof(why)), 0);
	assert_int_equal(msg_send(&e->a, PING, &v, sizeof(v), NULL, 0), 0);
	assert_int_equal(msg_recv(&e->b, &m, why, sizeof(why)), 1);
	assert_int_equal(m.type, PING);
	assert_memory_equal(m.payload, &v, sizeof(v));
	msg_chan_fini(&e->a);
	assert_int_equal(msg_recv(&e->b, &m, why, sizeof(why)), -ECONNRESET);
}

static void test_fds(void **state)
{
	struct ends *e = *state;
	int fds[2] = {eventfd(5, 0), eventfd(6, 0)}, got;
	uint32_t x = 1;
	uint64_t n;
	struct msg m;
	char why[100];
	unsigned before = open_fds();

	assert_int_equal(msg_send(&e->a, GIVE, &x, sizeof(x), fds, 2), 0);
	assert_int_equal(msg_recv(&e->b, &m, why, sizeof(why)), 1);
	assert_int_equal(m.n_fds, 2);
	got = msg_take_fd(&m, 1);
	msg_done(&m);
	assert_int_equal(read(got, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 6);
	close(got);
	assert_int_equal(open_fds(), before);
	close(fds[0]);
	close(fds[1]);
}

/* Raw bytes: what a taken-over peer could send. */
static void expect_refused(struct ends *e, const void *p, size_t n, const char *reason)
{
	struct msg m;
	char why[100];

	assert_int_equal(send(e->a.fd, p, n, 0), n);
	assert_int_equal(msg_recv(&e->b, &m, why, sizeof(why)), -EPROTO);
	assert_non_null(strstr(why, reason));
}

static void test_refusals(void **state)
{
	struct ends *e = *state;
	struct {
		uint16_t type, fds;
		uint32_t size;
		uint8_t payload[3000];
	} m = {0};

	expect_refused(e, "x", 1, "too short");
	m.type = 99;
	expect_refused(e, &m, 8, "unknown type");
	m.type = 0;
	expect_refused(e, &m, 8, "unknown type");
	m.type = BACK;
	expect_refused(e, &m, 8, "not from this peer");
	m.type = LATER;
	expect_refused(e, &m, 8, "not in this state");
	m.type = PING;
	m.size = 8;
	expect_refused(e, &m, 8 + 7, "wrong size");
	m.size = 7;
	expect_refused(e, &m, 8 + 8, "wrong size");
	m.size = 8;
	expect_refused(e, &m, 8 + 2900, "truncated");
	m.type = GIVE;
	m.size = 4;
	m.fds = 1;
	expect_refused(e, &m, 8 + 4, "wrong number of descriptors");
	e->b.state = 2;
	expect_refused(e, &m, 8 + 4, "not in this state");
}

/* A peer that does not read: queued, bounded, in order. */
static void test_queue(void **state)
{
	struct ends *e = *state;
	uint64_t sent = 0, seen = 0;
	struct msg m;
	char why[100];
	int rc = 0;

	while (sent < 1000000 && !(rc = msg_send(&e->a, PING, &sent, sizeof(sent), NULL, 0)))
		sent++;
	assert_int_equal(rc, -ENOBUFS);
	assert_true(msg_pending(&e->a));
	for (;;) {
		rc = msg_recv(&e->b, &m, why, sizeof(why));
		if (rc == 0 && !msg_pending(&e->a))
			break;
		if (rc == 0) {
			assert_int_equal(msg_flush(&e->a), 0);
			continue;
		}
		assert_int_equal(rc, 1);
		assert_memory_equal(m.payload, &seen, sizeof(seen));
		seen++;
	}
	assert_int_equal(seen, sent);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_pass), T(test_fds), T(test_refusals), T(test_queue)};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
