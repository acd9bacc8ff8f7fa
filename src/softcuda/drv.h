/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softcuda's libcuda.so.1: the CUDA driver API over the engine (engine.h). One file per theme, all
 * of them over this header. The library knows nothing of virtual machines.
 *
 * Environment:
 *   SOFTCUDA_DEVICES=N     number of devices, 0 to 8 (default 1)
 *   SOFTCUDA_MEMORY=SIZE   memory of each: bytes, or with K, M, G (default 4G, at most half of RAM)
 *   SOFTCUDA_THREADS=N     threads a kernel's blocks are spread over (default: CPUs)
 *   VGPU_LOG=debug         faults of kernels and unsupported calls on stderr
 *
 * Threads: all are made in cuInit (the engine's) and when a context is made (three: kernels, copies,
 * host functions); nothing is opened or executed later, so a caller may close its jail after that.
 *
 * Handles are not pointers: (generation, index, kind), see drv_handle.c. Objects are never returned
 * to the allocator, only to a list of their kind: a stale handle finds an object of the right type
 * with another generation, never foreign memory.
 *
 * Locks, in this order: drv.lock (contexts, modules, allocations), then the scheduler's (drv_queue.c).
 */
#ifndef SOFTCUDA_DRV_H
#define SOFTCUDA_DRV_H
#define CUDA_EXACT_NAMES
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "cuda/cuda.h"
#include "softcuda/engine.h"

#define DRV_MAX_DEVICES 8
#define DRV_SM		75 /* compute capability 7.5: the fewest features nvcc 13 still builds for */
#define DRV_SHARED_MAX	49152u
#define DRV_SHARED_OPTIN 65536u
#define DRV_PARAM_MAX	4096u /* bytes of kernel parameters before CUDA 12.1's 32,764; Volta and later */

enum drv_kind {
	KIND_CTX = 1, KIND_STREAM, KIND_EVENT, KIND_MODULE, KIND_FUNC, KIND_LIB, KIND_KERNEL,
	KIND_ARRAY, KIND_TEXREF, KIND_LINK, KIND_POOL, KIND_COUNT /* at most 16 */
};

struct drv_obj {
	enum drv_kind kind;
	uint32_t index;
	_Atomic uint32_t generation; /* odd while alive */
	struct drv_obj *next;	     /* free list */
};

/* A new object of size bytes, zero behind the header. NULL: no memory, or a million handles. */
void *drv_obj_new(enum drv_kind kind, size_t size);
void drv_obj_free(void *obj);
void *drv_obj_get(enum drv_kind kind, const void *handle); /* NULL: not a live handle of that kind */
void *drv_obj_handle(const void *obj);

struct drv_op;
struct drv_stream {
	struct drv_obj obj;
	struct drv_ctx *ctx;
	unsigned flags;
	int priority;
	uint64_t id;
	struct drv_op *last;	   /* newest op not yet done; scheduler's lock */
	unsigned pending;	   /* ops not yet done */
	bool dead;		   /* destroyed; given back when pending is 0 */
	struct drv_stream *next;   /* of ctx->streams */
	CUlaunchAttributeValue sync_policy;
};

enum drv_class { OP_COMPUTE, OP_COPY, OP_HOST, OP_WORKERS, OP_MARK = OP_WORKERS /* done when its turn comes */ };

struct drv_worker {
	pthread_t thread;
	struct drv_ctx *ctx;
	pthread_cond_t wake;
	struct drv_op *head, **tail; /* ready ops; scheduler's lock */
	atomic_uint ready;	     /* how many: what a spinning worker looks at */
	bool sleeping, started;
};

struct drv_ctx {
	struct drv_obj obj;
	int device;
	struct sc_device *sc;
	bool primary;
	unsigned flags;
	uint64_t id;
	atomic_int fault;	  /* sticky CUresult of an execution fault */
	atomic_int cancel;	  /* set to stop kernels when the context goes */
	atomic_bool stopping;
	struct drv_stream *legacy, *barrier; /* barrier: carries marks that order after everything */
	struct drv_stream *streams;	     /* all but barrier; scheduler's lock */
	unsigned pending;
	struct drv_worker worker[OP_WORKERS];
	size_t limit[CU_LIMIT_MAX];
	CUfunc_cache cache;
	CUsharedconfig shared_config;
	struct drv_module *modules; /* drv.lock */
	unsigned attached;	    /* cuCtxAttach counts */
};

struct drv_device {
	struct sc_device *sc;
	struct drv_ctx *primary;
	unsigned primary_refs, primary_flags;
	struct drv_pool *pool, *default_pool;
	unsigned threads;
	char name[64];
};
struct drv_pool {
	struct drv_obj obj;
	int device;
	bool is_default;
	uint64_t release_threshold, used, used_high;
	int reuse[3];
};
struct drv_global {
	pthread_mutex_t lock;
	atomic_bool ready;
	unsigned ndevices;
	struct drv_device device[DRV_MAX_DEVICES];
};
extern struct drv_global drv;

/* ---- current context (drv_ctx.c). Each returns a CUresult. */
int drv_ready(void); /* NOT_INITIALIZED before cuInit and after fork, NOT_PERMITTED in a host function */
extern _Thread_local bool drv_in_callback; /* this thread is running a host function */
int drv_current(struct drv_ctx **ctx);		 /* current, alive, without fault */
int drv_current_any(struct drv_ctx **ctx);	 /* current and alive; a fault does not matter */
int drv_ctx_make(int device, unsigned flags, bool primary, struct drv_ctx **out);
void drv_ctx_destroy(struct drv_ctx *ctx);
struct drv_stream *drv_thread_stream(struct drv_ctx *ctx); /* this thread's; NULL: no memory */
/* The stream a handle means for ctx, with its context's fault checked. */
int drv_stream_get(struct drv_ctx *ctx, CUstream handle, struct drv_stream **out);
/* drv_current() and drv_stream_get() in one. */
int drv_enter_stream(CUstream handle, struct drv_ctx **ctx, struct drv_stream **out);
struct drv_stream *drv_stream_make(struct drv_ctx *ctx, unsigned flags, int priority, bool listed);
void drv_stream_drop(struct drv_stream *s);

/* ---- ops (drv_queue.c) */
struct drv_copy { /* three nested strides; bytes */
	const unsigned char *src;
	unsigned char *dst;
	size_t src_pitch, dst_pitch, src_slice, dst_slice, width, height, depth;
	uint64_t src_check, dst_check; /* spans to check against live allocations when it runs; 0 = host */
};
struct drv_fill {
	unsigned char *dst;
	size_t pitch, width, height; /* width in elements */
	uint32_t value;
	unsigned element; /* 1, 2, 4 bytes */
};
struct drv_run {
	struct sc_kernel *kernel;
	uint32_t grid[3], block[3], shared;
	bool cooperative;
	void *params;
};
struct drv_op {
	atomic_uint refs;
	enum drv_class class;
	struct drv_stream *stream;
	int (*run)(struct drv_op *op);	  /* 0 or the CUresult that becomes sticky */
	void (*release)(struct drv_op *op); /* frees what the op owns; may be NULL */
	bool even_after_fault;
	bool brief; /* a copy or kernel shorter than waking a worker for it: run by the caller if nothing precedes it */
	unsigned waits_for;
	atomic_bool done;
	uint64_t done_ns; /* of marks */
	unsigned ndependents, room;
	struct drv_op **dependents, *few[4];
	struct drv_op *next;
	union {
		struct drv_copy copy;
		struct drv_fill fill;
		struct drv_run launch;
		struct { CUhostFn fn; CUstreamCallback callback; void *data; CUstream handle; } host;
		uint64_t va;
	} u;
	void *owned;
	_Alignas(16) unsigned char small[256]; /* kernel parameters, staged bytes */
};
enum drv_how { DRV_ASYNC, DRV_SYNC };

struct drv_op *drv_op_new(struct drv_stream *s, enum drv_class class, int (*run)(struct drv_op *));
/* Orders op after what its stream must follow, and after extra[]. Takes the op over. DRV_SYNC returns
 * when it is done, with the context's fault. */
int drv_submit(struct drv_op *op, struct drv_op *const *extra, unsigned nextra, enum drv_how how);
/* The same, and *keep gets a reference for an event. */
int drv_submit_keep(struct drv_op *op, struct drv_op **keep);
void drv_op_ref(struct drv_op *op);
void drv_op_unref(struct drv_op *op);
void drv_op_wait(struct drv_op *op);
int drv_stream_sync(struct drv_stream *s);
bool drv_stream_idle(struct drv_stream *s);
int drv_ctx_sync(struct drv_ctx *ctx); /* all streams; the fault */
int drv_workers_start(struct drv_ctx *ctx);
void drv_workers_stop(struct drv_ctx *ctx);
uint64_t drv_now_ns(void);

/* ---- allocations (drv_mem.c) */
enum drv_mem_kind { MEM_DEVICE, MEM_HOST, MEM_REGISTERED, MEM_MANAGED, MEM_ARRAY, MEM_GLOBAL /* of a module */ };
struct drv_mem {
	uint64_t base, size;
	enum drv_mem_kind kind;
	unsigned flags;
	struct drv_ctx *ctx;
	uint64_t id;
	struct drv_pool *pool;
	int sync_memops;
};
/* A copy of the allocation that contains p. */
bool drv_mem_find(uint64_t p, struct drv_mem *out);
/* A module's variable, so that pointer attributes know it; drv_mem_release(va, MEM_GLOBAL) forgets it. False: already noted. */
bool drv_mem_note_global(struct drv_ctx *ctx, uint64_t va, uint64_t size);
/* Whether [p, p + len) lies in one allocation. */
bool drv_mem_spans(uint64_t p, uint64_t len);
int drv_mem_new(struct drv_ctx *ctx, uint64_t bytes, uint64_t align, enum drv_mem_kind kind, uint64_t *va);
int drv_mem_release(uint64_t va, enum drv_mem_kind kind); /* base only */
void drv_mem_release_all(struct drv_ctx *ctx);

/* ---- modules (drv_module.c) */
struct drv_func {
	struct drv_obj obj;
	struct drv_module *module;
	struct sc_kernel *kernel;
	const struct sc_kernel_info *info;
	unsigned dynamic_shared_max;
	int carveout;
	/* the interface of CUDA 1 to 3 */
	uint32_t block[3], old_shared, param_size;
	unsigned char *old_params;
};
struct drv_module {
	struct drv_obj obj;
	struct drv_ctx *ctx;
	struct sc_module *sc;
	unsigned nfuncs;
	struct drv_func **funcs;
	struct drv_texref *texrefs;
	unsigned nglobals;
	uint64_t *globals; /* addresses noted; drv.lock */
	struct drv_module *next; /* of ctx->modules */
	bool of_library;
};
struct drv_jit { /* what JIT options ask for, and where the answers go */
	char *error, *info;
	size_t error_cap, info_cap;
	void **error_size, **info_size, **wall_time;
};
int drv_jit_options(unsigned n, const CUjit_option *options, void **values, struct drv_jit *jit);
/* Fills what was asked for; info is NUL-terminated. jit may be NULL. */
void drv_jit_done(struct drv_jit *jit, const char *error, size_t error_len, const char *info, uint64_t started);
/* image: PTX or container bytes with their length. */
int drv_module_make(struct drv_ctx *ctx, const void *image, size_t len, struct drv_jit *jit, struct drv_module **out);
int drv_image_of_pointer(const void *image, struct drv_jit *jit, const void **data, size_t *len);
int drv_image_of_file(const char *path, void **data, size_t *len);
void drv_module_drop(struct drv_module *m);
struct drv_func *drv_module_func(struct drv_module *m, const char *name);
/* CUfunction or CUkernel (then the function in ctx, or in the current context if ctx is NULL). */
int drv_func_get(CUfunction handle, struct drv_func **out);
int drv_kernel_func(const void *kernel_handle, struct drv_func **out); /* drv_library.c */

/* ---- arrays (drv_texture.c) */
struct drv_array {
	struct drv_obj obj;
	struct drv_ctx *ctx;
	CUDA_ARRAY3D_DESCRIPTOR desc;
	uint64_t base, pitch, slice;
	unsigned element; /* bytes of one texel */
};
struct drv_array *drv_array_get(CUarray handle);
void drv_texrefs_drop(struct drv_module *m);

#define DRV_TRY(call)                      \
	do {                               \
		int try_ = (call);         \
		if (try_)                  \
			return (CUresult)try_; \
	} while (0)
#endif
