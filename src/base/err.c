/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Out of memory while reporting an error: nothing sensible is left to do. */
static struct vgpu_err *__attribute__((nonnull)) make(const char *fmt, va_list ap)
{
	struct vgpu_err *e = calloc(1, sizeof(*e));

	if (!e)
		abort();
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	return e;
}

struct vgpu_err *err_new(const char *fmt, ...)
{
	struct vgpu_err *e;
	va_list ap;

	va_start(ap, fmt);
	e = make(fmt, ap);
	va_end(ap);
	return e;
}

struct vgpu_err *err_sys(int errno_value, const char *fmt, ...)
{
	struct vgpu_err *e;
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	e = make(fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(errno_value));
	return e;
}

void fd_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
