/* SPDX-License-Identifier: Apache-2.0 */
/* Copies against memcpy, and the bodies of whole programs. */
#include "path.h"

static void *pageable(size_t n)
{
	void *p = malloc(n);

	must(p ? 0 : CUDA_ERROR_OUT_OF_MEMORY, "malloc");
	memset(p, 0x5a, n);
	return p;
}

/* Until the bytes are readable on the other side: a pageable upload may return before. */
static double copy_once(bool up, void *host, CUdeviceptr dev, size_t n)
{
	double t = now_ns(CLOCK_MONOTONIC);

	if (up) {
		must(cuMemcpyHtoD_v2(dev, host, n), "cuMemcpyHtoD");
		must(cuCtxSynchronize(), "cuCtxSynchronize");
	} else {
		must(cuMemcpyDtoH_v2(host, dev, n), "cuMemcpyDtoH");
	}
	return now_ns(CLOCK_MONOTONIC) - t;
}

static double memcpy_once(void *to, void *from, size_t n)
{
	double t = now_ns(CLOCK_MONOTONIC);

	memcpy(to, from, n);
	__asm__ volatile("" : : "r"(to) : "memory");
	return now_ns(CLOCK_MONOTONIC) - t;
}

void cmd_copy(struct bench *b, const long *a)
{
	bool up = a[0], pinned = a[1];
	size_t n = (size_t)a[2], times = (size_t)a[3];
	double *t = calloc(times, sizeof(*t)), *m = calloc(times, sizeof(*m)), ours, theirs;
	void *host = NULL, *from = pageable(n), *to = pageable(n);
	CUdeviceptr dev;

	if (pinned)
		must(cuMemAllocHost_v2(&host, n), "cuMemAllocHost");
	else
		host = pageable(n);
	memset(host, 0x33, n);
	must(cuMemAlloc_v2(&dev, n), "cuMemAlloc");
	copy_once(true, host, dev, n); /* pages of both sides exist from here on */
	copy_once(up, host, dev, n);
	memcpy_once(to, from, n);
	for (size_t i = 0; i < times; i++) {
		m[i] = memcpy_once(to, from, n);
		t[i] = copy_once(up, host, dev, n);
	}
	ours = median(t, times);
	theirs = median(m, times);
	printf("ok %.4f %.3f %.3f\n", theirs / ours, (double)n / ours, (double)n / theirs);
	must(cuMemFree_v2(dev), "cuMemFree");
	if (pinned)
		must(cuMemFreeHost(host), "cuMemFreeHost");
	else
		free(host);
	free(from);
	free(to);
	free(t);
	free(m);
}

void cmd_latency(struct bench *b, const long *a)
{
	size_t n = (size_t)a[0], times = (size_t)a[1];
	double *up = calloc(times, sizeof(*up)), *down = calloc(times, sizeof(*down));
	void *host = pageable(n);
	CUdeviceptr dev;

	must(cuMemAlloc_v2(&dev, n), "cuMemAlloc");
	copy_once(true, host, dev, n);
	for (size_t i = 0; i < times; i++) {
		up[i] = copy_once(true, host, dev, n);
		down[i] = copy_once(false, host, dev, n);
	}
	printf("ok %.3f %.3f\n", median(up, times) / 1e3, median(down, times) / 1e3);
	must(cuMemFree_v2(dev), "cuMemFree");
	free(host);
	free(up);
	free(down);
}

/* ---- programs: each ends with a check of what it computed */

static void work(struct bench *b, uint32_t loops)
{
	void *args[] = { &b->out, &loops };

	must(cuLaunchKernel(b->work, WORK_BLOCKS, 1, 1, WORK_BLOCK, 1, 1, 0, NULL, args, NULL), "cuLaunchKernel");
}

/* The device is the limit: kernels of a few ms, four in flight, a small result read after each four. */
void cmd_gpu(struct bench *b, const long *a)
{
	double t = now_ns(CLOCK_MONOTONIC);
	uint32_t got;

	for (long i = 0; i < a[0]; i++) {
		work(b, 4000);
		if (i % 4 == 3)
			must(cuMemcpyDtoH_v2(&got, b->out, 4), "cuMemcpyDtoH");
	}
	must(cuCtxSynchronize(), "cuCtxSynchronize");
	t = now_ns(CLOCK_MONOTONIC) - t;
	bench_check(b);
	printf("ok %.3f\n", t / 1e6);
}

/* Calls are the limit: per step one upload of 4 KiB, 32 short kernels, one download of 4 KiB, as a
 * program does that runs a small model layer by layer. */
void cmd_steps(struct bench *b, const long *a)
{
	static unsigned char host[4096];
	double t = now_ns(CLOCK_MONOTONIC);

	for (long i = 0; i < a[0]; i++) {
		must(cuMemcpyHtoD_v2(b->out, host, sizeof(host)), "cuMemcpyHtoD");
		for (int k = 0; k < 32; k++) {
			uint32_t loops = 1;
			void *args[] = { &b->out, &loops };

			must(cuLaunchKernel(b->work, 4, 1, 1, WORK_BLOCK, 1, 1, 0, NULL, args, NULL), "cuLaunchKernel");
		}
		must(cuMemcpyDtoH_v2(host, b->out, sizeof(host)), "cuMemcpyDtoH");
	}
	t = now_ns(CLOCK_MONOTONIC) - t;
	bench_check(b);
	printf("ok %.3f\n", t / 1e6);
}

/* The worst case: nothing but calls that must be answered, one at a time. */
void cmd_pingpong(struct bench *b, const long *a)
{
	double t = now_ns(CLOCK_MONOTONIC);
	uint32_t got;

	for (long i = 0; i < a[0]; i++) {
		uint32_t loops = 1;
		void *args[] = { &b->out, &loops };

		must(cuLaunchKernel(b->work, 1, 1, 1, WORK_BLOCK, 1, 1, 0, NULL, args, NULL), "cuLaunchKernel");
		must(cuMemcpyDtoH_v2(&got, b->out, 4), "cuMemcpyDtoH");
	}
	t = now_ns(CLOCK_MONOTONIC) - t;
	bench_check(b);
	printf("ok %.3f\n", t / 1e6);
}
