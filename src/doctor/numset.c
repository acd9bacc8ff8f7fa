/* SPDX-License-Identifier: Apache-2.0 */
#include "numset.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (NUMSET_MAX / 64)

void numset_add(struct numset *s, unsigned n)
{
	if (n < NUMSET_MAX)
		s->w[n / 64] |= 1ull << (n % 64);
}

static bool number(const char **p, unsigned long *n)
{
	char *end;

	if (!isdigit((uint8_t)**p))
		return false;
	*n = strtoul(*p, &end, 10);
	*p = end;
	return *n < NUMSET_MAX;
}

bool numset_parse(struct numset *s, const char *text)
{
	memset(s, 0, sizeof(*s));
	while (*text) {
		bool without = *text == '^';
		unsigned long a, b;

		text += without;
		if (!number(&text, &a))
			return false;
		b = a;
		if (*text == '-' && (text++, !number(&text, &b)))
			return false;
		if (b < a)
			return false;
		for (; a <= b; a++)
			if (without)
				s->w[a / 64] &= ~(1ull << (a % 64));
			else
				numset_add(s, (unsigned)a);
		if (*text == ',' && text[1])
			text++;
		else if (*text)
			return false;
	}
	return true;
}

unsigned numset_count(const struct numset *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WORDS; i++)
		n += (unsigned)__builtin_popcountll(s->w[i]);
	return n;
}

bool numset_has(const struct numset *s, unsigned n)
{
	return n < NUMSET_MAX && (s->w[n / 64] >> (n % 64) & 1);
}

bool numset_subset(const struct numset *a, const struct numset *of)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (a->w[i] & ~of->w[i])
			return false;
	return true;
}

bool numset_meets(const struct numset *a, const struct numset *b)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (a->w[i] & b->w[i])
			return true;
	return false;
}
