/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events. */
#include <string.h>
#include "executor/call.h"
#include "wire/ops_dec.h"

int op_stream_create(struct exec *x, struct call *c, const struct vgpu_in_stream_create *in,
		     struct vgpu_out_stream_create *out)
{
	CUstream s = NULL;
	struct obj *o;
	int rc = x->drv->cuStreamCreateWithPriority(&s, in->flags, in->priority);

	if (rc)
		return rc;
	o = obj_add(&x->handles, OBJ_STREAM, c->ctx, s);
	if (!o) {
		x->drv->cuStreamDestroy_v2(s);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	o->flags = in->flags;
	out->stream = obj_handle(o);
	return CUDA_SUCCESS;
}

int op_stream_destroy(struct exec *x, struct call *c, const struct vgpu_in_stream_destroy *in, struct obj *stream)
{
	CUstream real = stream->real;

	if (stream == &x->handles.legacy)
		return CUDA_ERROR_INVALID_HANDLE;
	marks_close(x); /* its last mark is recorded while it lives */
	obj_remove(&x->handles, OBJ_STREAM, stream);
	return x->drv->cuStreamDestroy_v2(real);
}

int op_stream_query(struct exec *x, struct call *c, const struct vgpu_in_stream_query *in, struct obj *stream)
{
	return x->drv->cuStreamQuery(stream->real);
}

int op_stream_sync(struct exec *x, struct call *c, const struct vgpu_in_stream_sync *in, struct obj *stream)
{
	return x->drv->cuStreamSynchronize(stream->real);
}

int op_stream_wait_event(struct exec *x, struct call *c, const struct vgpu_in_stream_wait_event *in,
			 struct obj *stream, struct obj *event)
{
	c->stream = stream;
	c->enqueued = true;
	return x->drv->cuStreamWaitEvent(stream->real, event->real, in->flags);
}

int op_stream_mark(struct exec *x, struct call *c, const struct vgpu_in_stream_mark *in, struct obj *stream)
{
	c->stream = stream;
	c->enqueued = true;
	return CUDA_SUCCESS;
}

int op_event_create(struct exec *x, struct call *c, const struct vgpu_in_event_create *in,
		    struct vgpu_out_event_create *out)
{
	CUevent e = NULL;
	struct obj *o;
	int rc = x->drv->cuEventCreate(&e, in->flags);

	if (rc)
		return rc;
	o = obj_add(&x->handles, OBJ_EVENT, c->ctx, e);
	if (!o) {
		x->drv->cuEventDestroy_v2(e);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->event = obj_handle(o);
	return CUDA_SUCCESS;
}

int op_event_destroy(struct exec *x, struct call *c, const struct vgpu_in_event_destroy *in, struct obj *event)
{
	CUevent real = event->real;

	obj_remove(&x->handles, OBJ_EVENT, event);
	return x->drv->cuEventDestroy_v2(real);
}

int op_event_record(struct exec *x, struct call *c, const struct vgpu_in_event_record *in, struct obj *event,
		    struct obj *stream)
{
	c->stream = stream;
	c->enqueued = true;
	return x->drv->cuEventRecord(event->real, stream->real);
}

int op_event_query(struct exec *x, struct call *c, const struct vgpu_in_event_query *in, struct obj *event)
{
	return x->drv->cuEventQuery(event->real);
}

int op_event_sync(struct exec *x, struct call *c, const struct vgpu_in_event_sync *in, struct obj *event)
{
	return x->drv->cuEventSynchronize(event->real);
}

int op_event_elapsed(struct exec *x, struct call *c, const struct vgpu_in_event_elapsed *in,
		     struct vgpu_out_event_elapsed *out, struct obj *start, struct obj *end)
{
	return x->drv->cuEventElapsedTime(&out->ms, start->real, end->real);
}

/* A wait that is already over needs no thread. */
static int wait_over(struct exec *x, struct call *c)
{
	struct vgpu_in_stream_sync s; /* same body as event_sync: one handle */
	struct obj *o;

	memcpy(&s, c->body, sizeof(s));
	switch (c->e.opcode) {
	case VGPU_OP_CTX_SYNC:
		marks_close(x);
		marks_poll(x);
		return marks_idle(x) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
	case VGPU_OP_STREAM_SYNC:
		o = obj_get(&x->handles, OBJ_STREAM, s.stream, c->ctx);
		return o ? (int)x->drv->cuStreamQuery(o->real) : CUDA_ERROR_INVALID_HANDLE;
	default:
		o = obj_get(&x->handles, OBJ_EVENT, s.stream, c->ctx);
		return o ? (int)x->drv->cuEventQuery(o->real) : CUDA_ERROR_INVALID_HANDLE;
	}
}

bool call_try(struct exec *x, struct call *c, int *rc)
{
	uint32_t sticky = atomic_load(&x->sticky);

	if (c->e.opcode != VGPU_OP_CTX_SYNC && c->e.opcode != VGPU_OP_STREAM_SYNC && c->e.opcode != VGPU_OP_EVENT_SYNC)
		return false;
	if (sticky)
		*rc = (int)sticky;
	else if (!exec_use_ctx(x, c->ctx))
		*rc = CUDA_ERROR_INVALID_CONTEXT;
	else
		*rc = wait_over(x, c);
	if (!*rc)
		*rc = (int)atomic_load(&x->sticky); /* what the wait itself found out */
	return *rc != CUDA_ERROR_NOT_READY;
}
