/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte buffer with a limit it never exceeds. Grows in use, keeps its memory until buf_free().
 * data[0..len) is always followed by a NUL, so text can be read as a string.
 */
#ifndef VGPU_BASE_BUF_H
#define VGPU_BASE_BUF_H
#include <stddef.h>

struct buf {
	char *data;
	size_t len, size, max; /* bytes; max excludes the trailing NUL */
};

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);
/* Append. 0; -ENOBUFS beyond max, -ENOMEM: nothing was appended. */
int buf_put(struct buf *b, const void *p, size_t n);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drop n bytes from the front; n <= len. */
void buf_eat(struct buf *b, size_t n);
/* Read once from fd, at most what fits. Bytes read, 0 at end, -errno; -ENOBUFS when full. */
long buf_read(struct buf *b, int fd);
#endif
