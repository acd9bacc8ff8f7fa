/* SPDX-License-Identifier: Apache-2.0 */
/* Modules and libraries from PTX and from fat binaries, good and broken. */
#include "conf.h"

extern const char fatbin_plain[], fatbin_lz4[], fatbin_zstd[], fatbin_mixed[], fatbin_elf[];
extern const size_t fatbin_plain_size, fatbin_lz4_size, fatbin_zstd_size, fatbin_mixed_size, fatbin_elf_size;

/* What nvcc-like compilers put around a container in a program. */
struct fatbin_wrapper { uint32_t magic, version; const void *data; const void *unused; };
#define WRAPPER_MAGIC 0x466243b1u

/* Does the module add? Run on what was loaded, whatever it was loaded from. */
static void use(CUmodule m)
{
	CUfunction f = conf_function(m, "affine");
	CUdeviceptr p = conf_alloc(4);
	uint32_t mul = 3, add = 4, n = 1, v = 5;
	OK(cuMemcpyHtoD(p, &v, 4));
	LAUNCH(f, 1, 1, 0, &p, &mul, &add, &n);
	OK(cuMemcpyDtoH(&v, p, 4));
	EQ(v, 19);
	OK(cuMemFree(p));
}

static void use_and_unload(const void *image)
{
	CUmodule m = NULL;
	conf_context();
	OK(cuModuleLoadData(&m, image));
	use(m);
	CUdeviceptr p;
	OK(cuModuleGetGlobal(&p, NULL, m, "constant_table")); /* absent from the entry for newer devices */
	OK(cuModuleUnload(m));
}

static void from_ptx(void)
{
	CUmodule m = NULL;
	CUfunction f = NULL;
	use_and_unload(ptx_basic);
	m = conf_module(ptx_basic);
	IS(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&f, m, "no_such_kernel"));
	IS(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&f, m, ""));
	IS(CUDA_ERROR_INVALID_VALUE, cuModuleGetFunction(NULL, m, "noop"));
	IS(CUDA_ERROR_INVALID_VALUE, cuModuleGetFunction(&f, m, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(NULL, ptx_basic));
	IS(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(&m, NULL));
	OK(cuModuleUnload(m));
}

static void from_fatbin(void)
{
	use_and_unload(fatbin_plain);
	use_and_unload(fatbin_lz4);
	use_and_unload(fatbin_zstd);
	use_and_unload(fatbin_mixed);
	struct fatbin_wrapper w = {WRAPPER_MAGIC, 1, fatbin_zstd, NULL};
	use_and_unload(&w);
	CUmodule m = NULL;
	OK(cuModuleLoadFatBinary(&m, fatbin_lz4));
	use(m);
	OK(cuModuleUnload(m));
}

/* A copy to damage, with room behind it so that a reader that overruns meets known bytes. */
static char *copy_of(const char *image, size_t size)
{
	char *p = calloc(1, size + 4096);
	if (!p)
		abort();
	return memcpy(p, image, size);
}

static void broken_fatbins(void)
{
	CUmodule m = NULL;
	conf_context();
	IS_EITHER(CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, fatbin_elf));

	char *p = copy_of(fatbin_zstd, fatbin_zstd_size); /* the container ends inside its entry */
	uint64_t body = fatbin_zstd_size - 16 - 200;
	memcpy(p + 8, &body, 8);
	IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, p));
	free(p);

	p = copy_of(fatbin_zstd, fatbin_zstd_size); /* the entry claims more than the container has */
	uint64_t payload = 1ull << 40;
	memcpy(p + 16 + 8, &payload, 8);
	IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, p));
	free(p);

	p = copy_of(fatbin_zstd, fatbin_zstd_size); /* damaged compressed bytes */
	memset(p + 16 + 64 + 20, 0xff, 64);
	IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, p));
	free(p);

	p = copy_of(fatbin_lz4, fatbin_lz4_size); /* more bytes than it was told to expect */
	uint64_t wrong = 100;
	memcpy(p + 16 + 0x38, &wrong, 8);
	IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, p));
	free(p);

	p = copy_of(fatbin_plain, fatbin_plain_size); /* entry header length 0: a reader must not spin */
	memset(p + 16 + 4, 0, 4);
	IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, p));
	free(p);
	use_and_unload(fatbin_plain);
}

static void malformed_ptx(void)
{
	static const char bad[] = ".version 6.3\n.target sm_75\n.address_size 64\n"
				  ".visible .entry k()\n{\n\t.reg .b32 %r<2>;\n\tadd.s32 %r1, %nonsense, 1;\n\tret;\n}\n";
	CUmodule m = NULL;
	char log[1024] = "";
	CUjit_option keys[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
	conf_context();
	IS(CUDA_ERROR_INVALID_PTX, cuModuleLoadDataEx(&m, bad, 2, keys, values));
	TRUE(strlen(log) > 0 && strlen(log) < sizeof(log));
	if (!TRUE(strchr(log, '7') != NULL)) /* the line of the mistake */
		conf_note("the log reads: %s", log);
	char tiny[9];
	memset(tiny, 'x', sizeof(tiny));
	void *small[] = {tiny, (void *)(uintptr_t)8};
	IS(CUDA_ERROR_INVALID_PTX, cuModuleLoadDataEx(&m, bad, 2, keys, small));
	TRUE(memchr(tiny, 0, 8) != NULL && tiny[8] == 'x'); /* cut, terminated, and not a byte beyond */
	IS_EITHER(CUDA_ERROR_INVALID_PTX, CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, "not PTX at all"));
	IS_EITHER(CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&m, ""));
	char *half = copy_of(ptx_basic, ptx_basic_size);
	half[ptx_basic_size / 2] = 0;
	IS(CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&m, half));
	free(half);
}

static void newer_target(void)
{
	static const char future[] = ".version 99.0\n.target sm_75\n.address_size 64\n.visible .entry k()\n{\n\tret;\n}\n";
	CUmodule m = NULL;
	conf_context();
	IS_EITHER(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&m, future));
}

/* Loading and unloading gives the memory back. */
static void no_leak(void)
{
	size_t before, after, total;
	conf_context();
	use_and_unload(ptx_basic);
	OK(cuMemGetInfo(&before, &total));
	for (int i = 0; i < 10; i++)
		use_and_unload(ptx_basic);
	OK(cuMemGetInfo(&after, &total));
	EQ(after, before);
}

/* The newer way: code belongs to the process, kernels to no context until launched. */
static void libraries(void)
{
	CUlibrary lib = NULL;
	CUkernel k = NULL, none = NULL;
	CUfunction f = NULL;
	CUmodule m = NULL;
	CUdeviceptr table = 0;
	size_t bytes = 0, offset, size;
	unsigned count = 0;
	int v = 0;
	conf_context();
	OK(cuLibraryLoadData(&lib, fatbin_zstd, NULL, NULL, 0, NULL, NULL, 0));
	OK(cuLibraryGetKernel(&k, lib, "affine"));
	IS(CUDA_ERROR_NOT_FOUND, cuLibraryGetKernel(&none, lib, "no_such_kernel"));
	OK(cuLibraryGetKernelCount(&count, lib));
	TRUE(count >= 10);
	OK(cuKernelGetFunction(&f, k));
	OK(cuKernelGetParamInfo(k, 1, &offset, &size));
	EQ(offset, 8);
	EQ(size, 4);
	OK(cuKernelGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, k, conf_device()));
	TRUE(v > 0 && v <= 1024);
	OK(cuLibraryGetModule(&m, lib));
	use(m);
	OK(cuLibraryGetGlobal(&table, &bytes, lib, "device_table"));
	EQ(bytes, 1024);
	IS(CUDA_ERROR_NOT_FOUND, cuLibraryGetGlobal(&table, &bytes, lib, "no_such_global"));
	CUdeviceptr p = conf_alloc(4);
	uint32_t mul = 7, add = 1, n = 1, got = 0;
	OK(cuMemsetD32(p, 2, 1));
	/* A kernel handle goes where a function goes. */
	LAUNCH((CUfunction)k, 1, 1, 0, &p, &mul, &add, &n);
	LAUNCH(f, 1, 1, 0, &p, &mul, &add, &n);
	OK(cuMemcpyDtoH(&got, p, 4));
	EQ(got, (2 * 7 + 1) * 7 + 1);
	OK(cuMemFree(p));
	OK(cuLibraryUnload(lib));
}

static const struct conf_case cases[] = {
	{"from PTX; missing names", from_ptx},
	{"from fat binaries: plain, LZ4, zstd, mixed, wrapped", from_fatbin},
	{"broken fat binaries", broken_fatbins},
	{"malformed PTX, with the line in the log", malformed_ptx},
	{"PTX from the future", newer_target},
	{"unloading gives memory back", no_leak},
	{"libraries and kernels", libraries},
};
CONF_MAIN(cases)
