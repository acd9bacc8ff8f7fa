/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/footprint.h"
#include "cuda/fatbin.h"
#include <ctype.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

struct count {
	struct cuda_footprint sum;
	cuda_variable_fn *fn;
	void *ctx;
};

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

/* ---- PTX: words and single characters, comments and strings left out ---- */

#define WORD_MAX 1024u /* longest name of PTX, roughly; longer ones are cut, the driver then finds none */

struct lex {
	const char *at, *end;
	char word[WORD_MAX]; /* the token: a word, or one character */
};

static void skip_to(struct lex *l, const char *what, size_t n)
{
	const char *p = memmem(l->at, (size_t)(l->end - l->at), what, n);

	l->at = p ? p + n : l->end;
}

static void skip_blanks(struct lex *l)
{
	while (l->at < l->end) {
		if (isspace((unsigned char)*l->at))
			l->at++;
		else if (l->end - l->at >= 2 && !memcmp(l->at, "//", 2))
			skip_to(l, "\n", 1);
		else if (l->end - l->at >= 2 && !memcmp(l->at, "/*", 2))
			l->at += 2, skip_to(l, "*/", 2);
		else if (*l->at == '"')
			l->at++, skip_to(l, "\"", 1);
		else
			return;
	}
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '$' || c == '%';
}

static bool next(struct lex *l)
{
	size_t n = 0;

	skip_blanks(l);
	if (l->at == l->end)
		return false;
	if (!in_word(*l->at))
		l->word[n++] = *l->at++;
	else
		for (; l->at < l->end && in_word(*l->at); l->at++)
			if (n + 1 < WORD_MAX)
				l->word[n++] = *l->at;
	l->word[n] = 0;
	return true;
}

static bool is(const struct lex *l, const char *s)
{
	return !strcmp(l->word, s);
}

/* ".u32" is 4 bytes; 0: not a type. */
static uint64_t type_size(const char *w)
{
	static const struct {
		const char *name;
		unsigned size;
	} whole[] = {{".texref", 8}, {".samplerref", 8}, {".surfref", 8}, {".f16x2", 4}, {".bf16", 2}, {".bf16x2", 4},
		     {".tf32", 4}, {".e4m3x2", 2}, {".e5m2x2", 2}};
	unsigned long bits;
	char *end;

	for (unsigned i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (!strcmp(w, whole[i].name))
			return whole[i].size;
	if (w[0] != '.' || !w[1] || !strchr("busf", w[1]))
		return 0;
	bits = strtoul(w + 2, &end, 10);
	return *end || end == w + 2 || bits < 8 || bits > 128 ? 0 : bits / 8;
}

/* The element's size from what stands between ".global" and the name, which is then the token. 0: no variable. */
static uint64_t declared_type(struct lex *l)
{
	uint64_t size = 0, lanes = 1;

	while (next(l)) {
		uint64_t t = type_size(l->word);

		if (is(l, ".align")) {
			if (!next(l))
				return 0;
		} else if (is(l, ".attribute")) {
			while (next(l) && !is(l, ")"))
				;
		} else if (l->word[0] == '.' && l->word[1] == 'v' && isdigit((unsigned char)l->word[2])) {
			lanes = (uint64_t)(l->word[2] - '0');
		} else if (t) {
			size = t;
		} else {
			return isalpha((unsigned char)l->word[0]) || strchr("_$%", l->word[0]) ? multiply(size, lanes) : 0;
		}
	}
	return 0;
}

/* Of one dimension, after its "[". false: an expression, or none is written. */
static bool dimension(struct lex *l, uint64_t *n)
{
	bool plain = next(l) && isdigit((unsigned char)l->word[0]);
	char *end = l->word;

	if (plain)
		*n = strtoull(l->word, &end, 0);
	plain = plain && (!*end || !strcmp(end, "U") || !strcmp(end, "u"));
	while (!is(l, "]")) {
		if (!next(l))
			return false;
		plain = plain && is(l, "]");
	}
	return plain;
}

/* The dimensions, and past the initialiser to "," or ";", which is then the token. */
static uint64_t elements(struct lex *l, bool *exact)
{
	uint64_t count = 1, values = 0;

	while (next(l) && !is(l, ";")) {
		uint64_t n = 1;

		if (is(l, "[")) {
			if (!dimension(l, &n))
				*exact = false;
			count = multiply(count, n);
		} else if (is(l, ",")) {
			break;
		} else if (is(l, "{")) {
			for (unsigned depth = 1; depth && next(l);) {
				depth += is(l, "{");
				depth -= is(l, "}");
				values++;
			}
		}
	}
	return count > values ? count : values;
}

static void variables(struct lex *l, struct count *c)
{
	uint64_t size = declared_type(l);

	while (size) {
		char name[WORD_MAX];

		memcpy(name, l->word, sizeof(name));
		c->sum.bytes = add(c->sum.bytes, multiply(size, elements(l, &c->sum.exact)));
		if (c->fn)
			c->fn(c->ctx, name);
		if (!is(l, ",") || !next(l))
			return;
	}
}

static void count_ptx(struct count *c, const char *text, size_t len)
{
	struct lex *l = malloc(sizeof(*l));
	bool external = false, pointer = false;

	c->sum.bytes = add(c->sum.bytes, len);
	if (!l) {
		c->sum.exact = false;
		return;
	}
	l->at = text;
	l->end = text + len;
	while (next(l)) {
		/* ".param .u64 .ptr .global .align 4 p" says where a parameter points. */
		if ((is(l, ".global") || is(l, ".const")) && !external && !pointer)
			variables(l, c);
		pointer = is(l, ".ptr");
		external = is(l, ".extern");
	}
	free(l);
}

/* ---- cubin ---- */

static void count_elf(struct count *c, const uint8_t *p, size_t len)
{
	uint64_t sum = 0;
	Elf64_Ehdr h;

	if (len < sizeof(h)) {
		c->sum.bytes = add(c->sum.bytes, len);
		return;
	}
	memcpy(&h, p, sizeof(h));
	for (uint64_t i = 0; h.e_shentsize == sizeof(Elf64_Shdr) && i < h.e_shnum; i++) {
		uint64_t at = add(h.e_shoff, i * sizeof(Elf64_Shdr));
		Elf64_Shdr s;

		if (at > len || len - at < sizeof(s))
			break;
		memcpy(&s, p + at, sizeof(s));
		if (s.sh_flags & SHF_ALLOC)
			sum = add(sum, s.sh_size);
	}
	c->sum.bytes = add(c->sum.bytes, sum ? sum : len);
}

/* ---- an image ---- */

static void count_one(void *arg, enum cuda_image_kind kind, const void *data, size_t len)
{
	struct count *all = arg, one = {.sum = {.exact = true}, .fn = all->fn, .ctx = all->ctx};

	if (kind == CUDA_IMAGE_PTX)
		count_ptx(&one, data, strnlen(data, len));
	else if (kind == CUDA_IMAGE_ELF)
		count_elf(&one, data, len);
	else
		one.sum.bytes = len;
	if (one.sum.bytes > all->sum.bytes)
		all->sum.bytes = one.sum.bytes;
	all->sum.exact &= one.sum.exact;
}

struct cuda_footprint cuda_image_footprint(const void *image, size_t len, cuda_variable_fn *fn, void *ctx)
{
	struct count c = {.sum = {.exact = true}, .fn = fn, .ctx = ctx};

	cuda_image_each(image, len, count_one, &c);
	return c.sum;
}
