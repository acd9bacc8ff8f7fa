/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of staged data. glibc's memcpy of 4 KiB to 512 KiB is `rep movsb`, which AMD's Zen 3 and 4 run some
 * five times slower when the destination lies a few bytes above the source modulo 4 KiB (glibc bug 30994):
 * just the case of staging memory, page-aligned, and a program's malloc()ed buffer, 16 bytes behind a page.
 */
#ifndef VGPU_WIRE_BULK_H
#define VGPU_WIRE_BULK_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VGPU_BULK_ALIAS 64u  /* bytes above: slow */
#define VGPU_BULK_PIECE 2048u /* below glibc's threshold for `rep movsb` */

static inline void vgpu_bulk_copy(void *to, const void *from, size_t n)
{
	size_t above = ((uintptr_t)to - (uintptr_t)from) & 4095;
	char *t = to;
	const char *f = from;

	if (!above || above >= VGPU_BULK_ALIAS) {
		memcpy(to, from, n);
		return;
	}
	for (; n > VGPU_BULK_PIECE; n -= VGPU_BULK_PIECE, t += VGPU_BULK_PIECE, f += VGPU_BULK_PIECE)
		memcpy(t, f, VGPU_BULK_PIECE);
	memcpy(t, f, n);
}
#endif
