/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts and each thread's stack of them. */
#include <stdlib.h>
#include <string.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define STACK_MAX 256u

static _Thread_local struct {
	void *handle[STACK_MAX]; /* handles, not objects: a destroyed context is then simply none */
	unsigned n;
} stack;

static struct gobj *primary;
static unsigned int primary_flags;
static pthread_mutex_t primary_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned long long next_id = 1;

struct gobj *ctx_current(void)
{
	struct gobj *o;

	if (!stack.n)
		return NULL;
	o = g_get(G_CTX, stack.handle[stack.n - 1]);
	return o && o->wire ? o : NULL;
}

int ctx_enter(struct gobj **ctx)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	*ctx = ctx_current();
	if (!*ctx)
		return stack.n ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
	return client_error(guest_client);
}

int ctx_push(struct gobj *ctx)
{
	if (stack.n == STACK_MAX)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stack.handle[stack.n++] = g_handle(ctx);
	return CUDA_SUCCESS;
}

struct gobj *ctx_pop(void)
{
	return stack.n ? g_get(G_CTX, stack.handle[--stack.n]) : NULL;
}

struct gobj *ctx_primary(void)
{
	return primary && primary->wire ? primary : NULL;
}

static int ctx_device(CUdevice dev)
{
	int rc = guest_ready();

	return rc ? rc : dev ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

static int activate_primary(void)
{
	struct vgpu_in_ctx_primary in = { .flags = primary_flags & 0x1f };
	struct vgpu_out_ctx_primary out;
	int rc = vgpu_call_ctx_primary(guest_client, 0, &in, &out);

	if (rc)
		return rc;
	if (!primary)
		primary = g_new(G_CTX, NULL, out.ctx);
	if (!primary)
		return CUDA_ERROR_OUT_OF_MEMORY;
	primary->wire = out.ctx;
	primary->c.primary = true;
	primary->c.flags = primary_flags;
	primary->c.api_version = out.api_version;
	if (!primary->c.id)
		primary->c.id = next_id++;
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev)
{
	int rc = ctx_device(dev);

	if (rc || !ctx)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	rc = guest_start();
	if (rc)
		return rc;
	pthread_mutex_lock(&primary_lock);
	if (!ctx_primary())
		rc = activate_primary();
	if (!rc) {
		primary->c.refs++;
		*ctx = g_handle(primary);
	}
	pthread_mutex_unlock(&primary_lock);
	return rc;
}

/* primary_lock held */
static int release_primary(void)
{
	struct vgpu_in_ctx_primary_release in = { .ctx = primary->wire };
	int rc = vgpu_call_ctx_primary_release(guest_client, 0, work_position(guest_client), &in);

	primary->c.refs = 0;
	primary->wire = 0;
	gmem_drop_ctx(primary);
	g_drop_ctx(primary);
	return rc;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	int rc = ctx_device(dev);

	if (rc)
		return rc;
	pthread_mutex_lock(&primary_lock);
	if (!ctx_primary() || !primary->c.refs)
		rc = CUDA_ERROR_INVALID_CONTEXT;
	else if (--primary->c.refs == 0)
		rc = release_primary();
	pthread_mutex_unlock(&primary_lock);
	return rc;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	int rc = ctx_device(dev);

	if (rc)
		return rc;
	pthread_mutex_lock(&primary_lock);
	if (ctx_primary()) {
		unsigned refs = primary->c.refs;

		rc = release_primary();
		if (!rc && refs) {
			rc = activate_primary();
			primary->c.refs = refs;
		}
	}
	pthread_mutex_unlock(&primary_lock);
	return rc;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	int rc = ctx_device(dev);

	if (rc || (flags & ~CU_CTX_FLAGS_MASK))
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&primary_lock);
	primary_flags = flags;
	if (primary)
		primary->c.flags = flags;
	pthread_mutex_unlock(&primary_lock);
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	int rc = ctx_device(dev);

	if (rc || !flags || !active)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&primary_lock);
	*flags = primary_flags;
	*active = ctx_primary() != NULL;
	pthread_mutex_unlock(&primary_lock);
	return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev)
{
	struct vgpu_in_ctx_create in = { .flags = flags };
	struct vgpu_out_ctx_create out;
	struct gobj *o;
	int rc = ctx_device(dev);

	if (rc)
		return rc;
	if (!ctx || (flags & ~CU_CTX_FLAGS_MASK))
		return CUDA_ERROR_INVALID_VALUE;
	rc = guest_start();
	if (!rc)
		rc = vgpu_call_ctx_create(guest_client, 0, &in, &out);
	if (rc)
		return rc;
	o = g_new(G_CTX, NULL, out.ctx);
	if (!o)
		return CUDA_ERROR_OUT_OF_MEMORY;
	o->c.flags = flags;
	o->c.api_version = out.api_version;
	o->c.id = next_id++;
	*ctx = g_handle(o);
	return ctx_push(o);
}

/* Affinity and creation parameters are for green contexts and MPS: none here. */
CUresult cuCtxCreate_v3(CUcontext *ctx, void *affinity, int n, unsigned int flags, CUdevice dev)
{
	return affinity || n ? CUDA_ERROR_NOT_SUPPORTED : cuCtxCreate_v2(ctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *ctx, void *params, unsigned int flags, CUdevice dev)
{
	return params ? CUDA_ERROR_NOT_SUPPORTED : cuCtxCreate_v2(ctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext h)
{
	struct gobj *o = g_get(G_CTX, h);
	struct vgpu_in_ctx_destroy in;
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!h)
		return CUDA_ERROR_INVALID_VALUE;
	if (!o || o->c.primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	in.ctx = o->wire;
	rc = vgpu_call_ctx_destroy(guest_client, 0, work_position(guest_client), &in);
	if (stack.n && stack.handle[stack.n - 1] == h)
		stack.n--;
	gmem_drop_ctx(o);
	g_drop_ctx(o);
	g_drop(o);
	return rc;
}

/* Deprecated: every attachment takes one detachment more before the context goes. */
CUresult cuCtxAttach(CUcontext *h, unsigned int flags)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc || !h || flags)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	ctx->c.attached++;
	*h = g_handle(ctx);
	return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext h)
{
	struct gobj *ctx = g_get(G_CTX, h);
	int rc = guest_ready();

	if (rc || !ctx)
		return rc ? rc : CUDA_ERROR_INVALID_CONTEXT;
	if (!ctx->c.attached)
		return cuCtxDestroy_v2(h);
	ctx->c.attached--;
	return CUDA_SUCCESS;
}

static int peer(CUcontext h)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	return rc ? rc : g_get(G_CTX, h) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* There is one device: every context is on the caller's own. */
CUresult cuCtxEnablePeerAccess(CUcontext h, unsigned int flags)
{
	int rc = peer(h);

	return rc ? rc : flags ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuCtxDisablePeerAccess(CUcontext h)
{
	int rc = peer(h);

	return rc ? rc : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}

CUresult cuCtxPushCurrent_v2(CUcontext h)
{
	struct gobj *o = g_get(G_CTX, h);
	int rc = guest_ready();

	return rc ? rc : o ? ctx_push(o) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPopCurrent_v2(CUcontext *h)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!stack.n)
		return CUDA_ERROR_INVALID_CONTEXT;
	stack.n--;
	if (h)
		*h = stack.handle[stack.n];
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext h)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!h) {
		stack.n -= stack.n > 0;
		return CUDA_SUCCESS;
	}
	if (!g_get(G_CTX, h))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!stack.n)
		stack.n = 1;
	stack.handle[stack.n - 1] = h;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *h)
{
	int rc = guest_ready();

	if (rc || !h)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*h = stack.n ? stack.handle[stack.n - 1] : NULL;
	return CUDA_SUCCESS;
}

/* A context named, or the current one for NULL. */
static int ctx_of(CUcontext h, struct gobj **out)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	*out = h ? g_get(G_CTX, h) : ctx_current();
	if (!h && !*out && stack.n)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	return *out && (*out)->wire ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxGetDevice_v2(CUdevice *dev, CUcontext h)
{
	struct gobj *ctx;
	int rc = ctx_of(h, &ctx);

	if (rc || !dev)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*dev = 0;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *dev)
{
	return cuCtxGetDevice_v2(dev, NULL);
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
	struct gobj *ctx;
	int rc = ctx_of(NULL, &ctx);

	if (rc || !flags)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*flags = ctx->c.flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags)
{
	struct gobj *ctx;
	int rc = ctx_of(NULL, &ctx);

	if (rc || (flags & ~CU_CTX_FLAGS_MASK))
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	ctx->c.flags = flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext h, unsigned long long *id)
{
	struct gobj *ctx;
	int rc = ctx_of(h, &ctx);

	if (rc || !id)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*id = ctx->c.id;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext h, unsigned int *version)
{
	struct gobj *ctx;
	int rc = ctx_of(h, &ctx);

	if (rc || !version)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*version = ctx->c.api_version;
	return CUDA_SUCCESS;
}

static int sync_ctx(struct gobj *ctx)
{
	uint64_t at = work_position(guest_client);
	int rc = client_error(guest_client);

	if (!rc && !work_is_done(guest_client, at))
		rc = vgpu_call_ctx_sync(guest_client, ctx->wire, at);
	if (!rc)
		rc = client_error(guest_client);
	return rc ? rc : client_late_error(guest_client);
}

CUresult cuCtxSynchronize_v2(CUcontext h)
{
	struct gobj *ctx;
	int rc = ctx_of(h, &ctx);

	return rc ? rc : sync_ctx(ctx);
}

CUresult cuCtxSynchronize(void)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	return rc ? rc : sync_ctx(ctx);
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
	struct vgpu_in_ctx_get_limit in = { .limit = limit };
	struct vgpu_out_ctx_get_limit out;
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if ((unsigned)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	rc = vgpu_call_ctx_get_limit(guest_client, ctx->wire, &in, &out);
	if (!rc)
		*value = out.value;
	return rc;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
	struct vgpu_in_ctx_set_limit in = { .limit = limit, .value = value };
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if ((unsigned)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	return vgpu_call_ctx_set_limit(guest_client, ctx->wire, work_position(guest_client), &in);
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	struct vgpu_out_stream_priorities out;
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (!rc)
		rc = vgpu_call_stream_priorities(guest_client, ctx->wire, &out);
	if (rc)
		return rc;
	if (least)
		*least = out.least;
	if (greatest)
		*greatest = out.greatest;
	return CUDA_SUCCESS;
}

/* Preferences: a driver may ignore them, so they are only remembered. */
CUresult cuCtxGetCacheConfig(CUfunc_cache *config)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc || !config)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*config = ctx->c.cache;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc || (unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	ctx->c.cache = config;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc || !config)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*config = ctx->c.shared_config;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc || (unsigned)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	ctx->c.shared_config = config;
	return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache(void)
{
	struct gobj *ctx;

	return ctx_enter(&ctx);
}
