/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "softcuda/ptx_int.h"

/* Small objects share chunks; a large one has its own, so that untouched zero pages stay unmapped. */
#define CHUNK (256u << 10)
#define LARGE (64u << 10)

struct chunk { struct chunk *next; uint64_t pad; };
struct arena { struct chunk *chunks; char *p, *end; uint64_t used, limit; };

struct arena *arena_new(uint64_t limit)
{
	struct arena *a = calloc(1, sizeof *a);
	if (a)
		a->limit = limit;
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	for (struct chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

static char *new_chunk(struct arena *a, uint64_t bytes)
{
	if (bytes > a->limit - a->used)
		return NULL;
	struct chunk *c = calloc(1, sizeof *c + bytes);
	if (!c)
		return NULL;
	a->used += bytes;
	c->next = a->chunks;
	a->chunks = c;
	return (char *)(c + 1);
}

void *arena_alloc(struct arena *a, uint64_t bytes)
{
	if (bytes > a->limit)
		return NULL;
	bytes = (bytes + 15) & ~15ull;
	if (bytes >= LARGE)
		return new_chunk(a, bytes);
	if ((uint64_t)(a->end - a->p) < bytes) {
		char *c = new_chunk(a, CHUNK);
		if (!c)
			return NULL;
		a->p = c;
		a->end = c + CHUNK;
	}
	void *r = a->p;
	a->p += bytes;
	return r;
}
