/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host functions: work that waits for the guest, without the executor waiting.
 *
 * A host_func entry is completed like a copy with a reply: when its stream gets there. From then until
 * the guest's host_done nothing later of that stream may be issued. Such entries are taken out of the
 * ring and held here, in ring order; whatever depends on a held entry is held behind it, and everything
 * else goes on:
 *
 *   same stream                                 held behind it
 *   legacy stream <-> blocking stream, one context   held behind it
 *   record or destruction of an event a held entry names, or the reverse   held behind it
 *
 * The device is not involved: nothing held has been issued, so the lease goes back as it does when the
 * ring is empty, and the watchdog sees no unit. A guest that never answers keeps only its own streams
 * from going on. What a guest makes us keep is bounded: HELD_MAX entries and HELD_BYTES of payload;
 * then the ring stays where it is until host_done, the control ring goes on.
 *
 * All of it is the decoder's own: no locks.
 */
#include <stdlib.h>
#include <string.h>
#include "executor/call.h"
#include "wire/ops_dec.h"

#define HELD_MAX VGPU_CH_WORK_ENTRIES
#define HELD_BYTES (4u << 20)

/* What an entry waits for and makes wait. */
struct needs {
	uint32_t ctx, stream, event[2];
	bool has_stream, blocking; /* blocking: takes part in the legacy stream's order */
	bool writes;		   /* records or destroys its event */
};

static uint32_t handle_at(const struct call *c, uint32_t at)
{
	uint32_t h = 0;

	if (at != VGPU_NOWHERE)
		memcpy(&h, c->body + at, sizeof(h));
	return h;
}

static struct needs needs_of(struct exec *x, const struct call *c)
{
	struct needs n = { .ctx = c->ctx, .has_stream = c->op->stream_at != VGPU_NOWHERE };
	struct obj *s;

	n.stream = handle_at(c, c->op->stream_at);
	n.event[0] = handle_at(c, c->op->event_at[0]);
	n.event[1] = handle_at(c, c->op->event_at[1]);
	n.writes = c->e.opcode == VGPU_OP_EVENT_RECORD || c->e.opcode == VGPU_OP_EVENT_DESTROY;
	s = n.has_stream ? obj_get(&x->handles, OBJ_STREAM, n.stream, c->ctx) : NULL;
	n.blocking = s && !(s->flags & CU_STREAM_NON_BLOCKING);
	return n;
}

static bool streams_meet(const struct needs *a, const struct needs *b)
{
	if (!a->has_stream || !b->has_stream || a->ctx != b->ctx)
		return false;
	return a->stream == b->stream || ((!a->stream || !b->stream) && a->blocking && b->blocking);
}

static bool events_meet(const struct needs *a, const struct needs *b)
{
	if (!a->writes && !b->writes)
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (a->event[i / 2] && a->event[i / 2] == b->event[i % 2])
			return true;
	return false;
}

/* Does c depend on an entry of the list before `end`? */
static bool depends(struct exec *x, const struct call *c, const struct call *end)
{
	struct needs n = needs_of(x, c);

	for (const struct call *h = x->held.head; h != end; h = h->next) {
		struct needs o = needs_of(x, h);

		if (streams_meet(&n, &o) || events_meet(&n, &o))
			return true;
	}
	return false;
}

uint64_t held_issued(const struct exec *x)
{
	return x->held.head ? x->held.head->index : x->work_tail;
}

bool held_wants(struct exec *x, const struct call *c)
{
	return c->e.opcode == VGPU_OP_HOST_FUNC || (x->held.head && depends(x, c, NULL));
}

bool held_add(struct exec *x, const struct call *c)
{
	struct exec_held *h = &x->held;
	struct call *copy = NULL;

	if (h->n < HELD_MAX && h->bytes + c->payload_len <= HELD_BYTES)
		copy = malloc(sizeof(*copy) + c->payload_len);
	h->full = !copy && h->n; /* out of memory with nothing held: try again */
	if (!copy)
		return false;
	*copy = *c;
	if (c->payload_len)
		memcpy(copy + 1, c->payload, c->payload_len);
	copy->payload = (uint8_t *)(copy + 1);
	copy->next = NULL;
	if (h->tail)
		h->tail->next = copy;
	else
		h->head = copy;
	h->tail = copy;
	h->n++;
	h->bytes += c->payload_len;
	h->look = true;
	return true;
}

static void drop(struct exec *x, struct call **at, struct call *before)
{
	struct exec_held *h = &x->held;
	struct call *c = *at;

	*at = c->next;
	if (h->tail == c)
		h->tail = before;
	h->n--;
	h->bytes -= c->payload_len;
	h->full = false;
	h->look = true; /* others may go on now */
	h->moved = true;
	free(c);
}

bool held_step(struct exec *x)
{
	struct exec_held *h = &x->held;
	struct call *before = NULL;
	bool did = false;

	if (!h->look)
		return false;
	h->look = h->stuck = false;
	for (struct call **at = &h->head, *c; (c = *at) && !h->stuck;) {
		bool host = c->e.opcode == VGPU_OP_HOST_FUNC;

		if (c->running || depends(x, c, c)) {
			before = c;
			at = &c->next;
		} else if (!exec_may_issue(x, c)) {
			h->stuck = true;
		} else if (did = true, exec_issue(x, c) || !host) {
			drop(x, at, before);
		} else {
			c->running = true;
		}
	}
	h->look |= h->stuck;
	return did;
}

bool held_before(struct exec *x, const struct call *c)
{
	struct needs n = needs_of(x, c);

	for (const struct call *h = x->held.head; h; h = h->next) {
		struct needs o;

		if ((int32_t)(c->e.follows - (uint32_t)h->index) <= 0)
			break;
		if (!n.has_stream && !n.event[0]) /* of everything: a free, a context's end */
			return true;
		o = needs_of(x, h);
		if (streams_meet(&n, &o) || events_meet(&n, &o))
			return true;
	}
	return false;
}

int op_host_done(struct exec *x, struct call *c, const struct vgpu_in_host_done *in)
{
	struct call *before = NULL;

	for (struct call **at = &x->held.head; *at; before = *at, at = &before->next)
		if ((*at)->running && (*at)->index + 1 == in->entry) {
			drop(x, at, before);
			return CUDA_SUCCESS;
		}
	return CUDA_ERROR_INVALID_VALUE;
}

int op_host_func(struct exec *x, struct call *c, const struct vgpu_in_host_func *in, struct obj *stream)
{
	if (!(c->e.flags & VGPU_E_REPLY)) /* the guest would never hear that its turn has come */
		return CUDA_ERROR_INVALID_VALUE;
	c->stream = stream;
	c->enqueued = true;
	return CUDA_SUCCESS;
}

void held_free(struct exec *x)
{
	for (struct call *c; (c = x->held.head);) {
		x->held.head = c->next;
		free(c);
	}
}
