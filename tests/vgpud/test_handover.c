/* SPDX-License-Identifier: Apache-2.0 */
/* What one keeper leaves to the next: what is written is read again; what an earlier version wrote is read; what this
 * version does not know, and what is cut off, is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vgpud/keeper/handover.h"

static struct vgpud_config cfg, old;

static void empty(struct keeper *k)
{
	*k = (struct keeper){.cfg = &cfg, .state_fd = -1, .lock_fd = -1, .control_fd = -1};
	list_init(&k->listeners);
	list_init(&k->conns);
	list_init(&k->children);
}

/* As the first version that could be upgraded wrote it, but for the contract with executors; a later one goes on reading it. */
#define FIRST "vgpud-handover 1\ncontract executor=%u layout=%u\nconfig run-dir = /run/my vgpu\nconfig device = 3\n" \
	"keeper next_conn=7 upgrades=2 state_fd=10 lock_fd=11 control_fd=12\n" \
	"listener fd=13 vm=5 path=%s\n" \
	"conn id=4 vm=5 transport=0 uid=1000 made=1 gone=0 greeted=1 handed=1 ran=0,9 accepted_at=123456789012 hello=%s " \
	"hello_len=0 fd=14 memfd=15 bar_size=268435456 vectors=2 bells=16,17 irqs=18,19\n" \
	"child id=6 conn=4 channel=1 generation=9 spare=0 pid=4242 uid_slot=3 pidfd=20 broker_sock=21 lease_fd=22 kick_fd=23\n" \
	"end\n"

static char *first(void)
{
	static char text[4096], path[2 * 108 + 1], hello[2 * sizeof(struct vgpu_unix_hello) + 1];

	memset(path, '0', sizeof(path) - 1);
	memcpy(path, "2f78", 4); /* "/x" */
	memset(hello, '0', sizeof(hello) - 1);
	snprintf(text, sizeof(text), FIRST, IPC_EXECUTOR_VERSION, VGPU_LAYOUT_VERSION, path, hello);
	return text;
}

static void test_first_version(void **state)
{
	struct keeper k;
	struct conn *c;
	struct child *x;

	empty(&k);
	assert_null(handover_read(&k, first(), &old));
	assert_string_equal(old.run_dir, "/run/my vgpu");
	assert_int_equal(old.device, 3);
	assert_int_equal(k.next_conn, 7);
	assert_int_equal(k.control_fd, 12);
	assert_string_equal(list_entry(k.listeners.next, struct listener, node)->path, "/x");
	c = list_entry(k.conns.next, struct conn, node);
	assert_int_equal(c->ran[1], 9);
	assert_int_equal(c->accepted_at, 123456789012);
	assert_int_equal(c->irqs[1], 19);
	assert_int_equal(c->irqs[2], -1);
	x = list_entry(k.children.next, struct child, node);
	assert_int_equal(x->pid, 4242);
	assert_int_equal(x->io.fd, 20);
	handover_forget(&k);
}

static int fds[64], n_fds;

static int note(int fd)
{
	fds[n_fds++] = fd;
	return 0;
}

static void test_round(void **state)
{
	struct keeper k, again;
	struct buf a, b;

	empty(&k);
	assert_null(handover_read(&k, first(), &cfg));
	buf_init(&a, HANDOVER_MAX);
	buf_init(&b, HANDOVER_MAX);
	assert_int_equal(handover_write(&k, &a), 0);
	empty(&again);
	assert_null(handover_read(&again, a.data, &old));
	assert_int_equal(handover_write(&again, &b), 0);
	assert_string_equal(a.data, b.data);
	n_fds = 0;
	assert_int_equal(handover_each_fd(&again, note), 0);
	assert_int_equal(n_fds, 14); /* 10 to 23, each once */
	for (int i = 0; i < n_fds; i++)
		assert_in_range(fds[i], 10, 23);
	handover_forget(&again);
	handover_forget(&k);
	buf_free(&a);
	buf_free(&b);
}

static void refused(const char *text, const char *words)
{
	struct keeper k;
	struct vgpu_err *e;

	empty(&k);
	e = handover_read(&k, text, &old);
	assert_non_null(e);
	if (!strstr(e->text, words))
		fail_msg("\"%s\" does not say \"%s\"", e->text, words);
	free(e);
	handover_forget(&k);
}

/* The text with the first `what` replaced. */
static const char *with(const char *what, const char *by)
{
	static char out[8192];
	char *text = first(), *at = strstr(text, what);

	assert_non_null(at);
	snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text), text, by, at + strlen(what));
	return out;
}

static void test_refusals(void **state)
{
	refused("", "begins with");
	refused(with("handover 1", "handover 2"), "begins with");
	refused(with("end\n", ""), "cut off");
	refused(with("end\n", "end\nmore\n"), "cut off");
	refused(with("child ", "ghost "), "ghost");
	refused(with("uid_slot", "colour"), "colour");
	refused(with("contract executor=", "contract executor=9"), "end the programs");
	refused(with("made=1", "made=2"), "made");
	refused(with("pid=4242", "pid=x"), "pid");
	refused(with("pid=4242", "pid=0"), "no process");
	refused(with("uid=1000", "uid=4294967296"), "uid");
	refused(with("fd=14", "fd=-2"), "fd");
	refused(with("vectors=2", "vectors=34"), "vectors");
	refused(with("path=2f78", "path=2f7"), "path");
	refused(with("bells=16,17", "bells=16,"), "bells");
	refused(with("device = 3", "colour = 3"), "colour");
}

static void test_every_cut(void **state)
{
	char text[4096];
	size_t n = strlen(first());

	for (size_t cut = 0; cut < n; cut++) {
		snprintf(text, cut + 1, "%s", first());
		refused(text, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_version), cmocka_unit_test(test_round), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
