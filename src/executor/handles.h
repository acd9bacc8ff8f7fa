/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the executor issued to its guest: (index, generation) handles, one table per kind.
 *
 * handle = generation << 20 | index + 1, never 0. Objects live in chunks that are never freed while
 * the executor serves, so a stale pointer reads a dead object, not freed memory. obj_get() takes no
 * lock; adding and removing do.
 */
#ifndef VGPU_EXECUTOR_HANDLES_H
#define VGPU_EXECUTOR_HANDLES_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum obj_kind { OBJ_CTX, OBJ_MODULE, OBJ_FUNC, OBJ_STREAM, OBJ_EVENT, OBJ_ARRAY, OBJ_IMAGE, OBJ_LINK, OBJ_TEXREF, OBJ_KINDS };

#define OBJ_CHUNK 256u
#define OBJ_MAX 65536u /* per kind: bounds what a guest can make the executor keep */

struct obj {
	_Atomic uint32_t handle; /* 0: free */
	uint32_t generation;
	uint32_t ctx;	    /* handle of the context it belongs to; 0 = none */
	uint32_t parent;    /* function: its module */
	uint32_t next_free; /* index + 1 */
	void *real;	    /* the driver's handle */
	uint64_t bytes;	    /* quota it holds; image: its size */
	void *data;	    /* kind's own, freed by obj_release() with free() */
	struct obj *chain;  /* of the claimer's */
	_Atomic uint64_t implicit; /* context: quota held by implicit.c */
	uint32_t flags;	    /* stream: as it was created */
	uint32_t local;	    /* context: bytes of local memory per thread paid for */
};

struct obj_table {
	struct obj *_Atomic chunk[OBJ_MAX / OBJ_CHUNK];
	uint32_t used;		   /* indexes ever handed out */
	uint32_t free_head, free_tail; /* oldest first, so that a generation comes round late */
};

struct handles {
	pthread_mutex_t lock;
	struct obj_table table[OBJ_KINDS];
	struct obj legacy; /* stream handle 0: the context's legacy default stream */
};

void handles_init(struct handles *h);
void handles_free(struct handles *h);
/* NULL when the table is full or memory is out; the caller then destroys `real`. */
struct obj *obj_add(struct handles *h, enum obj_kind kind, uint32_t ctx, void *real);
/* With these set before anybody can find it: a guest may guess the handle. data stays the caller's on NULL. */
struct obj *obj_add_with(struct handles *h, enum obj_kind kind, uint32_t ctx, void *real, uint32_t parent,
			 uint64_t bytes, void *data);
/* The live object, or NULL. With ctx != 0 a stream, function, module or array of another context is
 * none. */
struct obj *obj_get(struct handles *h, enum obj_kind kind, uint32_t handle, uint32_t ctx);
/* Two threads may be told to destroy one object: true for the one that shall. Nobody finds it any more; who
 * found it before may still use it (exec_grace()) until obj_release() frees data and slot. */
bool obj_claim(struct obj *o, uint32_t handle);
void obj_release(struct handles *h, enum obj_kind kind, struct obj *o, uint32_t handle);
/* Both, where nobody else can use it. `real` is the caller's. */
void obj_remove(struct handles *h, enum obj_kind kind, struct obj *o);
/* Calls fn for every live object of the kind; fn may remove that object. */
void obj_each(struct handles *h, enum obj_kind kind, void (*fn)(void *arg, struct obj *o), void *arg);

static inline uint32_t obj_handle(struct obj *o)
{
	return atomic_load_explicit(&o->handle, memory_order_relaxed);
}
#endif
