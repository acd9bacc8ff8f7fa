// SPDX-License-Identifier: Apache-2.0
/*
 * Allocations: device memory, pinned, registered and managed host memory, pools, pointer attributes.
 *
 * All ranges of the process are in one tree that compares overlapping ranges as equal, so a lookup
 * of one byte finds the range around it. Pinned and managed memory is ordinary host memory that
 * kernels may access too: one address for both sides.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "softcuda/drv.h"

#define DEVICE_ALIGN 512
#define PITCH_ALIGN  512
#define PAGE	     4096ull

static pthread_rwlock_t ranges_lock = PTHREAD_RWLOCK_INITIALIZER;
static void *ranges; /* tree of struct drv_mem */

static int compare(const void *pa, const void *pb)
{
	const struct drv_mem *a = pa, *b = pb;
	return a->base + a->size <= b->base ? -1 : b->base + b->size <= a->base;
}

static struct drv_mem *around(uint64_t p, uint64_t len)
{
	struct drv_mem key = { .base = p, .size = len ? len : 1 };
	struct drv_mem **found = key.base + key.size < key.base ? NULL : tfind(&key, &ranges, compare);
	return found ? *found : NULL;
}

bool drv_mem_find(uint64_t p, struct drv_mem *out)
{
	pthread_rwlock_rdlock(&ranges_lock);
	struct drv_mem *m = around(p, 1);
	if (m)
		*out = *m;
	pthread_rwlock_unlock(&ranges_lock);
	return m != NULL;
}

/* Memory of modules is in the engine's book only, until a program asks for a variable by name. */
bool drv_mem_spans(uint64_t p, uint64_t len)
{
	struct drv_mem m;
	return drv_mem_find(p, &m) ? len <= m.size && p - m.base <= m.size - len : sc_mem_ok(p, len);
}

/* Enters a range; CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED if it overlaps another. */
static int enter(const struct drv_mem *what)
{
	static uint64_t ids = 1;
	int r = CUDA_ERROR_OUT_OF_MEMORY;
	struct drv_mem *m = malloc(sizeof *m);
	if (!m)
		return r;
	*m = *what;
	pthread_rwlock_wrlock(&ranges_lock);
	m->id = ids++;
	struct drv_mem **node = tsearch(m, &ranges, compare);
	r = !node ? CUDA_ERROR_OUT_OF_MEMORY : *node != m ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : 0;
	pthread_rwlock_unlock(&ranges_lock);
	if (r)
		free(m);
	return r;
}

bool drv_mem_note_global(struct drv_ctx *ctx, uint64_t va, uint64_t size)
{
	struct drv_mem m = { .base = va, .size = size, .kind = MEM_GLOBAL, .ctx = ctx };
	return size && !enter(&m);
}

/* Takes the range that begins at base and is of that kind out of the tree. */
static bool leave(uint64_t base, enum drv_mem_kind kind, struct drv_mem *was)
{
	pthread_rwlock_wrlock(&ranges_lock);
	struct drv_mem *m = around(base, 1);
	bool ok = m && m->base == base && m->kind == kind;
	if (ok) {
		*was = *m;
		tdelete(m, &ranges, compare);
		free(m);
	}
	pthread_rwlock_unlock(&ranges_lock);
	return ok;
}

static int give_back(const struct drv_mem *m)
{
	struct drv_pool *p = m->pool;
	if (p)
		__atomic_fetch_sub(&p->used, m->size, __ATOMIC_RELAXED);
	if (m->kind == MEM_GLOBAL)
		return 0;
	if (m->kind == MEM_DEVICE || m->kind == MEM_ARRAY)
		return sc_mem_free(m->ctx->sc, m->base);
	sc_mem_unregister_host((void *)(uintptr_t)m->base);
	if (m->kind != MEM_REGISTERED)
		munmap((void *)(uintptr_t)m->base, (m->size + PAGE - 1) & ~(PAGE - 1));
	return 0;
}

int drv_mem_new(struct drv_ctx *ctx, uint64_t bytes, uint64_t align, enum drv_mem_kind kind, uint64_t *va)
{
	DRV_TRY(sc_mem_alloc(ctx->sc, bytes, align, va));
	struct drv_mem m = { .base = *va, .size = bytes, .kind = kind, .ctx = ctx };
	int r = enter(&m);
	if (r)
		sc_mem_free(ctx->sc, *va);
	return r;
}

int drv_mem_release(uint64_t va, enum drv_mem_kind kind)
{
	struct drv_mem m;
	return leave(va, kind, &m) ? give_back(&m) : CUDA_ERROR_INVALID_VALUE;
}

/* twalk cannot delete: it looks for one range of the context at a time. */
static __thread struct { struct drv_ctx *ctx; struct drv_mem found; bool any; } search;

static void visit(const void *node, VISIT which, int depth)
{
	const struct drv_mem *m = *(const struct drv_mem *const *)node;
	if ((which == preorder || which == leaf) && m->ctx == search.ctx) {
		search.found = *m;
		search.any = true;
	}
}

void drv_mem_release_all(struct drv_ctx *ctx)
{
	do {
		search.ctx = ctx;
		search.any = false;
		pthread_rwlock_rdlock(&ranges_lock);
		twalk(ranges, visit);
		pthread_rwlock_unlock(&ranges_lock);
		if (search.any)
			drv_mem_release(search.found.base, search.found.kind);
	} while (search.any);
}

/* ---- device memory */

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	struct drv_ctx *ctx;
	uint64_t f, t;
	DRV_TRY(drv_current(&ctx));
	if (!free_bytes || !total)
		return CUDA_ERROR_INVALID_VALUE;
	sc_mem_info(ctx->sc, &f, &t);
	*free_bytes = f;
	*total = t;
	return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	struct drv_ctx *ctx;
	uint64_t va;
	DRV_TRY(drv_current(&ctx));
	if (!dptr || !bytesize)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_mem_new(ctx, bytesize, DEVICE_ALIGN, MEM_DEVICE, &va));
	*dptr = va;
	return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pitch, size_t widthInBytes, size_t height, unsigned int elementSizeBytes)
{
	size_t row, bytes;
	if (!drv_ready() && (!dptr || !pitch || !widthInBytes || !height || (elementSizeBytes != 4 && elementSizeBytes != 8 && elementSizeBytes != 16)))
		return CUDA_ERROR_INVALID_VALUE;
	if (__builtin_add_overflow(widthInBytes, PITCH_ALIGN - 1, &row) || __builtin_mul_overflow(row & ~(size_t)(PITCH_ALIGN - 1), height, &bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	DRV_TRY(cuMemAlloc_v2(dptr, bytes));
	*pitch = row & ~(size_t)(PITCH_ALIGN - 1);
	return CUDA_SUCCESS;
}

/* Waits for the context's work first, as drivers do: nothing queued may see the memory go. */
CUresult cuMemFree_v2(CUdeviceptr dptr)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!dptr)
		return CUDA_SUCCESS;
	if (!drv_mem_find(dptr, &m) || m.base != dptr || (m.kind != MEM_DEVICE && m.kind != MEM_MANAGED))
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_ctx_sync(m.ctx));
	return drv_mem_release(dptr, m.kind);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr dptr)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!drv_mem_find(dptr, &m) || m.kind == MEM_ARRAY)
		return CUDA_ERROR_NOT_FOUND;
	if (base)
		*base = m.base;
	if (size)
		*size = m.size;
	return CUDA_SUCCESS;
}

/* ---- host memory */

static CUresult host_new(void **pp, size_t bytes, unsigned flags, enum drv_mem_kind kind)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!pp || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (bytes > SIZE_MAX - PAGE)
		return CUDA_ERROR_OUT_OF_MEMORY;
	size_t span = (bytes + PAGE - 1) & ~(PAGE - 1);
	void *p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	struct drv_mem m = { .base = (uintptr_t)p, .size = bytes, .kind = kind, .flags = flags, .ctx = ctx };
	int r = sc_mem_register_host(p, bytes);
	if (!r && (r = enter(&m)))
		sc_mem_unregister_host(p);
	if (r) {
		munmap(p, span);
		return r;
	}
	*pp = p;
	return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int flags)
{
	DRV_TRY(drv_ready());
	if (flags & ~(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED))
		return CUDA_ERROR_INVALID_VALUE;
	return host_new(pp, bytesize, flags | CU_MEMHOSTALLOC_DEVICEMAP, MEM_HOST);
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytesize)
{
	return cuMemHostAlloc(pp, bytesize, CU_MEMHOSTALLOC_PORTABLE);
}

CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	void *p;
	DRV_TRY(drv_ready());
	if (!dptr || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(host_new(&p, bytesize, flags, MEM_MANAGED));
	*dptr = (uintptr_t)p;
	return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *p)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!p)
		return CUDA_SUCCESS;
	if (!drv_mem_find((uintptr_t)p, &m) || m.base != (uintptr_t)p || m.kind != MEM_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_ctx_sync(m.ctx));
	return drv_mem_release((uintptr_t)p, MEM_HOST);
}

CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int flags)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	if (!p || !bytesize || (uintptr_t)p > UINT64_MAX - bytesize ||
	    flags & ~(CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & (CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY))
		return CUDA_ERROR_NOT_SUPPORTED;
	struct drv_mem m = { .base = (uintptr_t)p, .size = bytesize, .kind = MEM_REGISTERED, .flags = flags | CU_MEMHOSTREGISTER_DEVICEMAP, .ctx = ctx };
	DRV_TRY(enter(&m));
	int r = sc_mem_register_host(p, bytesize);
	if (r)
		leave((uintptr_t)p, MEM_REGISTERED, &m);
	return r;
}

CUresult cuMemHostUnregister(void *p)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	if (!drv_mem_find((uintptr_t)p, &m) || m.kind != MEM_REGISTERED)
		return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	if (m.base != (uintptr_t)p)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_ctx_sync(m.ctx));
	return drv_mem_release((uintptr_t)p, MEM_REGISTERED);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *dptr, void *p, unsigned int flags)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!dptr || !p || flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!drv_mem_find((uintptr_t)p, &m) || (m.kind != MEM_HOST && m.kind != MEM_REGISTERED && m.kind != MEM_MANAGED))
		return CUDA_ERROR_INVALID_VALUE;
	*dptr = (uintptr_t)p;
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *p)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!flags || !drv_mem_find((uintptr_t)p, &m) || m.kind != MEM_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = m.flags;
	return CUDA_SUCCESS;
}

/* ---- managed memory's advice: it never moves, so advice has nothing to act on */

static CUresult managed_range(CUdeviceptr dptr, size_t count)
{
	struct drv_ctx *ctx;
	struct drv_mem m;
	DRV_TRY(drv_current(&ctx));
	if (!count || !drv_mem_find(dptr, &m) || m.kind != MEM_MANAGED || !drv_mem_spans(dptr, count))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult cuMemAdvise(CUdeviceptr dptr, size_t count, CUmem_advise advice, CUdevice device)
{
	if (advice < CU_MEM_ADVISE_SET_READ_MOSTLY || advice > CU_MEM_ADVISE_UNSET_ACCESSED_BY)
		return CUDA_ERROR_INVALID_VALUE;
	return managed_range(dptr, count);
}

CUresult cuMemAdvise_v2(CUdeviceptr dptr, size_t count, CUmem_advise advice, CUmemLocation location)
{
	return cuMemAdvise(dptr, count, advice, location.id);
}

/* Needs CONCURRENT_MANAGED_ACCESS, which is 0. */
CUresult cuMemPrefetchAsync(CUdeviceptr dptr, size_t count, CUdevice dstDevice, CUstream hStream)
{
	DRV_TRY(managed_range(dptr, count));
	return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr dptr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream)
{
	return cuMemPrefetchAsync(dptr, count, location.id, hStream);
}

/* ---- stream-ordered allocation: memory is there at once, given back in stream order */

static CUresult pool_alloc(CUdeviceptr *dptr, size_t bytes, struct drv_pool *pool, CUstream handle)
{
	struct drv_ctx *ctx;
	struct drv_stream *s;
	uint64_t va;
	DRV_TRY(drv_enter_stream(handle, &ctx, &s));
	if (!dptr || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!pool)
		pool = drv.device[ctx->device].pool;
	DRV_TRY(sc_mem_alloc(ctx->sc, bytes, DEVICE_ALIGN, &va));
	struct drv_mem m = { .base = va, .size = bytes, .kind = MEM_DEVICE, .ctx = ctx, .pool = pool };
	int r = enter(&m);
	if (r) {
		sc_mem_free(ctx->sc, va);
		return r;
	}
	uint64_t used = __atomic_add_fetch(&pool->used, bytes, __ATOMIC_RELAXED);
	if (used > pool->used_high)
		pool->used_high = used;
	*dptr = va;
	return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream)
{
	return pool_alloc(dptr, bytesize, NULL, hStream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream)
{
	struct drv_pool *p = drv_obj_get(KIND_POOL, pool);
	DRV_TRY(drv_ready());
	return p ? pool_alloc(dptr, bytesize, p, hStream) : CUDA_ERROR_INVALID_VALUE;
}

static int run_free(struct drv_op *op)
{
	drv_mem_release(op->u.va, MEM_DEVICE);
	return 0;
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
	struct drv_ctx *ctx;
	struct drv_stream *s;
	struct drv_mem m;
	DRV_TRY(drv_enter_stream(hStream, &ctx, &s));
	if (!dptr)
		return CUDA_SUCCESS;
	if (!drv_mem_find(dptr, &m) || m.base != dptr || m.kind != MEM_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	struct drv_op *op = drv_op_new(s, OP_COPY, run_free);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->u.va = dptr;
	op->even_after_fault = true;
	return drv_submit(op, NULL, 0, DRV_ASYNC);
}

static int pool_get(CUmemoryPool handle, struct drv_pool **p)
{
	DRV_TRY(drv_ready());
	*p = drv_obj_get(KIND_POOL, handle);
	return *p ? 0 : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	DRV_TRY(drv_ready());
	if (!pool || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED || props->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
	    props->location.id < 0 || (unsigned)props->location.id >= drv.ndevices)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	struct drv_pool *p = drv_obj_new(KIND_POOL, sizeof *p);
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->device = props->location.id;
	p->reuse[0] = p->reuse[1] = p->reuse[2] = 1;
	*pool = drv_obj_handle(p);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	struct drv_pool *p;
	DRV_TRY(pool_get(pool, &p));
	if (p->is_default)
		return CUDA_ERROR_INVALID_VALUE;
	if (drv.device[p->device].pool == p)
		drv.device[p->device].pool = drv.device[p->device].default_pool;
	drv_obj_free(p);
	return CUDA_SUCCESS;
}

/* Freed memory goes back to the device at once: nothing is held to trim. */
CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep)
{
	struct drv_pool *p;
	return pool_get(pool, &p);
}

static uint64_t *pool_u64(struct drv_pool *p, CUmemPool_attribute attr)
{
	switch (attr) {
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		return &p->release_threshold;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		return &p->used;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		return &p->used_high;
	default:
		return NULL;
	}
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct drv_pool *p;
	DRV_TRY(pool_get(pool, &p));
	if (!value || attr < CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES || attr > CU_MEMPOOL_ATTR_USED_MEM_HIGH)
		return CUDA_ERROR_INVALID_VALUE;
	if (attr <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		*(int *)value = p->reuse[attr - 1];
	else
		*(uint64_t *)value = *pool_u64(p, attr);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct drv_pool *p;
	DRV_TRY(pool_get(pool, &p));
	if (!value || attr < CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES || attr > CU_MEMPOOL_ATTR_USED_MEM_HIGH)
		return CUDA_ERROR_INVALID_VALUE;
	if (attr <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		p->reuse[attr - 1] = *(int *)value != 0;
	else if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		p->release_threshold = *(uint64_t *)value;
	else if (*pool_u64(p, attr) == p->used_high && !*(uint64_t *)value && attr != CU_MEMPOOL_ATTR_USED_MEM_CURRENT && attr != CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)
		p->used_high = p->used; /* a high mark can only be reset */
	else
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}
