/* SPDX-License-Identifier: Apache-2.0 */
/* Launches: parameters both ways, geometry, limits, function attributes, what must be refused. */
#include "conf.h"

struct mixed { uint8_t a; uint16_t b; uint32_t c; uint64_t d; float e; double f; };
struct large { uint32_t word[1022]; };

static void vadd(void)
{
	enum { N = 10000 };
	static float a[N], b[N], c[N], want[N];
	conf_context();
	for (int i = 0; i < N; i++) {
		a[i] = (float)i * 0.25f;
		b[i] = (float)(N - i) * 1.5f;
		want[i] = a[i] + b[i];
	}
	CUdeviceptr pa = conf_upload(a, sizeof(a)), pb = conf_upload(b, sizeof(b)), pc = conf_alloc(sizeof(c));
	uint32_t n = N;
	LAUNCH(conf_function(conf_module(ptx_basic), "vadd"), (N + 255) / 256, 256, 0, &pa, &pb, &pc, &n);
	OK(cuMemcpyDtoH(c, pc, sizeof(c)));
	SAME(c, want, sizeof(c));
	OK(cuMemFree(pa));
	OK(cuMemFree(pb));
	OK(cuMemFree(pc));
}

static void geometry(void)
{
	enum { GX = 3, GY = 2, GZ = 4, BX = 5, BY = 3, BZ = 2, THREADS = GX * GY * GZ * BX * BY * BZ };
	static uint32_t out[THREADS][12], want[THREADS][12];
	CUfunction f = conf_function(conf_module(ptx_basic), "geometry");
	CUdeviceptr p = conf_alloc(sizeof(out));
	OK(cuLaunchKernel(f, GX, GY, GZ, BX, BY, BZ, 0, NULL, (void *[]){&p}, NULL));
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	for (uint32_t b = 0; b < GX * GY * GZ; b++)
		for (uint32_t t = 0; t < BX * BY * BZ; t++) {
			uint32_t w[12] = {t % BX, t / BX % BY, t / BX / BY, b % GX, b / GX % GY, b / GX / GY,
					  BX, BY, BZ, GX, GY, GZ};
			memcpy(want[b * BX * BY * BZ + t], w, sizeof(w));
		}
	SAME(out, want, sizeof(out));
	OK(cuMemFree(p));
}

static const uint64_t params_want[13] = {200, 60000, 4000000000u, 0x123456789abcdef0ull, 1500, 2250, 7, 8, 9, 10, 3500,
					 4750, 255};

static void params_by_list(void)
{
	uint64_t out[13] = {0};
	CUfunction f = conf_function(conf_module(ptx_basic), "params");
	CUdeviceptr p = conf_alloc(sizeof(out));
	uint8_t a = 200, last = 255;
	uint16_t b = 60000;
	uint32_t c = 4000000000u;
	uint64_t d = 0x123456789abcdef0ull;
	float e = 1.5f;
	double g = 2.25;
	struct mixed m = {7, 8, 9, 10, 3.5f, 4.75};
	LAUNCH(f, 1, 1, 0, &p, &a, &b, &c, &d, &e, &g, &m, &last);
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	SAME(out, params_want, sizeof(out));
	OK(cuMemFree(p));
}

/* The layout as the function tells it: what a runtime does. */
static void params_by_buffer(void)
{
	uint64_t out[13] = {0};
	CUfunction f = conf_function(conf_module(ptx_basic), "params");
	CUdeviceptr p = conf_alloc(sizeof(out));
	uint8_t a = 200, last = 255;
	uint16_t b = 60000;
	uint32_t c = 4000000000u;
	uint64_t d = 0x123456789abcdef0ull;
	float e = 1.5f;
	double g = 2.25;
	struct mixed m = {7, 8, 9, 10, 3.5f, 4.75};
	const void *values[] = {&p, &a, &b, &c, &d, &e, &g, &m, &last};
	const size_t sizes[] = {8, 1, 2, 4, 8, 4, 8, sizeof(m), 1};
	const size_t offsets[] = {0, 8, 10, 12, 16, 24, 32, 40, 72};
	char buffer[128] = {0};
	size_t offset, size, used = 73;
	for (size_t i = 0; i < 9; i++) {
		OK(cuFuncGetParamInfo(f, i, &offset, &size));
		EQ(offset, offsets[i]);
		EQ(size, sizes[i]);
		if (offset + sizes[i] <= sizeof(buffer))
			memcpy(buffer + offset, values[i], sizes[i]);
	}
	IS(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(f, 9, &offset, &size));
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &used, CU_LAUNCH_PARAM_END};
	OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	SAME(out, params_want, sizeof(out));
	/* Both ways at once, or an unknown word in the list. */
	IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, (void **)values, extra));
	OK(cuMemFree(p));
}

static void large_params(void)
{
	static struct large v;
	uint64_t want = 0, got = 0, state = 1;
	CUfunction f = conf_function(conf_module(ptx_basic), "large_params");
	CUdeviceptr p = conf_alloc(8);
	for (uint32_t i = 0; i < 1022; i++) {
		v.word[i] = (uint32_t)conf_random(&state);
		want += (uint64_t)v.word[i] * (i + 1);
	}
	LAUNCH(f, 1, 1, 0, &p, &v);
	memset(&v, 0xee, sizeof(v)); /* parameters were taken when the call returned */
	OK(cuMemcpyDtoH(&got, p, 8));
	EQ(got, want);
	OK(cuMemFree(p));
}

static void refused(void)
{
	CUmodule m = conf_module(ptx_basic);
	CUfunction f = conf_function(m, "noop"), fill = conf_function(m, "fill"), bounded = conf_function(m, "bounded");
	CUdeviceptr p = conf_alloc(4096);
	void *args[] = {&p};
#define TRY(gx, gy, gz, bx, by, bz) cuLaunchKernel(f, gx, gy, gz, bx, by, bz, 0, NULL, NULL, NULL)
	OK(TRY(1, 1, 1, 1024, 1, 1));
	OK(TRY(1, 1, 1, 1, 1, 64));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(0, 1, 1, 1, 1, 1));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 0, 1, 1, 1, 1));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 1, 1, 1, 1, 0));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 1, 1, 1025, 1, 1));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 1, 1, 64, 32, 1));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 1, 1, 1, 1, 65));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 65536, 1, 1, 1, 1));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(1, 1, 65536, 1, 1, 1));
	IS(CUDA_ERROR_INVALID_VALUE, TRY(0x80000000u, 1, 1, 1, 1, 1));
#undef TRY
	IS_EITHER(CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	OK(cuLaunchKernel(bounded, 1, 1, 1, 64, 1, 1, 0, NULL, args, NULL));
	IS_EITHER(CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
		  cuLaunchKernel(bounded, 1, 1, 1, 65, 1, 1, 0, NULL, args, NULL));
	/* None of these spoils the context. */
	OK(cuCtxSynchronize());
	OK(cuMemFree(p));
}

static void shared_limits(void)
{
	CUmodule m = conf_module(ptx_basic);
	CUfunction f = conf_function(m, "dynamic_shared");
	int limit = 0, optin = 0, v = 0;
	OK(cuDeviceGetAttribute(&limit, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 0));
	OK(cuDeviceGetAttribute(&optin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
	TRUE(optin >= limit);
	CUdeviceptr p = conf_alloc(32 * 4);
	uint32_t words = (uint32_t)limit / 4;
	void *args[] = {&p, &words};
	OK(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, (unsigned)limit, NULL, args, NULL));
	IS_EITHER(CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
		  cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, (unsigned)limit + 4, NULL, args, NULL));
	OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, optin));
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, f));
	EQ(v, optin);
	IS(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, optin + 1));
	OK(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, (unsigned)optin, NULL, args, NULL));
	OK(cuCtxSynchronize());
	OK(cuMemFree(p));
}

static void dynamic_shared(void)
{
	enum { BLOCKS = 3, THREADS = 96, WORDS = 500 };
	uint32_t out[BLOCKS * THREADS], want[BLOCKS * THREADS], words = WORDS;
	CUfunction f = conf_function(conf_module(ptx_basic), "dynamic_shared");
	CUdeviceptr p = conf_alloc(sizeof(out));
	LAUNCH(f, BLOCKS, THREADS, WORDS * 4, &p, &words);
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	for (uint32_t i = 0; i < BLOCKS * THREADS; i++)
		want[i] = WORDS * (WORDS - 1) / 2 * 7 + WORDS * (i / THREADS);
	SAME(out, want, sizeof(out));
	OK(cuMemFree(p));
}

static void function_attributes(void)
{
	CUmodule m = conf_module(ptx_basic), got = NULL;
	CUfunction f = conf_function(m, "static_shared"), bounded = conf_function(m, "bounded");
	int v = -1;
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
	EQ(v, 4096);
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, f));
	TRUE(v > 0 && v <= 1024);
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, bounded));
	EQ(v, 64);
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
	TRUE(v > 0 && v <= 255);
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_PTX_VERSION, f));
	TRUE(v >= 60);
	OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, f));
	EQ(v, 0);
	IS(CUDA_ERROR_INVALID_VALUE, cuFuncGetAttribute(NULL, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
	IS(CUDA_ERROR_INVALID_VALUE, cuFuncGetAttribute(&v, (CUfunction_attribute)1000, f));
	IS(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NUM_REGS, 10));
	OK(cuFuncGetModule(&got, f));
	TRUE(got == m);
	OK(cuFuncSetCacheConfig(f, CU_FUNC_CACHE_PREFER_L1));
}

/* Globals, constants and tables of a module: by the kernel and by address from the host. */
static void globals(void)
{
	static const uint32_t digits[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
	CUmodule m = conf_module(ptx_basic);
	CUfunction f = conf_function(m, "globals");
	CUdeviceptr word, table, constants, p = conf_alloc(256 * 4);
	size_t bytes;
	uint32_t out[256], want[256], set[256], v = 0;
	OK(cuModuleGetGlobal(&word, &bytes, m, "device_word"));
	EQ(bytes, 4);
	OK(cuModuleGetGlobal(&table, &bytes, m, "device_table"));
	EQ(bytes, sizeof(set));
	OK(cuModuleGetGlobal(&constants, &bytes, m, "constant_table"));
	EQ(bytes, 64);
	IS(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal(&table, &bytes, m, "no_such_global"));
	OK(cuMemcpyDtoH(out, constants, 64));
	SAME(out, digits, 64);
	for (uint32_t i = 0; i < 256; i++)
		set[i] = i * i;
	OK(cuModuleGetGlobal(&table, NULL, m, "device_table"));
	OK(cuMemcpyHtoD(table, set, sizeof(set)));
	LAUNCH(f, 1, 32, 0, &p);
	OK(cuMemcpyDtoH(out, p, 32 * 4));
	for (uint32_t i = 0; i < 32; i++)
		want[i] = 41 + digits[i & 15] + set[i];
	SAME(out, want, 32 * 4);
	OK(cuMemcpyDtoH(&v, word, 4));
	EQ(v, 1000); /* the kernel's own store */
	v = 5;
	OK(cuMemcpyHtoD(word, &v, 4));
	OK(cuMemsetD32(constants, 100, 16)); /* constants change between launches, from the host */
	LAUNCH(f, 8, 32, 0, &p);
	OK(cuMemcpyDtoH(out, p, 4));
	EQ(out[0], 105);
	/* A second load of the same PTX has its own globals. */
	CUmodule m2 = conf_module(ptx_basic);
	CUdeviceptr word2;
	OK(cuModuleGetGlobal(&word2, NULL, m2, "device_word"));
	TRUE(word2 != word);
	OK(cuMemcpyDtoH(&v, word2, 4));
	EQ(v, 41);
	OK(cuModuleUnload(m2));
	OK(cuModuleUnload(m));
	OK(cuMemFree(p));
}

static void many_launches(void)
{
	enum { N = 2000 };
	CUfunction f = conf_function(conf_module(ptx_basic), "affine");
	CUdeviceptr p = conf_alloc(32 * 4);
	uint32_t want = 1, n = 32, out[32];
	OK(cuMemsetD32(p, 1, 32));
	for (uint32_t i = 0; i < N; i++) {
		uint32_t mul = i * 2 + 3, add = i ^ 0x5a5a;
		LAUNCH(f, 1, 32, 0, &p, &mul, &add, &n);
		want = want * mul + add;
	}
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	for (int i = 0; i < 32; i++)
		EQ(out[i], want);
	OK(cuMemFree(p));
}

/* The interface of CUDA 1 to 3: parameters at offsets, a block shape, a grid. */
static void first_interface(void)
{
	uint32_t out[64], want[64];
	CUdeviceptr p;
	CUfunction f;
	CUstream s;

	conf_context();
	f = conf_function(conf_module(ptx_basic), "fill");
	p = conf_alloc(sizeof(out));
	OK(cuMemsetD8(p, 0, sizeof(out)));
	OK(cuFuncSetBlockShape(f, 16, 1, 1));
	OK(cuFuncSetSharedSize(f, 0));
	OK(cuParamSetv(f, 0, &p, sizeof(p)));
	OK(cuParamSeti(f, 8, 77));
	OK(cuParamSeti(f, 12, 40)); /* elements */
	OK(cuParamSetSize(f, 16));
	OK(cuLaunchGrid(f, 4, 1));
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	for (int i = 0; i < 64; i++)
		want[i] = i < 40 ? 77 : 0;
	SAME(out, want, sizeof(out));
	OK(cuParamSeti(f, 8, 78));
	OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	OK(cuLaunchGridAsync(f, 1, 1, s));
	OK(cuStreamSynchronize(s));
	OK(cuMemcpyDtoH(out, p, sizeof(out)));
	EQ(out[15], 78);
	EQ(out[16], 77);
	IS(CUDA_ERROR_INVALID_VALUE, cuFuncSetBlockShape(f, 0, 1, 1));
	IS(CUDA_ERROR_INVALID_VALUE, cuParamSetSize(f, 1u << 20));
	IS(CUDA_ERROR_INVALID_VALUE, cuParamSetv(f, -4, &p, 8));
	IS(CUDA_ERROR_INVALID_VALUE, cuLaunchGrid(f, 0, 1));
	OK(cuStreamDestroy(s));
	OK(cuMemFree(p));
}

static const struct conf_case cases[] = {
	{"the first interface: shape and parameters set apart", first_interface},
	{"a vector addition", vadd},
	{"indices and sizes of a three-dimensional grid", geometry},
	{"parameters of every size by list", params_by_list},
	{"parameter layout and parameters by buffer", params_by_buffer},
	{"4 KiB of parameters, taken at the call", large_params},
	{"impossible launches are refused and harm nothing", refused},
	{"limits of shared memory", shared_limits},
	{"dynamic shared memory", dynamic_shared},
	{"function attributes", function_attributes},
	{"module globals and constants", globals},
	{"2000 launches in order", many_launches},
};
CONF_MAIN(cases)
