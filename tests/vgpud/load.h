/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the small programs that load a device share: libcuda.so.1 found at run time, a call that must
 * succeed, and SIGTERM as a request.
 */
#ifndef VGPU_TESTS_LOAD_H
#define VGPU_TESTS_LOAD_H
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "cuda/cuda.h"

static void *load_lib; /* by load_open() */
static volatile sig_atomic_t load_stop;

/* f(...) of the library; its name and the error are printed and the process ends with 1 if it fails. */
#define CALL(f, ...)                                                                               \
	do {                                                                                       \
		int rc_ = ((__typeof__(&f))dlsym(load_lib, #f))(__VA_ARGS__);                      \
		if (rc_) {                                                                         \
			printf("%s %d\n", #f, rc_);                                                \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static inline void load_on_term(int sig)
{
	load_stop = 1;
}

/* Lines are written as they end; SIGTERM sets load_stop; the primary context of device 0 is current. */
static inline CUcontext load_open(void)
{
	CUdevice dev;
	CUcontext ctx;

	setvbuf(stdout, NULL, _IOLBF, 0);
	load_lib = dlopen("libcuda.so.1", RTLD_NOW);
	if (!load_lib) {
		puts(dlerror());
		exit(1);
	}
	signal(SIGTERM, load_on_term);
	CALL(cuInit, 0);
	CALL(cuDeviceGet, &dev, 0);
	CALL(cuDevicePrimaryCtxRetain, &ctx, dev);
	CALL(cuCtxSetCurrent, ctx);
	return ctx;
}
#endif
