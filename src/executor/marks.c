/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the executor learns what has completed: after every few units it records an event on each
 * stream used since the last time. Whoever finds a mark's events done publishes work_done, ends the
 * units and posts the completions that waited for it. The decoder polls while it is awake; when it
 * sleeps, the reaper blocks in cuEventSynchronize() in its place.
 */
#include <stdlib.h>
#include <string.h>
#include "executor/call.h"

#define POOL_MAX 32u
#define LONG_COPY (1u << 20) /* bytes: over 100 us, two wake-ups */

/* Events for reuse, in obj.data of a context. */
struct event_pool {
	unsigned n;
	CUevent event[POOL_MAX];
};

static int event_take(struct exec *x, struct obj *ctx, CUevent *e)
{
	struct event_pool *p = ctx->data;

	if (!p)
		ctx->data = p = calloc(1, sizeof(*p));
	if (p && p->n) {
		*e = p->event[--p->n];
		return CUDA_SUCCESS;
	}
	return x->drv->cuEventCreate(e, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
}

/* Under marks.lock: the reaper gives events back too. */
static void event_give(struct exec *x, struct mark_event *m)
{
	struct event_pool *p = m->ctx->data;

	if (p && p->n < POOL_MAX)
		p->event[p->n++] = m->event;
	else if (exec_use_ctx(x, obj_handle(m->ctx)))
		x->drv->cuEventDestroy_v2(m->event);
}

static bool touched(struct exec_marks *m, struct obj *ctx, CUstream s)
{
	for (uint32_t i = 0; i < m->ntouched; i++)
		if (m->touched[i].ctx == ctx && m->touched[i].stream == s)
			return true;
	return false;
}

void marks_begin(struct exec *x, const struct call *c)
{
	struct mark *open = &x->marks.open;

	if (!(c->op->flags & VGPU_OP_UNIT) || open->units)
		return;
	open->begun_at = vgpu_now_ns();
	open->seen_at = seen_at(x, c->index);
}

bool marks_touch(struct exec *x, struct call *c)
{
	struct exec_marks *m = &x->marks;
	struct obj *ctx = c->context;

	if (obj_handle(ctx) != c->ctx)
		return false;
	if (c->op->flags & VGPU_OP_UNIT) {
		m->open.units++;
		x->env->ops->unit_begin(x->env->ops_ctx);
	}
	if (c->op->flags & VGPU_OP_GATED) {
		m->open.kernels++;
		x->kernels_issued++;
	}
	if (!touched(m, ctx, c->stream->real)) {
		m->touched[m->ntouched].ctx = ctx;
		m->touched[m->ntouched++].stream = c->stream->real;
	}
	if (c->e.flags & VGPU_E_REPLY)
		m->open.tag[m->open.calls++] = c->e.tag;
	m->open.awaited |= !!(c->e.flags & VGPU_E_REPLY) || (x->upload.pending && x->upload.index == c->index);
	return true;
}

static int record_one(struct exec *x, const struct mark_stream *on, struct mark_event *e)
{
	struct exec_marks *m = &x->marks;
	int rc;

	e->ctx = on->ctx;
	pthread_mutex_lock(&m->lock);
	rc = event_take(x, on->ctx, &e->event);
	pthread_mutex_unlock(&m->lock);
	if (rc)
		return rc;
	rc = x->drv->cuEventRecord(e->event, on->stream);
	if (rc) {
		pthread_mutex_lock(&m->lock);
		event_give(x, e);
		pthread_mutex_unlock(&m->lock);
	}
	return rc;
}

/* Records the open mark's events. Without them it may count as complete after a sticky error only, which reaches
 * everybody through the sticky word; otherwise nobody would know when the device is through: false. */
static bool record(struct exec *x, struct mark *mark)
{
	struct exec_marks *m = &x->marks;

	for (uint32_t i = 0; i < m->ntouched; i++) {
		int rc;

		rc = exec_use_live(x, m->touched[i].ctx);
		if (!rc)
			rc = record_one(x, &m->touched[i], &mark->event[mark->events]);
		exec_sticky(x, rc);
		if (!rc)
			mark->events++;
		else if (!atomic_load(&x->sticky))
			return false;
	}
	return true;
}

/* The open mark stays as it is, so that marks_idle() says no: what it covers may be running. */
static void fail(struct exec *x)
{
	x->marks.failed = true;
	exec_break(x, VGPU_ERR_EXECUTOR_CRASHED);
}

void marks_close(struct exec *x)
{
	struct exec_marks *m = &x->marks;
	struct mark *open = &m->open;
	bool empty = !open->units && !open->calls && !m->ntouched;
	uint64_t used = m->head - __atomic_load_n(&m->tail, __ATOMIC_ACQUIRE);

	/* An empty mark only publishes an index, which the next one does too: the last slot is for work. */
	if (m->failed || (empty && (open->index == held_issued(x) || used >= EXEC_MARKS - 1)))
		return;
	open->index = held_issued(x);
	open->closed_at = vgpu_now_ns();
	open->long_copy = x->charged_bytes > LONG_COPY;
	if (used >= EXEC_MARKS /* marks_room() was not asked */ || !record(x, open)) {
		fail(x);
		return;
	}
	pthread_mutex_lock(&m->lock);
	m->ring[m->head % EXEC_MARKS] = *open;
	m->kernels += open->kernels;
	atomic_store(&m->long_copies, atomic_load(&m->long_copies) + open->long_copy);
	m->head++;
	pthread_mutex_unlock(&m->lock);
	memset(open, 0, sizeof(*open));
	open->index = held_issued(x);
	m->ntouched = 0;
}

bool marks_room(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	if (m->open.kernels >= atomic_load(&x->window) / 2 || m->open.units >= EXEC_MARK_UNITS || m->ntouched >= EXEC_MARK_STREAMS ||
	    m->open.calls >= EXEC_MARK_CALLS)
		marks_close(x);
	/* Only the decoder adds; an old tail makes it wait, never overfill. */
	return !m->failed && m->head - __atomic_load_n(&m->tail, __ATOMIC_ACQUIRE) < EXEC_MARKS - 1;
}

/* Under the lock. Long kernels leave few in flight: what is in flight when the lease is due delays the
 * hand-over, and after one quantum of that the next tenant is admitted beside us. */
static void learn_window(struct exec *x, const struct mark *k)
{
	struct exec_marks *m = &x->marks;
	uint64_t now = vgpu_now_ns(), since = m->popped_at > k->closed_at ? m->popped_at : k->closed_at, units;

	m->popped_at = now;
	if (!k->kernels || k->kernels != k->units)
		return; /* copies took part of that time */
	m->unit_ns = m->unit_ns ? (7 * m->unit_ns + (now - since) / k->units) / 8 : (now - since) / k->units;
	units = EXEC_AHEAD_NS / (m->unit_ns + 1);
	units = units < EXEC_WINDOW_MIN ? EXEC_WINDOW_MIN : units > EXEC_WINDOW ? EXEC_WINDOW : units;
	atomic_store(&x->window, (uint32_t)units);
}

/* Under the lock. */
static void count_times(struct exec *x, const struct mark *k)
{
	struct exec_marks *m = &x->marks;

	if (!x->env->ops->unit_times)
		return;
	x->env->ops->unit_times(x->env->ops_ctx, EXEC_LATENCY, k->units, m->popped_at - k->seen_at);
	if (!m->batch.units)
		m->batch.since = m->batch.told > k->begun_at ? m->batch.told : k->begun_at;
	m->batch.units += k->units;
}

/* Under the lock, at the end of a look: nobody knows when within it each of them ended. */
static void tell_batch(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	if (!m->batch.units)
		return;
	x->env->ops->unit_times(x->env->ops_ctx, EXEC_EXECUTION, m->batch.units,
				(m->popped_at - m->batch.since) / m->batch.units);
	m->batch.told = m->popped_at;
	m->batch.units = 0;
}

/* Under the lock: the oldest mark is complete with rc. */
static void pop(struct exec *x, int rc)
{
	struct exec_marks *m = &x->marks;
	struct mark *k = &m->ring[m->tail % EXEC_MARKS];

	exec_sticky(x, rc);
	learn_window(x, k);
	for (uint32_t i = 0; i < k->events; i++)
		event_give(x, &k->event[i]);
	if (k->units) {
		x->env->ops->units_end(x->env->ops_ctx, k->units);
		count_times(x, k);
	}
	atomic_store_explicit(&x->kernels_ended,
			      atomic_load_explicit(&x->kernels_ended, memory_order_relaxed) + k->kernels,
			      memory_order_release);
	m->kernels -= k->kernels;
	atomic_store(&m->long_copies, atomic_load(&m->long_copies) - k->long_copy);
	atomic_store(&m->done, k->index);
	vgpu_store64(&x->host->work_done, k->index);
	for (uint32_t i = 0; i < k->calls; i++)
		exec_post(x, k->tag[i], rc ? rc : (int)atomic_load(&x->sticky), NULL);
	__atomic_store_n(&m->tail, m->tail + 1, __ATOMIC_RELEASE);
}

/* Under the lock: pops what has completed, but not what the reaper looks at. */
static void pop_completed(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	while (m->tail != m->head && !(m->reaping && m->tail == m->reaped)) {
		struct mark *k = &m->ring[m->tail % EXEC_MARKS];
		int rc = CUDA_SUCCESS;

		for (uint32_t i = 0; i < k->events && !rc; i++)
			rc = x->drv->cuEventQuery(k->event[i].event);
		if (rc == CUDA_ERROR_NOT_READY)
			break;
		pop(x, rc);
	}
}

void marks_poll(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	pthread_mutex_lock(&m->lock);
	m->wanted = false;
	pop_completed(x);
	tell_batch(x);
	pthread_mutex_unlock(&m->lock);
}

bool marks_idle(struct exec *x)
{
	struct exec_marks *m = &x->marks;
	bool idle;

	pthread_mutex_lock(&m->lock);
	idle = m->head == m->tail && !m->open.units && !m->ntouched;
	pthread_mutex_unlock(&m->lock);
	return idle;
}

bool marks_no_kernels(struct exec *x)
{
	bool none;

	pthread_mutex_lock(&x->marks.lock);
	none = !x->marks.kernels;
	pthread_mutex_unlock(&x->marks.lock);
	return none;
}

bool marks_left(struct exec *x, uint64_t *ns)
{
	struct exec_marks *m = &x->marks;
	uint64_t now = vgpu_now_ns(), since, end;
	bool known;

	pthread_mutex_lock(&m->lock);
	known = m->unit_ns && m->kernels;
	since = known ? m->ring[m->tail % EXEC_MARKS].closed_at : 0;
	since = m->popped_at > since ? m->popped_at : since;
	end = since + m->kernels * m->unit_ns;
	*ns = end > now ? end - now : 0;
	pthread_mutex_unlock(&m->lock);
	return known;
}

void marks_delegate(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	pthread_mutex_lock(&m->lock);
	m->wanted = m->head != m->tail;
	if (m->wanted)
		pthread_cond_signal(&m->go);
	pthread_mutex_unlock(&m->lock);
}

/* Under the lock: half the window is free, or what is in flight is to be given up. */
static bool decoder_has_to_do(struct exec *x)
{
	return atomic_load(&x->nudge) && atomic_load(&x->gate) == GATE_HELD &&
	       (x->marks.kernels <= atomic_load(&x->window) / 2 || x->env->ops->lease_due(x->env->ops_ctx));
}

/* Under the lock: the first mark somebody waits for. A decoder that sleeps because of a full window waits
 * for half of it, so that it wakes once per half a window and not for each mark; the next tenant for all kernels. */
static uint64_t first_awaited(struct exec *x)
{
	struct exec_marks *m = &x->marks;
	uint64_t left = m->kernels, most = atomic_load(&x->gate) == GATE_HELD ? atomic_load(&x->window) / 2 : 0, i;

	for (i = m->tail; i + 1 != m->head; i++) {
		const struct mark *k = &m->ring[i % EXEC_MARKS];

		left -= k->kernels;
		if (k->awaited || (atomic_load(&x->nudge) && left <= most))
			break;
	}
	return i;
}

/* One blocking step of the reaper, lock held on entry and exit. */
static void reap(struct exec *x, uint64_t at)
{
	struct exec_marks *m = &x->marks;
	struct mark k = m->ring[at % EXEC_MARKS];
	int rc = CUDA_SUCCESS;
	bool known = true;

	m->reaping = true;
	m->reaped = at;
	pthread_mutex_unlock(&m->lock);
	for (uint32_t i = 0; i < k.events && !rc && known; i++) {
		known = exec_use_ctx(x, obj_handle(k.event[i].ctx));
		if (known)
			rc = x->drv->cuEventSynchronize(k.event[i].event);
	}
	pthread_mutex_lock(&m->lock);
	pop_completed(x);
	m->reaping = false;
	if (!known)
		m->wanted = false; /* its context is ending: left to the decoder, which polls under the lock */
	else if (m->tail == at)
		pop(x, rc);
	tell_batch(x);
}

static void *reaper(void *arg)
{
	struct exec *x = arg;
	struct exec_marks *m = &x->marks;

	pthread_mutex_lock(&m->lock);
	while (!m->stop) {
		uint64_t at;

		if (!m->wanted || m->tail == m->head) {
			pthread_cond_wait(&m->go, &m->lock);
			continue;
		}
		at = first_awaited(x);
		reap(x, at);
		if (m->tail <= at) /* an older one, of another stream, is not complete */
			reap(x, m->tail);
		/* Whose lease has just gone back hears of the next by its doorbell. */
		if (!m->kernels && gate_drained(x) && atomic_load(&x->nudge) && !atomic_load(&x->sticky))
			continue;
		if (m->tail == m->head || decoder_has_to_do(x))
			exec_wake(x);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

void marks_drop_ctx(struct exec *x, struct obj *ctx)
{
	struct exec_marks *m = &x->marks;
	struct event_pool *p;

	/* The caller has synchronized the context, so its marks are complete; wait until they are popped. */
	pthread_mutex_lock(&m->lock);
	for (uint64_t i = m->tail; i != m->head; i++) {
		struct mark *k = &m->ring[i % EXEC_MARKS];
		uint32_t kept = 0;

		for (uint32_t j = 0; j < k->events; j++)
			if (k->event[j].ctx != ctx)
				k->event[kept++] = k->event[j];
			else if (!m->reaping || i != m->reaped)
				event_give(x, &k->event[j]);
		k->events = kept;
	}
	p = ctx->data;
	for (unsigned i = 0; p && i < p->n; i++)
		x->drv->cuEventDestroy_v2(p->event[i]);
	free(p); /* ended in two turns of the decoder: event_take() makes no other */
	ctx->data = NULL;
	pthread_mutex_unlock(&m->lock);
}

int marks_start(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->go, NULL);
	atomic_store(&x->window, EXEC_WINDOW_START);
	m->started = !pthread_create(&m->thread, NULL, reaper, x);
	return m->started ? 0 : -1;
}

void marks_stop(struct exec *x)
{
	struct exec_marks *m = &x->marks;

	pthread_mutex_lock(&m->lock);
	m->stop = true;
	pthread_cond_signal(&m->go);
	pthread_mutex_unlock(&m->lock);
	if (m->started)
		pthread_join(m->thread, NULL);
}
