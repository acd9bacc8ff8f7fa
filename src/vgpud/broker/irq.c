/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupting a guest without ever waiting for it.
 *
 * Peer and broker share one open file description of each eventfd, so O_NONBLOCK on it is the peer's to
 * clear: a full counter would then hold the broker for ever. A look before the write leaves only a race, and
 * a timer's signal ends what is lost to that.
 */
#include "vgpud/broker/broker.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define STUCK_US 1000

static void on_alarm(int sig)
{
}

int irq_init(void)
{
	struct sigaction a = {.sa_handler = on_alarm}; /* no SA_RESTART: the write is to fail */

	return sigaction(SIGALRM, &a, NULL) ? -errno : 0;
}

void irq_raise(int fd)
{
	/* Repeated, should the first come just before the write. */
	const struct itimerval soon = {{0, STUCK_US}, {0, STUCK_US}}, off = {{0, 0}, {0, 0}};
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	uint64_t one = 1;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return; /* full counter = pending already */
	setitimer(ITIMER_REAL, &soon, NULL);
	if (write(fd, &one, sizeof(one)) < 0)
		errno = 0; /* filled meanwhile: pending as well */
	setitimer(ITIMER_REAL, &off, NULL);
}
