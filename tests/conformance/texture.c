/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texture objects against the sampling rules of the CUDA C++ programming guide, written out in plain
 * C: point sampling takes texel floor(x); linear blends the four texels around x - 0.5 with weights
 * held in 1.8 fixed point; normalised coordinates are multiplied by the size; integer texels read as
 * floats are divided by their greatest value.
 */
#include "conf.h"
#include <math.h>

enum { W = 23, H = 17, N = 4000 };
enum format { U8, U16, F32, U8X4, FORMATS };
static const struct { CUarray_format format; unsigned channels, size; double scale; } formats[FORMATS] = {
	[U8] = {CU_AD_FORMAT_UNSIGNED_INT8, 1, 1, 255},
	[U16] = {CU_AD_FORMAT_UNSIGNED_INT16, 1, 2, 65535},
	[F32] = {CU_AD_FORMAT_FLOAT, 1, 4, 1},
	[U8X4] = {CU_AD_FORMAT_UNSIGNED_INT8, 4, 1, 255},
};

/* One picture: H rows of W texels, tightly packed. */
static uint8_t picture[H * W * 16];

static void paint(enum format k)
{
	uint64_t state = 20 + k;
	size_t n = (size_t)H * W * formats[k].channels;
	for (size_t i = 0; i < n; i++) {
		if (k == F32)
			((float *)picture)[i] = (float)(conf_random(&state) % 2001) / 1000.0f - 1.0f;
		else if (k == U16)
			((uint16_t *)picture)[i] = (uint16_t)conf_random(&state);
		else
			picture[i] = (uint8_t)conf_random(&state);
	}
}

static double texel(enum format k, long x, long y, unsigned c, CUaddress_mode mode)
{
	if (mode == CU_TR_ADDRESS_MODE_CLAMP) {
		x = x < 0 ? 0 : x >= W ? W - 1 : x;
		y = y < 0 ? 0 : y >= H ? H - 1 : y;
	} else if (mode == CU_TR_ADDRESS_MODE_WRAP) {
		x = (x % W + W) % W;
		y = (y % H + H) % H;
	} else if (mode == CU_TR_ADDRESS_MODE_MIRROR) {
		x = (x % (2 * W) + 2 * W) % (2 * W), x = x < W ? x : 2 * W - 1 - x;
		y = (y % (2 * H) + 2 * H) % (2 * H), y = y < H ? y : 2 * H - 1 - y;
	} else if (x < 0 || y < 0 || x >= W || y >= H) {
		return 0; /* the border colour, which we set to 0 */
	}
	size_t i = ((size_t)y * W + (size_t)x) * formats[k].channels + c;
	return k == F32 ? ((float *)picture)[i] : k == U16 ? ((uint16_t *)picture)[i] : picture[i];
}

static double weight(double x)
{
	return floor((x - floor(x)) * 256 + 0.5) / 256;
}

static double reference(enum format k, double x, double y, unsigned c, const CUDA_TEXTURE_DESC *d)
{
	if (d->flags & CU_TRSF_NORMALIZED_COORDINATES) {
		x *= W;
		y *= H;
	}
	CUaddress_mode m = d->addressMode[0];
	if (m != CU_TR_ADDRESS_MODE_BORDER && !(d->flags & CU_TRSF_NORMALIZED_COORDINATES))
		m = CU_TR_ADDRESS_MODE_CLAMP;
	double v;
	if (d->filterMode == CU_TR_FILTER_MODE_POINT) {
		v = texel(k, (long)floor(x), (long)floor(y), c, m);
	} else {
		x -= 0.5, y -= 0.5;
		long i = (long)floor(x), j = (long)floor(y);
		double a = weight(x), b = weight(y);
		v = (1 - a) * (1 - b) * texel(k, i, j, c, m) + a * (1 - b) * texel(k, i + 1, j, c, m) +
		    (1 - a) * b * texel(k, i, j + 1, c, m) + a * b * texel(k, i + 1, j + 1, c, m);
	}
	return d->flags & CU_TRSF_READ_AS_INTEGER ? v : v / formats[k].scale;
}

static float xy[N][2];
/* Coordinates inside, outside and on borders; away from where floor() would hinge on one rounding. */
static void coordinates(bool normalized)
{
	uint64_t state = 33;
	for (int i = 0; i < N; i++)
		for (int axis = 0; axis < 2; axis++) {
			int size = axis ? H : W;
			double v = (double)(conf_random(&state) % (uint64_t)(256 * 2 * size)) / 256.0 - size * 0.5 + 1.0 / 1024;
			xy[i][axis] = (float)(normalized ? v / size : v);
		}
}

static CUtexObject object(enum format k, CUdeviceptr p, size_t row, CUarray array, const CUDA_TEXTURE_DESC *d)
{
	CUtexObject t = 0;
	CUDA_RESOURCE_DESC r = {0};
	if (array) {
		r.resType = CU_RESOURCE_TYPE_ARRAY;
		r.res.array.hArray = array;
	} else {
		r.resType = CU_RESOURCE_TYPE_PITCH2D;
		r.res.pitch2D.devPtr = p;
		r.res.pitch2D.format = formats[k].format;
		r.res.pitch2D.numChannels = formats[k].channels;
		r.res.pitch2D.width = W;
		r.res.pitch2D.height = H;
		r.res.pitch2D.pitchInBytes = row;
	}
	OK(cuTexObjectCreate(&t, &r, d, NULL));
	TRUE(t != 0);
	return t;
}

/* Samples everywhere and compares. Linear results may differ by one step of the weights' 1/256 times
 * the texels' range, plus one rounding; point results are exact. */
static void sample(enum format k, CUtexObject t, const CUDA_TEXTURE_DESC *d)
{
	static float got[N][4];
	static CUmodule m;
	if (!m)
		m = conf_module(ptx_texture);
	bool as_integer = d->flags & CU_TRSF_READ_AS_INTEGER;
	CUfunction f = conf_function(m, as_integer ? "sample_uint" : "sample_float");
	CUdeviceptr pxy = conf_upload(xy, sizeof(xy)), po = conf_alloc(sizeof(got));
	uint32_t n = N;
	int wrong = 0;
	LAUNCH(f, (N + 127) / 128, 128, 0, &t, &pxy, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	double range = k == F32 ? 2.0 : 1.0, tolerance = d->filterMode == CU_TR_FILTER_MODE_LINEAR ? range / 256 + 1e-6 : 1e-7;
	for (int i = 0; i < N; i++)
		for (unsigned c = 0; c < formats[k].channels; c++) {
			uint32_t bits;
			memcpy(&bits, &got[i][c], 4);
			double g = as_integer ? bits : got[i][c], w = reference(k, xy[i][0], xy[i][1], c, d);
			if (!(fabs(g - w) <= tolerance) && !wrong++)
				conf_note("format %d mode %d filter %d flags %u at (%.9g, %.9g)[%u]: %.9g, not %.9g", k,
					  d->addressMode[0], d->filterMode, d->flags, xy[i][0], xy[i][1], c, g, w);
		}
	EQ(wrong, 0);
	OK(cuMemFree(pxy));
	OK(cuMemFree(po));
}

static CUDA_TEXTURE_DESC description(CUaddress_mode mode, CUfilter_mode filter, unsigned flags)
{
	return (CUDA_TEXTURE_DESC){.addressMode = {mode, mode, mode}, .filterMode = filter, .flags = flags};
}

static void pitched(CUfilter_mode filter, unsigned flags, CUaddress_mode mode)
{
	conf_context();
	for (enum format k = 0; k < FORMATS; k++) {
		CUdeviceptr p;
		size_t row, bytes = (size_t)W * formats[k].channels * formats[k].size;
		if ((flags & CU_TRSF_READ_AS_INTEGER) && k == F32)
			continue;
		paint(k);
		OK(cuMemAllocPitch(&p, &row, bytes, H, 16));
		CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = picture, .srcPitch = bytes,
				   .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = p, .dstPitch = row,
				   .WidthInBytes = bytes, .Height = H};
		OK(cuMemcpy2D(&c));
		CUDA_TEXTURE_DESC d = description(mode, filter, flags);
		coordinates(flags & CU_TRSF_NORMALIZED_COORDINATES);
		CUtexObject t = object(k, p, row, NULL, &d);
		sample(k, t, &d);
		OK(cuTexObjectDestroy(t));
		OK(cuMemFree(p));
	}
}

static void point(void)
{
	pitched(CU_TR_FILTER_MODE_POINT, 0, CU_TR_ADDRESS_MODE_CLAMP);
	pitched(CU_TR_FILTER_MODE_POINT, 0, CU_TR_ADDRESS_MODE_BORDER);
	/* Unnormalised coordinates know clamp and border only; the others become clamp. */
	pitched(CU_TR_FILTER_MODE_POINT, 0, CU_TR_ADDRESS_MODE_WRAP);
	pitched(CU_TR_FILTER_MODE_POINT, 0, CU_TR_ADDRESS_MODE_MIRROR);
}
static void point_integer(void) { pitched(CU_TR_FILTER_MODE_POINT, CU_TRSF_READ_AS_INTEGER, CU_TR_ADDRESS_MODE_CLAMP); }
static void linear(void)
{
	pitched(CU_TR_FILTER_MODE_LINEAR, 0, CU_TR_ADDRESS_MODE_CLAMP);
	pitched(CU_TR_FILTER_MODE_LINEAR, 0, CU_TR_ADDRESS_MODE_BORDER);
}
static void normalized(void)
{
	pitched(CU_TR_FILTER_MODE_POINT, CU_TRSF_NORMALIZED_COORDINATES, CU_TR_ADDRESS_MODE_CLAMP);
	pitched(CU_TR_FILTER_MODE_LINEAR, CU_TRSF_NORMALIZED_COORDINATES, CU_TR_ADDRESS_MODE_BORDER);
	pitched(CU_TR_FILTER_MODE_LINEAR, CU_TRSF_NORMALIZED_COORDINATES, CU_TR_ADDRESS_MODE_WRAP);
	pitched(CU_TR_FILTER_MODE_LINEAR, CU_TRSF_NORMALIZED_COORDINATES, CU_TR_ADDRESS_MODE_MIRROR);
}

static void from_array(void)
{
	conf_context();
	for (enum format k = 0; k < FORMATS; k++) {
		CUarray a;
		size_t bytes = (size_t)W * formats[k].channels * formats[k].size;
		CUDA_ARRAY_DESCRIPTOR ad = {.Width = W, .Height = H, .Format = formats[k].format, .NumChannels = formats[k].channels};
		paint(k);
		OK(cuArrayCreate(&a, &ad));
		CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = picture, .srcPitch = bytes,
				   .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = a, .WidthInBytes = bytes, .Height = H};
		OK(cuMemcpy2D(&c));
		CUDA_TEXTURE_DESC d = description(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_LINEAR, 0);
		coordinates(false);
		CUtexObject t = object(k, 0, 0, a, &d);
		sample(k, t, &d);
		OK(cuTexObjectDestroy(t));
		OK(cuArrayDestroy(a));
	}
}

static void linear_memory(void)
{
	enum { COUNT = 1000 };
	static uint32_t in[COUNT], index[COUNT], got[COUNT][4];
	uint64_t state = 40;
	CUtexObject t = 0;
	CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_LINEAR};
	CUDA_TEXTURE_DESC d = {.flags = CU_TRSF_READ_AS_INTEGER};
	CUfunction f = conf_function(conf_module(ptx_texture), "fetch_linear");
	for (int i = 0; i < COUNT; i++) {
		in[i] = (uint32_t)conf_random(&state);
		index[i] = (uint32_t)(conf_random(&state) % COUNT);
	}
	CUdeviceptr p = conf_upload(in, sizeof(in)), pi = conf_upload(index, sizeof(index)), po = conf_alloc(sizeof(got));
	uint32_t n = COUNT;
	r.res.linear.devPtr = p;
	r.res.linear.format = CU_AD_FORMAT_UNSIGNED_INT32;
	r.res.linear.numChannels = 1;
	r.res.linear.sizeInBytes = sizeof(in);
	OK(cuTexObjectCreate(&t, &r, &d, NULL));
	LAUNCH(f, (COUNT + 127) / 128, 128, 0, &t, &pi, &po, &n);
	OK(cuMemcpyDtoH(got, po, sizeof(got)));
	for (int i = 0; i < COUNT; i++)
		if (got[i][0] != in[index[i]]) {
			EQ(got[i][0], in[index[i]]);
			break;
		}
	OK(cuTexObjectDestroy(t));
	OK(cuMemFree(p));
	OK(cuMemFree(pi));
	OK(cuMemFree(po));
}

static void refused(void)
{
	CUtexObject t = 0;
	CUDA_TEXTURE_DESC d = description(CU_TR_ADDRESS_MODE_CLAMP, CU_TR_FILTER_MODE_POINT, 0);
	CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_PITCH2D}, got;
	conf_context();
	CUdeviceptr p = conf_alloc(1 << 16);
	r.res.pitch2D.devPtr = p;
	r.res.pitch2D.format = CU_AD_FORMAT_UNSIGNED_INT8;
	r.res.pitch2D.numChannels = 1;
	r.res.pitch2D.width = 64;
	r.res.pitch2D.height = 64;
	r.res.pitch2D.pitchInBytes = 512;
	OK(cuTexObjectCreate(&t, &r, &d, NULL));
	OK(cuTexObjectGetResourceDesc(&got, t));
	EQ(got.res.pitch2D.devPtr, p);
	EQ(got.res.pitch2D.width, 64);
	OK(cuTexObjectDestroy(t));
	IS(CUDA_ERROR_INVALID_VALUE, cuTexObjectCreate(NULL, &r, &d, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cuTexObjectCreate(&t, NULL, &d, NULL));
	CUDA_RESOURCE_DESC bad = r;
	bad.res.pitch2D.numChannels = 3;
	IS(CUDA_ERROR_INVALID_VALUE, cuTexObjectCreate(&t, &bad, &d, NULL));
	bad = r, bad.res.pitch2D.pitchInBytes = 32; /* shorter than a row */
	IS(CUDA_ERROR_INVALID_VALUE, cuTexObjectCreate(&t, &bad, &d, NULL));
	bad = r, bad.resType = 77;
	IS_EITHER(CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_NOT_SUPPORTED, cuTexObjectCreate(&t, &bad, &d, NULL));
	bad = r, bad.res.pitch2D.format = 0x7f;
	IS_EITHER(CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_NOT_SUPPORTED, cuTexObjectCreate(&t, &bad, &d, NULL));
	OK(cuMemFree(p));
}

/* A texture reference of a module: what older programs have. */
static void texture_reference(void)
{
	static const char ptx[] = ".version 6.0\n.target sm_52\n.address_size 64\n"
				  ".global .texref image;\n"
				  ".visible .entry sample(.param .u64 out, .param .f32 x, .param .f32 y)\n{\n"
				  "	.reg .b64 %d<3>;\n	.reg .f32 %f<7>;\n"
				  "	ld.param.u64 %d1, [out];\n	ld.param.f32 %f1, [x];\n	ld.param.f32 %f2, [y];\n"
				  "	tex.2d.v4.f32.f32 {%f3, %f4, %f5, %f6}, [image, {%f1, %f2}];\n"
				  "	cvta.to.global.u64 %d2, %d1;\n	st.global.f32 [%d2], %f3;\n	ret;\n}\n";
	CUDA_ARRAY_DESCRIPTOR d = { .Width = 4, .Height = 4, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1 };
	float in[4][4], got = 0, x = 1.5f, y = 2.5f;
	CUtexref ref = NULL, again = NULL;
	CUarray array, bound = NULL;
	CUaddress_mode mode;
	CUarray_format format;
	CUdeviceptr out, flat;
	int channels = 0;
	CUmodule m;

	conf_context();
	OK(cuModuleLoadData(&m, ptx));
	OK(cuModuleGetTexRef(&ref, m, "image"));
	OK(cuModuleGetTexRef(&again, m, "image"));
	TRUE(ref == again);
	IS(CUDA_ERROR_NOT_FOUND, cuModuleGetTexRef(&again, m, "nothing"));
	for (int i = 0; i < 16; i++)
		in[i / 4][i % 4] = (float)(i * i);
	OK(cuArrayCreate(&array, &d));
	CUDA_MEMCPY2D c = { .srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = in, .srcPitch = 16,
			    .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = array, .WidthInBytes = 16, .Height = 4 };
	OK(cuMemcpy2D(&c));
	out = conf_alloc(4);
	CUfunction f = conf_function(m, "sample");

	OK(cuTexRefSetArray(ref, array, CU_TRSA_OVERRIDE_FORMAT));
	OK(cuTexRefGetArray(&bound, ref));
	TRUE(bound == array);
	LAUNCH(f, 1, 1, 0, &out, &x, &y);
	OK(cuMemcpyDtoH(&got, out, 4));
	TRUE(got == in[2][1]);
	OK(cuTexRefSetFilterMode(ref, CU_TR_FILTER_MODE_LINEAR));
	x = 2.0f; /* between two texels */
	LAUNCH(f, 1, 1, 0, &out, &x, &y);
	OK(cuMemcpyDtoH(&got, out, 4));
	TRUE(got == (in[2][1] + in[2][2]) / 2);
	OK(cuTexRefSetAddressMode(ref, 0, CU_TR_ADDRESS_MODE_BORDER));
	OK(cuTexRefGetAddressMode(&mode, ref, 0));
	EQ(mode, CU_TR_ADDRESS_MODE_BORDER);

	/* Rows in ordinary memory instead. */
	OK(cuTexRefSetFilterMode(ref, CU_TR_FILTER_MODE_POINT));
	flat = conf_alloc(4 * 512);
	OK(cuMemsetD8(flat, 0, 4 * 512));
	in[0][0] = 123;
	OK(cuMemcpyHtoD(flat + 512, in, 4));
	OK(cuTexRefSetAddress2D(ref, &d, flat, 512));
	IS(CUDA_ERROR_INVALID_VALUE, cuTexRefGetArray(&bound, ref));
	x = 0.5f, y = 1.5f;
	LAUNCH(f, 1, 1, 0, &out, &x, &y);
	OK(cuMemcpyDtoH(&got, out, 4));
	TRUE(got == 123);
	OK(cuTexRefGetFormat(&format, &channels, ref));
	EQ(format, CU_AD_FORMAT_FLOAT);
	EQ(channels, 1);
	IS(CUDA_ERROR_INVALID_VALUE, cuTexRefSetAddress2D(ref, &d, 0x10000, 512)); /* not ours */
	IS(CUDA_ERROR_INVALID_VALUE, cuTexRefSetArray(ref, array, 0));
	OK(cuModuleUnload(m));
	IS(CUDA_ERROR_INVALID_HANDLE, cuTexRefSetFlags(ref, 0));
	OK(cuArrayDestroy(array));
	OK(cuMemFree(flat));
	OK(cuMemFree(out));
}

static const struct conf_case cases[] = {
	{"a texture reference", texture_reference},
	{"point sampling", point},
	{"point sampling of integers", point_integer},
	{"linear filtering", linear},
	{"normalised coordinates: clamp, border, wrap, mirror", normalized},
	{"from an array", from_array},
	{"linear memory by index", linear_memory},
	{"impossible textures are refused", refused},
};
CONF_MAIN(cases)
