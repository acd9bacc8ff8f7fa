/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions: what is known of them, and launches. A launch checks against cached figures, packs its
 * arguments into the parameter area and is gone: no system call unless the executor sleeps, no
 * allocation, no answer.
 */
#include <string.h>
#include "guest/guest.h"
#include "wire/ops_enc.h"

int func_resolve(CUfunction h, struct gobj *ctx, struct gobj **out)
{
	struct gobj *k;

	*out = g_get(G_FUNC, h);
	if (*out)
		return CUDA_SUCCESS;
	k = g_get(G_KERNEL, h);
	return k ? kernel_function(k, ctx, out) : CUDA_ERROR_INVALID_HANDLE;
}

/* ---- launches ---- */

struct launch {
	unsigned grid[3], block[3], shared;
	bool cooperative;
};

int device_limit(unsigned attr, int otherwise)
{
	int v = attr < guest_device.attr_count ? guest_device.attr[attr] : VGPU_ATTR_UNKNOWN;

	return v == VGPU_ATTR_UNKNOWN ? otherwise : v;
}

static int check_launch(const struct gobj *f, const struct launch *l)
{
	uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
	int dynamic = f->func.meta->attr[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES];

	for (unsigned i = 0; i < 3; i++)
		if (!l->grid[i] || !l->block[i] ||
		    l->grid[i] > (unsigned)device_limit(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i, i ? 65535 : 0x7fffffff) ||
		    l->block[i] > (unsigned)device_limit(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i, i == 2 ? 64 : 1024))
			return CUDA_ERROR_INVALID_VALUE;
	if (threads > (unsigned)device_limit(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024))
		return CUDA_ERROR_INVALID_VALUE;
	if (threads > f->func.max_threads)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	if (dynamic != VGPU_ATTR_UNKNOWN ? l->shared > (unsigned)dynamic
					 : l->shared + f->func.static_shared >
						   (unsigned)device_limit(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

/* The `extra` way of giving arguments: one buffer. */
static int read_extra(void **extra, const void **buffer, size_t *size)
{
	*buffer = NULL;
	*size = 0;
	for (unsigned i = 0; i < 8 && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
		if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			*buffer = extra[i + 1];
		else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
			*size = extra[i + 1] ? *(size_t *)extra[i + 1] : 0;
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

static void pack(uint8_t *to, const struct vgpu_func_meta *m, const struct vgpu_param *p, void **params)
{
	for (uint32_t i = 0; i < m->nparams; i++)
		if (p[i].size == 8)
			memcpy(to + p[i].offset, params[i], 8);
		else if (p[i].size == 4)
			memcpy(to + p[i].offset, params[i], 4);
		else
			memcpy(to + p[i].offset, params[i], p[i].size);
}

static int arguments_given(const struct vgpu_func_meta *m, void **params, void **extra, const void **buffer, size_t *size)
{
	int rc;

	if (params && extra)
		return CUDA_ERROR_INVALID_VALUE;
	if (!extra)
		return m->nparams && !params ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	rc = read_extra(extra, buffer, size);
	if (rc)
		return rc;
	return *size > m->param_bytes || (m->param_bytes && !*buffer) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static int launch(CUfunction h, const struct launch *l, CUstream stream, void **params, void **extra)
{
	const struct vgpu_func_meta *m;
	const void *buffer = NULL;
	struct vgpu_in_launch *in;
	struct vgpu_entry *e;
	struct gobj *ctx, *f;
	struct stream_ref s;
	void *pay = NULL;
	size_t size = 0;
	int rc = ctx_enter(&ctx);

	if (!rc)
		rc = stream_resolve(stream, ctx, &s);
	if (!rc)
		rc = func_resolve(h, s.ctx, &f);
	if (rc)
		return rc;
	if (f->ctx != s.ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	m = f->func.meta;
	rc = check_launch(f, l);
	if (!rc)
		rc = arguments_given(m, params, extra, &buffer, &size);
	if (rc)
		return rc;
	e = work_begin(guest_client, VGPU_OP_LAUNCH, s.ctx->wire, m->param_bytes, &pay);
	if (!e)
		return client_death(guest_client, true);
	in = (struct vgpu_in_launch *)(void *)e->body;
	*in = (struct vgpu_in_launch){ .func = f->wire, .stream = s.wire, .grid_x = l->grid[0], .grid_y = l->grid[1],
				       .grid_z = l->grid[2], .block_x = (vg_u16)l->block[0], .block_y = (vg_u16)l->block[1],
				       .block_z = (vg_u16)l->block[2], .cooperative = l->cooperative, .shared = l->shared };
	if (extra && m->param_bytes) {
		memcpy(pay, buffer, size);
		memset((char *)pay + size, 0, m->param_bytes - size);
	} else if (m->nparams) {
		pack(pay, m, f->func.param, params);
	}
	stream_touch(&s, work_commit(guest_client, e));
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
			unsigned int bz, unsigned int shared, CUstream stream, void **params, void **extra)
{
	struct launch l = { { gx, gy, gz }, { bx, by, bz }, shared, false };

	return launch(f, &l, stream, params, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
				   unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, void **params)
{
	struct launch l = { { gx, gy, gz }, { bx, by, bz }, shared, true };

	return launch(f, &l, stream, params, NULL);
}

/* Attributes that only advise are taken; those that change what runs are not offered. */
static int read_attributes(const CUlaunchConfig *c, bool *cooperative)
{
	if (c->numAttrs && !c->attrs)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < c->numAttrs; i++) {
		const CUlaunchAttribute *a = &c->attrs[i];

		switch (a->id) {
		case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
			*cooperative = a->value.cooperative != 0;
			break;
		case CU_LAUNCH_ATTRIBUTE_IGNORE:
		case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
		case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
			break;
		case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
			if (a->value.clusterDim.x * a->value.clusterDim.y * a->value.clusterDim.z > 1)
				return CUDA_ERROR_NOT_SUPPORTED;
			break;
		default:
			return CUDA_ERROR_NOT_SUPPORTED;
		}
	}
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra)
{
	struct launch l = { 0 };
	int rc;

	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	rc = read_attributes(c, &l.cooperative);
	if (rc)
		return rc;
	l = (struct launch){ { c->gridDimX, c->gridDimY, c->gridDimZ }, { c->blockDimX, c->blockDimY, c->blockDimZ },
			     c->sharedMemBytes, l.cooperative };
	return launch(f, &l, c->hStream, params, extra);
}

/* ---- what is known of a function ---- */

int func_enter(CUfunction h, struct gobj **f)
{
	struct gobj *ctx;
	int rc = ctx_enter(&ctx);

	return rc ? rc : func_resolve(h, ctx, f);
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attr, CUfunction h)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc)
		return rc;
	if (!value || (unsigned)attr >= VGPU_FUNC_ATTRS || f->func.meta->attr[attr] == VGPU_ATTR_UNKNOWN)
		return CUDA_ERROR_INVALID_VALUE;
	*value = f->func.meta->attr[attr];
	return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction h, CUfunction_attribute attr, int value)
{
	struct vgpu_in_func_set_attribute in = { .attr = attr, .value = value };
	struct vgpu_in_func_attribute q = { .attr = attr };
	struct vgpu_out_func_attribute out;
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc)
		return rc;
	if ((unsigned)attr >= VGPU_FUNC_ATTRS)
		return CUDA_ERROR_INVALID_VALUE;
	in.func = q.func = f->wire;
	rc = vgpu_call_func_set_attribute(guest_client, f->ctx->wire, work_position(guest_client), &in);
	if (!rc)
		rc = vgpu_call_func_attribute(guest_client, f->ctx->wire, &q, &out);
	if (!rc)
		f->func.meta->attr[attr] = out.value;
	return rc;
}

CUresult cuFuncSetCacheConfig(CUfunction h, CUfunc_cache config)
{
	struct gobj *f;
	int rc = func_enter(h, &f);
	struct vgpu_in_func_cache_config in = { .config = config };

	if (rc || (unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	in.func = f->wire;
	return vgpu_call_func_cache_config(guest_client, f->ctx->wire, work_position(guest_client), &in);
}

/* Bank width: no device since Kepler has a choice, so every value is accepted and changes nothing. */
CUresult cuFuncSetSharedMemConfig(CUfunction h, CUsharedconfig config)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	return rc ? rc : (unsigned)config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule *module, CUfunction h)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc || !module)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*module = g_handle(f->func.module);
	return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char **name, CUfunction h)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc || !name)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*name = f->func.name;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction h, size_t index, size_t *offset, size_t *size)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc || !offset)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	if (index >= f->func.meta->nparams)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = f->func.param[index].offset;
	if (size)
		*size = f->func.param[index].size;
	return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction h)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc || !state)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	*state = CU_FUNCTION_LOADING_STATE_LOADED;
	return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction h)
{
	struct gobj *f;

	return func_enter(h, &f);
}

/* ---- occupancy ---- */

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction h, int block, size_t dynamic,
							      unsigned int flags)
{
	struct vgpu_in_func_occupancy in = { .dynamic_shared = dynamic, .block = (vg_u32)block, .flags = flags };
	struct vgpu_out_func_occupancy out;
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc)
		return rc;
	if (!blocks || block < 1)
		return CUDA_ERROR_INVALID_VALUE;
	in.func = f->wire;
	rc = vgpu_call_func_occupancy(guest_client, f->ctx->wire, &in, &out);
	if (!rc)
		*blocks = out.blocks;
	return rc;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction h, int block, size_t dynamic)
{
	return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, h, block, dynamic, 0);
}

/* What is left of a multiprocessor's shared memory for each of so many blocks. */
CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction h, int blocks, int block)
{
	int all = device_limit(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 65536);
	int most = device_limit(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, all);
	int reserved = device_limit(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 0), each, taken;
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc)
		return rc;
	if (!bytes || blocks < 1 || block < 1 || (unsigned)block > f->func.max_threads)
		return CUDA_ERROR_INVALID_VALUE;
	each = all / blocks - reserved;
	taken = (int)f->func.static_shared;
	if (each > most)
		each = most;
	*bytes = each > taken ? (size_t)(each - taken) : 0;
	return CUDA_SUCCESS;
}

/* The block size that keeps most threads of a multiprocessor busy; the largest of equals. */
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction h, CUoccupancyB2DSize dynamic_of,
						   size_t dynamic, int limit, unsigned int flags)
{
	int best = 0, top, sms = device_limit(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 1);
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc || !grid || !block)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	top = (int)f->func.max_threads;
	if (limit > 0 && limit < top)
		top = limit;
	for (int b = top; b > 0; b = (b - 1) / 32 * 32) {
		int n = 0;

		rc = cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&n, h, b, dynamic_of ? dynamic_of(b) : dynamic, flags);
		if (rc)
			return rc;
		if (n * b > best) {
			best = n * b;
			*block = b;
			*grid = n * sms;
		}
	}
	return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction h, CUoccupancyB2DSize dynamic_of, size_t dynamic,
					  int limit)
{
	return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, h, dynamic_of, dynamic, limit, 0);
}
