/* SPDX-License-Identifier: Apache-2.0 */
/* Host functions and stream callbacks: when they run, what waits for them, what does not. */
#include "conf.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

enum { N = 1024 };

static CUfunction affine_function(void)
{
	static CUmodule m;

	if (!m)
		m = conf_module(ptx_basic);
	conf_context();
	return conf_function(m, "affine");
}

static void affine(CUstream s, CUdeviceptr p, uint32_t mul, uint32_t add)
{
	uint32_t n = N;
	void *args[] = { &p, &mul, &add, &n };

	OK(cuLaunchKernel(affine_function(), N / 256, 1, 1, 256, 1, 1, 0, s, args, NULL));
}

static CUdeviceptr cells(uint32_t value)
{
	CUdeviceptr p;

	affine_function();
	p = conf_alloc(N * 4);
	OK(cuMemsetD32(p, value, N));
	OK(cuCtxSynchronize());
	return p;
}

static uint32_t first(CUdeviceptr p)
{
	uint32_t v;

	OK(cuMemcpyDtoH(&v, p, 4));
	return v;
}

static CUstream stream(unsigned flags)
{
	CUstream s;

	affine_function();
	OK(cuStreamCreate(&s, flags));
	return s;
}

/* A host function that runs until it is let go: whatever comes back meanwhile did not wait for it. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool entered, open;
	pthread_t thread;
};

static void gate_init(struct gate *g)
{
	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->change, NULL);
}

static void gate_wait(void *arg)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->lock);
	g->entered = true;
	g->thread = pthread_self();
	pthread_cond_broadcast(&g->change);
	while (!g->open)
		pthread_cond_wait(&g->change, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void gate_entered(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->entered)
		pthread_cond_wait(&g->change, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->open = true;
	pthread_cond_broadcast(&g->change);
	pthread_mutex_unlock(&g->lock);
}

/* Sees what the stream wrote before it; the stream sees what it wrote. */
struct passing {
	volatile uint32_t *word;
	uint32_t seen;
};

static void pass(void *arg)
{
	struct passing *p = arg;

	p->seen = *p->word;
	*p->word = p->seen * 10 + 7;
}

static void in_stream_order(void)
{
	struct passing pass1, pass2;
	uint32_t *pinned;
	CUdeviceptr p;
	CUstream s;

	p = cells(1);
	s = stream(CU_STREAM_NON_BLOCKING);
	OK(cuMemAllocHost((void **)&pinned, 4096));
	pass1.word = pass2.word = pinned;
	affine(s, p, 3, 1); /* 4 */
	OK(cuMemcpyDtoHAsync(pinned, p, 4, s));
	OK(cuLaunchHostFunc(s, pass, &pass1)); /* 47 */
	OK(cuLaunchHostFunc(s, pass, &pass2)); /* 477 */
	OK(cuMemcpyHtoDAsync(p, pinned, 4, s));
	affine(s, p, 2, 5);
	OK(cuStreamSynchronize(s));
	EQ(pass1.seen, 4);
	EQ(pass2.seen, 47);
	EQ(first(p), 2 * 477 + 5);
	OK(cuMemFreeHost(pinned));
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
}

/* While it runs: its stream is not ready, and does not go on; another stream does, and can be waited for. */
static void only_its_stream_waits(void)
{
	CUdeviceptr held = cells(1), other = cells(1);
	CUstream s = stream(CU_STREAM_NON_BLOCKING), t = stream(CU_STREAM_NON_BLOCKING);
	struct gate g;
	CUevent e;
	float ms;

	gate_init(&g);
	OK(cuEventCreate(&e, 0));
	OK(cuLaunchHostFunc(s, gate_wait, &g));
	affine(s, held, 5, 0);
	OK(cuEventRecord(e, s));
	gate_entered(&g);
	TRUE(!pthread_equal(g.thread, pthread_self()));
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(s));
	IS(CUDA_ERROR_NOT_READY, cuEventQuery(e));
	IS(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&ms, e, e));
	affine(t, other, 3, 0);
	OK(cuStreamSynchronize(t));
	OK(cuStreamQuery(t));
	uint32_t v[2] = { 0 }, *pinned;
	OK(cuMemAllocHost((void **)&pinned, 4096));
	OK(cuMemcpyDtoHAsync(pinned, other, 4, t));
	OK(cuMemcpyDtoHAsync(pinned + 1, held, 4, t));
	OK(cuStreamSynchronize(t));
	memcpy(v, pinned, sizeof(v));
	EQ(v[0], 3);
	EQ(v[1], 1);
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(s));
	gate_open(&g);
	OK(cuEventSynchronize(e));
	OK(cuStreamSynchronize(s));
	OK(cuStreamQuery(s));
	EQ(first(held), 5);
	OK(cuMemFreeHost(pinned));
	OK(cuEventDestroy(e));
	OK(cuStreamDestroy(s));
	OK(cuStreamDestroy(t));
	OK(cuMemFree(held));
	OK(cuMemFree(other));
}

/* What waits for the held stream waits for the host function: by an event, and by the legacy stream. */
static void dependents_wait(void)
{
	CUdeviceptr p = cells(1);
	CUstream s = stream(CU_STREAM_DEFAULT), t = stream(CU_STREAM_NON_BLOCKING), u = stream(CU_STREAM_DEFAULT);
	struct gate g;
	CUevent e;

	gate_init(&g);
	OK(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	OK(cuLaunchHostFunc(s, gate_wait, &g));
	affine(s, p, 2, 0); /* 2 */
	OK(cuEventRecord(e, s));
	OK(cuStreamWaitEvent(t, e, 0));
	affine(t, p, 3, 1); /* 7 */
	OK(cuEventRecord(e, t)); /* the wait above means the record before it */
	OK(cuStreamWaitEvent(s, e, 0));
	affine(NULL, p, 5, 2); /* 37: the legacy stream, behind s */
	affine(u, p, 7, 3); /* 262: a blocking stream, behind that */
	gate_entered(&g);
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(t));
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(NULL));
	IS(CUDA_ERROR_NOT_READY, cuStreamQuery(u));
	gate_open(&g);
	OK(cuStreamSynchronize(u));
	EQ(first(p), 262);
	OK(cuEventDestroy(e));
	OK(cuStreamDestroy(s));
	OK(cuStreamDestroy(t));
	OK(cuStreamDestroy(u));
	OK(cuMemFree(p));
}

/* A destroyed stream's work, its host functions included, is still done. */
static void stream_destroyed_meanwhile(void)
{
	CUdeviceptr p = cells(1);
	CUstream s = stream(CU_STREAM_NON_BLOCKING);
	struct gate g;

	gate_init(&g);
	OK(cuLaunchHostFunc(s, gate_wait, &g));
	affine(s, p, 6, 0);
	OK(cuStreamDestroy(s));
	gate_entered(&g);
	gate_open(&g);
	OK(cuCtxSynchronize());
	EQ(first(p), 6);
	OK(cuMemFree(p));
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

/* More than any queue holds at once. */
static void many(void)
{
	enum { ROUNDS = 3000 };
	CUdeviceptr p = cells(0);
	CUstream s = stream(CU_STREAM_NON_BLOCKING);
	unsigned calls = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		affine(s, p, 1, 1);
		OK(cuLaunchHostFunc(s, count, &calls));
	}
	OK(cuStreamSynchronize(s));
	EQ(calls, ROUNDS);
	EQ(first(p), ROUNDS);
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
}

/* A long queue behind one host function, staged uploads in it. */
static void long_queue(void)
{
	enum { ROUNDS = 600 };
	CUdeviceptr p = cells(0), q = conf_alloc(ROUNDS * 64);
	CUstream s = stream(CU_STREAM_NON_BLOCKING);
	unsigned char block[64], back[ROUNDS * 64];
	struct gate g;

	gate_init(&g);
	OK(cuLaunchHostFunc(s, gate_wait, &g));
	for (unsigned i = 0; i < ROUNDS; i++) {
		affine(s, p, 1, 1);
		memset(block, (int)i, sizeof(block));
		OK(cuMemcpyHtoDAsync(q + i * 64, block, 64, s));
		if (i == ROUNDS / 2)
			gate_open(&g); /* softcuda's own queue ends about there */
	}
	OK(cuStreamSynchronize(s));
	EQ(first(p), ROUNDS);
	OK(cuMemcpyDtoH(back, q, sizeof(back)));
	for (unsigned i = 0; i < sizeof(back); i++)
		if (back[i] != (unsigned char)(i / 64)) {
			conf_true(false, "every upload lies where it belongs", __FILE__, __LINE__);
			break;
		}
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
	OK(cuMemFree(q));
}

struct permitted {
	CUresult count, alloc, sync, init;
};

static void call_cuda(void *arg)
{
	struct permitted *p = arg;
	CUdeviceptr d;
	int n;

	p->count = cuDeviceGetCount(&n);
	p->alloc = cuMemAlloc(&d, 4);
	p->sync = cuCtxSynchronize();
}

static void cuda_is_not_permitted(void)
{
	struct permitted p = { 0 };
	CUstream s = stream(0);

	OK(cuLaunchHostFunc(s, call_cuda, &p));
	OK(cuStreamSynchronize(s));
	EQ(p.count, CUDA_ERROR_NOT_PERMITTED);
	EQ(p.alloc, CUDA_ERROR_NOT_PERMITTED);
	EQ(p.sync, CUDA_ERROR_NOT_PERMITTED);
	OK(cuStreamDestroy(s));
}

struct told {
	CUstream stream;
	CUresult status;
	unsigned calls;
	sem_t *each; /* posted after each call; or NULL */
};

static void told(CUstream s, CUresult status, void *arg)
{
	struct told *t = arg;

	t->stream = s;
	t->status = status;
	t->calls++;
	if (t->each)
		sem_post(t->each);
}

/* False: it was not told within 10 s. */
static bool is_told(struct told *t)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	do
		rc = sem_timedwait(t->each, &until);
	while (rc && errno == EINTR);
	return !rc;
}

static void callback(void)
{
	struct told t = { .status = CUDA_ERROR_UNKNOWN }, on_default = { .stream = (CUstream)&t };
	CUstream s = stream(CU_STREAM_NON_BLOCKING);

	OK(cuStreamAddCallback(s, told, &t, 0));
	OK(cuStreamAddCallback(NULL, told, &on_default, 0));
	OK(cuStreamSynchronize(s));
	OK(cuCtxSynchronize());
	EQ(t.calls, 1);
	EQ(t.status, CUDA_SUCCESS);
	TRUE(t.stream == s);
	EQ(on_default.calls, 1);
	TRUE(on_default.stream == NULL);
	IS(CUDA_ERROR_INVALID_VALUE, cuStreamAddCallback(s, told, &t, 1));
	IS(CUDA_ERROR_INVALID_VALUE, cuStreamAddCallback(s, NULL, &t, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuLaunchHostFunc(s, NULL, &t));
	OK(cuStreamDestroy(s));
	IS(CUDA_ERROR_INVALID_HANDLE, cuLaunchHostFunc(s, count, &t));
}

struct enqueuer {
	CUstream s;
	CUdeviceptr p;
	_Atomic unsigned calls;
};

static void count_atomic(void *arg)
{
	atomic_fetch_add(&((struct enqueuer *)arg)->calls, 1);
}

static void *enqueue(void *arg)
{
	struct enqueuer *e = arg;

	conf_context();
	for (int i = 0; i < 200; i++) {
		if (cuLaunchHostFunc(e->s, count_atomic, e))
			return arg;
	}
	return NULL;
}

/* From several threads into one stream and into others. */
static void from_threads(void)
{
	struct enqueuer e[4] = { 0 };
	pthread_t t[4];
	void *bad;

	affine_function();
	e[0].s = e[1].s = stream(CU_STREAM_NON_BLOCKING);
	e[2].s = e[3].s = stream(CU_STREAM_DEFAULT);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, enqueue, &e[i]);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		TRUE(!bad);
	}
	OK(cuCtxSynchronize());
	for (int i = 0; i < 4; i++)
		EQ(e[i].calls, 200);
	OK(cuStreamDestroy(e[0].s));
	OK(cuStreamDestroy(e[2].s));
}

/* After a fault a callback is told of it; a host function is not called. */
static void after_a_fault(void)
{
	CUfunction f = conf_function(conf_module(ptx_faults), "store_at");
	sem_t each;
	struct told t = { .each = &each };
	unsigned calls = 0;
	struct gate g;
	CUstream s;

	conf_context();
	sem_init(&each, 0, 0);
	gate_init(&g);
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuLaunchHostFunc(s, gate_wait, &g)); /* so that all is enqueued before the fault shows */
	uint64_t address = 0;
	uint32_t v = 1;
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){ &address, &v }, NULL));
	OK(cuStreamAddCallback(s, told, &t, 0));
	OK(cuLaunchHostFunc(s, count, &calls));
	gate_entered(&g);
	gate_open(&g);
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(s));
	TRUE(is_told(&t)); /* the error may come before the callback */
	EQ(t.calls, 1);
	EQ(t.status, CUDA_ERROR_ILLEGAL_ADDRESS);
	EQ(calls, 0);
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuLaunchHostFunc(s, count, &calls));
}

static const struct conf_case cases[] = {
	{ "after a fault callbacks are told, host functions not called", after_a_fault, true },
	{ "a host function runs between what is before and behind it", in_stream_order, false },
	{ "only its own stream waits for a host function", only_its_stream_waits, false },
	{ "events and the default stream carry the wait on", dependents_wait, false },
	{ "a stream destroyed meanwhile still ends its work", stream_destroyed_meanwhile, false },
	{ "3,000 host functions", many, false },
	{ "a long queue behind a host function", long_queue, false },
	{ "CUDA is not permitted inside", cuda_is_not_permitted, false },
	{ "callbacks and wrong arguments", callback, false },
	{ "from four threads", from_threads, false },
};
CONF_MAIN(cases)
