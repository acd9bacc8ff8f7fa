/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include "softcuda/engine_pool.h"

struct helper {
	struct sc_pool *pool;
	unsigned worker;
	pthread_t thread;
};

struct sc_pool {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	unsigned want;	  /* helpers asked for */
	unsigned started; /* helpers running */
	bool tried, stop;
	unsigned long round; /* rises with every sc_pool_start */
	unsigned busy;	     /* helpers not yet back in this round */
	sc_pool_fn fn;
	void *arg;
	struct helper *helper;
};

static void *helper_main(void *arg)
{
	struct helper *h = arg;
	struct sc_pool *p = h->pool;
	unsigned long seen = 0;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->round == seen && !p->stop)
			pthread_cond_wait(&p->work, &p->lock);
		if (p->stop)
			break;
		seen = p->round;
		sc_pool_fn fn = p->fn;
		void *a = p->arg;
		pthread_mutex_unlock(&p->lock);
		fn(a, h->worker);
		pthread_mutex_lock(&p->lock);
		if (--p->busy == 0)
			pthread_cond_signal(&p->done);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct sc_pool *sc_pool_new(unsigned threads)
{
	struct sc_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->want = threads > 1 ? threads - 1 : 0;
	p->helper = calloc(p->want + 1, sizeof(*p->helper));
	if (!p->helper) {
		free(p);
		return NULL;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	return p;
}

void sc_pool_free(struct sc_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->started; i++)
		pthread_join(p->helper[i].thread, NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	free(p->helper);
	free(p);
}

/* Called with the lock held: a new helper sees round 0 and waits for the next one. */
static void start_helpers(struct sc_pool *p)
{
	p->tried = true;
	for (unsigned i = 0; i < p->want; i++) {
		struct helper *h = &p->helper[i];
		*h = (struct helper){ .pool = p, .worker = i + 1 };
		if (pthread_create(&h->thread, NULL, helper_main, h))
			break;
		p->started++;
	}
}

bool sc_pool_start(struct sc_pool *p, sc_pool_fn fn, void *arg)
{
	if (p->want == 0)
		return false;
	pthread_mutex_lock(&p->lock);
	if (!p->tried)
		start_helpers(p);
	unsigned n = p->started;
	if (n) {
		p->fn = fn;
		p->arg = arg;
		p->busy = n;
		p->round++;
		pthread_cond_broadcast(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return n > 0;
}

void sc_pool_wait(struct sc_pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->busy)
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
}
