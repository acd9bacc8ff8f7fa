/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of names that a driver library exports but does not implement: counted per name, answered
 * with CUDA_ERROR_NOT_SUPPORTED. With VGPU_LOG=debug each name is reported once on stderr.
 */
#ifndef VGPU_CUDA_UNSUPPORTED_H
#define VGPU_CUDA_UNSUPPORTED_H
#include <stdatomic.h>

struct vgpu_unsupported_name {
	const char *name;
	atomic_ulong calls;
};
/* Generated (gen_names.py); ends with a NULL name. */
extern struct vgpu_unsupported_name vgpu_unsupported_names[];
extern const unsigned vgpu_unsupported_count;

/* Called by each stub with its index; returns CUDA_ERROR_NOT_SUPPORTED. */
int vgpu_unsupported(unsigned index);
/* A library may set this before its first call is made: called on every unsupported call. */
extern void (*vgpu_unsupported_hook)(const char *name);
#endif
