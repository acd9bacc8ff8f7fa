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

/* Buffers of the last cmd_copy(), kept while kind and size stay the same: making them takes longer than the
 * copies that are measured. */
static struct buffers {
	bool pinned;
	size_t n;
	void *host, *from, *to;
	CUdeviceptr dev;
} kept;

static void drop_buffers(struct buffers *k)
{
	if (!k->n)
		return;
	must(cuMemFree_v2(k->dev), "cuMemFree");
	if (k->pinned)
		must(cuMemFreeHost(k->host), "cuMemFreeHost");
	else
		free(k->host);
	free(k->from);
	free(k->to);
	k->n = 0;
}

static void make_buffers(struct buffers *k, bool pinned, size_t n)
{
	if (k->n == n && k->pinned == pinned)
		return;
	drop_buffers(k);
	if (!n)
		return;
	*k = (struct buffers){ .pinned = pinned, .n = n, .from = pageable(n), .to = pageable(n) };
	if (pinned)
		must(cuMemAllocHost_v2(&k->host, n), "cuMemAllocHost");
	else
		k->host = pageable(n);
	memset(k->host, 0x33, n);
	must(cuMemAlloc_v2(&k->dev, n), "cuMemAlloc");
	copy_once(true, k->host, k->dev, n); /* pages of both sides exist from here on */
}

/* BYTES 0 frees the buffers. */
void cmd_copy(struct bench *b, const long *a)
{
	bool up = a[0];
	size_t n = (size_t)a[2], times = (size_t)a[3];
	double *t = calloc(times, sizeof(*t)), *m = calloc(times, sizeof(*m)), ours, theirs;

	make_buffers(&kept, a[1], n);
	for (size_t i = 0; n && i < times; i++) {
		m[i] = memcpy_once(kept.to, kept.from, n);
		t[i] = copy_once(up, kept.host, kept.dev, n);
	}
	ours = median(t, times);
	theirs = median(m, times);
	printf("ok %.4f %.3f %.3f\n", n ? theirs / ours : 0, n ? (double)n / ours : 0, n ? (double)n / theirs : 0);
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

/* Many small units, a few in flight: what each of many clients of one device does. */
void cmd_units(struct bench *b, const long *a)
{
	double t = now_ns(CLOCK_MONOTONIC);

	for (long i = 0; i < a[0]; i++) {
		work(b, 100);
		if (i % 8 == 7)
			must(cuCtxSynchronize(), "cuCtxSynchronize");
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
