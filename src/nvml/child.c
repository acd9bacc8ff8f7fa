/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/child.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* One message, then one for each GPU. */
struct head {
	int32_t rc;
	uint32_t gpus;
	uint64_t failures;
	char driver[64];
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the child ---- */

static bool send_sample(int fd, const struct gpu_sample *s)
{
	struct head h = {.rc = s->rc, .gpus = s->rc ? 0 : s->gpus, .failures = s->failures};

	memcpy(h.driver, s->driver, sizeof(h.driver));
	if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
		return false;
	for (unsigned i = 0; i < h.gpus; i++)
		if (send(fd, &s->gpu[i], sizeof(s->gpu[i]), MSG_NOSIGNAL) != sizeof(s->gpu[i]))
			return false;
	return true;
}

int gpu_child_main(int fd, int period_ms)
{
	struct gpu_reader *r = gpu_reader_new();
	int64_t next = now_ms();
	bool on = r != NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (on) {
		const struct gpu_sample *s = gpu_read(r);
		struct pollfd p = {.fd = fd};

		on = send_sample(fd, s) && !s->rc && period_ms;
		next += period_ms;
		if (next < now_ms())
			next = now_ms(); /* a slow driver is not asked twice at once */
		while (on && next > now_ms())
			if (poll(&p, 1, (int)(next - now_ms())) > 0) /* closed: nothing else comes */
				on = false;
	}
	return r ? 0 : 1; /* NVML is not closed: that may hang, and the process ends */
}

/* ---- the parent ---- */

static int start_program(struct gpu_child *c, int fd, char *const argv[])
{
	posix_spawn_file_actions_t a;
	int rc = posix_spawn_file_actions_init(&a);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(&a, fd, STDIN_FILENO);
	if (!rc)
		rc = posix_spawn(&c->pid, argv[0], &a, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&a);
	return -rc;
}

static int start_fork(struct gpu_child *c, int fd)
{
	c->pid = fork();
	if (c->pid == 0) {
		close(c->fd);
		_exit(gpu_child_main(fd, 0));
	}
	return c->pid < 0 ? -errno : 0;
}

int gpu_child_start(struct gpu_child *c, char *const argv[])
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	*c = (struct gpu_child){.fd = pair[0]};
	rc = argv ? start_program(c, pair[1], argv) : start_fork(c, pair[1]);
	close(pair[1]);
	if (rc) {
		close(pair[0]);
		*c = (struct gpu_child){.fd = -1};
	}
	return rc;
}

/* The one message of this size, before the deadline. */
static int receive(int fd, int64_t deadline, void *out, size_t size)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = recv(fd, out, size, MSG_DONTWAIT | MSG_TRUNC);
		if (n > 0)
			return (size_t)n == size ? 0 : -EPROTO;
		if (n == 0 || errno == ECONNRESET)
			return -EPIPE;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

int gpu_child_read(struct gpu_child *c, int timeout_ms, struct gpu_sample *s)
{
	int64_t deadline = now_ms() + timeout_ms;
	struct head h;
	int rc = receive(c->fd, deadline, &h, sizeof(h));

	s->gpus = 0;
	if (rc)
		return rc;
	if (h.gpus > NV_GPUS_MAX || !memchr(h.driver, 0, sizeof(h.driver)))
		return -EPROTO;
	for (unsigned i = 0; i < h.gpus && !rc; i++) {
		rc = receive(c->fd, deadline, &s->gpu[i], sizeof(s->gpu[i]));
		if (!rc && !gpu_plausible(&s->gpu[i]))
			rc = -EPROTO;
	}
	if (rc)
		return rc;
	s->rc = h.rc;
	s->gpus = h.gpus;
	s->failures = h.failures;
	memcpy(s->driver, h.driver, sizeof(s->driver));
	return 0;
}

bool gpu_child_end(struct gpu_child *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (c->pid <= 0)
		return true;
	kill(c->pid, SIGKILL);
	for (int i = 0; i < 50; i++) {
		pid_t got = waitpid(c->pid, NULL, WNOHANG);

		if (got == c->pid || (got < 0 && errno == ECHILD)) {
			c->pid = 0;
			return true;
		}
		poll(NULL, 0, 2);
	}
	return false;
}

void gpu_sample_once(struct gpu_sample *s, int timeout_ms)
{
	struct gpu_child c;
	int rc;

	memset(s, 0, sizeof(*s));
	rc = gpu_child_start(&c, NULL);
	if (!rc)
		rc = gpu_child_read(&c, timeout_ms, s);
	if (rc)
		s->rc = rc;
	gpu_child_end(&c);
}
