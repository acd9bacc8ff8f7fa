// SPDX-License-Identifier: Apache-2.0
/*
 * cuGetProcAddress of a driver library: by version, by flags, and its refusals. The expected symbol's
 * address comes from dlsym. usage: cuda-getproc LIBRARY
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "cuda/loader.h"

static const char *library;
static void *handle;
static __typeof__(&cuGetProcAddress_v2) get;
static __typeof__(&cuGetProcAddress) get_v1;

static int setup(void **state)
{
	handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		print_error("%s\n", dlerror());
		return -1;
	}
	*(void **)&get = dlsym(handle, "cuGetProcAddress_v2");
	*(void **)&get_v1 = dlsym(handle, "cuGetProcAddress");
	return get && get_v1 ? 0 : -1;
}

static const struct look {
	const char *base;
	int version;
	unsigned flags;
	const char *symbol; /* NULL: not in that version */
} looks[] = {
	{ "cuInit", 2000, 0, "cuInit" },
	{ "cuInit", 1000, 0, NULL },
	{ "cuGetProcAddress", 11030, 0, "cuGetProcAddress" },
	{ "cuGetProcAddress", 12000, 0, "cuGetProcAddress_v2" },
	{ "cuMemAlloc", 2000, 0, "cuMemAlloc" },
	{ "cuMemAlloc", 3010, 0, "cuMemAlloc" },
	{ "cuMemAlloc", 3020, 0, "cuMemAlloc_v2" },
	{ "cuMemAlloc", 99000, 0, "cuMemAlloc_v2" },
	{ "cuMemAlloc", 12000, 2, "cuMemAlloc_v2" },
	{ "cuCtxCreate", 3020, 0, "cuCtxCreate_v2" },
	{ "cuCtxCreate", 11040, 0, "cuCtxCreate_v3" },
	{ "cuCtxCreate", 13000, 0, "cuCtxCreate_v4" },
	{ "cuCtxGetDevice", 12080, 0, "cuCtxGetDevice" },
	{ "cuCtxGetDevice", 13000, 0, "cuCtxGetDevice_v2" },
	{ "cuMemcpyHtoD", 12000, 0, "cuMemcpyHtoD_v2" },
	{ "cuMemcpyHtoD", 12000, 1, "cuMemcpyHtoD_v2" },
	{ "cuMemcpyHtoD", 12000, 2, "cuMemcpyHtoD_v2_ptds" },
	{ "cuLaunchKernel", 4000, 0, "cuLaunchKernel" },
	{ "cuLaunchKernel", 7000, 2, "cuLaunchKernel_ptsz" },
	{ "cuMemAdvise", 12010, 0, "cuMemAdvise" },
	{ "cuMemAdvise", 12020, 0, "cuMemAdvise_v2" },
	{ "cuStreamGetCaptureInfo", 11030, 2, "cuStreamGetCaptureInfo_v2_ptsz" },
	{ "cuStreamGetCaptureInfo", 12030, 2, "cuStreamGetCaptureInfo_v3_ptsz" },
	{ "cuGLGetDevices", 12000, 0, "cuGLGetDevices_v2" },
	{ "cuLibraryLoadData", 11080, 0, NULL },
};

/* Breaks if a program gets a function of another ABI, or of another default stream, than it asked for. */
static void by_version_and_flags(void **state)
{
	for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
		CUdriverProcAddressQueryResult status;
		void *p = &p;
		assert_int_equal(get(looks[i].base, &p, looks[i].version, looks[i].flags, &status), CUDA_SUCCESS);
		void *want = looks[i].symbol ? dlsym(handle, looks[i].symbol) : NULL;
		if (p != want || (want != NULL) == (status != CU_GET_PROC_ADDRESS_SUCCESS))
			fail_msg("%s v%d flags %u: not %s", looks[i].base, looks[i].version, looks[i].flags, looks[i].symbol ? looks[i].symbol : "refused");
		if (!want)
			assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	}
}

static void refusals(void **state)
{
	CUdriverProcAddressQueryResult status;
	void *p = &p;
	assert_int_equal(get("", &p, 0, 0, NULL), CUDA_ERROR_NOT_FOUND); /* how a CUDA 13 runtime probes */
	assert_null(p);
	assert_int_equal(get("cuNoSuchThing", &p, 13000, 0, &status), CUDA_SUCCESS);
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	assert_int_equal(get("cuInit", NULL, 13000, 0, &status), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(get(NULL, &p, 13000, 0, &status), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(get("cuInit", &p, 13000, 4, &status), CUDA_ERROR_INVALID_VALUE);
	p = &status;
	assert_int_equal(get_v1("cuNoSuchThing", &p, 13000, 0), CUDA_ERROR_NOT_FOUND);
	assert_ptr_equal(p, &status); /* the first form leaves the pointer alone */
	assert_int_equal(get_v1("cuInit", &p, 13000, 0), CUDA_SUCCESS);
	assert_ptr_equal(p, dlsym(handle, "cuInit"));
}

/* Breaks if something not implemented pretends to work, or a table of NVIDIA's runtime is answered. */
static void unsupported_says_so(void **state)
{
	CUresult (*stub)(void) = dlsym(handle, "cuGLGetDevices_v2");
	__typeof__(&cuGetExportTable) table = dlsym(handle, "cuGetExportTable");
	CUuuid some = { { 1, 2, 3 } };
	const void *p = &p;
	assert_int_equal(stub(), CUDA_ERROR_NOT_SUPPORTED);
	assert_int_equal(table(&p, &some), CUDA_ERROR_NOT_FOUND);
	assert_null(p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(by_version_and_flags), cmocka_unit_test(refusals), cmocka_unit_test(unsupported_says_so) };
	if (argc != 2) {
		fprintf(stderr, "usage: %s LIBRARY\n", argv[0]);
		return 2;
	}
	library = argv[1];
	return cmocka_run_group_tests(tests, setup, NULL);
}
