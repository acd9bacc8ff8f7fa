/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory under the VM's quota, pinned memory as extents, and the map of what may be copied. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "executor/call.h"
#include "wire/ops_dec.h"

int mem_add(struct exec *x, uint64_t base, uint64_t size, enum mem_kind kind, uint32_t owner)
{
	struct vgpu_range r = { .base = base, .size = size, .kind = kind, .owner = owner };
	int rc;

	pthread_mutex_lock(&x->mem_lock);
	rc = vgpu_ranges_add(&x->mem, &r);
	pthread_mutex_unlock(&x->mem_lock);
	return rc;
}

bool mem_ok(struct exec *x, uint64_t at, uint64_t len, bool host_only)
{
	struct vgpu_range *r;
	bool ok;

	pthread_mutex_lock(&x->mem_lock);
	r = vgpu_ranges_find(&x->mem, at, len);
	ok = r && (!host_only || r->kind == MEM_HOST);
	pthread_mutex_unlock(&x->mem_lock);
	return ok;
}

static int quota(struct exec *x, uint64_t bytes)
{
	return x->env->ops->quota_take(x->env->ops_ctx, charged_linear(bytes)) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static void unquota(struct exec *x, uint64_t bytes)
{
	x->env->ops->quota_give(x->env->ops_ctx, charged_linear(bytes));
}

int op_mem_alloc(struct exec *x, struct call *c, const struct vgpu_in_mem_alloc *in,
		 struct vgpu_out_mem_alloc *out)
{
	CUdeviceptr p = 0;
	int rc = quota(x, in->bytes);

	if (rc)
		return rc;
	rc = x->drv->cuMemAlloc_v2(&p, in->bytes);
	if (!rc && mem_add(x, p, in->bytes, MEM_DEVICE, c->ctx)) {
		x->drv->cuMemFree_v2(p);
		rc = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (rc)
		unquota(x, in->bytes);
	out->dptr = p;
	return rc;
}

/* The driver chooses the pitch, so the quota is settled afterwards: first the least it can be. */
int op_mem_alloc_pitch(struct exec *x, struct call *c, const struct vgpu_in_mem_alloc_pitch *in,
		       struct vgpu_out_mem_alloc_pitch *out)
{
	uint64_t least, bytes;
	CUdeviceptr p = 0;
	size_t pitch = 0;
	int rc;

	if (__builtin_mul_overflow(in->width, in->height, &least))
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = quota(x, least);
	if (rc)
		return rc;
	rc = x->drv->cuMemAllocPitch_v2(&p, &pitch, in->width, in->height, in->element);
	if (rc) {
		unquota(x, least);
		return rc;
	}
	if (__builtin_mul_overflow((uint64_t)pitch, in->height, &bytes) || bytes < least)
		bytes = least;
	/* The difference of what both are charged, so that giving `bytes` back balances. */
	if (x->env->ops->quota_take(x->env->ops_ctx, charged_linear(bytes) - charged_linear(least))) {
		x->drv->cuMemFree_v2(p);
		unquota(x, least);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (mem_add(x, p, bytes, MEM_DEVICE, c->ctx)) {
		x->drv->cuMemFree_v2(p);
		unquota(x, bytes);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->dptr = p;
	out->pitch = pitch;
	return CUDA_SUCCESS;
}

/* Removes the range first, so that no copy can be decoded onto memory that is going away. */
static bool mem_take_out(struct exec *x, uint64_t base, enum mem_kind kind, struct vgpu_range *r)
{
	struct vgpu_range *f;
	bool ok;

	pthread_mutex_lock(&x->mem_lock);
	f = vgpu_ranges_find(&x->mem, base, 1);
	ok = f && f->base == base && f->kind == kind && vgpu_ranges_remove(&x->mem, base, r);
	pthread_mutex_unlock(&x->mem_lock);
	return ok;
}

int op_mem_free(struct exec *x, struct call *c, const struct vgpu_in_mem_free *in)
{
	struct vgpu_range r;
	int rc;

	if (!mem_take_out(x, in->dptr, MEM_DEVICE, &r))
		return CUDA_ERROR_INVALID_VALUE;
	exec_grace(x);
	if (!exec_use_ctx(x, r.owner))
		return CUDA_ERROR_INVALID_CONTEXT;
	rc = x->drv->cuMemFree_v2(in->dptr);
	if (!rc)
		unquota(x, r.size);
	return rc;
}

int op_mem_info(struct exec *x, struct call *c, struct vgpu_out_mem_info *out)
{
	x->env->ops->quota_info(x->env->ops_ctx, &out->free, &out->total);
	return CUDA_SUCCESS;
}

/* The extents of a pinned range, in its `data`. */
static void *extents_of(uint32_t first, uint32_t count)
{
	return (void *)((uintptr_t)first << 32 | count);
}

void mem_unmark(struct exec *x, const struct vgpu_range *r)
{
	uint32_t first = (uint32_t)((uintptr_t)r->data >> 32), count = (uint32_t)(uintptr_t)r->data;

	for (uint32_t i = first; i < first + count; i++)
		x->mapped[i / 8] &= (uint8_t)~(1u << (i % 8));
}

static void mem_unmark_locked(struct exec *x, const struct vgpu_range *r)
{
	pthread_mutex_lock(&x->mem_lock);
	mem_unmark(x, r);
	pthread_mutex_unlock(&x->mem_lock);
}

/* Each extent lies in our address space once: the page tables of one memory mapped without end are the host's. */
static bool mem_mark(struct exec *x, uint32_t first, uint32_t count)
{
	bool free = true;

	pthread_mutex_lock(&x->mem_lock);
	for (uint32_t i = first; i < first + count; i++)
		free &= !(x->mapped[i / 8] & (1u << (i % 8)));
	for (uint32_t i = first; free && i < first + count; i++)
		x->mapped[i / 8] |= (uint8_t)(1u << (i % 8));
	pthread_mutex_unlock(&x->mem_lock);
	return free;
}

static int host_add(struct exec *x, const struct vgpu_range *r)
{
	int rc;

	pthread_mutex_lock(&x->mem_lock);
	rc = vgpu_ranges_add(&x->mem, r);
	pthread_mutex_unlock(&x->mem_lock);
	return rc;
}

static int host_map_at(struct exec *x, void *at, uint64_t bytes, const struct vgpu_range *r, uint32_t first)
{
	void *p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, x->env->memfd,
		       (off_t)(VGPU_EXTENT_OFF + (uint64_t)first * VGPU_EXTENT_SIZE));
	int rc;

	if (p == MAP_FAILED)
		return CUDA_ERROR_ALREADY_MAPPED;
	rc = p == at ? (int)x->drv->cuMemHostRegister_v2(p, bytes,
							 CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP)
		     : CUDA_ERROR_ALREADY_MAPPED; /* a kernel without MAP_FIXED_NOREPLACE */
	if (!rc && host_add(x, r)) {
		x->drv->cuMemHostUnregister(p);
		rc = CUDA_ERROR_ALREADY_MAPPED;
	}
	if (rc)
		munmap(p, bytes);
	return rc;
}

/* Extents, or their first pages, at the guest's own address. CUDA_ERROR_ALREADY_MAPPED: taken here, choose another. */
int op_host_map(struct exec *x, struct call *c, const struct vgpu_in_host_map *in)
{
	const struct exec_env *env = x->env;
	uint64_t room = (uint64_t)in->count * VGPU_EXTENT_SIZE, bytes = in->pages ? in->pages * 4096ull : room;
	uint32_t have = vgpu_extent_count(env->bar_size);
	struct vgpu_range r = { .base = in->va, .size = bytes, .kind = MEM_HOST, .owner = c->ctx,
				.data = extents_of(in->first, in->count) };
	int rc;

	if (!in->va || in->va % 4096 || bytes > room || in->va + bytes < in->va || in->first >= have || in->count > have - in->first)
		return CUDA_ERROR_INVALID_VALUE;
	if (env->ops->extents_check(env->ops_ctx, in->first, in->count) || !mem_mark(x, in->first, in->count))
		return CUDA_ERROR_INVALID_VALUE;
	rc = host_map_at(x, (void *)(uintptr_t)in->va, bytes, &r, in->first);
	if (rc)
		mem_unmark_locked(x, &r);
	return rc;
}

static void sync_ctx(void *arg, struct obj *o)
{
	struct exec *x = arg;

	if (exec_use_ctx(x, obj_handle(o)))
		x->drv->cuCtxSynchronize();
}

int op_host_unmap(struct exec *x, struct call *c, const struct vgpu_in_host_unmap *in)
{
	void *p = (void *)(uintptr_t)in->va;
	struct vgpu_range r;
	int rc;

	if (!mem_take_out(x, in->va, MEM_HOST, &r))
		return CUDA_ERROR_INVALID_VALUE;
	exec_grace(x);
	/* Copies that any context has queued would go where something else of ours may lie by then. */
	obj_each(&x->handles, OBJ_CTX, sync_ctx, x);
	if (!exec_use_ctx(x, c->ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	rc = x->drv->cuMemHostUnregister(p);
	if (rc) /* what the driver still reaches must not become somebody else's address */
		return rc;
	munmap(p, r.size);
	mem_unmark_locked(x, &r);
	return CUDA_SUCCESS;
}
