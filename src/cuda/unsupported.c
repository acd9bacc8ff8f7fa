// SPDX-License-Identifier: Apache-2.0
#include "cuda/unsupported.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_SUPPORTED 801 /* CUDA_ERROR_NOT_SUPPORTED */

void (*vgpu_unsupported_hook)(const char *name);

int vgpu_unsupported(unsigned index)
{
	struct vgpu_unsupported_name *n = &vgpu_unsupported_names[index];
	if (!atomic_fetch_add_explicit(&n->calls, 1, memory_order_relaxed)) {
		const char *level = getenv("VGPU_LOG");
		if (level && !strcmp(level, "debug"))
			fprintf(stderr, "libcuda (OpenVGPU): %s is not implemented, answered CUDA_ERROR_NOT_SUPPORTED\n", n->name);
	}
	if (vgpu_unsupported_hook)
		vgpu_unsupported_hook(n->name);
	return NOT_SUPPORTED;
}
