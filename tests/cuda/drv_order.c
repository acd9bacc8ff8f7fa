// SPDX-License-Identifier: Apache-2.0
/*
 * softcuda's libcuda.so.1, opened as an executor opens it: order between streams, events and host
 * functions, sticky errors, handles that are none. What programs see of the API is in
 * tests/conformance; this is about the queue under it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cuda/loader.h"

static struct cuda_driver cu;
static CUcontext ctx;
static CUmodule module;
static CUfunction inc;

static const char ptx[] =
	".version 6.0\n.target sm_50\n.address_size 64\n"
	".visible .entry inc(.param .u64 p, .param .u32 v)\n{\n"
	" .reg .b32 %r<4>;\n .reg .b64 %rd<3>;\n"
	" ld.param.u64 %rd1, [p];\n ld.param.u32 %r1, [v];\n"
	" cvta.to.global.u64 %rd2, %rd1;\n ld.global.u32 %r2, [%rd2];\n add.s32 %r3, %r2, %r1;\n"
	" st.global.u32 [%rd2], %r3;\n ret;\n}\n";

#define OK(call) assert_int_equal((call), CUDA_SUCCESS)

static int setup(void **state)
{
	char err[256];
	if (cuda_driver_open(&cu, getenv("VGPU_DRIVER"), err, sizeof err)) {
		print_error("%s\n", err);
		return -1;
	}
	OK(cu.cuInit(0));
	OK(cu.cuDevicePrimaryCtxRetain(&ctx, 0));
	OK(cu.cuCtxSetCurrent(ctx));
	OK(cu.cuModuleLoadData(&module, ptx));
	OK(cu.cuModuleGetFunction(&inc, module, "inc"));
	return 0;
}

static int add(CUdeviceptr p, int v, CUstream s)
{
	void *params[] = { &p, &v };
	return cu.cuLaunchKernel(inc, 1, 1, 1, 1, 1, 1, 0, s, params, NULL);
}

static void wait_for(void *sem)
{
	struct timespec deadline;
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 20;
	if (sem_timedwait(sem, &deadline))
		abort(); /* the test never opened the gate */
}

/* Breaks if work of one stream overtakes itself, or elapsed time is not measured. */
static void stream_keeps_order(void **state)
{
	CUdeviceptr p;
	CUevent from, to;
	CUstream s;
	int got = -1;
	float ms = -1;
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuEventCreate(&from, 0));
	OK(cu.cuEventCreate(&to, 0));
	OK(cu.cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, 0));
	OK(cu.cuMemsetD8Async(p, 0, 4, s));
	OK(cu.cuEventRecord(from, s));
	for (int i = 0; i < 3000; i++) /* more than the queue is deep */
		OK(add(p, 1, s));
	OK(cu.cuEventRecord(to, s));
	OK(cu.cuMemcpyDtoHAsync_v2(&got, p, 4, s));
	assert_int_equal(got, 3000);
	OK(cu.cuEventElapsedTime(&ms, from, to));
	assert_true(ms > 0);
	OK(cu.cuStreamDestroy_v2(s));
	OK(cu.cuEventDestroy_v2(from));
	OK(cu.cuEventDestroy_v2(to));
	OK(cu.cuMemFree_v2(p));
}

/* Breaks if an event does not order another stream, or a wait blocks the caller. */
static void event_orders_streams(void **state)
{
	CUdeviceptr p;
	CUstream a, b;
	CUevent e;
	sem_t gate;
	int got = -1;
	sem_init(&gate, 0, 0);
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuStreamCreateWithPriority(&a, CU_STREAM_NON_BLOCKING, 0));
	OK(cu.cuStreamCreateWithPriority(&b, CU_STREAM_NON_BLOCKING, 0));
	OK(cu.cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuLaunchHostFunc(a, wait_for, &gate));
	OK(add(p, 5, a));
	OK(cu.cuEventRecord(e, a));
	OK(cu.cuStreamWaitEvent(b, e, 0));
	OK(cu.cuMemsetD32Async(p, 7, 1, b));
	assert_int_equal(cu.cuEventQuery(e), CUDA_ERROR_NOT_READY);
	assert_int_equal(cu.cuStreamQuery(b), CUDA_ERROR_NOT_READY);
	sem_post(&gate);
	OK(cu.cuStreamSynchronize(b));
	OK(cu.cuEventQuery(e));
	OK(cu.cuMemcpyDtoH_v2(&got, p, 4));
	assert_int_equal(got, 7); /* after the 5 was added to 0 */
	OK(cu.cuStreamDestroy_v2(a));
	OK(cu.cuStreamDestroy_v2(b));
	OK(cu.cuEventDestroy_v2(e));
	OK(cu.cuMemFree_v2(p));
}

/* Breaks if the legacy stream does not wait for blocking streams, or they for it; or if a
 * non-blocking stream does. */
static void legacy_stream_orders_blocking_ones(void **state)
{
	CUdeviceptr p;
	CUstream blocking, free_one;
	sem_t gate;
	int got = -1;
	sem_init(&gate, 0, 0);
	OK(cu.cuMemAlloc_v2(&p, 8));
	OK(cu.cuStreamCreateWithPriority(&blocking, CU_STREAM_DEFAULT, 0));
	OK(cu.cuStreamCreateWithPriority(&free_one, CU_STREAM_NON_BLOCKING, 0));
	OK(cu.cuLaunchHostFunc(blocking, wait_for, &gate));
	OK(cu.cuMemsetD32Async(p, 1, 1, NULL));
	OK(add(p, 10, blocking));
	OK(add(p, 100, CU_STREAM_PER_THREAD));
	assert_int_equal(cu.cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
	OK(cu.cuMemsetD32Async(p + 4, 3, 1, free_one));
	OK(cu.cuStreamSynchronize(free_one)); /* the gate is still shut */
	assert_int_equal(cu.cuStreamQuery(blocking), CUDA_ERROR_NOT_READY);
	sem_post(&gate);
	OK(cu.cuStreamSynchronize(CU_STREAM_LEGACY));
	OK(cu.cuMemcpyDtoH_v2(&got, p, 4));
	assert_int_equal(got, 111);
	OK(cu.cuStreamDestroy_v2(blocking));
	OK(cu.cuStreamDestroy_v2(free_one));
	OK(cu.cuMemFree_v2(p));
}

/* Breaks if a stream's queued work is lost or no longer waited for when the stream is destroyed. */
static void destroyed_stream_finishes(void **state)
{
	CUdeviceptr p;
	CUstream s;
	sem_t gate;
	int got = -1;
	sem_init(&gate, 0, 0);
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, 0));
	OK(cu.cuLaunchHostFunc(s, wait_for, &gate));
	OK(add(p, 4, s));
	OK(cu.cuStreamDestroy_v2(s));
	assert_int_equal(cu.cuStreamQuery(s), CUDA_ERROR_INVALID_HANDLE);
	sem_post(&gate);
	OK(cu.cuCtxSynchronize());
	OK(cu.cuMemcpyDtoH_v2(&got, p, 4));
	assert_int_equal(got, 4);
	OK(cu.cuMemFree_v2(p));
}

/* Breaks if pageable memory given to an async copy is read after the call returned. */
static void pageable_source_is_reusable(void **state)
{
	CUdeviceptr p;
	CUstream s;
	sem_t gate;
	char buf[1000], back[1000];
	sem_init(&gate, 0, 0);
	OK(cu.cuMemAlloc_v2(&p, sizeof buf));
	OK(cu.cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, 0));
	OK(cu.cuLaunchHostFunc(s, wait_for, &gate));
	memset(buf, 'a', sizeof buf);
	OK(cu.cuMemcpyHtoDAsync_v2(p, buf, sizeof buf, s));
	memset(buf, 'b', sizeof buf);
	sem_post(&gate);
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuMemcpyDtoH_v2(back, p, sizeof back));
	assert_int_equal(back[0], 'a');
	assert_int_equal(back[999], 'a');
	OK(cu.cuStreamDestroy_v2(s));
	OK(cu.cuMemFree_v2(p));
}

/* Breaks if a handle that is none is followed, or named wrongly. */
static void garbage_handles(void **state)
{
	static const uintptr_t garbage[] = { 3, 16, 0xdeadbeef, 0x7fffffffffff, ~(uintptr_t)0, (uintptr_t)garbage };
	CUdeviceptr p;
	int v;
	for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
		void *h = (void *)garbage[i];
		assert_int_equal(cu.cuStreamSynchronize(h), CUDA_ERROR_INVALID_HANDLE);
		assert_int_equal(cu.cuEventQuery(h), CUDA_ERROR_INVALID_HANDLE);
		assert_int_equal(cu.cuCtxSetCurrent(h), CUDA_ERROR_INVALID_CONTEXT);
		assert_int_equal(cu.cuModuleUnload(h), CUDA_ERROR_INVALID_HANDLE);
		assert_int_equal(cu.cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, h), CUDA_ERROR_INVALID_HANDLE);
		assert_int_equal(cu.cuLaunchKernel(h, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_HANDLE);
		assert_int_equal(cu.cuArrayDestroy(h), CUDA_ERROR_INVALID_HANDLE);
		assert_int_equal(cu.cuMemFree_v2(garbage[i]), CUDA_ERROR_INVALID_VALUE);
		assert_int_equal(cu.cuTexObjectDestroy(garbage[i]), CUDA_ERROR_INVALID_VALUE);
	}
	OK(cu.cuMemAlloc_v2(&p, 16));
	assert_int_equal(cu.cuMemFree_v2(p + 4), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cu.cuMemcpyHtoD_v2(p + 8, garbage, 16), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemFree_v2(p));
	assert_int_equal(cu.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
}

/* Breaks if a kernel's fault is forgotten, does not stop later work, or outlives its context. */
static void faults_stick_to_the_context(void **state)
{
	CUcontext other;
	CUmodule m;
	CUfunction f;
	CUdeviceptr p;
	CUdevice dev;
	OK(cu.cuCtxCreate_v2(&other, 0, 0));
	OK(cu.cuModuleLoadData(&m, ptx));
	OK(cu.cuModuleGetFunction(&f, m, "inc"));
	CUdeviceptr nowhere = 0x1000;
	int one = 1;
	void *params[] = { &nowhere, &one };
	OK(cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	assert_int_equal(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_int_equal(cu.cuMemAlloc_v2(&p, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
	assert_int_equal(cu.cuStreamQuery(NULL), CUDA_ERROR_ILLEGAL_ADDRESS);
	OK(cu.cuCtxDestroy_v2(other));
	OK(cu.cuCtxGetDevice(&dev)); /* the primary context is current again, unharmed */
	OK(cu.cuMemAlloc_v2(&p, 4));
	OK(cu.cuMemFree_v2(p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_keeps_order),
		cmocka_unit_test(event_orders_streams),
		cmocka_unit_test(legacy_stream_orders_blocking_ones),
		cmocka_unit_test(destroyed_stream_finishes),
		cmocka_unit_test(pageable_source_is_reusable),
		cmocka_unit_test(garbage_handles),
		cmocka_unit_test(faults_stick_to_the_context),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
