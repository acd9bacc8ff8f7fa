/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation of device and pinned memory, and what pointers tell of themselves. */
#include "conf.h"
#include <sys/mman.h>
#include <unistd.h>

static void alloc_free(void)
{
	CUdeviceptr p = 0, q = 0, base = 0;
	size_t size = 0, before, during, after, total;
	conf_context();
	OK(cuMemGetInfo(&before, &total));
	TRUE(before > 0 && before <= total);
	p = conf_alloc(4 << 20);
	q = conf_alloc(1);
	TRUE(p % 256 == 0 && q % 256 == 0 && p != q);
	OK(cuMemGetInfo(&during, &total));
	TRUE(during + (4 << 20) <= before);
	OK(cuMemGetAddressRange(&base, &size, p + 12345));
	EQ(base, p);
	EQ(size, 4 << 20);
	OK(cuMemFree(p));
	OK(cuMemFree(q));
	OK(cuMemGetInfo(&after, &total));
	EQ(after, before);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(NULL, 16));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(&p, 0));
	OK(cuMemFree(0));
}

static void wrong_frees(void)
{
	int on_stack = 0;
	CUdeviceptr p;
	conf_context();
	p = conf_alloc(4096);
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(p + 256));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFree((CUdeviceptr)(uintptr_t)&on_stack));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(0xdeadbeef000ull));
	OK(cuMemFree(p));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(p));
	OK(cuCtxSynchronize());
}

static void out_of_memory(void)
{
	CUdeviceptr p = 7;
	size_t free_bytes, total;
	conf_context();
	IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&p, 1ull << 50));
	IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&p, SIZE_MAX));
	OK(cuMemGetInfo(&free_bytes, &total));
	IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&p, total + 1));
	/* It belongs to its call: the next one works. */
	p = conf_alloc(4096);
	OK(cuMemFree(p));
}

static void pitch(void)
{
	CUdeviceptr p = 0;
	size_t row = 0;
	int alignment = 0;
	conf_context();
	OK(cuDeviceGetAttribute(&alignment, CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT, 0));
	OK(cuMemAllocPitch(&p, &row, 1000, 50, 4));
	TRUE(row >= 1000 && alignment > 0 && row % (size_t)alignment == 0);
	OK(cuMemsetD8(p, 1, row * 50));
	OK(cuMemFree(p));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch(&p, &row, 1000, 50, 3));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch(&p, &row, 0, 50, 4));
}

/* A thousand live allocations of all sizes, freed in another order, do not run into each other. */
static void many(void)
{
	enum { N = 1000 };
	static CUdeviceptr p[N];
	uint64_t state = 3;
	conf_context();
	for (uint32_t i = 0; i < N; i++) {
		p[i] = conf_alloc(16 + conf_random(&state) % 8192);
		OK(cuMemsetD32(p[i], i, 4));
	}
	for (uint32_t k = 0; k < N; k++) {
		uint32_t i = (k * 577) % N, v[4];
		OK(cuMemcpyDtoH(v, p[i], 16));
		if (v[0] != i || v[3] != i)
			EQ(v[0], i);
		OK(cuMemFree(p[i]));
	}
}

/* New memory never shows what was there before, of ours or of anybody. */
static void fresh_memory(void)
{
	enum { BYTES = 1 << 20 };
	static uint8_t seen[BYTES];
	conf_context();
	CUdeviceptr p = conf_alloc(BYTES);
	OK(cuMemsetD8(p, 0xc5, BYTES));
	OK(cuMemFree(p));
	p = conf_alloc(BYTES);
	OK(cuMemcpyDtoH(seen, p, BYTES));
	/* Within one context CUDA promises nothing; but what is there must not look half-scrubbed. */
	TRUE(seen[0] == seen[BYTES - 1]);
	OK(cuMemFree(p));
}

static void pinned(void)
{
	enum { N = 4096 };
	static uint32_t want[N];
	uint32_t *host = NULL, value = 0xabcdef01u, n = N;
	CUdeviceptr device = 0;
	unsigned flags = 0;
	CUfunction f = conf_function(conf_module(ptx_basic), "fill"), affine = conf_function(conf_module(ptx_basic), "affine");
	OK(cuMemHostAlloc((void **)&host, N * 4, CU_MEMHOSTALLOC_DEVICEMAP));
	OK(cuMemHostGetDevicePointer(&device, host, 0));
	EQ(device, (uintptr_t)host); /* unified addressing */
	OK(cuMemHostGetFlags(&flags, host));
	TRUE(flags & CU_MEMHOSTALLOC_DEVICEMAP);
	/* The kernel writes host memory; the host reads it as its own. */
	LAUNCH(f, N / 256, 256, 0, &device, &value, &n);
	OK(cuCtxSynchronize());
	for (int i = 0; i < N; i++)
		want[i] = value;
	SAME(host, want, N * 4);
	/* And reads what the host wrote, with no copy in between. */
	uint32_t mul = 5, add = 9;
	for (uint32_t i = 0; i < N; i++) {
		host[i] = i;
		want[i] = i * 5 + 9;
	}
	LAUNCH(affine, N / 256, 256, 0, &device, &mul, &add, &n);
	OK(cuCtxSynchronize());
	SAME(host, want, N * 4);
	/* Pinned memory is also a plain source and target of copies. */
	CUdeviceptr d = conf_alloc(N * 4);
	OK(cuMemcpyHtoD(d, host, N * 4));
	memset(host, 0, N * 4);
	OK(cuMemcpyDtoH(host, d, N * 4));
	SAME(host, want, N * 4);
	OK(cuMemFree(d));
	OK(cuMemFreeHost(host));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(host));
}

static void pinned_errors(void)
{
	void *p = NULL;
	int on_stack;
	CUdeviceptr d;
	conf_context();
	IS(CUDA_ERROR_INVALID_VALUE, cuMemHostAlloc(NULL, 4096, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemHostAlloc(&p, 4096, 0x4000));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(&on_stack));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemHostGetDevicePointer(&d, &on_stack, 0));
	OK(cuMemAllocHost(&p, 100));
	memset(p, 1, 100);
	OK(cuMemFreeHost(p));
}

/* Whole pages of the program's own. Not from AddressSanitizer's heap: that lies at the same fixed
 * addresses in an instrumented executor, where nothing else can then be mapped. */
static void *own_pages(size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
#else
	void *p = NULL;

	return posix_memalign(&p, (size_t)sysconf(_SC_PAGESIZE), bytes) ? NULL : p;
#endif
}

static void own_pages_free(void *p, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
	munmap(p, bytes);
#else
	free(p);
#endif
}

static void registered(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 16 * page;
	uint32_t *host = own_pages(bytes), n = (uint32_t)(bytes / 4), value = 0x600df00d, *want = malloc(bytes);
	CUdeviceptr device = 0;
	CUfunction f = conf_function(conf_module(ptx_basic), "fill");
	if (!host || !want)
		abort();
	memset(host, 0x11, bytes);
	memset(want, 0x11, bytes);
	IS(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(host));
	OK(cuMemHostRegister(host, bytes, CU_MEMHOSTREGISTER_DEVICEMAP));
	SAME(host, want, bytes); /* registering keeps the contents */
	IS(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(host, bytes, 0));
	OK(cuMemHostGetDevicePointer(&device, host, 0));
	LAUNCH(f, (n + 255) / 256, 256, 0, &device, &value, &n);
	OK(cuCtxSynchronize());
	for (uint32_t i = 0; i < n; i++)
		want[i] = value;
	SAME(host, want, bytes);
	OK(cuMemHostUnregister(host));
	SAME(host, want, bytes); /* and so does unregistering */
	IS(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(host));
	host[0] = 1; /* ordinary memory again */
	IS(CUDA_ERROR_INVALID_VALUE, cuMemHostRegister(NULL, bytes, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cuMemHostRegister(host, 0, 0));
	own_pages_free(host, bytes);
	free(want);
}

static void pointer_attributes(void)
{
	CUcontext c = conf_context(), got = NULL;
	CUdeviceptr p = conf_alloc(8192), start = 0, dev = 0;
	CUmemorytype type = 0;
	size_t size = 0;
	unsigned managed = 9;
	int ordinal = -1, on_stack = 0;
	void *host = NULL, *back = NULL;
	unsigned long long id1 = 0, id2 = 0;
	OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 100));
	EQ(type, CU_MEMORYTYPE_DEVICE);
	OK(cuPointerGetAttribute(&got, CU_POINTER_ATTRIBUTE_CONTEXT, p));
	TRUE(got == c);
	OK(cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, p + 100));
	EQ(start, p);
	OK(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p + 100));
	EQ(size, 8192);
	OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, p));
	EQ(ordinal, 0);
	OK(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, p));
	EQ(managed & 0xff, 0);
	OK(cuPointerGetAttribute(&id1, CU_POINTER_ATTRIBUTE_BUFFER_ID, p));
	OK(cuPointerGetAttribute(&id2, CU_POINTER_ATTRIBUTE_BUFFER_ID, p + 4000));
	TRUE(id1 == id2 && id1 != 0);
	IS(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&back, CU_POINTER_ATTRIBUTE_HOST_POINTER, p));

	OK(cuMemHostAlloc(&host, 4096, 0));
	OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)host + 8));
	EQ(type, CU_MEMORYTYPE_HOST);
	OK(cuPointerGetAttribute(&back, CU_POINTER_ATTRIBUTE_HOST_POINTER, (CUdeviceptr)(uintptr_t)host + 8));
	TRUE(back == (char *)host + 8);
	OK(cuPointerGetAttribute(&dev, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, (CUdeviceptr)(uintptr_t)host + 8));
	EQ(dev, (uintptr_t)host + 8);

	IS(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)&on_stack));
	IS(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&got, CU_POINTER_ATTRIBUTE_CONTEXT, 0x1000));
	/* The plural form answers zero instead of failing. */
	CUpointer_attribute keys[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
	unsigned t = 77;
	int o = 77;
	void *values[] = {&t, &o};
	OK(cuPointerGetAttributes(2, keys, values, p));
	EQ(t, CU_MEMORYTYPE_DEVICE);
	EQ(o, 0);
	OK(cuPointerGetAttributes(2, keys, values, (CUdeviceptr)(uintptr_t)&on_stack));
	EQ(t, 0);
	OK(cuMemFreeHost(host));
	OK(cuMemFree(p));
	IS(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p));
}

static const struct conf_case cases[] = {
	{"allocate, look up, free; the figures agree", alloc_free},
	{"double, foreign and inner frees are refused", wrong_frees},
	{"out of memory belongs to its call", out_of_memory},
	{"pitched allocation", pitch},
	{"a thousand allocations", many},
	{"memory allocated again", fresh_memory},
	{"pinned memory is one memory on both sides", pinned},
	{"wrong use of pinned memory", pinned_errors},
	{"registered host memory", registered},
	{"pointer attributes", pointer_attributes},
};
CONF_MAIN(cases)
