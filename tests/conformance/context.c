/* SPDX-License-Identifier: Apache-2.0 */
/* Primary and created contexts, and the stack of current ones each thread has. */
#include "conf.h"
#include <pthread.h>

static void primary_state(int want_active)
{
	unsigned flags = 99;
	int active = -1;
	OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
	EQ(active, want_active);
}

static void primary(void)
{
	CUdevice d = conf_device();
	CUcontext a = NULL, b = NULL;
	primary_state(0);
	IS(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease(d));
	OK(cuDevicePrimaryCtxRetain(&a, d));
	OK(cuDevicePrimaryCtxRetain(&b, d));
	TRUE(a != NULL && a == b);
	primary_state(1);
	CUcontext current = (CUcontext)1;
	OK(cuCtxGetCurrent(&current));
	TRUE(current == NULL); /* retaining does not make it current */
	OK(cuDevicePrimaryCtxRelease(d));
	primary_state(1);
	OK(cuDevicePrimaryCtxRelease(d));
	primary_state(0);
	IS(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease(d));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDevicePrimaryCtxRetain(&a, 4711));
	IS(CUDA_ERROR_INVALID_VALUE, cuDevicePrimaryCtxRetain(NULL, d));
}

/* Releasing the last reference frees what the context held; a new one starts empty. */
static void primary_reset(void)
{
	CUdevice d = conf_device();
	CUcontext c;
	size_t before, after, total;
	OK(cuDevicePrimaryCtxRetain(&c, d));
	OK(cuCtxSetCurrent(c));
	OK(cuMemGetInfo(&before, &total));
	CUdeviceptr p = conf_alloc(8 << 20);
	OK(cuMemGetInfo(&after, &total));
	TRUE(after + (8 << 20) <= before);
	OK(cuDevicePrimaryCtxReset(d));
	OK(cuCtxSetCurrent(NULL));
	OK(cuDevicePrimaryCtxRetain(&c, d));
	OK(cuCtxSetCurrent(c));
	OK(cuMemGetInfo(&after, &total));
	TRUE(after >= before);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(p));
}

static void created(void)
{
	CUdevice d = conf_device(), got = 99;
	CUcontext a = NULL, b = NULL, c = NULL;
	OK(cuCtxCreate_v2(&a, 0, d));
	OK(cuCtxGetCurrent(&c));
	TRUE(c == a);
	OK(cuCtxGetDevice(&got));
	EQ(got, d);
	OK(cuCtxCreate_v2(&b, CU_CTX_SCHED_BLOCKING_SYNC, d));
	OK(cuCtxGetCurrent(&c));
	TRUE(c == b && a != b);
	OK(cuCtxPopCurrent(&c));
	TRUE(c == b);
	OK(cuCtxGetCurrent(&c));
	TRUE(c == a);
	OK(cuCtxPushCurrent(b));
	OK(cuCtxDestroy(b)); /* the current one: it leaves the stack too */
	OK(cuCtxGetCurrent(&c));
	TRUE(c == a);
	IS_EITHER(CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxSetCurrent(b));
	IS_EITHER(CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxPushCurrent(b));
	IS_EITHER(CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxDestroy(b));
	OK(cuCtxDestroy(a));
	OK(cuCtxGetCurrent(&c));
	TRUE(c == NULL);
	IS(CUDA_ERROR_INVALID_VALUE, cuCtxCreate_v2(NULL, 0, d));
	IS(CUDA_ERROR_INVALID_VALUE, cuCtxCreate_v2(&a, 0xffff0000u, d));
	IS(CUDA_ERROR_INVALID_DEVICE, cuCtxCreate_v2(&a, 0, 4711));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxPopCurrent(&c));
}

/* Memory of one context survives the end of another, and goes with its own. */
static void separate_memory(void)
{
	CUdevice d = conf_device();
	CUcontext a, b;
	CUdeviceptr pa, pb;
	uint32_t v = 0;
	OK(cuCtxCreate_v2(&a, 0, d));
	pa = conf_alloc(4096);
	OK(cuMemsetD32(pa, 0xaaaaaaaa, 1024));
	OK(cuCtxCreate_v2(&b, 0, d));
	pb = conf_alloc(4096);
	TRUE(pa != pb);
	OK(cuMemsetD32(pb, 0xbbbbbbbb, 1024));
	OK(cuCtxDestroy(b));
	OK(cuMemcpyDtoH(&v, pa, 4));
	EQ(v, 0xaaaaaaaa);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(pb));
	OK(cuMemFree(pa));
	OK(cuCtxDestroy(a));
}

struct thread_view {
	CUcontext context, at_start, after_pop;
	CUresult first, set, alloc, pop;
};

static void *look_around(void *arg)
{
	struct thread_view *t = arg;
	CUdeviceptr p = 0;
	cuCtxGetCurrent(&t->at_start);
	t->first = cuCtxSynchronize();
	t->set = cuCtxSetCurrent(t->context);
	t->alloc = cuMemAlloc(&p, 256);
	if (t->alloc == CUDA_SUCCESS)
		t->alloc = cuMemFree(p);
	t->pop = cuCtxPopCurrent(&t->after_pop);
	return NULL;
}

static void per_thread(void)
{
	struct thread_view t = {.context = conf_context(), .at_start = (CUcontext)1};
	CUcontext c = NULL;
	pthread_t id;
	TRUE(pthread_create(&id, NULL, look_around, &t) == 0);
	pthread_join(id, NULL);
	TRUE(t.at_start == NULL);
	EQ(t.first, CUDA_ERROR_INVALID_CONTEXT);
	EQ(t.set, CUDA_SUCCESS);
	EQ(t.alloc, CUDA_SUCCESS);
	EQ(t.pop, CUDA_SUCCESS);
	TRUE(t.after_pop == t.context);
	OK(cuCtxGetCurrent(&c)); /* untouched by the other thread's pop */
	TRUE(c == t.context);
}

static pthread_barrier_t meet;
static void *use_destroyed(void *arg)
{
	static CUresult r;
	cuCtxSetCurrent(arg);
	pthread_barrier_wait(&meet); /* it destroys */
	pthread_barrier_wait(&meet);
	CUdeviceptr p;
	r = cuMemAlloc(&p, 256);
	return &r;
}

static void destroyed_elsewhere(void)
{
	CUcontext c;
	pthread_t id;
	void *r;
	OK(cuCtxCreate_v2(&c, 0, conf_device()));
	OK(cuCtxPopCurrent(&c));
	pthread_barrier_init(&meet, NULL, 2);
	TRUE(pthread_create(&id, NULL, use_destroyed, c) == 0);
	pthread_barrier_wait(&meet);
	OK(cuCtxDestroy(c));
	pthread_barrier_wait(&meet);
	pthread_join(id, &r);
	IS_EITHER(CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_INVALID_CONTEXT, *(CUresult *)r);
}

static void queries(void)
{
	CUcontext c = conf_context(), x = NULL;
	unsigned version = 0;
	int low = 99, high = 99;
	OK(cuCtxGetApiVersion(c, &version));
	TRUE(version >= 3010);
	OK(cuCtxGetStreamPriorityRange(&low, &high));
	TRUE(low >= high && low >= 0 && high <= 0);
	/* cuCtxSetCurrent replaces the top: the stack does not grow. */
	OK(cuCtxPushCurrent(c));
	OK(cuCtxSetCurrent(c));
	OK(cuCtxSetCurrent(NULL));
	OK(cuCtxGetCurrent(&x));
	TRUE(x == c || x == NULL);
	OK(cuCtxSetCurrent(c));
	OK(cuCtxSynchronize());
}

static const struct conf_case cases[] = {
	{"the primary context is counted", primary, .own_process = true},
	{"reset frees what the primary context held", primary_reset, .own_process = true},
	{"created contexts form a stack", created, .own_process = true},
	{"each context has its own memory", separate_memory, .own_process = true},
	{"the current context is per thread", per_thread},
	{"a context destroyed by another thread", destroyed_elsewhere},
	{"context queries", queries},
};
CONF_MAIN(cases)
