/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays and texture objects. A texture object's number is what kernels carry, so it is the driver's
 * own and is kept in a set; everything else about it was a handle or a checked range. */
#include <stdlib.h>
#include <string.h>
#include "executor/arrays.h"
#include "executor/call.h"
#include "cuda/arrays.h"
#include "wire/ops_dec.h"

static bool within(uint64_t from, uint64_t n, uint64_t all)
{
	return from <= all && n <= all - from;
}

bool array_holds(const struct obj *array, const struct array_box *b)
{
	const struct array_shape *s = array->data;

	return within(b->x, b->width, s->row_bytes) && within(b->y, b->height, s->rows) &&
	       within(b->z, b->depth, s->layers);
}

static int create(struct exec *x, const struct vgpu_in_array_create *in, CUarray *a)
{
	CUDA_ARRAY_DESCRIPTOR d2 = { in->width, in->height, in->format, in->channels };
	CUDA_ARRAY3D_DESCRIPTOR d3 = { in->width, in->height, in->depth, in->format, in->channels, in->flags };

	return in->depth || in->flags ? x->drv->cuArray3DCreate_v2(a, &d3) : x->drv->cuArrayCreate_v2(a, &d2);
}

int op_array_create(struct exec *x, struct call *c, const struct vgpu_in_array_create *in,
		    struct vgpu_out_array_create *out)
{
	uint64_t row, rows = in->height ? in->height : 1, layers = in->depth ? in->depth : 1, bytes;
	unsigned element = cuda_texel_bytes(in->format, in->channels);
	struct array_shape *shape;
	CUarray a = NULL;
	struct obj *o;
	int rc;

	if (!element || __builtin_mul_overflow(in->width, element, &row) ||
	    __builtin_mul_overflow(row, rows, &bytes) || __builtin_mul_overflow(bytes, layers, &bytes))
		return CUDA_ERROR_INVALID_VALUE;
	bytes = charged_array(row, rows, layers);
	if (x->env->ops->quota_take(x->env->ops_ctx, bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = create(x, in, &a);
	shape = rc ? NULL : malloc(sizeof(*shape));
	if (shape)
		*shape = (struct array_shape){ row, rows, layers };
	o = shape ? obj_add_with(&x->handles, OBJ_ARRAY, c->ctx, a, 0, bytes, shape) : NULL;
	if (!o) {
		if (!rc)
			x->drv->cuArrayDestroy(a);
		free(shape);
		x->env->ops->quota_give(x->env->ops_ctx, bytes);
		return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->array = obj_handle(o);
	return CUDA_SUCCESS;
}

int op_array_destroy(struct exec *x, struct call *c, const struct vgpu_in_array_destroy *in, struct obj *array)
{
	CUarray real = array->real;
	uint64_t bytes = array->bytes;
	int rc;

	if (!obj_claim(array, in->array))
		return CUDA_ERROR_INVALID_HANDLE;
	exec_grace(x);
	rc = x->drv->cuArrayDestroy(real);
	obj_release(&x->handles, OBJ_ARRAY, array, in->array);
	if (!rc)
		x->env->ops->quota_give(x->env->ops_ctx, bytes);
	return rc;
}

int texture_resource(struct exec *x, const struct call *c, const struct vgpu_in_texture_create *in, CUDA_RESOURCE_DESC *r)
{
	uint64_t len = in->width;
	struct obj *a;

	r->resType = in->kind;
	switch (in->kind) {
	case CU_RESOURCE_TYPE_ARRAY:
		a = obj_get(&x->handles, OBJ_ARRAY, in->array, c->ctx);
		r->res.array.hArray = a ? a->real : NULL;
		return a ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
	case CU_RESOURCE_TYPE_LINEAR: /* width is in bytes */
		r->res.linear.devPtr = in->base;
		r->res.linear.format = in->format;
		r->res.linear.numChannels = in->channels;
		r->res.linear.sizeInBytes = in->width;
		break;
	case CU_RESOURCE_TYPE_PITCH2D:
		r->res.pitch2D.devPtr = in->base;
		r->res.pitch2D.format = in->format;
		r->res.pitch2D.numChannels = in->channels;
		r->res.pitch2D.width = in->width;
		r->res.pitch2D.height = in->height;
		r->res.pitch2D.pitchInBytes = in->pitch;
		len = cuda_texel_bytes(in->format, in->channels);
		if (!len || !in->height || __builtin_mul_overflow(len, in->width, &len) || len > in->pitch)
			return CUDA_ERROR_INVALID_VALUE;
		{
			uint64_t rows;

			if (__builtin_mul_overflow(in->pitch, in->height - 1, &rows) ||
			    __builtin_add_overflow(rows, len, &len))
				return CUDA_ERROR_INVALID_VALUE;
		}
		break;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
	return len && mem_ok(x, in->base, len, false) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

int op_texture_create(struct exec *x, struct call *c, const struct vgpu_in_texture_create *in,
		      struct vgpu_out_texture_create *out)
{
	CUDA_TEXTURE_DESC t = { .addressMode = { in->address0, in->address1, in->address2 },
				.filterMode = in->filter, .flags = in->flags, .maxAnisotropy = in->anisotropy,
				.mipmapFilterMode = in->mip_filter };
	uint32_t border[4] = { in->border0, in->border1, in->border2, in->border3 };
	struct vgpu_range known = { .size = 1, .owner = c->ctx };
	CUDA_RESOURCE_DESC r = { 0 };
	CUtexObject tex = 0;
	int rc = texture_resource(x, c, in, &r);

	if (rc)
		return rc;
	memcpy(t.borderColor, border, sizeof(border));
	rc = x->drv->cuTexObjectCreate(&tex, &r, &t, NULL);
	if (rc)
		return rc;
	known.base = tex;
	pthread_mutex_lock(&x->mem_lock);
	rc = x->textures.n < OBJ_MAX ? vgpu_ranges_add(&x->textures, &known) : -1;
	pthread_mutex_unlock(&x->mem_lock);
	if (rc) {
		x->drv->cuTexObjectDestroy(tex);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->texture = tex;
	return CUDA_SUCCESS;
}

int op_texture_destroy(struct exec *x, struct call *c, const struct vgpu_in_texture_destroy *in)
{
	bool known;

	pthread_mutex_lock(&x->mem_lock);
	known = vgpu_ranges_remove(&x->textures, in->texture, NULL);
	pthread_mutex_unlock(&x->mem_lock);
	return known ? (int)x->drv->cuTexObjectDestroy(in->texture) : CUDA_ERROR_INVALID_VALUE;
}
