/* SPDX-License-Identifier: Apache-2.0 */
/* Before and after cuInit, device queries, symbol look-up, what is not supported, fork. */
#include "conf.h"
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

static void before_init(void)
{
	int n = 0, version = 0;
	CUcontext c = NULL;
	CUdevice d = 0;
	CUdeviceptr p = 0;
	CUmodule m = NULL;
	CUstream s = NULL;
	size_t bytes = 0;
	char name[8];
	IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGet(&d, 0));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetName(name, sizeof(name), 0));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceTotalMem(&bytes, 0));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuDevicePrimaryCtxRetain(&c, 0));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuCtxGetCurrent(&c));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuCtxSynchronize());
	IS(CUDA_ERROR_NOT_INITIALIZED, cuMemAlloc(&p, 4));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuMemFree(4096));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuModuleLoadData(&m, ptx_basic));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuStreamCreate(&s, 0));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuMemGetInfo(&bytes, &bytes));
	/* The two that need no initialisation. */
	OK(cuDriverGetVersion(&version));
	TRUE(version >= 12000 && version < 100000);
	IS(CUDA_ERROR_INVALID_VALUE, cuDriverGetVersion(NULL));
}

static void init_flags(void)
{
	int n = 0;
	IS(CUDA_ERROR_INVALID_VALUE, cuInit(1));
	IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
	OK(cuInit(0));
	OK(cuInit(0));
	OK(cuDeviceGetCount(&n));
	TRUE(n >= 1);
}

static void without_context(void)
{
	CUdeviceptr p = 0;
	CUcontext c = (CUcontext)1;
	CUstream s = NULL;
	CUevent e = NULL;
	CUmodule m = NULL;
	CUdevice d = 0;
	conf_device();
	OK(cuCtxGetCurrent(&c));
	TRUE(c == NULL);
	IS(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc(&p, 4));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize());
	IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxGetDevice(&d));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuStreamCreate(&s, 0));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuEventCreate(&e, 0));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuModuleLoadData(&m, ptx_basic));
	IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxPopCurrent(&c));
}

/* The child of a process that used CUDA gets NOT_INITIALIZED; the parent goes on undisturbed. */
static void fork_child(void)
{
	conf_context();
	CUdeviceptr p = conf_alloc(4096);
	OK(cuMemsetD32(p, 0x12345678, 1024));
	pid_t pid = fork();
	if (pid == 0) {
		CUdeviceptr q;
		uint32_t v;
		int ok = cuMemAlloc(&q, 16) == CUDA_ERROR_NOT_INITIALIZED &&
			 cuMemcpyDtoH(&v, p, 4) == CUDA_ERROR_NOT_INITIALIZED &&
			 cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED;
		_exit(ok ? 0 : 1);
	}
	int status = -1;
	TRUE(pid > 0 && waitpid(pid, &status, 0) == pid);
	TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	uint32_t v = 0;
	OK(cuMemcpyDtoH(&v, p, 4));
	EQ(v, 0x12345678);
	OK(cuMemFree(p));
}

static void device_queries(void)
{
	int n = 0, major = 0, minor = 0;
	char name[256] = "", shortname[4];
	size_t total = 0;
	CUuuid a, b;
	CUdevice d = conf_device();
	OK(cuDeviceGetCount(&n));
	IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetCount(NULL));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&d, n));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&d, -1));
	OK(cuDeviceGet(&d, 0));
	OK(cuDeviceGetName(name, sizeof(name), d));
	TRUE(strlen(name) > 0);
	memset(shortname, 'x', sizeof(shortname));
	OK(cuDeviceGetName(shortname, sizeof(shortname), d));
	TRUE(memchr(shortname, 0, sizeof(shortname)) != NULL && !strncmp(shortname, name, strlen(shortname)));
	OK(cuDeviceTotalMem(&total, d));
	TRUE(total >= (1u << 20));
	OK(cuDeviceComputeCapability(&major, &minor, d));
	TRUE(major * 10 + minor >= 75);
	OK(cuDeviceGetUuid(&a, d));
	OK(cuDeviceGetUuid(&b, d));
	SAME(&a, &b, sizeof(a));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetName(name, sizeof(name), n));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceTotalMem(&total, n));
}

static int attribute(CUdevice_attribute a)
{
	int v = -1;
	OK(cuDeviceGetAttribute(&v, a, 0));
	return v;
}

static void attributes(void)
{
	int v;
	conf_device();
	EQ(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
	EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK), 1024);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X) == 0x7fffffff);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y) == 65535);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z) == 64);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK) >= 48 * 1024);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) >= 1);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE) > 0);
	EQ(attribute(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING), 1);
	EQ(attribute(CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY), 1);
	TRUE(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) >= 7);
	IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(NULL, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&v, (CUdevice_attribute)0, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&v, (CUdevice_attribute)100000, 0));
	IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 4711));
	/* A program may ask for all of them; none may fail. */
	for (int a = 1; a < 120; a++)
		if (cuDeviceGetAttribute(&v, (CUdevice_attribute)a, 0) != CUDA_SUCCESS)
			TRUE(!"every attribute up to 119 is answered");
}

static void error_names(void)
{
	const char *s = NULL;
	OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &s));
	TRUE(s && !strcmp(s, "CUDA_ERROR_ILLEGAL_ADDRESS"));
	OK(cuGetErrorName(CUDA_SUCCESS, &s));
	TRUE(s && !strcmp(s, "CUDA_SUCCESS"));
	OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &s));
	TRUE(s && strlen(s) > 3);
	IS(CUDA_ERROR_INVALID_VALUE, cuGetErrorName((CUresult)12345, &s));
	TRUE(s == NULL);
	IS(CUDA_ERROR_INVALID_VALUE, cuGetErrorString((CUresult)12345, &s));
	TRUE(s == NULL);
}

static void *symbol(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);
	if (!p)
		conf_note("libcuda.so.1 lacks %s", name);
	TRUE(p != NULL);
	return p;
}

/* The version a caller names selects the interface; the flag selects the default stream's meaning. */
static void get_proc_address(void)
{
	void *p = NULL;
	CUdriverProcAddressQueryResult q = 99;
	OK(cuGetProcAddress_v2("cuMemAlloc", &p, 3020, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	TRUE(p == symbol("cuMemAlloc_v2"));
	EQ(q, CU_GET_PROC_ADDRESS_SUCCESS);
	OK(cuGetProcAddress_v2("cuMemAlloc", &p, 2000, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	TRUE(p == symbol("cuMemAlloc"));
	OK(cuGetProcAddress_v2("cuCtxGetDevice", &p, 12000, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	TRUE(p == symbol("cuCtxGetDevice"));
	OK(cuGetProcAddress_v2("cuCtxGetDevice", &p, 13000, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	TRUE(p == symbol("cuCtxGetDevice_v2"));
	OK(cuGetProcAddress_v2("cuLaunchKernel", &p, 7000, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	TRUE(p == symbol("cuLaunchKernel"));
	OK(cuGetProcAddress_v2("cuLaunchKernel", &p, 7000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &q));
	TRUE(p == symbol("cuLaunchKernel_ptsz"));
	OK(cuGetProcAddress_v2("cuMemcpyHtoD", &p, 7000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &q));
	TRUE(p == symbol("cuMemcpyHtoD_v2_ptds"));
	OK(cuGetProcAddress_v2("cuGetProcAddress", &p, 12000, CU_GET_PROC_ADDRESS_DEFAULT, NULL));
	TRUE(p == symbol("cuGetProcAddress_v2"));

	IS_EITHER(CUDA_ERROR_NOT_FOUND, CUDA_SUCCESS, cuGetProcAddress_v2("", &p, 0, 0, NULL));
	q = 99;
	IS_EITHER(CUDA_SUCCESS, CUDA_ERROR_NOT_FOUND,
		  cuGetProcAddress_v2("cuNoSuchFunction", &p, 13000, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	EQ(q, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	q = 99;
	IS_EITHER(CUDA_SUCCESS, CUDA_ERROR_NOT_FOUND,
		  cuGetProcAddress_v2("cuLibraryLoadData", &p, 11000, CU_GET_PROC_ADDRESS_DEFAULT, &q));
	EQ(q, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	IS(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress_v2("cuInit", &p, 12000, 64, &q));
	IS(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress_v2(NULL, &p, 12000, 0, &q));
}

/* What is not built says so; it neither pretends nor is absent. */
static void not_supported(void)
{
	static const char *const names[] = {"cuGraphCreate", "cuMipmappedArrayCreate", "cuSurfObjectCreate",
					    "cuImportExternalMemory", "cuGLGetDevices_v2", "cuMulticastCreate"};
	uint64_t scratch[64];
	conf_context();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CUresult (*f)(void *, void *, unsigned, unsigned, void *, void *) =
			(CUresult(*)(void *, void *, unsigned, unsigned, void *, void *))symbol(names[i]);
		if (!f)
			continue;
		memset(scratch, 0, sizeof(scratch));
		CUresult r = f(scratch, scratch + 32, 1, 0, scratch, scratch);
		if (r != CUDA_ERROR_NOT_SUPPORTED)
			conf_note("%s gave %d", names[i], r);
		EQ(r, CUDA_ERROR_NOT_SUPPORTED);
	}
}

static const struct conf_case cases[] = {
	{"calls before cuInit return NOT_INITIALIZED", before_init, .own_process = true},
	{"cuInit refuses flags and may be repeated", init_flags, .own_process = true},
	{"calls without a context return INVALID_CONTEXT", without_context, .own_process = true},
	{"a forked child gets NOT_INITIALIZED, its parent goes on", fork_child, .own_process = true},
	{"device count, name, memory, capability, UUID", device_queries},
	{"device attributes", attributes},
	{"error names and texts", error_names},
	{"cuGetProcAddress honours version and flags", get_proc_address},
	{"what is not supported returns NOT_SUPPORTED", not_supported},
};
CONF_MAIN(cases)
