/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include "executor/handles.h"

#define INDEX_BITS 20u
#define GENERATION_MAX ((1u << (32 - INDEX_BITS)) - 1)

static bool bound_to_ctx(enum obj_kind kind)
{
	return kind == OBJ_STREAM || kind == OBJ_FUNC || kind == OBJ_MODULE || kind == OBJ_ARRAY;
}

static struct obj *slot(struct obj_table *t, uint32_t index)
{
	struct obj *chunk = atomic_load_explicit(&t->chunk[index / OBJ_CHUNK], memory_order_acquire);

	return chunk ? &chunk[index % OBJ_CHUNK] : NULL;
}

void handles_init(struct handles *h)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
}

void handles_free(struct handles *h)
{
	for (unsigned k = 0; k < OBJ_KINDS; k++)
		for (unsigned c = 0; c < OBJ_MAX / OBJ_CHUNK; c++) {
			struct obj *chunk = h->table[k].chunk[c];

			for (unsigned i = 0; chunk && i < OBJ_CHUNK; i++)
				free(chunk[i].data);
			free(chunk);
		}
	pthread_mutex_destroy(&h->lock);
}

static struct obj *take_slot(struct obj_table *t, uint32_t *index)
{
	/* A freed slot waits until a chunk's worth of others is free too. */
	if (t->free_head && (t->used == OBJ_MAX || t->used % OBJ_CHUNK == 0)) {
		struct obj *o = slot(t, *index = t->free_head - 1);

		t->free_head = o->next_free;
		if (!t->free_head)
			t->free_tail = 0;
		return o;
	}
	if (t->used == OBJ_MAX)
		return NULL;
	*index = t->used;
	if (!t->chunk[*index / OBJ_CHUNK]) {
		struct obj *chunk = calloc(OBJ_CHUNK, sizeof(*chunk));

		if (!chunk)
			return NULL;
		atomic_store_explicit(&t->chunk[*index / OBJ_CHUNK], chunk, memory_order_release);
	}
	t->used++;
	return slot(t, *index);
}

struct obj *obj_add(struct handles *h, enum obj_kind kind, uint32_t ctx, void *real)
{
	return obj_add_with(h, kind, ctx, real, 0, 0, NULL);
}

struct obj *obj_add_with(struct handles *h, enum obj_kind kind, uint32_t ctx, void *real, uint32_t parent,
			 uint64_t bytes, void *data)
{
	uint32_t index = 0;
	struct obj *o;

	pthread_mutex_lock(&h->lock);
	o = take_slot(&h->table[kind], &index);
	if (o) {
		o->generation = o->generation % GENERATION_MAX + 1;
		o->ctx = ctx;
		o->parent = parent;
		o->real = real;
		o->bytes = bytes;
		o->implicit = 0;
		o->local = 0;
		o->data = data;
		atomic_store_explicit(&o->handle, o->generation << INDEX_BITS | (index + 1),
				      memory_order_release);
	}
	pthread_mutex_unlock(&h->lock);
	return o;
}

struct obj *obj_get(struct handles *h, enum obj_kind kind, uint32_t handle, uint32_t ctx)
{
	uint32_t index = (handle & ((1u << INDEX_BITS) - 1)) - 1;
	struct obj *o;

	if (!handle)
		return kind == OBJ_STREAM ? &h->legacy : NULL;
	if (index >= OBJ_MAX)
		return NULL;
	o = slot(&h->table[kind], index);
	if (!o || atomic_load_explicit(&o->handle, memory_order_acquire) != handle)
		return NULL;
	return ctx && bound_to_ctx(kind) && o->ctx != ctx ? NULL : o;
}

bool obj_claim(struct obj *o, uint32_t handle)
{
	return handle && atomic_compare_exchange_strong(&o->handle, &handle, 0);
}

void obj_release(struct handles *h, enum obj_kind kind, struct obj *o, uint32_t handle)
{
	struct obj_table *t = &h->table[kind];
	uint32_t index = (handle & ((1u << INDEX_BITS) - 1)) - 1;

	pthread_mutex_lock(&h->lock);
	free(o->data);
	o->data = NULL;
	o->next_free = 0;
	if (t->free_tail)
		slot(t, t->free_tail - 1)->next_free = index + 1;
	else
		t->free_head = index + 1;
	t->free_tail = index + 1;
	pthread_mutex_unlock(&h->lock);
}

void obj_remove(struct handles *h, enum obj_kind kind, struct obj *o)
{
	uint32_t handle = obj_handle(o);

	if (obj_claim(o, handle))
		obj_release(h, kind, o, handle);
}

void obj_each(struct handles *h, enum obj_kind kind, void (*fn)(void *arg, struct obj *o), void *arg)
{
	struct obj_table *t = &h->table[kind];

	for (uint32_t i = 0; i < t->used; i++) {
		struct obj *o = slot(t, i);

		if (o && obj_handle(o))
			fn(arg, o);
	}
}
