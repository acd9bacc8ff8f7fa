/* SPDX-License-Identifier: Apache-2.0 */
/* Texture references. Their state is kept here and sent whole whenever it changes and something is bound. */
#include <stdlib.h>
#include <string.h>
#include "cuda/arrays.h"
#include "guest/guest.h"
#include "wire/ops_enc.h"

#define ADDRESS_ALIGN 512u /* TEXTURE_ALIGNMENT: otherwise there would be an offset to report */

struct texref_state {
	char *name; /* behind the structure */
	CUarray array; /* or */
	CUdeviceptr address; /* bound, unless both are 0 */
	size_t bytes, pitch, width, height; /* pitch: two-dimensional */
	CUarray_format format;
	int channels;
	CUDA_TEXTURE_DESC desc;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int enter(CUtexref h, struct gobj **o)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	*o = g_get(G_TEXREF, h);
	return rc ? rc : *o ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* lock held */
static int make(struct gobj *m, const char *name, struct gobj **out)
{
	struct vgpu_in_texref_get in = { .module = m->wire };
	struct vgpu_out_texref_get got;
	struct texref_state *s;
	struct gobj *o;
	int rc = vgpu_call_texref_get(guest_client, m->ctx->wire, &in, &got, name, (uint32_t)strlen(name));

	if (rc)
		return rc;
	s = calloc(1, sizeof(*s) + strlen(name) + 1);
	o = s ? g_new(G_TEXREF, m->ctx, got.texref) : NULL;
	if (!o) {
		free(s);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	s->name = strcpy((char *)(s + 1), name);
	s->format = CU_AD_FORMAT_FLOAT;
	s->channels = 1;
	o->texref.state = s;
	o->texref.module = m;
	o->next = m->module.texrefs;
	m->module.texrefs = o;
	*out = o;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetTexRef(CUtexref *texref, CUmodule h, const char *name)
{
	struct gobj *ctx, *m = g_get(G_MODULE, h), *o;
	int rc = ctx_enter(&ctx);

	if (rc)
		return rc;
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!texref || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!*name || strlen(name) > 4096)
		return CUDA_ERROR_NOT_FOUND;
	pthread_mutex_lock(&lock);
	for (o = m->module.texrefs; o && strcmp(o->texref.state->name, name);)
		o = o->next;
	rc = o ? CUDA_SUCCESS : make(m, name, &o);
	pthread_mutex_unlock(&lock);
	if (!rc)
		*texref = g_handle(o);
	return rc;
}

/* Sends the state, if anything is bound. */
static int bind(struct gobj *o)
{
	const struct texref_state *s = o->texref.state;
	const CUDA_TEXTURE_DESC *d = &s->desc;
	struct vgpu_in_texref_bind in = { .texref = o->wire, .base = s->address, .format = s->format,
					  .channels = (vg_u32)s->channels, .address0 = d->addressMode[0],
					  .address1 = d->addressMode[1], .address2 = d->addressMode[2],
					  .filter = d->filterMode, .flags = d->flags };
	struct gobj *a = s->array ? g_get(G_ARRAY, s->array) : NULL;

	if (!s->array && !s->address)
		return CUDA_SUCCESS;
	if (s->array && !a)
		return CUDA_ERROR_INVALID_HANDLE;
	in.kind = a ? CU_RESOURCE_TYPE_ARRAY : s->pitch ? CU_RESOURCE_TYPE_PITCH2D : CU_RESOURCE_TYPE_LINEAR;
	in.array = a ? a->wire : 0;
	in.pitch = s->pitch;
	in.width = s->pitch ? s->width : s->bytes;
	in.height = s->height;
	memcpy(&in.border0, &d->borderColor[0], 4);
	memcpy(&in.border1, &d->borderColor[1], 4);
	memcpy(&in.border2, &d->borderColor[2], 4);
	memcpy(&in.border3, &d->borderColor[3], 4);
	return vgpu_call_texref_bind(guest_client, o->ctx->wire, work_position(guest_client), &in);
}

CUresult cuTexRefSetArray(CUtexref h, CUarray array, unsigned int flags)
{
	struct gobj *a = g_get(G_ARRAY, array), *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (!a || flags != CU_TRSA_OVERRIDE_FORMAT)
		return CUDA_ERROR_INVALID_VALUE;
	o->texref.state->array = array;
	o->texref.state->address = 0;
	o->texref.state->format = a->array.desc.Format;
	o->texref.state->channels = (int)a->array.desc.NumChannels;
	return bind(o);
}

CUresult cuTexRefSetAddress_v2(size_t *offset, CUtexref h, CUdeviceptr p, size_t bytes)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (p % ADDRESS_ALIGN)
		return CUDA_ERROR_INVALID_VALUE;
	if (offset)
		*offset = 0;
	o->texref.state->array = NULL;
	o->texref.state->address = p;
	o->texref.state->bytes = bytes;
	o->texref.state->pitch = 0;
	return bind(o);
}

CUresult cuTexRefSetAddress2D_v3(CUtexref h, const CUDA_ARRAY_DESCRIPTOR *d, CUdeviceptr p, size_t pitch)
{
	struct texref_state *s;
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (!d || !pitch)
		return CUDA_ERROR_INVALID_VALUE;
	s = o->texref.state;
	s->array = NULL;
	s->address = p;
	s->pitch = pitch;
	s->width = d->Width;
	s->height = d->Height;
	s->format = d->Format;
	s->channels = (int)d->NumChannels;
	return bind(o);
}

CUresult cuTexRefSetFormat(CUtexref h, CUarray_format format, int channels)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (!cuda_texel_bytes(format, channels))
		return CUDA_ERROR_INVALID_VALUE;
	o->texref.state->format = format;
	o->texref.state->channels = channels;
	return o->texref.state->array ? CUDA_SUCCESS : bind(o);
}

CUresult cuTexRefSetAddressMode(CUtexref h, int dim, CUaddress_mode mode)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (dim < 0 || dim > 2 || (unsigned)mode > CU_TR_ADDRESS_MODE_BORDER)
		return CUDA_ERROR_INVALID_VALUE;
	o->texref.state->desc.addressMode[dim] = mode;
	return bind(o);
}

CUresult cuTexRefSetFilterMode(CUtexref h, CUfilter_mode mode)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if ((unsigned)mode > CU_TR_FILTER_MODE_LINEAR)
		return CUDA_ERROR_INVALID_VALUE;
	o->texref.state->desc.filterMode = mode;
	return bind(o);
}

CUresult cuTexRefSetFlags(CUtexref h, unsigned int flags)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (flags & ~(unsigned)(CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB))
		return CUDA_ERROR_INVALID_VALUE;
	o->texref.state->desc.flags = flags;
	return bind(o);
}

CUresult cuTexRefSetBorderColor(CUtexref h, float *color)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (rc)
		return rc;
	if (!color)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(o->texref.state->desc.borderColor, color, sizeof(o->texref.state->desc.borderColor));
	return bind(o);
}

/* ---- what was set ---- */

static int ask(CUtexref h, const void *answer, const struct texref_state **s)
{
	struct gobj *o;
	int rc = enter(h, &o);

	if (!rc)
		*s = o->texref.state;
	return rc ? rc : answer ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuTexRefGetArray(CUarray *array, CUtexref h)
{
	const struct texref_state *s;
	int rc = ask(h, array, &s);

	if (rc || !s->array)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*array = s->array;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetAddress_v2(CUdeviceptr *p, CUtexref h)
{
	const struct texref_state *s;
	int rc = ask(h, p, &s);

	if (rc || !s->address)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*p = s->address;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetAddressMode(CUaddress_mode *mode, CUtexref h, int dim)
{
	const struct texref_state *s;
	int rc = ask(h, mode, &s);

	if (rc || dim < 0 || dim > 2)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*mode = s->desc.addressMode[dim];
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetFilterMode(CUfilter_mode *mode, CUtexref h)
{
	const struct texref_state *s;
	int rc = ask(h, mode, &s);

	if (!rc)
		*mode = s->desc.filterMode;
	return rc;
}

CUresult cuTexRefGetFormat(CUarray_format *format, int *channels, CUtexref h)
{
	const struct texref_state *s;
	int rc = ask(h, format, &s);

	if (rc || !channels)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*format = s->format;
	*channels = s->channels;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetFlags(unsigned int *flags, CUtexref h)
{
	const struct texref_state *s;
	int rc = ask(h, flags, &s);

	if (!rc)
		*flags = s->desc.flags;
	return rc;
}

/* Deprecated since CUDA 3: textures of a module are always there for its kernels. */
CUresult cuParamSetTexRef(CUfunction func, int unit, CUtexref h)
{
	struct gobj *f, *o;
	int rc = func_enter(func, &f);

	return rc ? rc : enter(h, &o);
}
