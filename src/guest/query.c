/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about the device, answered from the header: they need no executor. */
#include <stdio.h>
#include <string.h>
#include "guest/guest.h"

#define DEVICE_CHECK(dev)                                 \
	do {                                              \
		int rc_ = guest_ready();                  \
		if (rc_)                                  \
			return rc_;                       \
		if ((dev) != 0)                           \
			return CUDA_ERROR_INVALID_DEVICE; \
	} while (0)

static int attribute(int n)
{
	return n >= 0 && (uint32_t)n < guest_device.attr_count ? guest_device.attr[n] : VGPU_ATTR_UNKNOWN;
}

CUresult cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = guest_ready() ? CUDA_VERSION : (int)guest_device.driver_version;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = 1;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (ordinal != 0)
		return CUDA_ERROR_INVALID_DEVICE;
	*device = 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
	DEVICE_CHECK(dev);
	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)len, "%s", guest_device.name);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	DEVICE_CHECK(dev);
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(uuid->bytes, guest_device.uuid, sizeof(uuid->bytes));
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
	return cuDeviceGetUuid(uuid, dev);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	DEVICE_CHECK(dev);
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	*bytes = guest_device.total_mem;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attrib, CUdevice dev)
{
	int v;

	DEVICE_CHECK(dev);
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	/* Host memory of a guest is reached through extents only, and there is one device. */
	switch (attrib) {
	case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
	case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
	case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES:
		*value = 0;
		return CUDA_SUCCESS;
	default:
		break;
	}
	v = attribute(attrib);
	if (v == VGPU_ATTR_UNKNOWN)
		return CUDA_ERROR_INVALID_VALUE;
	*value = v;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop *p, CUdevice dev)
{
	DEVICE_CHECK(dev);
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	p->maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
	for (int i = 0; i < 3; i++) {
		p->maxThreadsDim[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i);
		p->maxGridSize[i] = attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i);
	}
	p->sharedMemPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
	p->totalConstantMemory = attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
	p->SIMDWidth = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
	p->memPitch = attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH);
	p->regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
	p->clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
	p->textureAlign = attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
	return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	DEVICE_CHECK(dev);
	if (!major || !minor)
		return CUDA_ERROR_INVALID_VALUE;
	*major = (int)guest_device.cc_major;
	*minor = (int)guest_device.cc_minor;
	return CUDA_SUCCESS;
}

static void bus_id(char *text, size_t len)
{
	snprintf(text, len, "%04x:%02x:%02x.0", (unsigned)attribute(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID) & 0xffff,
		 (unsigned)attribute(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) & 0xff,
		 (unsigned)attribute(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID) & 0x1f);
}

CUresult cuDeviceGetPCIBusId(char *text, int len, CUdevice dev)
{
	DEVICE_CHECK(dev);
	if (!text || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	bus_id(text, (size_t)len);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *text)
{
	char own[16];
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!dev || !text)
		return CUDA_ERROR_INVALID_VALUE;
	bus_id(own, sizeof(own));
	if (strcmp(own, text) && strcmp(own + 5, text)) /* the domain may be left out */
		return CUDA_ERROR_INVALID_DEVICE;
	*dev = 0;
	return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer)
{
	DEVICE_CHECK(dev);
	DEVICE_CHECK(peer);
	if (!can)
		return CUDA_ERROR_INVALID_VALUE;
	*can = 0;
	return CUDA_SUCCESS;
}

/* There is one device, and it is no peer of itself. */
CUresult cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attrib, CUdevice src, CUdevice dst)
{
	DEVICE_CHECK(src);
	DEVICE_CHECK(dst);
	if (!value || attrib < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
	    attrib > CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t *width, CUarray_format format, unsigned int channels, CUdevice dev)
{
	int most = attribute(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH);

	DEVICE_CHECK(dev);
	if (!width || (channels != 1 && channels != 2 && channels != 4))
		return CUDA_ERROR_INVALID_VALUE;
	if (most == VGPU_ATTR_UNKNOWN)
		return CUDA_ERROR_NOT_SUPPORTED;
	*width = (size_t)most;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	int rc = guest_ready();

	if (rc)
		return rc;
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_EAGER_LOADING;
	return CUDA_SUCCESS;
}

CUresult cuProfilerStart(void)
{
	return guest_ready();
}

CUresult cuProfilerStop(void)
{
	return guest_ready();
}
