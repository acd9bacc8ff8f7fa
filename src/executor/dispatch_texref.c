/* SPDX-License-Identifier: Apache-2.0 */
/* Texture references, of programs older than texture objects. The guest keeps their state and sends it
 * whole; what they read is checked as a texture object's is. They end with their module. */
#include <string.h>
#include "executor/arrays.h"
#include "executor/call.h"
#include "wire/ops_dec.h"

static bool supported(const struct cuda_driver *d)
{
	return d->cuModuleGetTexRef && d->cuTexRefSetArray && d->cuTexRefSetAddress_v2 && d->cuTexRefSetAddress2D_v3 &&
	       d->cuTexRefSetFormat && d->cuTexRefSetAddressMode && d->cuTexRefSetFilterMode && d->cuTexRefSetFlags &&
	       d->cuTexRefSetBorderColor;
}

int op_texref_get(struct exec *x, struct call *c, const struct vgpu_in_texref_get *in, struct vgpu_out_texref_get *out,
		  struct obj *module)
{
	char room[4097];
	const char *name = call_name(c, room);
	CUtexref ref = NULL;
	struct obj *o;
	int rc;

	if (!supported(x->drv))
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!name)
		return CUDA_ERROR_NOT_FOUND;
	rc = x->drv->cuModuleGetTexRef(&ref, module->real, name);
	if (rc)
		return rc;
	o = obj_add_with(&x->handles, OBJ_TEXREF, c->ctx, ref, in->module, 0, NULL);
	if (!o)
		return CUDA_ERROR_OUT_OF_MEMORY;
	out->texref = obj_handle(o);
	return CUDA_SUCCESS;
}

/* How it samples. */
static int set_sampling(struct exec *x, CUtexref ref, const struct vgpu_in_texref_bind *in)
{
	const uint32_t mode[3] = { in->address0, in->address1, in->address2 };
	const uint32_t border[4] = { in->border0, in->border1, in->border2, in->border3 };
	float color[4];
	int rc = x->drv->cuTexRefSetFlags(ref, in->flags);

	memcpy(color, border, sizeof(color));
	for (int i = 0; i < 3 && !rc; i++)
		rc = x->drv->cuTexRefSetAddressMode(ref, i, (CUaddress_mode)mode[i]);
	if (!rc)
		rc = x->drv->cuTexRefSetFilterMode(ref, (CUfilter_mode)in->filter);
	return rc ? rc : (int)x->drv->cuTexRefSetBorderColor(ref, color);
}

/* What it reads. */
static int set_resource(struct exec *x, CUtexref ref, const CUDA_RESOURCE_DESC *r)
{
	const struct cuda_driver *d = x->drv;
	CUDA_ARRAY_DESCRIPTOR desc = { r->res.pitch2D.width, r->res.pitch2D.height, r->res.pitch2D.format,
				       r->res.pitch2D.numChannels };
	size_t offset = 0;
	int rc;

	if (r->resType == CU_RESOURCE_TYPE_ARRAY)
		return d->cuTexRefSetArray(ref, r->res.array.hArray, CU_TRSA_OVERRIDE_FORMAT);
	if (r->resType == CU_RESOURCE_TYPE_PITCH2D)
		return d->cuTexRefSetAddress2D_v3(ref, &desc, r->res.pitch2D.devPtr, r->res.pitch2D.pitchInBytes);
	rc = d->cuTexRefSetFormat(ref, r->res.linear.format, (int)r->res.linear.numChannels);
	return rc ? rc : (int)d->cuTexRefSetAddress_v2(&offset, ref, r->res.linear.devPtr, r->res.linear.sizeInBytes);
}

int op_texref_bind(struct exec *x, struct call *c, const struct vgpu_in_texref_bind *in, struct obj *texref)
{
	struct vgpu_in_texture_create as = { .base = in->base, .pitch = in->pitch, .width = in->width, .height = in->height,
					     .array = in->array, .kind = in->kind, .format = in->format,
					     .channels = in->channels };
	CUDA_RESOURCE_DESC r = { 0 };
	int rc = texture_resource(x, c, &as, &r);

	if (rc)
		return rc;
	pthread_mutex_lock(&x->link_lock); /* another helper may be unloading its module */
	rc = obj_handle(texref) == in->texref ? set_sampling(x, texref->real, in) : CUDA_ERROR_INVALID_HANDLE;
	if (!rc)
		rc = set_resource(x, texref->real, &r);
	pthread_mutex_unlock(&x->link_lock);
	return rc;
}

struct sweep {
	struct exec *x;
	uint32_t module, ctx; /* 0: any */
};

static void drop(void *arg, struct obj *o)
{
	struct sweep *s = arg;
	uint32_t handle = obj_handle(o);

	if ((s->module && o->parent != s->module) || (s->ctx && o->ctx != s->ctx) || !obj_claim(o, handle))
		return;
	obj_release(&s->x->handles, OBJ_TEXREF, o, handle);
}

static void sweep(struct sweep *s)
{
	pthread_mutex_lock(&s->x->link_lock);
	obj_each(&s->x->handles, OBJ_TEXREF, drop, s);
	pthread_mutex_unlock(&s->x->link_lock);
}

void texref_drop_module(struct exec *x, uint32_t module)
{
	struct sweep s = { x, module, 0 };

	sweep(&s);
}

void texref_drop_ctx(struct exec *x, uint32_t ctx)
{
	struct sweep s = { x, 0, ctx };

	sweep(&s);
}
