/* SPDX-License-Identifier: Apache-2.0 */
#include "cmdline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *dup_n(const char *s, size_t n)
{
	char *p = strndup(s, n);

	if (!p)
		abort();
	return p;
}

/* Takes the quotes out of [s, s+n). */
static char *unquoted(const char *s, size_t n)
{
	char *out = dup_n(s, n), *w = out;

	for (const char *r = out; *r; r++)
		if (*r != '"')
			*w++ = *r;
	*w = 0;
	return out;
}

static void add(struct cmdline *c, const char *s, size_t n)
{
	const char *eq = memchr(s, '=', n);
	size_t name = eq ? (size_t)(eq - s) : n;
	struct cmd_token *t;

	if (!(c->n & (c->n + 1))) {
		c->token = realloc(c->token, (2 * c->n + 2) * sizeof(*t));
		if (!c->token)
			abort();
	}
	t = &c->token[c->n++];
	t->name = unquoted(s, name);
	t->value = eq ? unquoted(eq + 1, n - name - 1) : NULL;
	for (char *p = t->name; *p; p++)
		if (*p == '-')
			*p = '_';
}

void cmdline_parse(struct cmdline *c, const char *text)
{
	memset(c, 0, sizeof(*c));
	while (*text) {
		bool quoted = false;
		const char *s;

		text += strspn(text, " \t\n\r");
		for (s = text; *text && (quoted || !strchr(" \t\n\r", *text)); text++)
			if (*text == '"')
				quoted = !quoted;
		if (text - s == 2 && !memcmp(s, "--", 2))
			return;
		if (text > s)
			add(c, s, (size_t)(text - s));
	}
}

void cmdline_free(struct cmdline *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->token[i].name);
		free(c->token[i].value);
	}
	free(c->token);
	memset(c, 0, sizeof(*c));
}

const char *cmdline_get(const struct cmdline *c, const char *name)
{
	for (size_t i = c->n; i-- > 0;)
		if (!strcmp(c->token[i].name, name))
			return c->token[i].value ? c->token[i].value : "";
	return NULL;
}

const char *cmdline_item_value(const struct cmdline *c, const char *name, const char *item)
{
	size_t len = strlen(item);

	for (size_t i = 0; i < c->n; i++) {
		const char *v = c->token[i].value;

		if (!v || strcmp(c->token[i].name, name))
			continue;
		for (; v; v = strchr(v, ',') ? strchr(v, ',') + 1 : NULL)
			if (!strncmp(v, item, len) && (!v[len] || v[len] == ',' || v[len] == '='))
				return v[len] == '=' ? v + len + 1 : v + len;
	}
	return NULL;
}

bool cmdline_has_item(const struct cmdline *c, const char *name, const char *item)
{
	return cmdline_item_value(c, name, item) != NULL;
}

void boot_free(struct boot *b)
{
	for (size_t i = 0; i < b->n; i++)
		cmdline_free(&b->p[i].cmd);
}
