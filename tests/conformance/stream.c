/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events: order, waiting, the default stream, time, host functions. */
#include "conf.h"
#include <time.h>

enum { N = 4096, SLOW = 3000 };

static CUmodule module(void)
{
	static CUmodule m;
	if (!m)
		m = conf_module(ptx_basic);
	conf_context();
	return m;
}

static void affine(CUstream s, CUdeviceptr p, uint32_t mul, uint32_t add, uint32_t rounds)
{
	uint32_t n = N;
	void *args[] = {&p, &mul, &add, &n, &rounds};
	OK(cuLaunchKernel(conf_function(module(), rounds ? "slow_affine" : "affine"), N / 256, 1, 1, 256, 1, 1, 0, s, args, NULL));
}

static void expect(CUdeviceptr p, uint32_t value)
{
	static uint32_t out[N], want[N];
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	for (int i = 0; i < N; i++)
		want[i] = value;
	SAME(out, want, sizeof(out));
}

static CUdeviceptr cells(uint32_t value)
{
	module();
	CUdeviceptr p = conf_alloc(N * 4);
	OK(cuMemsetD32(p, value, N));
	OK(cuCtxSynchronize());
	return p;
}

static void order(void)
{
	CUdeviceptr p = cells(1);
	CUstream s;
	uint32_t want = 1;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	for (uint32_t i = 0; i < 50; i++) {
		affine(s, p, 3 + i, i, i % 10 == 0 ? SLOW : 0);
		want = want * (3 + i) + i;
	}
	OK(cuStreamSynchronize(s));
	OK(cuStreamQuery(s));
	expect(p, want);
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
}

/* Two streams pass a buffer to and fro by events alone. */
static void wait_event(void)
{
	CUdeviceptr p = cells(1);
	CUstream s[2];
	CUevent e;
	uint32_t want = 1;
	OK(cuStreamCreate(&s[0], CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&s[1], CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	for (uint32_t i = 0; i < 20; i++) {
		affine(s[i & 1], p, 5, i, SLOW / 3);
		want = want * 5 + i;
		OK(cuEventRecord(e, s[i & 1])); /* recorded anew each time; a wait means the record before it */
		OK(cuStreamWaitEvent(s[~i & 1], e, 0));
	}
	OK(cuStreamSynchronize(s[0]));
	OK(cuStreamSynchronize(s[1]));
	expect(p, want);
	OK(cuEventDestroy(e));
	OK(cuStreamDestroy(s[0]));
	OK(cuStreamDestroy(s[1]));
	OK(cuMemFree(p));
}

/* The legacy default stream waits for all blocking streams, and they for it. */
static void legacy_default(void)
{
	CUdeviceptr p = cells(1);
	CUstream a, b;
	uint32_t want = 1;
	OK(cuStreamCreate(&a, CU_STREAM_DEFAULT));
	OK(cuStreamCreate(&b, CU_STREAM_DEFAULT));
	for (uint32_t i = 0; i < 8; i++) {
		affine(a, p, 3, i, SLOW);
		affine(NULL, p, 5, i, SLOW / 2);
		affine(b, p, 7, i, SLOW);
		affine(CU_STREAM_LEGACY, p, 9, i, 0);
		want = (((want * 3 + i) * 5 + i) * 7 + i) * 9 + i;
	}
	expect(p, want); /* a synchronous copy is on the default stream, so it waits as well */
	OK(cuStreamDestroy(a));
	OK(cuStreamDestroy(b));
	OK(cuMemFree(p));
}

/* A kernel that waits for the host keeps its stream, and only its stream, busy. */
static void query(void)
{
	CUstream s, other;
	CUevent e;
	volatile uint32_t *flag;
	CUfunction f = conf_function(module(), "wait_flag");
	CUdeviceptr out = conf_alloc(4);
	uint32_t limit = 2000000000u, got = 0;
	OK(cuMemHostAlloc((void **)&flag, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
	*flag = 0;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&e, 0));
	OK(cuEventQuery(e)); /* never recorded counts as complete */
	CUdeviceptr seen = (CUdeviceptr)(uintptr_t)flag;
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&seen, &out, &limit}, NULL));
	OK(cuEventRecord(e, s));
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(s));
	IS(CUDA_ERROR_NOT_READY, cuEventQuery(e));
	OK(cuStreamQuery(other));
	*flag = 42;
	OK(cuStreamSynchronize(s));
	OK(cuStreamQuery(s));
	OK(cuEventQuery(e));
	OK(cuMemcpyDtoH(&got, out, 4));
	EQ(got, 42);
	OK(cuEventDestroy(e));
	OK(cuStreamDestroy(s));
	OK(cuStreamDestroy(other));
	OK(cuMemFreeHost((void *)flag));
	OK(cuMemFree(out));
}

static void elapsed(void)
{
	CUdeviceptr p = cells(1);
	CUevent a, b, untimed;
	CUstream s;
	float ms = -1, shorter = -1;
	struct timespec t0, t1;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&a, 0));
	OK(cuEventCreate(&b, CU_EVENT_BLOCKING_SYNC));
	OK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
	IS(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, a, b)); /* not recorded */
	clock_gettime(CLOCK_MONOTONIC, &t0);
	OK(cuEventRecord(a, s));
	for (int i = 0; i < 4; i++)
		affine(s, p, 3, 1, SLOW);
	OK(cuEventRecord(b, s));
	OK(cuEventSynchronize(b));
	clock_gettime(CLOCK_MONOTONIC, &t1);
	OK(cuEventElapsedTime(&ms, a, b));
	double wall = (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6;
	TRUE(ms > 0 && ms <= wall * 1.01 + 0.01);
	OK(cuEventRecord(a, s));
	OK(cuEventRecord(b, s));
	OK(cuStreamSynchronize(s));
	OK(cuEventElapsedTime(&shorter, a, b));
	TRUE(shorter >= 0 && shorter < ms);
	OK(cuEventRecord(untimed, s));
	OK(cuEventSynchronize(untimed));
	IS(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, a, untimed));
	IS(CUDA_ERROR_INVALID_VALUE, cuEventCreate(&a, 0x800));
	OK(cuEventDestroy(a));
	OK(cuEventDestroy(b));
	OK(cuEventDestroy(untimed));
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
}

static void properties(void)
{
	int low, high, got = 99;
	unsigned flags = 99;
	CUstream s = NULL;
	CUcontext c = conf_context(), of = NULL;
	OK(cuCtxGetStreamPriorityRange(&low, &high));
	OK(cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, high - 100)); /* clamped, not refused */
	OK(cuStreamGetPriority(s, &got));
	EQ(got, high);
	OK(cuStreamGetFlags(s, &flags));
	EQ(flags, CU_STREAM_NON_BLOCKING);
	OK(cuStreamGetCtx(s, &of));
	TRUE(of == c);
	OK(cuStreamDestroy(s));
	IS(CUDA_ERROR_INVALID_VALUE, cuStreamCreate(&s, 0x40));
	IS(CUDA_ERROR_INVALID_VALUE, cuStreamCreate(NULL, 0));
	OK(cuStreamSynchronize(NULL));
	OK(cuStreamQuery(NULL));
}

/* Destroying a stream does not drop its work. */
static void destroy_busy(void)
{
	CUdeviceptr p = cells(1);
	CUstream s;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	affine(s, p, 3, 1, SLOW);
	affine(s, p, 5, 2, SLOW);
	OK(cuStreamDestroy(s));
	OK(cuCtxSynchronize());
	expect(p, 22);
	OK(cuMemFree(p));
}

/* Freeing waits for the work that uses the memory, as cuMemFree does. */
static void free_busy(void)
{
	CUdeviceptr p = cells(1);
	CUstream s;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	for (int i = 0; i < 4; i++)
		affine(s, p, 3, 1, SLOW);
	OK(cuMemFree(p));
	OK(cuStreamSynchronize(s));
	OK(cuStreamDestroy(s));
}

static void per_thread_default(void)
{
	CUdeviceptr p = cells(1);
	affine(CU_STREAM_PER_THREAD, p, 3, 1, SLOW);
	affine(CU_STREAM_PER_THREAD, p, 5, 2, 0);
	OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
	expect(p, 22);
	OK(cuMemFree(p));
}

static int calls;
static uint32_t seen_by_host;
static void host_function(void *data)
{
	seen_by_host = *(volatile uint32_t *)data;
	calls++;
	*(volatile uint32_t *)data = 100; /* the next kernel must see this */
}

static void host_functions(void)
{
	uint32_t *shared, mul = 3, add = 1, n = 1;
	CUstream s;
	CUfunction f = conf_function(module(), "affine");
	OK(cuMemHostAlloc((void **)&shared, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	*shared = 5;
	void *args[] = {&shared, &mul, &add, &n};
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, args, NULL));
	OK(cuLaunchHostFunc(s, host_function, shared));
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, args, NULL));
	OK(cuStreamSynchronize(s));
	EQ(calls, 1);
	EQ(seen_by_host, 16);
	EQ(*shared, 301);
	OK(cuStreamDestroy(s));
	OK(cuMemFreeHost(shared));
}

static const struct conf_case cases[] = {
	{"a stream keeps its order", order},
	{"streams wait for events", wait_event},
	{"the legacy default stream", legacy_default},
	{"queries of busy and idle streams", query},
	{"elapsed time", elapsed},
	{"stream properties", properties},
	{"a destroyed stream finishes its work", destroy_busy},
	{"freeing memory in use waits", free_busy},
	{"the per-thread default stream", per_thread_default},
	{"host functions run in order", host_functions},
};
CONF_MAIN(cases)
