/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for calls that may block. One more is started whenever a call finds none idle, up to
 * EXEC_HELPERS; beyond that calls queue, as many as a guest may have open. */
#include <stdlib.h>
#include "executor/call.h"

static void *helper(void *arg)
{
	struct exec *x = arg;
	struct exec_helpers *h = &x->helpers;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		struct call *c;

		while (!h->head && !h->stop) {
			h->idle++;
			pthread_cond_wait(&h->work, &h->lock);
			h->idle--;
		}
		if (h->stop)
			break;
		c = h->head;
		h->head = c->next;
		h->queued--;
		if (!h->head)
			h->tail = NULL;
		pthread_mutex_unlock(&h->lock);
		exec_run(x, c);
		free(c);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

bool helpers_submit(struct exec *x, struct call *c)
{
	struct exec_helpers *h = &x->helpers;

	c->next = NULL;
	pthread_mutex_lock(&h->lock);
	if (h->queued >= VGPU_CH_CPL_ENTRIES) {
		pthread_mutex_unlock(&h->lock);
		return false;
	}
	h->queued++;
	if (h->tail)
		h->tail->next = c;
	else
		h->head = c;
	h->tail = c;
	if (h->idle)
		pthread_cond_signal(&h->work);
	else if (h->threads < EXEC_HELPERS && !pthread_create(&h->thread[h->threads], NULL, helper, x))
		h->threads++;
	pthread_mutex_unlock(&h->lock);
	return true;
}

int helpers_start(struct exec *x)
{
	pthread_mutex_init(&x->helpers.lock, NULL);
	pthread_cond_init(&x->helpers.work, NULL);
	return 0;
}

void helpers_stop(struct exec *x)
{
	struct exec_helpers *h = &x->helpers;

	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_broadcast(&h->work);
	pthread_mutex_unlock(&h->lock);
	for (unsigned i = 0; i < h->threads; i++)
		pthread_join(h->thread[i], NULL);
	while (h->head) {
		struct call *c = h->head;

		h->head = c->next;
		free(c);
	}
}
