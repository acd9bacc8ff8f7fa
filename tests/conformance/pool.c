/* SPDX-License-Identifier: Apache-2.0 */
/* Stream-ordered allocation, memory pools, advice about managed memory. */
#include "conf.h"
#include <semaphore.h>

static CUmemoryPool default_pool(void)
{
	CUmemoryPool p = NULL, now = NULL;
	CUdevice dev = conf_device();

	conf_context();
	OK(cuDeviceGetDefaultMemPool(&p, dev));
	OK(cuDeviceGetMemPool(&now, dev));
	TRUE(p == now);
	return p;
}

static uint64_t used(CUmemoryPool p)
{
	cuuint64_t v = ~0ull;

	OK(cuMemPoolGetAttribute(p, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &v));
	return v;
}

/* Work on a stream may use memory allocated before it on that stream, up to its free. */
static void in_stream_order(void)
{
	uint32_t out[256], n = 256, mul = 3, add = 1;
	CUmemoryPool pool = default_pool(), of = NULL;
	CUfunction f = conf_function(conf_module(ptx_basic), "affine");
	CUdeviceptr p;
	CUstream s;

	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	EQ(used(pool), 0);
	for (int i = 0; i < 8; i++) {
		OK(cuMemAllocAsync(&p, sizeof(out), s));
		OK(cuPointerGetAttribute(&of, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, p));
		TRUE(of == pool);
		EQ(used(pool), sizeof(out));
		OK(cuMemsetD32Async(p, 5, 256, s));
		OK(cuLaunchKernel(f, 1, 1, 1, 256, 1, 1, 0, s, (void *[]){ &p, &mul, &add, &n }, NULL));
		OK(cuMemcpyDtoHAsync(out, p, sizeof(out), s));
		OK(cuMemFreeAsync(p, s));
		OK(cuStreamSynchronize(s));
		EQ(out[0], 16);
		EQ(out[255], 16);
	}
	EQ(used(pool), 0);
	cuuint64_t high = 0, none = 0;
	OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &high));
	EQ(high, sizeof(out));
	OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &none));
	OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &high));
	EQ(high, 0);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemAllocAsync(&p, 0, s));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(0x1000, s));
	/* Either way of freeing does for either way of allocating. */
	OK(cuMemAllocAsync(&p, 4096, s));
	OK(cuStreamSynchronize(s));
	OK(cuMemFree(p));
	p = conf_alloc(4096);
	OK(cuMemFreeAsync(p, s));
	OK(cuStreamSynchronize(s));
	EQ(used(pool), 0);
	OK(cuStreamDestroy(s));
}

static void wait_for(void *go)
{
	while (sem_wait(go))
		; /* a signal */
}

/* A free does not wait for its stream; what it frees is there for who asks afterwards. */
static void frees_do_not_wait(void)
{
	size_t most, all;
	CUdeviceptr p, q;
	sem_t go;
	CUstream s;

	default_pool();
	OK(cuMemGetInfo(&most, &all));
	size_t n = most / 3 * 2;
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	sem_init(&go, 0, 0);
	OK(cuLaunchHostFunc(s, wait_for, &go));
	OK(cuMemAllocAsync(&p, 1 << 16, s));
	OK(cuMemsetD8Async(p, 1, 1 << 16, s));
	OK(cuMemFreeAsync(p, s));
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(s));
	sem_post(&go);
	OK(cuStreamSynchronize(s));
	for (int i = 0; i < 5; i++) { /* each needs what the one before it gave back */
		OK(cuMemAllocAsync(&q, n, s));
		OK(cuMemFreeAsync(q, s));
		OK(cuStreamSynchronize(s));
	}
	OK(cuStreamDestroy(s));
}

static void own_pool(void)
{
	CUmemPoolProps props = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				 .location = { CU_MEM_LOCATION_TYPE_DEVICE, conf_device() } };
	CUmemoryPool pool = NULL, first = default_pool(), now;
	cuuint64_t threshold = 1 << 20, got = 0;
	CUdeviceptr p;
	int reuse = 0;

	OK(cuMemPoolCreate(&pool, &props));
	OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
	OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &got));
	EQ(got, threshold);
	OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, &reuse));
	reuse = 1;
	OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, &reuse));
	EQ(reuse, 0);
	OK(cuMemAllocFromPoolAsync(&p, 1 << 16, pool, NULL));
	EQ(used(pool), 1 << 16);
	EQ(used(first), 0);
	OK(cuMemFreeAsync(p, NULL));
	OK(cuCtxSynchronize());
	EQ(used(pool), 0);
	OK(cuDeviceSetMemPool(conf_device(), pool));
	OK(cuDeviceGetMemPool(&now, conf_device()));
	TRUE(now == pool);
	OK(cuMemPoolTrimTo(pool, 0));
	OK(cuMemPoolDestroy(pool));
	OK(cuDeviceGetMemPool(&now, conf_device()));
	TRUE(now == first);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(first));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemPoolTrimTo(pool, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemAllocFromPoolAsync(&p, 16, pool, NULL));
	props.location.id = 99;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemPoolCreate(&pool, &props));
}

static void managed_advice(void)
{
	CUdevice dev = conf_device();
	CUdeviceptr p, d;
	CUstream s;

	conf_context();
	OK(cuMemAllocManaged(&p, 1 << 16, CU_MEM_ATTACH_GLOBAL));
	d = conf_alloc(4096);
	OK(cuStreamCreate(&s, 0));
	OK(cuMemAdvise(p, 1 << 16, CU_MEM_ADVISE_SET_READ_MOSTLY, (CUmemLocation){ CU_MEM_LOCATION_TYPE_DEVICE, dev }));
	IS(CUDA_ERROR_INVALID_VALUE,
	   cuMemAdvise(d, 4096, CU_MEM_ADVISE_SET_READ_MOSTLY, (CUmemLocation){ CU_MEM_LOCATION_TYPE_DEVICE, dev }));
	OK(cuStreamAttachMemAsync(s, p, 0, CU_MEM_ATTACH_GLOBAL));
	IS(CUDA_ERROR_INVALID_VALUE, cuStreamAttachMemAsync(s, d, 0, CU_MEM_ATTACH_GLOBAL));
	OK(cuStreamDestroy(s));
	OK(cuMemFree(d));
	OK(cuMemFree(p));
}

static const struct conf_case cases[] = {
	{ "allocation and free in stream order", in_stream_order, false },
	{ "a free does not wait", frees_do_not_wait, false },
	{ "pools of one's own", own_pool, false },
	{ "advice about managed memory", managed_advice, false },
};
CONF_MAIN(cases)
