/* SPDX-License-Identifier: Apache-2.0 */
/* What the executor remembers of an array, to check copies and textures against. */
#ifndef VGPU_EXECUTOR_ARRAYS_H
#define VGPU_EXECUTOR_ARRAYS_H
#include "executor/handles.h"

struct array_shape { /* obj.data of an array */
	uint64_t row_bytes, rows, layers;
};

/* Bytes of one element of the format, 0 if we do not know it. */
unsigned array_format_bytes(uint32_t format);
/* A box of an array: columns in bytes, rows, layers. */
struct array_box {
	uint64_t x, y, z, width, height, depth;
};
bool array_holds(const struct obj *array, const struct array_box *b);
#endif
