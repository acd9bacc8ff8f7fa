/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "softcuda/ptx_int.h"

void parse_abort(struct parser *pp, enum ptx_status why)
{
	if (why != PTX_OK)
		pp->status = why;
	longjmp(pp->abort, 1);
}

void vec_room(struct parser *pp, void **v, uint32_t *cap, uint32_t n, size_t elem)
{
	if (n < *cap)
		return;
	uint64_t want = *cap ? *cap * 2ull : 16;
	if (want * elem > PTX_MAX_ARENA || want > UINT32_MAX)
		parse_abort(pp, PTX_ERR_MEMORY);
	void *grown = realloc(*v, want * elem);
	if (!grown)
		parse_abort(pp, PTX_ERR_MEMORY);
	*v = grown;
	*cap = (uint32_t)want;
}

void *take(struct parser *pp, uint64_t bytes)
{
	void *p = arena_alloc(pp->arena, bytes ? bytes : 1);
	if (!p)
		parse_abort(pp, PTX_ERR_MEMORY);
	return p;
}

char *take_name(struct parser *pp, const char *s, uint32_t len)
{
	char *name = take(pp, (uint64_t)len + 1);
	memcpy(name, s, len);
	return name;
}

__attribute__((format(printf, 2, 0))) static void log_v(struct ptx_log *log, const char *fmt, va_list ap)
{
	if (!log || !log->buf || log->len + 1 >= log->cap)
		return;
	int n = vsnprintf(log->buf + log->len, log->cap - log->len, fmt, ap);
	if (n > 0)
		log->len = (size_t)n < log->cap - log->len ? log->len + (size_t)n : log->cap - 1;
}

__attribute__((format(printf, 2, 3))) static void log_f(struct ptx_log *log, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_v(log, fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 5, 0))) static void message(struct parser *pp, int line, int col, const char *kind, const char *fmt, va_list ap)
{
	log_f(pp->log, "ptx line %d, column %d: %s: ", line, col, kind);
	log_v(pp->log, fmt, ap);
	log_f(pp->log, "\n");
	if (++pp->errors < PTX_MAX_ERRORS)
		return;
	log_f(pp->log, "ptx line %d, column %d: error: %d errors, giving up\n", line, col, PTX_MAX_ERRORS);
	parse_abort(pp, PTX_OK);
}

bool error_at(struct parser *pp, int line, int col, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (pp->status != PTX_ERR_VERSION)
		pp->status = PTX_ERR_SYNTAX;
	message(pp, line, col, "error", fmt, ap);
	va_end(ap);
	return false;
}

bool error_tok(struct parser *pp, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (pp->status != PTX_ERR_VERSION)
		pp->status = PTX_ERR_SYNTAX;
	message(pp, pp->t.line, pp->t.col, "error", fmt, ap);
	va_end(ap);
	return false;
}

bool unsupported(struct parser *pp, int line, int col, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (pp->status == PTX_OK)
		pp->status = PTX_ERR_UNSUPPORTED;
	message(pp, line, col, "not supported", fmt, ap);
	va_end(ap);
	return false;
}

const char *tok_text(const struct tok *t, char buf[48])
{
	if (t->kind == T_EOF)
		return strcpy(buf, "end of text");
	if (t->kind == T_BAD && t->len == 0)
		return strcpy(buf, "comment or string without end");
	uint32_t n = t->len < 40 ? t->len : 40, o = 0;
	if (t->kind == T_DOT)
		buf[o++] = '.';
	for (uint32_t i = 0; i < n; i++)
		buf[o++] = t->s[i] >= ' ' && t->s[i] < 127 ? t->s[i] : '?';
	if (n < t->len) {
		memcpy(buf + o, "...", 3);
		o += 3;
	}
	buf[o] = 0;
	return buf;
}

bool expect(struct parser *pp, int c, const char *after)
{
	if (accept(pp, c))
		return true;
	char b[48];
	return error_tok(pp, "expected '%c' %s, found '%s'", c, after, tok_text(&pp->t, b));
}

void skip_statement(struct parser *pp)
{
	unsigned depth = 0;
	for (; pp->t.kind != T_EOF; advance(pp)) {
		if (at(pp, '{'))
			depth++;
		else if (at(pp, '}') && depth-- == 0)
			return;
		else if (at(pp, ';') && depth == 0) {
			advance(pp);
			return;
		}
	}
}
