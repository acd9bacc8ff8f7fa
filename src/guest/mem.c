/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory and the map of everything a program may point at. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define RESERVE_UNIT (2ull << 20)
#define ALLOC_TRIES 8

static struct vgpu_ranges map, reserved;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

int gmem_add(const struct gmem *m)
{
	struct gmem *copy = malloc(sizeof(*copy));
	struct vgpu_range r = { .base = m->base, .size = m->size, .data = copy };
	int rc;

	if (!copy)
		return -ENOMEM;
	*copy = *m;
	pthread_rwlock_wrlock(&lock);
	rc = vgpu_ranges_add(&map, &r);
	pthread_rwlock_unlock(&lock);
	if (rc)
		free(copy);
	return rc;
}

bool gmem_find(uint64_t at, struct gmem *out)
{
	struct vgpu_range *r;

	pthread_rwlock_rdlock(&lock);
	r = vgpu_ranges_find(&map, at, 1);
	if (r)
		*out = *(struct gmem *)r->data;
	pthread_rwlock_unlock(&lock);
	return r != NULL;
}

bool gmem_remove(uint64_t base, struct gmem *out)
{
	struct vgpu_range r;
	bool ok;

	pthread_rwlock_wrlock(&lock);
	ok = vgpu_ranges_remove(&map, base, &r);
	pthread_rwlock_unlock(&lock);
	if (!ok)
		return false;
	*out = *(struct gmem *)r.data;
	free(r.data);
	return true;
}

/* Host memory stays: it is the program's until it frees it. */
void gmem_drop_ctx(struct gobj *ctx)
{
	pthread_rwlock_wrlock(&lock);
	for (size_t i = map.n; i-- > 0;) {
		struct gmem *m = map.v[i].data;

		if (m->ctx != ctx || (m->kind != GM_DEVICE && m->kind != GM_GLOBAL))
			continue;
		vgpu_ranges_remove(&map, m->base, NULL);
		free(m);
	}
	pthread_rwlock_unlock(&lock);
}

/*
 * Keeps the program's own mappings out of the device's addresses, so that a pointer says by itself
 * which side it is on. Reserved pieces stay reserved: device memory comes back to them.
 */
static bool reserve(uint64_t base, uint64_t size)
{
	uint64_t at = base & ~(RESERVE_UNIT - 1), end = (base + size + RESERVE_UNIT - 1) & ~(RESERVE_UNIT - 1);
	bool ok = true;

	pthread_rwlock_wrlock(&lock);
	for (; at < end && ok; at += RESERVE_UNIT) {
		struct vgpu_range r = { .base = at, .size = RESERVE_UNIT };
		void *p;

		if (vgpu_ranges_find(&reserved, at, RESERVE_UNIT))
			continue;
		/* One call for the rest, if it is free as a whole. */
		p = mmap((void *)(uintptr_t)at, end - at, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (p == (void *)(uintptr_t)at) {
			r.size = end - at;
			at = end;
		} else {
			if (p != MAP_FAILED)
				munmap(p, end - at);
			p = mmap((void *)(uintptr_t)at, RESERVE_UNIT, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
			ok = p == (void *)(uintptr_t)at;
		}
		if (ok)
			vgpu_ranges_add(&reserved, &r);
	}
	pthread_rwlock_unlock(&lock);
	return ok;
}

int mem_free_wire(struct gobj *ctx, uint64_t p, uint64_t follows)
{
	struct vgpu_in_mem_free in = { .dptr = p };

	return vgpu_call_mem_free(guest_client, ctx->wire, follows, &in);
}

struct request { /* one allocation, plain or pitched */
	uint64_t bytes, width, height, pitch;
	uint32_t element; /* 0: plain */
	void *pool;
};

static int alloc_wire(struct gobj *ctx, struct request *q, uint64_t *p)
{
	struct vgpu_in_mem_alloc a = { .bytes = q->bytes };
	struct vgpu_out_mem_alloc ao;
	struct vgpu_in_mem_alloc_pitch b = { .width = q->width, .height = q->height, .element = q->element };
	struct vgpu_out_mem_alloc_pitch bo;
	int rc;

	if (!q->element) {
		rc = vgpu_call_mem_alloc(guest_client, ctx->wire, &a, &ao);
		*p = ao.dptr;
		return rc;
	}
	rc = vgpu_call_mem_alloc_pitch(guest_client, ctx->wire, &b, &bo);
	*p = bo.dptr;
	q->pitch = bo.pitch;
	q->bytes = bo.pitch * q->height;
	return rc;
}

/* An address the program already uses is given back and another one taken. */
static int alloc(struct gobj *ctx, struct request *q, CUdeviceptr *out)
{
	uint64_t bad[ALLOC_TRIES], p = 0;
	unsigned nbad = 0;
	int rc;

	for (;;) {
		struct gmem m = { .kind = GM_DEVICE, .ctx = ctx, .pool = q->pool };

		bool leaving = pool_leaving(); /* before: it may be gone by the time we are refused */

		rc = alloc_wire(ctx, q, &p);
		if (rc == CUDA_ERROR_OUT_OF_MEMORY && leaving) {
			pool_settle();
			rc = alloc_wire(ctx, q, &p);
		}
		if (rc)
			break;
		m.base = p;
		m.size = q->bytes;
		if (reserve(p, q->bytes) && !gmem_add(&m))
			break;
		bad[nbad++] = p;
		rc = CUDA_ERROR_OUT_OF_MEMORY;
		if (nbad == ALLOC_TRIES)
			break;
	}
	while (nbad)
		mem_free_wire(ctx, bad[--nbad], work_position(guest_client));
	if (!rc)
		*out = p;
	return rc;
}

int mem_alloc(uint64_t bytes, void *pool, CUdeviceptr *dptr)
{
	struct request q = { .bytes = bytes, .pool = pool };
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!dptr || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	return alloc(ctx, &q, dptr);
}

CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytes)
{
	return mem_alloc(bytes, NULL, dptr);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	struct request q = { .width = width, .height = height, .element = element };
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!dptr || !pitch || !width || !height || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	rc = alloc(ctx, &q, dptr);
	if (!rc)
		*pitch = q.pitch;
	return rc;
}

CUresult cuMemFree_v2(CUdeviceptr dptr)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc || !dptr)
		return rc;
	if (!gmem_find(dptr, &m) || m.base != dptr || (m.kind != GM_DEVICE && m.kind != GM_MANAGED))
		return CUDA_ERROR_INVALID_VALUE;
	if (m.kind == GM_MANAGED)
		return cuMemFreeHost((void *)(uintptr_t)dptr);
	if (!gmem_remove(dptr, &m))
		return CUDA_ERROR_INVALID_VALUE;
	pool_given_back(&m);
	return mem_free_wire(m.ctx, dptr, work_position(guest_client));
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	struct vgpu_out_mem_info out;
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!free_bytes || !total)
		return CUDA_ERROR_INVALID_VALUE;
	rc = vgpu_call_mem_info(guest_client, ctx->wire, &out);
	*free_bytes = rc ? 0 : out.free;
	*total = rc ? 0 : out.total;
	return rc;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr dptr)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!gmem_find(dptr, &m) || m.kind == GM_STAGED)
		return CUDA_ERROR_NOT_FOUND;
	if (base)
		*base = m.base;
	if (size)
		*size = m.size;
	return CUDA_SUCCESS;
}

/* ---- advice: managed memory never moves, so there is nothing to act on ---- */

static int managed_range(CUdeviceptr p, size_t n)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!n || !gmem_find(p, &m) || m.kind != GM_MANAGED || n > m.size - (p - m.base))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult cuMemAdvise(CUdeviceptr p, size_t n, CUmem_advise advice, CUdevice dev)
{
	int rc = managed_range(p, n);

	if (rc)
		return rc;
	return advice < CU_MEM_ADVISE_SET_READ_MOSTLY || advice > CU_MEM_ADVISE_UNSET_ACCESSED_BY ? CUDA_ERROR_INVALID_VALUE
												   : CUDA_SUCCESS;
}

CUresult cuMemAdvise_v2(CUdeviceptr p, size_t n, CUmem_advise advice, CUmemLocation location)
{
	return cuMemAdvise(p, n, advice, location.id);
}

/* Needs CONCURRENT_MANAGED_ACCESS, which is 0. */
CUresult cuMemPrefetchAsync(CUdeviceptr p, size_t n, CUdevice dev, CUstream stream)
{
	int rc = managed_range(p, n);

	return rc ? rc : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr p, size_t n, CUmemLocation location, unsigned int flags, CUstream stream)
{
	return cuMemPrefetchAsync(p, n, location.id, stream);
}

/* ---- pointer attributes, as documented for memory the driver knows and memory it does not ---- */

static int attribute_of(void *data, CUpointer_attribute a, uint64_t p, const struct gmem *m)
{
	bool host = m && (gmem_is_host(m->kind) || m->kind == GM_STAGED);

	switch (a) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = m && m->ctx ? g_handle(m->ctx) : NULL;
		break;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)data = host && m->kind != GM_MANAGED ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		if (m && m->kind == GM_STAGED)
			return CUDA_ERROR_INVALID_VALUE;
		*(CUdeviceptr *)data = p;
		break;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		if (!host)
			return CUDA_ERROR_INVALID_VALUE;
		*(void **)data = (void *)(uintptr_t)p;
		break;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*(unsigned int *)data = 0;
		break;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)data = m->base;
		break;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned int *)data = m && m->kind == GM_MANAGED;
		break;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = m ? 0 : -2;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = m->base;
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = m->size;
		break;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(unsigned int *)data = m && m->kind != GM_STAGED;
		break;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = 0;
		break;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(unsigned int *)data = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
		break;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(void **)data = m ? m->pool : NULL;
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute a, CUdeviceptr ptr)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!data || !gmem_find(ptr, &m))
		return CUDA_ERROR_INVALID_VALUE;
	return attribute_of(data, a, ptr, &m);
}

CUresult cuPointerGetAttributes(unsigned int n, CUpointer_attribute *a, void **data, CUdeviceptr ptr)
{
	struct gobj *ctx;
	struct gmem m;
	bool known;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!a || !data)
		return CUDA_ERROR_INVALID_VALUE;
	known = gmem_find(ptr, &m);
	for (unsigned int i = 0; i < n; i++) {
		if (!known && a[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			*(int *)data[i] = -2;
		else if (!known || attribute_of(data[i], a[i], ptr, &m))
			memset(data[i], 0, a[i] == CU_POINTER_ATTRIBUTE_MEMORY_TYPE || a[i] == CU_POINTER_ATTRIBUTE_IS_MANAGED ||
							   a[i] == CU_POINTER_ATTRIBUTE_MAPPED ||
							   a[i] == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS ||
							   a[i] == CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE ||
							   a[i] == CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE ||
							   a[i] == CU_POINTER_ATTRIBUTE_ACCESS_FLAGS
						   ? sizeof(unsigned int)
						   : sizeof(void *));
	}
	return CUDA_SUCCESS;
}
