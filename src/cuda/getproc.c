// SPDX-License-Identifier: Apache-2.0
#define CUDA_EXACT_NAMES
#include "cuda/getproc.h"
#include <stddef.h>
#include <string.h>
#include "cuda/cuda.h"
#include "cuda/errors.h"

/* First entry of base, or cuda_proc_count. */
static unsigned lower_bound(const char *base)
{
	unsigned lo = 0, hi = cuda_proc_count;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		if (strcmp(cuda_procs[mid].base, base) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void *cuda_getproc(const char *base, int version, bool per_thread, int *status)
{
	void *best[2] = { NULL, NULL };
	*status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	for (unsigned i = lower_bound(base); i < cuda_proc_count; i++) {
		const struct cuda_proc *p = &cuda_procs[i];
		if (strcmp(p->base, base))
			break;
		*status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
		if (p->version <= version)
			best[p->per_thread] = p->address;
	}
	void *found = per_thread && best[1] ? best[1] : best[0];
	if (found)
		*status = CU_GET_PROC_ADDRESS_SUCCESS;
	return found;
}

/* With a status to look at, "not found" is an answer; without one it is an error. */
CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
			     CUdriverProcAddressQueryResult *symbolStatus)
{
	int status;
	if (!symbol || !pfn || flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
		return CUDA_ERROR_INVALID_VALUE;
	*pfn = cuda_getproc(symbol, cudaVersion, flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status);
	if (symbolStatus)
		*symbolStatus = status;
	return *pfn || symbolStatus ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* The form of CUDA 11.3: leaves *pfn alone when there is nothing to put there. */
CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
	void *found;
	if (!pfn)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult r = cuGetProcAddress_v2(symbol, &found, cudaVersion, flags, NULL);
	if (r)
		return r;
	*pfn = found;
	return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	*name = cuda_error_name(error);
	return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
	if (!text)
		return CUDA_ERROR_INVALID_VALUE;
	*text = cuda_error_text(error);
	return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
