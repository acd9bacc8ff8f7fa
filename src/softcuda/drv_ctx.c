// SPDX-License-Identifier: Apache-2.0
/* Contexts, the primary ones included, and each thread's stack of current contexts. */
#include <stdlib.h>
#include <string.h>
#include "softcuda/drv.h"

#define STACK_DEPTH 64
#define OWN_STREAMS 8 /* contexts in which one thread has a per-thread default stream */

static __thread struct {
	unsigned depth;
	CUcontext stack[STACK_DEPTH];
	struct { CUcontext ctx; CUstream stream; } own[OWN_STREAMS];
} thread;

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

/* ---- current context */

static CUcontext top(void)
{
	return thread.depth ? thread.stack[thread.depth - 1] : NULL;
}

int drv_current_any(struct drv_ctx **ctx)
{
	DRV_TRY(drv_ready());
	CUcontext handle = top();
	if (!handle)
		return CUDA_ERROR_INVALID_CONTEXT;
	*ctx = drv_obj_get(KIND_CTX, handle);
	return *ctx ? 0 : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

int drv_current(struct drv_ctx **ctx)
{
	int r = drv_current_any(ctx);
	return r ? r : atomic_load_explicit(&(*ctx)->fault, memory_order_relaxed);
}

/* ---- a thread's own default stream */

static void thread_ends(void *unused)
{
	for (int i = 0; i < OWN_STREAMS; i++) {
		struct drv_stream *s = drv_obj_get(KIND_STREAM, thread.own[i].stream);
		if (s)
			drv_stream_drop(s);
		thread.own[i].stream = NULL;
	}
}

static void make_key(void)
{
	pthread_key_create(&thread_key, thread_ends);
}

struct drv_stream *drv_thread_stream(struct drv_ctx *ctx)
{
	CUcontext handle = drv_obj_handle(ctx);
	int free_slot = -1;
	for (int i = 0; i < OWN_STREAMS; i++) {
		struct drv_stream *s = drv_obj_get(KIND_STREAM, thread.own[i].stream);
		if (s && thread.own[i].ctx == handle)
			return s;
		if (!s)
			free_slot = i;
	}
	if (free_slot < 0)
		return NULL;
	pthread_once(&thread_once, make_key);
	pthread_setspecific(thread_key, &thread);
	struct drv_stream *s = drv_stream_make(ctx, CU_STREAM_DEFAULT, 0, true);
	if (s) {
		thread.own[free_slot].ctx = handle;
		thread.own[free_slot].stream = drv_obj_handle(s);
	}
	return s;
}

/* ---- life */

static int ctx_streams(struct drv_ctx *ctx)
{
	ctx->barrier = drv_stream_make(ctx, CU_STREAM_NON_BLOCKING, 0, false);
	ctx->legacy = ctx->barrier ? drv_stream_make(ctx, CU_STREAM_DEFAULT, 0, true) : NULL;
	return ctx->legacy ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}

int drv_ctx_make(int device, unsigned flags, bool primary, struct drv_ctx **out)
{
	static _Atomic uint64_t ids = 1;
	struct drv_ctx *ctx = drv_obj_new(KIND_CTX, sizeof *ctx);
	if (!ctx)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ctx->device = device;
	ctx->sc = drv.device[device].sc;
	ctx->flags = flags;
	ctx->primary = primary;
	ctx->id = atomic_fetch_add(&ids, 1);
	ctx->limit[CU_LIMIT_STACK_SIZE] = 1024;
	ctx->limit[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
	ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
	int r = ctx_streams(ctx);
	if (!r)
		r = drv_workers_start(ctx);
	if (r) {
		if (ctx->legacy)
			drv_stream_drop(ctx->legacy);
		if (ctx->barrier)
			drv_stream_drop(ctx->barrier);
		drv_obj_free(ctx);
		return r;
	}
	*out = ctx;
	return 0;
}

void drv_ctx_destroy(struct drv_ctx *ctx)
{
	drv_ctx_sync(ctx);
	drv_workers_stop(ctx);
	while (ctx->modules)
		drv_module_drop(ctx->modules);
	drv_mem_release_all(ctx);
	while (ctx->streams)
		drv_stream_drop(ctx->streams);
	drv_stream_drop(ctx->barrier);
	drv_obj_free(ctx);
}


static bool flags_ok(unsigned flags)
{
	unsigned sched = flags & CU_CTX_SCHED_MASK;
	return !(flags & ~CU_CTX_FLAGS_MASK) && (sched <= CU_CTX_SCHED_YIELD || sched == CU_CTX_SCHED_BLOCKING_SYNC);
}

static int device_ok(CUdevice dev)
{
	DRV_TRY(drv_ready());
	return dev < 0 || (unsigned)dev >= drv.ndevices ? CUDA_ERROR_INVALID_DEVICE : 0;
}

static int push(CUcontext ctx)
{
	if (thread.depth == STACK_DEPTH)
		return CUDA_ERROR_OUT_OF_MEMORY;
	thread.stack[thread.depth++] = ctx;
	return 0;
}

CUresult cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice dev)
{
	struct drv_ctx *ctx;
	DRV_TRY(device_ok(dev));
	if (!out || !flags_ok(flags))
		return CUDA_ERROR_INVALID_VALUE;
	if (thread.depth == STACK_DEPTH)
		return CUDA_ERROR_OUT_OF_MEMORY;
	DRV_TRY(drv_ctx_make(dev, flags, false, &ctx));
	*out = drv_obj_handle(ctx);
	return push(*out);
}

CUresult cuCtxCreate_v3(CUcontext *out, void *affinity, int numAffinity, unsigned int flags, CUdevice dev)
{
	if (affinity || numAffinity)
		return drv_ready() ? CUDA_ERROR_NOT_INITIALIZED : CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
	return cuCtxCreate_v2(out, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *out, void *params, unsigned int flags, CUdevice dev)
{
	if (params)
		return drv_ready() ? CUDA_ERROR_NOT_INITIALIZED : CUDA_ERROR_NOT_SUPPORTED;
	return cuCtxCreate_v2(out, flags, dev);
}

static int ctx_of(CUcontext handle, struct drv_ctx **ctx)
{
	DRV_TRY(drv_ready());
	*ctx = drv_obj_get(KIND_CTX, handle);
	return *ctx ? 0 : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxDestroy_v2(CUcontext handle)
{
	struct drv_ctx *ctx;
	DRV_TRY(ctx_of(handle, &ctx));
	if (ctx->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (top() == handle)
		thread.depth--;
	drv_ctx_destroy(ctx);
	return CUDA_SUCCESS;
}

CUresult cuCtxAttach(CUcontext *out, unsigned int flags)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!out || flags)
		return CUDA_ERROR_INVALID_VALUE;
	ctx->attached++;
	*out = drv_obj_handle(ctx);
	return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext handle)
{
	struct drv_ctx *ctx;
	DRV_TRY(ctx_of(handle, &ctx));
	if (!ctx->attached)
		return cuCtxDestroy_v2(handle);
	ctx->attached--;
	return CUDA_SUCCESS;
}

/* ---- stack */

CUresult cuCtxPushCurrent_v2(CUcontext handle)
{
	struct drv_ctx *ctx;
	DRV_TRY(ctx_of(handle, &ctx));
	return push(handle);
}

CUresult cuCtxPopCurrent_v2(CUcontext *out)
{
	DRV_TRY(drv_ready());
	if (!thread.depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	CUcontext was = thread.stack[--thread.depth];
	if (out)
		*out = was;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_ready());
	if (!handle) {
		if (thread.depth)
			thread.depth--;
		return CUDA_SUCCESS;
	}
	DRV_TRY(ctx_of(handle, &ctx));
	if (!thread.depth)
		return push(handle);
	thread.stack[thread.depth - 1] = handle;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *out)
{
	DRV_TRY(drv_ready());
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	*out = top();
	return CUDA_SUCCESS;
}

/* ---- primary contexts */

CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice dev)
{
	int r = 0;
	DRV_TRY(device_ok(dev));
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	struct drv_device *d = &drv.device[dev];
	pthread_mutex_lock(&drv.lock);
	if (!d->primary)
		r = drv_ctx_make(dev, d->primary_flags, true, &d->primary);
	if (!r) {
		d->primary_refs++;
		*out = drv_obj_handle(d->primary);
	}
	pthread_mutex_unlock(&drv.lock);
	return r;
}

/* Destroys outside the lock: queued host functions of the context may still run. */
static CUresult primary_drop(CUdevice dev, bool all)
{
	struct drv_ctx *gone = NULL;
	int r = 0;
	DRV_TRY(device_ok(dev));
	struct drv_device *d = &drv.device[dev];
	pthread_mutex_lock(&drv.lock);
	if (!d->primary_refs && !all)
		r = CUDA_ERROR_INVALID_CONTEXT;
	else if (all || !--d->primary_refs)
		gone = d->primary;
	if (gone)
		d->primary = NULL;
	if (all)
		d->primary_refs = 0;
	pthread_mutex_unlock(&drv.lock);
	if (gone)
		drv_ctx_destroy(gone);
	return r;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	return primary_drop(dev, false);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	return primary_drop(dev, true);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	DRV_TRY(device_ok(dev));
	if (!flags_ok(flags))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&drv.lock);
	drv.device[dev].primary_flags = flags;
	if (drv.device[dev].primary)
		drv.device[dev].primary->flags = flags;
	pthread_mutex_unlock(&drv.lock);
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	DRV_TRY(device_ok(dev));
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&drv.lock);
	*flags = drv.device[dev].primary_flags;
	*active = drv.device[dev].primary != NULL;
	pthread_mutex_unlock(&drv.lock);
	return CUDA_SUCCESS;
}

/* ---- what a context is and does */

CUresult cuCtxGetDevice(CUdevice *dev)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current_any(&ctx));
	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	*dev = ctx->device;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice *dev, CUcontext handle)
{
	struct drv_ctx *ctx;
	if (!handle)
		return cuCtxGetDevice(dev);
	DRV_TRY(ctx_of(handle, &ctx));
	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	*dev = ctx->device;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current_any(&ctx));
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = ctx->flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!flags_ok(flags))
		return CUDA_ERROR_INVALID_VALUE;
	ctx->flags = flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long *id)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_ready());
	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(handle ? ctx_of(handle, &ctx) : drv_current_any(&ctx));
	*id = ctx->id;
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	return drv_ctx_sync(ctx);
}

CUresult cuCtxSynchronize_v2(CUcontext handle)
{
	struct drv_ctx *ctx;
	if (!handle)
		return cuCtxSynchronize();
	DRV_TRY(ctx_of(handle, &ctx));
	return drv_ctx_sync(ctx);
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (limit > CU_LIMIT_MALLOC_HEAP_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	*value = ctx->limit[limit];
	return CUDA_SUCCESS;
}

/* Kept and reported; local memory, printf and malloc of kernels take what they need. */
CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (limit > CU_LIMIT_MALLOC_HEAP_SIZE)
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	ctx->limit[limit] = value;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *config)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = ctx->cache;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (config > CU_FUNC_CACHE_PREFER_EQUAL)
		return CUDA_ERROR_INVALID_VALUE;
	ctx->cache = config;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
	return CUDA_SUCCESS;
}

/* Accepted without effect, as on every device since Maxwell. */
CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	return config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_ready());
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(handle ? ctx_of(handle, &ctx) : drv_current_any(&ctx));
	*version = 3020; /* the ABI of cuCtxCreate_v2, what drivers report */
	return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (leastPriority)
		*leastPriority = 0;
	if (greatestPriority)
		*greatestPriority = 0;
	return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache(void)
{
	struct drv_ctx *ctx;
	return drv_current(&ctx);
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	struct drv_ctx *ctx, *other;
	DRV_TRY(drv_current(&ctx));
	DRV_TRY(ctx_of(peer, &other));
	return flags ? CUDA_ERROR_INVALID_VALUE : ctx->device == other->device ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
	struct drv_ctx *ctx, *other;
	DRV_TRY(drv_current(&ctx));
	DRV_TRY(ctx_of(peer, &other));
	return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
