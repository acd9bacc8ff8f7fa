/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies and memsets.
 *
 * Each side is one of: device memory, an array, host memory the executor maps too (pinned), or
 * pageable memory, which only this process sees and which goes through the bounce area.
 *
 *   from          to        returns when
 *   pageable      device    staged: the program may change its buffer, sync or async
 *   device        pageable  the bytes are there, sync or async
 *   pinned        device    sync: complete; async: enqueued
 *   device        pinned    sync: complete; async: enqueued
 *   device        device    enqueued
 *   host          host      the stream has been waited for and the bytes moved here
 */
#include <string.h>
#include "base/bulk.h"
#include "guest/guest.h"

#define SMALL (CLIENT_STAGE_RING / 16) /* copied while holding the ring: about 8 us */
#define IN_FLIGHT 8u		       /* blocks of one download */

enum { AT_PAGEABLE = VGPU_PLACES };

struct plane {
	unsigned place;
	uint64_t at;	/* address, or the array's handle */
	uint64_t pitch; /* bytes between rows */
	uint64_t x, y;	/* of an array: bytes, rows */
	uint32_t z;	/* of an array */
	uint32_t rows;	/* of a slice in linear memory */
};

struct job {
	struct plane dst, src;
	uint64_t width, height; /* bytes, rows */
	uint32_t depth;		/* slices; one wherever a side is pageable, see each_slice() */
	struct stream_ref s;
	bool sync;
};

/* Pieces of at most one block: whole rows where they fit, else parts of one row. */
struct piece {
	uint64_t x, y, w, h;
};

static bool is_host(const struct plane *p)
{
	return p->place == AT_PAGEABLE || p->place == VGPU_AT_HOST;
}

/* The plane's part that begins at column x, row y. */
static void *host_at(const struct plane *p, uint64_t x, uint64_t y)
{
	return (char *)(uintptr_t)p->at + y * p->pitch + x;
}

static void side(const struct plane *p, uint64_t x, uint64_t y, uint64_t *at, uint64_t *ax, uint64_t *ay)
{
	bool array = p->place == VGPU_AT_ARRAY;

	*at = array ? p->at : p->at + y * p->pitch + x;
	*ax = array ? p->x + x : 0;
	*ay = array ? p->y + y : 0;
}

static struct vgpu_in_copy3d body_of(const struct job *j, uint64_t x, uint64_t y, uint64_t w, uint64_t h)
{
	struct vgpu_in_copy3d b = { .dst_pitch = j->dst.pitch, .src_pitch = j->src.pitch, .width = w, .height = h,
				    .dst_rows = j->dst.rows, .src_rows = j->src.rows, .dst_z = j->dst.z,
				    .src_z = j->src.z, .depth = j->depth, .stream = j->s.wire,
				    .dst_place = (vg_u16)j->dst.place, .src_place = (vg_u16)j->src.place };

	side(&j->dst, x, y, &b.dst, &b.dst_x, &b.dst_y);
	side(&j->src, x, y, &b.src, &b.src_x, &b.src_y);
	return b;
}

static void pack(void *to, const struct plane *from, uint64_t x, uint64_t y, uint64_t w, uint64_t h)
{
	for (uint64_t r = 0; r < h; r++)
		bulk_copy((char *)to + r * w, host_at(from, x, y + r), w);
}

static void unpack(const struct job *j, const void *from, const struct piece *p)
{
	void (*copy)(void *, const void *, size_t) = j->width * j->height >= BULK_STREAM_MIN ? bulk_stream : bulk_copy;

	for (uint64_t r = 0; r < p->h; r++)
		copy(host_at(&j->dst, p->x, p->y + r), (const char *)from + r * p->w, p->w);
}

/* Publishes one copy; with `staged` its source is packed into the stage ring under the ring's lock.
 * 0 = the executor is gone. */
static uint64_t post(struct job *j, struct vgpu_in_copy3d *b, struct vgpu_slot *reply, const struct plane *staged,
		     uint64_t x, uint64_t y)
{
	bool flat = b->height == 1 && b->depth == 1 && b->dst_place != VGPU_AT_ARRAY && b->src_place != VGPU_AT_ARRAY;
	uint32_t stage = staged ? (uint32_t)(b->width * b->height) : 0, at = 0;
	struct vgpu_entry *e;
	void *pay = NULL;
	uint64_t index;

	e = work_begin_staged(guest_client, flat ? VGPU_OP_COPY : VGPU_OP_COPY3D, j->s.ctx->wire, flat ? 0 : sizeof(*b), &pay,
			      stage, &at);
	if (!e)
		return 0;
	if (staged) {
		b->src = at;
		pack(bounce_at(guest_client, at), staged, x, y, b->width, b->height);
	}
	if (flat) {
		struct vgpu_in_copy c = { b->dst, b->src, b->width, b->stream, b->dst_place, b->src_place };

		memcpy(e->body, &c, sizeof(c));
	} else {
		memcpy(pay, b, sizeof(*b));
	}
	if (reply) {
		e->flags = VGPU_E_REPLY;
		e->tag = reply->tag;
	}
	index = work_commit(guest_client, e);
	stream_touch(&j->s, index);
	return index;
}

static int copy_direct(struct job *j)
{
	struct vgpu_in_copy3d b = body_of(j, 0, 0, j->width, j->height);
	bool wait = j->sync && (is_host(&j->dst) || is_host(&j->src));
	struct vgpu_slot *s = NULL;
	int rc = CUDA_SUCCESS;

	if (wait && !(s = slot_take(guest_client)))
		return client_death(guest_client, true);
	if (!post(j, &b, s, NULL, 0, 0))
		rc = client_death(guest_client, true);
	else if (wait)
		rc = slot_wait_copy(guest_client, s, j->width * j->height * j->depth);
	if (s)
		slot_give(guest_client, s);
	return rc;
}

static bool next_piece(const struct job *j, struct piece *p)
{
	if (!p->w) {
		p->w = j->width < CLIENT_STAGE_BLOCK ? j->width : CLIENT_STAGE_BLOCK;
	} else {
		p->x += p->w;
		if (p->x >= j->width) {
			p->x = 0;
			p->y += p->h;
		}
		if (p->y >= j->height)
			return false;
		p->w = j->width - p->x < CLIENT_STAGE_BLOCK ? j->width - p->x : CLIENT_STAGE_BLOCK;
	}
	p->h = p->w == j->width ? CLIENT_STAGE_BLOCK / p->w : 1;
	if (p->h > j->height - p->y)
		p->h = j->height - p->y;
	return true;
}

static int copy_up(struct job *j)
{
	const struct plane from = j->src;
	struct piece p = { 0 };

	while (next_piece(j, &p)) {
		struct vgpu_in_copy3d b = body_of(j, p.x, p.y, p.w, p.h);
		uint64_t index;
		int block;

		b.src_place = VGPU_AT_BOUNCE;
		b.src_pitch = p.w;
		b.src_x = b.src_y = 0;
		if (p.w * p.h <= SMALL) {
			if (!post(j, &b, NULL, &from, p.x, p.y))
				return client_death(guest_client, true);
			continue;
		}
		block = block_take(guest_client);
		if (block < 0)
			return client_death(guest_client, true);
		b.src = block_offset(block);
		pack(bounce_at(guest_client, block_offset(block)), &from, p.x, p.y, p.w, p.h);
		index = post(j, &b, NULL, NULL, 0, 0);
		block_give(guest_client, block, index);
		if (!index)
			return client_death(guest_client, true);
	}
	return CUDA_SUCCESS;
}

struct flight {
	struct vgpu_slot *slot;
	int block;
	struct piece p;
};

static int land(struct job *j, struct flight *f, int rc)
{
	int own = slot_wait(guest_client, f->slot, NULL);

	if (!own && !rc)
		unpack(j, bounce_at(guest_client, block_offset(f->block)), &f->p);
	slot_give(guest_client, f->slot);
	block_give(guest_client, f->block, 0);
	return rc ? rc : own;
}

static int take_off(struct job *j, struct flight *f)
{
	struct vgpu_in_copy3d b = body_of(j, f->p.x, f->p.y, f->p.w, f->p.h);

	f->block = block_take(guest_client);
	if (f->block < 0)
		return client_death(guest_client, true);
	f->slot = slot_take(guest_client);
	b.dst_place = VGPU_AT_BOUNCE;
	b.dst = block_offset(f->block);
	b.dst_pitch = f->p.w;
	b.dst_x = b.dst_y = 0;
	if (f->slot && post(j, &b, f->slot, NULL, 0, 0))
		return CUDA_SUCCESS;
	if (f->slot)
		slot_give(guest_client, f->slot);
	block_give(guest_client, f->block, 0);
	return client_death(guest_client, true);
}

static int copy_down(struct job *j)
{
	struct flight ring[IN_FLIGHT];
	unsigned head = 0, tail = 0;
	struct piece p = { 0 };
	int rc = CUDA_SUCCESS;

	while (!rc && next_piece(j, &p)) {
		struct flight *f = &ring[head % IN_FLIGHT];

		if (head - tail == IN_FLIGHT)
			rc = land(j, &ring[tail++ % IN_FLIGHT], rc);
		f->p = p;
		if (!rc)
			rc = take_off(j, f);
		head += !rc;
	}
	while (tail != head)
		rc = land(j, &ring[tail++ % IN_FLIGHT], rc);
	return rc;
}

static int wait_stream(struct stream_ref *s)
{
	return cuStreamSynchronize(s->stream ? g_handle(s->stream) : NULL);
}

static int copy_here(struct job *j)
{
	int rc = wait_stream(&j->s);

	for (uint64_t r = 0; !rc && r < j->height; r++)
		memmove(host_at(&j->dst, 0, r), host_at(&j->src, 0, r), j->width);
	return rc;
}

static void next_slice(struct plane *p)
{
	if (p->place == VGPU_AT_ARRAY)
		p->z++;
	else
		p->at += p->pitch * p->rows;
}

static int run(struct job *j);

/* What goes through the bounce area goes slice by slice. */
static int each_slice(const struct job *all)
{
	struct job j = *all;
	int rc = CUDA_SUCCESS;

	j.depth = 1;
	for (uint32_t z = 0; z < all->depth && !rc; z++) {
		rc = run(&j);
		next_slice(&j.dst);
		next_slice(&j.src);
	}
	return rc;
}

static int run(struct job *j)
{
	if (!j->width || !j->height || !j->depth)
		return CUDA_SUCCESS;
	if (j->depth > 1 && (j->src.place == AT_PAGEABLE || j->dst.place == AT_PAGEABLE || (is_host(&j->dst) && is_host(&j->src))))
		return each_slice(j);
	if (is_host(&j->dst) && is_host(&j->src))
		return copy_here(j);
	if (j->src.place == AT_PAGEABLE)
		return copy_up(j);
	if (j->dst.place == AT_PAGEABLE)
		return copy_down(j);
	return copy_direct(j);
}

/* ---- what a pointer is ---- */

enum want { WANT_HOST, WANT_DEVICE, WANT_ANY };

/* Bytes of memory from the first to the last of the box; false if that overflows. */
static bool span(const struct job *j, uint64_t pitch, uint64_t rows, uint64_t *len)
{
	uint64_t slices;

	*len = 0;
	if (!j->width || !j->height || !j->depth)
		return true;
	return !__builtin_mul_overflow(pitch, j->height - 1, len) && !__builtin_add_overflow(*len, j->width, len) &&
	       !__builtin_mul_overflow(pitch, rows, &slices) && !__builtin_mul_overflow(slices, j->depth - 1, &slices) &&
	       !__builtin_add_overflow(*len, slices, len);
}

static int linear(const struct job *j, struct plane *p, uint64_t at, uint64_t pitch, uint32_t rows, enum want want)
{
	struct gmem m;
	uint64_t len;

	p->at = at;
	p->pitch = pitch;
	p->rows = rows;
	if (!span(j, pitch, rows, &len) || (len && !at))
		return CUDA_ERROR_INVALID_VALUE;
	if (!gmem_find(at, &m)) {
		p->place = AT_PAGEABLE;
		return want == WANT_DEVICE && len ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	}
	if (m.kind == GM_DEVICE || m.kind == GM_GLOBAL)
		p->place = VGPU_AT_DEVICE;
	else
		p->place = m.kind == GM_STAGED ? AT_PAGEABLE : VGPU_AT_HOST;
	if (p->place == AT_PAGEABLE && want == WANT_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	if (len > m.size - (at - m.base)) {
		if (p->place == VGPU_AT_DEVICE || want == WANT_DEVICE)
			return CUDA_ERROR_INVALID_VALUE;
		p->place = AT_PAGEABLE; /* pinned memory and what follows it */
	}
	return CUDA_SUCCESS;
}

static int begin(struct job *j, CUstream stream, bool sync)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	j->sync = sync;
	return rc ? rc : stream_resolve(stream, ctx, &j->s);
}

static int copy1(uint64_t dst, enum want dw, uint64_t src, enum want sw, size_t n, CUstream stream, bool sync)
{
	struct job j = { .width = n, .height = 1, .depth = 1 };
	int rc = begin(&j, stream, sync);

	if (!rc)
		rc = linear(&j, &j.dst, dst, n, 1, dw);
	if (!rc)
		rc = linear(&j, &j.src, src, n, 1, sw);
	return rc ? rc : run(&j);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
	return copy1(dst, WANT_ANY, src, WANT_ANY, n, NULL, true);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream s)
{
	return copy1(dst, WANT_ANY, src, WANT_ANY, n, s, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t n)
{
	return copy1(dst, WANT_DEVICE, (uintptr_t)src, WANT_HOST, n, NULL, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t n, CUstream s)
{
	return copy1(dst, WANT_DEVICE, (uintptr_t)src, WANT_HOST, n, s, false);
}

CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t n)
{
	return copy1((uintptr_t)dst, WANT_HOST, src, WANT_DEVICE, n, NULL, true);
}

CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t n, CUstream s)
{
	return copy1((uintptr_t)dst, WANT_HOST, src, WANT_DEVICE, n, s, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
	return copy1(dst, WANT_DEVICE, src, WANT_DEVICE, n, NULL, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream s)
{
	return copy1(dst, WANT_DEVICE, src, WANT_DEVICE, n, s, false);
}

/* One device: the contexts are only checked. */
static int peers(CUcontext a, CUcontext b)
{
	int rc = guest_ready();

	return rc ? rc : g_get(G_CTX, a) && g_get(G_CTX, b) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t n)
{
	int rc = peers(dst_ctx, src_ctx);

	return rc ? rc : cuMemcpyDtoD_v2(dst, src, n);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t n, CUstream s)
{
	int rc = peers(dst_ctx, src_ctx);

	return rc ? rc : cuMemcpyDtoDAsync_v2(dst, src, n, s);
}

/* ---- boxes, arrays ---- */

struct where { /* one side as the program names it */
	CUmemorytype type;
	const void *host;
	CUdeviceptr dev;
	CUarray array;
	size_t x, y, z, pitch, rows;
};

static int in_array(const struct job *j, struct plane *p, const struct where *w)
{
	struct gobj *a = g_get(G_ARRAY, w->array);
	size_t rows, layers;

	if (!a || !a->ctx->wire)
		return CUDA_ERROR_INVALID_HANDLE;
	rows = a->array.desc.Height ? a->array.desc.Height : 1;
	layers = a->array.desc.Depth ? a->array.desc.Depth : 1;
	if (w->x > a->array.row_bytes || j->width > a->array.row_bytes - w->x || w->y > rows || j->height > rows - w->y ||
	    w->z > layers || j->depth > layers - w->z)
		return CUDA_ERROR_INVALID_VALUE;
	*p = (struct plane){ .place = VGPU_AT_ARRAY, .at = a->wire, .x = w->x, .y = w->y, .z = (uint32_t)w->z };
	return CUDA_SUCCESS;
}

/* Only a single row goes without a pitch; a slice has at least the rows that are copied of it. */
static int in_memory(const struct job *j, struct plane *p, const struct where *w)
{
	uint64_t at = w->type == CU_MEMORYTYPE_HOST ? (uintptr_t)w->host : w->dev, pitch = w->pitch;
	uint64_t end, skip, slice;

	if (__builtin_add_overflow(w->x, j->width, &end) || (pitch < end && (w->pitch || j->height > 1 || j->depth > 1)))
		return CUDA_ERROR_INVALID_VALUE;
	if (j->depth > 1 && (__builtin_add_overflow(w->y, j->height, &end) || w->rows < end))
		return CUDA_ERROR_INVALID_VALUE;
	if (w->rows > UINT32_MAX || __builtin_mul_overflow(pitch, w->rows, &slice) ||
	    __builtin_mul_overflow(slice, w->z, &slice) || __builtin_mul_overflow(pitch, w->y, &skip) ||
	    __builtin_add_overflow(at, slice, &at) || __builtin_add_overflow(at, skip, &at) ||
	    __builtin_add_overflow(at, w->x, &at))
		return CUDA_ERROR_INVALID_VALUE;
	return linear(j, p, at, pitch, (uint32_t)w->rows,
		      w->type == CU_MEMORYTYPE_HOST ? WANT_HOST : w->type == CU_MEMORYTYPE_DEVICE ? WANT_DEVICE : WANT_ANY);
}

static int plane_of(const struct job *j, struct plane *p, const struct where *w)
{
	if (w->type == CU_MEMORYTYPE_ARRAY)
		return in_array(j, p, w);
	if (w->type != CU_MEMORYTYPE_HOST && w->type != CU_MEMORYTYPE_DEVICE && w->type != CU_MEMORYTYPE_UNIFIED)
		return CUDA_ERROR_INVALID_VALUE;
	return in_memory(j, p, w);
}

static int copy_box(const struct where *dst, const struct where *src, size_t width, size_t height, size_t depth,
		    CUstream stream, bool sync)
{
	struct job j = { .width = width, .height = height, .depth = (uint32_t)depth };
	int rc = begin(&j, stream, sync);

	if (rc)
		return rc;
	if (!width || !height || !depth)
		return CUDA_SUCCESS;
	if (depth > UINT32_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	rc = plane_of(&j, &j.dst, dst);
	if (!rc)
		rc = plane_of(&j, &j.src, src);
	return rc ? rc : run(&j);
}

static int copy2(const CUDA_MEMCPY2D *c, CUstream stream, bool sync)
{
	struct where dst, src;
	int rc = guest_ready();

	if (rc || !c)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	dst = (struct where){ c->dstMemoryType, c->dstHost, c->dstDevice, c->dstArray, c->dstXInBytes, c->dstY, 0, c->dstPitch, 0 };
	src = (struct where){ c->srcMemoryType, c->srcHost, c->srcDevice, c->srcArray, c->srcXInBytes, c->srcY, 0, c->srcPitch, 0 };
	return copy_box(&dst, &src, c->WidthInBytes, c->Height, 1, stream, sync);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *c)
{
	return copy2(c, NULL, true);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *c)
{
	return copy2(c, NULL, true);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *c, CUstream s)
{
	return copy2(c, s, false);
}

static int copy3(const CUDA_MEMCPY3D *c, CUstream stream, bool sync)
{
	struct where dst, src;
	int rc = guest_ready();

	if (rc || !c || c->srcLOD || c->dstLOD)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	dst = (struct where){ c->dstMemoryType, c->dstHost, c->dstDevice, c->dstArray,
			      c->dstXInBytes, c->dstY, c->dstZ, c->dstPitch, c->dstHeight };
	src = (struct where){ c->srcMemoryType, c->srcHost, c->srcDevice, c->srcArray,
			      c->srcXInBytes, c->srcY, c->srcZ, c->srcPitch, c->srcHeight };
	return copy_box(&dst, &src, c->WidthInBytes, c->Height, c->Depth, stream, sync);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *c)
{
	return copy3(c, NULL, true);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *c, CUstream s)
{
	return copy3(c, s, false);
}

/* The contexts stand where the plain form has reserved fields. */
static int copy3_peer(const CUDA_MEMCPY3D_PEER *c, CUstream stream, bool sync)
{
	CUDA_MEMCPY3D plain;
	int rc = c ? peers(c->dstContext, c->srcContext) : CUDA_ERROR_INVALID_VALUE;

	if (rc)
		return rc;
	memcpy(&plain, c, sizeof(plain));
	return copy3(&plain, stream, sync);
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *c)
{
	return copy3_peer(c, NULL, true);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *c, CUstream s)
{
	return copy3_peer(c, s, false);
}

/* ---- one run of an array: the offset counts bytes, row after row; it ends with its row ---- */

static int array_at(CUarray h, size_t offset, struct where *w)
{
	struct gobj *a = g_get(G_ARRAY, h);

	if (!a)
		return CUDA_ERROR_INVALID_HANDLE;
	*w = (struct where){ .type = CU_MEMORYTYPE_ARRAY, .array = h, .x = offset % a->array.row_bytes,
			     .y = offset / a->array.row_bytes };
	return CUDA_SUCCESS;
}

static int to_array(CUarray dst, size_t off, struct where src, size_t n, CUstream s, bool sync)
{
	struct where w;
	int rc = guest_ready();

	if (!rc)
		rc = array_at(dst, off, &w);
	return rc ? rc : copy_box(&w, &src, n, 1, 1, s, sync);
}

static int from_array(struct where dst, CUarray src, size_t off, size_t n, CUstream s, bool sync)
{
	struct where w;
	int rc = guest_ready();

	if (!rc)
		rc = array_at(src, off, &w);
	return rc ? rc : copy_box(&dst, &w, n, 1, 1, s, sync);
}

#define HOST(p) ((struct where){ .type = CU_MEMORYTYPE_HOST, .host = (p) })
#define DEVICE(p) ((struct where){ .type = CU_MEMORYTYPE_DEVICE, .dev = (p) })

CUresult cuMemcpyHtoA_v2(CUarray dst, size_t off, const void *src, size_t n)
{
	return to_array(dst, off, HOST(src), n, NULL, true);
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dst, size_t off, const void *src, size_t n, CUstream s)
{
	return to_array(dst, off, HOST(src), n, s, false);
}

CUresult cuMemcpyAtoH_v2(void *dst, CUarray src, size_t off, size_t n)
{
	return from_array(HOST(dst), src, off, n, NULL, true);
}

CUresult cuMemcpyAtoHAsync_v2(void *dst, CUarray src, size_t off, size_t n, CUstream s)
{
	return from_array(HOST(dst), src, off, n, s, false);
}

CUresult cuMemcpyDtoA_v2(CUarray dst, size_t off, CUdeviceptr src, size_t n)
{
	return to_array(dst, off, DEVICE(src), n, NULL, true);
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t off, size_t n)
{
	return from_array(DEVICE(dst), src, off, n, NULL, true);
}

CUresult cuMemcpyAtoA_v2(CUarray dst, size_t dst_off, CUarray src, size_t src_off, size_t n)
{
	struct where from;
	int rc = guest_ready();

	if (!rc)
		rc = array_at(src, src_off, &from);
	return rc ? rc : to_array(dst, dst_off, from, n, NULL, true);
}

/* ---- memsets ---- */

static int set(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element, size_t width, size_t height, CUstream stream)
{
	struct vgpu_in_memset in = { .dst = dst, .pitch = pitch, .width = width, .height = (vg_u32)height, .value = value,
				     .element = element };
	struct job j = { .depth = 1 };
	struct vgpu_entry *e;
	int rc = begin(&j, stream, false);

	if (rc)
		return rc;
	if (dst % element || height > UINT32_MAX || __builtin_mul_overflow(width, (size_t)element, &width) ||
	    (height > 1 && (pitch < width || pitch % element)))
		return CUDA_ERROR_INVALID_VALUE;
	if (!width || !height)
		return CUDA_SUCCESS;
	j.width = width;
	j.height = height;
	rc = linear(&j, &j.dst, dst, height > 1 ? pitch : width, 0, WANT_DEVICE);
	if (rc)
		return rc;
	in.stream = j.s.wire;
	e = work_begin(guest_client, VGPU_OP_MEMSET, j.s.ctx->wire, 0, NULL);
	if (!e)
		return client_death(guest_client, true);
	memcpy(e->body, &in, sizeof(in));
	stream_touch(&j.s, work_commit(guest_client, e));
	return CUDA_SUCCESS;
}

#define MEMSETS(bits, type)                                                                                            \
	CUresult cuMemsetD##bits##_v2(CUdeviceptr dst, type value, size_t n)                                           \
	{                                                                                                              \
		return set(dst, 0, value, bits / 8, n, 1, NULL);                                                       \
	}                                                                                                              \
	CUresult cuMemsetD##bits##Async(CUdeviceptr dst, type value, size_t n, CUstream s)                             \
	{                                                                                                              \
		return set(dst, 0, value, bits / 8, n, 1, s);                                                          \
	}                                                                                                              \
	CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst, size_t pitch, type value, size_t width, size_t height)        \
	{                                                                                                              \
		return set(dst, pitch, value, bits / 8, width, height, NULL);                                          \
	}                                                                                                              \
	CUresult cuMemsetD2D##bits##Async(CUdeviceptr dst, size_t pitch, type value, size_t width, size_t height,      \
					  CUstream s)                                                                  \
	{                                                                                                              \
		return set(dst, pitch, value, bits / 8, width, height, s);                                             \
	}
MEMSETS(8, unsigned char)
MEMSETS(16, unsigned short)
MEMSETS(32, unsigned int)
