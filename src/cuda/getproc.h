/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuGetProcAddress over a generated table (gen_names.py). A base name has one entry per ABI it had;
 * the newest one not newer than the version asked for is the answer. With the per-thread flag the
 * _ptds/_ptsz forms come first; functions that have none are the same for both flags.
 */
#ifndef VGPU_CUDA_GETPROC_H
#define VGPU_CUDA_GETPROC_H
#include <stdbool.h>
#include <stdint.h>

struct cuda_proc {
	const char *base; /* table is sorted by base, then per_thread, then version */
	void *address;
	int version; /* 1000 * major + 10 * minor: where this ABI appeared */
	bool per_thread;
};
extern const struct cuda_proc cuda_procs[];
extern const unsigned cuda_proc_count;

/* The symbol's address, or NULL with *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND or
 * _VERSION_NOT_SUFFICIENT. *status is _SUCCESS otherwise. */
void *cuda_getproc(const char *base, int version, bool per_thread, int *status);
#endif
