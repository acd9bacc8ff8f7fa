/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays and texture objects. */
#include <stdlib.h>
#include <string.h>
#include "cuda/arrays.h"
#include "guest/guest.h"
#include "wire/ops_enc.h"

/* What a texture was made of, for the calls that ask. */
struct texture {
	CUtexObject id;
	CUDA_RESOURCE_DESC res;
	CUDA_TEXTURE_DESC desc;
	struct gobj *ctx;
	struct texture *next;
};

static struct texture *textures;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- arrays ---- */

static int create(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	struct vgpu_in_array_create in = { .width = d->Width, .height = d->Height, .depth = d->Depth, .format = d->Format,
					   .channels = d->NumChannels, .flags = d->Flags };
	struct vgpu_out_array_create out;
	struct gobj *ctx, *o;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!array || !d->Width || !cuda_texel_bytes(d->Format, d->NumChannels))
		return CUDA_ERROR_INVALID_VALUE;
	rc = vgpu_call_array_create(guest_client, ctx->wire, &in, &out);
	if (rc)
		return rc;
	o = g_new(G_ARRAY, ctx, out.array);
	if (!o)
		return CUDA_ERROR_OUT_OF_MEMORY;
	o->array.desc = *d;
	o->array.row_bytes = d->Width * cuda_texel_bytes(d->Format, d->NumChannels);
	*array = g_handle(o);
	return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d)
{
	CUDA_ARRAY3D_DESCRIPTOR all = { 0 };

	if (!d)
		return CUDA_ERROR_INVALID_VALUE;
	all.Width = d->Width;
	all.Height = d->Height;
	all.Format = d->Format;
	all.NumChannels = d->NumChannels;
	return create(array, &all);
}

CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	return d ? create(array, d) : CUDA_ERROR_INVALID_VALUE;
}

static int enter(CUarray h, struct gobj **o)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	*o = g_get(G_ARRAY, h);
	return rc ? rc : *o ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *d, CUarray h)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc || !d)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*d = o->array.desc;
	return CUDA_SUCCESS;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *d, CUarray h)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc || !d)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*d = (CUDA_ARRAY_DESCRIPTOR){ o->array.desc.Width, o->array.desc.Height, o->array.desc.Format,
				      o->array.desc.NumChannels };
	return CUDA_SUCCESS;
}

CUresult cuArrayDestroy(CUarray h)
{
	struct vgpu_in_array_destroy in;
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	in.array = o->wire;
	rc = vgpu_call_array_destroy(guest_client, o->ctx->wire, work_position(guest_client), &in);
	g_drop(o);
	return rc;
}

/* ---- texture objects ---- */

static int describe(const CUDA_RESOURCE_DESC *r, struct vgpu_in_texture_create *in)
{
	struct gobj *a;

	in->kind = r->resType;
	switch (r->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		a = g_get(G_ARRAY, r->res.array.hArray);
		if (!a)
			return CUDA_ERROR_INVALID_HANDLE;
		in->array = a->wire;
		return CUDA_SUCCESS;
	case CU_RESOURCE_TYPE_LINEAR:
		in->base = r->res.linear.devPtr;
		in->width = r->res.linear.sizeInBytes;
		in->format = r->res.linear.format;
		in->channels = r->res.linear.numChannels;
		return CUDA_SUCCESS;
	case CU_RESOURCE_TYPE_PITCH2D:
		in->base = r->res.pitch2D.devPtr;
		in->width = r->res.pitch2D.width;
		in->height = r->res.pitch2D.height;
		in->pitch = r->res.pitch2D.pitchInBytes;
		in->format = r->res.pitch2D.format;
		in->channels = r->res.pitch2D.numChannels;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

static void remember(CUtexObject id, const CUDA_RESOURCE_DESC *r, const CUDA_TEXTURE_DESC *d, struct gobj *ctx)
{
	struct texture *t = malloc(sizeof(*t));

	if (!t)
		return;
	*t = (struct texture){ .id = id, .res = *r, .desc = *d, .ctx = ctx };
	pthread_mutex_lock(&lock);
	t->next = textures;
	textures = t;
	pthread_mutex_unlock(&lock);
}

CUresult cuTexObjectCreate(CUtexObject *tex, const CUDA_RESOURCE_DESC *r, const CUDA_TEXTURE_DESC *d,
			   const CUDA_RESOURCE_VIEW_DESC *view)
{
	struct vgpu_in_texture_create in = { 0 };
	struct vgpu_out_texture_create out;
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!tex || !r || !d)
		return CUDA_ERROR_INVALID_VALUE;
	if (view && view->format != CU_RES_VIEW_FORMAT_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	rc = describe(r, &in);
	if (rc)
		return rc;
	in.address0 = d->addressMode[0];
	in.address1 = d->addressMode[1];
	in.address2 = d->addressMode[2];
	in.filter = d->filterMode;
	in.flags = d->flags;
	in.mip_filter = d->mipmapFilterMode;
	in.anisotropy = d->maxAnisotropy;
	memcpy(&in.border0, &d->borderColor[0], 4);
	memcpy(&in.border1, &d->borderColor[1], 4);
	memcpy(&in.border2, &d->borderColor[2], 4);
	memcpy(&in.border3, &d->borderColor[3], 4);
	rc = vgpu_call_texture_create(guest_client, ctx->wire, &in, &out);
	if (rc)
		return rc;
	remember(out.texture, r, d, ctx);
	*tex = out.texture;
	return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject tex)
{
	struct vgpu_in_texture_destroy in = { .texture = tex };
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	rc = vgpu_call_texture_destroy(guest_client, ctx->wire, work_position(guest_client), &in);
	pthread_mutex_lock(&lock);
	for (struct texture **at = &textures, *t; !rc && (t = *at); at = &t->next)
		if (t->id == tex) {
			*at = t->next;
			free(t);
			break;
		}
	pthread_mutex_unlock(&lock);
	return rc;
}

static int find(CUtexObject tex, struct texture *out)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	rc = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&lock);
	for (struct texture *t = textures; t && rc; t = t->next)
		if (t->id == tex) {
			*out = *t;
			rc = CUDA_SUCCESS;
		}
	pthread_mutex_unlock(&lock);
	return rc;
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *d, CUtexObject tex)
{
	struct texture t;
	int rc = d ? find(tex, &t) : CUDA_ERROR_INVALID_VALUE;

	if (!rc)
		*d = t.res;
	return rc;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *d, CUtexObject tex)
{
	struct texture t;
	int rc = d ? find(tex, &t) : CUDA_ERROR_INVALID_VALUE;

	if (!rc)
		*d = t.desc;
	return rc;
}

/* Views are refused above, so every texture's is the empty one. */
CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *d, CUtexObject tex)
{
	struct texture t;
	int rc = d ? find(tex, &t) : CUDA_ERROR_INVALID_VALUE;

	if (!rc)
		memset(d, 0, sizeof(*d));
	return rc;
}
