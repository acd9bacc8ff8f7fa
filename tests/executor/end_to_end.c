/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's libcuda.so.1 against a real executor in another process. If one of these fails, a
 * program gets wrong bytes, a wrong error or none, or one of its threads stalls another. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "cuda/cuda.h"
#include "harness.h"

#define OK(call) assert_int_equal(call, CUDA_SUCCESS)

static const char kernels[] = "echo 8 4 1 2 16\nbusy 8\nnone\nmany 8 8 8 8\n";
static CUcontext ctx;
static CUmodule mod;
static pid_t server;

static void fill(unsigned char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
}

static CUfunction function(const char *name)
{
	CUfunction f;

	OK(cuModuleGetFunction(&f, mod, name));
	return f;
}

static void before_init(void **state)
{
	CUdeviceptr p;
	int n;

	assert_int_equal(cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(cuMemAlloc_v2(&p, 1), CUDA_ERROR_NOT_INITIALIZED);
	assert_int_equal(cuInit(1), CUDA_ERROR_INVALID_VALUE);
	OK(cuInit(0));
	OK(cuInit(0));
	assert_int_equal(cuMemAlloc_v2(&p, 1), CUDA_ERROR_INVALID_CONTEXT);
}

static void device_queries_need_no_executor(void **state)
{
	char name[64];
	size_t total;
	int v;

	OK(cuDeviceGetName(name, sizeof(name), 0));
	assert_string_equal(name, "null device");
	OK(cuDeviceTotalMem_v2(&total, 0));
	assert_int_equal(total, HARNESS_QUOTA);
	OK(cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
	assert_int_equal(v, 32);
	assert_int_equal(cuDeviceGetAttribute(&v, 9999, 0), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuDeviceGetName(name, sizeof(name), 1), CUDA_ERROR_INVALID_DEVICE);
}

static void contexts_stack(void **state)
{
	CUcontext own, top;

	OK(cuDevicePrimaryCtxRetain(&ctx, 0));
	OK(cuCtxSetCurrent(ctx));
	OK(cuCtxCreate_v2(&own, 0, 0));
	OK(cuCtxGetCurrent(&top));
	assert_ptr_equal(top, own);
	OK(cuCtxPopCurrent_v2(&top));
	assert_ptr_equal(top, own);
	OK(cuCtxGetCurrent(&top));
	assert_ptr_equal(top, ctx);
	OK(cuCtxDestroy_v2(own));
	assert_int_equal(cuCtxPushCurrent_v2(own), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(cuCtxPushCurrent_v2((CUcontext)(intptr_t)-1), CUDA_ERROR_INVALID_CONTEXT);
}

static void copies_of_every_size(void **state)
{
	static const size_t sizes[] = { 1, 7, 4096, 65535, 65536, 65537, 262144, 262145, 1000003, 10u << 20 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size_t n = sizes[i];
		unsigned char *a = malloc(n), *b = calloc(1, n);
		CUdeviceptr p, q;

		fill(a, n, i);
		OK(cuMemAlloc_v2(&p, n));
		OK(cuMemAlloc_v2(&q, n));
		OK(cuMemcpyHtoD_v2(p, a, n));
		OK(cuMemcpyDtoD_v2(q, p, n));
		memset(a, 0, n); /* staged: ours again */
		OK(cuMemcpyDtoH_v2(b, q, n));
		fill(a, n, i);
		assert_memory_equal(a, b, n);
		assert_int_equal(cuMemcpyHtoD_v2(p + 1, a, n), CUDA_ERROR_INVALID_VALUE);
		assert_int_equal(cuMemcpyDtoH_v2(b, p + n, 1), CUDA_ERROR_INVALID_VALUE);
		OK(cuMemFree_v2(p));
		OK(cuMemFree_v2(q));
		assert_int_equal(cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
		free(a);
		free(b);
	}
}

static void rectangles(size_t w, size_t h, bool pinned)
{
	size_t hp = w + 24, pitch;
	unsigned char *a, *b;
	CUdeviceptr d;
	CUDA_MEMCPY2D c = { .srcMemoryType = CU_MEMORYTYPE_HOST, .dstMemoryType = CU_MEMORYTYPE_DEVICE, .srcPitch = hp,
			    .WidthInBytes = w, .Height = h, .srcXInBytes = 5, .srcY = 1 };

	if (pinned) {
		OK(cuMemHostAlloc((void **)&a, hp * (h + 1), 0));
		OK(cuMemHostAlloc((void **)&b, hp * (h + 1), 0));
	} else {
		a = malloc(hp * (h + 1));
		b = malloc(hp * (h + 1));
	}
	fill(a, hp * (h + 1), 3);
	memset(b, 0x55, hp * (h + 1));
	OK(cuMemAllocPitch_v2(&d, &pitch, w, h, 4));
	c.srcHost = a;
	c.dstDevice = d;
	c.dstPitch = pitch;
	OK(cuMemcpy2D_v2(&c));
	c = (CUDA_MEMCPY2D){ .srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = d, .srcPitch = pitch,
			     .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = b, .dstPitch = hp, .dstXInBytes = 5, .dstY = 1,
			     .WidthInBytes = w, .Height = h };
	OK(cuMemcpy2DAsync_v2(&c, NULL));
	OK(cuStreamSynchronize(NULL));
	for (size_t y = 1; y <= h; y++) {
		assert_memory_equal(a + y * hp + 5, b + y * hp + 5, w);
		assert_int_equal(b[y * hp + 4], 0x55); /* nothing beside it */
	}
	c.Height = h + 1;
	assert_int_equal(cuMemcpy2D_v2(&c), pitch * h < pitch * h + w ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
	OK(cuMemFree_v2(d));
	if (pinned) {
		OK(cuMemFreeHost(a));
		OK(cuMemFreeHost(b));
	} else {
		free(a);
		free(b);
	}
}

static void rectangles_of_both_kinds(void **state)
{
	rectangles(100, 40, false);
	rectangles(1920, 1080, false);
	rectangles(300000, 3, false); /* rows longer than a staging block */
	rectangles(1920, 1080, true);
}

static void memsets(void **state)
{
	uint32_t v[64];
	CUdeviceptr d;

	OK(cuMemAlloc_v2(&d, sizeof(v)));
	OK(cuMemsetD32_v2(d, 0xdeadbeef, 64));
	OK(cuMemsetD16_v2(d + 4, 0x1234, 2));
	OK(cuMemsetD2D8_v2(d + 16, 16, 0xaa, 3, 4));
	OK(cuMemcpyDtoH_v2(v, d, sizeof(v)));
	assert_int_equal(v[0], 0xdeadbeef);
	assert_int_equal(v[1], 0x12341234);
	for (int i = 0; i < 4; i++)
		assert_int_equal(v[4 + 4 * i], 0xdeaaaaaa);
	assert_int_equal(cuMemsetD32_v2(d, 0, 65), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemsetD32_v2(d + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuMemsetD8_v2(d, 0, SIZE_MAX), CUDA_ERROR_INVALID_VALUE);
	OK(cuMemFree_v2(d));
}

static void modules_and_logs(void **state)
{
	char log[100] = "";
	CUjit_option opt[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *val[] = { log, (void *)sizeof(log) };
	unsigned int n;
	CUfunction f, g;
	CUmodule bad;

	OK(cuModuleLoadData(&mod, kernels));
	assert_int_equal(cuModuleLoadDataEx(&bad, "bad", 2, opt, val), CUDA_ERROR_INVALID_PTX);
	assert_string_equal(log, "line 1: bad");
	OK(cuModuleGetFunctionCount(&n, mod));
	assert_int_equal(n, 4);
	OK(cuModuleGetFunction(&f, mod, "echo"));
	OK(cuModuleGetFunction(&g, mod, "echo"));
	assert_ptr_equal(f, g);
	assert_int_equal(cuModuleGetFunction(&f, mod, "absent"), CUDA_ERROR_NOT_FOUND);
}

static void launch_packs_arguments(void **state)
{
	unsigned char out[32], want[32] = { 0 }, p3 = 0x77, p5[16];
	unsigned short p4 = 0xbeef;
	uint32_t p2 = 0x01020304;
	CUdeviceptr d;
	void *args[] = { &d, &p2, &p3, &p4, p5 };
	size_t size = 32;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, want, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END };

	OK(cuMemAlloc_v2(&d, 64));
	fill(p5, 16, 9);
	memcpy(want, &d, 8);
	memcpy(want + 8, &p2, 4);
	want[12] = p3;
	memcpy(want + 14, &p4, 2);
	memcpy(want + 16, p5, 16);
	OK(cuLaunchKernel(function("echo"), 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
	OK(cuMemcpyDtoH_v2(out, d, 32));
	assert_memory_equal(out, want, 12); /* 13 is padding */
	assert_memory_equal(out + 14, want + 14, 18);
	OK(cuMemsetD8_v2(d, 0, 32));
	OK(cuLaunchKernel(function("echo"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	OK(cuMemcpyDtoH_v2(out, d, 32));
	assert_memory_equal(out, want, 32);
	OK(cuMemFree_v2(d));
}

static void launch_errors_belong_to_their_call(void **state)
{
	CUfunction f = function("none");

	assert_int_equal(cuLaunchKernel(f, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 2048, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1024, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
	assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 1u << 20, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cuLaunchKernel((CUfunction)(intptr_t)0x1234, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, (CUstream)(intptr_t)0xdead0, NULL, NULL),
			 CUDA_ERROR_INVALID_HANDLE);
	assert_int_equal(cuLaunchKernel(function("echo"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	OK(cuCtxSynchronize());
}

static void pinned_memory_has_one_address(void **state)
{
	unsigned char *h, back[4096];
	CUdeviceptr d, same;
	void *args[5], *small[20];
	uint32_t zero[4] = { 0 };

	OK(cuMemHostAlloc((void **)&h, 3u << 20, CU_MEMHOSTALLOC_DEVICEMAP));
	OK(cuMemHostGetDevicePointer_v2(&same, h, 0));
	assert_ptr_equal((void *)(uintptr_t)same, h);
	fill(h, 3u << 20, 11);
	OK(cuMemAlloc_v2(&d, 3u << 20));
	OK(cuMemcpyHtoDAsync_v2(d, h, 3u << 20, NULL));
	OK(cuMemcpyDtoH_v2(back, d + (2u << 20), sizeof(back)));
	assert_memory_equal(back, h + (2u << 20), sizeof(back));
	args[0] = &same; /* the kernel writes to our memory, which we read without a copy */
	args[1] = args[2] = args[3] = args[4] = zero;
	OK(cuLaunchKernel(function("echo"), 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
	OK(cuCtxSynchronize());
	assert_memory_equal(h, &same, 8);
	for (int i = 0; i < 20; i++) { /* share extents */
		OK(cuMemHostAlloc(&small[i], 5000, 0));
		memset(small[i], i, 5000);
	}
	for (int i = 0; i < 20; i++) {
		assert_int_equal(((unsigned char *)small[i])[4999], i);
		OK(cuMemFreeHost(small[i]));
	}
	assert_int_equal(cuMemFreeHost(small[0]), CUDA_ERROR_INVALID_VALUE);
	OK(cuMemFreeHost(h));
	OK(cuMemFree_v2(d));
}

static void events_and_streams(void **state)
{
	uint64_t ns = 50000000;
	void *args[] = { &ns };
	CUstream s, t;
	CUevent a, b;
	float ms;

	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&t, CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&a, 0));
	OK(cuEventCreate(&b, 0));
	OK(cuEventQuery(a)); /* never recorded = complete */
	OK(cuEventRecord(a, s));
	OK(cuLaunchKernel(function("busy"), 1, 1, 1, 1, 1, 1, 0, s, args, NULL));
	OK(cuEventRecord(b, s));
	assert_int_equal(cuEventQuery(b), CUDA_ERROR_NOT_READY);
	assert_int_equal(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
	OK(cuStreamSynchronize(t)); /* another stream has nothing to wait for */
	assert_int_equal(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
	OK(cuEventSynchronize(b));
	OK(cuStreamQuery(s));
	OK(cuEventElapsedTime(&ms, a, b));
	OK(cuStreamWaitEvent(t, b, 0));
	OK(cuStreamSynchronize(t));
	OK(cuStreamDestroy_v2(s));
	OK(cuStreamDestroy_v2(t));
	assert_int_equal(cuStreamSynchronize(s), CUDA_ERROR_INVALID_HANDLE);
	OK(cuEventDestroy_v2(a));
	assert_int_equal(cuEventQuery(a), CUDA_ERROR_INVALID_HANDLE);
	OK(cuEventDestroy_v2(b));
}

/* Breaks: ffmpeg's overlay_cuda, which reads in one context what another one is still uploading. */
static void uploads_precede_later_work_of_other_streams(void **state)
{
	uint64_t ns = 100000000;
	void *args[] = { &ns };
	unsigned char data[4096] = { 1 };
	CUstream s, t;
	CUdeviceptr d;

	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&t, CU_STREAM_NON_BLOCKING));
	OK(cuMemAlloc_v2(&d, sizeof(data)));
	OK(cuLaunchKernel(function("busy"), 1, 1, 1, 1, 1, 1, 0, s, args, NULL));
	OK(cuMemsetD8Async(d, 0, sizeof(data), t));
	OK(cuStreamSynchronize(t)); /* nothing uploaded yet: t is free */
	assert_int_equal(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
	OK(cuMemcpyHtoDAsync_v2(d, data, sizeof(data), s));
	OK(cuMemsetD8Async(d, 0, sizeof(data), t));
	OK(cuStreamSynchronize(t));
	OK(cuStreamQuery(s)); /* t's memset has waited for s's upload, that for the kernel */
	OK(cuMemFree_v2(d));
	OK(cuStreamDestroy_v2(s));
	OK(cuStreamDestroy_v2(t));
}

static _Atomic int waiting;

static void *long_wait(void *arg)
{
	OK(cuCtxSetCurrent(ctx));
	waiting = 1;
	OK(cuStreamSynchronize(arg));
	waiting = 2;
	return NULL;
}

static void a_wait_stalls_nobody(void **state)
{
	uint64_t ns = 2000000000; /* a hundred calls take a hundredth of it, if nobody else is at work */
	void *args[] = { &ns };
	CUdeviceptr d;
	CUstream s;
	pthread_t t;
	int calls = 0;

	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuLaunchKernel(function("busy"), 1, 1, 1, 1, 1, 1, 0, s, args, NULL));
	assert_int_equal(pthread_create(&t, NULL, long_wait, s), 0);
	while (waiting < 1)
		sched_yield();
	for (; calls < 100 && waiting < 2; calls++) {
		OK(cuMemAlloc_v2(&d, 4096));
		OK(cuMemFree_v2(d));
	}
	assert_int_equal(calls, 100); /* all of them while the other thread slept */
	pthread_join(t, NULL);
	assert_int_equal(waiting, 2);
	OK(cuStreamDestroy_v2(s));
}

static void *copy_loop(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	size_t n = 100000 + seed * 777;
	unsigned char *a = malloc(n), *b = malloc(n);
	CUdeviceptr d;

	OK(cuCtxSetCurrent(ctx));
	OK(cuMemAlloc_v2(&d, n));
	for (unsigned i = 0; i < 60; i++) {
		fill(a, n, seed + i);
		OK(cuMemcpyHtoDAsync_v2(d, a, n, CU_STREAM_PER_THREAD));
		OK(cuLaunchKernel(function("none"), 1, 1, 1, 1, 1, 1, 0, CU_STREAM_PER_THREAD, NULL, NULL));
		OK(cuMemcpyDtoHAsync_v2(b, d, n, CU_STREAM_PER_THREAD));
		if (memcmp(a, b, n))
			return (void *)1;
	}
	OK(cuMemFree_v2(d));
	free(a);
	free(b);
	return NULL;
}

static void many_threads(void **state)
{
	pthread_t t[8];
	void *bad;

	for (uintptr_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&t[i], NULL, copy_loop, (void *)i), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
}

static void long_queue_keeps_order(void **state)
{
	uint64_t last = 0;
	CUdeviceptr d;
	uint32_t i;
	unsigned char tail[24] = { 0 };
	void *args[] = { &d, &i, tail, tail, tail };

	OK(cuMemAlloc_v2(&d, 64));
	for (i = 0; i < 20000; i++) /* twenty times round the ring */
		OK(cuLaunchKernel(function("echo"), 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
	OK(cuMemcpyDtoH_v2(&last, d + 8, 4));
	assert_int_equal(last, 19999);
	OK(cuMemFree_v2(d));
}

static void quota_is_what_mem_info_says(void **state)
{
	size_t f, t, f2;
	CUdeviceptr d;

	OK(cuMemGetInfo_v2(&f, &t));
	assert_int_equal(t, HARNESS_QUOTA);
	OK(cuMemAlloc_v2(&d, 1u << 20));
	OK(cuMemGetInfo_v2(&f2, &t));
	assert_int_equal(f - f2, 1u << 20);
	OK(cuMemFree_v2(d));
	assert_int_equal(cuMemAlloc_v2(&d, HARNESS_QUOTA + 1), CUDA_ERROR_OUT_OF_MEMORY);
	OK(cuMemGetInfo_v2(&f2, &t));
	assert_int_equal(f, f2);
}

/* What a call does not name by its size is taken from the quota too, and comes back. */
static void quota_counts_what_is_not_asked_for(void **state)
{
	CUDA_ARRAY_DESCRIPTOR one = { 1, 1, CU_AD_FORMAT_UNSIGNED_INT8, 1 };
	size_t f, t, f2;
	CUdeviceptr d[4];
	CUarray a;

	OK(cuMemGetInfo_v2(&f, &t));
	for (int i = 0; i < 4; i++)
		OK(cuMemAlloc_v2(&d[i], 1));
	OK(cuArrayCreate_v2(&a, &one));
	OK(cuMemGetInfo_v2(&f2, &t));
	assert_int_equal(f - f2, 5 * 256);
	OK(cuArrayDestroy(a));
	for (int i = 0; i < 4; i++)
		OK(cuMemFree_v2(d[i]));
	assert_int_equal(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 2 * HARNESS_QUOTA), CUDA_ERROR_OUT_OF_MEMORY);
	assert_int_equal(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
	for (int i = 0; i < 100; i++) {
		OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, HARNESS_QUOTA / 2));
		OK(cuMemGetInfo_v2(&f2, &t));
		assert_int_equal(f - f2, HARNESS_QUOTA / 2 - 1024);
		OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 1024));
	}
	OK(cuMemGetInfo_v2(&f2, &t));
	assert_int_equal(f, f2);
}

static void arrays_and_textures(void **state)
{
	CUDA_ARRAY_DESCRIPTOR d = { 64, 16, CU_AD_FORMAT_UNSIGNED_INT8, 4 }, back;
	unsigned char a[64 * 16 * 4], b[sizeof(a)] = { 0 };
	CUDA_MEMCPY2D c = { .srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = a, .srcPitch = 256,
			    .dstMemoryType = CU_MEMORYTYPE_ARRAY, .WidthInBytes = 256, .Height = 16 };
	CUDA_RESOURCE_DESC r = { .resType = CU_RESOURCE_TYPE_ARRAY };
	CUDA_TEXTURE_DESC td = { .addressMode = { CU_TR_ADDRESS_MODE_CLAMP } };
	CUtexObject tex;
	CUarray arr;

	OK(cuArrayCreate_v2(&arr, &d));
	OK(cuArrayGetDescriptor_v2(&back, arr));
	assert_memory_equal(&back, &d, sizeof(d));
	fill(a, sizeof(a), 1);
	c.dstArray = arr;
	OK(cuMemcpy2D_v2(&c));
	c = (CUDA_MEMCPY2D){ .srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = arr, .dstMemoryType = CU_MEMORYTYPE_HOST,
			     .dstHost = b, .dstPitch = 256, .WidthInBytes = 256, .Height = 16 };
	OK(cuMemcpy2D_v2(&c));
	assert_memory_equal(a, b, sizeof(a));
	c.Height = 17; /* leaves the array: the executor refuses, the caller hears it */
	assert_int_equal(cuMemcpy2D_v2(&c), CUDA_ERROR_INVALID_VALUE);
	r.res.array.hArray = arr;
	OK(cuTexObjectCreate(&tex, &r, &td, NULL));
	OK(cuTexObjectDestroy(tex));
	assert_int_equal(cuTexObjectDestroy(tex), CUDA_ERROR_INVALID_VALUE);
	OK(cuArrayDestroy(arr));
}

static void libraries(void **state)
{
	CUlibrary lib;
	CUkernel k;
	const char *name;

	OK(cuLibraryLoadData(&lib, kernels, NULL, NULL, 0, NULL, NULL, 0));
	OK(cuLibraryGetKernel(&k, lib, "none"));
	OK(cuKernelGetName(&name, k));
	assert_string_equal(name, "none");
	OK(cuLaunchKernel((CUfunction)k, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	assert_int_equal(cuLibraryGetKernel(&k, lib, "absent"), CUDA_ERROR_NOT_FOUND);
	OK(cuCtxSynchronize());
	OK(cuLibraryUnload(lib));
	assert_int_equal(cuLibraryUnload(lib), CUDA_ERROR_INVALID_HANDLE);
}

static void a_forked_child_is_not_initialized(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		CUdeviceptr p;

		_exit(cuMemAlloc_v2(&p, 4) == CUDA_ERROR_NOT_INITIALIZED && cuInit(0) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	OK(cuCtxSynchronize()); /* the parent goes on */
}

static int start(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/vgpu-e2e-%d.sock", (int)getpid());
	server = harness_serve(path, getenv("VGPU_TEST_DRIVER"));
	setenv("VGPU_SOCKET", path, 1);
	return server < 0;
}

static int stop(void **state)
{
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	unlink(getenv("VGPU_SOCKET"));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_init),
		cmocka_unit_test(device_queries_need_no_executor),
		cmocka_unit_test(contexts_stack),
		cmocka_unit_test(copies_of_every_size),
		cmocka_unit_test(rectangles_of_both_kinds),
		cmocka_unit_test(memsets),
		cmocka_unit_test(modules_and_logs),
		cmocka_unit_test(launch_packs_arguments),
		cmocka_unit_test(launch_errors_belong_to_their_call),
		cmocka_unit_test(pinned_memory_has_one_address),
		cmocka_unit_test(events_and_streams),
		cmocka_unit_test(uploads_precede_later_work_of_other_streams),
		cmocka_unit_test(a_wait_stalls_nobody),
		cmocka_unit_test(many_threads),
		cmocka_unit_test(long_queue_keeps_order),
		cmocka_unit_test(quota_is_what_mem_info_says),
		cmocka_unit_test(quota_counts_what_is_not_asked_for),
		cmocka_unit_test(arrays_and_textures),
		cmocka_unit_test(libraries),
		cmocka_unit_test(a_forked_child_is_not_initialized),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
