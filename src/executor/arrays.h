/* SPDX-License-Identifier: Apache-2.0 */
/* What the executor remembers of an array, to check copies and textures against. */
#ifndef VGPU_EXECUTOR_ARRAYS_H
#define VGPU_EXECUTOR_ARRAYS_H
#include "executor/handles.h"

struct array_shape { /* obj.data of an array */
	uint64_t row_bytes, rows;
};

/* Bytes of one element of the format, 0 if we do not know it. */
unsigned array_format_bytes(uint32_t format);
/* Does the array hold width bytes from column `col` (bytes) in `height` rows from `row`? */
bool array_holds(const struct obj *array, uint64_t col, uint64_t row, uint64_t width, uint64_t height);
#endif
