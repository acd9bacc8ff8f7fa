/* SPDX-License-Identifier: Apache-2.0 */
/* The executor's side of lease_page.h. */
#include "executor/process.h"
#include <time.h>
#include <unistd.h>

_Static_assert((int)EXEC_EXECUTION == LEASE_EXECUTION && (int)EXEC_LATENCY == LEASE_LATENCY, "one order");

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void lease_kick(struct process *p)
{
	uint64_t one = 1;

	if (write(p->kick_fd, &one, sizeof(one)) < 0)
		return; /* counter full: the broker will look anyway */
}

static void set_inactive(struct lease_page *g)
{
	if (!atomic_load_explicit(&g->active, memory_order_relaxed))
		return;
	atomic_store(&g->busy_ns, atomic_load_explicit(&g->busy_ns, memory_order_relaxed) + clock_ns() -
					  atomic_load_explicit(&g->active_since, memory_order_relaxed));
	atomic_store(&g->active, 0);
}

static void publish_next(struct process *p)
{
	if (++p->lease == 0)
		p->lease = 1; /* 0 means none */
	atomic_store(&p->page->want, p->lease);
}

/* Under lease_lock. more: asks again before it gives back, so that whoever sees the one sees the other: seen
 * idle between the two, it would lose the place its share has earned. */
static void give_back(struct process *p, bool more)
{
	uint32_t mine = p->lease;

	set_inactive(p->page);
	p->held = false;
	if (more)
		publish_next(p);
	atomic_store(&p->page->released, mine);
	lease_kick(p);
}

/* Asked for, and not given back since. */
static bool pending(const struct process *p)
{
	return p->lease && !p->held && atomic_load(&p->page->released) != p->lease;
}

/* Under lease_lock: active first, then the look at revoke; see lease_page.h. */
static bool claim(struct process *p)
{
	struct lease_page *g = p->page;

	if (!p->held && pending(p) && atomic_load(&g->grant) == p->lease)
		p->held = true;
	if (!p->held)
		return false;
	p->idle_at = 0;
	if (!atomic_load_explicit(&g->active, memory_order_relaxed))
		atomic_store(&g->active_since, clock_ns());
	atomic_store(&g->active, 1);
	atomic_store(&g->claimed, p->lease);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&g->revoke) != p->lease)
		return true;
	give_back(p, true);
	return false;
}

bool lease_try(void *ctx)
{
	struct process *p = ctx;
	bool ok;

	pthread_mutex_lock(&p->lease_lock);
	ok = claim(p);
	pthread_mutex_unlock(&p->lease_lock);
	return ok;
}

void lease_ask(void *ctx)
{
	struct process *p = ctx;

	pthread_mutex_lock(&p->lease_lock);
	if (!p->held && !pending(p)) {
		publish_next(p);
		lease_kick(p);
	}
	pthread_mutex_unlock(&p->lease_lock);
}

bool lease_due(void *ctx)
{
	struct process *p = ctx;

	return atomic_load_explicit(&p->page->revoke, memory_order_relaxed) == p->lease;
}

void lease_ending(void *ctx)
{
	struct process *p = ctx;

	pthread_mutex_lock(&p->lease_lock);
	if (p->held && atomic_load(&p->page->revoke) == p->lease) {
		atomic_store(&p->page->ending, p->lease);
		lease_kick(p);
	}
	pthread_mutex_unlock(&p->lease_lock);
}

void lease_release(void *ctx)
{
	struct process *p = ctx;

	pthread_mutex_lock(&p->lease_lock);
	/* Taken away, so there was work. Unneeded after all, lease_idle() gives it back. */
	if (p->held)
		give_back(p, atomic_load(&p->page->revoke) == p->lease);
	pthread_mutex_unlock(&p->lease_lock);
}

/* How much longer an idle lease is kept although others wait: see LEASE_GRACE_NS. Under lease_lock. */
static uint64_t grace(struct process *p)
{
	uint64_t now = clock_ns();

	if (atomic_load(&p->page->waiters) != LEASE_CONTENDED || atomic_load(&p->page->revoke) == p->lease)
		return 0;
	if (!p->idle_at)
		p->idle_at = now;
	return now - p->idle_at < LEASE_GRACE_NS ? LEASE_GRACE_NS - (now - p->idle_at) : 0;
}

uint64_t lease_idle(void *ctx)
{
	struct process *p = ctx;
	struct lease_page *g = p->page;
	uint64_t left = 0;

	pthread_mutex_lock(&p->lease_lock);
	if (p->held && !(left = grace(p))) {
		set_inactive(g);
		p->idle_at = 0;
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(&g->waiters) || atomic_load(&g->revoke) == p->lease)
			give_back(p, false);
	} else if (!p->held && pending(p)) {
		give_back(p, false); /* asked for in lease_release(), and not needed after all */
	}
	pthread_mutex_unlock(&p->lease_lock);
	return left;
}

/* One writer at a time each, so no locked instruction. */
static void count_up(_Atomic uint64_t *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n, memory_order_relaxed);
}

void lease_unit_begin(void *ctx)
{
	count_up(&((struct process *)ctx)->page->units_begun, 1);
}

void lease_units_end(void *ctx, uint32_t n)
{
	count_up(&((struct process *)ctx)->page->units_ended, n);
}

void lease_unit_times(void *ctx, enum exec_time what, uint32_t n, uint64_t ns)
{
	struct lease_times *t = &((struct process *)ctx)->page->times[what];

	count_up(&t->count[hist_bucket(ns)], n);
	count_up(&t->sum, n * ns);
}
