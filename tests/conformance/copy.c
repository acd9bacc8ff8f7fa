/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and fills, every direction, one and two dimensions, and what lies out of range. */
#include "conf.h"

enum { SIZES = 9 };
static const size_t sizes[SIZES] = {1, 3, 64, 4095, 65536, (1 << 20) - 1, 1 << 20, (4 << 20) + 17, 9 << 20};

static uint8_t *random_bytes(size_t n, uint64_t seed)
{
	uint8_t *p = malloc(n + 8);
	if (!p)
		abort();
	for (size_t i = 0; i < n; i += 8) {
		uint64_t r = conf_random(&seed);
		memcpy(p + i, &r, 8);
	}
	return p;
}

/* There and back, over a device-to-device copy; sizes around every staging limit. */
static void round_trip(void)
{
	conf_context();
	for (int k = 0; k < SIZES; k++) {
		size_t n = sizes[k];
		uint8_t *in = random_bytes(n, n), *out = calloc(1, n + 8);
		CUdeviceptr a = conf_alloc(n), b = conf_alloc(n);
		OK(cuMemcpyHtoD(a, in, n));
		OK(cuMemcpyDtoD(b, a, n));
		OK(cuMemcpyDtoH(out, b, n));
		SAME(out, in, n);
		EQ(out[n], 0); /* not a byte more */
		OK(cuMemFree(a));
		OK(cuMemFree(b));
		free(in);
		free(out);
	}
}

/* A pageable source may change as soon as the call returned. */
static void async_pageable(void)
{
	size_t n = (6 << 20) + 5;
	conf_context();
	uint8_t *in = random_bytes(n, 5), *keep = malloc(n), *out = calloc(1, n);
	CUdeviceptr a = conf_alloc(n), b = conf_alloc(n);
	CUstream s;
	memcpy(keep, in, n);
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuMemcpyHtoDAsync(a, in, n, s));
	memset(in, 0, n);
	OK(cuMemcpyDtoDAsync(b, a, n, s));
	OK(cuMemcpyDtoHAsync(out, b, n, s));
	OK(cuStreamSynchronize(s));
	SAME(out, keep, n);
	OK(cuStreamDestroy(s));
	OK(cuMemFree(a));
	OK(cuMemFree(b));
	free(in);
	free(keep);
	free(out);
}

static void async_pinned(void)
{
	size_t n = (5 << 20) + 123;
	uint8_t *in, *out, *want = random_bytes(n, 6);
	CUstream s;
	conf_context();
	OK(cuMemHostAlloc((void **)&in, n, 0));
	OK(cuMemHostAlloc((void **)&out, n, 0));
	memcpy(in, want, n);
	memset(out, 0, n);
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	CUdeviceptr a = conf_alloc(n);
	for (int i = 0; i < 4; i++) {
		OK(cuMemsetD8Async(a, 0x5a, n, s));
		OK(cuMemcpyHtoDAsync(a, in, n, s));
		OK(cuMemcpyDtoHAsync(out, a, n, s));
	}
	OK(cuStreamSynchronize(s));
	SAME(out, want, n);
	/* Unified addresses: cuMemcpy finds the directions itself. */
	memset(out, 0, n);
	OK(cuMemcpy((CUdeviceptr)(uintptr_t)out, a, n));
	SAME(out, want, n);
	OK(cuStreamDestroy(s));
	OK(cuMemFree(a));
	OK(cuMemFreeHost(in));
	OK(cuMemFreeHost(out));
	free(want);
}

static void inner_pointers(void)
{
	uint8_t in[256], out[256], want[256];
	conf_context();
	CUdeviceptr p = conf_alloc(256);
	for (int i = 0; i < 256; i++)
		in[i] = (uint8_t)i;
	OK(cuMemsetD8(p, 0xff, 256));
	OK(cuMemcpyHtoD(p + 7, in, 100));
	OK(cuMemcpyDtoD(p + 150, p + 10, 50));
	OK(cuMemcpyDtoH(out, p, 256));
	memset(want, 0xff, 256);
	memcpy(want + 7, in, 100);
	memcpy(want + 150, want + 10, 50);
	SAME(out, want, 256);
	OK(cuMemFree(p));
}

static void out_of_range(void)
{
	uint8_t buffer[64] = {0};
	conf_context();
	CUdeviceptr p = conf_alloc(1 << 20), far = p + (1ull << 34);
	size_t n = 1 << 20;
	OK(cuMemcpyHtoD(p, buffer, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(far, buffer, 64));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(buffer, far, 64));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD(p, far, 64));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD(far, p, 64));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(far, 1, 64));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(p, 1, (n / 4) + (1ull << 32)));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD(p, p + n / 2, n / 2 + (1ull << 34)));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(buffer, 0, 64));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(p + 2, 1, 1)); /* alignment */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD16(p + 1, 1, 1));
	/* Lengths that wrap around. */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(p + 16, 1, SIZE_MAX - 8));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD(p, p + 16, SIZE_MAX - 8));
	OK(cuMemFree(p));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(buffer, p, 64));
	OK(cuCtxSynchronize());
}

static void fills(void)
{
	enum { N = 1000 };
	static uint32_t out[N], want[N];
	conf_context();
	CUdeviceptr p = conf_alloc(sizeof(out));
	CUstream s;
	OK(cuMemsetD32(p, 0x11223344, N));
	OK(cuMemsetD16(p + 400, 0xbeef, 100));
	OK(cuMemsetD8(p + 801, 0x77, 99));
	for (int i = 0; i < N; i++)
		want[i] = 0x11223344;
	for (int i = 0; i < 100; i++)
		((uint16_t *)want)[200 + i] = 0xbeef;
	memset((char *)want + 801, 0x77, 99);
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	SAME(out, want, sizeof(out));
	OK(cuStreamCreate(&s, 0));
	OK(cuMemsetD32Async(p, 7, N, s));
	OK(cuMemsetD16Async(p, 9, 2, s));
	OK(cuMemsetD8Async(p + 4, 1, 4, s));
	OK(cuStreamSynchronize(s));
	for (int i = 0; i < N; i++)
		want[i] = 7;
	want[0] = 0x00090009;
	want[1] = 0x01010101;
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	SAME(out, want, sizeof(out));
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
}

static void fills_2d(void)
{
	enum { ROWS = 20, WIDTH = 40, PITCH = 256 };
	static uint8_t out[ROWS * PITCH], want[ROWS * PITCH];
	conf_context();
	CUdeviceptr p = conf_alloc(sizeof(out));
	OK(cuMemsetD8(p, 0, sizeof(out)));
	OK(cuMemsetD2D8(p, PITCH, 0x21, WIDTH, ROWS));
	OK(cuMemsetD2D16(p + 64, PITCH, 0x4344, WIDTH / 2, ROWS));
	OK(cuMemsetD2D32(p + 128, PITCH, 0x65666768, WIDTH / 4, ROWS));
	for (int y = 0; y < ROWS; y++) {
		memset(want + y * PITCH, 0x21, WIDTH);
		for (int x = 0; x < WIDTH / 2; x++)
			memcpy(want + y * PITCH + 64 + x * 2, &(uint16_t){0x4344}, 2);
		for (int x = 0; x < WIDTH / 4; x++)
			memcpy(want + y * PITCH + 128 + x * 4, &(uint32_t){0x65666768}, 4);
	}
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	SAME(out, want, sizeof(out));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD2D8(p, 16, 1, 40, 20)); /* rows would overlap */
	OK(cuMemFree(p));
}

/* A rectangle inside a larger picture, in all four directions, with offsets and unlike pitches. */
static void copies_2d(void)
{
	enum { PS = 200, PD = 320, ROWS = 30, W = 77, H = 12, SX = 13, SY = 5, DX = 41, DY = 9 };
	static uint8_t dst[PD * ROWS], want[PD * ROWS];
	conf_context();
	uint8_t *src = random_bytes(PS * ROWS, 9);
	CUdeviceptr ds = conf_upload(src, PS * ROWS), dd = conf_alloc(PD * ROWS);
	for (int direction = 0; direction < 4; direction++) {
		bool from_device = direction & 1, to_device = direction & 2;
		CUDA_MEMCPY2D c = {
			.srcXInBytes = SX, .srcY = SY, .srcPitch = PS,
			.srcMemoryType = from_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST,
			.srcHost = src, .srcDevice = ds,
			.dstXInBytes = DX, .dstY = DY, .dstPitch = PD,
			.dstMemoryType = to_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST,
			.dstHost = dst, .dstDevice = dd, .WidthInBytes = W, .Height = H,
		};
		memset(dst, 0xee, sizeof(dst));
		memset(want, 0xee, sizeof(want));
		OK(cuMemsetD8(dd, 0xee, sizeof(dst)));
		OK(direction == 2 ? cuMemcpy2DUnaligned(&c) : cuMemcpy2D(&c));
		if (to_device)
			OK(cuMemcpyDtoH(dst, dd, sizeof(dst)));
		for (int y = 0; y < H; y++)
			memcpy(want + (y + DY) * PD + DX, src + (y + SY) * PS + SX, W);
		if (!SAME(dst, want, sizeof(dst)))
			conf_note("from %s to %s", from_device ? "device" : "host", to_device ? "device" : "host");
	}
	OK(cuMemFree(ds));
	OK(cuMemFree(dd));
	free(src);
}

static void copies_2d_large(void)
{
	enum { W = 3000, H = 900, PITCH = 3072 };
	CUstream s;
	conf_context();
	uint8_t *src = random_bytes((size_t)W * H, 10), *dst = calloc(W, H);
	CUdeviceptr p = conf_alloc((size_t)PITCH * H);
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	CUDA_MEMCPY2D up = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = src, .srcPitch = W,
			    .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = p, .dstPitch = PITCH,
			    .WidthInBytes = W, .Height = H};
	CUDA_MEMCPY2D down = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = p, .srcPitch = PITCH,
			      .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = dst, .dstPitch = W,
			      .WidthInBytes = W, .Height = H};
	OK(cuMemcpy2DAsync(&up, s));
	OK(cuMemcpy2DAsync(&down, s));
	OK(cuStreamSynchronize(s));
	SAME(dst, src, (size_t)W * H);
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
	free(src);
	free(dst);
}

static void refused_2d(void)
{
	static uint8_t host[4096];
	conf_context();
	CUdeviceptr p = conf_alloc(4096);
	const CUDA_MEMCPY2D good = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = host, .srcPitch = 64,
				    .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = p, .dstPitch = 64,
				    .WidthInBytes = 64, .Height = 64};
	CUDA_MEMCPY2D c = good;
	OK(cuMemcpy2D(&c));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(NULL));
	c = good, c.dstPitch = 32;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&c));
	c = good, c.srcMemoryType = 99;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&c));
	c = good, c.dstDevice = p + (1ull << 34);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&c));
	c = good, c.srcPitch = 0; /* rows side by side are not implied */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&c));
	/* Products that overflow to something small. */
	c = good, c.dstPitch = c.srcPitch = 1ull << 58;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&c));
	c = good, c.dstY = 1ull << 60;
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&c));
	c = good, c.WidthInBytes = 0;
	OK(cuMemcpy2D(&c));
	OK(cuCtxSynchronize());
	OK(cuMemFree(p));
}

static void arrays(void)
{
	enum { W = 100, H = 40 };
	static uint32_t in[W * H], out[W * H];
	uint64_t state = 11;
	CUarray a = NULL;
	CUDA_ARRAY_DESCRIPTOR d = {.Width = W, .Height = H, .Format = CU_AD_FORMAT_UNSIGNED_INT32, .NumChannels = 1}, got;
	conf_context();
	for (int i = 0; i < W * H; i++)
		in[i] = (uint32_t)conf_random(&state);
	OK(cuArrayCreate(&a, &d));
	OK(cuArrayGetDescriptor(&got, a));
	EQ(got.Width, W);
	EQ(got.Height, H);
	EQ(got.Format, CU_AD_FORMAT_UNSIGNED_INT32);
	EQ(got.NumChannels, 1);
	CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = in, .srcPitch = W * 4,
			   .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = a, .WidthInBytes = W * 4, .Height = H};
	OK(cuMemcpy2D(&c));
	CUDA_MEMCPY2D back = {.srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = a,
			      .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = out, .dstPitch = W * 4,
			      .WidthInBytes = W * 4, .Height = H};
	OK(cuMemcpy2D(&back));
	SAME(out, in, sizeof(in));
	back.WidthInBytes = W * 4 + 4; /* wider than the array */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&back));
	back.WidthInBytes = W * 4, back.srcY = 1; /* one row too many */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D(&back));
	OK(cuArrayDestroy(a));
	d.NumChannels = 3;
	IS(CUDA_ERROR_INVALID_VALUE, cuArrayCreate(&a, &d));
	d.NumChannels = 1, d.Width = 0;
	IS(CUDA_ERROR_INVALID_VALUE, cuArrayCreate(&a, &d));
}

static const struct conf_case cases[] = {
	{"up, across and down, 1 byte to 9 MiB", round_trip},
	{"asynchronous from pageable memory", async_pageable},
	{"asynchronous with pinned memory", async_pinned},
	{"into and out of the middle", inner_pointers},
	{"out of range is INVALID_VALUE and harmless", out_of_range},
	{"fills", fills},
	{"two-dimensional fills", fills_2d},
	{"two-dimensional copies, four directions", copies_2d},
	{"a large two-dimensional copy", copies_2d_large},
	{"impossible two-dimensional copies", refused_2d},
	{"arrays", arrays},
};
CONF_MAIN(cases)
