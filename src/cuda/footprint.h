/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much device memory the modules of an image take, told from its bytes: for charging it to somebody
 * before the driver allocates it. The bytes may be anybody's.
 *
 *   cubin  its allocated sections: exact
 *   PTX    its module-scope variables, and for the code the length of the text: machine code of
 *          an instruction (16 bytes) is shorter than its line
 *   fat    its largest entry: which one is taken is the driver's choice
 */
#ifndef VGPU_CUDA_FOOTPRINT_H
#define VGPU_CUDA_FOOTPRINT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cuda_footprint {
	uint64_t bytes; /* saturates */
	bool exact;	/* false: a variable's size is an expression, counted as one element: ask the driver for it */
};

/* Called with each variable of PTX; the name is valid during the call. */
typedef void cuda_variable_fn(void *ctx, const char *name);

/* fn may be NULL. An image nobody can read counts by its length: loading it fails anyway. */
struct cuda_footprint cuda_image_footprint(const void *image, size_t len, cuda_variable_fn *fn, void *ctx);
#endif
