/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int loop_init(struct loop *l)
{
	*l = (struct loop){.epfd = epoll_create1(EPOLL_CLOEXEC)};
	return l->epfd < 0 ? -errno : 0;
}

void loop_fini(struct loop *l)
{
	if (l->epfd >= 0)
		close(l->epfd);
	l->epfd = -1;
}

int loop_add(struct loop *l, struct loop_io *io, int fd, uint32_t events, loop_fn *fn, void *arg)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};

	*io = (struct loop_io){.fd = fd, .fn = fn, .arg = arg};
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	io->added = true;
	return 0;
}

int loop_mod(struct loop *l, struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};

	return epoll_ctl(l->epfd, EPOLL_CTL_MOD, io->fd, &ev) < 0 ? -errno : 0;
}

void loop_del(struct loop *l, struct loop_io *io)
{
	if (!io->added)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, io->fd, NULL);
	io->added = false;
	for (int i = 0; i < l->n_pending; i++)
		if (l->pending[i].data.ptr == io)
			l->pending[i].data.ptr = NULL;
}

int loop_run(struct loop *l)
{
	bool more = l->work != NULL;

	while (!l->stop) {
		int n = epoll_wait(l->epfd, l->pending, LOOP_BATCH, more ? 0 : -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		l->n_pending = n;
		for (int i = 0; i < n && !l->stop; i++) {
			struct loop_io *io = l->pending[i].data.ptr;

			if (io)
				io->fn(io, l->pending[i].events);
		}
		l->n_pending = 0;
		more = l->work && !l->stop && l->work(l->work_arg);
	}
	return 0;
}

int loop_timer_init(struct loop *l, struct loop_io *io, loop_fn *fn, void *arg)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), rc;

	if (fd < 0)
		return -errno;
	rc = loop_add(l, io, fd, EPOLLIN, fn, arg);
	if (rc)
		close(fd);
	return rc;
}

void loop_timer_set(struct loop_io *io, uint64_t at_ns)
{
	struct itimerspec t = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000),
					    .tv_nsec = (long)(at_ns % 1000000000)}};

	/* Setting also clears an expiry not read yet; only bad arguments fail. */
	timerfd_settime(io->fd, TFD_TIMER_ABSTIME, &t, NULL);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
