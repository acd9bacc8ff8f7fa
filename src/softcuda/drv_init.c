// SPDX-License-Identifier: Apache-2.0
/* cuInit, configuration, devices and their attributes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "softcuda/drv.h"

struct drv_global drv = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* A number with an optional K, M or G. False and one line on stderr if it is none. */
static bool env_size(const char *name, uint64_t min, uint64_t max, uint64_t *value)
{
	static const char units[] = "KMG";
	const char *text = getenv(name), *unit;
	char *end;
	if (!text || !*text)
		return true;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	unsigned shift = *end && (unit = strchr(units, *end)) ? 10 * (unsigned)(unit - units + 1) : 0;
	if (errno || end == text || *text == '-' || end[shift != 0] || v > UINT64_MAX >> shift || v << shift < min || v << shift > max) {
		fprintf(stderr, "softcuda: %s=%s: expected a number from %llu to %llu, with K, M or G if you like\n", name, text,
			(unsigned long long)min, (unsigned long long)max);
		return false;
	}
	*value = v << shift;
	return true;
}

static int open_device(unsigned i, uint64_t memory, unsigned threads)
{
	struct drv_device *d = &drv.device[i];
	struct drv_pool *p = drv_obj_new(KIND_POOL, sizeof *p);
	snprintf(d->name, sizeof d->name, "OpenVGPU softcuda (CPU)");
	struct sc_device_config cfg = { .name = d->name, .memory = memory, .threads = threads, .ordinal = i };
	d->threads = threads;
	d->sc = sc_device_open(&cfg);
	if (!d->sc || !p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->device = (int)i;
	p->is_default = true;
	p->reuse[0] = p->reuse[1] = p->reuse[2] = 1;
	d->pool = d->default_pool = p;
	return 0;
}

static void forked(void)
{
	atomic_store(&drv.ready, false);
	drv.ndevices = DRV_MAX_DEVICES + 1; /* the worker threads stayed in the parent: no way back */
}

static int init(void)
{
	uint64_t devices = 1, threads = 0, ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	uint64_t memory = ram / 2 < (4ull << 30) ? ram / 2 : 4ull << 30;
	int r = 0;
	if (drv.ndevices > DRV_MAX_DEVICES)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!env_size("SOFTCUDA_DEVICES", 0, DRV_MAX_DEVICES, &devices) || !env_size("SOFTCUDA_THREADS", 1, 256, &threads) ||
	    !env_size("SOFTCUDA_MEMORY", 1 << 20, SC_VA_SIZE / 2, &memory))
		return CUDA_ERROR_INVALID_VALUE;
	if (!threads)
		threads = sysconf(_SC_NPROCESSORS_ONLN);
	for (unsigned i = 0; i < devices && !r; i++)
		r = open_device(i, memory & ~0xfffull, threads);
	if (r)
		return r;
	drv.ndevices = devices;
	pthread_atfork(NULL, NULL, forked);
	atomic_store(&drv.ready, true);
	return devices ? 0 : CUDA_ERROR_NO_DEVICE;
}

CUresult cuInit(unsigned int flags)
{
	int r = 0;
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&drv.lock);
	if (!atomic_load(&drv.ready))
		r = init();
	pthread_mutex_unlock(&drv.lock);
	return r;
}

_Thread_local bool drv_in_callback;

int drv_ready(void)
{
	if (!atomic_load_explicit(&drv.ready, memory_order_acquire))
		return CUDA_ERROR_NOT_INITIALIZED;
	return drv_in_callback ? CUDA_ERROR_NOT_PERMITTED : 0;
}

CUresult cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = CUDA_VERSION;
	return CUDA_SUCCESS;
}

static int device_get(CUdevice dev, struct drv_device **out)
{
	DRV_TRY(drv_ready());
	if (dev < 0 || (unsigned)dev >= drv.ndevices)
		return CUDA_ERROR_INVALID_DEVICE;
	*out = &drv.device[dev];
	return 0;
}

CUresult cuDeviceGetCount(int *count)
{
	DRV_TRY(drv_ready());
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = (int)drv.ndevices;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	struct drv_device *d;
	DRV_TRY(drv_ready());
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(device_get(ordinal, &d));
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(name, len, "%s", d->name);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(uuid->bytes, "softcuda\0\0\0\0\0\0\0", 16);
	uuid->bytes[15] = (char)dev;
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	struct drv_device *d;
	uint64_t free_bytes, total;
	DRV_TRY(device_get(dev, &d));
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	sc_mem_info(d->sc, &free_bytes, &total);
	*bytes = total;
	return CUDA_SUCCESS;
}

/* Limits are those of compute capability 7.5 where kernels may rely on them, else what this device
 * does. Not in the table = 0: the feature is absent. */
static const int attributes[CU_DEVICE_ATTRIBUTE_MAX] = {
#define AT(name, value) [CU_DEVICE_ATTRIBUTE_##name] = value
	AT(MAX_THREADS_PER_BLOCK, 1024), AT(MAX_BLOCK_DIM_X, 1024), AT(MAX_BLOCK_DIM_Y, 1024), AT(MAX_BLOCK_DIM_Z, 64),
	AT(MAX_GRID_DIM_X, 0x7fffffff), AT(MAX_GRID_DIM_Y, 65535), AT(MAX_GRID_DIM_Z, 65535),
	AT(MAX_SHARED_MEMORY_PER_BLOCK, DRV_SHARED_MAX), AT(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, DRV_SHARED_OPTIN),
	AT(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 65536), AT(TOTAL_CONSTANT_MEMORY, 65536), AT(WARP_SIZE, 32),
	AT(MAX_PITCH, 0x7fffffff), AT(MAX_REGISTERS_PER_BLOCK, 65536), AT(MAX_REGISTERS_PER_MULTIPROCESSOR, 65536),
	AT(CLOCK_RATE, 1000000), AT(MEMORY_CLOCK_RATE, 1000000), AT(GLOBAL_MEMORY_BUS_WIDTH, 64), /* nominal: 1 GHz, kHz */
	AT(TEXTURE_ALIGNMENT, 512), AT(TEXTURE_PITCH_ALIGNMENT, 32), AT(SURFACE_ALIGNMENT, 512),
	AT(GPU_OVERLAP, 1), AT(ASYNC_ENGINE_COUNT, 1), AT(CAN_MAP_HOST_MEMORY, 1), AT(INTEGRATED, 1),
	AT(COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT), AT(CONCURRENT_KERNELS, 1), AT(UNIFIED_ADDRESSING, 1),
	AT(MAX_THREADS_PER_MULTIPROCESSOR, 1024), AT(MAX_BLOCKS_PER_MULTIPROCESSOR, 16),
	AT(MAXIMUM_TEXTURE1D_WIDTH, 131072), AT(MAXIMUM_TEXTURE2D_WIDTH, 131072), AT(MAXIMUM_TEXTURE2D_HEIGHT, 65536),
	AT(MAXIMUM_TEXTURE3D_WIDTH, 16384), AT(MAXIMUM_TEXTURE3D_HEIGHT, 16384), AT(MAXIMUM_TEXTURE3D_DEPTH, 16384),
	AT(MAXIMUM_TEXTURE2D_LAYERED_WIDTH, 32768), AT(MAXIMUM_TEXTURE2D_LAYERED_HEIGHT, 32768), AT(MAXIMUM_TEXTURE2D_LAYERED_LAYERS, 2048),
	AT(MAXIMUM_TEXTURE1D_LINEAR_WIDTH, 268435456), AT(MAXIMUM_TEXTURE2D_LINEAR_WIDTH, 131072),
	AT(MAXIMUM_TEXTURE2D_LINEAR_HEIGHT, 65000), AT(MAXIMUM_TEXTURE2D_LINEAR_PITCH, 2097120),
	AT(COMPUTE_CAPABILITY_MAJOR, DRV_SM / 10), AT(COMPUTE_CAPABILITY_MINOR, DRV_SM % 10),
	AT(STREAM_PRIORITIES_SUPPORTED, 0), AT(MANAGED_MEMORY, 1), AT(HOST_REGISTER_SUPPORTED, 1),
	AT(CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1), AT(HOST_NATIVE_ATOMIC_SUPPORTED, 1),
	AT(COOPERATIVE_LAUNCH, 1), AT(SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 1), AT(MEMORY_POOLS_SUPPORTED, 1),
	AT(MULTI_GPU_BOARD_GROUP_ID, 0), AT(HOST_NUMA_ID, 0), AT(MEM_SYNC_DOMAIN_COUNT, 1),
#undef AT
};

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attrib, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!value || attrib <= 0 || attrib >= CU_DEVICE_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (attrib == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
		*value = (int)d->threads;
	else if (attrib == CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID || attrib == CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID)
		*value = dev;
	else if (attrib == CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)
		*value = (int)sysconf(_SC_LEVEL2_CACHE_SIZE) > 0 ? (int)sysconf(_SC_LEVEL2_CACHE_SIZE) : 1 << 20;
	else
		*value = attributes[attrib];
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!prop)
		return CUDA_ERROR_INVALID_VALUE;
	*prop = (CUdevprop){ .maxThreadsPerBlock = 1024, .maxThreadsDim = { 1024, 1024, 64 }, .maxGridSize = { 0x7fffffff, 65535, 65535 },
			     .sharedMemPerBlock = DRV_SHARED_MAX, .totalConstantMemory = 65536, .SIMDWidth = 32, .memPitch = 0x7fffffff,
			     .regsPerBlock = 65536, .clockRate = 1000000, .textureAlign = 512 };
	return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!major || !minor)
		return CUDA_ERROR_INVALID_VALUE;
	*major = DRV_SM / 10;
	*minor = DRV_SM % 10;
	return CUDA_SUCCESS;
}

/* No PCI device is behind it; the device number keeps several apart. */
CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!pciBusId || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(pciBusId, len, "0000:00:%02x.0", (unsigned)dev);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
	unsigned domain, bus, device, function = 0;
	DRV_TRY(drv_ready());
	if (!dev || !pciBusId)
		return CUDA_ERROR_INVALID_VALUE;
	if (sscanf(pciBusId, "%x:%x:%x.%x", &domain, &bus, &device, &function) < 3) {
		domain = 0;
		if (sscanf(pciBusId, "%x:%x.%x", &bus, &device, &function) < 2)
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (domain || bus || function || device >= drv.ndevices)
		return CUDA_ERROR_INVALID_DEVICE;
	*dev = (int)device;
	return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *canAccess, CUdevice dev, CUdevice peer)
{
	struct drv_device *d;
	if (!canAccess)
		return CUDA_ERROR_INVALID_VALUE;
	DRV_TRY(device_get(dev, &d));
	DRV_TRY(device_get(peer, &d));
	*canAccess = 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attrib, CUdevice src, CUdevice dst)
{
	struct drv_device *d;
	DRV_TRY(device_get(src, &d));
	DRV_TRY(device_get(dst, &d));
	if (!value || attrib < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK || attrib > CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED)
		return CUDA_ERROR_INVALID_VALUE;
	if (src == dst)
		return CUDA_ERROR_INVALID_DEVICE;
	*value = 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t *width, CUarray_format format, unsigned int channels, CUdevice dev)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!width || (channels != 1 && channels != 2 && channels != 4))
		return CUDA_ERROR_INVALID_VALUE;
	*width = attributes[CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH];
	return CUDA_SUCCESS;
}

static CUresult pool_of(CUmemoryPool *pool, CUdevice dev, bool only_default)
{
	struct drv_device *d;
	DRV_TRY(device_get(dev, &d));
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	*pool = drv_obj_handle(only_default ? d->default_pool : d->pool);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev)
{
	return pool_of(pool, dev, true);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	return pool_of(pool, dev, false);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	struct drv_device *d;
	struct drv_pool *p = drv_obj_get(KIND_POOL, pool);
	DRV_TRY(device_get(dev, &d));
	if (!p || p->device != dev)
		return CUDA_ERROR_INVALID_VALUE;
	d->pool = p;
	return CUDA_SUCCESS;
}

/* Nothing to profile; natively these succeed without a profiler as well. */
CUresult cuProfilerStart(void)
{
	return drv_ready();
}

CUresult cuProfilerStop(void)
{
	return drv_ready();
}
