/* SPDX-License-Identifier: Apache-2.0 */
/* Text to tokens. Looks at most one token ahead, never behind; a NUL ends the text. */
#include <stdlib.h>
#include <string.h>
#include "softcuda/ptx_int.h"

enum { C_SPACE = 1, C_WORD = 2, C_DIGIT = 4, C_HEX = 8, C_START = 16 };
static const uint8_t cls[256] = {
	[' '] = C_SPACE, ['\t'] = C_SPACE, ['\r'] = C_SPACE, ['\n'] = C_SPACE, ['\f'] = C_SPACE, ['\v'] = C_SPACE,
	['0' ... '9'] = C_WORD | C_DIGIT | C_HEX, ['a' ... 'f'] = C_WORD | C_HEX | C_START, ['A' ... 'F'] = C_WORD | C_HEX | C_START,
	['g' ... 'z'] = C_WORD | C_START, ['G' ... 'Z'] = C_WORD | C_START, ['_'] = C_WORD | C_START, ['$'] = C_WORD | C_START, ['%'] = C_START,
};

void lex_init(struct lexer *l, const char *text, size_t len)
{
	const char *nul = memchr(text, 0, len);
	*l = (struct lexer){ .p = text, .end = nul ? nul : text + len, .line_start = text, .line = 1 };
}

static inline int peek(const struct lexer *l, unsigned i)
{
	return (size_t)(l->end - l->p) > i ? (unsigned char)l->p[i] : 0;
}

static inline bool is(const struct lexer *l, unsigned i, int c) { return cls[peek(l, i)] & c; }

static void newline(struct lexer *l)
{
	l->line++;
	l->line_start = l->p;
}

/* Returns false on a comment without end. */
static bool skip_blank(struct lexer *l)
{
	for (;;) {
		int c = peek(l, 0);
		if (c == '\n') {
			l->p++;
			newline(l);
		} else if (cls[c] & C_SPACE) {
			l->p++;
		} else if (c == '/' && peek(l, 1) == '/') {
			const char *nl = memchr(l->p, '\n', l->end - l->p);
			l->p = nl ? nl : l->end;
		} else if (c == '/' && peek(l, 1) == '*') {
			for (l->p += 2; l->p < l->end && !(l->p[0] == '*' && peek(l, 1) == '/');)
				if (*l->p++ == '\n')
					newline(l);
			if (l->p >= l->end)
				return false;
			l->p += 2;
		} else {
			return true;
		}
	}
}

/* 0f and 0d: the bits of a float in exactly 8 or 16 hexadecimal digits. */
static bool lex_float_bits(struct lexer *l, struct tok *t)
{
	int kind = peek(l, 1) | 32;
	unsigned digits = kind == 'f' ? 8 : 16;
	if (peek(l, 0) != '0' || (kind != 'f' && kind != 'd'))
		return false;
	uint64_t u = 0;
	for (unsigned i = 0; i < digits; i++) {
		int c = peek(l, 2 + i);
		if (!(cls[c] & C_HEX))
			return false;
		u = u << 4 | (unsigned)((cls[c] & C_DIGIT) ? c - '0' : (c | 32) - 'a' + 10);
	}
	if (is(l, 2 + digits, C_WORD))
		return false;
	t->kind = T_FLOAT;
	t->u = u; /* with is_unsigned: the bits of an f32, which a double could not carry through a NaN */
	t->is_unsigned = kind == 'f';
	if (kind == 'f') {
		uint32_t w = (uint32_t)u;
		float f;
		memcpy(&f, &w, 4);
		t->d = f;
	} else {
		memcpy(&t->d, &u, 8);
	}
	l->p += 2 + digits;
	return true;
}

/* Decimal floats: digits '.' digits [e[+-]digits]. */
static bool lex_decimal_float(struct lexer *l, struct tok *t)
{
	unsigned i = 0;
	while (is(l, i, C_DIGIT))
		i++;
	bool dot = peek(l, i) == '.' && is(l, i + 1, C_DIGIT);
	if (dot)
		for (i++; is(l, i, C_DIGIT);)
			i++;
	bool dangling = !dot && peek(l, i) == '.' && !is(l, i + 1, C_WORD);
	if (dangling)
		i++;
	unsigned e = 0;
	if ((peek(l, i) | 32) == 'e') {
		e = i + 1;
		if (peek(l, e) == '+' || peek(l, e) == '-')
			e++;
		if (!is(l, e, C_DIGIT))
			e = 0;
	}
	if (!dot && !dangling && !e)
		return false;
	if (e)
		for (i = e; is(l, i, C_DIGIT);)
			i++;
	char buf[128];
	if (i >= sizeof buf || is(l, i, C_WORD))
		return false;
	memcpy(buf, l->p, i);
	buf[i] = 0;
	t->kind = T_FLOAT;
	t->d = strtod(buf, NULL); /* the process's C locale: libraries do not call setlocale */
	memcpy(&t->u, &t->d, 8);
	l->p += i;
	return true;
}

static void lex_int(struct lexer *l, struct tok *t)
{
	unsigned base = 10, i = 0;
	if (peek(l, 0) == '0') {
		int x = peek(l, 1) | 32;
		if (x == 'x' && is(l, 2, C_HEX))
			base = 16, i = 2;
		else if (x == 'b' && (peek(l, 2) == '0' || peek(l, 2) == '1'))
			base = 2, i = 2;
		else if (is(l, 1, C_DIGIT))
			base = 8, i = 1;
	}
	uint64_t u = 0;
	bool ok = true;
	for (; is(l, i, C_HEX); i++) {
		int c = peek(l, i);
		unsigned d = (cls[c] & C_DIGIT) ? c - '0' : (c | 32) - 'a' + 10;
		if (d >= base)
			break;
		ok &= !__builtin_mul_overflow(u, (uint64_t)base, &u) && !__builtin_add_overflow(u, (uint64_t)d, &u);
	}
	if (peek(l, i) == 'U' || peek(l, i) == 'u')
		i++, t->is_unsigned = true;
	t->is_unsigned |= u > INT64_MAX;
	t->u = u;
	t->kind = ok && !is(l, i, C_WORD) ? T_INT : T_BAD;
	while (is(l, i, C_WORD))
		i++;
	l->p += i;
}

static void lex_punct(struct lexer *l, struct tok *t)
{
	static const struct { char s[3]; int op; } two[] = { { "<<", OP_SHL }, { ">>", OP_SHR }, { "<=", OP_LE }, { ">=", OP_GE },
		{ "==", OP_EQ }, { "!=", OP_NE }, { "&&", OP_ANDAND }, { "||", OP_OROR } };
	t->kind = T_PUNCT;
	t->c = peek(l, 0);
	for (unsigned i = 0; i < sizeof two / sizeof *two; i++)
		if (t->c == two[i].s[0] && peek(l, 1) == two[i].s[1]) {
			t->c = two[i].op;
			l->p++;
			break;
		}
	l->p++;
	if (t->c < 256 && !strchr("{}()[];:,<>=+-*/%&|^~!?@", t->c))
		t->kind = T_BAD;
}

static void lex_dot(struct lexer *l, struct tok *t)
{
	t->kind = T_DOT;
	l->p++;
	t->s = l->p;
	while (is(l, 0, C_WORD) || (peek(l, 0) == ':' && peek(l, 1) == ':' && is(l, 2, C_WORD)))
		l->p += is(l, 0, C_WORD) ? 1 : 2;
}

static void lex_string(struct lexer *l, struct tok *t)
{
	t->s = ++l->p;
	while (l->p < l->end && *l->p != '"' && *l->p != '\n')
		l->p += *l->p == '\\' && l->p + 1 < l->end && l->p[1] != '\n' ? 2 : 1;
	t->kind = l->p < l->end && *l->p == '"' ? T_STRING : T_BAD;
	t->len = (uint32_t)(l->p - t->s);
	if (t->kind == T_STRING)
		l->p++;
}

void lex_next(struct lexer *l, struct tok *t)
{
	const char *before = l->p;
	bool closed = skip_blank(l);
	t->glued = l->p == before;
	t->line = l->line;
	t->col = (int)(l->p - l->line_start) + 1;
	t->s = l->p;
	t->is_unsigned = false;
	t->len = 0;
	int c = peek(l, 0);
	if (l->p >= l->end) {
		t->kind = closed ? T_EOF : T_BAD;
		return;
	}
	if (c == '.') {
		lex_dot(l, t);
	} else if (c == '"') {
		lex_string(l, t);
		return;
	} else if (cls[c] & C_DIGIT) {
		if (!lex_float_bits(l, t) && !lex_decimal_float(l, t))
			lex_int(l, t);
	} else if ((cls[c] & C_START) && (c != '%' || is(l, 1, C_WORD))) {
		t->kind = T_IDENT;
		for (l->p++; l->p < l->end && (cls[(unsigned char)*l->p] & C_WORD);)
			l->p++;
	} else {
		lex_punct(l, t);
	}
	t->len = (uint32_t)(l->p - t->s);
}
