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

/* One side of a copy of boxes, and the box. */
struct side {
	unsigned place;
	uint64_t at, pitch, rows; /* rows: of a slice of linear memory */
	struct array_box box;
	CUmemorytype type;
	uint64_t addr;
	CUarray array;
};

/* Bytes from the first to the last of the box in linear memory; false if that overflows. */
static bool box_span(const struct side *s, uint64_t *len)
{
	const struct array_box *b = &s->box;
	uint64_t slice, slices, rows;

	if ((b->height > 1 || b->depth > 1) && s->pitch < b->width)
		return false;
	if (b->depth > 1 && s->rows < b->height)
		return false;
	return !__builtin_mul_overflow(s->pitch, s->rows, &slice) && !__builtin_mul_overflow(slice, b->depth - 1, &slices) &&
	       span(s->pitch, b->width, b->height, &rows) && !__builtin_add_overflow(slices, rows, len);
}

/* False if it reaches outside. */
static bool resolve(struct exec *x, uint32_t ctx, struct side *s)
{
	uint64_t len;

	if (s->place == VGPU_AT_ARRAY) {
		struct obj *o = s->at <= UINT32_MAX ? obj_get(&x->handles, OBJ_ARRAY, (uint32_t)s->at, ctx) : NULL;

		s->type = CU_MEMORYTYPE_ARRAY;
		s->array = o ? o->real : NULL;
		return o && array_holds(o, &s->box);
	}
	if (s->box.x || s->box.y || s->box.z || !box_span(s, &len))
		return false;
	s->addr = place(x, s->place, s->at, len);
	s->type = s->place == VGPU_AT_DEVICE ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
	return s->addr != 0;
}

static int copy_plane(struct exec *x, const struct side *dst, const struct side *src, CUstream stream)
{
	CUDA_MEMCPY2D m = { .srcXInBytes = src->box.x, .srcY = src->box.y, .srcMemoryType = src->type,
			    .srcHost = (const void *)(uintptr_t)src->addr, .srcDevice = src->addr, .srcArray = src->array,
			    .srcPitch = src->pitch, .dstXInBytes = dst->box.x, .dstY = dst->box.y,
			    .dstMemoryType = dst->type, .dstHost = (void *)(uintptr_t)dst->addr, .dstDevice = dst->addr,
			    .dstArray = dst->array, .dstPitch = dst->pitch, .WidthInBytes = dst->box.width,
			    .Height = dst->box.height };

	return x->drv->cuMemcpy2DAsync_v2(&m, stream);
}

static int copy_box(struct exec *x, const struct side *dst, const struct side *src, CUstream stream)
{
	CUDA_MEMCPY3D m = { .srcXInBytes = src->box.x, .srcY = src->box.y, .srcZ = src->box.z, .srcMemoryType = src->type,
			    .srcHost = (const void *)(uintptr_t)src->addr, .srcDevice = src->addr, .srcArray = src->array,
			    .srcPitch = src->pitch, .srcHeight = src->rows, .dstXInBytes = dst->box.x, .dstY = dst->box.y,
			    .dstZ = dst->box.z, .dstMemoryType = dst->type, .dstHost = (void *)(uintptr_t)dst->addr,
			    .dstDevice = dst->addr, .dstArray = dst->array, .dstPitch = dst->pitch, .dstHeight = dst->rows,
			    .WidthInBytes = dst->box.width, .Height = dst->box.height, .Depth = dst->box.depth };

	return x->drv->cuMemcpy3DAsync_v2(&m, stream);
}

int op_copy3d(struct exec *x, struct call *c, const struct vgpu_in_copy3d *in, struct obj *stream)
{
	struct side dst = { .place = in->dst_place, .at = in->dst, .pitch = in->dst_pitch, .rows = in->dst_rows,
			    .box = { in->dst_x, in->dst_y, in->dst_z, in->width, in->height, in->depth } };
	struct side src = { .place = in->src_place, .at = in->src, .pitch = in->src_pitch, .rows = in->src_rows,
			    .box = { in->src_x, in->src_y, in->src_z, in->width, in->height, in->depth } };
	int rc;

	if (!resolve(x, c->ctx, &src) || !resolve(x, c->ctx, &dst))
		return CUDA_ERROR_INVALID_VALUE;
	c->stream = stream;
	rc = uploads_order(x, c, stream);
	if (!rc && in->depth == 1 && !in->dst_z && !in->src_z)
		rc = copy_plane(x, &dst, &src, stream->real);
	else if (!rc)
		rc = copy_box(x, &dst, &src, stream->real);
	c->enqueued = !rc;
	if (rc)
		return rc;
	x->charged_bytes += in->width * in->height * in->depth;
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
