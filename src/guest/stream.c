/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, the per-thread default stream, events. */
#include <stdlib.h>
#include <string.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

static _Atomic unsigned long long next_id = 16;

/* ---- the per-thread default stream: one blocking stream per thread and context ---- */

struct own_stream {
	struct own_stream *next;
	void *ctx, *stream; /* handles */
};

static pthread_key_t own_key;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static void own_free(void *list)
{
	for (struct own_stream *o = list, *next; o; o = next) {
		next = o->next;
		if (g_get(G_CTX, o->ctx))
			cuStreamDestroy_v2(o->stream);
		free(o);
	}
}

static void own_init(void)
{
	pthread_key_create(&own_key, own_free);
}

/* Priorities outside the device's range are clamped, not refused; the range is asked for once. */
static int clamp_priority(struct gobj *ctx, int *priority)
{
	static _Atomic bool known;
	static _Atomic int least, greatest;

	if (!*priority)
		return CUDA_SUCCESS;
	if (!atomic_load(&known)) {
		struct vgpu_out_stream_priorities out;
		int rc = vgpu_call_stream_priorities(guest_client, ctx->wire, &out);

		if (rc)
			return rc;
		least = out.least;
		greatest = out.greatest;
		atomic_store(&known, true);
	}
	*priority = *priority > least ? least : *priority < greatest ? greatest : *priority;
	return CUDA_SUCCESS;
}

static int create(struct gobj *ctx, unsigned int flags, int priority, struct gobj **out)
{
	struct vgpu_in_stream_create in = { .flags = flags, .priority = priority };
	struct vgpu_out_stream_create o;
	int rc = vgpu_call_stream_create(guest_client, ctx->wire, &in, &o);

	if (rc)
		return rc;
	*out = g_new(G_STREAM, ctx, o.stream);
	if (!*out)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*out)->stream.flags = flags;
	(*out)->stream.priority = priority;
	(*out)->stream.sync_policy.syncPolicy = CU_SYNC_POLICY_AUTO;
	(*out)->stream.id = next_id++;
	return CUDA_SUCCESS;
}

static int own_stream(struct gobj *ctx, struct gobj **out)
{
	struct own_stream *o;
	int rc;

	pthread_once(&own_once, own_init);
	for (o = pthread_getspecific(own_key); o; o = o->next)
		if (o->ctx == g_handle(ctx) && (*out = g_get(G_STREAM, o->stream)))
			return CUDA_SUCCESS;
	o = malloc(sizeof(*o));
	rc = o ? create(ctx, CU_STREAM_DEFAULT, 0, out) : CUDA_ERROR_OUT_OF_MEMORY;
	if (rc) {
		free(o);
		return rc;
	}
	o->ctx = g_handle(ctx);
	o->stream = g_handle(*out);
	o->next = pthread_getspecific(own_key);
	pthread_setspecific(own_key, o);
	return CUDA_SUCCESS;
}

int stream_resolve(CUstream h, struct gobj *ctx, struct stream_ref *out)
{
	*out = (struct stream_ref){ .ctx = ctx };
	if (!h || h == CU_STREAM_LEGACY)
		return CUDA_SUCCESS;
	if (h == CU_STREAM_PER_THREAD) {
		int rc = own_stream(ctx, &out->stream);

		if (rc)
			return rc;
	} else {
		out->stream = g_get(G_STREAM, h);
		if (!out->stream)
			return CUDA_ERROR_INVALID_HANDLE;
	}
	out->ctx = out->stream->ctx;
	out->wire = out->stream->wire;
	return CUDA_SUCCESS;
}

int stream_enter(CUstream h, struct stream_ref *s)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	return rc ? rc : stream_resolve(h, ctx, s);
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	struct gobj *ctx, *o;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!stream || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
		return CUDA_ERROR_INVALID_VALUE;
	rc = clamp_priority(ctx, &priority);
	if (!rc)
		rc = create(ctx, flags, priority, &o);
	if (!rc)
		*stream = g_handle(o);
	return rc;
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
	return cuStreamCreateWithPriority(stream, flags, 0);
}

/* Body of the calls that carry nothing but one handle. */
static int post_handle(uint16_t op, struct gobj *o)
{
	struct vgpu_entry *e = work_begin(guest_client, op, o->ctx->wire, 0, NULL);

	if (!e)
		return client_death(guest_client, true);
	memset(e->body, 0, 16);
	memcpy(e->body, &o->wire, sizeof(o->wire));
	work_commit(guest_client, e);
	return CUDA_SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream h)
{
	struct gobj *o = g_get(G_STREAM, h);
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!o)
		return CUDA_ERROR_INVALID_HANDLE;
	rc = client_error(guest_client);
	if (!rc)
		rc = post_handle(VGPU_OP_STREAM_DESTROY, o);
	g_drop(o);
	return rc;
}

/* Work index behind which everything of the stream lies; the legacy stream is behind everything. */
static uint64_t last_of(struct stream_ref *s)
{
	return s->stream ? atomic_load(&s->stream->stream.last) : work_position(guest_client);
}

CUresult cuStreamQuery(CUstream h)
{
	struct vgpu_in_stream_query in;
	struct stream_ref s;
	int rc = stream_enter(h, &s);

	if (rc)
		return rc;
	if (work_is_done(guest_client, last_of(&s)))
		return client_error(guest_client);
	in.stream = s.wire;
	return vgpu_call_stream_query(guest_client, s.ctx->wire, last_of(&s), &in);
}

CUresult cuStreamSynchronize(CUstream h)
{
	struct vgpu_in_stream_sync in;
	struct stream_ref s;
	int rc = stream_enter(h, &s);

	if (rc)
		return rc;
	in.stream = s.wire;
	if (!work_is_done(guest_client, last_of(&s)))
		rc = vgpu_call_stream_sync(guest_client, s.ctx->wire, last_of(&s), &in);
	if (!rc)
		rc = client_error(guest_client);
	return rc ? rc : client_late_error(guest_client);
}

/* The stream whose property is asked for, and somewhere to put it. */
static int ask(CUstream h, const void *answer, struct stream_ref *s)
{
	int rc = stream_enter(h, s);

	return rc ? rc : answer ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamGetPriority(CUstream h, int *priority)
{
	struct stream_ref s;
	int rc = ask(h, priority, &s);

	if (!rc)
		*priority = s.stream ? s.stream->stream.priority : 0;
	return rc;
}

CUresult cuStreamGetFlags(CUstream h, unsigned int *flags)
{
	struct stream_ref s;
	int rc = ask(h, flags, &s);

	if (!rc)
		*flags = s.stream ? s.stream->stream.flags : CU_STREAM_DEFAULT;
	return rc;
}

CUresult cuStreamGetId(CUstream h, unsigned long long *id)
{
	struct stream_ref s;
	int rc = ask(h, id, &s);

	if (!rc)
		*id = s.stream ? s.stream->stream.id : 1;
	return rc;
}

CUresult cuStreamGetCtx(CUstream h, CUcontext *ctx)
{
	struct stream_ref s;
	int rc = ask(h, ctx, &s);

	if (!rc)
		*ctx = g_handle(s.ctx);
	return rc;
}

CUresult cuStreamGetCtx_v2(CUstream h, CUcontext *ctx, CUgreenCtx *green)
{
	if (green)
		*green = NULL;
	return cuStreamGetCtx(h, ctx);
}

CUresult cuStreamGetDevice(CUstream h, CUdevice *device)
{
	struct stream_ref s;
	int rc = ask(h, device, &s);

	if (!rc)
		*device = 0;
	return rc;
}

CUresult cuStreamIsCapturing(CUstream h, CUstreamCaptureStatus *status)
{
	struct stream_ref s;
	int rc = ask(h, status, &s);

	if (!rc)
		*status = CU_STREAM_CAPTURE_STATUS_NONE; /* capture cannot be begun */
	return rc;
}

/* Not capturing: the other answers mean nothing and are left alone. */
CUresult cuStreamGetCaptureInfo(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id)
{
	return cuStreamIsCapturing(h, status);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps,
				   size_t *n)
{
	return cuStreamIsCapturing(h, status);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps,
				   const CUgraphEdgeData **edges, size_t *n)
{
	return cuStreamIsCapturing(h, status);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	static _Thread_local CUstreamCaptureMode own = CU_STREAM_CAPTURE_MODE_GLOBAL;
	CUstreamCaptureMode old = own;
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	own = *mode;
	*mode = old;
	return CUDA_SUCCESS;
}

/* ---- attributes: how a thread waits is kept and reported; our waiting does not depend on it ---- */

static CUlaunchAttributeValue legacy_policy = { .syncPolicy = CU_SYNC_POLICY_AUTO };

static CUlaunchAttributeValue *policy_of(struct stream_ref *s)
{
	return s->stream ? &s->stream->stream.sync_policy : &legacy_policy;
}

CUresult cuStreamGetAttribute(CUstream h, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	struct stream_ref s;
	int rc = ask(h, value, &s);

	if (rc)
		return rc;
	memset(value, 0, sizeof(*value));
	if (attr == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
		*value = *policy_of(&s);
	else if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
		value->priority = s.stream ? s.stream->stream.priority : 0;
	else if (attr != CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(CUstream h, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
	struct stream_ref s;
	int rc = ask(h, value, &s);

	if (rc)
		return rc;
	if (attr != CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
		return CUDA_ERROR_NOT_SUPPORTED;
	*policy_of(&s) = *value;
	return CUDA_SUCCESS;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src)
{
	struct stream_ref to, from;
	int rc = stream_enter(dst, &to);

	if (!rc)
		rc = stream_enter(src, &from);
	if (!rc)
		*policy_of(&to) = *policy_of(&from);
	return rc;
}

/* Managed memory is always attached to everything. */
CUresult cuStreamAttachMemAsync(CUstream h, CUdeviceptr p, size_t n, unsigned int flags)
{
	struct stream_ref s;
	struct gmem m;
	int rc = stream_enter(h, &s);

	if (rc)
		return rc;
	if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST && flags != CU_MEM_ATTACH_SINGLE)
		return CUDA_ERROR_INVALID_VALUE;
	return gmem_find(p, &m) && m.kind == GM_MANAGED ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamWaitEvent(CUstream h, CUevent event, unsigned int flags)
{
	struct gobj *ev = g_get(G_EVENT, event);
	struct vgpu_in_stream_wait_event in = { .flags = flags };
	struct stream_ref s;
	struct vgpu_entry *e;
	int rc = stream_enter(h, &s);

	if (rc)
		return rc;
	if (!ev)
		return CUDA_ERROR_INVALID_HANDLE;
	if (flags & ~(unsigned)CU_EVENT_WAIT_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (!atomic_load(&ev->event.index)) /* never recorded: nothing to wait for */
		return CUDA_SUCCESS;
	in.stream = s.wire;
	in.event = ev->wire;
	e = work_begin(guest_client, VGPU_OP_STREAM_WAIT_EVENT, s.ctx->wire, 0, NULL);
	if (!e)
		return client_death(guest_client, true);
	memcpy(e->body, &in, sizeof(in));
	stream_touch(&s, work_commit(guest_client, e));
	return CUDA_SUCCESS;
}

/* ---- events ---- */

CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
	struct vgpu_in_event_create in = { .flags = flags };
	struct vgpu_out_event_create out;
	struct gobj *ctx, *o;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (flags & CU_EVENT_INTERPROCESS)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!event || (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)))
		return CUDA_ERROR_INVALID_VALUE;
	rc = vgpu_call_event_create(guest_client, ctx->wire, &in, &out);
	if (rc)
		return rc;
	o = g_new(G_EVENT, ctx, out.event);
	if (!o)
		return CUDA_ERROR_OUT_OF_MEMORY;
	o->event.flags = flags;
	*event = g_handle(o);
	return CUDA_SUCCESS;
}

static int event_enter(CUevent h, struct gobj **ev)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	*ev = g_get(G_EVENT, h);
	if (!*ev)
		return CUDA_ERROR_INVALID_HANDLE;
	return client_error(guest_client);
}

CUresult cuEventDestroy_v2(CUevent h)
{
	struct gobj *ev;
	int rc = event_enter(h, &ev);

	if (rc)
		return rc;
	rc = post_handle(VGPU_OP_EVENT_DESTROY, ev);
	g_drop(ev);
	return rc;
}

CUresult cuEventRecordWithFlags(CUevent h, CUstream stream, unsigned int flags)
{
	struct vgpu_in_event_record in = { .flags = flags };
	struct stream_ref s;
	struct gobj *ev;
	struct vgpu_entry *e;
	uint64_t index;
	int rc = stream_enter(stream, &s);

	if (!rc)
		rc = event_enter(h, &ev);
	if (rc)
		return rc;
	if (flags & ~(unsigned)CU_EVENT_RECORD_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (ev->ctx != s.ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	in.event = ev->wire;
	in.stream = s.wire;
	e = work_begin(guest_client, VGPU_OP_EVENT_RECORD, s.ctx->wire, 0, NULL);
	if (!e)
		return client_death(guest_client, true);
	memcpy(e->body, &in, sizeof(in));
	index = work_commit(guest_client, e);
	stream_touch(&s, index);
	atomic_store(&ev->event.index, index);
	return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent h, CUstream stream)
{
	return cuEventRecordWithFlags(h, stream, 0);
}

CUresult cuEventQuery(CUevent h)
{
	struct vgpu_in_event_query in;
	struct gobj *ev;
	uint64_t at;
	int rc = event_enter(h, &ev);

	if (rc)
		return rc;
	at = atomic_load(&ev->event.index);
	if (work_is_done(guest_client, at)) /* also when never recorded */
		return client_error(guest_client);
	in.event = ev->wire;
	return vgpu_call_event_query(guest_client, ev->ctx->wire, at, &in);
}

CUresult cuEventSynchronize(CUevent h)
{
	struct vgpu_in_event_sync in;
	struct gobj *ev;
	uint64_t at;
	int rc = event_enter(h, &ev);

	if (rc)
		return rc;
	at = atomic_load(&ev->event.index);
	in.event = ev->wire;
	if (!work_is_done(guest_client, at))
		rc = vgpu_call_event_sync(guest_client, ev->ctx->wire, at, &in);
	if (!rc)
		rc = client_error(guest_client);
	return rc ? rc : client_late_error(guest_client);
}

CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
	struct vgpu_in_event_elapsed in;
	struct vgpu_out_event_elapsed out;
	struct gobj *a, *b;
	uint64_t at;
	int rc = event_enter(start, &a);

	if (!rc)
		rc = event_enter(end, &b);
	if (rc || !ms)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	if (((a->event.flags | b->event.flags) & CU_EVENT_DISABLE_TIMING) || !atomic_load(&a->event.index) ||
	    !atomic_load(&b->event.index))
		return CUDA_ERROR_INVALID_HANDLE;
	at = atomic_load(&a->event.index);
	if (atomic_load(&b->event.index) > at)
		at = atomic_load(&b->event.index);
	in.start = a->wire;
	in.end = b->wire;
	rc = vgpu_call_event_elapsed(guest_client, a->ctx->wire, at, &in, &out);
	if (!rc)
		*ms = out.ms;
	return rc;
}

CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
	return cuEventElapsedTime(ms, start, end);
}
