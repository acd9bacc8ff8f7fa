/* SPDX-License-Identifier: Apache-2.0 */
/* A loaded module and its kernels. Kernels are compiled when first needed: a module may hold
 * hundreds and a program use three. */
#ifndef SOFTCUDA_ENGINE_MODULE_H
#define SOFTCUDA_ENGINE_MODULE_H
#include <pthread.h>
#include "softcuda/engine_build.h"

struct sc_kernel {
	struct sc_module *module;
	const struct ptx_func *func;
	struct sc_kernel_info info;
	struct sc_param *params;
	struct kernel_tree tree;
	struct cfunc *entry; /* NULL until compiled */
	struct cfunc *by_warp; /* the same with a head; NULL: nothing to gain */
	atomic_bool compiled; /* entry, by_warp and result do not change any more */
	bool scanned;
	int result; /* of compiling */
	char why[256];
};

struct sc_module {
	struct sc_device *device;
	struct ptx_module *ptx;
	pthread_mutex_t lock;
	struct sc_kernel *kernel;
	unsigned nkernels;
	uint32_t nvars_shared;
	uint64_t *placed; /* device addresses to free */
	uint32_t nplaced;
	uint64_t *texslot;
	const struct ptx_var **texvar;
	uint32_t ntex;
};

/* Compiles the kernel if it is not; 0 or the error, text in kernel->why. */
int sc_kernel_ready(struct sc_kernel *k);
#endif
