/* SPDX-License-Identifier: Apache-2.0 */
/* Launching as CUDA 1 to 3 did it: shape and parameters are state of the function, set piece by piece. */
#include <stdlib.h>
#include <string.h>
#include "guest/guest.h"

#define PARAM_MAX 4096 /* bytes: what these calls were made for */

struct old_launch {
	unsigned block[3], shared;
	size_t size;
	unsigned char param[PARAM_MAX];
};

static int enter(CUfunction h, struct old_launch **l)
{
	struct gobj *f;
	int rc = func_enter(h, &f);

	if (rc)
		return rc;
	if (!f->func.old)
		f->func.old = calloc(1, sizeof(*f->func.old));
	*l = f->func.old;
	return *l ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuFuncSetBlockShape(CUfunction h, int x, int y, int z)
{
	struct old_launch *l;
	int rc = enter(h, &l);

	if (rc)
		return rc;
	if (x < 1 || y < 1 || z < 1)
		return CUDA_ERROR_INVALID_VALUE;
	l->block[0] = (unsigned)x;
	l->block[1] = (unsigned)y;
	l->block[2] = (unsigned)z;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedSize(CUfunction h, unsigned int bytes)
{
	struct old_launch *l;
	int rc = enter(h, &l);

	if (!rc)
		l->shared = bytes;
	return rc;
}

CUresult cuParamSetSize(CUfunction h, unsigned int bytes)
{
	struct old_launch *l;
	int rc = enter(h, &l);

	if (rc || bytes > PARAM_MAX)
		return rc ? rc : CUDA_ERROR_INVALID_VALUE;
	l->size = bytes;
	return CUDA_SUCCESS;
}

CUresult cuParamSetv(CUfunction h, int offset, void *p, unsigned int bytes)
{
	struct old_launch *l;
	int rc = enter(h, &l);

	if (rc)
		return rc;
	if (!p || offset < 0 || offset > PARAM_MAX || bytes > (unsigned)(PARAM_MAX - offset))
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(l->param + offset, p, bytes);
	return CUDA_SUCCESS;
}

CUresult cuParamSeti(CUfunction h, int offset, unsigned int value)
{
	return cuParamSetv(h, offset, &value, sizeof(value));
}

CUresult cuParamSetf(CUfunction h, int offset, float value)
{
	return cuParamSetv(h, offset, &value, sizeof(value));
}

CUresult cuLaunchGridAsync(CUfunction h, int width, int height, CUstream stream)
{
	struct old_launch *l;
	int rc = enter(h, &l);

	if (rc)
		return rc;
	if (width < 1 || height < 1)
		return CUDA_ERROR_INVALID_VALUE;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, l->param, CU_LAUNCH_PARAM_BUFFER_SIZE, &l->size, CU_LAUNCH_PARAM_END };

	return cuLaunchKernel(h, (unsigned)width, (unsigned)height, 1, l->block[0], l->block[1], l->block[2], l->shared, stream,
			      NULL, extra);
}

CUresult cuLaunchGrid(CUfunction h, int width, int height)
{
	return cuLaunchGridAsync(h, width, height, NULL);
}

CUresult cuLaunch(CUfunction h)
{
	return cuLaunchGridAsync(h, 1, 1, NULL);
}
