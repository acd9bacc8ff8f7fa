/* SPDX-License-Identifier: Apache-2.0 */
/* Prints what the wire itself costs: null driver, one client. One line per figure: name, value, unit. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cuda/cuda.h"
#include "harness.h"

#define CALLS 20000
#define LAUNCHES 1000000

static double ns(clockid_t c)
{
	struct timespec t;

	clock_gettime(c, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static void must(int rc, const char *what)
{
	if (rc) {
		fprintf(stderr, "%s: %d\n", what, rc);
		exit(1);
	}
}

static void sync_calls(void)
{
	static double t[CALLS];
	size_t f, n;

	for (int i = 0; i < CALLS; i++) {
		double a = ns(CLOCK_MONOTONIC);

		must(cuMemGetInfo_v2(&f, &n), "cuMemGetInfo");
		t[i] = ns(CLOCK_MONOTONIC) - a;
	}
	qsort(t, CALLS, sizeof(*t), by_value);
	printf("sync_call_p50_us %.2f us\nsync_call_p99_us %.2f us\n", t[CALLS / 2] / 1e3, t[CALLS * 99 / 100] / 1e3);
}

static void launches(CUfunction f)
{
	CUdeviceptr a = 1, b = 2, c = 3, d = 4;
	void *args[] = { &a, &b, &c, &d };
	double w = ns(CLOCK_MONOTONIC), cpu = 0, u = ns(CLOCK_THREAD_CPUTIME_ID);

	for (int i = 0; i < 500; i++) /* fits into the ring: the caller's own cost */
		must(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL), "launch");
	cpu = ns(CLOCK_THREAD_CPUTIME_ID) - u;
	must(cuCtxSynchronize(), "sync");
	for (int k = 0; k < 200; k++) {
		u = ns(CLOCK_THREAD_CPUTIME_ID);
		for (int i = 0; i < 500; i++)
			must(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL), "launch");
		u = ns(CLOCK_THREAD_CPUTIME_ID) - u;
		cpu = u < cpu ? u : cpu;
		must(cuCtxSynchronize(), "sync");
	}
	printf("launch_cpu_ns_best %.0f ns\n", cpu / 500);
	w = ns(CLOCK_MONOTONIC);
	for (int i = 0; i < LAUNCHES; i++)
		must(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL), "launch");
	must(cuCtxSynchronize(), "sync");
	printf("launch_rate_null %.2f M/s\n", LAUNCHES / (ns(CLOCK_MONOTONIC) - w) * 1e3);
}

static void bandwidth(void)
{
	size_t n = 64u << 20;
	char *h = malloc(n), *p;
	CUdeviceptr d;
	double t, base;

	memset(h, 1, n);
	must(cuMemAlloc_v2(&d, n), "alloc");
	must(cuMemAllocHost_v2((void **)&p, n / 2), "host alloc");
	memset(p, 2, n / 2);
	must(cuMemcpyHtoD_v2(d, h, n), "warm");
	must(cuMemcpyDtoH_v2(h, d, n), "warm");
	t = ns(CLOCK_MONOTONIC);
	memcpy(p, h, n / 2);
	base = (double)(n / 2) / (ns(CLOCK_MONOTONIC) - t);
	printf("memcpy %.2f GB/s\n", base);
	t = ns(CLOCK_MONOTONIC);
	must(cuMemcpyHtoD_v2(d, h, n), "htod");
	must(cuCtxSynchronize(), "sync");
	printf("htod_pageable %.2f GB/s\n", (double)n / (ns(CLOCK_MONOTONIC) - t));
	t = ns(CLOCK_MONOTONIC);
	must(cuMemcpyDtoH_v2(h, d, n), "dtoh");
	printf("dtoh_pageable %.2f GB/s\n", (double)n / (ns(CLOCK_MONOTONIC) - t));
	t = ns(CLOCK_MONOTONIC);
	must(cuMemcpyHtoD_v2(d, p, n / 2), "htod");
	printf("htod_pinned %.2f GB/s\n", (double)(n / 2) / (ns(CLOCK_MONOTONIC) - t));
	t = ns(CLOCK_MONOTONIC);
	must(cuMemcpyDtoH_v2(p, d, n / 2), "dtoh");
	printf("dtoh_pinned %.2f GB/s\n", (double)(n / 2) / (ns(CLOCK_MONOTONIC) - t));
}

int main(void)
{
	char path[64];
	CUcontext ctx;
	CUmodule m;
	CUfunction f;
	pid_t server;

	snprintf(path, sizeof(path), "/tmp/vgpu-rate-%d.sock", (int)getpid());
	server = harness_serve(path, getenv("VGPU_TEST_DRIVER"));
	setenv("VGPU_SOCKET", path, 1);
	must(cuInit(0), "cuInit");
	must(cuDevicePrimaryCtxRetain(&ctx, 0), "context");
	must(cuCtxSetCurrent(ctx), "context");
	must(cuModuleLoadData(&m, "none 8 8 8 8\n"), "module");
	must(cuModuleGetFunction(&f, m, "none"), "function");
	sync_calls();
	launches(f);
	bandwidth();
	kill(server, SIGKILL);
	unlink(path);
	return 0;
}
