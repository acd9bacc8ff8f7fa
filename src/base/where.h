/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where our other files lie, relative to the running program, so that an installed tree, build/stage and
 * the build directory all work unmoved.
 */
#ifndef VGPU_BASE_WHERE_H
#define VGPU_BASE_WHERE_H
#include <stddef.h>

enum where_what {
	WHERE_VGPUD,
	WHERE_BROKER,
	WHERE_EXECUTOR,
	WHERE_SOFTCUDA, /* softcuda's libcuda.so.1 */
	WHERE_GUEST,	/* the guest's libcuda.so.1 */
};

/* Absolute path of an existing file in out, or -ENOENT. */
int where_is(enum where_what what, char *out, size_t len);
#endif
