/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pinned memory: extents of BAR2, mapped at the same address here and in the executor, so that one
 * pointer serves both. Addresses come from an area of their own, far from where programs and their
 * libraries are mapped. Small allocations share extents by pages.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define ARENA_BASE 0x300000000000ull /* above softcuda's device range, below mmap's and PIE's areas */
#define ARENA_END 0x380000000000ull
#define PAGE 4096u
#define SLAB_PAGES (VGPU_EXTENT_SIZE / PAGE)
#define SMALL (VGPU_EXTENT_SIZE / 2) /* below this, pages of a shared extent */
#define MAP_TRIES 8

struct extents { /* one mapping */
	struct extents *next;
	uint64_t va;
	uint32_t first, count, pages_used; /* pages: of a slab */
	bool slab;
	uint64_t used[SLAB_PAGES / 64];
};

struct pinned { /* gmem.data */
	struct extents *x;
	uint32_t page, pages; /* in a slab */
	bool registered;      /* the program's own pages, moved here */
};

static struct extents *slabs;
static uint64_t next_va = ARENA_BASE;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void release(struct extents *x)
{
	struct vgpu_port *p = guest_client->port;

	munmap((void *)(uintptr_t)x->va, (size_t)x->count * VGPU_EXTENT_SIZE);
	p->ops->extents_free(p, x->first, x->count);
	free(x);
}

static bool is_registered(const struct gmem *m)
{
	return m->kind == GM_STAGED || (m->data && ((struct pinned *)m->data)->registered);
}

static int map_both(struct gobj *ctx, struct extents *x, uint64_t va)
{
	struct vgpu_port *p = guest_client->port;
	struct vgpu_in_host_map in = { .va = va, .first = x->first, .count = x->count };
	void *m = p->ops->extents_map(p, x->first, x->count, (void *)(uintptr_t)va);
	int rc;

	if (m == MAP_FAILED)
		return errno == EEXIST ? CUDA_ERROR_ALREADY_MAPPED : CUDA_ERROR_OUT_OF_MEMORY;
	rc = vgpu_call_host_map(guest_client, ctx->wire, &in);
	if (rc)
		munmap(m, (size_t)x->count * VGPU_EXTENT_SIZE);
	x->va = va;
	return rc;
}

/* lock held. An address taken on either side is skipped. */
static int new_extents(struct gobj *ctx, uint64_t bytes, struct extents **out)
{
	struct vgpu_port *p = guest_client->port;
	struct extents *x = calloc(1, sizeof(*x));
	int rc = CUDA_ERROR_ALREADY_MAPPED;

	if (!x || bytes > (uint64_t)VGPU_EXTENTS_MAX * VGPU_EXTENT_SIZE) {
		free(x);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	x->count = (uint32_t)((bytes + VGPU_EXTENT_SIZE - 1) / VGPU_EXTENT_SIZE);
	if (p->ops->extents_alloc(p, x->count, &x->first)) {
		free(x);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	for (unsigned i = 0; i < MAP_TRIES && rc == CUDA_ERROR_ALREADY_MAPPED && next_va < ARENA_END; i++) {
		uint64_t va = next_va;

		next_va += (uint64_t)x->count * VGPU_EXTENT_SIZE;
		rc = map_both(ctx, x, va);
	}
	if (rc) {
		p->ops->extents_free(p, x->first, x->count);
		free(x);
		return rc == CUDA_ERROR_ALREADY_MAPPED ? CUDA_ERROR_OUT_OF_MEMORY : rc;
	}
	*out = x;
	return CUDA_SUCCESS;
}

static bool page_used(const struct extents *x, uint32_t i)
{
	return x->used[i / 64] >> (i % 64) & 1;
}

static void mark_pages(struct extents *x, uint32_t first, uint32_t n, bool used)
{
	for (uint32_t i = first; i < first + n; i++)
		if (used)
			x->used[i / 64] |= 1ull << (i % 64);
		else
			x->used[i / 64] &= ~(1ull << (i % 64));
	x->pages_used += used ? n : -n;
}

static bool fit(const struct extents *x, uint32_t n, uint32_t *at)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < SLAB_PAGES; i++) {
		run = page_used(x, i) ? 0 : run + 1;
		if (run == n) {
			*at = i + 1 - n;
			return true;
		}
	}
	return false;
}

static int from_slab(struct gobj *ctx, struct pinned *p)
{
	struct extents *x;
	int rc;

	for (x = slabs; x; x = x->next)
		if (fit(x, p->pages, &p->page))
			break;
	if (!x) {
		rc = new_extents(ctx, VGPU_EXTENT_SIZE, &x);
		if (rc)
			return rc;
		x->slab = true;
		x->next = slabs;
		slabs = x;
		p->page = 0;
	}
	mark_pages(x, p->page, p->pages, true);
	p->x = x;
	return CUDA_SUCCESS;
}

static void give_back(struct gobj *ctx, struct pinned *p)
{
	struct vgpu_in_host_unmap in = { .va = p->x->va };

	if (p->x->slab) {
		mark_pages(p->x, p->page, p->pages, false);
		if (p->x->pages_used)
			return;
		for (struct extents **at = &slabs; *at; at = &(*at)->next)
			if (*at == p->x) {
				*at = p->x->next;
				break;
			}
	}
	vgpu_call_host_unmap(guest_client, ctx->wire, work_position(guest_client), &in);
	release(p->x);
}

static int alloc(struct gobj *ctx, size_t bytes, enum gmem_kind kind, unsigned flags, void **out)
{
	struct gmem m = { .size = bytes, .kind = kind, .flags = flags, .ctx = ctx };
	struct pinned *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->pages = (uint32_t)((bytes + PAGE - 1) / PAGE);
	pthread_mutex_lock(&lock);
	rc = bytes < SMALL ? from_slab(ctx, p) : new_extents(ctx, bytes, &p->x);
	if (!rc) {
		m.base = p->x->va + (uint64_t)p->page * PAGE;
		m.data = p;
		if (gmem_add(&m)) {
			give_back(ctx, p);
			rc = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	pthread_mutex_unlock(&lock);
	if (rc) {
		free(p);
		return rc;
	}
	if (bytes < SMALL) /* pages of a slab may have been used before */
		memset((void *)(uintptr_t)m.base, 0, bytes);
	*out = (void *)(uintptr_t)m.base;
	return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **pp, size_t bytes, unsigned int flags)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!pp || !bytes || (flags & ~7u))
		return CUDA_ERROR_INVALID_VALUE;
	return alloc(ctx, bytes, GM_HOST, flags, pp);
}

CUresult cuMemAllocHost_v2(void **pp, size_t bytes)
{
	return cuMemHostAlloc(pp, bytes, 0);
}

/* Managed memory is pinned memory both sides reach; the device reads it over the wire's extents. */
CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytes, unsigned int flags)
{
	struct gobj *ctx;
	void *p;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!dptr || !bytes || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	rc = alloc(ctx, bytes, GM_MANAGED, 0, &p);
	if (!rc)
		*dptr = (uintptr_t)p;
	return rc;
}

CUresult cuMemFreeHost(void *p)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!gmem_find((uintptr_t)p, &m) || m.base != (uintptr_t)p || !gmem_is_host(m.kind) || is_registered(&m))
		return CUDA_ERROR_INVALID_VALUE;
	rc = cuCtxSynchronize(); /* copies from it may still be under way */
	pthread_mutex_lock(&lock);
	if (gmem_remove(m.base, &m)) {
		give_back(ctx, m.data);
		free(m.data);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *dptr, void *p, unsigned int flags)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!dptr || flags || !gmem_find((uintptr_t)p, &m) || !gmem_is_host(m.kind))
		return CUDA_ERROR_INVALID_VALUE;
	*dptr = (uintptr_t)p;
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *p)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!flags || !gmem_find((uintptr_t)p, &m) || (m.kind != GM_HOST && m.kind != GM_STAGED))
		return CUDA_ERROR_INVALID_VALUE;
	*flags = m.flags;
	return CUDA_SUCCESS;
}

/*
 * Registering. The executor cannot see the program's own pages, so whole private anonymous ones are
 * moved into extents under the address they have; they must not be written while that happens. Any
 * others, registered without DEVICEMAP, are remembered and copied through the bounce area, which
 * differs by its speed only; with DEVICEMAP the device would have to reach them, so that is refused.
 */

/* Is [from, to) wholly private anonymous memory, not a stack? */
static bool movable(uint64_t from, uint64_t to)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	while (f && from < to && fgets(line, sizeof(line), f)) {
		unsigned long long lo, hi, off, inode;
		char perms[5], dev[16];

		if (sscanf(line, "%llx-%llx %4s %llx %15s %llu", &lo, &hi, perms, &off, dev, &inode) != 6 || hi <= from)
			continue;
		if (lo > from || strncmp(perms, "rw-p", 4) || inode || strstr(line, "[stack") || strstr(line, "[v"))
			break;
		from = hi;
	}
	if (f)
		fclose(f);
	return from >= to;
}

/* Puts `len` bytes of the mapping at `from` in place of what is at `to`. */
static bool replace(void *to, void *from, size_t len)
{
	return mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

/* lock held. Not movable or no room: CUDA_ERROR_NOT_SUPPORTED, nothing changed. */
static int move_in(struct gobj *ctx, void *at, size_t bytes, struct extents *x)
{
	struct vgpu_in_host_map in = { .va = (uintptr_t)at, .first = x->first, .count = x->count,
				       .pages = (vg_u32)(bytes / PAGE) };
	struct vgpu_in_host_unmap out = { .va = (uintptr_t)at };
	size_t room = (size_t)x->count * VGPU_EXTENT_SIZE;
	void *m = guest_client->port->ops->extents_map(guest_client->port, x->first, x->count, NULL);

	if (m == MAP_FAILED)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (vgpu_call_host_map(guest_client, ctx->wire, &in)) {
		munmap(m, room);
		return CUDA_ERROR_NOT_SUPPORTED;
	}
	memcpy(m, at, bytes);
	if (!replace(at, m, bytes)) {
		vgpu_call_host_unmap(guest_client, ctx->wire, work_position(guest_client), &out);
		munmap(m, room);
		return CUDA_ERROR_NOT_SUPPORTED;
	}
	if (room > bytes)
		munmap((char *)m + bytes, room - bytes);
	x->va = (uintptr_t)at;
	return CUDA_SUCCESS;
}

static int move_pages(struct gobj *ctx, void *at, size_t bytes, struct pinned **out)
{
	struct vgpu_port *port = guest_client->port;
	struct pinned *p = calloc(1, sizeof(*p));
	struct extents *x = calloc(1, sizeof(*x));
	int rc = CUDA_ERROR_NOT_SUPPORTED;

	if (p && x && bytes <= (uint64_t)VGPU_EXTENTS_MAX * VGPU_EXTENT_SIZE) {
		x->count = (uint32_t)((bytes + VGPU_EXTENT_SIZE - 1) / VGPU_EXTENT_SIZE);
		if (!port->ops->extents_alloc(port, x->count, &x->first)) {
			rc = move_in(ctx, at, bytes, x);
			if (rc)
				port->ops->extents_free(port, x->first, x->count);
		}
	}
	if (rc) {
		free(p);
		free(x);
		return rc;
	}
	p->x = x;
	p->registered = true;
	*out = p;
	return CUDA_SUCCESS;
}

static int move_back(struct gobj *ctx, struct gmem *m)
{
	struct vgpu_in_host_unmap in = { .va = m->base };
	struct pinned *p = m->data;
	void *own = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc = cuCtxSynchronize();

	if (own == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(own, (void *)(uintptr_t)m->base, m->size);
	if (!replace((void *)(uintptr_t)m->base, own, m->size)) {
		munmap(own, m->size);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	vgpu_call_host_unmap(guest_client, ctx->wire, work_position(guest_client), &in);
	guest_client->port->ops->extents_free(guest_client->port, p->x->first, p->x->count);
	free(p->x);
	free(p);
	return rc;
}

CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned int flags)
{
	struct gmem m = { .base = (uintptr_t)p, .size = bytes, .kind = GM_STAGED, .flags = flags }, other;
	struct pinned *pin = NULL;
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!p || !bytes || (flags & ~15u) || m.base + bytes < m.base)
		return CUDA_ERROR_INVALID_VALUE;
	if (gmem_find(m.base, &other) || gmem_find(m.base + bytes - 1, &other))
		return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	if (flags & CU_MEMHOSTREGISTER_IOMEMORY)
		return CUDA_ERROR_NOT_SUPPORTED;
	m.ctx = ctx;
	pthread_mutex_lock(&lock);
	if (m.base % PAGE == 0 && bytes % PAGE == 0 && movable(m.base, m.base + bytes) && !move_pages(ctx, p, bytes, &pin)) {
		m.kind = GM_HOST;
		m.data = pin;
	}
	if (!pin && (flags & CU_MEMHOSTREGISTER_DEVICEMAP))
		rc = CUDA_ERROR_NOT_SUPPORTED;
	else
		rc = gmem_add(&m) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
	if (rc && pin)
		move_back(ctx, &m);
	pthread_mutex_unlock(&lock);
	return rc;
}

CUresult cuMemHostUnregister(void *p)
{
	struct gobj *ctx;
	struct gmem m;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!gmem_find((uintptr_t)p, &m) || m.base != (uintptr_t)p || !is_registered(&m))
		return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	pthread_mutex_lock(&lock);
	if (gmem_remove(m.base, &m) && m.kind == GM_HOST)
		rc = move_back(ctx, &m);
	pthread_mutex_unlock(&lock);
	return rc;
}
