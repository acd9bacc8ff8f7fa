/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts: the primary one, made before the jail closed, and created ones. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "executor/call.h"
#include "wire/ops_dec.h"

static uint32_t api_version(struct exec *x, CUcontext ctx)
{
	unsigned int v = 0;

	x->drv->cuCtxGetApiVersion(ctx, &v);
	return v;
}

static int retain_primary(struct exec *x)
{
	CUcontext ctx;
	int rc = x->drv->cuDevicePrimaryCtxRetain(&ctx, x->dev);

	if (rc)
		return rc;
	x->primary = obj_add(&x->handles, OBJ_CTX, 0, ctx);
	if (!x->primary) {
		x->drv->cuDevicePrimaryCtxRelease_v2(x->dev);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return CUDA_SUCCESS;
}

int op_ctx_primary(struct exec *x, struct call *c, const struct vgpu_in_ctx_primary *in,
		   struct vgpu_out_ctx_primary *out)
{
	int rc;

	pthread_mutex_lock(&x->primary_lock);
	rc = x->primary ? CUDA_SUCCESS : retain_primary(x);
	if (!rc) {
		out->ctx = obj_handle(x->primary);
		out->api_version = api_version(x, x->primary->real);
	}
	pthread_mutex_unlock(&x->primary_lock);
	return rc;
}

struct sweep {
	struct exec *x;
	uint32_t ctx; /* 0 = everything */
};

static void drop_range(struct exec *x, const struct vgpu_range *r)
{
	if (r->kind == MEM_DEVICE) {
		x->drv->cuMemFree_v2(r->base);
		x->env->ops->quota_give(x->env->ops_ctx, charged_linear(r->size));
	} else if (r->kind == MEM_HOST) {
		if (x->drv->cuMemHostUnregister((void *)(uintptr_t)r->base))
			return;
		munmap((void *)(uintptr_t)r->base, r->size);
		mem_unmark(x, r);
	}
}

static void drop_memory(struct exec *x, uint32_t ctx)
{
	struct vgpu_range r;

	for (size_t i = x->mem.n; i-- > 0;) {
		if (ctx && x->mem.v[i].owner != ctx)
			continue;
		vgpu_ranges_remove(&x->mem, x->mem.v[i].base, &r);
		drop_range(x, &r);
	}
}

static void drop_array(void *arg, struct obj *o)
{
	struct sweep *s = arg;

	if (s->ctx && o->ctx != s->ctx)
		return;
	s->x->drv->cuArrayDestroy(o->real);
	s->x->env->ops->quota_give(s->x->env->ops_ctx, o->bytes);
	obj_remove(&s->x->handles, OBJ_ARRAY, o);
}

/* Destroying the context destroys these in the driver; here only the handles end. */
static void drop_handle(struct exec *x, enum obj_kind kind, struct obj *o)
{
	obj_remove(&x->handles, kind, o);
}

#define DROP(kind)                                                                        \
	static void drop_##kind(void *arg, struct obj *o)                                 \
	{                                                                                 \
		struct sweep *s = arg;                                                    \
                                                                                          \
		if (!s->ctx || o->ctx == s->ctx)                                          \
			drop_handle(s->x, OBJ_##kind, o);                                 \
	}
DROP(FUNC)
DROP(STREAM)
DROP(EVENT)

static void drop_MODULE(void *arg, struct obj *o)
{
	struct sweep *s = arg;

	if (s->ctx && o->ctx != s->ctx)
		return;
	s->x->env->ops->quota_give(s->x->env->ops_ctx, o->bytes);
	drop_handle(s->x, OBJ_MODULE, o);
}

/* Everything that belongs to the context; the context is current on this thread. */
static void drop_ctx_objects(struct exec *x, struct obj *ctx, uint32_t handle)
{
	struct sweep s = { x, handle };

	x->drv->cuCtxSynchronize();
	marks_drop_ctx(x, ctx);
	pthread_mutex_lock(&x->mem_lock);
	drop_memory(x, s.ctx);
	pthread_mutex_unlock(&x->mem_lock);
	obj_each(&x->handles, OBJ_ARRAY, drop_array, &s);
	link_drop_ctx(x, handle);
	texref_drop_ctx(x, handle);
	obj_each(&x->handles, OBJ_FUNC, drop_FUNC, &s);
	obj_each(&x->handles, OBJ_MODULE, drop_MODULE, &s);
	obj_each(&x->handles, OBJ_STREAM, drop_STREAM, &s);
	obj_each(&x->handles, OBJ_EVENT, drop_EVENT, &s);
	implicit_end(x, ctx);
}

int op_ctx_primary_release(struct exec *x, struct call *c, const struct vgpu_in_ctx_primary_release *in,
			   struct obj *ctx)
{
	bool mine;
	int rc;

	if (!exec_use_ctx(x, in->ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	exec_ctx_ending(x);
	pthread_mutex_lock(&x->primary_lock);
	mine = ctx == x->primary && obj_claim(ctx, in->ctx);
	if (mine)
		x->primary = NULL;
	pthread_mutex_unlock(&x->primary_lock);
	exec_ctx_settle(x);
	if (!mine)
		return CUDA_ERROR_INVALID_CONTEXT;
	drop_ctx_objects(x, ctx, in->ctx);
	rc = x->drv->cuDevicePrimaryCtxRelease_v2(x->dev);
	obj_release(&x->handles, OBJ_CTX, ctx, in->ctx);
	return rc;
}

/* The first context is part of the VM's reservation; more of them are memory like any other. */
static int take_context(struct exec *x)
{
	if (atomic_fetch_add(&x->contexts, 1) >= EXEC_CONTEXTS ||
	    (x->env->context_bytes && x->env->ops->quota_take(x->env->ops_ctx, x->env->context_bytes))) {
		atomic_fetch_sub(&x->contexts, 1);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return CUDA_SUCCESS;
}

static void give_context(struct exec *x)
{
	if (x->env->context_bytes)
		x->env->ops->quota_give(x->env->ops_ctx, x->env->context_bytes);
	atomic_fetch_sub(&x->contexts, 1);
}

int op_ctx_create(struct exec *x, struct call *c, const struct vgpu_in_ctx_create *in,
		  struct vgpu_out_ctx_create *out)
{
	CUcontext ctx = NULL;
	struct obj *o;
	int rc = take_context(x);

	if (rc)
		return rc;
	rc = x->drv->cuCtxCreate_v2(&ctx, in->flags, x->dev);
	o = rc ? NULL : obj_add_with(&x->handles, OBJ_CTX, 0, ctx, 0, x->env->context_bytes, NULL);
	if (!o) {
		if (!rc)
			x->drv->cuCtxDestroy_v2(ctx);
		give_context(x);
		return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
	}
	out->ctx = obj_handle(o);
	out->api_version = api_version(x, ctx);
	x->drv->cuCtxSetCurrent(ctx);
	exec_use_ctx(x, out->ctx);
	return CUDA_SUCCESS;
}

int op_ctx_destroy(struct exec *x, struct call *c, const struct vgpu_in_ctx_destroy *in, struct obj *ctx)
{
	CUcontext real = ctx->real;
	bool mine;
	int rc;

	if (ctx == x->primary || !exec_use_ctx(x, in->ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	exec_ctx_ending(x);
	mine = obj_claim(ctx, in->ctx);
	exec_ctx_settle(x);
	if (!mine)
		return CUDA_ERROR_INVALID_CONTEXT;
	drop_ctx_objects(x, ctx, in->ctx);
	rc = x->drv->cuCtxDestroy_v2(real);
	obj_release(&x->handles, OBJ_CTX, ctx, in->ctx);
	give_context(x);
	return rc;
}

int op_ctx_sync(struct exec *x, struct call *c)
{
	return x->drv->cuCtxSynchronize();
}

int op_ctx_get_limit(struct exec *x, struct call *c, const struct vgpu_in_ctx_get_limit *in,
		     struct vgpu_out_ctx_get_limit *out)
{
	size_t v = 0;
	int rc = x->drv->cuCtxGetLimit(&v, in->limit);

	out->value = v;
	return rc;
}

int op_ctx_set_limit(struct exec *x, struct call *c, const struct vgpu_in_ctx_set_limit *in)
{
	return implicit_limit(x, c->ctx, in->limit, in->value);
}

int op_stream_priorities(struct exec *x, struct call *c, struct vgpu_out_stream_priorities *out)
{
	return x->drv->cuCtxGetStreamPriorityRange(&out->least, &out->greatest);
}

static void destroy_ctx(void *arg, struct obj *o)
{
	struct exec *x = arg;

	if (!exec_use_ctx(x, obj_handle(o)))
		return;
	drop_ctx_objects(x, o, obj_handle(o));
	if (o != x->primary)
		give_context(x);
	if (o == x->primary)
		x->drv->cuDevicePrimaryCtxRelease_v2(x->dev);
	else
		x->drv->cuCtxDestroy_v2(o->real);
}

void exec_release_all(struct exec *x)
{
	obj_each(&x->handles, OBJ_CTX, destroy_ctx, x);
	drop_memory(x, 0);
}
