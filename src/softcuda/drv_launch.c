// SPDX-License-Identifier: Apache-2.0
/* Launches: checked in the call, run by the context's compute worker. And occupancy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/drv.h"

#define OLD_PARAM_MAX 4096u /* cuParamSetSize of CUDA 1 to 3 */

struct shape {
	unsigned grid[3], block[3], shared;
	bool cooperative;
};

static void report(const struct drv_run *l, const struct sc_fault *f, int error)
{
	const char *level = getenv("VGPU_LOG");
	if (level && !strcmp(level, "debug"))
		fprintf(stderr, "softcuda: kernel %s failed (%d) at PTX line %d: %s; %s of %u bytes at 0x%llx, block %u,%u,%u thread %u,%u,%u\n",
			f->kernel ? f->kernel : "?", error, f->line, f->what, f->write ? "write" : "read", f->size, (unsigned long long)f->address,
			f->block[0], f->block[1], f->block[2], f->thread[0], f->thread[1], f->thread[2]);
}

static int run_launch(struct drv_op *op)
{
	const struct drv_run *l = &op->u.launch;
	struct drv_ctx *ctx = op->stream->ctx;
	struct sc_fault fault = { 0 };
	struct sc_launch launch = { .kernel = l->kernel, .grid = { l->grid[0], l->grid[1], l->grid[2] }, .block = { l->block[0], l->block[1], l->block[2] },
		.dynamic_shared = l->shared, .params = l->params, .cancel = &ctx->cancel, .cooperative = l->cooperative, .if_free = op->brief };
	int r = sc_launch(ctx->sc, &launch, &fault);
	if (r && r != SC_LAUNCH_BUSY)
		report(l, &fault, r);
	return r;
}

static void release_params(struct drv_op *op)
{
	free(op->owned);
	op->owned = NULL;
}

static int check_shape(const struct drv_func *f, const struct shape *s)
{
	static const unsigned block_max[3] = { 1024, 1024, 64 }, grid_max[3] = { 0x7fffffff, 65535, 65535 };
	uint64_t threads = (uint64_t)s->block[0] * s->block[1] * s->block[2];
	for (int i = 0; i < 3; i++) {
		if (!s->grid[i] || s->grid[i] > grid_max[i] || !s->block[i] || s->block[i] > block_max[i])
			return CUDA_ERROR_INVALID_VALUE;
		if (f->info->reqntid[i] && f->info->reqntid[i] != s->block[i])
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (threads > 1024)
		return CUDA_ERROR_INVALID_VALUE;
	if (threads > f->info->max_threads)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	return s->shared > f->dynamic_shared_max ? CUDA_ERROR_INVALID_VALUE : 0;
}

/* extra: {key, value, ...}, ended by CU_LAUNCH_PARAM_END. */
static int params_of_extra(void **extra, const void **buffer, size_t *size)
{
	*buffer = NULL;
	*size = 0;
	for (int i = 0; i < 8; i++, extra += 2) {
		if (extra[0] == CU_LAUNCH_PARAM_END)
			return *buffer || !*size ? 0 : CUDA_ERROR_INVALID_VALUE;
		if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			*buffer = extra[1];
		else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[1])
			*size = *(size_t *)extra[1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

static int take_params(const struct drv_func *f, void **params, void **extra, unsigned char *to)
{
	const struct sc_kernel_info *k = f->info;
	const void *buffer;
	size_t size;
	if (!k->param_bytes)
		return 0;
	memset(to, 0, k->param_bytes);
	if (extra && !params) {
		DRV_TRY(params_of_extra(extra, &buffer, &size));
		if (size < k->param_bytes)
			return CUDA_ERROR_INVALID_VALUE;
		memcpy(to, buffer, k->param_bytes);
		return 0;
	}
	if (!params || extra)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < k->nparams; i++) {
		if (!params[i])
			return CUDA_ERROR_INVALID_VALUE;
		memcpy(to + k->params[i].offset, params[i], k->params[i].size);
	}
	return 0;
}

static CUresult launch(CUfunction func, const struct shape *s, CUstream handle, void **params, void **extra)
{
	struct drv_ctx *ctx;
	struct drv_stream *stream;
	struct drv_func *f;
	DRV_TRY(drv_enter_stream(handle, &ctx, &stream));
	DRV_TRY(drv_func_get(func, &f));
	if (f->module->ctx != stream->ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	DRV_TRY(check_shape(f, s));
	struct drv_op *op = drv_op_new(stream, OP_COMPUTE, run_launch);
	if (!op)
		return CUDA_ERROR_OUT_OF_MEMORY;
	unsigned char *to = op->small;
	if (f->info->param_bytes > sizeof op->small) {
		to = op->owned = malloc(f->info->param_bytes);
		op->release = release_params;
	}
	int r = to ? take_params(f, params, extra, to) : CUDA_ERROR_OUT_OF_MEMORY;
	if (r) {
		release_params(op);
		drv_op_unref(op);
		return r;
	}
	op->u.launch = (struct drv_run){ .kernel = f->kernel, .grid = { s->grid[0], s->grid[1], s->grid[2] }, .block = { s->block[0], s->block[1], s->block[2] },
		.shared = s->shared, .cooperative = s->cooperative, .params = to };
	op->brief = sc_kernel_brief(f->kernel, (uint64_t)s->grid[0] * s->grid[1] * s->grid[2], s->block[0] * s->block[1] * s->block[2]);
	return drv_submit(op, NULL, 0, DRV_ASYNC);
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra)
{
	struct shape s = { { gridDimX, gridDimY, gridDimZ }, { blockDimX, blockDimY, blockDimZ }, sharedMemBytes, false };
	return launch(f, &s, hStream, kernelParams, extra);
}

/* Blocks one multiprocessor (one thread of ours) may hold at once, by the limits we report. */
static int blocks_per_sm(const struct drv_func *f, unsigned threads, size_t dynamic)
{
	unsigned warps = (threads + 31) / 32, by_threads = 32 / warps, blocks = by_threads < 16 ? by_threads : 16;
	unsigned regs = f->info->regs ? f->info->regs : 1, by_regs = 65536 / (regs * warps * 32);
	size_t shared = f->info->shared_bytes + dynamic, by_shared = shared ? 65536 / shared : blocks;
	blocks = by_regs < blocks ? by_regs : blocks;
	return (int)(by_shared < blocks ? by_shared : blocks);
}

static CUresult launch_cooperative(CUfunction func, struct shape *s, CUstream hStream, void **params, void **extra)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	DRV_TRY(check_shape(f, s));
	uint64_t blocks = (uint64_t)s->grid[0] * s->grid[1] * s->grid[2];
	uint64_t room = (uint64_t)drv.device[f->module->ctx->device].threads * blocks_per_sm(f, s->block[0] * s->block[1] * s->block[2], s->shared);
	if (s->grid[0] > room || blocks > room)
		return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	s->cooperative = true;
	return launch(func, s, hStream, params, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams)
{
	struct shape s = { { gridDimX, gridDimY, gridDimZ }, { blockDimX, blockDimY, blockDimZ }, sharedMemBytes, false };
	return launch_cooperative(f, &s, hStream, kernelParams, NULL);
}

/* Attributes that only advise are taken; those that change what a kernel may do are refused. */
static int check_attribute(const CUlaunchAttribute *a, bool *cooperative)
{
	switch (a->id) {
	case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
		*cooperative = a->value.cooperative;
		return 0;
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: /* compute capability 9.0 */
		return a->value.clusterDim.x <= 1 && a->value.clusterDim.y <= 1 && a->value.clusterDim.z <= 1 ? 0 : CUDA_ERROR_INVALID_CLUSTER_SIZE;
	case CU_LAUNCH_ATTRIBUTE_IGNORE:
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
	case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		return 0;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra)
{
	bool cooperative = false;
	DRV_TRY(drv_ready());
	if (!config || (config->numAttrs && !config->attrs))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < config->numAttrs; i++)
		DRV_TRY(check_attribute(&config->attrs[i], &cooperative));
	struct shape s = { { config->gridDimX, config->gridDimY, config->gridDimZ }, { config->blockDimX, config->blockDimY, config->blockDimZ }, config->sharedMemBytes, false };
	return cooperative ? launch_cooperative(f, &s, config->hStream, kernelParams, extra) : launch(f, &s, config->hStream, kernelParams, extra);
}

/* ---- the interface of CUDA 1 to 3: state in the function, then a launch */

CUresult cuFuncSetBlockShape(CUfunction func, int x, int y, int z)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (x <= 0 || y <= 0 || z <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	f->block[0] = x;
	f->block[1] = y;
	f->block[2] = z;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedSize(CUfunction func, unsigned int bytes)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	f->old_shared = bytes;
	return CUDA_SUCCESS;
}

CUresult cuParamSetSize(CUfunction func, unsigned int numbytes)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (numbytes > OLD_PARAM_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	f->param_size = numbytes;
	return CUDA_SUCCESS;
}

CUresult cuParamSetv(CUfunction func, int offset, void *ptr, unsigned int numbytes)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (offset < 0 || !ptr || numbytes > OLD_PARAM_MAX || (unsigned)offset > OLD_PARAM_MAX - numbytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!f->old_params && !(f->old_params = calloc(1, OLD_PARAM_MAX)))
		return CUDA_ERROR_OUT_OF_MEMORY;
	memcpy(f->old_params + offset, ptr, numbytes);
	return CUDA_SUCCESS;
}

CUresult cuParamSeti(CUfunction func, int offset, unsigned int value)
{
	return cuParamSetv(func, offset, &value, sizeof value);
}

CUresult cuParamSetf(CUfunction func, int offset, float value)
{
	return cuParamSetv(func, offset, &value, sizeof value);
}

CUresult cuLaunchGridAsync(CUfunction func, int gridWidth, int gridHeight, CUstream hStream)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (gridWidth <= 0 || gridHeight <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	size_t size = f->param_size;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, f->old_params, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END };
	struct shape s = { { gridWidth, gridHeight, 1 }, { f->block[0], f->block[1], f->block[2] }, f->old_shared, false };
	return launch(func, &s, hStream, NULL, extra);
}

CUresult cuLaunchGrid(CUfunction f, int gridWidth, int gridHeight)
{
	return cuLaunchGridAsync(f, gridWidth, gridHeight, NULL);
}

CUresult cuLaunch(CUfunction f)
{
	return cuLaunchGridAsync(f, 1, 1, NULL);
}

/* ---- occupancy, by the limits of cuDeviceGetAttribute */

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize, unsigned int flags)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!numBlocks || blockSize <= 0 || flags & ~CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	*numBlocks = (unsigned)blockSize > f->info->max_threads || dynamicSMemSize > f->dynamic_shared_max ? 0 : blocks_per_sm(f, blockSize, dynamicSMemSize);
	return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize)
{
	return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize, dynamicSMemSize, 0);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize, CUfunction func, CUoccupancyB2DSize sharedOf, size_t dynamicSMemSize, int blockSizeLimit, unsigned int flags)
{
	struct drv_func *f;
	int best = 0, best_blocks = 0, blocks;
	DRV_TRY(drv_func_get(func, &f));
	if (!minGridSize || !blockSize || blockSizeLimit < 0)
		return CUDA_ERROR_INVALID_VALUE;
	int limit = blockSizeLimit && (unsigned)blockSizeLimit < f->info->max_threads ? blockSizeLimit : (int)f->info->max_threads;
	for (int size = limit; size > 0; size = size > 32 ? (size - 1) & ~31 : 0) {
		DRV_TRY(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, func, size, sharedOf ? sharedOf(size) : dynamicSMemSize, flags));
		if (blocks * size > best * best_blocks) {
			best = size;
			best_blocks = blocks;
		}
	}
	*blockSize = best;
	*minGridSize = best_blocks * (int)drv.device[f->module->ctx->device].threads;
	return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func, CUoccupancyB2DSize sharedOf, size_t dynamicSMemSize, int blockSizeLimit)
{
	return cuOccupancyMaxPotentialBlockSizeWithFlags(minGridSize, blockSize, func, sharedOf, dynamicSMemSize, blockSizeLimit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *dynamicSmemSize, CUfunction func, int numBlocks, int blockSize)
{
	struct drv_func *f;
	DRV_TRY(drv_func_get(func, &f));
	if (!dynamicSmemSize || numBlocks <= 0 || blockSize <= 0 || (unsigned)blockSize > f->info->max_threads)
		return CUDA_ERROR_INVALID_VALUE;
	size_t each = 65536 / (unsigned)numBlocks;
	*dynamicSmemSize = each > f->info->shared_bytes ? each - f->info->shared_bytes : 0;
	return CUDA_SUCCESS;
}
