/* SPDX-License-Identifier: Apache-2.0 */
/* What the executor remembers of an array, to check copies and textures against. */
#ifndef VGPU_EXECUTOR_ARRAYS_H
#define VGPU_EXECUTOR_ARRAYS_H
#include "cuda/loader.h"
#include "executor/handles.h"

struct array_shape { /* obj.data of an array */
	uint64_t row_bytes, rows, layers;
};

/* A box of an array: columns in bytes, rows, layers. */
struct array_box {
	uint64_t x, y, z, width, height, depth;
};
bool array_holds(const struct obj *array, const struct array_box *b);

struct exec;
struct call;
struct vgpu_in_texture_create;
/* What a texture reads, if it is all this process's own; else the CUresult. */
int texture_resource(struct exec *x, const struct call *c, const struct vgpu_in_texture_create *in, CUDA_RESOURCE_DESC *r);
#endif
