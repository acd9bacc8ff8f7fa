/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels compute, end to end, against the same operations compiled by the host's compiler
 * (kernels/semantic_ops.h) or against plain C here.
 */
#include "conf.h"
#include <fenv.h>
#include <math.h>
#include "kernels/semantic_ops.h"

enum { N = 4096 };

static CUmodule module(void)
{
	static CUmodule m;
	if (!m)
		m = conf_module(ptx_semantic);
	conf_context();
	return m;
}

static CUfunction function(const char *name)
{
	return conf_function(module(), name);
}

/* Interesting values first, then random ones. */
static uint32_t u32_input(uint32_t i, uint64_t *state)
{
	static const uint32_t edge[] = {0, 1, 2, 0x7fffffff, 0x80000000u, 0x80000001u, 0xffffffffu, 0xfffffffeu, 0x55555555, 0x10000, 0xffff};
	enum { E = sizeof(edge) / sizeof(edge[0]) };
	return i < E * E ? edge[i % E] : (uint32_t)conf_random(state) >> (conf_random(state) % 32);
}

static float f32_input(uint32_t i, uint64_t *state)
{
	static const float edge[] = {0.0f, -0.0f, 1.0f, -1.0f, 1e-40f, -1e-45f, 3.4028235e38f, 1.1754944e-38f,
				     16777217.0f, 0.333333343f, -2.5f, INFINITY, -INFINITY};
	enum { E = sizeof(edge) / sizeof(edge[0]) };
	if (i < E * E)
		return edge[i % E];
	uint32_t bits = (uint32_t)conf_random(state);
	bits = (bits & 0x807fffff) | (uint32_t)(100 + conf_random(state) % 55) << 23;
	float f;
	memcpy(&f, &bits, 4);
	return f;
}

static double f64_input(uint32_t i, uint64_t *state)
{
	return i < 169 ? (double)f32_input(i, state) * (i % 3 ? 1.0 : 1e-300) : (double)f32_input(i, state) * (1.0 + 1e-9 * (double)(conf_random(state) % 1000));
}

static void int32_ops(void)
{
	static uint32_t a[N], b[N], got[N][INT32_OPS], want[N][INT32_OPS];
	uint64_t state = 1;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = u32_input(i, &state);
		b[i] = u32_input(i / 11, &state);
		if (b[i] == 0 || (a[i] == 0x80000000u && b[i] == 0xffffffffu))
			b[i] = 3;
		op_int32(a[i], b[i], want[i]);
	}
	CUfunction f = function("int32_ops");
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	LAUNCH(f, N / 128, 128, 0, &pa, &pb, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(po));
}

static void int64_ops(void)
{
	static uint64_t a[N], b[N];
	static op_u64 got[N][INT64_OPS], want[N][INT64_OPS];
	uint64_t state = 2;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = (uint64_t)u32_input(i, &state) << 32 | u32_input(i * 7 % 200, &state);
		b[i] = (uint64_t)u32_input(i / 11, &state) << 32 | u32_input(i, &state);
		if (i & 1)
			b[i] >>= 33;
		if (b[i] == 0 || (a[i] == 1ull << 63 && b[i] == ~0ull))
			b[i] = 5;
		op_int64(a[i], b[i], want[i]);
	}
	CUfunction f = function("int64_ops");
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	LAUNCH(f, N / 128, 128, 0, &pa, &pb, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(po));
}

static void narrow_ops(void)
{
	static uint32_t a[N], b[N], got[N][NARROW_OPS], want[N][NARROW_OPS];
	uint64_t state = 3;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = u32_input(i, &state);
		b[i] = (uint32_t)conf_random(&state);
		op_narrow(a[i], b[i], want[i]);
	}
	CUfunction f = function("narrow_ops");
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	LAUNCH(f, N / 128, 128, 0, &pa, &pb, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(po));
}

/* NaNs: IEEE leaves their payload open, x86 and PTX differ in it; any NaN equals any NaN. */
static void canonical_f32(uint32_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((v[i] & 0x7fffffff) > 0x7f800000)
			v[i] = 0x7fffffff;
}

static void canonical_f64(op_u64 *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((v[i] & ~(1ull << 63)) > 0x7ff0000000000000ull)
			v[i] = ~(1ull << 63);
		if (v[i] <= 0xffffffffull) /* an f32's bits */
			canonical_f32((uint32_t *)&v[i], 1);
	}
}

static void f32_ops(void)
{
	static float a[N], b[N], c[N];
	static uint32_t got[N][F32_OPS], want[N][F32_OPS];
	uint64_t state = 4;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = f32_input(i, &state);
		b[i] = f32_input(i / 13, &state);
		c[i] = f32_input(i * 5 % 169 + (i & 1) * 1000, &state);
		op_f32(a[i], b[i], c[i], want[i]);
	}
	CUfunction f = function("f32_ops");
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), pc = conf_upload(c, sizeof(c)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	LAUNCH(f, N / 128, 128, 0, &pa, &pb, &pc, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	canonical_f32(got[0], N * F32_OPS);
	canonical_f32(want[0], N * F32_OPS);
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(pc));
	OK(cuMemFree(po));
}

static void f64_ops(void)
{
	static double a[N], b[N], c[N];
	static op_u64 got[N][F64_OPS], want[N][F64_OPS];
	uint64_t state = 5;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = f64_input(i, &state);
		b[i] = f64_input(i / 13, &state);
		c[i] = fmod(f64_input(500 + i, &state), 1e9); /* stays in range of an integer */
		op_f64(a[i], b[i], c[i], want[i]);
	}
	CUfunction f = function("f64_ops");
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), pc = conf_upload(c, sizeof(c)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	LAUNCH(f, N / 128, 128, 0, &pa, &pb, &pc, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	canonical_f64(got[0], N * F64_OPS);
	canonical_f64(want[0], N * F64_OPS);
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(pc));
	OK(cuMemFree(po));
}

static float rounded(int mode, char op, float x, float y)
{
	volatile float a = x, b = y, r = 0; /* volatile: the compiler must not move it over fesetround */
	fesetround(mode);
	switch (op) {
	case '+': r = a + b; break;
	case '*': r = a * b; break;
	case '/': r = a / b; break;
	}
	fesetround(FE_TONEAREST);
	return r;
}

static void roundings(void)
{
	static float a[N], b[N];
	static uint32_t got[N][8], want[N][8];
	uint64_t state = 6;
	for (uint32_t i = 0; i < N; i++) {
		a[i] = f32_input(i, &state);
		b[i] = f32_input(i / 13, &state);
		float w[8] = {sqrtf(a[i]), rounded(FE_TOWARDZERO, '+', a[i], b[i]), rounded(FE_DOWNWARD, '+', a[i], b[i]),
			      rounded(FE_UPWARD, '+', a[i], b[i]), rounded(FE_TOWARDZERO, '*', a[i], b[i]),
			      rounded(FE_UPWARD, '/', a[i], b[i]), a[i] > 1 ? 1 : a[i] > 0 ? a[i] : 0.0f, 1.0f / a[i]};
		memcpy(want[i], w, sizeof(w));
	}
	CUfunction f = function("roundings");
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	LAUNCH(f, N / 128, 128, 0, &pa, &pb, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	canonical_f32(got[0], N * 8);
	canonical_f32(want[0], N * 8);
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(po));
}

/* Bounds the PTX ISA states for .approx: sin and cos 2^-20.5 absolute on [-2pi, 2pi] (2^-20.9 on
 * [-pi, pi]), ex2 relative 2^-22.5, lg2 absolute 2^-22 on [0.5, 2] and relative 2^-22 elsewhere
 * (2^-22.6 older), rsqrt relative 2^-22.9, rcp relative 2^-23 (1 ulp). */
static void approximations(void)
{
	static float a[N], got[N][6];
	CUfunction f = function("approximations");
	for (int i = 0; i < N; i++)
		a[i] = 0.001f + (float)i * (6.28f / N);
	CUdeviceptr pa = conf_upload(a, sizeof(a)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	double worst[6] = {0};
	LAUNCH(f, N / 128, 128, 0, &pa, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	for (int i = 0; i < N; i++) {
		double x = a[i], lg = log2(x);
		double e[6] = {fabs(got[i][0] - sin(x)), fabs(got[i][1] - cos(x)), fabs(got[i][2] / exp2(x) - 1),
			       x >= 0.5 && x <= 2 ? fabs(got[i][3] - lg) : fabs(got[i][3] / lg - 1),
			       fabs(got[i][4] * sqrt(x) - 1), fabs(got[i][5] * x - 1)};
		for (int k = 0; k < 6; k++)
			worst[k] = e[k] > worst[k] || isnan(e[k]) ? e[k] : worst[k];
	}
	static const double bound[6] = {-20.5, -20.5, -22.5, -22, -22.9, -23};
	for (int k = 0; k < 6; k++)
		if (!TRUE(worst[k] <= exp2(bound[k])))
			conf_note("function %d: error 2^%.2f, bound 2^%.1f", k, log2(worst[k]), bound[k]);
	OK(cuMemFree(pa));
	OK(cuMemFree(po));
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void atomics(void)
{
	enum { THREADS = 2048 };
	static uint32_t old[THREADS];
	uint32_t w[12] = {0, 0, 0, 0xffffffffu, 0, 0xffffffffu, 0, 0, 50, 0x80000000u, 0, 0}, got[12], want[12];
	uint64_t d[2] = {0}, want_d[2] = {0}, got_d[2];
	float sum = 0, got_sum;
	memcpy(want, w, sizeof(w));
	want[0] = THREADS;
	for (uint32_t i = 0; i < THREADS; i++) {
		uint32_t h = i * 2654435761u;
		want[1] += i;
		want[2] = h > want[2] ? h : want[2];
		want[3] = h < want[3] ? h : want[3];
		want[4] |= 1u << (i & 31);
		want[5] &= ~(1u << (i & 15));
		want[6] ^= h;
		want[7] = want[7] >= 99 ? 0 : want[7] + 1;
		want[8] = want[8] == 0 || want[8] > 99 ? 99 : want[8] - 1;
		want[9] = (int32_t)h > (int32_t)want[9] ? h : want[9];
		want[10] += 3;
		want_d[0] += (uint64_t)i << 30;
		uint64_t g = (uint64_t)i * 0x9e3779b97f4a7c15ull;
		want_d[1] = g > want_d[1] ? g : want_d[1];
	}
	CUfunction f = function("atomics");
	CUdeviceptr pw = conf_upload(w, sizeof(w)), pd = conf_upload(d, sizeof(d)), ps = conf_upload(&sum, 4), po = conf_alloc(sizeof(old));
	LAUNCH(f, THREADS / 64, 64, 0, &pw, &pd, &ps, &po);
	OK(cuMemcpyDtoH(got, pw, sizeof(got)));
	OK(cuMemcpyDtoH(got_d, pd, sizeof(got_d)));
	OK(cuMemcpyDtoH(&got_sum, ps, 4));
	OK(cuMemcpyDtoH(old, po, sizeof(old)));
	TRUE(got[11] >= 1 && got[11] <= THREADS); /* the exchange: somebody was last */
	got[11] = want[11];
	SAME(got, want, sizeof(got));
	SAME(got_d, want_d, sizeof(got_d));
	TRUE(got_sum == (float)THREADS);
	/* Every old value was seen exactly once. */
	qsort(old, THREADS, 4, by_value);
	for (uint32_t i = 0; i < THREADS; i++)
		if (old[i] != i) {
			EQ(old[i], i);
			break;
		}
	OK(cuMemFree(pw));
	OK(cuMemFree(pd));
	OK(cuMemFree(ps));
	OK(cuMemFree(po));
}

static void histogram(void)
{
	enum { BYTES = 100000 };
	static uint8_t in[BYTES];
	uint32_t got[256], want[256] = {0}, n = BYTES;
	uint64_t state = 7;
	for (int i = 0; i < BYTES; i++)
		want[in[i] = (uint8_t)(conf_random(&state) % 200)]++;
	CUfunction f = function("shared_histogram");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_alloc(sizeof(got));
	OK(cuMemsetD32(po, 0, 256));
	LAUNCH(f, 7, 128, 0, &pi, &n, &po);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static void warp_reference(const uint32_t *v, uint32_t first, uint32_t (*w)[12])
{
	uint32_t ballot = 0, odd = 0, sum = 0, any = 0;
	for (int l = 0; l < 32; l++) {
		ballot |= (v[l] & 1) << l;
		odd |= (l & 1) && (v[l] & 2) ? 1u << l : 0;
		any |= v[l] == first;
		sum += v[l];
	}
	for (int l = 0; l < 32; l++) {
		uint32_t match = 0;
		for (int k = 0; k < 32; k++)
			match |= (uint32_t)((v[k] & 3) == (v[l] & 3)) << k;
		uint32_t r[12] = {v[(l * 7 + 3) & 31], v[l < 5 ? l : l - 5], v[l + 9 > 31 ? l : l + 9], v[l ^ 0x15], ballot, 1,
				  any, match, v[(l & 7) + 3 > 7 ? l : l + 3], l & 1 ? odd : 0, sum, 1};
		memcpy(w[l], r, sizeof(r));
	}
}

static void warp_ops(void)
{
	enum { THREADS = 256 };
	static uint32_t in[THREADS], got[THREADS][12], want[THREADS][12];
	uint64_t state = 8;
	for (int i = 0; i < THREADS; i++)
		in[i] = (uint32_t)conf_random(&state);
	for (int i = 0; i < THREADS; i += 32)
		warp_reference(in + i, in[0], want + i);
	CUfunction f = function("warp_ops");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_alloc(sizeof(got));
	LAUNCH(f, 2, 128, 0, &pi, &po);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static void barriers(void)
{
	enum { COUNT = 50000, THREADS = 256 };
	static uint32_t in[COUNT], votes[2 * 96], want_votes[2 * 96];
	uint64_t sum = 0, want = 0, state = 9;
	uint32_t n = COUNT;
	for (int i = 0; i < COUNT; i++)
		want += in[i] = (uint32_t)conf_random(&state);
	CUfunction f = function("block_sum"), g = function("barrier_votes");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_upload(&sum, 8), pv = conf_alloc(sizeof(votes));
	LAUNCH(f, 5, THREADS, 0, &pi, &n, &po);
	OK(cuMemcpyDtoH(&sum, po, 8));
	EQ(sum, want);
	for (int b = 0; b < 2; b++) {
		uint32_t c = 0;
		for (int t = 0; t < 96; t++)
			c += in[b * 96 + t] & 1;
		for (int t = 0; t < 96; t++)
			want_votes[b * 96 + t] = c << 2 | (c == 96 ? 2 : 0) | (c > 0);
	}
	LAUNCH(g, 2, 96, 0, &pi, &pv);
	OK(cuMemcpyDtoH(votes, pv, sizeof(votes)));
	SAME(votes, want_votes, sizeof(votes));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
	OK(cuMemFree(pv));
}

/* The kernel's control flow, once more in plain C. */
static uint32_t divergence_reference(uint32_t i, uint32_t in)
{
	uint32_t x = in, steps = 0, h = 0, k = 0;
	while (x != 1 && steps < 500) {
		x = x & 1 ? x * 3 + 1 : x >> 1;
		if ((x & 0xff) == 0x55)
			continue;
		if (++steps == 400 && (i & 4))
			break;
	}
	bool middle = false;
	switch (in % 7) {
	case 0: h = steps * 3; break;
	case 1: h = (steps ^ 0x55) + 17; break;
	case 2: h = 17; break;
	case 3:
		for (uint32_t j = 0; j < (i & 15); j++)
			h += j * h + 1;
		break;
	case 4: middle = true; break;
	case 5: h = ~steps; break;
	default: h = steps;
	}
	for (; k < 3 || middle; k++) {
		if (!middle)
			h = h * 31 + k;
		middle = false;
		h ^= h >> 5;
		if (h % 11 == 3)
			break;
	}
	return h + x;
}

static void divergence(void)
{
	static uint32_t in[N], got[N], want[N];
	uint64_t state = 10;
	uint32_t n = N - 3;
	for (uint32_t i = 0; i < N; i++) {
		in[i] = 1 + (uint32_t)(conf_random(&state) % 100000);
		want[i] = i < n ? divergence_reference(i, in[i]) : 0;
	}
	CUfunction f = function("divergence");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_alloc(sizeof(got));
	OK(cuMemsetD32(po, 0, N));
	LAUNCH(f, N / 128, 128, 0, &pi, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static void spin_lock(void)
{
	CUfunction f = function("spin_lock");
	CUdeviceptr counter;
	uint64_t v = 0;
	uint32_t rounds = 5;
	OK(cuModuleGetGlobal(&counter, NULL, module(), "locked_counter"));
	OK(cuMemsetD32(counter, 0, 2));
	LAUNCH(f, 4, 64, 0, &rounds);
	OK(cuMemcpyDtoH(&v, counter, 8));
	EQ(v, 4 * 64 * 5);
}

static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static uint32_t ackermann(uint32_t m, uint32_t n)
{
	return m == 0 ? n + 1 : ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static void functions(void)
{
	enum { THREADS = 128 };
	static uint32_t got[THREADS][3], want[THREADS][3];
	for (uint32_t i = 0; i < THREADS; i++) {
		uint32_t sum = 0, count = (i & 7) + 1;
		for (uint32_t k = 0; k < count; k++)
			sum += k * i;
		want[i][0] = fib(i & 15);
		want[i][1] = ackermann(1 + (i & 1), i & 3);
		want[i][2] = sum * 16 + count;
	}
	CUfunction f = function("functions");
	CUdeviceptr po = conf_alloc(sizeof(got));
	LAUNCH(f, 2, 64, 0, &po);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(po));
}

static void local_array(void)
{
	static uint32_t in[256], got[256], want[256];
	uint64_t state = 12;
	for (int i = 0; i < 256; i++)
		in[i] = (uint32_t)conf_random(&state);
	for (int i = 0; i < 256; i++) {
		uint32_t a[32];
		for (int k = 0; k < 32; k++)
			a[k] = in[(i + k) & 255];
		qsort(a, 32, 4, by_value);
		want[i] = a[in[i] & 31] + a[0] * 3 + a[31] * 5;
	}
	CUfunction f = function("local_array");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_alloc(sizeof(got));
	LAUNCH(f, 4, 64, 0, &pi, &po);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static void constants(void)
{
	static const float weights[8] = {0.5f, 1.0f, -2.0f, 4.0f, 0.25f, -0.125f, 8.0f, 3.0f};
	float got[64], want[64];
	uint32_t chars[64], want_chars[64];
	for (int i = 0; i < 64; i++) {
		want[i] = weights[i & 7] * (float)i;
		want_chars[i] = (uint8_t)"conformance"[i % 12];
	}
	CUfunction f = function("constants");
	CUdeviceptr po = conf_alloc(sizeof(got)), pc = conf_alloc(sizeof(chars));
	LAUNCH(f, 2, 32, 0, &po, &pc);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	OK(cuMemcpyDtoH(chars, pc, sizeof(chars)));
	SAME(got, want, sizeof(got));
	SAME(chars, want_chars, sizeof(chars));
	OK(cuMemFree(po));
	OK(cuMemFree(pc));
}

static void dynamic_bytes(void)
{
	enum { T = 200 };
	uint8_t in[3 * T], got[3 * T], want[3 * T];
	for (int i = 0; i < 3 * T; i++)
		in[i] = (uint8_t)(i * 7);
	for (int i = 0; i < 3 * T; i++)
		want[i] = in[i / T * T + T - 1 - i % T];
	CUfunction f = function("dynamic_reverse");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_alloc(sizeof(got));
	LAUNCH(f, 3, T, T, &pi, &po);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static void bit_ops(void)
{
	static uint32_t in[N], got[N][4], want[N][4];
	uint64_t state = 13;
	uint32_t n = N;
	for (uint32_t i = 0; i < N; i++) {
		uint32_t v = in[i] = (uint32_t)conf_random(&state), r = 0, selector = 0x5140 + (i & 3), perm = 0;
		for (int b = 0; b < 32; b++)
			r |= (v >> b & 1) << (31 - b);
		uint64_t both = (uint64_t)~v << 32 | v;
		for (int b = 0; b < 4; b++)
			perm |= (uint32_t)(both >> (8 * (selector >> (4 * b) & 7)) & 0xff) << (8 * b);
		want[i][0] = r;
		want[i][1] = perm;
		want[i][2] = (v >> 5 & 0x7ff) << 3 | (v & 7);
		want[i][3] = __builtin_bswap32(v);
	}
	CUfunction f = function("bit_ops");
	CUdeviceptr pi = conf_upload(in, sizeof(in)), po = conf_alloc(sizeof(got));
	LAUNCH(f, N / 128, 128, 0, &pi, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	SAME(got, want, sizeof(got));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static const struct conf_case cases[] = {
	{"32-bit integers", int32_ops},
	{"64-bit integers", int64_ops},
	{"8 and 16 bits", narrow_ops},
	{"single precision", f32_ops},
	{"double precision", f64_ops},
	{"directed roundings, roots, saturation", roundings},
	{"approximations within their bounds", approximations},
	{"atomics", atomics},
	{"shared-memory atomics", histogram},
	{"shuffles, votes, matches", warp_ops},
	{"barriers", barriers},
	{"divergence", divergence},
	{"a spin lock", spin_lock},
	{"device functions and recursion", functions},
	{"local arrays", local_array},
	{"constants and strings", constants},
	{"dynamic shared bytes", dynamic_bytes},
	{"bits and bytes", bit_ops},
};
CONF_MAIN(cases)
