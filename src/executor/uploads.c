/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Staged uploads are complete before any later work of the process starts, whatever its stream.
 *
 * CUDA promises less: a pageable HtoDAsync may return when staged, and only its own stream waits for
 * it. But a real driver copies a small buffer before it returns, and programs have come to rely on
 * that: ffmpeg's two hwupload_cuda filters each use a context of their own, and overlay_cuda reads
 * both pictures in one of them without ever waiting. Here "staged" comes long before "copied", so the
 * order has to be made. It costs nothing while a process stays on one stream.
 */
#include "executor/call.h"

static int make_wait(struct exec *x, const struct exec_upload *u, struct obj *from, uint32_t ctx, CUstream to)
{
	const struct cuda_driver *d = x->drv;
	CUevent e = NULL;
	int rc;

	if (!exec_use_ctx(x, u->ctx))
		return CUDA_SUCCESS; /* destroyed, which waited for it */
	rc = d->cuEventCreate(&e, CU_EVENT_DISABLE_TIMING);
	if (!rc)
		rc = d->cuEventRecord(e, from->real);
	if (!exec_use_ctx(x, ctx))
		rc = CUDA_ERROR_INVALID_CONTEXT;
	if (!rc)
		rc = d->cuStreamWaitEvent(to, e, 0);
	if (e)
		d->cuEventDestroy_v2(e);
	return rc;
}

int uploads_order(struct exec *x, const struct call *c, struct obj *stream)
{
	struct exec_upload *u = &x->upload;
	struct obj *from;

	if (!u->pending || (u->ctx == c->ctx && u->stream == obj_handle(stream)))
		return CUDA_SUCCESS;
	if (atomic_load(&x->marks.done) > u->index) {
		u->pending = false;
		return CUDA_SUCCESS;
	}
	from = obj_get(&x->handles, OBJ_STREAM, u->stream, u->ctx);
	/* It stays pending: a third stream has to wait for it as well. */
	return from ? make_wait(x, u, from, c->ctx, stream->real) : CUDA_SUCCESS;
}

/* The uploads before it, if any, are ordered before this one: one to remember is enough. */
void uploads_note(struct exec *x, const struct call *c, struct obj *stream)
{
	x->upload = (struct exec_upload){ .pending = true, .ctx = c->ctx, .stream = obj_handle(stream),
					  .index = c->index };
}
