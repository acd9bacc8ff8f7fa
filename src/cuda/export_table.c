// SPDX-License-Identifier: Apache-2.0
/*
 * cuGetExportTable: there are none here.
 *
 * NVIDIA's CUDA runtime asks through such tables that the driver prove to be NVIDIA's. We do not
 * answer that, by decision. A program that embeds that runtime can only stop; so that its user
 * learns why, the request is explained once.
 */
#define CUDA_EXACT_NAMES
#include "cuda/cuda.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Tables the runtime asks for and cannot do without; the first four bytes tell them apart from
 * others. d4082055 is the proof itself. Others it tolerates to be absent. */
static const unsigned char needed[][4] = {
	{ 0xd4, 0x08, 0x20, 0x55 },
	{ 0x6b, 0xd5, 0xfb, 0x6c },
	{ 0xa0, 0x94, 0x79, 0x8c },
};

static void explain(void)
{
	static atomic_flag done = ATOMIC_FLAG_INIT;
	if (atomic_flag_test_and_set(&done))
		return;
	fputs("libcuda (OpenVGPU): this program contains NVIDIA's own CUDA runtime (libcudart), which works only with\n"
	      "NVIDIA's driver library: it asks the driver to prove that it is NVIDIA's, and OpenVGPU does not imitate that.\n"
	      "What to do: use the CUDA driver API (cuModuleLoadData, cuLaunchKernel) instead; OpenVGPU's own libcudart,\n"
	      "for programs linked with nvcc -cudart shared, is not part of this version.\n",
	      stderr);
}

CUresult cuGetExportTable(const void **table, const CUuuid *id)
{
	if (!table || !id)
		return CUDA_ERROR_INVALID_VALUE;
	*table = NULL;
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
		if (!memcmp(id->bytes, needed[i], 4))
			explain();
	}
	return CUDA_ERROR_NOT_FOUND;
}
