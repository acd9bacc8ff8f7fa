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
#include "guest/guest.h"

#define SMALL (CLIENT_STAGE_RING / 16) /* copied while holding the ring: about 8 us */
#define IN_FLIGHT 8u		       /* blocks of one download */

enum { AT_PAGEABLE = VGPU_PLACES };

struct plane {
	unsigned place;
	uint64_t at;	/* address, or the array's handle */
	uint64_t pitch; /* bytes between rows */
	uint64_t x, y;	/* of an array: bytes, rows */
};

struct job {
	struct plane dst, src;
	uint64_t width, height; /* bytes, rows */
	struct stream_ref s;
	bool sync;
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

static struct vgpu_in_copy2d body_of(const struct job *j, uint64_t x, uint64_t y, uint64_t w, uint64_t h)
{
	struct vgpu_in_copy2d b = { .dst_pitch = j->dst.pitch, .src_pitch = j->src.pitch, .width = w, .height = h,
				    .stream = j->s.wire, .dst_place = (vg_u16)j->dst.place,
				    .src_place = (vg_u16)j->src.place };

	side(&j->dst, x, y, &b.dst, &b.dst_x, &b.dst_y);
	side(&j->src, x, y, &b.src, &b.src_x, &b.src_y);
	return b;
}

static void pack(void *to, const struct plane *from, uint64_t x, uint64_t y, uint64_t w, uint64_t h)
{
	for (uint64_t r = 0; r < h; r++)
		memcpy((char *)to + r * w, host_at(from, x, y + r), w);
}

static void unpack(const struct plane *to, const void *from, uint64_t x, uint64_t y, uint64_t w, uint64_t h)
{
	for (uint64_t r = 0; r < h; r++)
		memcpy(host_at(to, x, y + r), (const char *)from + r * w, w);
}

/* Publishes one copy; with `staged` its source is packed into the stage ring under the ring's lock.
 * 0 = the executor is gone. */
static uint64_t post(struct job *j, struct vgpu_in_copy2d *b, struct vgpu_slot *reply, const struct plane *staged,
		     uint64_t x, uint64_t y)
{
	bool flat = b->height == 1 && b->dst_place != VGPU_AT_ARRAY && b->src_place != VGPU_AT_ARRAY;
	uint32_t stage = staged ? (uint32_t)(b->width * b->height) : 0, at = 0;
	struct vgpu_entry *e;
	void *pay = NULL;
	uint64_t index;

	e = work_begin_staged(guest_client, flat ? VGPU_OP_COPY : VGPU_OP_COPY2D, j->s.ctx->wire, flat ? 0 : sizeof(*b), &pay,
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
	struct vgpu_in_copy2d b = body_of(j, 0, 0, j->width, j->height);
	bool wait = j->sync && (is_host(&j->dst) || is_host(&j->src));
	struct vgpu_slot *s = NULL;
	int rc = CUDA_SUCCESS;

	if (wait && !(s = slot_take(guest_client)))
		return client_death(guest_client, true);
	if (!post(j, &b, s, NULL, 0, 0))
		rc = client_death(guest_client, true);
	else if (wait)
		rc = slot_wait(guest_client, s, NULL);
	if (s)
		slot_give(guest_client, s);
	return rc;
}

/* Pieces of at most one block: whole rows where they fit, else parts of one row. */
struct piece {
	uint64_t x, y, w, h;
};

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
		struct vgpu_in_copy2d b = body_of(j, p.x, p.y, p.w, p.h);
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
		unpack(&j->dst, bounce_at(guest_client, block_offset(f->block)), f->p.x, f->p.y, f->p.w, f->p.h);
	slot_give(guest_client, f->slot);
	block_give(guest_client, f->block, 0);
	return rc ? rc : own;
}

static int take_off(struct job *j, struct flight *f)
{
	struct vgpu_in_copy2d b = body_of(j, f->p.x, f->p.y, f->p.w, f->p.h);

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

static int run(struct job *j)
{
	if (!j->width || !j->height)
		return CUDA_SUCCESS;
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

static int linear(struct plane *p, uint64_t at, uint64_t pitch, uint64_t width, uint64_t height, enum want want)
{
	uint64_t len = 0;
	struct gmem m;

	p->at = at;
	p->pitch = pitch;
	if (width && height &&
	    (__builtin_mul_overflow(pitch, height - 1, &len) || __builtin_add_overflow(len, width, &len) || !at))
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
	struct job j = { .width = n, .height = 1 };
	int rc = begin(&j, stream, sync);

	if (!rc)
		rc = linear(&j.dst, dst, n, n, 1, dw);
	if (!rc)
		rc = linear(&j.src, src, n, n, 1, sw);
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

/* ---- two dimensions, arrays ---- */

static int plane_of(struct plane *p, CUmemorytype type, const void *host, CUdeviceptr dev, CUarray array, size_t pitch,
		    size_t x, size_t y, size_t width, size_t height)
{
	uint64_t at = type == CU_MEMORYTYPE_HOST ? (uintptr_t)host : dev, row, start;
	struct gobj *a;

	if (type == CU_MEMORYTYPE_ARRAY) {
		a = g_get(G_ARRAY, array);
		if (!a || !a->ctx->wire)
			return CUDA_ERROR_INVALID_HANDLE;
		*p = (struct plane){ VGPU_AT_ARRAY, a->wire, 0, x, y };
		return CUDA_SUCCESS;
	}
	if (type != CU_MEMORYTYPE_HOST && type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_UNIFIED)
		return CUDA_ERROR_INVALID_VALUE;
	if (!pitch)
		pitch = width;
	if (__builtin_add_overflow(width, x, &row) || (pitch < row && height > 1) ||
	    __builtin_mul_overflow((uint64_t)y, pitch, &start) || __builtin_add_overflow(start, x, &start) ||
	    __builtin_add_overflow(start, at, &at))
		return CUDA_ERROR_INVALID_VALUE;
	return linear(p, at, pitch, width, height,
		      type == CU_MEMORYTYPE_HOST ? WANT_HOST : type == CU_MEMORYTYPE_DEVICE ? WANT_DEVICE : WANT_ANY);
}

static int copy2(const CUDA_MEMCPY2D *c, CUstream stream, bool sync)
{
	struct job j = { 0 };
	int rc = begin(&j, stream, sync);

	if (rc)
		return rc;
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	j.width = c->WidthInBytes;
	j.height = c->Height;
	if (!j.width || !j.height)
		return CUDA_SUCCESS;
	rc = plane_of(&j.dst, c->dstMemoryType, c->dstHost, c->dstDevice, c->dstArray, c->dstPitch, c->dstXInBytes, c->dstY,
		      j.width, j.height);
	if (!rc)
		rc = plane_of(&j.src, c->srcMemoryType, c->srcHost, c->srcDevice, c->srcArray, c->srcPitch, c->srcXInBytes,
			      c->srcY, j.width, j.height);
	return rc ? rc : run(&j);
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

/* A linear offset into a one-dimensional array. */
static int copy_array(CUarray dst, size_t dst_off, uint64_t dst_at, enum want dw, CUarray src, size_t src_off, uint64_t src_at,
		      enum want sw, size_t n, CUstream stream, bool sync)
{
	struct job j = { .width = n, .height = 1 };
	int rc = begin(&j, stream, sync);

	if (!rc)
		rc = dst ? plane_of(&j.dst, CU_MEMORYTYPE_ARRAY, NULL, 0, dst, 0, dst_off, 0, n, 1)
			 : linear(&j.dst, dst_at, n, n, 1, dw);
	if (!rc)
		rc = src ? plane_of(&j.src, CU_MEMORYTYPE_ARRAY, NULL, 0, src, 0, src_off, 0, n, 1)
			 : linear(&j.src, src_at, n, n, 1, sw);
	return rc ? rc : run(&j);
}

CUresult cuMemcpyHtoA_v2(CUarray dst, size_t off, const void *src, size_t n)
{
	return dst ? copy_array(dst, off, 0, 0, NULL, 0, (uintptr_t)src, WANT_HOST, n, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyAtoH_v2(void *dst, CUarray src, size_t off, size_t n)
{
	return src ? copy_array(NULL, 0, (uintptr_t)dst, WANT_HOST, src, off, 0, 0, n, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyDtoA_v2(CUarray dst, size_t off, CUdeviceptr src, size_t n)
{
	return dst ? copy_array(dst, off, 0, 0, NULL, 0, src, WANT_DEVICE, n, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t off, size_t n)
{
	return src ? copy_array(NULL, 0, dst, WANT_DEVICE, src, off, 0, 0, n, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyAtoA_v2(CUarray dst, size_t dst_off, CUarray src, size_t src_off, size_t n)
{
	return dst && src ? copy_array(dst, dst_off, 0, 0, src, src_off, 0, 0, n, NULL, true) : CUDA_ERROR_INVALID_VALUE;
}

/* ---- memsets ---- */

static int set(CUdeviceptr dst, size_t pitch, uint32_t value, uint32_t element, size_t width, size_t height, CUstream stream)
{
	struct vgpu_in_memset in = { .dst = dst, .pitch = pitch, .width = width, .height = (vg_u32)height, .value = value,
				     .element = element };
	struct job j = { 0 };
	struct vgpu_entry *e;
	int rc = begin(&j, stream, false);

	if (rc)
		return rc;
	if (dst % element || height > UINT32_MAX || __builtin_mul_overflow(width, (size_t)element, &width) ||
	    (height > 1 && (pitch < width || pitch % element)))
		return CUDA_ERROR_INVALID_VALUE;
	if (!width || !height)
		return CUDA_SUCCESS;
	rc = linear(&j.dst, dst, height > 1 ? pitch : width, width, height, WANT_DEVICE);
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
