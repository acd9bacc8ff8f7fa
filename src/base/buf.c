/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_free(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

/* Room for n more bytes and the NUL. */
static int buf_room(struct buf *b, size_t n)
{
	size_t want;
	char *p;

	if (n > b->max - b->len)
		return -ENOBUFS;
	want = b->len + n + 1;
	if (want <= b->size)
		return 0;
	if (want < 2 * b->size)
		want = 2 * b->size;
	if (want > b->max + 1)
		want = b->max + 1;
	p = realloc(b->data, want);
	if (!p)
		return -ENOMEM;
	b->data = p;
	b->size = want;
	return 0;
}

int buf_put(struct buf *b, const void *p, size_t n)
{
	int rc = buf_room(b, n);

	if (rc)
		return rc;
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = 0;
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, rc;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	rc = buf_room(b, (size_t)n);
	if (rc)
		return rc;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void buf_eat(struct buf *b, size_t n)
{
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

long buf_read(struct buf *b, int fd)
{
	size_t n = b->max - b->len;
	ssize_t got;
	int rc;

	if (n == 0)
		return -ENOBUFS;
	if (n > 4096)
		n = 4096;
	rc = buf_room(b, n);
	if (rc)
		return rc;
	do
		got = read(fd, b->data + b->len, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	b->len += (size_t)got;
	b->data[b->len] = 0;
	return got;
}
