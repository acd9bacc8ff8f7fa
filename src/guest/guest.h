/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the guest's libcuda.so.1: the process's one client, its objects and contexts.
 *
 * Handles given to the program are no pointers: kind, generation and slot number in 47 bits, so that
 * any garbage is told from a live object. Objects are type-stable: a dead one's memory stays.
 */
#ifndef VGPU_GUEST_GUEST_H
#define VGPU_GUEST_GUEST_H
#ifndef CUDA_EXACT_NAMES
#define CUDA_EXACT_NAMES
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "cuda/cuda.h"
#include "guest/client.h"
#include "wire/func_meta.h"
#include "wire/ops.h"
#include "wire/ranges.h"

enum gkind { G_CTX = 1, G_MODULE, G_FUNC, G_LIBRARY, G_KERNEL, G_STREAM, G_EVENT, G_ARRAY, G_POOL, G_LINK,
	     G_TEXREF, G_KINDS };

struct gobj {
	_Atomic uintptr_t self; /* the handle, 0 when dead */
	uint32_t generation;
	enum gkind kind;
	uint32_t wire;	   /* the executor's handle */
	struct gobj *ctx;  /* the context it belongs to */
	struct gobj *next; /* functions of a module, kernels of a library; free slots */
	union {
		struct {
			unsigned int flags, api_version, refs, attached; /* refs: of the primary one */
			bool primary;
			unsigned long long id;
			CUfunc_cache cache;
			CUsharedconfig shared_config;
		} c;
		struct {
			struct gobj *functions, *texrefs;
		} module;
		struct {
			struct gobj *module, *kernel;
			char *name;
			struct vgpu_func_meta *meta; /* with its parameters behind it */
			const struct vgpu_param *param;
			uint32_t static_shared, max_threads;
			struct old_launch *old; /* what cuFuncSetBlockShape() and cuParamSet*() said */
		} func;
		struct {
			void *image;
			size_t len;
			struct gobj *kernels;
			struct gobj *modules; /* one per context that used it, linked by next */
		} library;
		struct {
			struct gobj *library;
			char *name;
		} kernel;
		struct {
			unsigned int flags;
			int priority;
			CUlaunchAttributeValue sync_policy;
			_Atomic uint64_t last; /* work index of its last entry */
			unsigned long long id;
		} stream;
		struct {
			unsigned int flags;
			_Atomic uint64_t index; /* of the last record; 0 = never */
		} event;
		struct {
			CUDA_ARRAY3D_DESCRIPTOR desc;
			size_t row_bytes;
		} array;
		struct {
			struct gobj *module;
			struct texref_state *state;
		} texref;
		struct {
			struct jit_logs *logs;
			char *cubin;
		} link;
		struct {
			bool is_default;
			int reuse[3];
			uint64_t release_threshold;
			_Atomic uint64_t used, used_high;
		} pool;
	};
};

/* objects.c */
struct gobj *g_new(enum gkind kind, struct gobj *ctx, uint32_t wire); /* NULL: out of memory */
struct gobj *g_get(enum gkind kind, const void *handle);	      /* NULL: not a live object */
void g_drop(struct gobj *o);
void g_drop_ctx(struct gobj *ctx); /* every object of that context */
static inline void *g_handle(struct gobj *o)
{
	return (void *)atomic_load_explicit(&o->self, memory_order_relaxed);
}

/* init.c */
extern struct vgpu_client *guest_client; /* NULL until the first context */
extern struct vgpu_device_info guest_device;
extern _Thread_local bool guest_in_callback; /* this thread runs host functions */
/* 0, CUDA_ERROR_NOT_INITIALIZED, or CUDA_ERROR_NOT_PERMITTED inside a host function */
int guest_ready(void);
int guest_start(void);	/* starts the executor once */
void guest_say(const char *text); /* one line on stderr */

/* ctx.c */
struct gobj *ctx_current(void);
/* 0 with the current context, or the error every call that needs one returns. */
int ctx_enter(struct gobj **ctx);
int ctx_push(struct gobj *ctx);
struct gobj *ctx_pop(void);
struct gobj *ctx_primary(void); /* NULL unless retained */

/* stream.c */
struct stream_ref {
	struct gobj *ctx, *stream; /* stream NULL: legacy default */
	uint32_t wire;
};
int stream_resolve(CUstream h, struct gobj *ctx, struct stream_ref *out);
int stream_enter(CUstream h, struct stream_ref *out); /* in the current context */
static inline void stream_touch(struct stream_ref *r, uint64_t index)
{
	if (r->stream)
		atomic_store_explicit(&r->stream->stream.last, index, memory_order_relaxed);
}

/*
 * hostfunc.c: fn runs on the callback thread once the stream has got here, or broke; `entry` is the work
 * index behind that place. It must not use the API, nor follow anything later than `entry`: that may be
 * held behind a host function, which is behind fn.
 */
typedef void guest_own_fn(void *data, uint64_t entry);
int hostfunc_own(CUstream stream, guest_own_fn *fn, void *data);

/* mem.c: what the program may point at */
enum gmem_kind { GM_DEVICE, GM_GLOBAL, GM_HOST, GM_MANAGED, GM_STAGED /* registered, but copied through bounce */ };
struct gmem {
	uint64_t base, size;
	enum gmem_kind kind;
	uint32_t flags; /* host: of the allocation */
	struct gobj *ctx;
	void *pool; /* device: the handle of the pool it came from, or NULL */
	void *data;
};
bool gmem_find(uint64_t at, struct gmem *out);
int gmem_add(const struct gmem *m);
bool gmem_remove(uint64_t base, struct gmem *out);
void gmem_drop_ctx(struct gobj *ctx);
int mem_alloc(uint64_t bytes, void *pool, CUdeviceptr *out); /* in the current context */
int mem_free_wire(struct gobj *ctx, uint64_t p, uint64_t follows);

/* pool.c */
void pool_given_back(const struct gmem *m); /* an allocation of a pool was freed */
bool pool_leaving(void); /* are frees under way? */
void pool_settle(void);	 /* waits until they are through */

/* launch.c */
int device_limit(unsigned attr, int otherwise);
int func_enter(CUfunction h, struct gobj **f); /* in the current context */

/* module.c, library.c */
struct jit_logs { /* what JIT options ask for; the buffers are the program's */
	char *info, *error;
	unsigned info_cap, error_cap;
	void **info_size, **error_size; /* where the lengths go */
};
/* max: bytes of a log that cross the wire */
int jit_read_options(unsigned n, CUjit_option *opt, void **val, unsigned max, struct jit_logs *l);
/* reply: info_cap bytes, then error_cap bytes, of which so many hold text */
void jit_give_logs(const struct jit_logs *l, const char *reply, uint32_t info_len, uint32_t error_len);
int image_send(const void *image, size_t len, uint32_t *out);
/* Calls fn for every function name of the module; *total: how many there are. fn may be NULL. */
int module_each_name(struct gobj *m, int (*fn)(void *arg, unsigned i, const char *name), void *arg, unsigned *total);
int module_load(struct gobj *ctx, const void *image, size_t len, unsigned nopts, CUjit_option *opts, void **vals,
		struct gobj **out);
/* A file to load; munmap() it. */
int image_map(const char *path, void **image, size_t *size);
int module_unload(struct gobj *m);
int module_function(struct gobj *module, const char *name, struct gobj **out);
int image_length(const void *image, const void **start, size_t *len);
int kernel_function(struct gobj *kernel, struct gobj *ctx, struct gobj **out);
/* A CUfunction, or a CUkernel in its place: the function in `ctx`. */
int func_resolve(CUfunction h, struct gobj *ctx, struct gobj **out);

static inline bool gmem_is_host(enum gmem_kind k)
{
	return k == GM_HOST || k == GM_MANAGED;
}
#endif
