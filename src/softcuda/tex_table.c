/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Textures by handle: (generation << 32 | index + 1). A handle outlives its texture harmlessly:
 * the generation no longer fits, and sampling it is an error instead of someone else's image.
 */
#include <pthread.h>
#include "softcuda/engine.h"
#include "softcuda/engine_err.h"

enum { MAX_TEXTURES = 16384 };

struct slot {
	struct sc_texture tex;
	uint32_t generation; /* odd while live */
	uint32_t next_free;  /* index + 1, 0 = none */
};

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct slot table[MAX_TEXTURES];
static uint32_t used, first_free;

uint64_t sc_tex_create(const struct sc_texture *t)
{
	uint64_t handle = 0;
	pthread_rwlock_wrlock(&lock);
	uint32_t i = MAX_TEXTURES;
	if (first_free) {
		i = first_free - 1;
		first_free = table[i].next_free;
	} else if (used < MAX_TEXTURES) {
		i = used++;
	}
	if (i < MAX_TEXTURES) {
		table[i].tex = *t;
		table[i].generation++;
		handle = (uint64_t)table[i].generation << 32 | (i + 1);
	}
	pthread_rwlock_unlock(&lock);
	return handle;
}

static struct slot *find(uint64_t handle)
{
	uint64_t i = (handle & 0xffffffffu) - 1;
	if (i >= used || table[i].generation != handle >> 32 || !(table[i].generation & 1))
		return NULL;
	return &table[i];
}

int sc_tex_destroy(uint64_t handle)
{
	int rc = SC_INVALID_VALUE;
	pthread_rwlock_wrlock(&lock);
	struct slot *s = find(handle);
	if (s) {
		s->generation++;
		s->next_free = first_free;
		first_free = (uint32_t)(s - table) + 1;
		rc = SC_OK;
	}
	pthread_rwlock_unlock(&lock);
	return rc;
}

bool sc_tex_get(uint64_t handle, struct sc_texture *out)
{
	pthread_rwlock_rdlock(&lock);
	struct slot *s = find(handle);
	if (s)
		*out = s->tex;
	pthread_rwlock_unlock(&lock);
	return s != NULL;
}
