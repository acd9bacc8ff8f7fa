/* SPDX-License-Identifier: Apache-2.0 */
/* What every target needs: the entry libFuzzer calls, an assertion, and the input read as choices. */
#ifndef VGPU_FUZZ_H
#define VGPU_FUZZ_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MUST(c)                                                                 \
	do {                                                                    \
		if (!(c)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c); \
			abort();                                                \
		}                                                               \
	} while (0)

/* The input from its beginning on; zeros after its end. */
struct choices {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t choose(struct choices *c)
{
	if (!c->left)
		return 0;
	c->left--;
	return *c->at++;
}

static inline uint64_t choose_bytes(struct choices *c, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)choose(c) << (8 * i);
	return v;
}

/* Up to n of the remaining bytes; their number. */
static inline size_t choose_into(struct choices *c, void *to, size_t n)
{
	size_t k = n < c->left ? n : c->left;

	if (k)
		memcpy(to, c->at, k);
	c->at += k;
	c->left -= k;
	return k;
}
#endif
