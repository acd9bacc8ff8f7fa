/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver library opened at run time: the only way this project reaches a CUDA driver.
 *
 * The table has one pointer per function an executor calls. A required name that is missing refuses
 * the library; an optional one stays NULL and is counted (a driver may be older than we are).
 */
#ifndef VGPU_CUDA_LOADER_H
#define VGPU_CUDA_LOADER_H
#include <stddef.h>
#ifndef CUDA_EXACT_NAMES
#define CUDA_EXACT_NAMES /* the fields are named like the symbols, so no macro may rename them */
#endif
#include "cuda/cuda.h"
#ifdef VGPU_CUDA_API_MACROS_H
#error "include cuda/loader.h before cuda/cuda.h, or define CUDA_EXACT_NAMES first"
#endif
#include "cuda/loader_names.h"

struct cuda_driver {
#define F(name) __typeof__(&name) name;
	CUDA_REQUIRED(F)
	CUDA_OPTIONAL(F)
#undef F
	void *handle;	    /* of dlopen */
	const char *path;   /* as asked for; static or owned by the caller of cuda_driver_open */
	unsigned missing;   /* optional names the library lacks */
	char first_missing[64];
};

/*
 * Opens path, or $VGPU_DRIVER, or "libcuda.so.1", with RTLD_NOW | RTLD_LOCAL. Calls nothing in it
 * beyond its constructors. 0, or -1 with one line in err[] that says what and where.
 */
int cuda_driver_open(struct cuda_driver *d, const char *path, char *err, size_t err_len);
void cuda_driver_close(struct cuda_driver *d);
#endif
