/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory no call asks for by its size, counted against the quota all the same: local memory, which
 * a driver provides for every thread that can be resident once a kernel needs it, and what a context's
 * limits reserve. Held until the context ends. Not counted: the code and globals of modules, for which the
 * driver API has no figure.
 */
#include "executor/call.h"

/* A NVIDIA array is stored in groups of 64 bytes by 8 rows. */
#define GROUP_BYTES 64u
#define GROUP_ROWS 8u

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return v > UINT64_MAX - to ? UINT64_MAX : (v + to - 1) / to * to;
}

uint64_t charged_linear(uint64_t bytes)
{
	return round_up(bytes, CHARGE_UNIT);
}

uint64_t charged_array(uint64_t row, uint64_t rows, uint64_t layers)
{
	uint64_t bytes;

	row = round_up(row, GROUP_BYTES);
	rows = rows > 1 ? round_up(rows, GROUP_ROWS) : rows;
	if (__builtin_mul_overflow(row, rows, &bytes) || __builtin_mul_overflow(bytes, layers, &bytes))
		return UINT64_MAX;
	return charged_linear(bytes);
}

static uint64_t resident_threads(struct exec *x)
{
	int sms = 1, each = 1;

	x->drv->cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, x->dev);
	x->drv->cuDeviceGetAttribute(&each, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, x->dev);
	return (uint64_t)(sms > 0 ? sms : 1) * (uint64_t)(each > 0 ? each : 1);
}

/* Decoder only. Costs a message when a kernel needs more than any before it in this context. */
int implicit_launch(struct exec *x, struct obj *o, uint32_t local)
{
	uint64_t more;

	if (local <= o->local)
		return CUDA_SUCCESS;
	if (__builtin_mul_overflow(resident_threads(x), (uint64_t)(local - o->local), &more) ||
	    x->env->ops->quota_take(x->env->ops_ctx, more))
		return CUDA_ERROR_OUT_OF_MEMORY;
	atomic_fetch_add(&o->implicit, more);
	o->local = local;
	return CUDA_SUCCESS;
}

/* Gives back at most what is held: a context's first limits are part of its overhead. */
static void give_some(struct exec *x, struct obj *ctx, uint64_t bytes)
{
	uint64_t held = atomic_load(&ctx->implicit), part;

	do
		part = bytes < held ? bytes : held;
	while (!atomic_compare_exchange_weak(&ctx->implicit, &held, held - part));
	if (part)
		x->env->ops->quota_give(x->env->ops_ctx, part);
}

/* Under limit_lock. What a limit grows by is taken before, what it shrinks by is given back after. */
static int set_limit(struct exec *x, struct obj *o, unsigned limit, uint64_t value)
{
	uint64_t unit = limit == CU_LIMIT_STACK_SIZE ? resident_threads(x) : 1, more = 0;
	size_t old = 0;
	int rc = x->drv->cuCtxGetLimit(&old, limit);

	if (!rc && value > old &&
	    (__builtin_mul_overflow(value - old, unit, &more) ||
	     x->env->ops->quota_take(x->env->ops_ctx, more)))
		rc = CUDA_ERROR_OUT_OF_MEMORY;
	if (rc)
		return rc;
	rc = x->drv->cuCtxSetLimit(limit, value);
	if (rc)
		x->env->ops->quota_give(x->env->ops_ctx, more);
	else if (more)
		atomic_fetch_add(&o->implicit, more);
	else
		give_some(x, o, (old - value) * unit);
	return rc;
}

/* Two helpers may be told to set one limit, and a third to end the context. */
int implicit_limit(struct exec *x, uint32_t ctx, unsigned limit, uint64_t value)
{
	struct obj *o;
	int rc = CUDA_ERROR_INVALID_CONTEXT;

	if (limit > CU_LIMIT_MALLOC_HEAP_SIZE)
		return x->drv->cuCtxSetLimit(limit, value);
	pthread_mutex_lock(&x->limit_lock);
	o = obj_get(&x->handles, OBJ_CTX, ctx, 0);
	if (o)
		rc = set_limit(x, o, limit, value);
	pthread_mutex_unlock(&x->limit_lock);
	return rc;
}

void implicit_end(struct exec *x, struct obj *ctx)
{
	uint64_t held;

	pthread_mutex_lock(&x->limit_lock);
	held = atomic_exchange(&ctx->implicit, 0);
	pthread_mutex_unlock(&x->limit_lock);
	ctx->local = 0;
	if (held)
		x->env->ops->quota_give(x->env->ops_ctx, held);
}
