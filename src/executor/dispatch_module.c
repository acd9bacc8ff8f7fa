/* SPDX-License-Identifier: Apache-2.0 */
/* Module images arrive in pieces, modules are loaded on helpers, functions carry what a guest needs
 * to launch them without asking again. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "cuda/footprint.h"
#include "executor/call.h"
#include "wire/func_meta.h"
#include "wire/ops_dec.h"

#define PARAMS_MAX 4096u

/* obj.data of a function */
struct func_layout {
	uint32_t bytes, nparams;
	uint32_t local; /* bytes of local memory each thread needs */
	struct vgpu_param param[];
};

bool image_charge(struct exec *x, uint64_t size)
{
	bool ok;

	pthread_mutex_lock(&x->mem_lock);
	ok = size <= EXEC_IMAGES_BYTES - x->images_bytes;
	x->images_bytes += ok ? size : 0;
	pthread_mutex_unlock(&x->mem_lock);
	return ok;
}

void image_discharge(struct exec *x, uint64_t size)
{
	pthread_mutex_lock(&x->mem_lock);
	x->images_bytes -= size;
	pthread_mutex_unlock(&x->mem_lock);
}

int image_add(struct exec *x, uint64_t size, uint8_t *data, uint32_t *handle)
{
	struct obj *o = data ? obj_add_with(&x->handles, OBJ_IMAGE, 0, NULL, 0, size, data) : NULL;

	if (!o) {
		free(data);
		image_discharge(x, size);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*handle = obj_handle(o);
	return CUDA_SUCCESS;
}

int op_image_new(struct exec *x, struct call *c, const struct vgpu_in_image_new *in,
		 struct vgpu_out_image_new *out)
{
	if (!image_charge(x, in->size))
		return CUDA_ERROR_OUT_OF_MEMORY;
	return image_add(x, in->size, calloc(1, in->size + 1), &out->image); /* PTX text must end in NUL */
}

int op_image_read(struct exec *x, struct call *c, const struct vgpu_in_image_read *in, struct obj *image)
{
	int rc = CUDA_SUCCESS;

	c->reply = malloc(in->reply_cap + 1u);
	if (!c->reply)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&x->mem_lock);
	if (obj_handle(image) != in->image)
		rc = CUDA_ERROR_INVALID_HANDLE;
	else if (in->at > image->bytes)
		rc = CUDA_ERROR_INVALID_VALUE;
	if (!rc) {
		c->reply_len = image->bytes - in->at < in->reply_cap ? (uint32_t)(image->bytes - in->at) : in->reply_cap;
		memcpy(c->reply, (uint8_t *)image->data + in->at, c->reply_len);
	}
	pthread_mutex_unlock(&x->mem_lock);
	return rc;
}

int op_image_write(struct exec *x, struct call *c, const struct vgpu_in_image_write *in, struct obj *image)
{
	int rc = CUDA_SUCCESS;

	pthread_mutex_lock(&x->mem_lock);
	if (obj_handle(image) != in->image) /* a helper began to load it */
		rc = CUDA_ERROR_INVALID_HANDLE;
	else if (in->at > image->bytes || c->payload_len > image->bytes - in->at)
		rc = CUDA_ERROR_INVALID_VALUE;
	else
		memcpy((uint8_t *)image->data + in->at, c->payload, c->payload_len);
	pthread_mutex_unlock(&x->mem_lock);
	return rc;
}

/* Whoever takes it is the only one to use it; a second load or drop finds nothing. */
bool image_take(struct exec *x, struct obj *image, uint32_t handle)
{
	bool mine;

	pthread_mutex_lock(&x->mem_lock);
	mine = obj_claim(image, handle);
	pthread_mutex_unlock(&x->mem_lock);
	return mine;
}

void image_free(struct exec *x, struct obj *image, uint32_t handle)
{
	image_discharge(x, image->bytes);
	obj_release(&x->handles, OBJ_IMAGE, image, handle);
}

int op_image_drop(struct exec *x, struct call *c, const struct vgpu_in_image_drop *in, struct obj *image)
{
	if (!image_take(x, image, in->image))
		return CUDA_ERROR_INVALID_HANDLE;
	image_free(x, image, in->image);
	return CUDA_SUCCESS;
}

/* info log, then error log, in one reply of info_cap + error_cap bytes. */
static int load_with_logs(struct exec *x, struct call *c, const struct vgpu_in_module_load *in,
			  struct vgpu_out_module_load *out, const void *image, CUmodule *m)
{
	CUjit_option opt[4] = { CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
				CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *val[4];
	int rc;

	c->reply = calloc(1, (size_t)in->info_cap + in->error_cap);
	if (!c->reply)
		return CUDA_ERROR_OUT_OF_MEMORY;
	c->reply_len = in->info_cap + in->error_cap;
	val[0] = c->reply;
	val[1] = (void *)(uintptr_t)in->info_cap;
	val[2] = c->reply + in->info_cap;
	val[3] = (void *)(uintptr_t)in->error_cap;
	rc = x->drv->cuModuleLoadDataEx(m, image, 4, opt, val);
	out->info_len = (uint32_t)(uintptr_t)val[1];
	out->error_len = (uint32_t)(uintptr_t)val[3];
	return rc;
}

/* ---- what a module takes: its code and its variables ---- */

struct variables {
	struct exec *x;
	CUmodule module;
	uint64_t bytes;
};

static void sum_variable(void *ctx, const char *name)
{
	struct variables *v = ctx;
	CUdeviceptr p;
	size_t n = 0;

	if (!v->x->drv->cuModuleGetGlobal_v2(&p, &n, v->module, name) && __builtin_add_overflow(v->bytes, n, &v->bytes))
		v->bytes = UINT64_MAX;
}

/* Where the image does not say it in figures, the driver is asked once it is loaded. */
static int settle(struct exec *x, const struct obj *image, CUmodule m, uint64_t *held)
{
	struct variables v = {.x = x, .module = m};

	cuda_image_footprint(image->data, image->bytes, sum_variable, &v);
	if (__builtin_add_overflow(v.bytes, image->bytes, &v.bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	v.bytes = charged_linear(v.bytes);
	if (v.bytes <= *held)
		return CUDA_SUCCESS;
	if (x->env->ops->quota_take(x->env->ops_ctx, v.bytes - *held))
		return CUDA_ERROR_OUT_OF_MEMORY;
	*held = v.bytes;
	return CUDA_SUCCESS;
}

static int load(struct exec *x, struct call *c, const struct vgpu_in_module_load *in,
		struct vgpu_out_module_load *out, const struct obj *image, CUmodule *m)
{
	return in->info_cap || in->error_cap ? load_with_logs(x, c, in, out, image->data, m)
					     : (int)x->drv->cuModuleLoadData(m, image->data);
}

/* *held: quota the module then holds. */
static int load_charged(struct exec *x, struct call *c, const struct vgpu_in_module_load *in,
			struct vgpu_out_module_load *out, const struct obj *image, CUmodule *m, uint64_t *held)
{
	struct cuda_footprint f = cuda_image_footprint(image->data, image->bytes, NULL, NULL);
	int rc;

	*held = charged_linear(f.bytes);
	if (x->env->ops->quota_take(x->env->ops_ctx, *held))
		return CUDA_ERROR_OUT_OF_MEMORY;
	rc = load(x, c, in, out, image, m);
	if (!rc && !f.exact)
		rc = settle(x, image, *m, held);
	if (!rc)
		return rc;
	if (*m)
		x->drv->cuModuleUnload(*m);
	x->env->ops->quota_give(x->env->ops_ctx, *held);
	return rc;
}

int op_module_load(struct exec *x, struct call *c, const struct vgpu_in_module_load *in,
		   struct vgpu_out_module_load *out, struct obj *image)
{
	CUmodule m = NULL;
	uint64_t held;
	struct obj *o;
	int rc;

	if (!image_take(x, image, in->image))
		return CUDA_ERROR_INVALID_HANDLE;
	rc = load_charged(x, c, in, out, image, &m, &held);
	image_free(x, image, in->image);
	if (rc)
		return rc;
	o = obj_add_with(&x->handles, OBJ_MODULE, c->ctx, m, 0, held, NULL);
	if (!o) {
		x->drv->cuModuleUnload(m);
		x->env->ops->quota_give(x->env->ops_ctx, held);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->module = obj_handle(o);
	return CUDA_SUCCESS;
}

struct of_module {
	struct exec *x;
	uint32_t module;
	struct obj *claimed;
};

static void drop_func(void *arg, struct obj *o)
{
	struct of_module *m = arg;
	uint32_t handle = obj_handle(o);

	if (o->parent != m->module || !obj_claim(o, handle))
		return;
	o->parent = handle;
	o->chain = m->claimed;
	m->claimed = o;
}

int op_module_unload(struct exec *x, struct call *c, const struct vgpu_in_module_unload *in, struct obj *module)
{
	struct of_module m = { x, in->module, NULL };
	CUmodule real = module->real;
	int rc;

	if (!obj_claim(module, in->module))
		return CUDA_ERROR_INVALID_HANDLE;
	obj_each(&x->handles, OBJ_FUNC, drop_func, &m);
	texref_drop_module(x, in->module);
	pthread_mutex_lock(&x->mem_lock);
	for (size_t i = x->mem.n; i-- > 0;)
		if (x->mem.v[i].kind == MEM_GLOBAL && x->mem.v[i].data == module)
			vgpu_ranges_remove(&x->mem, x->mem.v[i].base, NULL);
	pthread_mutex_unlock(&x->mem_lock);
	exec_grace(x); /* the decoder may be launching one of them */
	while (m.claimed) {
		struct obj *o = m.claimed;

		m.claimed = o->chain;
		obj_release(&x->handles, OBJ_FUNC, o, o->parent);
	}
	rc = x->drv->cuModuleUnload(real);
	x->env->ops->quota_give(x->env->ops_ctx, module->bytes);
	obj_release(&x->handles, OBJ_MODULE, module, in->module);
	return rc;
}

const char *call_name(const struct call *c, char room[4097])
{
	if (c->payload_len > 4096 || memchr(c->payload, 0, c->payload_len))
		return NULL;
	memcpy(room, c->payload, c->payload_len);
	room[c->payload_len] = 0;
	return room;
}

static int layout_of(struct exec *x, CUfunction f, struct func_layout **out)
{
	struct func_layout *l = calloc(1, sizeof(*l) + PARAMS_MAX * sizeof(l->param[0]));
	struct func_layout *fit;
	int local = 0;

	if (!l)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (; l->nparams < PARAMS_MAX; l->nparams++) {
		size_t off, size;

		if (x->drv->cuFuncGetParamInfo(f, l->nparams, &off, &size))
			break;
		l->param[l->nparams].offset = (uint32_t)off;
		l->param[l->nparams].size = (uint32_t)size;
		if (off + size > l->bytes)
			l->bytes = (uint32_t)(off + size);
	}
	if (x->drv->cuFuncGetAttribute(&local, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, f) == CUDA_SUCCESS && local > 0)
		l->local = (uint32_t)local;
	fit = realloc(l, sizeof(*l) + l->nparams * sizeof(l->param[0]));
	*out = fit ? fit : l;
	return CUDA_SUCCESS;
}

static int meta_reply(struct exec *x, struct call *c, CUfunction f, const struct func_layout *l)
{
	size_t params = l->nparams * sizeof(l->param[0]);
	struct vgpu_func_meta *meta = calloc(1, sizeof(*meta) + params);

	if (!meta)
		return CUDA_ERROR_OUT_OF_MEMORY;
	meta->param_bytes = l->bytes;
	meta->nparams = l->nparams;
	for (unsigned i = 0; i < VGPU_FUNC_ATTRS; i++) {
		int v;

		meta->attr[i] = x->drv->cuFuncGetAttribute(&v, i, f) ? VGPU_ATTR_UNKNOWN : v;
	}
	memcpy(meta + 1, l->param, params);
	c->reply = (uint8_t *)meta;
	c->reply_len = (uint32_t)(sizeof(*meta) + params);
	return CUDA_SUCCESS;
}

int op_module_function(struct exec *x, struct call *c, const struct vgpu_in_module_function *in,
		       struct vgpu_out_module_function *out, struct obj *module)
{
	char room[4097];
	const char *name = call_name(c, room);
	struct func_layout *l = NULL;
	CUfunction f = NULL;
	struct obj *o;
	int rc;

	if (!name)
		return CUDA_ERROR_NOT_FOUND;
	/* Without the driver's own parameter layout (12.4 and later) nothing may be guessed. */
	if (!x->drv->cuFuncGetParamInfo)
		return CUDA_ERROR_NOT_SUPPORTED;
	rc = x->drv->cuModuleGetFunction(&f, module->real, name);
	if (!rc)
		rc = layout_of(x, f, &l);
	if (!rc)
		rc = meta_reply(x, c, f, l);
	o = rc ? NULL : obj_add_with(&x->handles, OBJ_FUNC, c->ctx, f, in->module, 0, l);
	if (!o) {
		free(l);
		return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->func = obj_handle(o);
	out->nparams = l->nparams;
	return CUDA_SUCCESS;
}

int op_module_global(struct exec *x, struct call *c, const struct vgpu_in_module_global *in,
		     struct vgpu_out_module_global *out, struct obj *module)
{
	char room[4097];
	const char *name = call_name(c, room);
	CUdeviceptr p = 0;
	size_t bytes = 0;
	int rc;

	if (!name)
		return CUDA_ERROR_NOT_FOUND;
	rc = x->drv->cuModuleGetGlobal_v2(&p, &bytes, module->real, name);
	if (rc)
		return rc;
	out->dptr = p;
	out->bytes = bytes;
	if (bytes) {
		struct vgpu_range r = { p, bytes, MEM_GLOBAL, c->ctx, module };

		pthread_mutex_lock(&x->mem_lock);
		vgpu_ranges_add(&x->mem, &r); /* -EEXIST: asked before */
		pthread_mutex_unlock(&x->mem_lock);
	}
	return CUDA_SUCCESS;
}

int op_module_names(struct exec *x, struct call *c, const struct vgpu_in_module_names *in,
		    struct vgpu_out_module_names *out, struct obj *module)
{
	const struct cuda_driver *d = x->drv;
	CUfunction *f;
	unsigned n = 0;
	size_t cap = 57344;
	int rc;

	if (!d->cuModuleGetFunctionCount || !d->cuModuleEnumerateFunctions || !d->cuFuncGetName)
		return CUDA_ERROR_NOT_SUPPORTED;
	rc = d->cuModuleGetFunctionCount(&n, module->real);
	if (rc)
		return rc;
	f = calloc(n ? n : 1, sizeof(*f));
	c->reply = malloc(cap);
	rc = f && c->reply ? (int)d->cuModuleEnumerateFunctions(f, n, module->real) : CUDA_ERROR_OUT_OF_MEMORY;
	for (unsigned i = in->first; !rc && i < n; i++) {
		const char *name = NULL;
		size_t len;

		rc = d->cuFuncGetName(&name, f[i]);
		if (rc)
			break;
		len = strlen(name) + 1;
		if (len > cap - c->reply_len)
			break;
		memcpy(c->reply + c->reply_len, name, len);
		c->reply_len += (uint32_t)len;
	}
	free(f);
	out->total = n;
	return rc;
}

int op_func_attribute(struct exec *x, struct call *c, const struct vgpu_in_func_attribute *in,
		      struct vgpu_out_func_attribute *out, struct obj *func)
{
	return x->drv->cuFuncGetAttribute(&out->value, in->attr, func->real);
}

int op_func_set_attribute(struct exec *x, struct call *c, const struct vgpu_in_func_set_attribute *in,
			  struct obj *func)
{
	return x->drv->cuFuncSetAttribute(func->real, in->attr, in->value);
}

int op_func_cache_config(struct exec *x, struct call *c, const struct vgpu_in_func_cache_config *in,
			 struct obj *func)
{
	return x->drv->cuFuncSetCacheConfig ? (int)x->drv->cuFuncSetCacheConfig(func->real, in->config)
					    : CUDA_ERROR_NOT_SUPPORTED;
}

int op_func_occupancy(struct exec *x, struct call *c, const struct vgpu_in_func_occupancy *in,
		      struct vgpu_out_func_occupancy *out, struct obj *func)
{
	if (!x->drv->cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
		return CUDA_ERROR_NOT_SUPPORTED;
	return x->drv->cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&out->blocks, func->real,
									     (int)in->block, in->dynamic_shared,
									     in->flags);
}

static int cooperative(struct exec *x, const struct vgpu_in_launch *in, struct obj *func, CUstream s,
		       uint8_t *params, const struct func_layout *l)
{
	void **args = malloc((l->nparams + 1) * sizeof(*args));
	int rc;

	if (!args)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (uint32_t i = 0; i < l->nparams; i++)
		args[i] = params + l->param[i].offset;
	rc = x->drv->cuLaunchCooperativeKernel(func->real, in->grid_x, in->grid_y, in->grid_z, in->block_x,
					       in->block_y, in->block_z, in->shared, s, args);
	free(args);
	return rc;
}

int op_launch(struct exec *x, struct call *c, const struct vgpu_in_launch *in, struct obj *func,
	      struct obj *stream)
{
	const struct func_layout *l = func->data;
	size_t bytes = c->payload_len;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)c->payload, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
			  CU_LAUNCH_PARAM_END };
	int rc;

	if (bytes != l->bytes)
		return CUDA_ERROR_INVALID_VALUE;
	c->stream = stream;
	rc = implicit_launch(x, c->context, l->local);
	if (!rc)
		rc = uploads_order(x, c, stream);
	if (rc)
		return rc;
	if (in->cooperative)
		rc = x->drv->cuLaunchCooperativeKernel
			     ? cooperative(x, in, func, stream->real, (uint8_t *)c->payload, l)
			     : CUDA_ERROR_NOT_SUPPORTED;
	else
		rc = x->drv->cuLaunchKernel(func->real, in->grid_x, in->grid_y, in->grid_z, in->block_x,
					    in->block_y, in->block_z, in->shared, stream->real, NULL,
					    bytes ? extra : NULL);
	c->enqueued = !rc;
	x->charged_launches += !rc;
	return rc;
}
