// SPDX-License-Identifier: Apache-2.0
/*
 * Copies and memsets: every entry point becomes one box of bytes with strides on both sides.
 *
 * When a call returns follows CUDA's "API synchronization behavior": copies to or from host memory
 * without "Async" when they are complete, between device memory at once; Async from pageable memory
 * when the source may be reused (staged if the stream is busy), to pageable memory when complete,
 * with pinned memory at once. Memsets of device memory at once.
 */
#include <stdlib.h>
#include <string.h>
#include "base/bulk.h"
#include "softcuda/drv.h"

#define STAGE_MAX (1u << 20) /* above this, waiting for the stream beats a second copy */

struct side {
	CUmemorytype type;
	const void *host;
	CUdeviceptr device;
	CUarray array;
	size_t x, y, z, pitch, height; /* rows of a slice */
	/* found out: */
	uint64_t at, check;
	size_t slice;
	bool host_memory, pageable;
};

struct box {
	struct side src, dst;
	size_t width, height, depth; /* bytes, rows, slices */
};

/* Bytes from the first to the last of the box on one side. False on overflow. */
static bool span(const struct box *b, const struct side *s, uint64_t *bytes)
{
	uint64_t rows, slices;
	return !__builtin_mul_overflow(b->height - 1, s->pitch, &rows) && !__builtin_mul_overflow(b->depth - 1, s->slice, &slices) &&
	       !__builtin_add_overflow(rows, slices, bytes) && !__builtin_add_overflow(*bytes, b->width, bytes);
}

/* Pitch and slice of linear memory, and the address of the box's corner. */
static int linear_corner(const struct box *b, struct side *s, uint64_t base)
{
	uint64_t row, offset;
	if (s->pitch < s->x + b->width && (s->pitch || b->height > 1 || b->depth > 1))
		return CUDA_ERROR_INVALID_VALUE;
	if (b->depth > 1 && s->height < s->y + b->height)
		return CUDA_ERROR_INVALID_VALUE;
	if (__builtin_mul_overflow(s->pitch, s->height, &s->slice) || __builtin_mul_overflow(s->z, s->slice, &offset) ||
	    __builtin_mul_overflow(s->y, s->pitch, &row) || __builtin_add_overflow(offset, row, &offset) ||
	    __builtin_add_overflow(offset, s->x, &offset) || __builtin_add_overflow(offset, base, &s->at))
		return CUDA_ERROR_INVALID_VALUE;
	return base ? 0 : CUDA_ERROR_INVALID_VALUE;
}

static int device_side(const struct box *b, struct side *s)
{
	struct drv_mem m;
	uint64_t bytes;
	DRV_TRY(linear_corner(b, s, s->device));
	if (!span(b, s, &bytes) || !drv_mem_spans(s->at, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	s->host_memory = drv_mem_find(s->at, &m) && (m.kind == MEM_HOST || m.kind == MEM_REGISTERED);
	s->check = bytes;
	return 0;
}

static int host_side(const struct box *b, struct side *s)
{
	struct drv_mem m;
	uint64_t bytes;
	DRV_TRY(linear_corner(b, s, (uintptr_t)s->host));
	if (!span(b, s, &bytes) || s->at + bytes < s->at)
		return CUDA_ERROR_INVALID_VALUE;
	s->host_memory = true;
	s->pageable = !drv_mem_find(s->at, &m);
	return 0;
}

static int array_side(const struct box *b, struct side *s)
{
	struct drv_array *a = drv_array_get(s->array);
	if (!a)
		return CUDA_ERROR_INVALID_HANDLE;
	uint64_t row = a->desc.Width * a->element, rows = a->desc.Height ? a->desc.Height : 1, slices = a->desc.Depth ? a->desc.Depth : 1;
	if (s->x > row || b->width > row - s->x || s->y > rows || b->height > rows - s->y || s->z > slices || b->depth > slices - s->z)
		return CUDA_ERROR_INVALID_VALUE;
	s->pitch = a->pitch;
	s->slice = a->slice;
	s->at = a->base + s->z * a->slice + s->y * a->pitch + s->x;
	return span(b, s, &s->check) ? 0 : CUDA_ERROR_INVALID_VALUE;
}

static int resolve(const struct box *b, struct side *s)
{
	struct drv_mem m;
	switch (s->type) {
	case CU_MEMORYTYPE_HOST:
		return host_side(b, s);
	case CU_MEMORYTYPE_DEVICE:
		return device_side(b, s);
	case CU_MEMORYTYPE_ARRAY:
		return array_side(b, s);
	case CU_MEMORYTYPE_UNIFIED:
		if (drv_mem_find(s->device, &m) || sc_mem_ok(s->device, 1))
			return device_side(b, s);
		s->host = (const void *)(uintptr_t)s->device;
		return host_side(b, s);
	}
	return CUDA_ERROR_INVALID_VALUE;
}

/* Pieces of a large copy come one after the other: does this one belong to as much as streaming pays for? Per
 * thread, as it is only a guess. */
static bool streams(const unsigned char *dst, size_t n)
{
	static _Thread_local struct {
		const unsigned char *end;
		size_t n;
	} run;

	run.n = (run.end == dst ? run.n : 0) + n;
	run.end = dst + n;
	return run.n >= BULK_STREAM_MIN;
}

static void copy_row(unsigned char *dst, const unsigned char *src, size_t n)
{
	bool apart = dst + n <= src || src + n <= dst;

	if (n >= BULK_PIECE && apart && streams(dst, n))
		bulk_stream(dst, src, n);
	else if (n >= BULK_PIECE && apart)
		bulk_copy(dst, src, n);
	else
		memmove(dst, src, n);
}

static int run_copy(struct drv_op *op)
{
	const struct drv_copy *c = &op->u.copy;
	if ((c->src_check && !sc_mem_ok((uintptr_t)c->src, c->src_check)) || (c->dst_check && !sc_mem_ok((uintptr_t)c->dst, c->dst_check)))
		return CUDA_ERROR_ILLEGAL_ADDRESS; /* freed in another stream meanwhile */
	for (size_t z = 0; z < c->depth; z++) {
		const unsigned char *src = c->src + z * c->src_slice;
		unsigned char *dst = c->dst + z * c->dst_slice;
		for (size_t y = 0; y < c->height; y++) /* of one row the pitch may be any number */
			copy_row(dst + y * c->dst_pitch, src + y * c->src_pitch, c->width);
	}
	return 0;
}

static void release_staged(struct drv_op *op)
{
	free(op->owned);
	op->owned = NULL;
}

/* Makes op read a copy of the source taken now. False: no memory. */
static bool stage(struct drv_op *op, size_t bytes)
{
	struct drv_copy *c = &op->u.copy;
	unsigned char *to = op->small;
	if (bytes > sizeof op->small && !(to = op->owned = malloc(bytes)))
		return false;
	op->release = release_staged;
	for (size_t z = 0, n = 0; z < c->depth; z++) {
		for (size_t y = 0; y < c->height; y++, n += c->width)
			memcpy(to + n, c->src + z * c->src_slice + y * c->src_pitch, c->width);
	}
	c->src = to;
	c->src_pitch = c->width;
	c->src_slice = c->width * c->height;
	return true;
}

#define BRIEF (1u << 20) /* bytes: 40 to 120 us, as long as waking a worker takes on a busy machine */

static CUresult submit(struct drv_stream *s, const struct box *b, bool async)
{
	struct drv_op *op = drv_op_new(s, OP_COPY, run_copy);
	enum drv_how how = DRV_ASYNC;
	uint64_t bytes;
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->u.copy = (struct drv_copy){ .src = (const unsigned char *)(uintptr_t)b->src.at, .dst = (unsigned char *)(uintptr_t)b->dst.at,
		.src_pitch = b->src.pitch, .dst_pitch = b->dst.pitch, .src_slice = b->src.slice, .dst_slice = b->dst.slice,
		.width = b->width, .height = b->height, .depth = b->depth, .src_check = b->src.check, .dst_check = b->dst.check };
	op->brief = b->width <= BRIEF && b->height <= BRIEF && b->depth <= BRIEF && b->width * b->height * b->depth <= BRIEF;
	if (async ? b->dst.pageable : b->src.host_memory || b->dst.host_memory)
		how = DRV_SYNC;
	if (async && b->src.pageable && how == DRV_ASYNC) {
		if (__builtin_mul_overflow(b->width * b->height, b->depth, &bytes) || bytes > STAGE_MAX || drv_stream_idle(s) || !stage(op, bytes))
			how = DRV_SYNC;
	}
	return drv_submit(op, NULL, 0, how);
}

static CUresult copy_box(struct box *b, CUstream handle, bool async)
{
	struct drv_ctx *ctx;
	struct drv_stream *s;
	DRV_TRY(drv_enter_stream(handle, &ctx, &s));
	if (!b->width || !b->height || !b->depth)
		return CUDA_SUCCESS;
	DRV_TRY(resolve(b, &b->src));
	DRV_TRY(resolve(b, &b->dst));
	return submit(s, b, async);
}

/* ---- one dimension */

static CUresult line(struct side dst, struct side src, size_t n, CUstream handle, bool async)
{
	struct box b = { .src = src, .dst = dst, .width = n, .height = 1, .depth = 1 };
	return copy_box(&b, handle, async);
}

#define DEVICE(p)	  ((struct side){ .type = CU_MEMORYTYPE_DEVICE, .device = (p) })
#define UNIFIED(p)	  ((struct side){ .type = CU_MEMORYTYPE_UNIFIED, .device = (p) })
#define HOST(p)		  ((struct side){ .type = CU_MEMORYTYPE_HOST, .host = (p) })

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t byteCount)
{
	return line(UNIFIED(dst), UNIFIED(src), byteCount, NULL, false);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t byteCount, CUstream hStream)
{
	return line(UNIFIED(dst), UNIFIED(src), byteCount, hStream, true);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t byteCount)
{
	return line(DEVICE(dst), HOST(src), byteCount, NULL, false);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t byteCount, CUstream hStream)
{
	return line(DEVICE(dst), HOST(src), byteCount, hStream, true);
}

CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t byteCount)
{
	return line(HOST(dst), DEVICE(src), byteCount, NULL, false);
}

CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t byteCount, CUstream hStream)
{
	return line(HOST(dst), DEVICE(src), byteCount, hStream, true);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t byteCount)
{
	return line(DEVICE(dst), DEVICE(src), byteCount, NULL, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t byteCount, CUstream hStream)
{
	return line(DEVICE(dst), DEVICE(src), byteCount, hStream, true);
}

/* Contexts share one address space; the handles are only checked. */
static int peers(CUcontext a, CUcontext b)
{
	DRV_TRY(drv_ready());
	return drv_obj_get(KIND_CTX, a) && drv_obj_get(KIND_CTX, b) ? 0 : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext dstContext, CUdeviceptr src, CUcontext srcContext, size_t byteCount)
{
	DRV_TRY(peers(dstContext, srcContext));
	return cuMemcpyDtoD_v2(dst, src, byteCount);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dstContext, CUdeviceptr src, CUcontext srcContext, size_t byteCount, CUstream hStream)
{
	DRV_TRY(peers(dstContext, srcContext));
	return cuMemcpyDtoDAsync_v2(dst, src, byteCount, hStream);
}

/* ---- arrays: the offset counts bytes, rows one after the other */

static int array_offset(CUarray handle, size_t offset, struct side *s)
{
	struct drv_array *a = drv_array_get(handle);
	DRV_TRY(drv_ready());
	if (!a)
		return CUDA_ERROR_INVALID_HANDLE;
	size_t row = a->desc.Width * a->element;
	*s = (struct side){ .type = CU_MEMORYTYPE_ARRAY, .array = handle, .x = offset % row, .y = offset / row };
	return 0;
}

/* These calls are for 1D arrays: a run that would cross rows is refused. */
static CUresult with_array(CUarray dst, size_t dst_offset, struct side to, CUarray src, size_t src_offset, struct side from, size_t n, CUstream handle, bool async)
{
	if (dst)
		DRV_TRY(array_offset(dst, dst_offset, &to));
	if (src)
		DRV_TRY(array_offset(src, src_offset, &from));
	return line(to, from, n, handle, async);
}

CUresult cuMemcpyDtoA_v2(CUarray dst, size_t dstOffset, CUdeviceptr src, size_t byteCount)
{
	return dst ? with_array(dst, dstOffset, HOST(NULL), NULL, 0, DEVICE(src), byteCount, NULL, false) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t srcOffset, size_t byteCount)
{
	return src ? with_array(NULL, 0, DEVICE(dst), src, srcOffset, HOST(NULL), byteCount, NULL, false) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuMemcpyHtoA_v2(CUarray dst, size_t dstOffset, const void *src, size_t byteCount)
{
	return dst ? with_array(dst, dstOffset, HOST(NULL), NULL, 0, HOST(src), byteCount, NULL, false) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dst, size_t dstOffset, const void *src, size_t byteCount, CUstream hStream)
{
	return dst ? with_array(dst, dstOffset, HOST(NULL), NULL, 0, HOST(src), byteCount, hStream, true) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuMemcpyAtoH_v2(void *dst, CUarray src, size_t srcOffset, size_t byteCount)
{
	return src ? with_array(NULL, 0, HOST(dst), src, srcOffset, HOST(NULL), byteCount, NULL, false) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuMemcpyAtoHAsync_v2(void *dst, CUarray src, size_t srcOffset, size_t byteCount, CUstream hStream)
{
	return src ? with_array(NULL, 0, HOST(dst), src, srcOffset, HOST(NULL), byteCount, hStream, true) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuMemcpyAtoA_v2(CUarray dst, size_t dstOffset, CUarray src, size_t srcOffset, size_t byteCount)
{
	return dst && src ? with_array(dst, dstOffset, HOST(NULL), src, srcOffset, HOST(NULL), byteCount, NULL, false) : CUDA_ERROR_INVALID_HANDLE;
}

/* ---- two and three dimensions */

static CUresult copy_2d(const CUDA_MEMCPY2D *c, CUstream handle, bool async)
{
	DRV_TRY(drv_ready());
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	struct box b = {
		.src = { .type = c->srcMemoryType, .host = c->srcHost, .device = c->srcDevice, .array = c->srcArray, .x = c->srcXInBytes, .y = c->srcY, .pitch = c->srcPitch },
		.dst = { .type = c->dstMemoryType, .host = c->dstHost, .device = c->dstDevice, .array = c->dstArray, .x = c->dstXInBytes, .y = c->dstY, .pitch = c->dstPitch },
		.width = c->WidthInBytes, .height = c->Height, .depth = 1,
	};
	return copy_box(&b, handle, async);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy)
{
	return copy_2d(copy, NULL, false);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream hStream)
{
	return copy_2d(copy, hStream, true);
}

static CUresult copy_3d(const CUDA_MEMCPY3D *c, CUstream handle, bool async)
{
	DRV_TRY(drv_ready());
	if (!c || c->srcLOD || c->dstLOD)
		return CUDA_ERROR_INVALID_VALUE;
	struct box b = {
		.src = { .type = c->srcMemoryType, .host = c->srcHost, .device = c->srcDevice, .array = c->srcArray, .x = c->srcXInBytes, .y = c->srcY, .z = c->srcZ, .pitch = c->srcPitch, .height = c->srcHeight },
		.dst = { .type = c->dstMemoryType, .host = c->dstHost, .device = c->dstDevice, .array = c->dstArray, .x = c->dstXInBytes, .y = c->dstY, .z = c->dstZ, .pitch = c->dstPitch, .height = c->dstHeight },
		.width = c->WidthInBytes, .height = c->Height, .depth = c->Depth,
	};
	return copy_box(&b, handle, async);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *copy)
{
	return copy_3d(copy, NULL, false);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *copy, CUstream hStream)
{
	return copy_3d(copy, hStream, true);
}

/* The contexts stand where the plain form has reserved fields. */
static CUresult copy_3d_peer(const CUDA_MEMCPY3D_PEER *c, CUstream handle, bool async)
{
	CUDA_MEMCPY3D plain;
	DRV_TRY(drv_ready());
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(peers(c->dstContext, c->srcContext));
	memcpy(&plain, c, sizeof plain);
	return copy_3d(&plain, handle, async);
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *copy)
{
	return copy_3d_peer(copy, NULL, false);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *copy, CUstream hStream)
{
	return copy_3d_peer(copy, hStream, true);
}

/* ---- memsets */

static void fill_row(unsigned char *row, const struct drv_fill *f)
{
	uint16_t *h = (uint16_t *)row;
	uint32_t *w = (uint32_t *)row;
	if (f->element == 1) {
		memset(row, (int)f->value, f->width);
	} else if (f->element == 2) {
		for (size_t i = 0; i < f->width; i++)
			h[i] = (uint16_t)f->value;
	} else {
		for (size_t i = 0; i < f->width; i++)
			w[i] = f->value;
	}
}

static int run_fill(struct drv_op *op)
{
	const struct drv_fill *f = &op->u.fill;
	if (!sc_mem_ok((uintptr_t)f->dst, (f->height - 1) * f->pitch + f->width * f->element))
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	for (size_t y = 0; y < f->height; y++)
		fill_row(f->dst + y * f->pitch, f);
	return 0;
}

static CUresult fill(CUdeviceptr dst, size_t pitch, uint32_t value, unsigned element, size_t width, size_t height, CUstream handle, bool async)
{
	struct drv_ctx *ctx;
	struct drv_stream *s;
	struct drv_mem m;
	uint64_t bytes, row;
	DRV_TRY(drv_enter_stream(handle, &ctx, &s));
	if (dst % element)
		return CUDA_ERROR_INVALID_VALUE;
	if (!width || !height)
		return CUDA_SUCCESS;
	if (height == 1)
		pitch = 0;
	if (pitch % element || __builtin_mul_overflow(width, element, &row) || (height > 1 && pitch < row) ||
	    __builtin_mul_overflow(height - 1, pitch, &bytes) || __builtin_add_overflow(bytes, row, &bytes) ||
	    !drv_mem_spans(dst, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	struct drv_op *op = drv_op_new(s, OP_COPY, run_fill);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	op->u.fill = (struct drv_fill){ .dst = (unsigned char *)(uintptr_t)dst, .pitch = pitch, .width = width, .height = height, .value = value, .element = element };
	bool host = drv_mem_find(dst, &m) && (m.kind == MEM_HOST || m.kind == MEM_REGISTERED);
	return drv_submit(op, NULL, 0, !async && host ? DRV_SYNC : DRV_ASYNC);
}

#define MEMSETS(bits, type)                                                                                              \
	CUresult cuMemsetD##bits##_v2(CUdeviceptr dst, type value, size_t n)                                             \
	{                                                                                                                \
		return fill(dst, 0, value, bits / 8, n, 1, NULL, false);                                                 \
	}                                                                                                                \
	CUresult cuMemsetD##bits##Async(CUdeviceptr dst, type value, size_t n, CUstream hStream)                         \
	{                                                                                                                \
		return fill(dst, 0, value, bits / 8, n, 1, hStream, true);                                               \
	}                                                                                                                \
	CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst, size_t pitch, type value, size_t width, size_t height)          \
	{                                                                                                                \
		return fill(dst, pitch, value, bits / 8, width, height, NULL, false);                                    \
	}                                                                                                                \
	CUresult cuMemsetD2D##bits##Async(CUdeviceptr dst, size_t pitch, type value, size_t width, size_t height, CUstream hStream) \
	{                                                                                                                \
		return fill(dst, pitch, value, bits / 8, width, height, hStream, true);                                  \
	}
/* gen_names.py does not see through macros: drv_memsets.names lists these for it. */
MEMSETS(8, unsigned char)
MEMSETS(16, unsigned short)
MEMSETS(32, unsigned int)
