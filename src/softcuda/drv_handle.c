// SPDX-License-Identifier: Apache-2.0
/* Handles: generation << 24 | index << 4 | kind. Never 0, 1 or 2, which mean something to CUDA. */
#include <stdlib.h>
#include <string.h>
#include "softcuda/drv.h"

#define INDEX_BITS 20
#define SLOTS	   (1u << INDEX_BITS)

static _Atomic(struct drv_obj *) slots[SLOTS]; /* 8 MiB of zero pages until used */
static struct {
	pthread_mutex_t lock;
	uint32_t used;
	struct drv_obj *idle[KIND_COUNT];
} table = { .lock = PTHREAD_MUTEX_INITIALIZER, .used = 1 };

static struct drv_obj *fresh(enum drv_kind kind, size_t size)
{
	struct drv_obj *o = NULL;
	if (table.used < SLOTS && (o = calloc(1, size))) {
		o->kind = kind;
		o->index = table.used++;
		atomic_store(&slots[o->index], o);
	}
	return o;
}

void *drv_obj_new(enum drv_kind kind, size_t size)
{
	pthread_mutex_lock(&table.lock);
	struct drv_obj *o = table.idle[kind];
	if (o)
		table.idle[kind] = o->next;
	else
		o = fresh(kind, size);
	pthread_mutex_unlock(&table.lock);
	if (!o)
		return NULL;
	memset(o + 1, 0, size - sizeof *o);
	o->next = NULL;
	atomic_fetch_add(&o->generation, 1);
	return o;
}

void drv_obj_free(void *obj)
{
	struct drv_obj *o = obj;
	atomic_fetch_add(&o->generation, 1);
	pthread_mutex_lock(&table.lock);
	o->next = table.idle[o->kind];
	table.idle[o->kind] = o;
	pthread_mutex_unlock(&table.lock);
}

void *drv_obj_get(enum drv_kind kind, const void *handle)
{
	uint64_t h = (uintptr_t)handle;
	uint32_t generation = h >> 24;
	if ((h & 15) != kind || !(generation & 1) || h >> 56)
		return NULL;
	struct drv_obj *o = atomic_load_explicit(&slots[h >> 4 & (SLOTS - 1)], memory_order_acquire);
	if (!o || o->kind != kind || atomic_load_explicit(&o->generation, memory_order_acquire) != generation)
		return NULL;
	return o;
}

void *drv_obj_handle(const void *obj)
{
	const struct drv_obj *o = obj;
	uint64_t generation = atomic_load_explicit(&((struct drv_obj *)o)->generation, memory_order_relaxed);
	return (void *)(uintptr_t)(generation << 24 | (uint64_t)o->index << 4 | o->kind);
}
