/* SPDX-License-Identifier: Apache-2.0 */
#include "cpio.h"

#include <stdlib.h>
#include <string.h>

#define HEADER 110u

enum state {
	BETWEEN, /* zero bytes, or the first byte of a header */
	IN_HEADER,
	IN_NAME,
	IN_DATA,
	IN_PAD,
};

struct cpio {
	const struct cpio_ops *ops;
	void *arg;
	enum state state, after_pad;
	char head[HEADER + 1], name[CPIO_NAME_MAX + 1], *keep;
	size_t have, name_size, kept;
	uint64_t size, left, offset; /* offset: within the archive, for the padding to 4 */
	uint32_t mode;
	bool wanted;
	bool mid_archive; /* a trailer is still due */
	const char *problem;
};

struct cpio *cpio_new(const struct cpio_ops *ops, void *arg)
{
	struct cpio *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->ops = ops;
	c->arg = arg;
	return c;
}

void cpio_free(struct cpio *c)
{
	if (c)
		free(c->keep);
	free(c);
}

const char *cpio_problem(const struct cpio *c)
{
	return c->problem;
}

bool cpio_idle(const struct cpio *c)
{
	return !c->problem && c->state == BETWEEN && !c->mid_archive;
}

static bool hex8(const char *p, uint32_t *v)
{
	*v = 0;
	for (int i = 0; i < 8; i++) {
		char ch = p[i];
		int d = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;

		if (d < 0)
			return false;
		*v = *v << 4 | (uint32_t)d;
	}
	return true;
}

/* Fields behind the magic: ino mode uid gid nlink mtime filesize … namesize check. */
static void take_header(struct cpio *c)
{
	uint32_t size, name;

	if (memcmp(c->head, "07070", 5) || (c->head[5] != '1' && c->head[5] != '2') ||
	    !hex8(c->head + 6 + 8, &c->mode) || !hex8(c->head + 6 + 48, &size) ||
	    !hex8(c->head + 6 + 88, &name)) {
		c->problem = "no cpio header where one is due";
		return;
	}
	if (!name || name > CPIO_NAME_MAX) {
		c->problem = "an entry's name is too long";
		return;
	}
	c->size = size;
	c->name_size = name;
	c->have = 0;
	c->state = IN_NAME;
}

static const char *plain(const char *name)
{
	for (;;) {
		if (name[0] == '/')
			name++;
		else if (name[0] == '.' && name[1] == '/')
			name += 2;
		else
			return name;
	}
}

static void pad_then(struct cpio *c, enum state next)
{
	c->left = (4 - c->offset % 4) % 4;
	c->state = IN_PAD;
	c->after_pad = next;
}

static void take_name(struct cpio *c)
{
	c->name[c->name_size - 1] = 0;
	if (!strcmp(c->name, "TRAILER!!!")) {
		c->mid_archive = false;
		pad_then(c, BETWEEN);
		return;
	}
	c->wanted = c->ops->entry(c->arg, plain(c->name), c->mode, c->size);
	c->kept = 0;
	if (c->wanted && !c->keep && !(c->keep = malloc(CPIO_KEEP_MAX + 1)))
		abort();
	pad_then(c, IN_DATA);
}

static void end_of_data(struct cpio *c)
{
	if (c->wanted) {
		c->keep[c->kept] = 0;
		c->ops->contents(c->arg, plain(c->name), c->keep, c->kept);
	}
	pad_then(c, IN_HEADER);
}

static void enter(struct cpio *c, enum state s)
{
	c->state = s;
	c->have = 0;
	if (s == IN_DATA) {
		c->left = c->size;
		if (!c->left)
			end_of_data(c);
	}
}

static size_t gather(struct cpio *c, char *to, size_t want, const uint8_t *p, size_t len)
{
	size_t n = want - c->have < len ? want - c->have : len;

	memcpy(to + c->have, p, n);
	c->have += n;
	c->offset += n;
	return n;
}

static size_t skip(struct cpio *c, size_t len)
{
	size_t n = c->left < len ? (size_t)c->left : len;

	c->left -= n;
	c->offset += n;
	return n;
}

static size_t step(struct cpio *c, const uint8_t *p, size_t len)
{
	size_t n = 0;

	switch (c->state) {
	case BETWEEN:
		while (n < len && !p[n])
			n++;
		if (n < len && p[n] == '0') {
			c->offset = 0;
			c->mid_archive = true;
			enter(c, IN_HEADER);
		}
		return n;
	case IN_HEADER:
		n = gather(c, c->head, HEADER, p, len);
		if (c->have == HEADER)
			take_header(c);
		return n;
	case IN_NAME:
		n = gather(c, c->name, c->name_size, p, len);
		if (c->have == c->name_size)
			take_name(c);
		return n;
	case IN_DATA:
		n = skip(c, len);
		if (c->wanted && c->kept < CPIO_KEEP_MAX) {
			size_t k = CPIO_KEEP_MAX - c->kept < n ? CPIO_KEEP_MAX - c->kept : n;

			memcpy(c->keep + c->kept, p, k);
			c->kept += k;
		}
		if (!c->left)
			end_of_data(c);
		return n;
	case IN_PAD:
		n = skip(c, len);
		if (!c->left)
			enter(c, c->after_pad);
		return n;
	}
	return len;
}

size_t cpio_push(struct cpio *c, const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (at < len && !c->problem) {
		enum state before = c->state;
		size_t n = step(c, p + at, len - at);

		at += n;
		if (before == BETWEEN && c->state == BETWEEN && at < len)
			return at; /* neither zero nor a header */
	}
	return len;
}
