/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and memsets: every byte they touch lies in an allocation of this process, in the bounce
 * area, or in one of its arrays. */
#include "executor/call.h"
#include "executor/arrays.h"
#include "wire/ops_dec.h"

/* Bytes a rectangle spans from its first to its last; false if that overflows. */
static bool span(uint64_t pitch, uint64_t width, uint64_t height, uint64_t *out)
{
	uint64_t rows;

	return !__builtin_mul_overflow(pitch, height - 1, &rows) && !__builtin_add_overflow(rows, width, out);
}

/* The address of a linear place, 0 if it is not wholly ours. */
static uint64_t place(struct exec *x, unsigned where, uint64_t at, uint64_t len)
{
	if (where == VGPU_AT_BOUNCE)
		return at <= VGPU_CH_BOUNCE_SIZE && len <= VGPU_CH_BOUNCE_SIZE - at ? (uint64_t)(uintptr_t)x->bounce + at
										     : 0;
	return mem_ok(x, at, len, where == VGPU_AT_HOST) ? at : 0;
}

int op_copy(struct exec *x, struct call *c, const struct vgpu_in_copy *in, struct obj *stream)
{
	const struct cuda_driver *d = x->drv;
	uint64_t dst = place(x, in->dst_place, in->dst, in->len);
	uint64_t src = place(x, in->src_place, in->src, in->len);
	bool to_host = in->dst_place != VGPU_AT_DEVICE, from_host = in->src_place != VGPU_AT_DEVICE;
	CUstream s = stream->real;
	int rc;

	if (!dst || !src)
		return CUDA_ERROR_INVALID_VALUE;
	c->stream = stream;
	rc = uploads_order(x, c, stream);
	if (rc)
		return rc;
	if (from_host && to_host)
		rc = d->cuMemcpyAsync ? (int)d->cuMemcpyAsync(dst, src, in->len, s) : CUDA_ERROR_NOT_SUPPORTED;
	else if (from_host)
		rc = d->cuMemcpyHtoDAsync_v2(dst, (const void *)(uintptr_t)src, in->len, s);
	else if (to_host)
		rc = d->cuMemcpyDtoHAsync_v2((void *)(uintptr_t)dst, src, in->len, s);
	else
		rc = d->cuMemcpyDtoDAsync_v2(dst, src, in->len, s);
	c->enqueued = !rc;
	if (rc)
		return rc;
	x->charged_bytes += in->len;
	if (in->src_place == VGPU_AT_BOUNCE)
		uploads_note(x, c, stream);
	return rc;
}

/* One side of a 2D copy; false if it reaches outside. */
static bool side(struct exec *x, unsigned where, uint64_t at, uint64_t pitch, uint64_t col, uint64_t row,
		 uint64_t width, uint64_t height, uint32_t ctx, CUmemorytype *type, uint64_t *addr, CUarray *array)
{
	uint64_t len;

	if (where == VGPU_AT_ARRAY) {
		struct obj *o = at <= UINT32_MAX ? obj_get(&x->handles, OBJ_ARRAY, (uint32_t)at, ctx) : NULL;

		*type = CU_MEMORYTYPE_ARRAY;
		*array = o ? o->real : NULL;
		return o && array_holds(o, col, row, width, height);
	}
	if (col || row || (height > 1 && pitch < width) || !span(pitch, width, height, &len))
		return false;
	*addr = place(x, where, at, len);
	*type = where == VGPU_AT_DEVICE ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
	return *addr != 0;
}

int op_copy2d(struct exec *x, struct call *c, const struct vgpu_in_copy2d *in, struct obj *stream)
{
	CUDA_MEMCPY2D m = { .srcPitch = in->src_pitch, .dstPitch = in->dst_pitch, .WidthInBytes = in->width,
			    .Height = in->height };
	uint64_t src = 0, dst = 0;
	int rc;

	if (!side(x, in->src_place, in->src, in->src_pitch, in->src_x, in->src_y, in->width, in->height, c->ctx,
		  &m.srcMemoryType, &src, &m.srcArray) ||
	    !side(x, in->dst_place, in->dst, in->dst_pitch, in->dst_x, in->dst_y, in->width, in->height, c->ctx,
		  &m.dstMemoryType, &dst, &m.dstArray))
		return CUDA_ERROR_INVALID_VALUE;
	m.srcHost = (const void *)(uintptr_t)src;
	m.dstHost = (void *)(uintptr_t)dst;
	m.srcDevice = src;
	m.dstDevice = dst;
	m.srcXInBytes = in->src_x;
	m.dstXInBytes = in->dst_x;
	m.srcY = in->src_y;
	m.dstY = in->dst_y;
	c->stream = stream;
	rc = uploads_order(x, c, stream);
	if (!rc)
		rc = x->drv->cuMemcpy2DAsync_v2(&m, stream->real);
	c->enqueued = !rc;
	if (rc)
		return rc;
	x->charged_bytes += in->width * in->height;
	if (in->src_place == VGPU_AT_BOUNCE)
		uploads_note(x, c, stream);
	return rc;
}

int op_memset(struct exec *x, struct call *c, const struct vgpu_in_memset *in, struct obj *stream)
{
	const struct cuda_driver *d = x->drv;
	CUstream s = stream->real;
	uint64_t row, len;
	int rc;

	if (in->element == 3 || in->dst % in->element || __builtin_mul_overflow(in->width, in->element, &row) ||
	    (in->height > 1 && (in->pitch < row || in->pitch % in->element)) || !span(in->pitch, row, in->height, &len) ||
	    !mem_ok(x, in->dst, len, false))
		return CUDA_ERROR_INVALID_VALUE;
	c->stream = stream;
	rc = uploads_order(x, c, stream);
	if (rc)
		return rc;
	if (in->element == 1)
		rc = in->height > 1 ? d->cuMemsetD2D8Async(in->dst, in->pitch, (uint8_t)in->value, in->width, in->height, s)
				    : d->cuMemsetD8Async(in->dst, (uint8_t)in->value, in->width, s);
	else if (in->element == 2)
		rc = in->height > 1 ? d->cuMemsetD2D16Async(in->dst, in->pitch, (uint16_t)in->value, in->width, in->height, s)
				    : d->cuMemsetD16Async(in->dst, (uint16_t)in->value, in->width, s);
	else
		rc = in->height > 1 ? d->cuMemsetD2D32Async(in->dst, in->pitch, in->value, in->width, in->height, s)
				    : d->cuMemsetD32Async(in->dst, in->value, in->width, s);
	c->enqueued = !rc;
	x->charged_bytes += rc ? 0 : row * in->height;
	return rc;
}
