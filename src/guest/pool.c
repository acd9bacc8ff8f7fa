/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream-ordered allocation and memory pools. Memory of a pool is ordinary device memory: it is there
 * at once and goes back to the device when its stream has got there, so a pool holds nothing and only
 * counts. The caller of a free does not wait: the callback thread does (hostfunc.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include "guest/guest.h"

static struct gobj *pool_default;
static void *current; /* handle */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct gobj *new_pool(void)
{
	struct gobj *p = g_new(G_POOL, NULL, 0);

	if (p)
		p->pool.reuse[0] = p->pool.reuse[1] = p->pool.reuse[2] = 1;
	return p;
}

/* The device's default pool or the one set for it; NULL: out of memory. */
static struct gobj *pool_now(bool only_default)
{
	struct gobj *p;

	pthread_mutex_lock(&lock);
	if (!pool_default && (pool_default = new_pool()))
		pool_default->pool.is_default = true;
	p = only_default ? NULL : g_get(G_POOL, current);
	if (!p)
		p = pool_default;
	pthread_mutex_unlock(&lock);
	return p;
}

static int device_pool(CUmemoryPool *out, CUdevice dev, bool only_default)
{
	struct gobj *p;
	int rc = guest_ready();

	if (rc || dev)
		return rc ? rc : CUDA_ERROR_INVALID_DEVICE;
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	p = pool_now(only_default);
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*out = g_handle(p);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev)
{
	return device_pool(pool, dev, true);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	return device_pool(pool, dev, false);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	int rc = guest_ready();

	if (rc || dev)
		return rc ? rc : CUDA_ERROR_INVALID_DEVICE;
	if (!g_get(G_POOL, pool))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&lock);
	current = pool;
	pthread_mutex_unlock(&lock);
	return CUDA_SUCCESS;
}

static int alloc(CUdeviceptr *dptr, size_t bytes, struct gobj *p, CUstream stream)
{
	struct stream_ref s;
	uint64_t used;
	int rc = stream_enter(stream, &s);

	if (rc)
		return rc;
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = mem_alloc(bytes, g_handle(p), dptr);
	if (rc)
		return rc;
	used = atomic_fetch_add(&p->pool.used, bytes) + bytes;
	for (uint64_t high = atomic_load(&p->pool.used_high);
	     used > high && !atomic_compare_exchange_weak(&p->pool.used_high, &high, used);)
		;
	return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytes, CUstream stream)
{
	int rc = guest_ready();

	return rc ? rc : alloc(dptr, bytes, pool_now(false), stream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytes, CUmemoryPool pool, CUstream stream)
{
	struct gobj *p = g_get(G_POOL, pool);
	int rc = guest_ready();

	return rc ? rc : p ? alloc(dptr, bytes, p, stream) : CUDA_ERROR_INVALID_VALUE;
}

void pool_given_back(const struct gmem *m)
{
	struct gobj *p = m->pool ? g_get(G_POOL, m->pool) : NULL;

	if (p)
		atomic_fetch_sub(&p->pool.used, m->size);
}

/* ---- frees under way ---- */

#define SETTLE_S 5 /* an allocation that fails waits so long at most: a host function may be waiting for it */

struct leaving {
	struct gobj *ctx;
	uint64_t base;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	_Atomic unsigned n;
} under_way = { .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER };

static void count(int by)
{
	pthread_mutex_lock(&under_way.lock);
	atomic_fetch_add(&under_way.n, (unsigned)by);
	pthread_cond_broadcast(&under_way.change);
	pthread_mutex_unlock(&under_way.lock);
}

static void leave(void *arg, uint64_t entry)
{
	struct leaving *l = arg;

	mem_free_wire(l->ctx, l->base, entry);
	free(l);
	count(-1);
}

bool pool_leaving(void)
{
	return atomic_load_explicit(&under_way.n, memory_order_relaxed);
}

void pool_settle(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SETTLE_S;
	pthread_mutex_lock(&under_way.lock);
	while (atomic_load(&under_way.n) && pthread_cond_timedwait(&under_way.change, &under_way.lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&under_way.lock);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream stream)
{
	struct leaving *l;
	struct stream_ref s;
	struct gmem m;
	int rc = stream_enter(stream, &s);

	if (rc || !dptr)
		return rc;
	if (!gmem_find(dptr, &m) || m.base != dptr || m.kind != GM_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	l = malloc(sizeof(*l));
	if (!l)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!gmem_remove(dptr, &m)) {
		free(l);
		return CUDA_ERROR_INVALID_VALUE;
	}
	*l = (struct leaving){ m.ctx, m.base };
	pool_given_back(&m);
	count(1);
	rc = hostfunc_own(stream, leave, l);
	if (rc) { /* no thread for it, or the host side is gone: now, then */
		cuStreamSynchronize(stream);
		leave(l, work_position(guest_client));
	}
	return CUDA_SUCCESS;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	struct gobj *p;
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!pool || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->location.id)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	p = new_pool();
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*pool = g_handle(p);
	return CUDA_SUCCESS;
}

static int enter(CUmemoryPool pool, struct gobj **p)
{
	int rc = guest_ready();

	*p = g_get(G_POOL, pool);
	return rc ? rc : *p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* What came from it stays allocated. */
CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	struct gobj *p;
	int rc = enter(pool, &p);

	if (rc || p->pool.is_default)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	g_drop(p);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	struct gobj *p;

	return enter(pool, &p);
}

static int attribute(CUmemoryPool pool, CUmemPool_attribute attr, const void *value, struct gobj **p)
{
	int rc = enter(pool, p);

	if (rc)
		return rc;
	return !value || attr < CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES || attr > CU_MEMPOOL_ATTR_USED_MEM_HIGH
		       ? CUDA_ERROR_INVALID_VALUE
		       : CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct gobj *p;
	int rc = attribute(pool, attr, value, &p);

	if (rc)
		return rc;
	if (attr <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		*(int *)value = p->pool.reuse[attr - 1];
	else if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		*(cuuint64_t *)value = p->pool.release_threshold;
	else if (attr == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT || attr == CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
		*(cuuint64_t *)value = atomic_load(&p->pool.used);
	else
		*(cuuint64_t *)value = atomic_load(&p->pool.used_high);
	return CUDA_SUCCESS;
}

/* How memory is reused is kept and reported: nothing is held that could be. A high mark can only be reset. */
CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value)
{
	struct gobj *p;
	int rc = attribute(pool, attr, value, &p);

	if (rc)
		return rc;
	if (attr <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		p->pool.reuse[attr - 1] = *(int *)value != 0;
	else if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		p->pool.release_threshold = *(cuuint64_t *)value;
	else if ((attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH || attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH) && !*(cuuint64_t *)value)
		atomic_store(&p->pool.used_high, atomic_load(&p->pool.used));
	else
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}
