/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host functions. The stream reports when it has got to one; the process's one callback thread runs it
 * and says so; only then does the executor issue what follows on that stream (executor/held.c).
 *
 * They run one at a time and in the order in which they were enqueued, whatever their streams. Since a
 * stream can only wait for what was enqueued before, that order never waits for itself. A host function
 * that calls CUDA gets CUDA_ERROR_NOT_PERMITTED.
 *
 * The library's own actions that wait for a stream (pool.c) go the same way; no stream waits for them.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define OPEN_MAX (CLIENT_SLOTS / 2) /* the other slots are for calls that wait, host_done among them */

struct host_call {
	CUhostFn fn; /* NULL: callback */
	guest_own_fn *own; /* the library's: called whatever became of the stream, and nothing is held for it */
	CUstreamCallback callback;
	CUstream stream; /* as the program named it */
	void *data;
	struct vgpu_slot *slot;
	uint64_t entry; /* work index behind it */
	struct host_call *next;
};

static struct {
	pthread_mutex_t order; /* held over enqueuing, so that the list is in ring order; before `lock` */
	pthread_mutex_t lock;  /* the rest */
	pthread_cond_t change;
	struct host_call *head, *tail;
	unsigned open;
	bool started;
} q = { .order = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER };

static void run(struct host_call *h)
{
	struct vgpu_in_host_done done = { .entry = h->entry };
	int rc = slot_wait(guest_client, h->slot, NULL);

	slot_give(guest_client, h->slot);
	if (h->own)
		h->own(h->data, h->entry);
	else if (h->callback)
		h->callback(h->stream, rc, h->data);
	else if (!rc)
		h->fn(h->data);
	if (!h->own)
		vgpu_call_host_done(guest_client, 0, &done);
}

static void *callback_thread(void *unused)
{
	guest_in_callback = true;
	pthread_mutex_lock(&q.lock);
	for (;;) {
		struct host_call *h = q.head;

		if (!h) {
			pthread_cond_wait(&q.change, &q.lock);
			continue;
		}
		q.head = h->next;
		pthread_mutex_unlock(&q.lock);
		run(h);
		free(h);
		pthread_mutex_lock(&q.lock);
		q.open--;
		pthread_cond_broadcast(&q.change);
	}
	return NULL;
}

/* lock held. The program's signals are for its own threads. */
static bool start_thread(void)
{
	sigset_t all, old;
	pthread_t t;

	if (q.started)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	q.started = !pthread_create(&t, NULL, callback_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (q.started)
		pthread_detach(t);
	return q.started;
}

/* Room for one more; the oldest end by themselves. */
static int open_one(void)
{
	bool ok;

	pthread_mutex_lock(&q.lock);
	ok = start_thread();
	while (ok && q.open == OPEN_MAX)
		pthread_cond_wait(&q.change, &q.lock);
	q.open += ok;
	pthread_mutex_unlock(&q.lock);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

static void append(struct host_call *h)
{
	pthread_mutex_lock(&q.lock);
	if (q.head)
		q.tail->next = h;
	else
		q.head = h;
	q.tail = h;
	pthread_cond_broadcast(&q.change);
	pthread_mutex_unlock(&q.lock);
}

static void give_up(struct host_call *h)
{
	if (h->slot)
		slot_give(guest_client, h->slot);
	free(h);
	pthread_mutex_lock(&q.lock);
	q.open--;
	pthread_cond_broadcast(&q.change);
	pthread_mutex_unlock(&q.lock);
}

/* Takes h over. */
static int post(struct stream_ref *s, struct host_call *h)
{
	struct vgpu_in_host_func in = { .stream = s->wire }; /* and the body of stream_mark */
	struct vgpu_entry *e = NULL;

	pthread_mutex_lock(&q.order);
	h->slot = slot_take(guest_client);
	if (h->slot)
		e = work_begin(guest_client, h->own ? VGPU_OP_STREAM_MARK : VGPU_OP_HOST_FUNC, s->ctx->wire, 0, NULL);
	if (e) {
		memcpy(e->body, &in, sizeof(in));
		e->flags = VGPU_E_REPLY;
		e->tag = h->slot->tag;
		h->entry = work_commit(guest_client, e);
		stream_touch(s, h->entry);
		append(h);
	}
	pthread_mutex_unlock(&q.order);
	if (e)
		return CUDA_SUCCESS;
	give_up(h);
	return client_death(guest_client, true);
}

static int enqueue(CUstream stream, struct host_call like)
{
	struct host_call *h;
	struct stream_ref s;
	int rc = stream_enter(stream, &s);

	if (rc)
		return rc;
	h = malloc(sizeof(*h));
	if (!h)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*h = like;
	h->stream = stream;
	rc = open_one();
	if (rc) {
		free(h);
		return rc;
	}
	return post(&s, h);
}

int hostfunc_own(CUstream stream, guest_own_fn *fn, void *data)
{
	return enqueue(stream, (struct host_call){ .own = fn, .data = data });
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *data)
{
	int rc = guest_ready();

	if (rc || !fn)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	return enqueue(stream, (struct host_call){ .fn = fn, .data = data });
}

CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *data, unsigned int flags)
{
	int rc = guest_ready();

	if (rc || !callback || flags)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	return enqueue(stream, (struct host_call){ .callback = callback, .data = data });
}
