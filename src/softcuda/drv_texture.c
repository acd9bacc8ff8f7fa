// SPDX-License-Identifier: Apache-2.0
/* Arrays, texture objects and texture references. Arrays are pitch-linear device memory. */
#include <stdlib.h>
#include <string.h>
#include "cuda/arrays.h"
#include "softcuda/drv.h"

#define ROW_ALIGN 32 /* CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT */
#define MAX_WIDTH  131072u
#define MAX_HEIGHT 65536u
#define MAX_DEPTH  16384u

struct drv_texref {
	struct drv_obj obj;
	struct drv_ctx *ctx;
	uint64_t *slot; /* in the module's memory: the texture handle kernels use; NULL: of cuTexRefCreate */
	uint64_t made;	/* handle in the slot, to give back */
	struct drv_texref *next;
	struct drv_module *module;
	char *name;
	CUarray array;
	CUdeviceptr address;
	size_t bytes, pitch, width, height;
	CUarray_format format;
	int channels;
	CUDA_TEXTURE_DESC desc;
};

/* Texture objects by handle, for the Get calls and to refuse handles that are none. */
struct object {
	CUtexObject handle;
	CUDA_RESOURCE_DESC res;
	CUDA_TEXTURE_DESC desc;
	struct object *next;
};
static struct object *objects;
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

struct drv_array *drv_array_get(CUarray handle)
{
	return drv_obj_get(KIND_ARRAY, handle);
}

/* ---- arrays */

CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	unsigned element = d ? cuda_texel_bytes(d->Format, d->NumChannels) : 0;
	if (!array || !element || !d->Width || d->Width > MAX_WIDTH || d->Height > MAX_HEIGHT || d->Depth > MAX_DEPTH)
		return CUDA_ERROR_INVALID_VALUE;
	if (d->Flags & ~(CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_TEXTURE_GATHER))
		return CUDA_ERROR_NOT_SUPPORTED;
	struct drv_array *a = drv_obj_new(KIND_ARRAY, sizeof *a);
	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	a->ctx = ctx;
	a->desc = *d;
	a->element = element;
	a->pitch = (d->Width * element + ROW_ALIGN - 1) & ~(uint64_t)(ROW_ALIGN - 1);
	a->slice = a->pitch * (d->Height ? d->Height : 1);
	int r = drv_mem_new(ctx, a->slice * (d->Depth ? d->Depth : 1), 512, MEM_ARRAY, &a->base);
	if (r) {
		drv_obj_free(a);
		return r;
	}
	*array = drv_obj_handle(a);
	return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d)
{
	if (!d)
		return drv_ready() ? CUDA_ERROR_NOT_INITIALIZED : CUDA_ERROR_INVALID_VALUE;
	CUDA_ARRAY3D_DESCRIPTOR full = { .Width = d->Width, .Height = d->Height, .Format = d->Format, .NumChannels = d->NumChannels };
	return cuArray3DCreate_v2(array, &full);
}

CUresult cuArrayDestroy(CUarray handle)
{
	struct drv_ctx *ctx;
	struct drv_array *a = drv_array_get(handle);
	DRV_TRY(drv_current(&ctx));
	if (!a)
		return CUDA_ERROR_INVALID_HANDLE;
	DRV_TRY(drv_ctx_sync(ctx));
	drv_mem_release(a->base, MEM_ARRAY);
	drv_obj_free(a);
	return CUDA_SUCCESS;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *desc, CUarray handle)
{
	struct drv_array *a = drv_array_get(handle);
	DRV_TRY(drv_ready());
	if (!a)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!desc)
		return CUDA_ERROR_INVALID_VALUE;
	*desc = a->desc;
	return CUDA_SUCCESS;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *desc, CUarray handle)
{
	CUDA_ARRAY3D_DESCRIPTOR full;
	DRV_TRY(cuArray3DGetDescriptor_v2(&full, handle));
	if (!desc)
		return CUDA_ERROR_INVALID_VALUE;
	*desc = (CUDA_ARRAY_DESCRIPTOR){ .Width = full.Width, .Height = full.Height, .Format = full.Format, .NumChannels = full.NumChannels };
	return CUDA_SUCCESS;
}

/* ---- what the sampler needs */

static int linear_ok(uint64_t ptr, uint64_t bytes)
{
	return bytes && drv_mem_spans(ptr, bytes) ? 0 : CUDA_ERROR_INVALID_VALUE;
}

static int from_array(CUarray handle, struct sc_texture *t)
{
	struct drv_array *a = drv_array_get(handle);
	if (!a)
		return CUDA_ERROR_INVALID_HANDLE;
	t->base = a->base;
	t->pitch = a->pitch;
	t->slice = a->desc.Depth ? a->slice : 0;
	t->width = a->desc.Width;
	t->height = a->desc.Height;
	t->depth = a->desc.Depth;
	t->format = (enum sc_tex_format)a->desc.Format;
	t->channels = a->desc.NumChannels;
	return 0;
}

static int from_resource(const CUDA_RESOURCE_DESC *r, struct sc_texture *t)
{
	unsigned texel;
	switch (r->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		return from_array(r->res.array.hArray, t);
	case CU_RESOURCE_TYPE_LINEAR:
		texel = cuda_texel_bytes(r->res.linear.format, r->res.linear.numChannels);
		if (!texel || r->res.linear.sizeInBytes / texel > 268435456u)
			return CUDA_ERROR_INVALID_VALUE;
		*t = (struct sc_texture){ .base = r->res.linear.devPtr, .width = r->res.linear.sizeInBytes / texel, .pitch = r->res.linear.sizeInBytes,
			.format = (enum sc_tex_format)r->res.linear.format, .channels = r->res.linear.numChannels, .is_linear = true };
		return linear_ok(t->base, r->res.linear.sizeInBytes);
	case CU_RESOURCE_TYPE_PITCH2D:
		texel = cuda_texel_bytes(r->res.pitch2D.format, r->res.pitch2D.numChannels);
		if (!texel || !r->res.pitch2D.width || !r->res.pitch2D.height || r->res.pitch2D.width > MAX_WIDTH || r->res.pitch2D.height > 65000 ||
		    r->res.pitch2D.pitchInBytes > 2097120 || r->res.pitch2D.pitchInBytes < r->res.pitch2D.width * texel)
			return CUDA_ERROR_INVALID_VALUE;
		*t = (struct sc_texture){ .base = r->res.pitch2D.devPtr, .pitch = r->res.pitch2D.pitchInBytes, .width = r->res.pitch2D.width,
			.height = r->res.pitch2D.height, .format = (enum sc_tex_format)r->res.pitch2D.format, .channels = r->res.pitch2D.numChannels };
		return linear_ok(t->base, (t->height - 1) * t->pitch + (uint64_t)t->width * texel);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

static int sampling(const CUDA_TEXTURE_DESC *d, struct sc_texture *t)
{
	bool float_texels = t->format == SC_FMT_F16 || t->format == SC_FMT_F32;
	for (int i = 0; i < 3; i++) {
		if (d->addressMode[i] > CU_TR_ADDRESS_MODE_BORDER)
			return CUDA_ERROR_INVALID_VALUE;
		t->address[i] = (enum sc_tex_address)d->addressMode[i];
	}
	if (d->filterMode > CU_TR_FILTER_MODE_LINEAR)
		return CUDA_ERROR_INVALID_VALUE;
	t->filter = (enum sc_tex_filter)d->filterMode;
	t->normalized_coords = d->flags & CU_TRSF_NORMALIZED_COORDINATES;
	t->read_as_integer = !float_texels && ((d->flags & CU_TRSF_READ_AS_INTEGER) || cuda_array_format_bytes(t->format) == 4);
	t->srgb = d->flags & CU_TRSF_SRGB;
	/* The driver API takes linear filtering together with integer reads (ffmpeg's scale_cuda and thumbnail_cuda
	 * ask for both), though CUDA promises nothing of it: integers are not filtered, the nearest texel is read.
	 * Wrap and mirror are defined on [0, 1). */
	for (int i = 0; i < 3 && !t->normalized_coords; i++) {
		if (t->address[i] == SC_ADDR_WRAP || t->address[i] == SC_ADDR_MIRROR)
			t->address[i] = SC_ADDR_CLAMP;
	}
	memcpy(t->border, d->borderColor, sizeof t->border);
	return 0;
}

/* ---- texture objects */

CUresult cuTexObjectCreate(CUtexObject *tex, const CUDA_RESOURCE_DESC *res, const CUDA_TEXTURE_DESC *desc, const CUDA_RESOURCE_VIEW_DESC *view)
{
	struct drv_ctx *ctx;
	struct sc_texture t = { 0 };
	DRV_TRY(drv_current(&ctx));
	if (!tex || !res || !desc || res->flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (view && view->format != CU_RES_VIEW_FORMAT_NONE)
		return CUDA_ERROR_NOT_SUPPORTED;
	DRV_TRY(from_resource(res, &t));
	DRV_TRY(sampling(desc, &t));
	struct object *o = malloc(sizeof *o);
	uint64_t handle = o ? sc_tex_create(&t) : 0;
	if (!handle) {
		free(o);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*o = (struct object){ .handle = handle, .res = *res, .desc = *desc };
	pthread_mutex_lock(&objects_lock);
	o->next = objects;
	objects = o;
	pthread_mutex_unlock(&objects_lock);
	*tex = handle;
	return CUDA_SUCCESS;
}

/* A copy of the object, and out of the list if take. False: no such handle. */
static bool object_get(CUtexObject handle, struct object *out, bool take)
{
	bool found = false;
	pthread_mutex_lock(&objects_lock);
	for (struct object **p = &objects, *o; (o = *p); p = &o->next) {
		if (o->handle != handle)
			continue;
		*out = *o;
		found = true;
		if (take) {
			*p = o->next;
			free(o);
		}
		break;
	}
	pthread_mutex_unlock(&objects_lock);
	return found;
}

CUresult cuTexObjectDestroy(CUtexObject tex)
{
	struct drv_ctx *ctx;
	struct object o;
	DRV_TRY(drv_current(&ctx));
	if (!object_get(tex, &o, true))
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(drv_ctx_sync(ctx));
	sc_tex_destroy(tex);
	return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *desc, CUtexObject tex)
{
	struct object o;
	DRV_TRY(drv_ready());
	if (!desc || !object_get(tex, &o, false))
		return CUDA_ERROR_INVALID_VALUE;
	*desc = o.res;
	return CUDA_SUCCESS;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *desc, CUtexObject tex)
{
	struct object o;
	DRV_TRY(drv_ready());
	if (!desc || !object_get(tex, &o, false))
		return CUDA_ERROR_INVALID_VALUE;
	*desc = o.desc;
	return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *desc, CUtexObject tex)
{
	struct object o;
	DRV_TRY(drv_ready());
	if (!desc || !object_get(tex, &o, false))
		return CUDA_ERROR_INVALID_VALUE;
	memset(desc, 0, sizeof *desc);
	return CUDA_SUCCESS;
}

/* ---- texture references: state of a module's .texref; each change makes its handle anew */

static int texref_get(CUtexref handle, struct drv_texref **r)
{
	struct drv_ctx *ctx;
	DRV_TRY(drv_current(&ctx));
	*r = drv_obj_get(KIND_TEXREF, handle);
	return *r ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

static int rebind(struct drv_texref *r)
{
	CUDA_RESOURCE_DESC res = { 0 };
	struct sc_texture t = { 0 };
	if (!r->array && !r->address)
		return 0;
	if (r->array) {
		res.resType = CU_RESOURCE_TYPE_ARRAY;
		res.res.array.hArray = r->array;
	} else if (r->pitch) {
		res.resType = CU_RESOURCE_TYPE_PITCH2D;
		res.res.pitch2D.devPtr = r->address;
		res.res.pitch2D.format = r->format;
		res.res.pitch2D.numChannels = r->channels;
		res.res.pitch2D.width = r->width;
		res.res.pitch2D.height = r->height;
		res.res.pitch2D.pitchInBytes = r->pitch;
	} else {
		res.resType = CU_RESOURCE_TYPE_LINEAR;
		res.res.linear.devPtr = r->address;
		res.res.linear.format = r->format;
		res.res.linear.numChannels = r->channels;
		res.res.linear.sizeInBytes = r->bytes;
	}
	DRV_TRY(from_resource(&res, &t));
	DRV_TRY(sampling(&r->desc, &t));
	uint64_t handle = sc_tex_create(&t);
	if (!handle)
		return CUDA_ERROR_OUT_OF_MEMORY;
	DRV_TRY(drv_ctx_sync(r->ctx)); /* kernels in flight keep the binding they were launched with */
	if (r->made)
		sc_tex_destroy(r->made);
	r->made = handle;
	if (r->slot)
		*r->slot = handle;
	return 0;
}

CUresult cuModuleGetTexRef(CUtexref *texref, CUmodule module, const char *name)
{
	struct drv_ctx *ctx;
	uint64_t *slot;
	DRV_TRY(drv_current(&ctx));
	struct drv_module *m = drv_obj_get(KIND_MODULE, module);
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!texref || !name)
		return CUDA_ERROR_INVALID_VALUE;
	for (struct drv_texref *r = m->texrefs; r; r = r->next) {
		if (!strcmp(r->name, name)) {
			*texref = drv_obj_handle(r);
			return CUDA_SUCCESS;
		}
	}
	if (!sc_module_texref(m->sc, name, &slot))
		return CUDA_ERROR_NOT_FOUND;
	struct drv_texref *r = drv_obj_new(KIND_TEXREF, sizeof *r);
	if (!r || !(r->name = strdup(name))) {
		if (r)
			drv_obj_free(r);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	r->ctx = m->ctx;
	r->module = m;
	r->slot = slot;
	r->channels = 1;
	r->format = CU_AD_FORMAT_FLOAT;
	r->next = m->texrefs;
	m->texrefs = r;
	*texref = drv_obj_handle(r);
	return CUDA_SUCCESS;
}

void drv_texrefs_drop(struct drv_module *m)
{
	struct drv_texref *r;
	while ((r = m->texrefs)) {
		m->texrefs = r->next;
		if (r->made)
			sc_tex_destroy(r->made);
		free(r->name);
		drv_obj_free(r);
	}
}

CUresult cuTexRefSetArray(CUtexref ref, CUarray array, unsigned int flags)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	struct drv_array *a = drv_array_get(array);
	if (!a || flags != CU_TRSA_OVERRIDE_FORMAT)
		return CUDA_ERROR_INVALID_VALUE;
	r->array = array;
	r->address = 0;
	r->format = a->desc.Format;
	r->channels = a->desc.NumChannels;
	return rebind(r);
}

CUresult cuTexRefSetAddress_v2(size_t *byteOffset, CUtexref ref, CUdeviceptr dptr, size_t bytes)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (dptr % 512) /* TEXTURE_ALIGNMENT: no offset to report otherwise */
		return CUDA_ERROR_INVALID_VALUE;
	if (byteOffset)
		*byteOffset = 0;
	r->array = NULL;
	r->address = dptr;
	r->bytes = bytes;
	r->pitch = 0;
	return rebind(r);
}

CUresult cuTexRefSetAddress2D_v3(CUtexref ref, const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr dptr, size_t pitch)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!desc || !pitch)
		return CUDA_ERROR_INVALID_VALUE;
	r->array = NULL;
	r->address = dptr;
	r->pitch = pitch;
	r->width = desc->Width;
	r->height = desc->Height;
	r->format = desc->Format;
	r->channels = (int)desc->NumChannels;
	return rebind(r);
}

CUresult cuTexRefSetFormat(CUtexref ref, CUarray_format format, int numPackedComponents)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!cuda_texel_bytes(format, numPackedComponents))
		return CUDA_ERROR_INVALID_VALUE;
	r->format = format;
	r->channels = numPackedComponents;
	return r->array ? CUDA_SUCCESS : rebind(r);
}

CUresult cuTexRefSetAddressMode(CUtexref ref, int dim, CUaddress_mode mode)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (dim < 0 || dim > 2 || mode > CU_TR_ADDRESS_MODE_BORDER)
		return CUDA_ERROR_INVALID_VALUE;
	r->desc.addressMode[dim] = mode;
	return rebind(r);
}

CUresult cuTexRefSetFilterMode(CUtexref ref, CUfilter_mode mode)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (mode > CU_TR_FILTER_MODE_LINEAR)
		return CUDA_ERROR_INVALID_VALUE;
	r->desc.filterMode = mode;
	return rebind(r);
}

CUresult cuTexRefSetFlags(CUtexref ref, unsigned int flags)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	r->desc.flags = flags;
	return rebind(r);
}

CUresult cuTexRefSetBorderColor(CUtexref ref, float *color)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!color)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(r->desc.borderColor, color, sizeof r->desc.borderColor);
	return rebind(r);
}

CUresult cuTexRefGetArray(CUarray *array, CUtexref ref)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!array || !r->array)
		return CUDA_ERROR_INVALID_VALUE;
	*array = r->array;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetAddress_v2(CUdeviceptr *dptr, CUtexref ref)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!dptr || !r->address)
		return CUDA_ERROR_INVALID_VALUE;
	*dptr = r->address;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetAddressMode(CUaddress_mode *mode, CUtexref ref, int dim)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!mode || dim < 0 || dim > 2)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = r->desc.addressMode[dim];
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetFilterMode(CUfilter_mode *mode, CUtexref ref)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = r->desc.filterMode;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetFormat(CUarray_format *format, int *numChannels, CUtexref ref)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!format || !numChannels)
		return CUDA_ERROR_INVALID_VALUE;
	*format = r->format;
	*numChannels = r->channels;
	return CUDA_SUCCESS;
}

CUresult cuTexRefGetFlags(unsigned int *flags, CUtexref ref)
{
	struct drv_texref *r;
	DRV_TRY(texref_get(ref, &r));
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = r->desc.flags;
	return CUDA_SUCCESS;
}

/* Deprecated since CUDA 3: textures of a module are always there for its kernels. */
CUresult cuParamSetTexRef(CUfunction func, int texunit, CUtexref ref)
{
	struct drv_texref *r;
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	return texref_get(ref, &r);
}
