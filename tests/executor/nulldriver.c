/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver library that is a test double: memory is real, time and kernels are pretended. It lets
 * the wire be tested, and timed, without a device.
 *
 * A module's image is text: one kernel per line, "NAME SIZE SIZE ..." with its parameters' sizes.
 *   echo   (u64 out, ...) stores its whole parameter buffer at `out`
 *   busy   (u64 ns) keeps its stream busy for so long
 *   fault  the context fails with ILLEGAL_ADDRESS from now on
 *   any other name does nothing
 *
 * It is strict where a real driver would corrupt memory or fail much later: a copy or memset that
 * reaches outside live allocations, registered memory or an array ends the process with a message.
 */
#define CUDA_EXACT_NAMES
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "cuda/cuda.h"
#include "nulldriver.h"

#define VA_BASE 0x200000000000ull
#define PARAMS 64

struct CUctx_st {
	int unused;
};
struct CUfunc_st {
	char name[64];
	unsigned n, bytes, offset[PARAMS], size[PARAMS];
};
struct CUmod_st {
	struct CUfunc_st f[16];
	unsigned n;
	char global[256];
};
struct CUstream_st {
	_Atomic uint64_t busy_until;
};
struct CUevent_st {
	_Atomic uint64_t done_at, recorded;
};
struct CUarray_st {
	size_t rows, row;
	unsigned char *data;
};

static struct CUctx_st primary;
static struct CUstream_st legacy;
static _Thread_local CUcontext current;
static _Atomic int sticky;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_va = VA_BASE;
static size_t limit_of[16] = { 1024, 1024, 1024 };

uint64_t nulldriver_busy_max = UINT64_MAX;
void (*nulldriver_called)(void);

/* ---- objects: dead ones are kept for reuse, so that a call that lost the race against its object's
 * destruction finds an object, as in a driver that checks its handles ---- */

struct object {
	union {
		struct CUctx_st ctx;
		struct CUmod_st module;
		struct CUstream_st stream;
		struct CUevent_st event;
		struct CUarray_st array;
	};
	void *data; /* of an array */
	struct object *next_dead, *next;
};
static struct object *objects, *dead_first, *dead_last;
static unsigned dead;

#define DEAD_MIN 64u /* so many others end before one is used again */

static void *object_new(void)
{
	struct object *o;

	pthread_mutex_lock(&lock);
	o = dead > DEAD_MIN ? dead_first : NULL;
	if (o) {
		dead_first = o->next_dead;
		dead--;
	} else {
		o = calloc(1, sizeof(*o));
		if (o) {
			o->next = objects;
			objects = o;
		}
	}
	pthread_mutex_unlock(&lock);
	return o;
}

static void object_end(void *p)
{
	struct object *o = p;

	pthread_mutex_lock(&lock);
	free(o->data);
	memset(o, 0, offsetof(struct object, next));
	if (dead++)
		dead_last->next_dead = o;
	else
		dead_first = o;
	dead_last = o;
	pthread_mutex_unlock(&lock);
}

static void objects_free(void)
{
	while (objects) {
		struct object *o = objects;

		objects = o->next;
		free(o->data);
		free(o);
	}
	dead_first = dead_last = NULL;
	dead = 0;
}

/* ---- what may be touched ---- */

static struct range {
	uintptr_t base;
	size_t size;
	bool ours; /* mapped by us, not registered */
} *ranges;
static size_t n_ranges, room;

static int range_add(const void *p, size_t n, bool ours)
{
	struct range *r;
	int rc = -1;

	pthread_mutex_lock(&lock);
	r = n_ranges < room ? ranges : realloc(ranges, (room ? room * 2 : 64) * sizeof(*r));
	if (r) {
		room = n_ranges < room ? room : room ? room * 2 : 64;
		ranges = r;
		ranges[n_ranges++] = (struct range){ (uintptr_t)p, n, ours };
		rc = 0;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static bool range_take(const void *p, bool ours, struct range *out)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; !found && i < n_ranges; i++)
		if (ranges[i].base == (uintptr_t)p && ranges[i].ours == ours) {
			*out = ranges[i];
			ranges[i] = ranges[--n_ranges];
			found = true;
		}
	pthread_mutex_unlock(&lock);
	return found;
}

static bool holds(const void *p, size_t n)
{
	uintptr_t at = (uintptr_t)p;
	bool ok = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; !ok && i < n_ranges; i++)
		ok = at >= ranges[i].base && at - ranges[i].base <= ranges[i].size && n <= ranges[i].size - (at - ranges[i].base);
	pthread_mutex_unlock(&lock);
	return ok;
}

static void must_hold(const void *p, size_t n, const char *what)
{
	if (holds(p, n))
		return;
	fprintf(stderr, "nulldriver: %s of %zu bytes at %p lies outside every allocation\n", what, n, p);
	abort();
}

void nulldriver_reset(void)
{
	for (size_t i = 0; i < n_ranges; i++)
		if (ranges[i].ours)
			munmap((void *)ranges[i].base, ranges[i].size);
	n_ranges = 0;
	objects_free();
	next_va = VA_BASE;
	sticky = 0;
	legacy.busy_until = 0;
	memset(limit_of, 0, sizeof(limit_of));
	limit_of[0] = limit_of[1] = limit_of[2] = 1024;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The device's speed is a duration, which no event ends: the one place where a test sleeps, and what waits for
 * this driver waits for its completions. */
static CUresult wait_until(uint64_t t)
{
	uint64_t n = now();
	struct timespec left;

	if (t > n) {
		left = (struct timespec){ (time_t)((t - n) / 1000000000u), (long)((t - n) % 1000000000u) };
		nanosleep(&left, NULL);
	}
	return atomic_load(&sticky);
}

static struct CUstream_st *st(CUstream s)
{
	return s ? s : &legacy;
}

#define OK_IF_ALIVE return atomic_load(&sticky)

CUresult cuInit(unsigned int flags)
{
	return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult cuDriverGetVersion(int *v)
{
	*v = 13000;
	return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult e, const char **s)
{
	*s = "?";
	return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult e, const char **s)
{
	*s = "?";
	return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice *d, int n)
{
	*d = 0;
	return n ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int *n)
{
	*n = 1;
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *s, int n, CUdevice d)
{
	snprintf(s, (size_t)n, "null device");
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(CUuuid *u, CUdevice d)
{
	memset(u, 7, sizeof(*u));
	return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *n, CUdevice d)
{
	*n = 1ull << 30;
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d)
{
	static const struct {
		int a, v;
	} known[] = { { CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024 },
		      { CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024 },
		      { CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024 },
		      { CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64 },
		      { CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 0x7fffffff },
		      { CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535 },
		      { CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535 },
		      { CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32 },
		      { CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 7 },
		      { CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 5 },
		      { CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0 } };

	for (unsigned i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (known[i].a == (int)a) {
			*v = known[i].v;
			return CUDA_SUCCESS;
		}
	return CUDA_ERROR_INVALID_VALUE;
}
CUresult cuDeviceGetPCIBusId(char *s, int n, CUdevice d)
{
	snprintf(s, (size_t)n, "0000:00:00.0");
	return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d)
{
	*c = &primary;
	return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d)
{
	return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxReset_v2(CUdevice d)
{
	return CUDA_SUCCESS;
}
CUresult cuCtxCreate_v2(CUcontext *c, unsigned int flags, CUdevice d)
{
	*c = current = object_new();
	return *c ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuCtxDestroy_v2(CUcontext c)
{
	if (c != &primary)
		object_end(c);
	return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent_v2(CUcontext c)
{
	current = c;
	return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent_v2(CUcontext *c)
{
	*c = current;
	return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext c)
{
	current = c;
	return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *c)
{
	*c = current;
	return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *d)
{
	*d = 0;
	return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize(void)
{
	return wait_until(legacy.busy_until);
}
CUresult cuCtxSetLimit(CUlimit l, size_t v)
{
	if (l < 16)
		limit_of[l] = v;
	return CUDA_SUCCESS;
}
CUresult cuCtxGetLimit(size_t *v, CUlimit l)
{
	*v = l < 16 ? limit_of[l] : 0;
	return CUDA_SUCCESS;
}
CUresult cuCtxGetApiVersion(CUcontext c, unsigned int *v)
{
	*v = 13000;
	return CUDA_SUCCESS;
}
CUresult cuCtxGetStreamPriorityRange(int *a, int *b)
{
	*a = 0;
	*b = -5;
	return CUDA_SUCCESS;
}

/* ---- modules ---- */

static void read_kernel(struct CUfunc_st *f, char *line)
{
	char *save, *word = strtok_r(line, " ", &save);

	snprintf(f->name, sizeof(f->name), "%s", word ? word : "");
	while ((word = strtok_r(NULL, " ", &save)) && f->n < PARAMS) {
		int asked = atoi(word);
		unsigned size = asked > 0 && asked <= 4096 ? (unsigned)asked : 4, align = size >= 8 ? 8 : size;

		f->bytes = (f->bytes + align - 1) / align * align;
		f->offset[f->n] = f->bytes;
		f->size[f->n++] = size;
		f->bytes += size;
	}
}

CUresult cuModuleLoadData(CUmodule *m, const void *image)
{
	char *text = strdup(image), *save, *line;

	*m = object_new();
	if (!*m || !text || range_add((*m)->global, sizeof((*m)->global), false)) {
		free(text);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	for (line = strtok_r(text, "\n", &save); line && (*m)->n < 16; line = strtok_r(NULL, "\n", &save))
		read_kernel(&(*m)->f[(*m)->n++], line);
	free(text);
	return CUDA_SUCCESS;
}
CUresult cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned int n, CUjit_option *o, void **v)
{
	if (strncmp(image, "bad", 3))
		return cuModuleLoadData(m, image);
	if (v[3])
		snprintf(v[2], (size_t)v[3], "line 1: bad");
	v[3] = (void *)(uintptr_t)((size_t)v[3] < 12 ? (size_t)v[3] : 12);
	return CUDA_ERROR_INVALID_PTX;
}
CUresult cuModuleUnload(CUmodule m)
{
	struct range r;

	range_take(m->global, false, &r);
	object_end(m);
	return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name)
{
	for (unsigned i = 0; i < m->n; i++)
		if (!strcmp(m->f[i].name, name)) {
			*f = &m->f[i];
			return CUDA_SUCCESS;
		}
	return CUDA_ERROR_NOT_FOUND;
}
CUresult cuModuleGetFunctionCount(unsigned int *n, CUmodule m)
{
	*n = m->n;
	return CUDA_SUCCESS;
}
CUresult cuModuleEnumerateFunctions(CUfunction *f, unsigned int n, CUmodule m)
{
	for (unsigned i = 0; i < n && i < m->n; i++)
		f[i] = &m->f[i];
	return CUDA_SUCCESS;
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr *p, size_t *n, CUmodule m, const char *name)
{
	if (strcmp(name, "global"))
		return CUDA_ERROR_NOT_FOUND;
	*p = (uintptr_t)m->global;
	*n = sizeof(m->global);
	return CUDA_SUCCESS;
}
CUresult cuFuncGetName(const char **name, CUfunction f)
{
	*name = f->name;
	return CUDA_SUCCESS;
}
CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t *offset, size_t *size)
{
	if (i >= f->n)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = f->offset[i];
	*size = f->size[i];
	return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f)
{
	*v = a == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 512 : a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ? 49152 : 0;
	return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v)
{
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
			unsigned int bz, unsigned int shared, CUstream s, void **params, void **extra)
{
	const void *buf = extra ? extra[1] : NULL;
	uint64_t v = 0;

	if (nulldriver_called)
		nulldriver_called();
	if (f->bytes >= 8)
		memcpy(&v, buf, 8);
	if (f->name[0] == 'e' && !strcmp(f->name, "echo") && f->bytes >= 8) {
		if (!holds((void *)(uintptr_t)v, f->bytes)) {
			atomic_store(&sticky, CUDA_ERROR_ILLEGAL_ADDRESS);
			return CUDA_SUCCESS;
		}
		memcpy((void *)(uintptr_t)v, buf, f->bytes);
	} else if (f->name[0] == 'b' && !strcmp(f->name, "busy")) {
		uint64_t base = now();

		if (v > nulldriver_busy_max)
			v = nulldriver_busy_max;
		if (st(s)->busy_until > base)
			base = st(s)->busy_until;
		st(s)->busy_until = base + v;
		if (s && legacy.busy_until < base + v)
			legacy.busy_until = base + v;
	} else if (f->name[0] == 'f' && !strcmp(f->name, "fault")) {
		atomic_store(&sticky, CUDA_ERROR_ILLEGAL_ADDRESS);
		return CUDA_SUCCESS;
	}
	OK_IF_ALIVE;
}
CUresult cuLaunchHostFunc(CUstream s, CUhostFn fn, void *p)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- memory ---- */

CUresult cuMemGetInfo_v2(size_t *f, size_t *t)
{
	*f = *t = 1ull << 30;
	return CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n)
{
	void *m;

	pthread_mutex_lock(&lock);
	m = mmap((void *)(uintptr_t)next_va, n, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	next_va += (n + (2u << 20)) & ~((2ull << 20) - 1);
	pthread_mutex_unlock(&lock);
	*p = (uintptr_t)m;
	return m == MAP_FAILED || range_add(m, n, true) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
CUresult cuMemAllocPitch_v2(CUdeviceptr *p, size_t *pitch, size_t w, size_t h, unsigned int e)
{
	if (w > SIZE_MAX - 511 || __builtin_mul_overflow(*pitch = (w + 511) / 512 * 512, h, &w))
		return CUDA_ERROR_OUT_OF_MEMORY;
	return cuMemAlloc_v2(p, *pitch * h);
}
CUresult cuMemFree_v2(CUdeviceptr p)
{
	struct range r;

	if (atomic_load(&sticky))
		OK_IF_ALIVE;
	if (!range_take((void *)(uintptr_t)p, true, &r))
		return CUDA_ERROR_INVALID_VALUE;
	munmap((void *)r.base, r.size);
	return CUDA_SUCCESS;
}
CUresult cuMemGetAddressRange_v2(CUdeviceptr *b, size_t *n, CUdeviceptr p)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuMemAllocHost_v2(void **p, size_t n)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuMemFreeHost(void *p)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuMemHostAlloc(void **p, size_t n, unsigned int flags)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuMemHostRegister_v2(void *p, size_t n, unsigned int flags)
{
	return range_add(p, n, false) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
CUresult cuMemHostUnregister(void *p)
{
	struct range r;

	return range_take(p, false, &r) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *d, void *p, unsigned int flags)
{
	*d = (uintptr_t)p;
	return CUDA_SUCCESS;
}
CUresult cuPointerGetAttribute(void *data, CUpointer_attribute a, CUdeviceptr p)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult copy(void *d, const void *s, size_t n)
{
	if (nulldriver_called)
		nulldriver_called();
	if (atomic_load(&sticky))
		OK_IF_ALIVE;
	must_hold(d, n, "copy to");
	must_hold(s, n, "copy from");
	memmove(d, s, n);
	return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr d, const void *s, size_t n)
{
	return copy((void *)(uintptr_t)d, s, n);
}
CUresult cuMemcpyDtoH_v2(void *d, CUdeviceptr s, size_t n)
{
	return copy(d, (void *)(uintptr_t)s, n);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr d, CUdeviceptr s, size_t n)
{
	return copy((void *)(uintptr_t)d, (void *)(uintptr_t)s, n);
}
CUresult cuMemcpyAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st_)
{
	return copy((void *)(uintptr_t)d, (void *)(uintptr_t)s, n);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void *s, size_t n, CUstream st_)
{
	return copy((void *)(uintptr_t)d, s, n);
}
CUresult cuMemcpyDtoHAsync_v2(void *d, CUdeviceptr s, size_t n, CUstream st_)
{
	return copy(d, (void *)(uintptr_t)s, n);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st_)
{
	return copy((void *)(uintptr_t)d, (void *)(uintptr_t)s, n);
}

static unsigned char *plane(CUmemorytype t, const void *h, CUdeviceptr d, CUarray a, size_t x, size_t y, size_t *pitch,
			    size_t width, size_t rows)
{
	if (t == CU_MEMORYTYPE_ARRAY) {
		if (x + width > a->row || y + rows > a->rows || !a->data) {
			fprintf(stderr, "nulldriver: copy of an array reaches outside of it\n");
			abort();
		}
		*pitch = a->row;
		return a->data + y * a->row + x;
	}
	d = (t == CU_MEMORYTYPE_HOST ? (uintptr_t)h : d) + y * *pitch + x;
	must_hold((void *)(uintptr_t)d, (rows - 1) * *pitch + width, "2D copy");
	return (unsigned char *)(uintptr_t)d;
}
CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *c)
{
	size_t sp = c->srcPitch, dp = c->dstPitch;
	unsigned char *s = plane(c->srcMemoryType, c->srcHost, c->srcDevice, c->srcArray, c->srcXInBytes, c->srcY, &sp,
				 c->WidthInBytes, c->Height);
	unsigned char *d = plane(c->dstMemoryType, c->dstHost, c->dstDevice, c->dstArray, c->dstXInBytes, c->dstY, &dp,
				 c->WidthInBytes, c->Height);

	if (nulldriver_called)
		nulldriver_called();
	for (size_t y = 0; y < c->Height; y++)
		memmove(d + y * dp, s + y * sp, c->WidthInBytes);
	OK_IF_ALIVE;
}
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *c)
{
	return cuMemcpy2D_v2(c);
}
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *c, CUstream s)
{
	return cuMemcpy2D_v2(c);
}
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *c)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *c, CUstream s)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuMemsetD8_v2(CUdeviceptr d, unsigned char v, size_t n)
{
	memset((void *)(uintptr_t)d, v, n);
	return CUDA_SUCCESS;
}

static CUresult set2d(CUdeviceptr d, size_t pitch, const void *v, size_t size, size_t w, size_t h)
{
	must_hold((void *)(uintptr_t)d, (h - 1) * pitch + w * size, "memset");
	for (size_t y = 0; y < h; y++)
		for (size_t x = 0; x < w; x++)
			memcpy((char *)(uintptr_t)d + y * pitch + x * size, v, size);
	OK_IF_ALIVE;
}
CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream s)
{
	return set2d(d, 0, &v, 1, n, 1);
}
CUresult cuMemsetD16Async(CUdeviceptr d, unsigned short v, size_t n, CUstream s)
{
	return set2d(d, 0, &v, 2, n, 1);
}
CUresult cuMemsetD32Async(CUdeviceptr d, unsigned int v, size_t n, CUstream s)
{
	return set2d(d, 0, &v, 4, n, 1);
}
CUresult cuMemsetD2D8Async(CUdeviceptr d, size_t p, unsigned char v, size_t w, size_t h, CUstream s)
{
	return set2d(d, p, &v, 1, w, h);
}
CUresult cuMemsetD2D16Async(CUdeviceptr d, size_t p, unsigned short v, size_t w, size_t h, CUstream s)
{
	return set2d(d, p, &v, 2, w, h);
}
CUresult cuMemsetD2D32Async(CUdeviceptr d, size_t p, unsigned int v, size_t w, size_t h, CUstream s)
{
	return set2d(d, p, &v, 4, w, h);
}
CUresult cuArrayCreate_v2(CUarray *a, const CUDA_ARRAY_DESCRIPTOR *d)
{
	*a = object_new();
	if (!*a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*a)->row = d->Width * d->NumChannels * 4;
	(*a)->rows = d->Height ? d->Height : 1;
	(*a)->data = calloc((*a)->rows, (*a)->row);
	((struct object *)*a)->data = (*a)->data;
	if ((*a)->data)
		return CUDA_SUCCESS;
	object_end(*a);
	return CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuArray3DCreate_v2(CUarray *a, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuArrayDestroy(CUarray a)
{
	object_end(a);
	return CUDA_SUCCESS;
}
CUresult cuTexObjectCreate(CUtexObject *t, const CUDA_RESOURCE_DESC *r, const CUDA_TEXTURE_DESC *d,
			   const CUDA_RESOURCE_VIEW_DESC *v)
{
	static _Atomic unsigned long long next = 100;

	*t = next++;
	return CUDA_SUCCESS;
}
CUresult cuTexObjectDestroy(CUtexObject t)
{
	return CUDA_SUCCESS;
}

/* ---- streams and events ---- */

CUresult cuStreamCreateWithPriority(CUstream *s, unsigned int flags, int priority)
{
	*s = object_new();
	OK_IF_ALIVE;
}
CUresult cuStreamDestroy_v2(CUstream s)
{
	object_end(s);
	return CUDA_SUCCESS;
}
CUresult cuStreamQuery(CUstream s)
{
	return atomic_load(&sticky) ? atomic_load(&sticky) : st(s)->busy_until > now() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream s)
{
	return wait_until(st(s)->busy_until);
}
CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned int flags)
{
	if (e->done_at > st(s)->busy_until)
		st(s)->busy_until = e->done_at;
	OK_IF_ALIVE;
}
CUresult cuEventCreate(CUevent *e, unsigned int flags)
{
	*e = object_new();
	OK_IF_ALIVE;
}
CUresult cuEventRecord(CUevent e, CUstream s)
{
	e->done_at = st(s)->busy_until;
	OK_IF_ALIVE;
}
CUresult cuEventQuery(CUevent e)
{
	if (!atomic_load(&sticky) && e->done_at && e->done_at > now())
		return CUDA_ERROR_NOT_READY;
	OK_IF_ALIVE;
}
CUresult cuEventSynchronize(CUevent e)
{
	return wait_until(e->done_at);
}
CUresult cuEventDestroy_v2(CUevent e)
{
	object_end(e);
	return CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float *ms, CUevent a, CUevent b)
{
	if (cuEventQuery(a) || cuEventQuery(b))
		return CUDA_ERROR_NOT_READY;
	*ms = (float)((double)(b->done_at - a->done_at) / 1e6);
	return CUDA_SUCCESS;
}
