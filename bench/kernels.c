/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softcuda's kernels against scalar C at -O3 on one thread: time of each, with one worker and with
 * all, and the ratio. Results are compared, so that a fast wrong answer is no answer.
 *
 * usage: bench_kernels KERNELS.ptx [NAME]
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "kernels_c.h"
#include "softcuda/engine.h"

enum { N = 4 << 20, SIDE = 2048, GEMM = 256, COLLATZ = 128 << 10, REPEAT = 7 };

static struct sc_device *dev;
static struct sc_module *module;
static float *a, *b, *c, *d, *e, *want, *want2;
static unsigned char *bytes;
static unsigned *bins, want_bins[256];
static int failed;

/* One worker is the calling thread: its CPU time, which other load does not lengthen. All: wall clock. */
static clockid_t clock_used;

static double now(void)
{
	struct timespec t;
	clock_gettime(clock_used, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *alloc(size_t n)
{
	uint64_t va;
	if (sc_mem_alloc(dev, n, 0, &va)) {
		fprintf(stderr, "bench_kernels: no device memory\n");
		exit(1);
	}
	return (void *)(uintptr_t)va;
}

static void run(const char *name, uint32_t gx, uint32_t gy, uint32_t bx, uint32_t by, const void *params)
{
	struct sc_fault fault;
	struct sc_launch l = { .kernel = sc_module_kernel(module, name), .grid = { gx, gy, 1 }, .block = { bx, by, 1 }, .params = params };
	int rc = l.kernel ? sc_launch(dev, &l, &fault) : -1;
	if (rc) {
		fprintf(stderr, "bench_kernels: %s: error %d: %s\n", name, rc, fault.what);
		exit(1);
	}
}

static void gpu_vadd(void)
{
	struct { float *a, *b, *c; int n; } p = { a, b, c, N };
	run("vadd", N / 256, 1, 256, 1, &p);
}
static void cpu_vadd(void) { c_vadd(a, b, want, N); }

static float reduced;
static void gpu_reduce(void)
{
	struct { float *in, *out; int n; } p = { a, c, N };
	run("reduce", 64, 1, 256, 1, &p);
}
static void cpu_reduce(void) { reduced = c_reduce(a, N); }

static void gpu_transpose(void)
{
	struct { float *in, *out; int w, h; } p = { a, c, SIDE, SIDE };
	run("transpose", SIDE / 32, SIDE / 32, 32, 8, &p);
}
static void cpu_transpose(void) { c_transpose(a, want, SIDE, SIDE); }

static void gpu_stencil(void)
{
	struct { float *in, *out; int w, h; } p = { a, c, SIDE, SIDE };
	run("stencil", SIDE / 32, SIDE / 8, 32, 8, &p);
}
static void cpu_stencil(void) { c_stencil(a, want, SIDE, SIDE); }

static void gpu_histogram(void)
{
	memset(bins, 0, 1024);
	struct { unsigned char *in; unsigned *bins; int n; } p = { bytes, bins, N };
	run("histogram", 64, 1, 256, 1, &p);
}
static void cpu_histogram(void)
{
	memset(want_bins, 0, sizeof(want_bins));
	c_histogram(bytes, want_bins, N);
}

static void gpu_sgemm(void)
{
	struct { float *a, *b, *c; int n; } p = { a, b, c, GEMM };
	run("sgemm", GEMM / 32, GEMM / 8, 32, 8, &p);
}
static void cpu_sgemm(void) { c_sgemm(a, b, want, GEMM); }

static void gpu_collatz(void)
{
	struct { unsigned *out; int n; } p = { (unsigned *)c, COLLATZ };
	run("collatz", COLLATZ / 256, 1, 256, 1, &p);
}
static void cpu_collatz(void) { c_collatz((unsigned *)want, COLLATZ); }

static void gpu_black_scholes(void)
{
	struct { float *s, *x, *t, *call, *put; int n; } p = { a, b, e, c, d, N / 4 };
	run("black_scholes", N / 4 / 256, 1, 256, 1, &p);
}
static void cpu_black_scholes(void) { c_black_scholes(a, b, e, want, want2, N / 4); }

static bool same(const float *x, const float *y, int n, float rel)
{
	for (int i = 0; i < n; i++)
		if (!(fabsf(x[i] - y[i]) <= rel * (fabsf(y[i]) + 1e-3f)))
			return false;
	return true;
}
static bool check_vadd(void) { return same(c, want, N, 0); }
static bool check_reduce(void)
{
	double s = 0, exact = 0;
	for (int i = 0; i < 64; i++)
		s += c[i];
	for (int i = 0; i < N; i++)
		exact += a[i];
	return fabs(s - exact) < 1e-3 * exact && reduced > 0;
}
static bool check_square(void)
{
	for (int y = 1; y < SIDE - 1; y++)
		if (!same(c + y * SIDE + 1, want + y * SIDE + 1, SIDE - 2, 1e-6f))
			return false;
	return true;
}
static bool check_histogram(void) { return memcmp(bins, want_bins, sizeof(want_bins)) == 0; }
static bool check_sgemm(void) { return same(c, want, GEMM * GEMM, 1e-5f); }
static bool check_collatz(void) { return memcmp(c, want, COLLATZ * 4) == 0; }
static bool check_black_scholes(void) { return same(c, want, N / 4, 2e-3f) && same(d, want2, N / 4, 2e-3f); }

static const struct bench {
	const char *name;
	double goal; /* ratio to scalar C, one worker */
	void (*gpu)(void), (*cpu)(void);
	bool (*check)(void);
} benches[] = {
	{ "vadd", 8, gpu_vadd, cpu_vadd, check_vadd },
	{ "reduce", 8, gpu_reduce, cpu_reduce, check_reduce },
	{ "transpose", 8, gpu_transpose, cpu_transpose, check_square },
	{ "stencil", 8, gpu_stencil, cpu_stencil, check_square },
	{ "histogram", 8, gpu_histogram, cpu_histogram, check_histogram },
	{ "sgemm", 2, gpu_sgemm, cpu_sgemm, check_sgemm },
	{ "collatz", 2, gpu_collatz, cpu_collatz, check_collatz },
	{ "black_scholes", 2, gpu_black_scholes, cpu_black_scholes, check_black_scholes },
};
enum { NBENCH = sizeof(benches) / sizeof(*benches) };

static double best(void (*fn)(void))
{
	double least = 1e9;
	for (int i = 0; i < REPEAT; i++) {
		double t = now();
		fn();
		t = now() - t;
		least = t < least ? t : least;
	}
	return least;
}

static const char *only;
static double one[NBENCH], all[NBENCH], plain[NBENCH], empty_us;

static void measure(const char *ptx, size_t len, unsigned threads, double *out, bool with_c)
{
	struct sc_device_config cfg = { .name = "bench", .memory = 1ull << 30, .threads = threads };
	char text[1024] = "";
	struct ptx_log log = { text, sizeof(text), 0 };
	dev = sc_device_open(&cfg);
	if (!dev || sc_module_load(dev, ptx, len, &log, &module)) {
		fprintf(stderr, "bench_kernels: %s\n", text);
		exit(1);
	}
	clock_used = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
	float **f[] = { &a, &b, &c, &d, &e, &want, &want2 };
	for (unsigned i = 0; i < 7; i++)
		*f[i] = alloc(N * sizeof(float));
	bytes = alloc(N);
	bins = alloc(1024);
	uint32_t seed = 1;
	for (int i = 0; i < N; i++) {
		seed = seed * 1664525u + 1013904223u;
		a[i] = 5.0f + (float)(seed >> 8) * (25.0f / (1 << 24));
		b[i] = 1.0f + (float)(seed >> 10) * (99.0f / (1 << 22));
		e[i] = 0.25f + (float)(seed >> 12) * (9.75f / (1 << 20));
		bytes[i] = (unsigned char)(seed >> 24);
	}
	for (unsigned i = 0; i < NBENCH; i++) {
		if (only && strcmp(only, benches[i].name) != 0)
			continue;
		out[i] = best(benches[i].gpu);
		if (with_c) {
			plain[i] = best(benches[i].cpu);
			if (!benches[i].check()) {
				fprintf(stderr, "bench_kernels: %s: wrong result\n", benches[i].name);
				failed = 1;
			}
		}
	}
	int *none = NULL;
	clock_used = CLOCK_THREAD_CPUTIME_ID; /* one block runs on the caller, however many workers there are */
	double t = now();
	for (int i = 0; i < 100000; i++)
		run("empty", 1, 1, 32, 1, &none);
	empty_us = (now() - t) * 10;
	sc_module_unload(module);
	sc_device_close(dev);
}

int main(int argc, char **argv)
{
	static char ptx[1 << 20];
	FILE *f = argc >= 2 ? fopen(argv[1], "rb") : NULL;
	if (!f) {
		fprintf(stderr, "usage: bench_kernels KERNELS.ptx\n");
		return 2;
	}
	only = argc > 2 ? argv[2] : NULL;
	size_t len = fread(ptx, 1, sizeof(ptx), f);
	fclose(f);
	measure(ptx, len, 1, one, true);
	double empty_one = empty_us;
	measure(ptx, len, 0, all, false);
	printf("%-14s %10s %12s %12s %8s %6s\n", "kernel", "C (ms)", "1 worker", "all", "ratio", "goal");
	for (unsigned i = 0; i < NBENCH; i++)
		if (!only || strcmp(only, benches[i].name) == 0)
			printf("%-14s %10.2f %12.2f %12.2f %7.2fx %5.0fx%s\n", benches[i].name, plain[i] * 1e3, one[i] * 1e3, all[i] * 1e3,
		       one[i] / plain[i], benches[i].goal, one[i] / plain[i] > benches[i].goal ? "  missed" : "");
	printf("empty launch   %.3f us of the caller (1 worker), %.3f us (all); goal 1 us\n", empty_one, empty_us);
	return failed;
}
