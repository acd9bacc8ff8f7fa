/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads of one process at once, each on its own stream and data. */
#include "conf.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 40, N = 2048 };

struct worker {
	pthread_t id;
	CUcontext context;
	CUmodule module;
	unsigned index;
	CUresult error;	  /* the first call that failed */
	int error_line;
	unsigned wrong;
};

/* A thread notes where it failed and ends; longjmp belongs to the main thread. */
#define DO(w, expr)                                                                                 \
	do {                                                                                        \
		CUresult r_ = (expr);                                                               \
		if (r_ != CUDA_SUCCESS) {                                                           \
			(w)->error = r_;                                                            \
			(w)->error_line = __LINE__;                                                 \
			return NULL;                                                                \
		}                                                                                   \
	} while (0)

static void *work(void *arg)
{
	struct worker *w = arg;
	CUfunction f;
	CUstream s;
	CUevent e;
	uint32_t host[N], n = N, x = w->index + 1;
	uint64_t state = w->index;
	DO(w, cuCtxSetCurrent(w->context));
	DO(w, cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	DO(w, cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	DO(w, cuModuleGetFunction(&f, w->module, "affine"));
	for (int round = 0; round < ROUNDS; round++) {
		CUdeviceptr p, q;
		DO(w, cuMemAlloc(&p, sizeof(host)));
		DO(w, cuMemAlloc(&q, sizeof(host)));
		DO(w, cuMemsetD32Async(p, x, N, s));
		for (int k = 0; k < 5; k++) {
			uint32_t mul = (uint32_t)conf_random(&state), add = (uint32_t)conf_random(&state);
			DO(w, cuLaunchKernel(f, N / 128, 1, 1, 128, 1, 1, 0, s, (void *[]){&p, &mul, &add, &n}, NULL));
			x = x * mul + add;
		}
		DO(w, cuMemcpyDtoDAsync(q, p, sizeof(host), s));
		DO(w, cuEventRecord(e, s));
		DO(w, round & 1 ? cuEventSynchronize(e) : cuStreamSynchronize(s));
		DO(w, cuMemcpyDtoHAsync(host, q, sizeof(host), s));
		DO(w, cuStreamSynchronize(s));
		for (int i = 0; i < N; i++)
			w->wrong += host[i] != x;
		DO(w, cuMemFree(p));
		DO(w, cuMemFree(q));
	}
	DO(w, cuEventDestroy(e));
	DO(w, cuStreamDestroy(s));
	return NULL;
}

static void run_workers(struct worker *w)
{
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].index = i;
		TRUE(pthread_create(&w[i].id, NULL, work, &w[i]) == 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].id, NULL);
		if (!conf_is(w[i].error, CUDA_SUCCESS, "a call in a thread", __FILE__, w[i].error_line))
			conf_note("thread %u", i);
		EQ(w[i].wrong, 0);
	}
}

static void one_context(void)
{
	struct worker w[THREADS] = {0};
	CUcontext c = conf_context();
	CUmodule m = conf_module(ptx_basic);
	for (unsigned i = 0; i < THREADS; i++)
		w[i].context = c, w[i].module = m;
	run_workers(w);
	OK(cuModuleUnload(m));
}

static void two_contexts(void)
{
	struct worker w[THREADS] = {0};
	CUcontext c[2] = {conf_context(), NULL};
	CUmodule m[2] = {conf_module(ptx_basic), NULL};
	OK(cuCtxCreate_v2(&c[1], 0, conf_device()));
	OK(cuModuleLoadData(&m[1], ptx_basic));
	for (unsigned i = 0; i < THREADS; i++)
		w[i].context = c[i & 1], w[i].module = m[i & 1];
	run_workers(w);
	OK(cuCtxDestroy(c[1]));
	conf_context();
	OK(cuModuleUnload(m[0]));
}

/* One thread waits for a kernel that another thread's host store ends: a wait must not stall others. */
struct waiter { CUcontext context; CUstream stream; CUresult result; };
static void *wait_for_stream(void *arg)
{
	struct waiter *w = arg;
	cuCtxSetCurrent(w->context);
	w->result = cuStreamSynchronize(w->stream);
	return NULL;
}

static void wait_does_not_stall(void)
{
	struct waiter w = {.context = conf_context(), .result = CUDA_ERROR_UNKNOWN};
	CUfunction f = conf_function(conf_module(ptx_basic), "wait_flag");
	volatile uint32_t *flag;
	CUdeviceptr out = conf_alloc(4), p;
	uint32_t limit = 2000000000u, v = 0;
	pthread_t id;
	OK(cuMemHostAlloc((void **)&flag, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
	*flag = 0;
	OK(cuStreamCreate(&w.stream, CU_STREAM_NON_BLOCKING));
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, w.stream, (void *[]){&flag, &out, &limit}, NULL));
	TRUE(pthread_create(&id, NULL, wait_for_stream, &w) == 0);
	/* Meanwhile this thread makes and frees things. */
	for (int i = 0; i < 20; i++) {
		p = conf_alloc(1024);
		EQ(cuStreamQuery(w.stream), CUDA_ERROR_NOT_READY);
	}
	*flag = 9;
	pthread_join(id, NULL);
	EQ(w.result, CUDA_SUCCESS);
	OK(cuMemcpyDtoH(&v, out, 4));
	EQ(v, 9);
	OK(cuMemFree(p));
	OK(cuStreamDestroy(w.stream));
	OK(cuMemFreeHost((void *)flag));
}

static const struct conf_case cases[] = {
	{"eight threads in one context", one_context},
	{"eight threads in two contexts", two_contexts},
	{"a waiting thread does not stall the others", wait_does_not_stall},
};
CONF_MAIN(cases)
