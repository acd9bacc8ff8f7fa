// SPDX-License-Identifier: Apache-2.0
/* Streams, events and host functions: the API over drv_queue.c. */
#include <stdlib.h>
#include <string.h>
#include "softcuda/drv.h"

struct drv_event {
	struct drv_obj obj;
	struct drv_ctx *ctx;
	unsigned flags;
	struct drv_op *record; /* the newest; a reference; event_lock */
};
static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;

int drv_stream_get(struct drv_ctx *ctx, CUstream handle, struct drv_stream **out)
{
	if (!handle || handle == CU_STREAM_LEGACY) {
		*out = ctx->legacy;
		return 0;
	}
	if (handle == CU_STREAM_PER_THREAD) {
		*out = drv_thread_stream(ctx);
		return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
	}
	*out = drv_obj_get(KIND_STREAM, handle);
	if (!*out || (*out)->dead)
		return CUDA_ERROR_INVALID_HANDLE;
	return atomic_load_explicit(&(*out)->ctx->fault, memory_order_relaxed);
}

int drv_enter_stream(CUstream handle, struct drv_ctx **ctx, struct drv_stream **out)
{
	DRV_TRY(drv_current(ctx));
	return drv_stream_get(*ctx, handle, out);
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!stream || flags & ~CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	struct drv_stream *s = drv_stream_make(ctx, flags, 0, true); /* one priority: the range is 0 to 0 */
	if (!s)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*stream = drv_obj_handle(s);
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
	return cuStreamCreateWithPriority(stream, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream hStream)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current_any(&ctx));
	struct drv_stream *s = drv_obj_get(KIND_STREAM, hStream);
	if (!s || s->dead)
		return CUDA_ERROR_INVALID_HANDLE;
	drv_stream_drop(s);
	return CUDA_SUCCESS;
}

#define STREAM(hStream)           \
	struct drv_ctx *ctx;      \
	struct drv_stream *s;     \
	DRV_TRY(drv_enter_stream(hStream, &ctx, &s))

CUresult cuStreamGetPriority(CUstream hStream, int *priority)
{
	STREAM(hStream);
	if (!priority)
		return CUDA_ERROR_INVALID_VALUE;
	*priority = s->priority;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int *flags)
{
	STREAM(hStream);
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = s->flags;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long *id)
{
	STREAM(hStream);
	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	*id = s->id;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext *out)
{
	STREAM(hStream);
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = drv_obj_handle(s->ctx);
	return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext *out, CUgreenCtx *greenCtx)
{
	DRV_TRY(cuStreamGetCtx(hStream, out));
	if (greenCtx)
		*greenCtx = NULL;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice *device)
{
	STREAM(hStream);
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	*device = s->ctx->device;
	return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream hStream)
{
	STREAM(hStream);
	bool idle = drv_stream_idle(s);
	int fault = atomic_load(&s->ctx->fault);
	return fault ? fault : idle ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuStreamSynchronize(CUstream hStream)
{
	STREAM(hStream);
	return drv_stream_sync(s);
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src)
{
	struct drv_stream *from;
	STREAM(dst);
	DRV_TRY(drv_stream_get(ctx, src, &from));
	s->sync_policy = from->sync_policy;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	STREAM(hStream);
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	memset(value, 0, sizeof *value);
	if (attr == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
		*value = s->sync_policy;
	else if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
		value->priority = s->priority;
	else if (attr != CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

/* The policy is kept and reported; how we wait does not depend on it. */
CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
	STREAM(hStream);
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (attr != CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
		return CUDA_ERROR_NOT_SUPPORTED;
	s->sync_policy = *value;
	return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *status)
{
	STREAM(hStream);
	if (!status)
		return CUDA_ERROR_INVALID_VALUE;
	*status = CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

/* Not capturing: the other answers mean nothing and are left alone. */
CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id)
{
	return cuStreamIsCapturing(hStream, status);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps, size_t *numDeps)
{
	return cuStreamIsCapturing(hStream, status);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps, const CUgraphEdgeData **edges, size_t *numDeps)
{
	return cuStreamIsCapturing(hStream, status);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	static _Thread_local CUstreamCaptureMode own = CU_STREAM_CAPTURE_MODE_GLOBAL;
	CUstreamCaptureMode old = own;
	DRV_TRY(drv_ready());
	if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	own = *mode;
	*mode = old;
	return CUDA_SUCCESS;
}

/* Managed memory is always attached to everything here. */
CUresult cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags)
{
	struct drv_mem m;
	STREAM(hStream);
	if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST && flags != CU_MEM_ATTACH_SINGLE)
		return CUDA_ERROR_INVALID_VALUE;
	return drv_mem_find(dptr, &m) && m.kind == MEM_MANAGED ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- host functions */

static int run_host(struct drv_op *op)
{
	drv_in_callback = true;
	if (op->u.host.fn)
		op->u.host.fn(op->u.host.data);
	else
		op->u.host.callback(op->u.host.handle, atomic_load(&op->stream->ctx->fault), op->u.host.data);
	drv_in_callback = false;
	return 0;
}

static CUresult host_op(CUstream handle, CUhostFn fn, CUstreamCallback callback, void *data)
{
	STREAM(handle);
	struct drv_op *op = drv_op_new(s, OP_HOST, run_host);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->u.host.fn = fn;
	op->u.host.callback = callback;
	op->u.host.data = data;
	op->u.host.handle = handle;
	op->even_after_fault = callback != NULL; /* it is told the error; a host function is not called */
	return drv_submit(op, NULL, 0, DRV_ASYNC);
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags)
{
	DRV_TRY(drv_ready());
	if (!callback || flags)
		return CUDA_ERROR_INVALID_VALUE;
	return host_op(hStream, NULL, callback, userData);
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
	DRV_TRY(drv_ready());
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	return host_op(hStream, fn, NULL, userData);
}

/* ---- events */

static int event_get(CUevent handle, struct drv_event **e)
{
	DRV_TRY(drv_ready());
	*e = drv_obj_get(KIND_EVENT, handle);
	return *e ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

/* A reference to the newest record, NULL if there is none. */
static struct drv_op *event_record(struct drv_event *e)
{
	pthread_mutex_lock(&event_lock);
	struct drv_op *op = e->record;
	if (op)
		drv_op_ref(op);
	pthread_mutex_unlock(&event_lock);
	return op;
}

static void set_record(struct drv_event *e, struct drv_op *op)
{
	pthread_mutex_lock(&event_lock);
	struct drv_op *old = e->record;
	e->record = op;
	pthread_mutex_unlock(&event_lock);
	if (old)
		drv_op_unref(old);
}

CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!event || flags & ~(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_EVENT_INTERPROCESS)
		return flags & CU_EVENT_DISABLE_TIMING ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
	struct drv_event *e = drv_obj_new(KIND_EVENT, sizeof *e);
	if (!e)
		return CUDA_ERROR_OUT_OF_MEMORY;
	e->ctx = ctx;
	e->flags = flags;
	*event = drv_obj_handle(e);
	return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event)
{
	struct drv_event *e;
	DRV_TRY(event_get(event, &e));
	set_record(e, NULL);
	drv_obj_free(e);
	return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream hStream, unsigned int flags)
{
	struct drv_event *e;
	struct drv_op *record;
	STREAM(hStream);
	DRV_TRY(event_get(event, &e));
	if (flags & ~CU_EVENT_RECORD_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (e->ctx != s->ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	struct drv_op *op = drv_op_new(s, OP_MARK, NULL);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	DRV_TRY(drv_submit_keep(op, &record));
	set_record(e, record);
	return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream hStream)
{
	return cuEventRecordWithFlags(event, hStream, 0);
}

CUresult cuEventQuery(CUevent event)
{
	struct drv_event *e;
	DRV_TRY(event_get(event, &e));
	int fault = atomic_load(&e->ctx->fault);
	if (fault)
		return fault;
	struct drv_op *op = event_record(e);
	bool done = !op || atomic_load_explicit(&op->done, memory_order_acquire);
	if (op)
		drv_op_unref(op);
	fault = atomic_load(&e->ctx->fault);
	return fault ? fault : done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent event)
{
	struct drv_event *e;
	DRV_TRY(event_get(event, &e));
	struct drv_op *op = event_record(e);
	if (op) {
		drv_op_wait(op);
		drv_op_unref(op);
	}
	return atomic_load(&e->ctx->fault);
}

/* 0 with the time of the record, or why there is none. */
static CUresult event_time(struct drv_event *e, uint64_t *ns)
{
	struct drv_op *op = event_record(e);
	if (!op)
		return CUDA_ERROR_INVALID_HANDLE;
	bool done = atomic_load_explicit(&op->done, memory_order_acquire);
	*ns = op->done_ns;
	drv_op_unref(op);
	return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
	struct drv_event *a, *b;
	uint64_t from, to;
	DRV_TRY(event_get(start, &a));
	DRV_TRY(event_get(end, &b));
	if (!milliseconds)
		return CUDA_ERROR_INVALID_VALUE;
	if ((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING || a->ctx != b->ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	DRV_TRY(atomic_load(&a->ctx->fault));
	DRV_TRY(event_time(a, &from));
	DRV_TRY(event_time(b, &to));
	*milliseconds = (float)((double)(int64_t)(to - from) / 1e6);
	return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent event, unsigned int flags)
{
	struct drv_event *e;
	STREAM(hStream);
	DRV_TRY(event_get(event, &e));
	if (flags & ~CU_EVENT_WAIT_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	struct drv_op *record = event_record(e);
	if (!record)
		return CUDA_SUCCESS;
	struct drv_op *op = drv_op_new(s, OP_MARK, NULL);
	int r = op ? drv_submit(op, &record, 1, DRV_ASYNC) : CUDA_ERROR_OUT_OF_MEMORY;
	drv_op_unref(record);
	return r;
}
