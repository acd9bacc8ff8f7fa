/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/clients.h"
#include "agent/clock.h"
#include "base/list.h"
#include "base/log.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

struct client {
	struct list node; /* not linked: no limit, or it has passed */
	int fd;		  /* libmicrohttpd closes it after it has told us that the connection ends */
	struct timespec until;
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	unsigned seconds;
	struct list limited; /* all have the same time: in the order in which it ends */
} cl = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool passed(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

/* A shut-down socket is an event to the thread that has it: it ends the connection. */
static void *run(void *arg)
{
	pthread_mutex_lock(&cl.lock);
	while (!cl.stop) {
		struct client *first = list_empty(&cl.limited) ? NULL : list_entry(cl.limited.next, struct client, node);
		struct timespec until;

		if (!first) {
			pthread_cond_wait(&cl.wake, &cl.lock);
		} else if (passed(&first->until)) {
			shutdown(first->fd, SHUT_RDWR);
			list_del(&first->node);
		} else {
			until = first->until; /* it may end while we wait */
			pthread_cond_timedwait(&cl.wake, &cl.lock, &until);
		}
	}
	pthread_mutex_unlock(&cl.lock);
	return NULL;
}

int clients_start(unsigned seconds)
{
	cl.seconds = seconds;
	list_init(&cl.limited);
	cond_init_monotonic(&cl.wake);
	return pthread_create(&cl.thread, NULL, run, NULL);
}

void clients_stop(void)
{
	pthread_mutex_lock(&cl.lock);
	cl.stop = true;
	pthread_cond_signal(&cl.wake);
	pthread_mutex_unlock(&cl.lock);
	pthread_join(cl.thread, NULL);
}

/* Under the lock. */
static void begin(struct client *k)
{
	bool first = list_empty(&cl.limited);

	clock_gettime(CLOCK_MONOTONIC, &k->until);
	k->until.tv_sec += cl.seconds;
	list_add_tail(&cl.limited, &k->node);
	if (first)
		pthread_cond_signal(&cl.wake);
}

void clients_on_connection(void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
	int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	struct client *k = *context;

	pthread_mutex_lock(&cl.lock);
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (k)
			list_del(&k->node);
		free(k);
		*context = NULL;
	} else {
		*context = k = calloc(1, sizeof(*k));
		if (k) {
			k->fd = fd;
			begin(k);
		} else {
			shutdown(fd, SHUT_RDWR);
		}
	}
	pthread_mutex_unlock(&cl.lock);
}

static void limit(struct MHD_Connection *c, bool again)
{
	struct client *k = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;

	pthread_mutex_lock(&cl.lock);
	if (k)
		list_del(&k->node);
	if (k && again)
		begin(k);
	pthread_mutex_unlock(&cl.lock);
}

void clients_again(struct MHD_Connection *c)
{
	limit(c, true);
}

void clients_unlimited(struct MHD_Connection *c)
{
	limit(c, false);
}
