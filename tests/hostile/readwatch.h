/* SPDX-License-Identifier: Apache-2.0 */
/* What readwatch.so leaves in $VGPU_READWATCH/PROGRAM.PID; readwatch.py reads the same layout. */
#ifndef VGPU_TESTS_READWATCH_H
#define VGPU_TESTS_READWATCH_H
#include <stdint.h>
#include "wire/geometry.h"

#define WATCHED_BYTES (VGPU_HEADER_SIZE + VGPU_WISH_SIZE)

struct readwatch {
	uint32_t windows;  /* mappings of a BAR2, all of them */
	uint32_t beyond;   /* those that reach beyond header and wish page */
	uint32_t syscalls; /* that read from one: read(), pread(), sendfile() ... */
	uint32_t pad;
	uint32_t reads[WATCHED_BYTES / 4], writes[WATCHED_BYTES / 4]; /* instructions, by the word they began at */
};
#endif
