/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming another version without ending anything: docs/decisions/upgrade.md.
 *
 *   UPGRADE -> the installed program, as a child, reads its configuration and what it would be handed: may say no
 *           -> UPGRADED: the broker answers whoever asked, and ends without a word to the guests
 *           -> execve() with every descriptor of handover.c open: same process, same children
 *           -> a broker of the new version is started and adopts, as after any end of a broker
 */
#include "vgpud/keeper/handover.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROLE "VGPUD_HANDOVER" /* "check", or "take" and a descriptor's number */
#define CHECK_NS 10000000000ull
#define LEAVE_NS 2000000000ull

enum check_fd { CHECK_FD_TEXT = IPC_BFD_SOCK, CHECK_FD_ANSWER };

enum upgrade_role upgrade_role(void)
{
	const char *s = getenv(ROLE);

	return !s ? UPGRADE_NONE : !strcmp(s, "check") ? UPGRADE_CHECK : UPGRADE_TAKE;
}

/* ---- the former program ---- */

/* A memfd of the text, or -errno. */
static int text_fd(const struct keeper *k)
{
	cleanup_fd int fd = memfd_create("vgpud-handover", MFD_CLOEXEC);
	struct buf text;
	int rc;

	if (fd < 0)
		return -errno;
	buf_init(&text, HANDOVER_MAX);
	rc = handover_write(k, &text);
	for (size_t at = 0; !rc && at < text.len;) {
		ssize_t n = pwrite(fd, text.data + at, text.len - at, (off_t)at);

		rc = n < 0 ? -errno : 0;
		at += n > 0 ? (size_t)n : 0;
	}
	buf_free(&text);
	if (rc)
		return rc;
	rc = fd;
	fd = -1;
	return rc;
}

static void answer(struct keeper *k, const char *error)
{
	struct ipc_reloaded m = {.ok = !error};

	snprintf(m.text, sizeof(m.text), "%.*s", IPC_TEXT_LEN - 1, error ? error : "");
	if (error)
		log_error("upgrade refused, vgpud %s goes on: %s", VGPU_VERSION_STRING, error);
	link_send(k, IPC_UPGRADED, &m, sizeof(m), NULL, 0);
}

static void leave(struct keeper *k)
{
	answer(k, NULL);
	k->upgrade.going = true;
	loop_timer_set(&k->upgrade.deadline_io, now_ns() + LEAVE_NS);
	if (!k->broker_pid)
		upgrade_exec(k);
}

static void read_answer(struct keeper *k, char *text, size_t len, int status)
{
	ssize_t n = pread(k->upgrade.answer_fd, text, len - 1, 0);

	text[n > 0 ? n : 0] = 0;
	if (!text[0])
		snprintf(text, len, "%.200s cannot be run: %s %d", k->own_path, WIFSIGNALED(status) ? "signal" : "exit status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void on_checked(struct loop_io *io, uint32_t events)
{
	struct keeper *k = io->arg;
	char why[IPC_TEXT_LEN];
	int status = 0;

	if (waitpid(k->upgrade.check_pid, &status, WNOHANG) != k->upgrade.check_pid)
		return;
	loop_timer_set(&k->upgrade.deadline_io, 0);
	loop_del(&k->loop, io);
	fd_closep(&io->fd);
	k->upgrade.check_pid = 0;
	read_answer(k, why, sizeof(why), status);
	fd_closep(&k->upgrade.answer_fd);
	if (status)
		answer(k, why);
	else
		leave(k);
}

static void on_deadline(struct loop_io *io, uint32_t events)
{
	struct keeper *k = io->arg;

	loop_timer_set(io, 0);
	if (k->upgrade.check_pid)
		kill(k->upgrade.check_pid, SIGKILL);
	else if (k->upgrade.going && k->broker_pid)
		kill(k->broker_pid, SIGKILL);
}

int upgrade_init(struct keeper *k)
{
	k->upgrade.answer_fd = -1;
	return loop_timer_init(&k->loop, &k->upgrade.deadline_io, on_deadline, k);
}

static int start_check(struct keeper *k)
{
	cleanup_fd int text = text_fd(k);
	int pidfd = -1, rc;

	k->upgrade.answer_fd = memfd_create("vgpud-answer", MFD_CLOEXEC);
	if (text < 0 || k->upgrade.answer_fd < 0)
		return text < 0 ? text : -errno;
	setenv(ROLE, "check", 1);
	rc = spawn_plain(k->own_path, k->argv, (int[]){text, k->upgrade.answer_fd}, 2, &pidfd);
	unsetenv(ROLE);
	if (rc < 0)
		return rc;
	k->upgrade.check_pid = rc;
	rc = loop_add(&k->loop, &k->upgrade.check_io, pidfd, EPOLLIN, on_checked, k);
	if (!rc) {
		loop_timer_set(&k->upgrade.deadline_io, now_ns() + CHECK_NS);
		return 0;
	}
	kill(k->upgrade.check_pid, SIGKILL);
	waitpid(k->upgrade.check_pid, NULL, 0);
	k->upgrade.check_pid = 0;
	close(pidfd);
	return rc;
}

void upgrade_begin(struct keeper *k)
{
	char why[IPC_TEXT_LEN];
	int rc;

	if (k->upgrade.check_pid || k->upgrade.going) {
		answer(k, "one is under way already");
		return;
	}
	rc = start_check(k);
	if (!rc)
		return;
	fd_closep(&k->upgrade.answer_fd);
	snprintf(why, sizeof(why), "%.150s cannot be started: %s", k->own_path, strerror(-rc));
	answer(k, why);
}

static int keep_open(int fd)
{
	return fcntl(fd, F_SETFD, 0) ? -errno : 0;
}

static int close_on_exec(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC) ? -errno : 0;
}

void upgrade_exec(struct keeper *k)
{
	char role[32];
	int text, rc;

	loop_timer_set(&k->upgrade.deadline_io, 0);
	k->upgrade.going = false;
	k->upgrades++;
	text = text_fd(k);
	rc = text < 0 ? text : keep_open(text);
	if (!rc)
		rc = handover_each_fd(k, keep_open);
	if (!rc) {
		snprintf(role, sizeof(role), "take %d", text);
		setenv(ROLE, role, 1);
		log_info("becoming %s", k->own_path);
		execv(k->own_path, k->argv);
		rc = -errno;
		unsetenv(ROLE);
	}
	log_error("upgrade: %s cannot take over: %s: vgpud %s goes on", k->own_path, strerror(-rc), VGPU_VERSION_STRING);
	k->upgrades--;
	handover_each_fd(k, close_on_exec);
	if (text >= 0)
		close(text);
}

/* ---- the next one ---- */

static struct vgpu_err *read_text(int fd, struct buf *text)
{
	long n;

	buf_init(text, HANDOVER_MAX);
	if (lseek(fd, 0, SEEK_SET))
		return err_sys(errno, "%s: not to be set by hand: descriptor %d", ROLE, fd);
	while ((n = buf_read(text, fd)) > 0)
		;
	return n ? err_sys((int)-n, "what the former vgpud left") : NULL;
}

static struct vgpud_config old; /* what was in force in the former program */

static struct vgpu_err *take_text(struct keeper *k, int fd)
{
	struct vgpu_err *e;
	struct buf text;

	e = read_text(fd, &text);
	if (!e)
		e = handover_read(k, text.data ? text.data : "", &old);
	if (!e)
		e = config_fixed(&old, k->cfg);
	buf_free(&text);
	return e;
}

int upgrade_check(struct keeper *k)
{
	cleanup_err struct vgpu_err *e = config_load(k->cfg, k->from);

	unsetenv(ROLE);
	if (!e)
		e = config_resolve(k->cfg, CONFIG_LOOKUP_MS);
	if (!e)
		e = take_text(k, CHECK_FD_TEXT);
	if (!e)
		e = config_fits(&old, k->cfg, k->reserved.bars, k->reserved.overhead_max);
	handover_forget(k);
	if (e && pwrite(CHECK_FD_ANSWER, e->text, strlen(e->text), 0) < 0)
		log_error("%s", e->text);
	return e ? 1 : 0;
}

struct vgpu_err *upgrade_take(struct keeper *k)
{
	const char *s = getenv(ROLE);
	int fd = atoi(s + strcspn(s, " "));
	struct vgpu_err *e = take_text(k, fd);
	int rc;

	unsetenv(ROLE);
	close(fd);
	if (e)
		return e;
	rc = handover_each_fd(k, close_on_exec);
	k->ready = true;
	return rc ? err_sys(-rc, "a descriptor of the former vgpud") : NULL;
}

struct vgpu_err *upgrade_watch(struct keeper *k)
{
	unsigned conns = 0, children = 0;
	int rc = 0;

	list_for_each(n, &k->listeners)
		rc = rc ? rc : listener_watch(list_entry(n, struct listener, node));
	list_for_each(n, &k->conns) {
		struct conn *c = list_entry(n, struct conn, node);

		conns++;
		rc = rc || c->gone ? rc : conn_watch(c);
	}
	list_for_each(n, &k->children) {
		children++;
		rc = rc ? rc : child_watch(list_entry(n, struct child, node));
	}
	loop_timer_set(&k->accept_io, now_ns()); /* who has not said hello is looked at anew */
	log_info("vgpud %s took over: %u connections and %u executors go on", VGPU_VERSION_STRING, conns, children);
	return rc ? err_sys(-rc, "epoll") : NULL;
}
