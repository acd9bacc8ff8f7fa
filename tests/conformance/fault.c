/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that go wrong: the code, its stickiness, and what other processes notice (nothing). */
#include "conf.h"

/* After an execution fault every call on the context returns the same code, for good. */
static void is_sticky(CUresult want)
{
	CUdeviceptr p;
	CUstream s;
	CUmodule m;
	uint32_t v;
	IS(want, cuCtxSynchronize());
	IS(want, cuMemAlloc(&p, 16));
	IS(want, cuMemcpyDtoH(&v, 0x1000, 4));
	IS(want, cuStreamCreate(&s, 0));
	IS(want, cuModuleLoadData(&m, ptx_faults));
	IS(want, cuStreamSynchronize(NULL));
	IS(want, cuCtxSynchronize());
	/* Queries that touch no context still answer. */
	int n = 0;
	const char *text;
	OK(cuDeviceGetCount(&n));
	OK(cuGetErrorName(want, &text));
}

static void store_fault(uint64_t address, CUresult want)
{
	CUfunction f = conf_function(conf_module(ptx_faults), "store_at");
	uint32_t v = 1;
	LAUNCH(f, 1, 1, 0, &address, &v);
	IS(want, cuCtxSynchronize());
	is_sticky(want);
}

static void null_store(void) { store_fault(0, CUDA_ERROR_ILLEGAL_ADDRESS); }
static void wild_store(void) { store_fault(0x123456789abcull & ~3ull, CUDA_ERROR_ILLEGAL_ADDRESS); }
static void misaligned(void)
{
	conf_context();
	CUdeviceptr p = conf_alloc(4096);
	store_fault(p + 2, CUDA_ERROR_MISALIGNED_ADDRESS);
}
static void just_behind(void)
{
	conf_context();
	CUdeviceptr p = conf_alloc(1 << 20);
	/* Far enough behind for any allocation granularity; nothing else is allocated. */
	store_fault(p + (1ull << 34), CUDA_ERROR_ILLEGAL_ADDRESS);
}
static void after_free(void)
{
	conf_context();
	CUdeviceptr p = conf_alloc(16 << 20);
	OK(cuMemFree(p));
	store_fault(p, CUDA_ERROR_ILLEGAL_ADDRESS);
}
/* The address of an ordinary host variable is no device address. */
static void host_pointer(void)
{
	static uint32_t host_variable = 77;
	store_fault((uint64_t)(uintptr_t)&host_variable, CUDA_ERROR_ILLEGAL_ADDRESS);
	EQ(host_variable, 77);
}
static void load_fault(void)
{
	CUfunction f = conf_function(conf_module(ptx_faults), "load_at");
	CUdeviceptr out = conf_alloc(4), nowhere = 0x700000001000ull;
	LAUNCH(f, 1, 1, 0, &nowhere, &out);
	is_sticky(CUDA_ERROR_ILLEGAL_ADDRESS);
}
static void trap(void)
{
	CUfunction f = conf_function(conf_module(ptx_faults), "trap_at");
	uint32_t thread = 70;
	LAUNCH(f, 4, 32, 0, &thread);
	IS_EITHER(CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_ILLEGAL_INSTRUCTION, cuCtxSynchronize());
	is_sticky(cuCtxSynchronize());
}
/* Work queued behind the fault does not run and does not hide it. */
static void queued_behind(void)
{
	CUmodule m = conf_module(ptx_faults);
	CUfunction bad = conf_function(m, "store_at"), good = conf_function(m, "good");
	CUdeviceptr p = conf_alloc(128);
	uint64_t nowhere = 16;
	uint32_t v = 1;
	CUstream s;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuLaunchKernel(bad, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&nowhere, &v}, NULL));
	CUresult r = CUDA_SUCCESS;
	for (int i = 0; i < 10 && r == CUDA_SUCCESS; i++)
		r = cuLaunchKernel(good, 1, 1, 1, 32, 1, 1, 0, s, (void *[]){&p}, NULL);
	TRUE(r == CUDA_SUCCESS || r == CUDA_ERROR_ILLEGAL_ADDRESS);
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(s));
	is_sticky(CUDA_ERROR_ILLEGAL_ADDRESS);
}
/* The parent's process, started after all those: nothing stuck to the device. */
static void device_still_works(void)
{
	CUfunction f = conf_function(conf_module(ptx_faults), "good");
	CUdeviceptr p = conf_alloc(128);
	uint32_t out[32], want[32];
	OK(cuMemsetD32(p, 0, 32));
	LAUNCH(f, 1, 32, 0, &p);
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	for (int i = 0; i < 32; i++)
		want[i] = 1;
	SAME(out, want, sizeof(out));
	OK(cuMemFree(p));
}

static const struct conf_case cases[] = {
	{"a store to NULL", null_store, .own_process = true},
	{"a store to nowhere", wild_store, .own_process = true},
	{"a store far behind an allocation", just_behind, .own_process = true},
	{"a store to freed memory", after_free, .own_process = true},
	{"a store to unregistered host memory", host_pointer, .own_process = true},
	{"a misaligned store", misaligned, .own_process = true},
	{"a load from nowhere", load_fault, .own_process = true},
	{"a trap", trap, .own_process = true},
	{"work queued behind a fault", queued_behind, .own_process = true},
	{"the device works on for others", device_still_works},
};
CONF_MAIN(cases)
