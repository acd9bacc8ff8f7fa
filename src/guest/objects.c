/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include "guest/guest.h"

#define CHUNK 256u
#define CHUNKS 4096u /* about a million objects */
#define GENERATIONS (1u << 19)

static struct gobj *_Atomic chunks[CHUNKS];
static uint32_t used;
static struct gobj *free_head, *free_tail;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* kind 43..46, generation 24..42, index 4..23 */
static uintptr_t make(enum gkind kind, uint32_t generation, uint32_t index)
{
	return (uintptr_t)kind << 43 | (uintptr_t)generation << 24 | (uintptr_t)index << 4;
}

static struct gobj *take(uint32_t *index)
{
	struct gobj *o;

	if (free_head && used % CHUNK == 0) {
		o = free_head;
		free_head = o->next;
		if (!free_head)
			free_tail = NULL;
		*index = o->wire;
		return o;
	}
	if (used == CHUNK * CHUNKS)
		return NULL;
	if (!chunks[used / CHUNK]) {
		struct gobj *c = calloc(CHUNK, sizeof(*c));

		if (!c)
			return NULL;
		atomic_store(&chunks[used / CHUNK], c);
	}
	*index = used++;
	return &chunks[*index / CHUNK][*index % CHUNK];
}

struct gobj *g_new(enum gkind kind, struct gobj *ctx, uint32_t wire)
{
	uint32_t index, generation;
	struct gobj *o;

	pthread_mutex_lock(&lock);
	o = take(&index);
	if (o) {
		generation = o->generation % (GENERATIONS - 1) + 1;
		memset(o, 0, sizeof(*o));
		o->generation = generation;
		o->kind = kind;
		o->ctx = ctx;
		o->wire = wire;
		atomic_store_explicit(&o->self, make(kind, generation, index), memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return o;
}

struct gobj *g_get(enum gkind kind, const void *handle)
{
	uintptr_t h = (uintptr_t)handle;
	uint32_t index = (h >> 4) & 0xfffff;
	struct gobj *c;

	if (h >> 43 != (uintptr_t)kind)
		return NULL;
	c = atomic_load_explicit(&chunks[index / CHUNK], memory_order_acquire);
	if (!c || atomic_load_explicit(&c[index % CHUNK].self, memory_order_acquire) != h)
		return NULL;
	return &c[index % CHUNK];
}

static void drop_locked(struct gobj *o)
{
	uint32_t index = (atomic_load(&o->self) >> 4) & 0xfffff;

	if (!atomic_exchange(&o->self, 0))
		return;
	if (o->kind == G_FUNC) {
		free(o->func.name);
		free(o->func.meta);
		free(o->func.old);
	} else if (o->kind == G_KERNEL) {
		free(o->kernel.name);
	} else if (o->kind == G_LIBRARY) {
		free(o->library.image);
	} else if (o->kind == G_TEXREF) {
		free(o->texref.state);
	} else if (o->kind == G_LINK) {
		free(o->link.logs);
		free(o->link.cubin);
	}
	o->wire = index;
	o->next = NULL;
	if (free_tail)
		free_tail->next = o;
	else
		free_head = o;
	free_tail = o;
}

void g_drop(struct gobj *o)
{
	pthread_mutex_lock(&lock);
	drop_locked(o);
	pthread_mutex_unlock(&lock);
}

void g_drop_ctx(struct gobj *ctx)
{
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < used; i++) {
		struct gobj *o = &chunks[i / CHUNK][i % CHUNK];

		if (atomic_load(&o->self) && o->ctx == ctx)
			drop_locked(o);
	}
	pthread_mutex_unlock(&lock);
}
