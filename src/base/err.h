/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An error a person will read: its text is made once, where it happened, and carried upwards.
 * Functions return NULL for success or an error the caller owns. cleanup_err frees it on scope exit.
 */
#ifndef VGPU_BASE_ERR_H
#define VGPU_BASE_ERR_H
#include <stdlib.h>

struct vgpu_err {
	char text[512]; /* one line, no newline at its end */
};

struct vgpu_err *err_new(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* As err_new, with ": " and strerror(errno_value) appended. */
struct vgpu_err *err_sys(int errno_value, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void err_freep(struct vgpu_err **e)
{
	free(*e);
	*e = NULL;
}
#define cleanup_err __attribute__((cleanup(err_freep)))

void fd_closep(int *fd);
#define cleanup_fd __attribute__((cleanup(fd_closep)))

static inline void mem_freep(void *p)
{
	free(*(void **)p);
}
#define cleanup_mem __attribute__((cleanup(mem_freep)))
#endif
