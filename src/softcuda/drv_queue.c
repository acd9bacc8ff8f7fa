// SPDX-License-Identifier: Apache-2.0
/*
 * Streams as a graph of ops.
 *
 * An op waits for a number of others (the one before it in its stream; for the legacy stream the
 * newest of every blocking stream; an event's record). When the last of them is done it becomes
 * ready: a mark (event record, wait) is done at that moment; a kernel, copy or host function goes to
 * the context's worker of that class. Copies and host functions have workers of their own because a
 * running kernel may be waiting for them.
 *
 * One lock for the graph of the whole process: an event of one context may be waited for in another.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "softcuda/drv.h"

#define QUEUE_DEPTH 1024 /* ops a stream may have queued before the caller waits, as drivers do */
#define WORKER_SPIN 4000 /* polls, about 20 us: longer than the gap between launches in a loop */
#define WAIT_SPIN   1000

static pthread_mutex_t sched = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t finished = PTHREAD_COND_INITIALIZER;
static unsigned waiters;
static struct drv_op *idle_ops;

static inline void relax(void)
{
#if defined __x86_64__
	__builtin_ia32_pause();
#endif
}

uint64_t drv_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

struct drv_op *drv_op_new(struct drv_stream *s, enum drv_class class, int (*run)(struct drv_op *))
{
	pthread_mutex_lock(&sched);
	struct drv_op *op = idle_ops;
	if (op)
		idle_ops = op->next;
	pthread_mutex_unlock(&sched);
	if (!op && !(op = malloc(sizeof *op)))
		return NULL;
	memset(op, 0, offsetof(struct drv_op, small));
	atomic_store_explicit(&op->refs, 1, memory_order_relaxed);
	op->class = class;
	op->stream = s;
	op->run = run;
	op->dependents = op->few;
	op->room = sizeof op->few / sizeof *op->few;
	return op;
}

void drv_op_ref(struct drv_op *op)
{
	atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
}

/* Gives an op back; its memory is reused for ops only. */
static void recycle(struct drv_op *op)
{
	if (op->dependents != op->few)
		free(op->dependents);
	op->next = idle_ops;
	idle_ops = op;
}

static void unref_locked(struct drv_op *op)
{
	if (atomic_fetch_sub_explicit(&op->refs, 1, memory_order_acq_rel) == 1)
		recycle(op);
}

void drv_op_unref(struct drv_op *op)
{
	pthread_mutex_lock(&sched);
	unref_locked(op);
	pthread_mutex_unlock(&sched);
}

/* later waits for earlier. 0 or CUDA_ERROR_OUT_OF_MEMORY. */
static int depend(struct drv_op *later, struct drv_op *earlier)
{
	if (!earlier || atomic_load(&earlier->done) || earlier == later)
		return 0;
	if (earlier->ndependents == earlier->room) {
		struct drv_op **more = malloc(2 * earlier->room * sizeof *more);
		if (!more)
			return CUDA_ERROR_OUT_OF_MEMORY;
		memcpy(more, earlier->dependents, earlier->ndependents * sizeof *more);
		if (earlier->dependents != earlier->few)
			free(earlier->dependents);
		earlier->dependents = more;
		earlier->room *= 2;
	}
	earlier->dependents[earlier->ndependents++] = later;
	later->waits_for++;
	return 0;
}

static int depend_on_stream_rules(struct drv_op *op)
{
	struct drv_stream *s = op->stream, *other;
	struct drv_ctx *ctx = s->ctx;
	int r = depend(op, s->last);
	if (s == ctx->legacy || s == ctx->barrier) {
		for (other = ctx->streams; other && !r; other = other->next) {
			if (other != s && (s == ctx->barrier || !(other->flags & CU_STREAM_NON_BLOCKING)))
				r = depend(op, other->last);
		}
	} else if (!r && !(s->flags & CU_STREAM_NON_BLOCKING)) {
		r = depend(op, ctx->legacy->last);
	}
	return r;
}

static void make_ready(struct drv_op *op)
{
	struct drv_worker *w = &op->stream->ctx->worker[op->class];
	op->brief = false; /* whoever runs it waits for the device */
	op->next = NULL;
	*w->tail = op;
	w->tail = &op->next;
	atomic_fetch_add(&w->ready, 1);
	if (w->sleeping)
		pthread_cond_signal(&w->wake);
}

/* Unlists a stream and gives its object back. */
static void forget(struct drv_stream *s)
{
	for (struct drv_stream **p = &s->ctx->streams; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			break;
		}
	}
	drv_obj_free(s);
}

static void stream_leave(struct drv_op *op)
{
	struct drv_stream *s = op->stream;
	if (s->last == op)
		s->last = NULL;
	s->ctx->pending--;
	if (!--s->pending && s->dead)
		forget(s);
}

/* op is done; so are the marks that waited for nothing else. */
static void complete(struct drv_op *op)
{
	struct drv_op *list = op;
	uint64_t now = 0;
	op->next = NULL;
	while ((op = list)) {
		list = op->next;
		if (op->class == OP_MARK)
			op->done_ns = now ? now : (now = drv_now_ns());
		atomic_store_explicit(&op->done, true, memory_order_release);
		for (unsigned i = 0; i < op->ndependents; i++) {
			struct drv_op *d = op->dependents[i];
			if (--d->waits_for)
				continue;
			if (d->class == OP_MARK) {
				d->next = list;
				list = d;
			} else {
				make_ready(d);
			}
		}
		stream_leave(op);
		unref_locked(op);
	}
	if (waiters)
		pthread_cond_broadcast(&finished);
}

/* False: the device is busy, nothing was done; only of a brief kernel. */
static bool run_op(struct drv_op *op)
{
	struct drv_ctx *ctx = op->stream->ctx;
	int none = 0, r = 0;
	if (op->even_after_fault || !atomic_load(&ctx->fault))
		r = op->run(op);
	if (r == SC_LAUNCH_BUSY)
		return false;
	if (r)
		atomic_compare_exchange_strong(&ctx->fault, &none, r);
	if (op->release)
		op->release(op);
	return true;
}

/* Work shorter than waking a worker for it is done by the caller, if nothing precedes it. */
static bool for_caller(const struct drv_op *op, enum drv_how how)
{
	if (op->class == OP_COPY)
		return how == DRV_SYNC || op->brief;
	return op->class == OP_COMPUTE && op->brief && !op->stream->ctx->worker[OP_COMPUTE].head;
}

static void wait_for_room(struct drv_stream *s)
{
	if (s->pending < QUEUE_DEPTH)
		return;
	waiters++;
	while (s->pending >= QUEUE_DEPTH / 2)
		pthread_cond_wait(&finished, &sched);
	waiters--;
}

/* Links op into the graph; true when the caller must run it itself. Scheduler's lock held. */
static int link_op(struct drv_op *op, struct drv_op *const *extra, unsigned nextra, enum drv_how how, bool *run_here)
{
	wait_for_room(op->stream);
	op->waits_for = 1; /* until all are linked: an error below must not leave it half in the graph */
	int r = depend_on_stream_rules(op);
	for (unsigned i = 0; i < nextra && !r; i++)
		r = depend(op, extra[i]);
	op->stream->last = op;
	op->stream->pending++;
	op->stream->ctx->pending++;
	if (r) /* no memory for an edge: keep the order by hand, skip the work */
		op->run = NULL;
	if (--op->waits_for)
		return r;
	if (op->class == OP_MARK)
		complete(op);
	else if (for_caller(op, how))
		*run_here = true;
	else
		make_ready(op);
	return r;
}

static int run_nothing(struct drv_op *op)
{
	return 0;
}

static int submit(struct drv_op *op, struct drv_op *const *extra, unsigned nextra, enum drv_how how, struct drv_op **keep)
{
	struct drv_ctx *ctx = op->stream->ctx;
	bool run_here = false;
	if (!op->run)
		op->run = run_nothing;
	if (keep || how == DRV_SYNC)
		drv_op_ref(op);
	pthread_mutex_lock(&sched);
	int r = link_op(op, extra, nextra, how, &run_here);
	if (!op->run)
		op->run = run_nothing;
	if (run_here) {
		pthread_mutex_unlock(&sched);
		bool ran = run_op(op);
		pthread_mutex_lock(&sched);
		if (ran)
			complete(op);
		else
			make_ready(op);
	}
	pthread_mutex_unlock(&sched);
	if (keep)
		*keep = op;
	if (how == DRV_ASYNC)
		return r;
	drv_op_wait(op);
	drv_op_unref(op);
	return r ? r : atomic_load(&ctx->fault);
}

int drv_submit(struct drv_op *op, struct drv_op *const *extra, unsigned nextra, enum drv_how how)
{
	return submit(op, extra, nextra, how, NULL);
}

int drv_submit_keep(struct drv_op *op, struct drv_op **keep)
{
	return submit(op, NULL, 0, DRV_ASYNC, keep);
}

static struct drv_op *take(struct drv_worker *w)
{
	struct drv_op *op = w->head;
	if (!op)
		return NULL;
	w->head = op->next;
	if (!w->head)
		w->tail = &w->head;
	atomic_fetch_sub(&w->ready, 1);
	return op;
}

/* Whether goal, which is not done, waits for the ready op: a waiting thread may then run it itself. */
static bool precedes(const struct drv_op *op, const struct drv_op *goal)
{
	const struct drv_stream *s = goal->stream;
	if (op->stream == s || s == s->ctx->barrier)
		return true;
	return s == s->ctx->legacy && !(op->stream->flags & CU_STREAM_NON_BLOCKING);
}

/* A ready kernel or copy that goal waits for, taken from its worker. Host functions stay on theirs. */
static struct drv_op *take_for(struct drv_op *goal)
{
	for (int i = OP_COMPUTE; i <= OP_COPY; i++) {
		struct drv_worker *w = &goal->stream->ctx->worker[i];
		if (w->head && precedes(w->head, goal))
			return take(w);
	}
	return NULL;
}

/* Runs what goal waits for rather than wake a worker and sleep; polls a while; sleeps. */
void drv_op_wait(struct drv_op *goal)
{
	int polls = 0;
	pthread_mutex_lock(&sched);
	while (!atomic_load(&goal->done)) {
		struct drv_op *op = take_for(goal);
		if (op || polls < WAIT_SPIN) {
			pthread_mutex_unlock(&sched);
			if (op)
				run_op(op);
			for (; !op && polls < WAIT_SPIN && !atomic_load_explicit(&goal->done, memory_order_acquire); polls++)
				relax();
			pthread_mutex_lock(&sched);
			if (op)
				complete(op);
		} else {
			waiters++;
			pthread_cond_wait(&finished, &sched);
			waiters--;
		}
	}
	pthread_mutex_unlock(&sched);
}

static int sync_mark(struct drv_stream *s)
{
	struct drv_op *op = drv_op_new(s, OP_MARK, NULL);
	return op ? drv_submit(op, NULL, 0, DRV_SYNC) : CUDA_ERROR_OUT_OF_MEMORY;
}

int drv_stream_sync(struct drv_stream *s)
{
	return sync_mark(s);
}

int drv_ctx_sync(struct drv_ctx *ctx)
{
	return sync_mark(ctx->barrier);
}

bool drv_stream_idle(struct drv_stream *s)
{
	pthread_mutex_lock(&sched);
	bool idle = !s->pending;
	if (s == s->ctx->legacy) {
		for (struct drv_stream *o = s->ctx->streams; o; o = o->next)
			idle = idle && (!o->pending || (o->flags & CU_STREAM_NON_BLOCKING));
	}
	pthread_mutex_unlock(&sched);
	return idle;
}

struct drv_stream *drv_stream_make(struct drv_ctx *ctx, unsigned flags, int priority, bool listed)
{
	static _Atomic uint64_t ids = 1;
	struct drv_stream *s = drv_obj_new(KIND_STREAM, sizeof *s);
	if (!s)
		return NULL;
	s->ctx = ctx;
	s->flags = flags;
	s->priority = priority;
	s->id = atomic_fetch_add(&ids, 1);
	s->sync_policy.syncPolicy = CU_SYNC_POLICY_AUTO;
	if (listed) {
		pthread_mutex_lock(&sched);
		s->next = ctx->streams;
		ctx->streams = s;
		pthread_mutex_unlock(&sched);
	}
	return s;
}

/* Its queued work still runs, and the legacy stream still waits for it; the handle is dead at once. */
void drv_stream_drop(struct drv_stream *s)
{
	pthread_mutex_lock(&sched);
	s->dead = true;
	if (!s->pending)
		forget(s);
	pthread_mutex_unlock(&sched);
}

/* ---- workers */

/* Nothing to do: poll for a while without the lock, then sleep. */
static void rest(struct drv_worker *w)
{
	pthread_mutex_unlock(&sched);
	for (int i = 0; i < WORKER_SPIN && !atomic_load_explicit(&w->ready, memory_order_relaxed); i++)
		relax();
	pthread_mutex_lock(&sched);
	if (!w->head && !atomic_load(&w->ctx->stopping)) {
		w->sleeping = true;
		pthread_cond_wait(&w->wake, &sched);
		w->sleeping = false;
	}
}

static void *work(void *arg)
{
	struct drv_worker *w = arg;
	pthread_mutex_lock(&sched);
	for (;;) {
		struct drv_op *op = take(w);
		if (op) {
			pthread_mutex_unlock(&sched);
			run_op(op);
			pthread_mutex_lock(&sched);
			complete(op);
		} else if (atomic_load(&w->ctx->stopping)) {
			break;
		} else {
			rest(w);
		}
	}
	pthread_mutex_unlock(&sched);
	return NULL;
}

int drv_workers_start(struct drv_ctx *ctx)
{
	sigset_t all, old;
	int r = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's signals are for its own threads */
	for (int i = 0; i < OP_WORKERS && !r; i++) {
		struct drv_worker *w = &ctx->worker[i];
		w->ctx = ctx;
		w->tail = &w->head;
		pthread_cond_init(&w->wake, NULL);
		r = pthread_create(&w->thread, NULL, work, w);
		w->started = !r;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		drv_workers_stop(ctx);
	return r ? CUDA_ERROR_OPERATING_SYSTEM : 0;
}

void drv_workers_stop(struct drv_ctx *ctx)
{
	pthread_mutex_lock(&sched);
	atomic_store(&ctx->stopping, true);
	for (int i = 0; i < OP_WORKERS; i++) {
		if (ctx->worker[i].started)
			pthread_cond_signal(&ctx->worker[i].wake);
	}
	pthread_mutex_unlock(&sched);
	for (int i = 0; i < OP_WORKERS; i++) {
		if (ctx->worker[i].started)
			pthread_join(ctx->worker[i].thread, NULL);
		ctx->worker[i].started = false;
	}
}
